"""
People: signing in, and who may do what.
"""
