"""
Which ruleset an agent runs: what an operator says, what the agent asks for, or the first rule that matches.
"""
