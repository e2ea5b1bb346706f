"""
A tenant to look at: made by the services as people and agents would make it, marked, and refused in production.
"""
