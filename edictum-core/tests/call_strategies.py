"""
Rulesets and calls that meet: builders for single rules, and generators whose rules often fire.

The alphabets are small on purpose.  A rule on one of three keys with one of a dozen values hits a call made of the same
keys and values often enough that every branch of a decision is taken.
"""

from __future__ import annotations

from typing import Any

from edictum import Edictum, Principal
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

KEYS = st.sampled_from(["a", "b"])
TOOLS = st.sampled_from(["t", "t", "u"])
TOOL_PATTERNS = st.sampled_from(["*", "*", "*", "t", "t*", "?", "[tv]", "u", "T"])
WORDS = st.sampled_from(["x", "xy", "yx", "1", "true", "X", ""])
NUMBERS = st.sampled_from([1, 0, -1, 2, 1.0, 1.5])
SCALARS = st.one_of(WORDS, WORDS, NUMBERS, st.booleans(), st.none())
INNER = st.dictionaries(KEYS, SCALARS, max_size=2)
VALUES = st.one_of(
    WORDS,
    WORDS,
    NUMBERS,
    SCALARS,
    st.lists(SCALARS, max_size=2),
    INNER,
    st.one_of(INNER.map(lambda inner: {"b": inner}), st.tuples(SCALARS), st.just(float("nan"))),
)
VARIABLES = st.sampled_from(["1", "01", "true", "TRUE", "x", "xy", "1.5", "nan", "inf", "", "-1"])
PATTERNS = st.sampled_from(["x", "^x", "x$", r"\d", "(?i)X", "x|1", "^$", ":1"])
_LISTED = st.lists(SCALARS, max_size=2)
OPERANDS: dict[str, st.SearchStrategy[Any]] = {
    "exists": st.booleans(),
    "equals": st.one_of(SCALARS, _LISTED, INNER),
    "not_equals": st.one_of(SCALARS, _LISTED),
    "in": st.lists(SCALARS, min_size=1, max_size=3),
    "not_in": st.lists(SCALARS | _LISTED, min_size=1, max_size=3),
    "contains": WORDS,
    "contains_any": st.lists(WORDS, min_size=1, max_size=3),
    "starts_with": WORDS,
    "ends_with": WORDS,
    "matches": PATTERNS,
    "matches_any": st.lists(PATTERNS, min_size=1, max_size=2),
    "gt": NUMBERS,
    "gte": NUMBERS,
    "lt": NUMBERS,
    "lte": NUMBERS,
}
OPERATORS = st.sampled_from(sorted(OPERANDS))
_BEFORE_CALL = [
    *["args.a", "args.b"] * 4,
    *["args.a.b", "args.a.b.a", "environment", "tool.name", "principal.role", "principal.user_id"],
    *["principal.claims.a", "principal.claims.a.b", "env.A", "env.B", "env.A", "metadata.a", "metadata.b.a"],
]
_AFTER_CALL = ["output.text", "output.text", "result.a", "result.b", "result.a.b", "result.output", "result.value"]
SELECTORS = {
    "pre": st.sampled_from(_BEFORE_CALL),
    "post": st.sampled_from([*_BEFORE_CALL[6:], *_AFTER_CALL * 3]),
}
SHAPES = st.sampled_from(["leaf", "leaf", "leaf", "all", "any", "not"])


@st.composite
def expressions(draw: st.DrawFn, kind: str, depth: int = 0) -> Data:
    """
    A ``when`` for a pre or post rule, at most three levels deep.
    """
    shape = draw(SHAPES) if depth < 2 else "leaf"
    if shape == "leaf":
        operator = draw(OPERATORS)
        return {draw(SELECTORS[kind]): {operator: draw(OPERANDS[operator])}}
    if shape == "not":
        return {"not": draw(expressions(kind, depth + 1))}
    return {shape: [draw(expressions(kind, depth + 1)) for _ in range(draw(st.integers(1, 3)))]}


_SELDOM = st.sampled_from([False] * 5 + [True])
_MODES = st.sampled_from(["enforce", "enforce", "observe"])
_WAYS = st.sampled_from(["timeout_action", "timeout_effect"])
_ENDS = st.sampled_from(["block", "allow", "allow"])
_ACTIONS = {"pre": st.sampled_from(["block", "ask", "ask"]), "post": st.sampled_from(["warn", "redact", "block"])}
_LIMITS = {
    "max_tool_calls": st.integers(1, 4),
    "max_attempts": st.integers(2, 9),
    "max_calls_per_tool": st.dictionaries(TOOL_PATTERNS, st.integers(1, 4), min_size=1, max_size=2),
}
_LIMIT_NAMES = st.lists(st.sampled_from(sorted(_LIMITS)), min_size=1, max_size=2)


@st.composite
def rules(draw: st.DrawFn, kind: str, rule_id: str) -> Data:
    """
    One rule of a type.
    """
    rule: Data = {"id": rule_id, "type": kind}
    if draw(_SELDOM):
        rule["enabled"] = draw(st.booleans())
    if draw(st.booleans()):
        rule["mode"] = draw(_MODES)
    if kind == "session":
        rule["limits"] = {name: draw(_LIMITS[name]) for name in draw(_LIMIT_NAMES)}
        return {**rule, "then": {"action": "block", "message": "limit"}}
    if draw(_SELDOM):
        rule["tools"] = draw(st.lists(TOOL_PATTERNS, min_size=1, max_size=2))
    else:
        rule["tool"] = draw(TOOL_PATTERNS)
    then = rule["then"] = {"action": draw(_ACTIONS[kind]), "message": f"says {rule_id}"}
    if then["action"] == "ask":
        if draw(st.booleans()):
            then["timeout"] = draw(st.integers(1, 9))
        if draw(st.booleans()):
            then[draw(_WAYS)] = draw(_ENDS)
    rule["when"] = draw(expressions(kind))
    return rule


_KINDS = st.lists(st.sampled_from(["pre", "pre", "pre", "post", "session"]), min_size=1, max_size=5)
_DEFAULT_MODES = st.sampled_from(["enforce"] * 4 + ["observe"])


@st.composite
def rulesets(draw: st.DrawFn) -> Data:
    """
    A document of up to five rules, most of them pre rules.
    """
    found = [draw(rules(kind, f"rule-{number}")) for number, kind in enumerate(draw(_KINDS))]
    return ruleset(*found, mode=draw(_DEFAULT_MODES))


_ARGS = st.fixed_dictionaries({"a": VALUES}, optional={"b": VALUES})
_PRINCIPALS = st.fixed_dictionaries(
    {"role": WORDS}, optional={"user_id": WORDS, "claims": st.dictionaries(KEYS, VALUES, max_size=2)}
)
_METADATA = st.dictionaries(KEYS, VALUES, max_size=2)
_ENVIRONMENTS = st.sampled_from(["production", "x"])
_FIELDS = st.dictionaries(st.sampled_from(["a", "b", "output", "value"]), VALUES, max_size=3)
OUTPUTS = st.one_of(WORDS, _FIELDS, _FIELDS, VALUES, WORDS.map(str.encode))
ENVIRONS = st.fixed_dictionaries({"A": VARIABLES}, optional={"B": VARIABLES})


@st.composite
def calls(draw: st.DrawFn, env: dict[str, str] | None = None) -> Call:
    """
    A call made of the same keys and values as the rules.
    """
    return Call(
        tool=draw(TOOLS),
        args=draw(_ARGS),
        principal=draw(_PRINCIPALS) if draw(st.booleans()) else None,
        environment=draw(_ENVIRONMENTS),
        metadata=draw(_METADATA),
        env=draw(ENVIRONS) if env is None else env,
        output=draw(OUTPUTS),
    )


OPTIONS = st.builds(
    Options,
    mode=st.sampled_from([None, None, None, "enforce", "observe"]),
    # Limits of a guard may be 0, those of a rule not.
    limits=st.none() | st.none() | st.fixed_dictionaries({**_LIMITS, "max_tool_calls": st.integers(0, 9)}),
    approval=st.sampled_from(["approved", "approved", "timeout", "denied", None]),
)


@st.composite
def scenarios(draw: st.DrawFn) -> tuple[Data, Options, list[Call]]:
    """
    A guard and up to six calls in one session.
    """
    env = draw(ENVIRONS)
    several = [draw(calls(env)) for _ in range(draw(st.integers(1, 6)))]
    return draw(rulesets()), draw(OPTIONS), several
