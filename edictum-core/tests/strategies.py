"""
Generators of rulesets as plain data, valid by construction and small.

``expressions()`` and ``rulesets()`` give what the strict reader accepts; ``mutated_rulesets()`` damages such a document
in one place, so that it is sometimes valid and mostly not.  Strategies are built once each: building them costs more
than drawing from them.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

from hypothesis import strategies as st

Data = dict[str, Any]

NAMES = st.sampled_from(["path", "command", "branch", "mode", "size", "x-y", "été"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(".".join)
TEXTS = st.text(
    alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cf", "Zl", "Zp", "Cn"]), max_size=12
)
WORDS = TEXTS.filter(bool)
NUMBERS = st.integers(-1000, 1000) | st.floats(-1000, 1000, allow_nan=False).filter(lambda x: not x.is_integer())
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
PATTERNS = st.sampled_from(["rm", r"^a+$", r"\bkey\b", "[0-9]{3}", "a|b", r"\s*x", "(?i)prod"])
TOOLS = st.sampled_from(["*", "Bash", "read_file", "write_*", "mcp__[ab]?", "Read"])
IDS = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,5}", fullmatch=True)


def _lists(items: st.SearchStrategy[Any], shortest: int = 1) -> st.SearchStrategy[list[Any]]:
    return st.lists(items, min_size=shortest, max_size=3)


_OPERANDS: dict[str, st.SearchStrategy[Any]] = {
    "exists": st.booleans(),
    "equals": SCALARS | _lists(SCALARS, 0),
    "not_equals": SCALARS,
    "in": _lists(SCALARS),
    "not_in": _lists(SCALARS),
    "contains": TEXTS,
    "contains_any": _lists(TEXTS),
    "starts_with": TEXTS,
    "ends_with": TEXTS,
    "matches": PATTERNS,
    "matches_any": _lists(PATTERNS),
    "gt": NUMBERS,
    "gte": NUMBERS,
    "lt": NUMBERS,
    "lte": NUMBERS,
}


@cache
def selectors(*, after_call: bool = False) -> st.SearchStrategy[str]:
    """
    Built-in selectors; with ``after_call`` also those of the tool's result.
    """
    roots = ["args", "env", "metadata", "principal.claims", *(["result"] if after_call else [])]
    fixed = ["environment", "tool.name", *(["output.text"] if after_call else [])]
    fields = [f"principal.{name}" for name in ("user_id", "service_id", "org_id", "role", "ticket_ref")]
    return st.sampled_from(fixed + fields) | st.builds("{}.{}".format, st.sampled_from(roots), PATHS)


@cache
def leaves(*, after_call: bool = False) -> st.SearchStrategy[Data]:
    """
    ``{selector: {operator: operand}}``.
    """
    tests = st.sampled_from(sorted(_OPERANDS)).flatmap(lambda name: st.fixed_dictionaries({name: _OPERANDS[name]}))
    return st.builds(lambda selector, test: {selector: test}, selectors(after_call=after_call), tests)


@cache
def expressions(*, after_call: bool = False) -> st.SearchStrategy[Data]:
    """
    Valid ``when`` expressions.
    """
    return st.recursive(
        leaves(after_call=after_call),
        lambda inner: st.one_of(
            st.fixed_dictionaries({"all": _lists(inner)}),
            st.fixed_dictionaries({"any": _lists(inner)}),
            st.fixed_dictionaries({"not": inner}),
        ),
        max_leaves=4,
    )


def _then(actions: list[str], optional: Data | None = None) -> st.SearchStrategy[Data]:
    return st.fixed_dictionaries(
        {"action": st.sampled_from(actions), "message": WORDS},
        optional={
            "tags": _lists(WORDS, 0),
            "metadata": st.dictionaries(st.sampled_from(["owner", "severity"]), SCALARS, max_size=2),
            **(optional or {}),
        },
    )


_TIMEOUTS: Data = {
    "timeout": st.integers(1, 900),
    "timeout_action": st.sampled_from(["block", "allow"]),
}
_HEAD: Data = {"enabled": st.booleans(), "mode": st.sampled_from(["enforce", "observe"])}


def _tool_choice() -> st.SearchStrategy[Data]:
    return st.fixed_dictionaries({"tool": TOOLS}) | st.fixed_dictionaries({"tools": _lists(TOOLS)})


def _merged(*parts: st.SearchStrategy[Data]) -> st.SearchStrategy[Data]:
    return st.tuples(*parts).map(lambda found: {key: value for part in found for key, value in part.items()})


@cache
def pre_rules() -> st.SearchStrategy[Data]:
    """
    Pre rules without ``id``.
    """
    then = _then(["block", "ask"], _TIMEOUTS)
    body = {"type": st.just("pre"), "when": expressions(), "then": then}
    return _merged(st.fixed_dictionaries(body, optional=_HEAD), _tool_choice())


@cache
def post_rules() -> st.SearchStrategy[Data]:
    """
    Post rules without ``id``.
    """
    then = _then(["warn", "redact", "block"])
    body = {"type": st.just("post"), "when": expressions(after_call=True), "then": then}
    return _merged(st.fixed_dictionaries(body, optional=_HEAD), _tool_choice())


@cache
def session_rules() -> st.SearchStrategy[Data]:
    """
    Session rules without ``id``.
    """
    counts = st.integers(1, 50)
    limits = st.fixed_dictionaries(
        {},
        optional={
            "max_tool_calls": counts,
            "max_attempts": counts,
            "max_calls_per_tool": st.dictionaries(TOOLS, counts, min_size=1, max_size=2),
        },
    ).filter(bool)
    return st.fixed_dictionaries(
        {"type": st.just("session"), "limits": limits, "then": _then(["block"])}, optional=_HEAD
    )


@cache
def sandbox_rules() -> st.SearchStrategy[Data]:
    """
    Sandbox rules without ``id``.
    """
    words, switch = _lists(WORDS), st.booleans()
    lists = {"domains": words, "commands": words}
    inside = st.one_of(
        st.fixed_dictionaries(
            {"within": words},
            optional={
                "not_within": words, "read_within": words, "write_within": words, "base": WORDS,
                "require_match": switch,
            },
        ),
        st.fixed_dictionaries({"write_within": words}, optional={"not_within": words}),
        st.fixed_dictionaries(
            {"allows": st.fixed_dictionaries(lists)},
            optional={
                "not_allows": st.fixed_dictionaries({}, optional=lists).filter(bool), "schemes": words,
                "path_dirs": words, "allow_userinfo": switch, "block_private": switch,
            },
        ),
        st.fixed_dictionaries({"allows": st.fixed_dictionaries({"commands": words})}),
    )  # fmt: skip
    body = {"type": st.just("sandbox"), "message": WORDS}
    optional = {
        **_HEAD,
        **_TIMEOUTS,
        "outside": st.sampled_from(["block", "ask", "approve"]),
        "allow_pipelines": switch,
        "strict_interpreters": switch,
    }
    return _merged(st.fixed_dictionaries(body, optional=optional), _tool_choice(), inside)


@cache
def rules(*, sandbox: bool = False) -> st.SearchStrategy[list[Data]]:
    """
    One to three rules with different ids.
    """
    bodies = [pre_rules(), post_rules(), session_rules(), *([sandbox_rules()] if sandbox else [])]
    with_ids = st.tuples(IDS, st.one_of(*bodies))
    return st.lists(with_ids, min_size=1, max_size=3, unique_by=lambda item: item[0]).map(
        lambda found: [{"id": rule_id, **body} for rule_id, body in found]
    )


@cache
def rulesets(*, sandbox: bool = False) -> st.SearchStrategy[Data]:
    """
    Whole documents; with ``sandbox`` also sandbox rules.
    """
    otel = st.fixed_dictionaries(
        {},
        optional={
            "enabled": st.booleans(),
            "endpoint": WORDS,
            "protocol": st.sampled_from(["grpc", "http"]),
            "resource_attributes": st.dictionaries(NAMES, TEXTS, max_size=2),
        },
    )
    tool = st.fixed_dictionaries(
        {"side_effect": st.sampled_from(["pure", "read", "write", "irreversible"])},
        optional={"idempotent": st.booleans()},
    )
    return st.fixed_dictionaries(
        {
            "apiVersion": st.just("edictum/v1"),
            "kind": st.just("Ruleset"),
            "metadata": st.fixed_dictionaries({"name": IDS}, optional={"description": TEXTS}),
            "defaults": st.fixed_dictionaries({"mode": _HEAD["mode"]}),
            "rules": rules(sandbox=sandbox),
        },
        optional={
            "tools": st.dictionaries(TOOLS, tool, max_size=2),
            "observe_alongside": st.booleans(),
            "observability": st.fixed_dictionaries(
                {}, optional={"otel": otel, "stdout": st.booleans(), "file": st.none() | TEXTS}
            ),
        },
    )


_STRANGE_VALUES: list[Any] = [
    None,
    True,
    0,
    1,
    1.5,
    "",
    "x",
    "block",
    "ask",
    "enforce",
    "pre",
    "post",
    "session",
    "sandbox",
    "yes",
    "{a,b}",
    "Upper",
    "m" * 501,
    [],
    ["a", ""],
    {},
    {"args.x": {"equals": 1}},
    {"output.text": {"contains": "a"}},
]
_STRANGE_KEYS = [
    "tool",
    "tools",
    "when",
    "mode",
    "enabled",
    "timeout",
    "timeout_action",
    "timeout_effect",
    "tags",
    "limits",
    "message",
    "extends",
    "override",
    "within",
    "not_within",
    "allows",
    "not_allows",
    "domains",
    "metadata",
    "all",
    "not",
    "args",
    "args.x",
    "args..x",
    "principal.rol",
    "principal.claims",
    "result.x",
    "equals",
    "matchs",
    "unknown",
]


@st.composite
def mutated_rulesets(draw: st.DrawFn) -> Data:
    """
    A valid document with one thing removed, replaced or added somewhere.
    """
    document = copy.deepcopy(draw(rulesets(sandbox=True)))
    places = _containers(document)[::-1]  # the innermost first: generators favour the front
    container = draw(st.sampled_from(places))
    value = copy.deepcopy(draw(st.sampled_from(_STRANGE_VALUES)))
    if isinstance(container, list):
        index = draw(st.integers(0, len(container)))
        if index < len(container) and draw(st.booleans()):
            del container[index]
        else:
            container[index : index + 1] = [value]
        return document
    how = draw(st.sampled_from(["replace", "add", "remove"]))
    if how == "add" or not container:
        container[draw(st.sampled_from(_STRANGE_KEYS))] = value
    else:
        key = draw(st.sampled_from(sorted(container)))
        if how == "remove":
            del container[key]
        else:
            container[key] = value
    return document


def _containers(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [value, *(inner for item in value.values() for inner in _containers(item))]
    if isinstance(value, list):
        return [value, *(inner for item in value for inner in _containers(item))]
    return []
