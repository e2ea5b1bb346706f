"""
Generators for hypothesis: rulesets, principals, and tool calls, also such as the rules of a given ruleset meet.

    from edictum.testing.strategies import tool_calls
    from hypothesis import given

    @given(tool_calls(RULES))
    def test_nobody_reads_secrets(call):
        result = guard.evaluate(call.tool_name, call.args, **call.fields)
        assert result.decision == "block" or ".env" not in str(call.args)

Nothing else in edictum imports hypothesis, which the extra ``testing`` installs.
"""

try:
    import hypothesis as _hypothesis
except ImportError as error:
    raise ImportError('generators need hypothesis; install it with: pip install "edictum-core[testing]"') from error

from edictum.testing.strategies.calls import SampleCall, principals, tool_calls, values_around, variables
from edictum.testing.strategies.documents import expressions, operations, rules, rulesets, selectors

__all__ = [
    "SampleCall",
    "expressions",
    "operations",
    "principals",
    "rules",
    "rulesets",
    "selectors",
    "tool_calls",
    "values_around",
    "variables",
]

del _hypothesis
