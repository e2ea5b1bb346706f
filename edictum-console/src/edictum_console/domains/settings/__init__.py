"""
What a tenant decides for itself, and whom to tell of a weakness of the console.
"""
