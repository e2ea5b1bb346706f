"""
The playground: what a ruleset says about a call, for people; agents decide by themselves.
"""
