"""
Agents that were seen: what operators say about them, what they report, and whether they run what they should.
"""
