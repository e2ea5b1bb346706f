"""
``edictum diff``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from edictum.cli.inputs import problem_lines, reading
from edictum.cli.layers import compose_files, published_report, report_lines
from edictum.cli.terminal import CommandError, counted, say, say_json
from edictum.errors import EdictumConfigError
from edictum.redaction import REDACTED, RedactionPolicy
from edictum.text import shorten

if TYPE_CHECKING:
    from edictum.ruleset.comparison import Change, ComparedRule, Comparison

_MAX_SHOWN = 200
_REDACTION = RedactionPolicy()


def configure(parser: argparse.ArgumentParser) -> None:
    """
    Add the options.
    """
    parser.add_argument("files", nargs="+", metavar="FILE", help="two rulesets, or three and more layers")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = (
        "Two files are compared in meaning, whatever their spelling. Three or more are composed from left to right, "
        "and what the later ones change in the first is shown. Exit code 1 means that something differs."
    )


def run(arguments: argparse.Namespace) -> int:
    """
    Compare two rulesets, or say what layers change.
    """
    paths: list[str] = arguments.files
    if len(paths) < 2:
        raise CommandError("there is nothing to compare; name at least two files")
    with reading(paths[0]):
        if len(paths) == 2:
            return _compare(paths, as_json=arguments.json)
        return _compose(paths, as_json=arguments.json)


def _compare(paths: Sequence[str], *, as_json: bool) -> int:
    from edictum.ruleset.comparison import compare_rulesets

    comparison = compare_rulesets(*(_document(path) for path in paths))
    if as_json:
        say_json(_published(comparison))
    else:
        _show(comparison)
    return 1 if comparison.has_changes else 0


def _document(path: str) -> dict[str, Any]:
    from edictum.loading import resolve_file

    try:
        return resolve_file(path).data
    except EdictumConfigError as error:
        raise CommandError(f"{path} cannot be used", *problem_lines([path], error)) from error


def _compose(paths: Sequence[str], *, as_json: bool) -> int:
    from edictum.ruleset.comparison import compare_rulesets

    for path in paths:
        _document(path)  # so that a problem is shown with the name of its file
    try:
        documents, composed, report = compose_files(paths)
    except EdictumConfigError as error:
        raise CommandError("the files cannot be composed", *problem_lines(paths, error)) from error
    # The report lists rules; the comparison also sees the other settings.
    has_changes = compare_rulesets(documents[0], composed).has_changes
    if as_json:
        say_json({"composed": published_report(report), "has_changes": has_changes})
    else:
        for line in report_lines(report):
            say(line)
        say(f"{len(paths)} layers: {'the later ones change the first' if has_changes else 'no change'}")
    return 1 if has_changes else 0


# --- output ---------------------------------------------------------------------------------------


def _published(comparison: Comparison) -> dict[str, Any]:
    return {
        "added": _names(comparison.added),
        "removed": _names(comparison.removed),
        "changed": [
            {"id": rule.id, "type": rule.type, "changes": [_published_change(change) for change in rule.changes]}
            for rule in comparison.changed
        ],
        "unchanged": _names(comparison.unchanged),
        "settings": [_published_change(change) for change in comparison.settings],
        "moved": comparison.moved,
        "has_changes": comparison.has_changes,
    }


def _names(rules: Iterable[ComparedRule]) -> list[dict[str, str]]:
    return [{"id": rule.id, "type": rule.type} for rule in rules]


def _published_change(change: Change) -> dict[str, Any]:
    """
    A change in JSON; the key of a side on which there is nothing is left out.
    """
    from edictum.ruleset.problems import render

    return {"path": render(change.path), **_sides(change)}


def _sides(change: Change) -> dict[str, Any]:
    from edictum.ruleset.comparison import ABSENT

    sides = {"old": change.old, "new": change.new}
    return {name: _presentable(value, change.path) for name, value in sides.items() if value is not ABSENT}


def _presentable(value: Any, path: Sequence[str | int]) -> Any:
    """
    A value of a ruleset without secrets, which may stand there as operands, and not too long.
    """
    names = path if path[0] in ("when", "then") else ()
    return REDACTED if any(_REDACTION.is_sensitive_key(name) for name in names) else _REDACTION.redact_args(value)


def _show(comparison: Comparison) -> None:
    for sign, rules in (("+", comparison.added), ("-", comparison.removed)):
        for rule in rules:
            say(f"{sign} {rule.id} ({rule.type})")
    for rule in comparison.changed:
        say(f"~ {rule.id} ({rule.type})")
        for change in rule.changes:
            say(f"    {_line(change)}")
    for rule in comparison.unchanged:
        say(f"= {rule.id} ({rule.type})")
    for change in comparison.settings:
        say(f"~ {_line(change)}")
    for rule_id in comparison.moved:
        say(f"~ {rule_id} stands at another place among the rules of its type")
    say(_summary(comparison))


def _line(change: Change) -> str:
    from edictum.ruleset.problems import render

    where, sides = render(change.path), {name: _text(value) for name, value in _sides(change).items()}
    if "old" not in sides:
        return f"{where}: added {sides['new']}"
    if "new" not in sides:
        return f"{where}: removed {sides['old']}"
    return f"{where}: {sides['old']} -> {sides['new']}"


def _text(value: Any) -> str:
    return shorten(json.dumps(value, ensure_ascii=False), _MAX_SHOWN)


def _summary(comparison: Comparison) -> str:
    words = [
        f"{len(rules)} {word}"
        for word, rules in (
            ("added", comparison.added),
            ("removed", comparison.removed),
            ("changed", comparison.changed),
            ("unchanged", comparison.unchanged),
        )
    ]
    if comparison.settings:
        words.append(f"{counted(len(comparison.settings), 'setting')} changed")
    if comparison.moved:
        words.append(f"{len(comparison.moved)} moved")
    return ", ".join(words)
