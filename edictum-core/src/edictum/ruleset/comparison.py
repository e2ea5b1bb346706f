"""
What differs between two rulesets in meaning.

Both are brought into one canonical form first: defaults filled in, synonyms resolved, a rule's effective mode, lists
whose order means nothing as sets.  What is equal then is equal in meaning, however it is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, Final, Literal, TypeAlias

from edictum.ruleset.document import from_mapping
from edictum.ruleset.operators import same
from edictum.ruleset.problems import Path
from edictum.ruleset.reader import read_ruleset
from edictum.ruleset.syntax import All, AnyOf, Expression, Leaf, PostRule, PreRule, Rule, SandboxRule, SessionRule
from edictum.ruleset.vocabulary import MAX_RULES, RULE_TYPES

ABSENT: Final = object()
"""Stands in a :class:`Change` for the side on which there is nothing."""

_SETS_OF_OPERANDS = frozenset(("in", "not_in", "contains_any"))
_TYPES: dict[type, str] = {PreRule: "pre", PostRule: "post", SessionRule: "session", SandboxRule: "sandbox"}


class _Unordered(list[Any]):
    """
    A list whose order and repetitions mean nothing.
    """


@dataclass(frozen=True, slots=True)
class Change:
    """
    One value that differs.

    Attributes:
        path: Where in the canonical form of the rule or document.
        old: The value before, or :data:`ABSENT`.
        new: The value after, or :data:`ABSENT`.
    """

    path: Path
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class ComparedRule:
    """
    One rule of a comparison.

    Attributes:
        id: The rule.
        type: Its type, after the change if there is one.
        changes: What differs, in document order.
    """

    id: str
    type: str
    changes: tuple[Change, ...] = ()


@dataclass(slots=True)
class Comparison:
    """
    What differs between two rulesets.

    Attributes:
        added: Rules that only the second has.
        removed: Rules that only the first has.
        changed: Rules that differ.
        unchanged: Rules that mean the same.
        settings: What differs outside the rules.
        moved: Ids of rules that stand in another order among those of their type.
    """

    added: list[ComparedRule] = field(default_factory=list)
    removed: list[ComparedRule] = field(default_factory=list)
    changed: list[ComparedRule] = field(default_factory=list)
    unchanged: list[ComparedRule] = field(default_factory=list)
    settings: list[Change] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)

    @property
    def has_changes(self) -> bool:
        """
        Whether anything differs.
        """
        return bool(self.added or self.removed or self.changed or self.settings or self.moved)


def compare_rulesets(before: Mapping[str, Any], after: Mapping[str, Any]) -> Comparison:
    """
    Compare two valid documents that extend nothing any more.

    Args:
        before: The first document.
        after: The second document.

    Raises:
        EdictumConfigError: One of them is not valid.
    """
    old_settings, old_rules = _canonical(before)
    new_settings, new_rules = _canonical(after)
    comparison = Comparison(settings=list(_changes(old_settings, new_settings, ())))
    comparison.removed += [
        ComparedRule(rule_id, rule["type"]) for rule_id, rule in old_rules.items() if rule_id not in new_rules
    ]
    for rule_id, rule in new_rules.items():
        if rule_id not in old_rules:
            comparison.added.append(ComparedRule(rule_id, rule["type"]))
            continue
        changes = tuple(_changes(old_rules[rule_id], rule, ()))
        into = comparison.changed if changes else comparison.unchanged
        into.append(ComparedRule(rule_id, rule["type"], changes))
    comparison.moved += _moved(old_rules, new_rules)
    return comparison


def expression_key(expression: Expression) -> str:
    """
    A text that two conditions share exactly if they are equal in meaning as far as their form shows.
    """
    return _key(_expression(expression))


def effect_key(rule: Rule) -> str:
    """
    A text that two rules share if they test the same for the same tools and do the same, whatever they say about it.
    """
    canonical = _rule(rule, enabled=True)
    words = canonical.get("then", canonical)
    for name in ("message", "tags", "metadata"):
        words.pop(name, None)
    return _key(canonical)


# --- the canonical form ---------------------------------------------------------------------------

_Rules: TypeAlias = dict[str, dict[str, Any]]


def _canonical(document: Mapping[str, Any]) -> tuple[dict[str, Any], _Rules]:
    """
    Settings and rules of a document; of disabled rules too, which the reader leaves out.
    """
    written = document.get("rules", [])
    enabled = {rule["id"]: rule.get("enabled", True) for rule in written}
    everything = {**document, "rules": [{**rule, "enabled": True} for rule in written]}
    whole = from_mapping(everything, max_rules=max(MAX_RULES, len(written)))
    ruleset = read_ruleset(whole, custom=None, composed=True)
    tools = {
        name: {"side_effect": tool.side_effect.value, "idempotent": tool.idempotent}
        for name, tool in ruleset.tools.items()
    }
    seen = ruleset.observability
    settings = {
        "metadata": _given({"name": ruleset.name, "description": ruleset.description}),
        "defaults": {"mode": ruleset.mode},
        "tools": tools,
        "observability": _given({"stdout": seen.stdout, "file": seen.file, "otel": seen.otel}),
        "observe_alongside": ruleset.observe_alongside,
    }
    return settings, {rule.id: _rule(rule, enabled=enabled[rule.id]) for rule in ruleset.rules}


def _rule(rule: Rule, *, enabled: bool) -> dict[str, Any]:
    head = {"type": _TYPES[type(rule)], "enabled": enabled, "mode": rule.mode}
    if isinstance(rule, SandboxRule):
        return {**head, "tools": _Unordered(rule.tools), **_sandbox(rule)}
    then: dict[str, Any] = {"message": rule.message, "tags": _Unordered(rule.tags), "metadata": rule.metadata}
    if isinstance(rule, SessionRule):
        limits = {
            "max_tool_calls": rule.max_tool_calls,
            "max_attempts": rule.max_attempts,
            "max_calls_per_tool": rule.max_calls_per_tool,
        }
        return {**head, "limits": _given(limits), "then": then}
    then = {"action": rule.action, **then}
    if isinstance(rule, PreRule) and rule.action == "ask":  # nobody waits where nobody is asked
        then |= {"timeout": rule.timeout, "timeout_action": rule.timeout_action}
    return {**head, "tools": _Unordered(rule.tools), "when": _expression(rule.when), "then": then}


def _sandbox(rule: SandboxRule) -> dict[str, Any]:
    found: dict[str, Any] = {
        "within": _Unordered(rule.within),
        "read_within": _Unordered(rule.read_within),
        "write_within": _Unordered(rule.write_within),
        "not_within": _Unordered(rule.not_within),
        "base": rule.base,
        "require_match": rule.require_match,
        "allows": _given({"commands": _unordered(rule.commands), "domains": _unordered(rule.domains)}),
        "not_allows": {"commands": _Unordered(rule.not_commands), "domains": _Unordered(rule.not_domains)},
        "path_dirs": _unordered(rule.path_dirs),
        "allow_pipelines": rule.allow_pipelines,
        "strict_interpreters": rule.strict_interpreters,
        "schemes": _unordered(rule.schemes),
        "allow_userinfo": rule.allow_userinfo,
        "block_private": rule.block_private,
        "outside": rule.outside,
        "message": rule.message,
    }
    if rule.outside == "ask":
        found |= {"timeout": rule.timeout, "timeout_action": rule.timeout_action}
    return _given(found)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _unordered(items: Sequence[str] | None) -> _Unordered | None:
    return None if items is None else _Unordered(items)


def _expression(expression: Expression) -> dict[str, Any]:
    if isinstance(expression, Leaf):
        operand = expression.operand
        if expression.operator in _SETS_OF_OPERANDS and type(operand) is list:
            operand = _Unordered(operand)
        return {expression.selector: {expression.operator: operand}}
    if isinstance(expression, All | AnyOf):
        if len(expression.items) == 1:
            return _expression(expression.items[0])
        word: Literal["all", "any"] = "all" if isinstance(expression, All) else "any"
        return {word: [_expression(item) for item in expression.items]}
    return {"not": _expression(expression.item)}


# --- differences ----------------------------------------------------------------------------------


def _changes(old: Any, new: Any, path: Path) -> Iterator[Change]:
    if isinstance(old, _Unordered) and isinstance(new, _Unordered):
        for item in _without(old, new):
            yield Change(path, item, ABSENT)
        for item in _without(new, old):
            yield Change(path, ABSENT, item)
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in (*old, *(key for key in new if key not in old)):
            yield from _changes(old.get(key, ABSENT), new.get(key, ABSENT), (*path, key))
    elif isinstance(old, list) and isinstance(new, list):
        yield from _list_changes(old, new, path)
    elif old is ABSENT or new is ABSENT or not same(old, new):
        yield Change(path, old, new)


def _without(items: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    """
    The items that are not among the others, each once.
    """
    known = {_key(item) for item in others}
    return [item for key, item in {_key(item): item for item in items}.items() if key not in known]


def _list_changes(old: list[Any], new: list[Any], path: Path) -> Iterator[Change]:
    """
    Changes of a list whose order counts; an item that was inserted does not change those behind it.
    """
    old_keys, new_keys = ([_key(item) for item in items] for items in (old, new))
    if old_keys == new_keys:
        return
    matcher = SequenceMatcher(None, old_keys, new_keys, autojunk=False)
    for what, start, end, new_start, new_end in matcher.get_opcodes():
        if what == "replace" and end - start == new_end - new_start:
            for place in range(start, end):
                yield from _changes(old[place], new[new_start + place - start], (*path, place))
        elif what != "equal":
            for place in range(start, end):
                yield Change((*path, place), old[place], ABSENT)
            for place in range(new_start, new_end):
                yield Change((*path, place), ABSENT, new[place])


def _key(value: Any) -> str:
    """
    A text that is the same for two values exactly if nothing differs between them.
    """
    return json.dumps(_plain(value), sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, _Unordered):
        return sorted({_key(item) for item in value})
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 1.0 equals 1
    return value


def _moved(old: _Rules, new: _Rules) -> list[str]:
    """
    Rules of both documents whose order differs; only rules of one type are judged one after the other.
    """
    found: list[str] = []
    for kind in RULE_TYPES:
        before, after = (
            [rule_id for rule_id, rule in rules.items() if rule["type"] == kind and rule_id in others]
            for rules, others in ((old, new), (new, old))
        )
        matcher = SequenceMatcher(None, before, after, autojunk=False)
        for what, start, end, _, _ in matcher.get_opcodes():
            if what in ("delete", "replace"):
                found += [rule_id for rule_id in before[start:end] if rule_id in after]
    return found
