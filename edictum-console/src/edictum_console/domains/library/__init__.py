"""
The library: rules that rulesets are put together from, each with its versions.
"""
