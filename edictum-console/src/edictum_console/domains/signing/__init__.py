"""
Keys that sign rulesets, so that agents can tell what the console gave out.
"""
