"""
Streams: what agents are told without asking.
"""
