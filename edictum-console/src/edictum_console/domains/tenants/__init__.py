"""
Who shares the console, and how the first of them comes in.
"""
