"""
The evaluator: what is decided about one tool call.

Nothing in this package performs I/O, reads a clock or keeps state.  ``plan`` gathers once per tool name what
concerns its calls, ``decide`` judges a call before the tool runs, ``review`` judges the result.  Where a
rule is a Python function, the engine yields a :class:`~edictum.engine.outcome.Question` and its driver
sends back the answer.
"""
