"""
Rulesets and their versions: bytes that were checked once and never change.
"""
