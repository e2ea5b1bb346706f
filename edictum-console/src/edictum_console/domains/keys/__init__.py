"""
API keys of agents and scripts.
"""
