"""
Rulesets and calls that meet: builders for single rules, and generators for the comparison with :mod:`reference`.
"""

from __future__ import annotations

from typing import Any

from edictum import Edictum, Principal
from edictum.testing.strategies import rulesets, tool_calls, variables
from hypothesis import strategies as st
from reference import NO_OUTPUT, Call
from reference_session import Options

Data = dict[str, Any]


# --- builders ------------------------------------------------------------------------------------


def ruleset(*rules: Data, mode: str = "enforce", **more: Any) -> Data:
    return {
        "apiVersion": "edictum/v1",
        "kind": "Ruleset",
        "metadata": {"name": "tested"},
        "defaults": {"mode": mode},
        "rules": list(rules),
        **more,
    }


def pre(when: Data, action: str = "block", *, rule_id: str = "rule", message: str = "not allowed", **more: Any) -> Data:
    then = {"action": action, "message": message}
    then |= {key: more.pop(key) for key in ("timeout", "timeout_action", "tags", "metadata") if key in more}
    return {"id": rule_id, "type": "pre", "tool": "*", "when": when, "then": then, **more}


def post(when: Data, action: str = "warn", *, rule_id: str = "rule", message: str = "bad result", **more: Any) -> Data:
    then = {"action": action, "message": message}
    return {"id": rule_id, "type": "post", "tool": "*", "when": when, "then": then, **more}


def session_rule(*, rule_id: str = "cap", message: str = "cap reached", mode: str | None = None, **limits: Any) -> Data:
    rule = {"id": rule_id, "type": "session", "limits": limits, "then": {"action": "block", "message": message}}
    return rule if mode is None else {**rule, "mode": mode}


def verdict_of(when: Data, *, output: Any = NO_OUTPUT, tool: str = "tool", args: Any = None, **options: Any) -> str:
    """
    What the package says of one expression, as ``true``, ``false`` or ``error``; ``options`` go to guard and call.
    """
    call = {key: options.pop(key) for key in ("principal", "environment", "metadata") if key in options}
    rule = pre(when) if output is NO_OUTPUT else post(when)
    guard = Edictum.from_bundle_dict(ruleset(rule), **options)
    given = None if output is NO_OUTPUT else output
    (result,) = guard.evaluate(tool, {} if args is None else args, output=given, **call).rules
    if result.passed:
        return "false"
    return "error" if result.policy_error else "true"


def fields_of(call: Call) -> Data:
    """
    What is said about a call besides tool and arguments, as keywords for the package.
    """
    principal = None if call.principal is None else Principal(**call.principal)
    return {"principal": principal, "environment": call.environment, "metadata": call.metadata}


# --- generators ----------------------------------------------------------------------------------


@st.composite
def documents(draw: st.DrawFn) -> Data:
    """
    A ruleset as the reference reads it: messages without placeholders and secrets, both words for a timeout.
    """
    document = draw(rulesets())
    effect = draw(st.booleans())
    for rule in document["rules"]:
        rule["then"]["message"] = f"says {rule['id']}"
        if effect and "timeout_action" in rule["then"]:
            rule["then"]["timeout_effect"] = rule["then"].pop("timeout_action")
    return document


@st.composite
def calls(draw: st.DrawFn, document: Data, env: dict[str, str] | None = None) -> Call:
    """
    A call made for a ruleset.
    """
    call = draw(tool_calls(document))
    return Call(
        tool=call.tool_name,
        args=call.args,
        principal=None if call.principal is None else call.principal.to_dict(),
        environment=call.environment,
        metadata=call.metadata,
        env=draw(variables(document)) if env is None else env,
        output=call.output,
    )


@st.composite
def meetings(draw: st.DrawFn) -> tuple[Data, Call]:
    """
    A ruleset and a call made for it.
    """
    document = draw(documents())
    return document, draw(calls(document))


_PATTERNS = st.sampled_from(["*", "*", "read_file", "read_*", "????_file", "[tv]", "Bash", "bash"])
_LIMITS = {
    # Limits of a guard may be 0, those of a rule not.
    "max_tool_calls": st.integers(0, 9),
    "max_attempts": st.integers(2, 9),
    "max_calls_per_tool": st.dictionaries(_PATTERNS, st.integers(1, 4), min_size=1, max_size=2),
}
OPTIONS = st.builds(
    Options,
    mode=st.sampled_from([None, None, None, "enforce", "observe"]),
    limits=st.none() | st.none() | st.fixed_dictionaries(_LIMITS),
    approval=st.sampled_from(["approved", "approved", "timeout", "denied", None]),
)


@st.composite
def scenarios(draw: st.DrawFn) -> tuple[Data, Options, list[Call]]:
    """
    A guard and up to six calls in one session.
    """
    document = draw(documents())
    env = draw(variables(document))
    several = [draw(calls(document, env)) for _ in range(draw(st.integers(1, 6)))]
    return document, draw(OPTIONS), several
