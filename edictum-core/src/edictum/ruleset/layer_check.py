"""
Which rules became weaker on the way from the first ruleset to the last, and whether one of them is locked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from edictum.errors import ConfigProblem, EdictumConfigError
from edictum.ruleset.composition import compose_bundles, inherit
from edictum.ruleset.document import Document, from_mapping
from edictum.ruleset.problems import Path, render
from edictum.ruleset.reader import KnownNames, read_ruleset
from edictum.ruleset.syntax import Ruleset
from edictum.ruleset.weakening import Weakening, find_weakenings

Family: TypeAlias = list[tuple[str, Document]]
"""A document and what it extends, by name, the oldest parent first."""

_NO_LIMIT = 10**9  # each document was held to its own limit when it was read


def check_layers(
    families: Sequence[Family], layers: Sequence[Mapping[str, Any]], labels: Sequence[str], known: KnownNames | None
) -> list[Weakening]:
    """
    Find what became weaker from parent to child, and from layer to layer.

    Args:
        families: For each layer, from the first to the last: documents by name, the oldest parent first.
        layers: The same, each merged with what it extends.
        labels: What to call the layers.
        known: Registered names of operators and selectors; None when they are not to be checked.

    Raises:
        EdictumConfigError: A locked rule became weaker.
    """
    found: list[Weakening] = []
    problems: list[ConfigProblem] = []
    locked: set[str] = set()

    def compare(before: Ruleset | None, data: Mapping[str, Any], label: str, document: Document) -> Ruleset:
        after = read_ruleset(from_mapping(data, max_rules=_NO_LIMIT), custom=known, composed=True)
        if before is not None:
            weaker = list(find_weakenings(before, after, label, locked))
            found.extend(weaker)
            problems.extend(_weakened_although_locked(item, document) for item in weaker if item.locked)
        locked.update(rule.id for rule in after.rules if rule.locked)
        return after

    for family, label in zip(families, labels, strict=True):
        ruleset = None
        if family is not families[0] and family[-1][1].data.get("observe_alongside"):
            continue  # it only watches, so it weakens nothing
        for depth, (name, document) in enumerate(family, start=1):
            chain = inherit([(doc.source or name, doc) for name, doc in family[:depth]])
            ruleset = compare(ruleset, chain, name or label, document)
    ruleset = None
    for depth, (family, label) in enumerate(zip(families, labels, strict=True), start=1):
        merged = compose_bundles(*zip(layers[:depth], labels[:depth], strict=True)).bundle
        ruleset = compare(ruleset, merged, label, family[-1][1])
    if problems:
        raise EdictumConfigError.from_problems(problems)
    return found


def _weakened_although_locked(item: Weakening, document: Document) -> ConfigProblem:
    rules = document.data.get("rules", [])
    place = next((place for place, rule in enumerate(rules) if rule["id"] == item.rule_id), None)
    path: Path = ("rules", place) if place is not None else ("defaults", "mode") if "observes" in item.how else ()
    message = f"the rule {item.rule_id!r} is locked, and would become weaker: {item.how}; keep it as strict as it was"
    line, column = document.locate(path)
    return ConfigProblem(render(path), message, document.source or item.weakened_by, line, column)
