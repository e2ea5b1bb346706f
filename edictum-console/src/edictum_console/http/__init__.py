"""
Bodies, errors and headers: what all routes have in common.
"""
