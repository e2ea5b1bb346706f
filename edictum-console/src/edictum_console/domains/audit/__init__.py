"""
What administrators did, in a chain that shows when a row was changed or removed.
"""
