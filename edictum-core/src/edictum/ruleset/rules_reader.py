"""
Shape checks of ``rules``: what every type of rule may and must say.
"""

from __future__ import annotations

import re
from typing import Any, Literal, cast

from edictum.ruleset.expressions_reader import ExpressionReader
from edictum.ruleset.problems import Path, Problems, quote, render
from edictum.ruleset.syntax import Mode, PostRule, PreRule, Rule, SessionRule, TimeoutAction
from edictum.ruleset.vocabulary import (
    ACTIONS,
    DEFAULT_TIMEOUT_SECONDS,
    MAX_ITEMS,
    MAX_MESSAGE_LENGTH,
    MAX_RULES,
    MODES,
    OLD_ACTION_KEY,
    OLD_ACTIONS,
    OLD_MODES,
    OUTSIDE_ACTIONS,
    RESERVED_METADATA,
    RULE_ID,
    RULE_TYPES,
    TIMEOUT_ACTIONS,
)

_ID = re.compile(RULE_ID)
_HEAD_KEYS = ("id", "type", "enabled", "mode")
_TIMEOUT_KEYS = ("timeout", "timeout_action", "timeout_effect")
_SANDBOX_LISTS = ("within", "not_within")
_RULE_KEYS = {
    "pre": frozenset((*_HEAD_KEYS, "tool", "tools", "when", "then")),
    "post": frozenset((*_HEAD_KEYS, "tool", "tools", "when", "then")),
    "session": frozenset((*_HEAD_KEYS, "limits", "then")),
    "sandbox": frozenset(
        (
            *_HEAD_KEYS,
            *_TIMEOUT_KEYS,
            *_SANDBOX_LISTS,
            "tool",
            "tools",
            "allows",
            "not_allows",
            "outside",
            "message",
        )
    ),
}
_REQUIRED = {
    "pre": ("id", "when", "then"),
    "post": ("id", "when", "then"),
    "session": ("id", "limits", "then"),
    "sandbox": ("id", "message"),
}
_THEN_KEYS = frozenset(("action", "message", "tags", "metadata"))
_THEN_KEYS_BY_TYPE = {
    "pre": _THEN_KEYS.union(_TIMEOUT_KEYS),
    "post": _THEN_KEYS,
    "session": _THEN_KEYS,
}
_LIMIT_KEYS = ("max_tool_calls", "max_attempts", "max_calls_per_tool")
_LIMITS = frozenset(_LIMIT_KEYS)
_ALLOWS_KEYS = frozenset(("commands", "domains"))
_NOT_ALLOWS_KEYS = frozenset(("domains",))


class RulesReader:
    """
    Reads the rules of one document.

    Args:
        problems: Where problems are noted.
        expressions: Reader of ``when``.
        mode: Mode of rules that do not say their own.
    """

    def __init__(self, problems: Problems, expressions: ExpressionReader, mode: Mode) -> None:
        self._problems = problems
        self._expressions = expressions
        self._mode = mode
        self._first_use: dict[str, int] = {}

    def read(self, data: dict[str, Any]) -> tuple[tuple[Rule, ...], tuple[str, ...]]:
        """
        Read all rules.

        Args:
            data: The document.

        Returns:
            The enabled rules in document order, and the ids of the disabled ones.
        """
        if "rules" not in data:
            return (), ()
        items = data["rules"]
        shortest = 0 if "extends" in data else 1
        if not self._problems.items(items, ("rules",), shortest=shortest, longest=MAX_RULES):
            return (), ()
        rules: list[Rule] = []
        disabled: list[str] = []
        for index, item in enumerate(items):
            path: Path = ("rules", index)
            if type(item) is not dict:
                self._problems.wrong_type(path, "a mapping", item)
                continue
            rule_id = self._id(item, path, index)
            enabled = self._problems.boolean(item, "enabled", path, default=True)
            rule = self._rule(item, path, rule_id, enabled)
            if not enabled:
                disabled.append(rule_id)
            elif rule is not None:
                rules.append(rule)
        return tuple(rules), tuple(disabled)

    def _id(self, item: dict[str, Any], path: Path, index: int) -> str:
        allowed = "lower-case letters, digits, hyphens and underscores, a letter or digit first"
        rule_id = self._problems.named(item, "id", path, _ID, allowed)
        first = self._first_use.setdefault(rule_id, index) if rule_id else index
        if first != index:
            self._problems.add(
                (*path, "id"), f"duplicate id {quote(rule_id)}; rules[{first}] has it already, rename one"
            )
        return rule_id

    def _rule(self, item: dict[str, Any], path: Path, rule_id: str, enabled: bool) -> Rule | None:
        problems = self._problems
        if "type" not in item:
            problems.add(path, 'missing key "type"')
            return None
        kind = problems.choice(item, "type", path, RULE_TYPES, default="")
        if not kind:
            return None
        problems.keys(item, path, _RULE_KEYS[kind], _REQUIRED[kind])
        mode = cast(Mode, problems.choice(item, "mode", path, MODES, default=self._mode, old=OLD_MODES))
        if kind == "sandbox":
            self._sandbox(item, path, rule_id, enabled)
            return None
        then = self._then(item, path, kind)
        message, tags, metadata = then["message"], then["tags"], then["metadata"]
        place = render(path)
        if kind == "session":
            limits = self._limits(item, path)
            return SessionRule(rule_id, mode, message, tags, metadata, place, *limits)
        tools = self._tools(item, path)
        when = self._expressions.read(
            item.get("when"), (*path, "when"), after_call=kind == "post"
        )
        if kind == "post":
            return PostRule(rule_id, mode, message, tags, metadata, place, tools, when, then["action"])
        return PreRule(
            rule_id, mode, message, tags, metadata, place, tools, when, then["action"], *then["timeouts"]
        )
