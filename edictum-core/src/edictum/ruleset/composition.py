"""
Several rulesets as one: layers that replace or only watch, and parents that are inherited from.

Works on parsed documents and knows no rule's meaning.  A rule of a watching layer gets an id of its own,
``<id>:candidate``, which no document can give to a rule.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from edictum.errors import ConfigProblem, EdictumConfigError
from edictum.ruleset.document import Document
from edictum.ruleset.weakening import Weakening

CANDIDATE = ":candidate"
MAX_ANCESTORS = 50


@dataclass(frozen=True, slots=True)
class CompositionOverride:
    """
    A rule that a later layer replaced.

    Attributes:
        rule_id: The rule.
        overridden_by: Label of the layer whose rule counts.
        original_source: Label of the layer whose rule does not.
    """

    rule_id: str
    overridden_by: str
    original_source: str


@dataclass(frozen=True, slots=True)
class ObserveContract:
    """
    A rule that is judged beside the decision, to see what it would do.

    Attributes:
        rule_id: The rule, without the ending that marks it.
        enforced_source: Label of the layer with the rule of that id in force; empty when there is none.
        observed_source: Label of the layer that only watches.
    """

    rule_id: str
    enforced_source: str
    observed_source: str


@dataclass(slots=True)
class CompositionReport:
    """
    What happened when layers became one ruleset.

    Attributes:
        overridden_rules: Rules that were replaced.
        observe_rules: Rules that only watch.
        added_rules: Ids of rules that a later layer added, with its label.
        tool_overrides: Tools whose definition a later layer replaced, with its label.
        mode_changes: Default modes that a later layer replaced: old, new, label.
        weakened: Rules that became weaker; only loaders compare, :func:`compose_bundles` leaves this empty.
        disabled_rules: Ids of rules that a later layer switched off, with its label.
    """

    overridden_rules: list[CompositionOverride] = field(default_factory=list)
    observe_rules: list[ObserveContract] = field(default_factory=list)
    added_rules: list[tuple[str, str]] = field(default_factory=list)
    tool_overrides: list[tuple[str, str]] = field(default_factory=list)
    mode_changes: list[tuple[str, str, str]] = field(default_factory=list)
    weakened: list[Weakening] = field(default_factory=list)
    disabled_rules: list[tuple[str, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """
        All attributes as plain data.
        """
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ComposedBundle:
    """
    The result of :func:`compose_bundles`.

    Attributes:
        bundle: The document.
        report: What happened.
    """

    bundle: dict[str, Any]
    report: CompositionReport


def compose_bundles(*layers: tuple[Mapping[str, Any], str]) -> ComposedBundle:
    """
    Merge parsed documents from left to right.

    A later layer replaces the default mode, each tool, each key of the metadata, the observability settings and the
    rules whose id it repeats, which keep their place; its other rules follow.  A layer with ``observe_alongside:
    true`` adds its rules as candidates, which never decide, and its tools and metadata.

    Args:
        *layers: Documents, each with a label for the report; they are not changed.

    Returns:
        A new document and the report.  Of a single layer it is a copy.

    Raises:
        ValueError: No layer was given.
    """
    if not layers:
        raise ValueError("there is nothing to compose; give at least one document with its label")
    (first, label), *others = layers
    merged: dict[str, Any] = copy.deepcopy(dict(first))
    report = CompositionReport()
    sources = {rule["id"]: label for rule in merged.get("rules", [])}
    for document, label in others:
        layer = copy.deepcopy(dict(document))
        _merge_maps(merged, layer, label, report)
        if layer.get("observe_alongside"):
            _add_candidates(merged, layer, label, sources, report)
        else:
            _replace_settings(merged, layer, label, report)
            _merge_rules(merged, layer, label, sources, report)
    return ComposedBundle(merged, report)


def _merge_maps(merged: dict[str, Any], layer: dict[str, Any], label: str, report: CompositionReport) -> None:
    for key in ("tools", "metadata"):
        for name, value in layer.get(key, {}).items():
            known = merged.setdefault(key, {})
            if key == "tools" and name in known and known[name] != value:
                report.tool_overrides.append((name, label))
            known[name] = value


def _replace_settings(merged: dict[str, Any], layer: dict[str, Any], label: str, report: CompositionReport) -> None:
    before, after = (document.get("defaults", {}).get("mode", "enforce") for document in (merged, layer))
    if "defaults" in layer and before != after:
        report.mode_changes.append((before, after, label))
    for key in ("defaults", "observability", "limits"):
        if key in layer:
            merged[key] = layer[key]


def _merge_rules(
    merged: dict[str, Any], layer: dict[str, Any], label: str, sources: dict[str, str], report: CompositionReport
) -> None:
    rules = merged.setdefault("rules", [])
    places = {rule["id"]: place for place, rule in enumerate(rules)}
    for rule in layer.get("rules", []):
        rule_id = rule["id"]
        if rule_id in places:
            report.overridden_rules.append(CompositionOverride(rule_id, label, sources[rule_id]))
            if rule.get("enabled") is False and rules[places[rule_id]].get("enabled") is not False:
                report.disabled_rules.append((rule_id, label))
            rules[places[rule_id]] = rule
        else:
            report.added_rules.append((rule_id, label))
            rules.append(rule)
        sources[rule_id] = label


def _add_candidates(
    merged: dict[str, Any], layer: dict[str, Any], label: str, sources: dict[str, str], report: CompositionReport
) -> None:
    rules = merged.setdefault("rules", [])
    for rule in layer.get("rules", []):
        rule_id = rule["id"]
        report.observe_rules.append(ObserveContract(rule_id, sources.get(rule_id, ""), label))
        candidate = {**rule, "id": rule_id + CANDIDATE, "mode": "observe", "_observe": True}
        same = [place for place, known in enumerate(rules) if known["id"] == candidate["id"]]
        if same:
            rules[same[0]] = candidate
        else:
            rules.append(candidate)


def inherit(chain: Sequence[tuple[str, Document]]) -> dict[str, Any]:
    """
    Merge a document with those it extends, as :func:`resolve_ruleset_extends` does, but never in silence.

    A rule may repeat the id of an inherited one only with ``override: true``, and takes its place.

    Args:
        chain: Names and valid documents, from the one without a parent to the one that is asked for.

    Returns:
        A new document without ``extends``.

    Raises:
        EdictumConfigError: A rule repeats an id by accident, or overrides nothing; ``file`` is the document's name.
    """
    merged: dict[str, Any] = {}
    problems: list[ConfigProblem] = []
    for name, document in chain:
        rules: list[Any] = list(merged.get("rules", []))
        places = {rule["id"]: place for place, rule in enumerate(rules)}
        for number, rule in enumerate(document.data.get("rules", [])):
            rule = copy.deepcopy(dict(rule))
            replaces = rule.pop("override", False)
            place = places.get(rule["id"])
            if replaces is not (place is not None):
                problems.append(_wrong_override(name, document, number, rule["id"], replaces))
            elif place is not None:
                rules[place] = rule
            else:
                rules.append(rule)
        merged |= copy.deepcopy({key: value for key, value in document.data.items() if key not in ("extends", "rules")})
        merged["rules"] = rules
    if problems:
        raise EdictumConfigError.from_problems(problems)
    return merged


def _wrong_override(name: str, document: Document, number: int, rule_id: str, replaces: bool) -> ConfigProblem:
    key = "override" if replaces else "id"
    message = (
        f"there is no inherited rule {rule_id!r} to override; remove the key, or correct the id"
        if replaces
        else f"the rule {rule_id!r} is inherited; add override: true to replace it, or choose another id"
    )
    line, column = document.locate(("rules", number, key))
    return ConfigProblem(f"rules[{number}].{key}", message, name or None, line, column)


def resolve_ruleset_extends(rulesets: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, Any]:
    """
    Replace ``extends`` by what it stands for: the parent's rules, then the child's.

    The child's ``defaults`` and ``metadata`` replace the parent's as a whole, as do its other keys.  Inherited rules
    without a mode of their own follow the child's default.

    Args:
        rulesets: Parsed documents by name; they are not changed.
        name: The one to resolve.

    Returns:
        A new document without ``extends``.

    Raises:
        KeyError: There is no ruleset of that name, or of a parent's.
        ValueError: The parents go in a circle, or there are more than 50.
    """
    chain: list[Mapping[str, Any]] = []
    names: list[str] = []
    following: str | None = name
    while following is not None:
        if following in names:
            raise ValueError(f"extends goes in a circle: {' -> '.join([*names, following])}")
        if len(names) > MAX_ANCESTORS:
            raise ValueError(f"more than {MAX_ANCESTORS} rulesets extend each other; merge some of them")
        if following not in rulesets:
            by = f", which {names[-1]!r} extends" if names else ""
            raise KeyError(f"there is no ruleset {following!r}{by}")
        names.append(following)
        chain.append(rulesets[following])
        following = chain[-1].get("extends")
    resolved: dict[str, Any] = {}
    for document in reversed(chain):
        rules = [*resolved.get("rules", []), *copy.deepcopy(list(document.get("rules", [])))]
        resolved |= copy.deepcopy({key: value for key, value in document.items() if key not in ("extends", "rules")})
        resolved["rules"] = rules
    return resolved
