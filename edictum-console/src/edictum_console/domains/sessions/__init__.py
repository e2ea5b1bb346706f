"""
What agents count and remember between calls and processes.
"""
