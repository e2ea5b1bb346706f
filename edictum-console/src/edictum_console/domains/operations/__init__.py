"""
How the console itself is doing, for those who run it.
"""
