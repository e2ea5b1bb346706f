"""
Replacing the key that rulesets are signed with, without leaving agents behind that know the old one only.
"""
