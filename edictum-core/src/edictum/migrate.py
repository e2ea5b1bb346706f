"""
Rulesets in the older contract vocabulary, translated to today's.

The strict reader refuses the older words; translating them is a step that somebody asks for, on parsed data.  The
result is not validated here: the reader does that next, whoever calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from edictum.errors import ConfigProblem, EdictumConfigError
from edictum.ruleset.document import Document, from_mapping
from edictum.ruleset.problems import Path, quote, render
from edictum.ruleset.syntax import KIND
from edictum.ruleset.vocabulary import (
    OLD_ACTION_KEY,
    OLD_ACTIONS,
    OLD_KIND,
    OLD_MODES,
    OLD_RULES_KEY,
    OLD_SHADOW_PREFIX,
    TIMEOUT_ACTIONS,
)

_NEW_SHADOW_PREFIX = "observe"


@dataclass(frozen=True, slots=True)
class Change:
    """
    One word that was translated.

    Attributes:
        path: Where it stood in the original document.
        old: The older key or value.
        new: What stands there now.
    """

    path: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.path}: {self.old} -> {self.new}"


def upgrade_ruleset(data: Mapping[str, Any]) -> tuple[dict[str, Any], list[Change]]:
    """
    Translate a parsed document.

    Args:
        data: The document; it is not changed.

    Returns:
        The translated copy, and every change.  A document of today's vocabulary comes back
        equal and without changes, except that synonyms are replaced by the word they stand for.

    Raises:
        EdictumConfigError: The document says one thing in both vocabularies, or is not plain data.
    """
    if not isinstance(data, Mapping):
        raise EdictumConfigError.from_problems([ConfigProblem("", "the document must be a mapping")])
    document = from_mapping(data)
    upgrade = _Upgrade(document)
    return upgrade.translate(document.data), upgrade.changes


def upgrade_document(document: Document) -> Document:
    """
    Translate a document that was read; places in it stay those of the text.

    Raises:
        EdictumConfigError: The document says one thing in both vocabularies.
    """
    if not isinstance(document.data, dict):
        return document  # what is wrong with it the reader says
    return replace(document, data=_Upgrade(document).translate(deepcopy(document.data)))


class _Upgrade:
    def __init__(self, document: Document) -> None:
        self._document = document
        self.changes: list[Change] = []
        self._problems: list[ConfigProblem] = []

    def translate(self, data: dict[str, Any]) -> dict[str, Any]:
        translated = self._whole(data)
        if self._problems:
            raise EdictumConfigError.from_problems(self._problems)
        return translated

    def _whole(self, data: dict[str, Any]) -> dict[str, Any]:
        self._value(data, "kind", (), {OLD_KIND: KIND})
        defaults = data.get("defaults")
        if isinstance(defaults, dict):
            self._value(defaults, "mode", ("defaults",), OLD_MODES)
        for key in (OLD_RULES_KEY, "rules"):
            rules = data.get(key)
            if isinstance(rules, list):
                data[key] = [self._rule(rule, (key, index)) for index, rule in enumerate(rules)]
        return self._rename(data, (), {OLD_RULES_KEY: "rules", **_shadow_names(data)})

    def _rule(self, rule: Any, path: Path) -> Any:
        if not isinstance(rule, dict):
            return rule
        self._value(rule, "mode", path, OLD_MODES)
        then = rule.get("then")
        if isinstance(then, dict):
            inside = (*path, "then")
            for key in (OLD_ACTION_KEY, "action"):
                self._value(then, key, inside, OLD_ACTIONS)
            rule["then"] = self._timeout(self._rename(then, inside, {OLD_ACTION_KEY: "action"}), inside)
        if rule.get("type") == "sandbox":
            self._value(rule, "outside", path, OLD_ACTIONS)
            rule = self._timeout(rule, path)
        return self._rename(rule, path, _shadow_names(rule))

    def _timeout(self, holder: dict[str, Any], path: Path) -> dict[str, Any]:
        for key in ("timeout_action", "timeout_effect"):
            self._value(holder, key, path, {"deny": TIMEOUT_ACTIONS[0]})
        if "timeout_effect" in holder and holder.get("timeout_action") == holder["timeout_effect"]:
            # Both words of today's vocabulary, saying the same: valid, so one of them goes.
            self.changes.append(Change(render((*path, "timeout_effect")), "timeout_effect", "timeout_action"))
            return {key: value for key, value in holder.items() if key != "timeout_effect"}
        return self._rename(holder, path, {"timeout_effect": "timeout_action"})

    def _rename(self, holder: dict[str, Any], path: Path, names: Mapping[str, str]) -> dict[str, Any]:
        """
        The mapping with other names for some keys, in the same order.
        """
        if not any(old in holder for old in names):
            return holder
        renamed: dict[str, Any] = {}
        for key, value in holder.items():
            new = names.get(key, key)
            if new != key:
                if new in holder:
                    self._conflict((*path, key), key, new)
                self.changes.append(Change(render((*path, key)), key, new))
            renamed[new] = value
        return renamed

    def _value(self, holder: dict[str, Any], key: str, path: Path, words: Mapping[str, str]) -> None:
        old = holder.get(key)
        if isinstance(old, str) and old in words:
            holder[key] = words[old]
            self.changes.append(Change(render((*path, key)), old, words[old]))

    def _conflict(self, path: Path, old: str, new: str) -> None:
        message = f"both {quote(old)} and {quote(new)} are given; remove one, they mean the same"
        line, column = self._document.locate(path)
        self._problems.append(ConfigProblem(render(path), message, self._document.source, line, column))


def _shadow_names(holder: Mapping[str, Any]) -> dict[str, str]:
    """
    Old names that start with ``shadow`` or ``_shadow``, and their new ones.
    """
    names: dict[str, str] = {}
    for key in holder:
        for lead in ("", "_"):
            old = lead + OLD_SHADOW_PREFIX
            if key.startswith(old):
                names[key] = lead + _NEW_SHADOW_PREFIX + key.removeprefix(old)
    return names
