"""
Which version of a ruleset runs where.
"""
