"""
Shape checks of ``rules``: what every type of rule may and must say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, cast

from edictum.ruleset.composition import CANDIDATE
from edictum.ruleset.expressions_reader import ExpressionReader
from edictum.ruleset.problems import Path, Problems, choices, quote, render
from edictum.ruleset.syntax import (
    All,
    Expression,
    Mode,
    PostRule,
    PreRule,
    Rule,
    SandboxRule,
    SessionRule,
    TimeoutAction,
)
from edictum.ruleset.vocabulary import (
    ACTIONS,
    DEFAULT_TIMEOUT_SECONDS,
    MAX_MESSAGE_LENGTH,
    MODES,
    OLD_ACTION_KEY,
    OLD_ACTIONS,
    OLD_MODES,
    OUTSIDE_ACTIONS,
    RESERVED_METADATA,
    RULE_ID,
    RULE_TYPES,
    SANDBOX_NEEDS_DOMAINS,
    SANDBOX_NEEDS_ROOTS,
    SANDBOX_ROOTS,
    SANDBOX_SWITCHES,
    TIMEOUT_ACTIONS,
)

_ID = re.compile(RULE_ID)
_ID_OR_CANDIDATE = re.compile(f"{RULE_ID}(?:{CANDIDATE})?")
_HEAD_KEYS = ("id", "type", "enabled", "mode", "override", "locked")
_TIMEOUT_KEYS = ("timeout", "timeout_action", "timeout_effect")
_RULE_KEYS = {
    "pre": frozenset((*_HEAD_KEYS, "tool", "tools", "when", "then")),
    "post": frozenset((*_HEAD_KEYS, "tool", "tools", "when", "then")),
    "session": frozenset((*_HEAD_KEYS, "limits", "then")),
    "sandbox": frozenset(
        (
            *_HEAD_KEYS,
            *_TIMEOUT_KEYS,
            *SANDBOX_ROOTS,
            *SANDBOX_SWITCHES,
            *SANDBOX_NEEDS_ROOTS,
            *SANDBOX_NEEDS_DOMAINS,
            "tool",
            "tools",
            "allows",
            "not_allows",
            "path_dirs",
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
_OUTCOME_KEYS = frozenset(("action", "message", "tags", "metadata"))
_THEN_KEYS = {
    "pre": _OUTCOME_KEYS.union(_TIMEOUT_KEYS),
    "post": _OUTCOME_KEYS,
    "session": _OUTCOME_KEYS,
}
_LIMIT_KEYS = frozenset(("max_tool_calls", "max_attempts", "max_calls_per_tool"))
_ALLOWS_KEYS = frozenset(("commands", "domains"))

_DEFAULT_TIMEOUTS: tuple[int, TimeoutAction] = (DEFAULT_TIMEOUT_SECONDS, "block")


class _Then(NamedTuple):
    """
    What ``then`` says, whatever the type of the rule.
    """

    action: str
    message: str = ""
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = {}
    timeouts: tuple[int, TimeoutAction] = _DEFAULT_TIMEOUTS


class RulesReader:
    """
    Reads the rules of one document.

    Args:
        problems: Where problems are noted.
        expressions: Reader of ``when``.
        mode: Mode of rules that do not say their own.
        composed: Whether candidates of a watching layer are among them.
    """

    def __init__(self, problems: Problems, expressions: ExpressionReader, mode: Mode, composed: bool = False) -> None:
        self._problems = problems
        self._expressions = expressions
        self._mode = mode
        self._composed = composed
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
        if not self._problems.items(items, ("rules",), shortest=shortest, longest=self._problems.document.max_rules):
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
            if self._problems.boolean(item, "override", path, default=False) and "extends" not in data:
                self._problems.add((*path, "override"), '"override" needs "extends": there is nothing to replace')
            rule = self._rule(item, path, rule_id)
            if not enabled:
                disabled.append(rule_id)
            elif rule is not None:
                rules.append(rule)
        return tuple(rules), tuple(disabled)

    def _id(self, item: dict[str, Any], path: Path, index: int) -> str:
        allowed = "lower-case letters, digits, hyphens and underscores, a letter or digit first"
        rule_id = self._problems.named(item, "id", path, _ID_OR_CANDIDATE if self._composed else _ID, allowed)
        first = self._first_use.setdefault(rule_id, index) if rule_id else index
        if first != index:
            self._problems.add(
                (*path, "id"), f"duplicate id {quote(rule_id)}; rules[{first}] has it already, rename one"
            )
        return rule_id

    def _rule(self, item: dict[str, Any], path: Path, rule_id: str) -> Rule | None:
        problems = self._problems
        if "type" not in item:
            problems.add(path, 'missing key "type"')
            return None
        kind = problems.choice(item, "type", path, RULE_TYPES, default="")
        if not kind:
            return None
        problems.keys(item, path, _RULE_KEYS[kind].union(("_observe",) if self._composed else ()), _REQUIRED[kind])
        mode = cast(Mode, problems.choice(item, "mode", path, MODES, default=self._mode, old=OLD_MODES))
        locked = problems.boolean(item, "locked", path, default=False)
        if kind == "sandbox":
            return self._sandbox(item, path, rule_id, mode, locked)
        then = self._then(item, path, kind)
        head = (rule_id, mode, then.message, then.tags, then.metadata, render(path), locked)
        if kind == "session":
            return SessionRule(*head, *self._limits(item, path))
        tools = self._tools(item, path)
        when: Expression = All(())
        if "when" in item:
            when = self._expressions.read(item["when"], (*path, "when"), after_call=kind == "post")
        if kind == "post":
            return PostRule(*head, tools, when, cast(Literal["warn", "redact", "block"], then.action))
        timeout, timeout_action = then.timeouts
        return PreRule(*head, tools, when, cast(Literal["block", "ask"], then.action), timeout, timeout_action)

    def _tools(self, item: dict[str, Any], path: Path) -> tuple[str, ...]:
        """
        The tool patterns of a rule, from ``tool`` or ``tools``.
        """
        if "tool" in item:
            if "tools" in item:
                self._problems.add((*path, "tools"), '"tool" and "tools" exclude each other; keep one of them')
                return ()
            pattern = self._problems.text(item, "tool", path, default="*")
            self._no_braces(pattern, (*path, "tool"))
            return (pattern,)
        if "tools" not in item:
            self._problems.add(path, 'missing key "tool" (or "tools" with a list)')
            return ()
        patterns = self._problems.texts(item, "tools", path)
        for index, pattern in enumerate(patterns):
            self._no_braces(pattern, (*path, "tools", index))
        return patterns

    def _no_braces(self, pattern: str, path: Path) -> None:
        if "{" in pattern:
            self._problems.add(
                path,
                f"tool pattern {quote(pattern)} holds a brace list, which no tool name matches; "
                'list the names under "tools"',
            )

    def _then(self, item: dict[str, Any], path: Path, kind: str) -> _Then:
        problems = self._problems
        then = problems.mapping(item, "then", path)
        if then is None:
            return _Then(ACTIONS[kind][0])
        path = (*path, "then")
        known = _THEN_KEYS[kind]
        required: tuple[str, ...] = ("action", "message")
        if OLD_ACTION_KEY in then:
            problems.old_vocabulary((*path, OLD_ACTION_KEY), OLD_ACTION_KEY, "action")
            known, required = known | {OLD_ACTION_KEY}, ("message",)
        problems.keys(then, path, known, required)
        return _Then(
            problems.choice(then, "action", path, ACTIONS[kind], default=ACTIONS[kind][0], old=OLD_ACTIONS),
            problems.text(then, "message", path, longest=MAX_MESSAGE_LENGTH),
            problems.texts(then, "tags", path, shortest=0),
            self._free_metadata(then, path),
            self._timeouts(then, path) if kind == "pre" else _DEFAULT_TIMEOUTS,
        )

    def _free_metadata(self, then: dict[str, Any], path: Path) -> dict[str, Any]:
        metadata = self._problems.mapping(then, "metadata", path)
        if not metadata:
            return {}
        path = (*path, "metadata")
        for key in metadata:
            if key in RESERVED_METADATA:
                self._problems.add((*path, key), f"metadata key {quote(key)} is reserved; choose another name")
        self._expressions.finite(metadata, path)
        return metadata

    def _timeouts(self, holder: dict[str, Any], path: Path) -> tuple[int, TimeoutAction]:
        """
        ``timeout`` and ``timeout_action``; ``timeout_effect`` is a synonym of the latter.
        """
        problems = self._problems
        timeout = problems.count(holder, "timeout", path) or DEFAULT_TIMEOUT_SECONDS
        said = [
            problems.choice(holder, key, path, TIMEOUT_ACTIONS, default=TIMEOUT_ACTIONS[0], old=OLD_ACTIONS)
            for key in ("timeout_action", "timeout_effect")
            if key in holder
        ]
        if len(set(said)) > 1:
            problems.add(
                (*path, "timeout_effect"),
                '"timeout_action" and its synonym "timeout_effect" differ; keep "timeout_action"',
            )
        return timeout, cast(TimeoutAction, said[0] if said else TIMEOUT_ACTIONS[0])

    def _limits(self, item: dict[str, Any], path: Path) -> tuple[int | None, int | None, dict[str, int]]:
        problems = self._problems
        limits = problems.mapping(item, "limits", path)
        if limits is None:
            return None, None, {}
        path = (*path, "limits")
        problems.keys(limits, path, _LIMIT_KEYS)
        if not limits:
            problems.add(path, f'"limits" must set at least one of {choices(sorted(_LIMIT_KEYS))}')
        per_tool = problems.mapping(limits, "max_calls_per_tool", path)
        if per_tool is not None and not per_tool:
            problems.add((*path, "max_calls_per_tool"), '"max_calls_per_tool" must not be empty')
        counts: dict[str, int] = {}
        for tool in per_tool or ():
            count = problems.count(per_tool or {}, tool, (*path, "max_calls_per_tool"))
            counts[tool] = count or 1
        max_tool_calls = problems.count(limits, "max_tool_calls", path)
        return max_tool_calls, problems.count(limits, "max_attempts", path), counts

    def _sandbox(self, item: dict[str, Any], path: Path, rule_id: str, mode: Mode, locked: bool) -> SandboxRule:
        problems = self._problems
        tools = self._tools(item, path)
        message = problems.text(item, "message", path, longest=MAX_MESSAGE_LENGTH)
        outside = problems.choice(item, "outside", path, OUTSIDE_ACTIONS, default="block", old=OLD_ACTIONS)
        timeout, timeout_action = self._timeouts(item, path)
        if "allows" not in item and not any(key in item for key in SANDBOX_ROOTS):
            problems.add(path, 'missing key "within" or "allows"; a sandbox must say what is inside')
        roots: dict[str, Any] = {key: problems.texts(item, key, path) for key in (*SANDBOX_ROOTS, "not_within")}
        allows = self._sandbox_lists(item, "allows", path)
        not_allows = self._sandbox_lists(item, "not_allows", path)
        switches: dict[str, Any] = {key: problems.boolean(item, key, path, default=False) for key in SANDBOX_SWITCHES}
        self._sandbox_needs(item, path)
        lists: dict[str, Any] = {
            key: problems.texts(item, key, path) for key in ("path_dirs", "schemes") if key in item
        }
        return SandboxRule(
            rule_id,
            mode,
            message,
            path=render(path),
            locked=locked,
            tools=tools,
            **roots,
            base=problems.text(item, "base", path) if "base" in item else None,
            commands=allows.get("commands"),
            not_commands=not_allows.get("commands", ()),
            domains=allows.get("domains"),
            not_domains=not_allows.get("domains", ()),
            outside="block" if outside == "block" else "ask",
            timeout=timeout,
            timeout_action=timeout_action,
            **switches,
            **lists,
        )

    def _sandbox_lists(self, item: dict[str, Any], key: str, path: Path) -> dict[str, tuple[str, ...]]:
        lists = self._problems.mapping(item, key, path)
        if lists is None:
            return {}
        path = (*path, key)
        self._problems.keys(lists, path, _ALLOWS_KEYS)
        if not lists:
            self._problems.add(path, f'"{key}" must list "commands" or "domains"')
        return {name: self._problems.texts(lists, name, path) for name in _ALLOWS_KEYS if name in lists}

    def _sandbox_needs(self, item: dict[str, Any], path: Path) -> None:
        """
        Note the keys that have no effect without another one.
        """
        problems = self._problems
        if not any(key in item for key in SANDBOX_ROOTS):
            for key in SANDBOX_NEEDS_ROOTS:
                if key in item:
                    problems.add((*path, key), f'"{key}" needs "within"')
        allows, not_allows = item.get("allows"), item.get("not_allows")
        if "not_allows" in item and "allows" not in item:
            problems.add((*path, "not_allows"), '"not_allows" needs "allows"')
        elif isinstance(not_allows, dict) and "domains" in not_allows and not _lists(allows, "domains"):
            problems.add((*path, "not_allows", "domains"), '"not_allows.domains" needs "allows.domains"')
        for key in SANDBOX_NEEDS_DOMAINS:
            if key in item and not _lists(allows, "domains"):
                problems.add((*path, key), f'"{key}" needs "allows.domains"')
        if "path_dirs" in item and not _lists(allows, "commands"):
            problems.add((*path, "path_dirs"), '"path_dirs" needs "allows.commands"')


def _lists(allows: Any, key: str) -> bool:
    return isinstance(allows, dict) and key in allows
