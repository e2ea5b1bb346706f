"""
Figures for the home page and about rules.
"""
