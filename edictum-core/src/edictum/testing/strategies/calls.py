"""
Generators of tool calls, of those who make them, and of environment variables that rules read.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeAlias

from hypothesis import strategies as st

from edictum.testing.strategies.values import KEYS, SCALARS, TEXTS, TOOL_NAMES, VALUES, WORDS
from edictum.tool_call import Principal

Data = dict[str, Any]
Leaf: TypeAlias = tuple[str, str, Any]
"""
Selector, operator, operand.
"""

_FIELDS = ("user_id", "service_id", "org_id", "role", "ticket_ref")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True)
class SampleCall:
    """
    A tool call to try.

    Attributes:
        tool_name: Name of the tool.
        args: Its arguments.
        principal: On whose behalf.
        environment: For example ``production``.
        metadata: For ``metadata.*`` selectors.
        output: What the tool returns.
    """

    tool_name: str
    args: Data
    principal: Principal | None = None
    environment: str = "production"
    metadata: Data = field(default_factory=dict)
    output: Any = None

    @property
    def fields(self) -> Data:
        """
        Principal, environment and metadata, as keywords for the methods of a guard that take a call.
        """
        return {"principal": self.principal, "environment": self.environment, "metadata": self.metadata}


@cache
def principals() -> st.SearchStrategy[Principal]:
    """
    Principals with any of their fields.
    """
    optional: Data = {**dict.fromkeys(_FIELDS, WORDS), "claims": st.dictionaries(KEYS, VALUES, max_size=2)}
    return st.fixed_dictionaries({}, optional=optional).map(lambda found: Principal(**found))


def tool_calls(ruleset: Mapping[str, Any] | None = None) -> st.SearchStrategy[SampleCall]:
    """
    Tool calls.

    Args:
        ruleset: A ruleset as plain data, which the calls are made for: of its tools, with values that its
            expressions compare, on both sides of each comparison, or missing, or of another type.  For a file,
            ``load_bundle("rules.yaml")[0]`` of :mod:`edictum.yaml_engine` gives it.

    Raises:
        TypeError: The ruleset is no mapping.
    """
    return _calls(_targets(ruleset))


def variables(ruleset: Mapping[str, Any]) -> st.SearchStrategy[dict[str, str]]:
    """
    Environment variables that a ruleset reads, to be given to a guard as ``env``.

    Args:
        ruleset: See :func:`tool_calls`.

    Raises:
        TypeError: The ruleset is no mapping.
    """
    found: dict[str, list[st.SearchStrategy[str]]] = {}
    for target in _targets(ruleset):
        for (selector, _, _), values in zip(target.leaves, target.values, strict=True):
            root, _, name = selector.partition(".")
            if root == "env" and name:
                found.setdefault(name, []).append(values.map(_as_text) | _SPELLINGS)
    # A variable cannot hold them.
    optional = {name: st.one_of(*values).filter(lambda text: "\x00" not in text) for name, values in found.items()}
    return st.fixed_dictionaries({}, optional=optional)


# Texts that become numbers and truth values, and those that nearly do.
_SPELLINGS = st.sampled_from(["", "1", "01", "-1", "1.5", "nan", "inf", "true", "TRUE", "false", "x"])


# --- what a ruleset looks at ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Target:
    """
    A rule, as far as it says which calls it is about.

    Attributes:
        tool: Names of its tools.
        leaves: Its comparisons.
        values: Values around each of them.
        arguments: Arguments that a sandbox looks at.
    """

    tool: st.SearchStrategy[str]
    leaves: list[Leaf]
    values: list[st.SearchStrategy[Any]]
    arguments: dict[str, st.SearchStrategy[str]]


def _targets(ruleset: object) -> list[_Target]:
    if ruleset is None:
        return []
    if not isinstance(ruleset, Mapping):
        message = "give the ruleset as plain data, for example load_bundle(path)[0] of edictum.yaml_engine"
        raise TypeError(f"a ruleset is a mapping, not {type(ruleset).__name__}; {message}")
    return [_target(rule) for rule in ruleset.get("rules", [])]


def _target(rule: Mapping[str, Any]) -> _Target:
    leaves = list(_leaves(rule.get("when", {})))
    return _Target(
        st.sampled_from(_patterns(rule)).flatmap(_names_for),
        leaves,
        [values_around(operator, operand) for _, operator, operand in leaves],
        {name: st.sampled_from(texts) for name, texts in _sandbox_arguments(rule).items()},
    )


def _patterns(rule: Mapping[str, Any]) -> list[str]:
    if rule.get("type") == "session":
        return [*rule.get("limits", {}).get("max_calls_per_tool", {}), "*"]
    return list(rule.get("tools") or [rule.get("tool", "*")])


def _leaves(when: Mapping[str, Any]) -> Iterator[Leaf]:
    for key, inner in when.items():
        if key in ("all", "any"):
            for item in inner:
                yield from _leaves(item)
        elif key == "not":
            yield from _leaves(inner)
        else:
            for operator, operand in inner.items():
                yield key, operator, operand


def _sandbox_arguments(rule: Mapping[str, Any]) -> dict[str, list[str]]:
    """
    Arguments that a sandbox rule looks at, inside and outside of what it allows.
    """
    if rule.get("type") != "sandbox":
        return {}
    roots = [root for key in ("within", "read_within", "write_within", "not_within") for root in rule.get(key, [])]
    lists = [rule.get("allows", {}), rule.get("not_allows", {})]
    commands = [command for entries in lists for command in entries.get("commands", [])]
    hosts = [host.replace("*", "x") for entries in lists for host in entries.get("domains", [])]
    return {
        "path": [*(f"{root}{tail}" for root in roots for tail in ("/x", "", "/../x", "x")), "/etc/passwd", "~/.ssh"],
        "command": [*(f"{command}{tail}" for command in commands for tail in ("", " x", "; x", " > /x")), "rm -rf /"],
        "url": [*(f"{head}{host}/x" for host in hosts for head in ("https://", "http://x@")), "https://evil.example/"],
    }


# --- values on both sides of a comparison -----------------------------------------------------------


def values_around(operator: str, operand: Any) -> st.SearchStrategy[Any]:
    """
    Values for a comparison: such as meet it, such as look like these, and any.

    Args:
        operator: A built-in operator; of others nothing is known, so that few values meet them.
        operand: Its operand.
    """

    @cache  # a strategy is checked when it is first drawn from, which costs more than drawing
    def values(sort: str) -> st.SearchStrategy[Any]:
        if sort == "meeting":
            return _values_that_meet(operator, operand)
        return st.sampled_from(_lookalikes(operand)) if sort == "lookalike" else VALUES

    return _SORTS.flatmap(values)


_SORTS = st.sampled_from(["meeting", "meeting", "lookalike", "any"])


def _values_that_meet(operator: str, operand: Any) -> st.SearchStrategy[Any]:
    several = operand if isinstance(operand, list) else [operand]
    one = st.sampled_from(several or [None])
    if operator == "equals":
        return st.just(operand)
    if operator == "in":
        return one
    if operator in _FRAMES:
        return st.builds(_FRAMES[operator], TEXTS, one.map(_as_text), TEXTS)
    if operator in ("matches", "matches_any"):
        return st.one_of(*(_texts_that_match(pattern) for pattern in several))
    if operator in ("gt", "gte", "lt", "lte"):
        step = 1 if operator.startswith("g") else -1
        return st.sampled_from([operand + step, operand + 2 * step, operand, operand - step])
    return VALUES  # also operators of the user's own, which nothing is known about


_FRAMES: dict[str, Callable[[str, str, str], str]] = {
    "contains": lambda before, text, after: before + text + after,
    "contains_any": lambda before, text, after: before + text + after,
    "starts_with": lambda before, text, after: text + after,
    "ends_with": lambda before, text, after: before + text,
}


def _texts_that_match(pattern: str) -> st.SearchStrategy[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return st.from_regex(re.compile(pattern))
    except re.error:
        return TEXTS  # the syntax of rulesets is not all that of the standard library


def _lookalikes(operand: Any) -> list[Any]:
    """
    Values that a careless comparison takes for the operand.
    """
    found: list[Any] = [operand, [operand]]
    for item in operand if isinstance(operand, list) else [operand]:
        found += [item, [item], (item,), {"size": item}, _as_text(item)]
        if isinstance(item, str):
            found += [item.swapcase(), f"{item} ", item[:-1]]
            found += [number for number in (0, 1, True, False, 1.5) if _as_text(number) == item]
        elif isinstance(item, (bool, int, float)) and abs(item) < 1e9:
            found += [float(item), int(item), bool(item), item + 1, -item]
    return found


def _as_text(value: Any) -> str:
    """
    A value as an environment variable spells it.
    """
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else str(value)


# --- calls ------------------------------------------------------------------------------------------


@st.composite
def _calls(draw: st.DrawFn, targets: list[_Target]) -> SampleCall:
    # A rule that compares nothing is met by any call.
    comparing = [target for target in targets if target.leaves] or targets
    target = comparing[draw(st.integers(0, len(comparing) - 1))] if comparing else None
    parts = _Parts(draw)
    others = [other for other in comparing if other is not target][:_FEW]
    for each in (*([] if not others or draw(_SELDOM) else others), *([] if target is None else [target])):
        for leaf, values in zip(each.leaves, each.values, strict=True):
            parts.place(leaf, values)
    for name, texts in ({} if target is None else target.arguments).items():
        if draw(_MAYBE):
            parts.args[name] = draw(texts)
    if not parts.args or draw(_SELDOM):
        parts.args = {**draw(_ARGS), **parts.args}
    tool = parts.tool or draw(TOOL_NAMES if target is None or draw(_SELDOM) else target.tool)
    return SampleCall(tool, parts.args, parts.principal(), parts.environment, parts.metadata, parts.output())


_FEW = 3
_MAYBE = st.booleans()
_SELDOM = st.sampled_from([False] * 5 + [True])
_ARGS = st.dictionaries(KEYS, VALUES, max_size=2)
_ENVIRONMENTS = st.sampled_from(["production", "production", "x"])
_ANYBODY = st.none() | principals()
_ANY_OUTPUT = st.one_of(TEXTS, SCALARS, _ARGS)
_FORMS = st.sampled_from(["text", "text", "bytes", "list", "map"])


class _Parts:
    """
    A call while it is put together.
    """

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self.tool: str | None = None
        self.args: Data = {}
        self.metadata: Data = {}
        self.environment = draw(_ENVIRONMENTS)
        self._who: Data = {}
        self._claims: Data = {}
        self._result: Data = {}
        self._texts: list[str] = []

    def place(self, leaf: Leaf, values: st.SearchStrategy[Any]) -> None:
        """
        Put a value for a comparison where its selector looks for it, or leave it out.
        """
        selector, operator, operand = leaf
        if self._draw(_MAYBE if operator == "exists" and not operand else _SELDOM):
            return
        # A copy: the value may be the operand, which belongs to the ruleset.
        value = copy.deepcopy(self._draw(values))
        root, _, rest = selector.partition(".")
        path = rest.split(".")
        if selector == "environment":
            self.environment = _as_text(value)
        elif selector == "tool.name":
            self.tool = value if isinstance(value, str) and _PLAIN_NAME.fullmatch(value) else None
        elif selector == "output.text":
            self._texts.append(_as_text(value))
        elif root == "principal" and path[0] in _FIELDS:
            self._who[path[0]] = _as_text(value)
        elif root == "principal":
            _put(self._claims, path[1:], value)
        elif root in ("args", "metadata", "result"):
            _put({"args": self.args, "metadata": self.metadata, "result": self._result}[root], path, value)

    def principal(self) -> Principal | None:
        """
        The one that the comparisons look at, or any.
        """
        if self._who or self._claims:
            return Principal(**self._who, claims=self._claims)
        return self._draw(_ANYBODY)

    def output(self) -> Any:
        """
        What the comparisons look at, or anything.
        """
        text = " ".join(self._texts)
        if self._result:
            (key, value), *more = self._result.items()
            if not more and key in ("output", "value") and self._draw(_MAYBE):
                return value  # what these two mean where the result is no mapping
            return {**self._result, "text": text} if self._texts else self._result
        if self._texts:
            forms = {"text": text, "bytes": text.encode("utf-8", "replace"), "list": [text], "map": {"text": text}}
            return forms[self._draw(_FORMS)]
        return self._draw(_ANY_OUTPUT)


def _put(container: Data, path: list[str], value: Any) -> None:
    for step in path[:-1]:
        inner = container.get(step)
        container[step] = inner = dict(inner) if isinstance(inner, dict) else {}
        container = inner
    if path:
        container[path[-1]] = value


def _names_for(pattern: str) -> st.SearchStrategy[str]:
    """
    Tool names that a glob is likely to match.
    """
    if pattern == "*":
        return TOOL_NAMES
    pieces = re.findall(r"\[[^\]]+\]|.", pattern)
    return st.tuples(*map(_piece, pieces)).map("".join).map(lambda name: name or "x")


def _piece(piece: str) -> st.SearchStrategy[str]:
    if piece == "*":
        return st.sampled_from(["", "x", "file"])
    if piece == "?":
        return st.sampled_from("xb")
    return st.sampled_from(piece[1:-1] if len(piece) > 2 else piece)
