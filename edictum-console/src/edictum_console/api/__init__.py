"""
Which routes there are, and under which prefixes.
"""
