"""
Credentials: who asks, and what may they do.
"""
