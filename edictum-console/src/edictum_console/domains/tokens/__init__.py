"""
Tokens with which people's scripts use the console.
"""
