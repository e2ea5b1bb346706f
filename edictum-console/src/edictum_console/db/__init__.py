"""
Databases: the two that are supported, the tables, and the only way to query them.
"""
