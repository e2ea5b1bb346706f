"""
Places where agents run.
"""
