"""
Compositions: rulesets that are put together from the library.
"""
