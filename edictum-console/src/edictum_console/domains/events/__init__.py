"""
The decision log of all agents: what they deliver, and what is asked of it.
"""
