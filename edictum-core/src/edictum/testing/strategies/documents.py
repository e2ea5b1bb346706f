"""
Generators of rulesets as plain data, valid by construction.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from hypothesis import strategies as st

from edictum.testing.strategies.values import (
    IDS,
    KEYS,
    NUMBERS,
    PATHS,
    PATTERNS,
    SCALARS,
    TEXTS,
    TOOL_PATTERNS,
    WORDS,
    lists,
)

Data = dict[str, Any]

# --- expressions ------------------------------------------------------------------------------------

_ANY_OPERAND = st.one_of(SCALARS, lists(SCALARS, 0), st.dictionaries(KEYS, SCALARS, max_size=2))
_OPERANDS: dict[str, st.SearchStrategy[Any]] = {
    "exists": st.booleans(),
    "equals": _ANY_OPERAND,
    "not_equals": _ANY_OPERAND,
    "in": lists(_ANY_OPERAND),
    "not_in": lists(_ANY_OPERAND),
    "contains": TEXTS,
    "contains_any": lists(TEXTS),
    "starts_with": TEXTS,
    "ends_with": TEXTS,
    "matches": PATTERNS,
    "matches_any": lists(PATTERNS),
    "gt": NUMBERS,
    "gte": NUMBERS,
    "lt": NUMBERS,
    "lte": NUMBERS,
}


@cache
def operations(*operators: str) -> st.SearchStrategy[Data]:
    """
    ``{operator: operand}`` with one of these built-in operators; of all if none is named.

    Raises:
        KeyError: There is no such operator.
    """
    single = [st.fixed_dictionaries({name: _OPERANDS[name]}) for name in operators or sorted(_OPERANDS)]
    return st.one_of(*single)


@cache
def selectors(*, after_call: bool = False) -> st.SearchStrategy[str]:
    """
    Built-in selectors; with ``after_call`` also those of the tool's result.
    """
    args = st.builds("args.{}".format, PATHS)
    others = st.builds("{}.{}".format, st.sampled_from(["env", "metadata", "principal.claims"]), PATHS)
    fields = [f"principal.{name}" for name in ("user_id", "service_id", "org_id", "role", "ticket_ref")]
    fixed = st.sampled_from(["environment", "tool.name", *fields])
    if not after_call:
        return st.one_of(args, args, others, fixed)
    result = st.builds("result.{}".format, st.one_of(PATHS, st.sampled_from(["output", "value"])))
    return st.one_of(args, others, fixed, st.just("output.text"), st.just("output.text"), result, result)


@cache
def expressions(*, after_call: bool = False) -> st.SearchStrategy[Data]:
    """
    Valid ``when`` expressions; with ``after_call`` for post rules.
    """
    leaves = st.builds(lambda selector, test: {selector: test}, selectors(after_call=after_call), operations())
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.fixed_dictionaries({"all": lists(inner)}),
            st.fixed_dictionaries({"any": lists(inner)}),
            st.fixed_dictionaries({"not": inner}),
        ),
        max_leaves=4,
    )


# --- rules and rulesets -----------------------------------------------------------------------------

_MODES = st.sampled_from(["enforce", "observe"])
_HEAD: Data = {"enabled": st.sampled_from([True] * 5 + [False]), "mode": _MODES}
_TIMEOUTS: Data = {"timeout": st.integers(1, 900), "timeout_action": st.sampled_from(["block", "allow"])}


def _then(actions: list[str], more: st.SearchStrategy[Data] | None = None) -> st.SearchStrategy[Data]:
    body: Data = {"action": st.sampled_from(actions), "message": WORDS}
    annotated: Data = {
        "tags": lists(WORDS, 0),
        "metadata": st.dictionaries(st.sampled_from(["owner", "severity"]), SCALARS, max_size=2),
    }
    short, long = st.fixed_dictionaries(body), st.fixed_dictionaries(body, optional=annotated)
    return st.one_of(short, short, long) if more is None else _merged(st.one_of(short, short, long), more)


def _merged(*parts: st.SearchStrategy[Data]) -> st.SearchStrategy[Data]:
    return st.tuples(*parts).map(lambda found: {key: value for part in found for key, value in part.items()})


_ONE_TOOL = st.fixed_dictionaries({"tool": TOOL_PATTERNS})
_TOOL_CHOICE = st.one_of(_ONE_TOOL, _ONE_TOOL, st.fixed_dictionaries({"tools": lists(TOOL_PATTERNS)}))


def _pre() -> st.SearchStrategy[Data]:
    body = {
        "type": st.just("pre"),
        "when": expressions(),
        "then": _then(["block", "ask"], st.fixed_dictionaries({}, optional=_TIMEOUTS)),
    }
    return _merged(st.fixed_dictionaries(body, optional=_HEAD), _TOOL_CHOICE)


def _post() -> st.SearchStrategy[Data]:
    body = {"type": st.just("post"), "when": expressions(after_call=True), "then": _then(["warn", "redact", "block"])}
    return _merged(st.fixed_dictionaries(body, optional=_HEAD), _TOOL_CHOICE)


def _session() -> st.SearchStrategy[Data]:
    counts = st.integers(1, 4) | st.integers(1, 50)
    limits: Data = {
        "max_tool_calls": counts,
        "max_attempts": counts,
        "max_calls_per_tool": st.dictionaries(TOOL_PATTERNS, counts, min_size=1, max_size=2),
    }
    body = {
        "type": st.just("session"),
        "limits": st.fixed_dictionaries({}, optional=limits).filter(bool),
        "then": _then(["block"]),
    }
    return st.fixed_dictionaries(body, optional=_HEAD)


_ROOTS = st.sampled_from([".", "src", "/srv/data", "~/notes", "/tmp/a b"])
_BINARIES = st.sampled_from(["/usr/bin", "/opt/tools"])
_COMMANDS = st.sampled_from(["ls", "git status", "/usr/bin/env", "pytest"])
_HOSTS = st.sampled_from(
    ["example.com", "*.example.com", "**.example.org", "localhost:8080", "10.0.0.0/8", "[::1]", "*"]
)
_SCHEMES = st.sampled_from(["https", "http"])


@cache
def _sandbox(*, any_text: bool = False) -> st.SearchStrategy[Data]:
    """
    Sandbox rules; with any text in their lists, readers take them but they cannot be used.
    """
    roots, binaries, commands, hosts, schemes = (
        lists(WORDS if any_text else entries) for entries in (_ROOTS, _BINARIES, _COMMANDS, _HOSTS, _SCHEMES)
    )
    switch = st.booleans()
    named: Data = {"domains": hosts, "commands": commands}
    inside = st.one_of(
        st.fixed_dictionaries(
            {"within": roots},
            optional={
                "not_within": roots, "read_within": roots, "write_within": roots, "base": _ROOTS,
                "require_match": switch,
            },
        ),
        st.fixed_dictionaries({"write_within": roots}, optional={"not_within": roots}),
        st.fixed_dictionaries(
            {"allows": st.fixed_dictionaries(named)},
            optional={
                "not_allows": st.fixed_dictionaries({}, optional=named).filter(bool), "schemes": schemes,
                "path_dirs": binaries, "allow_userinfo": switch, "block_private": switch,
            },
        ),
        st.fixed_dictionaries({"allows": st.fixed_dictionaries({"commands": commands})}),
    )  # fmt: skip
    optional = {
        **_HEAD,
        **_TIMEOUTS,
        "outside": st.sampled_from(["block", "ask", "approve"]),
        "allow_pipelines": switch,
        "strict_interpreters": switch,
    }
    body = {"type": st.just("sandbox"), "message": WORDS}
    return _merged(st.fixed_dictionaries(body, optional=optional), _TOOL_CHOICE, inside)


@cache
def rules(kind: str) -> st.SearchStrategy[Data]:
    """
    Rules of one type (``pre``, ``post``, ``session`` or ``sandbox``), without ``id``.

    Raises:
        KeyError: There is no such type.
    """
    makers: dict[str, Callable[[], st.SearchStrategy[Data]]] = {
        "pre": _pre,
        "post": _post,
        "session": _session,
        "sandbox": _sandbox,
    }
    return makers[kind]()


@cache
def rulesets(*, sandbox: bool = False, for_readers: bool = False) -> st.SearchStrategy[Data]:
    """
    Valid rulesets with one to five rules, as plain data for :meth:`~edictum.Edictum.from_bundle_dict`.

    Args:
        sandbox: With sandbox rules, whose judgement looks at the files of this machine.
        for_readers: With the sections ``observability`` and ``observe_alongside``, and with any text in the lists of
            sandbox rules.  This is for programs that read documents: a guard may refuse them, or write to the
            files that they name.
    """
    bodies = [
        *[rules("pre")] * 3,
        rules("post"),
        rules("session"),
        *([_sandbox(any_text=for_readers)] if sandbox else []),
    ]
    several = st.lists(st.tuples(IDS, st.one_of(*bodies)), min_size=1, max_size=5, unique_by=lambda item: item[0])
    tool = st.fixed_dictionaries(
        {"side_effect": st.sampled_from(["pure", "read", "write", "irreversible"])},
        optional={"idempotent": st.booleans()},
    )
    optional: Data = {"tools": st.dictionaries(TOOL_PATTERNS, tool, max_size=2)}
    if for_readers:
        optional |= {"observe_alongside": st.booleans(), "observability": _observability()}
    return st.fixed_dictionaries(
        {
            "apiVersion": st.just("edictum/v1"),
            "kind": st.just("Ruleset"),
            "metadata": st.fixed_dictionaries({"name": IDS}, optional={"description": TEXTS}),
            "defaults": st.fixed_dictionaries({"mode": st.sampled_from(["enforce"] * 4 + ["observe"])}),
            "rules": several.map(lambda found: [{"id": rule_id, **body} for rule_id, body in found]),
        },
        optional=optional,
    )


def _observability() -> st.SearchStrategy[Data]:
    otel = st.fixed_dictionaries(
        {},
        optional={
            "enabled": st.booleans(),
            "endpoint": WORDS,
            "protocol": st.sampled_from(["grpc", "http"]),
            "resource_attributes": st.dictionaries(KEYS, TEXTS, max_size=2),
        },
    )
    optional: Data = {"otel": otel, "stdout": st.booleans(), "file": st.none() | TEXTS}
    return st.fixed_dictionaries({}, optional=optional)
