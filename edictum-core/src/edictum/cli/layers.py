"""
Several rulesets as layers of one: what the commands say about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edictum.ruleset.composition import CompositionReport


def compose_files(paths: Sequence[str]) -> tuple[list[dict[str, Any]], dict[str, Any], CompositionReport]:
    """
    Compose ruleset files from left to right, each merged with what it extends.

    Returns:
        The documents, the composed document, and what happened.

    Raises:
        EdictumConfigError: A file is invalid, a locked rule becomes weaker, or they are too many rules together.
    """
    from edictum.loading import resolve_file
    from edictum.ruleset.composition import compose_bundles
    from edictum.ruleset.document import from_mapping
    from edictum.ruleset.layer_check import check_layers
    from edictum.ruleset.reader import read_ruleset

    resolved = [resolve_file(path) for path in paths]
    documents = [one.data for one in resolved]
    composed = compose_bundles(*zip(documents, paths, strict=True))
    read_ruleset(from_mapping(composed.bundle), custom=None, composed=True)
    composed.report.weakened = check_layers([one.family for one in resolved], documents, paths, None)
    return documents, composed.bundle, composed.report


def published_report(report: CompositionReport) -> dict[str, Any]:
    """
    The report as the commands print it in JSON.
    """
    return {
        "overrides": [
            {"rule_id": item.rule_id, "overridden_by": item.overridden_by, "original_source": item.original_source}
            for item in report.overridden_rules
        ],
        "observes": [
            {
                "rule_id": item.rule_id,
                "enforced_source": item.enforced_source,
                "observed_source": item.observed_source,
            }
            for item in report.observe_rules
        ],
        "added": [{"rule_id": rule_id, "added_by": label} for rule_id, label in report.added_rules],
        "tools": [{"tool": tool, "overridden_by": label} for tool, label in report.tool_overrides],
        "weakened": [
            {"rule_id": item.rule_id, "weakened_by": item.weakened_by, "how": item.how} for item in report.weakened
        ],
        "disabled": [{"rule_id": rule_id, "disabled_by": label} for rule_id, label in report.disabled_rules],
        "modes": [{"old": old, "new": new, "changed_by": label} for old, new, label in report.mode_changes],
    }


def report_lines(report: CompositionReport) -> Iterator[str]:
    """
    The report for people, one line for each thing that happened.
    """
    for old, new, label in report.mode_changes:
        yield f"~ defaults.mode: {old} -> {new} by {label}"
    for tool, label in report.tool_overrides:
        yield f"~ tool {tool}: redefined by {label}"
    for item in report.overridden_rules:
        yield f"~ {item.rule_id}: that of {item.original_source} is replaced by that of {item.overridden_by}"
    for weakening in report.weakened:
        yield f"! {weakening.rule_id}: weaker by {weakening.weakened_by}: {weakening.how}"
    for rule_id, label in report.added_rules:
        yield f"+ {rule_id}: added by {label}"
    for observed in report.observe_rules:
        beside = f"beside that of {observed.enforced_source}" if observed.enforced_source else "beside no other"
        yield f"o {observed.rule_id}: that of {observed.observed_source} only observes, {beside}"
