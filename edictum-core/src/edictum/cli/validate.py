"""
``edictum validate``.
"""

from __future__ import annotations

import argparse
from typing import Any

from edictum.cli.inputs import problem_lines, reading
from edictum.cli.terminal import counted, say, say_json
from edictum.errors import EdictumConfigError

# Published words for the types of rules, and what documents call them.
_TYPES = {"precondition": "pre", "postcondition": "post", "session_contract": "session", "sandbox": "sandbox"}


def configure(parser: argparse.ArgumentParser) -> None:
    """
    Add the options.
    """
    parser.add_argument("files", nargs="+", metavar="FILE", help="ruleset, YAML or JSON")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """
    Validate each file by itself and show all problems.
    """
    reports = [_report(path) for path in arguments.files]
    valid = all(report["valid"] for report in reports)
    if arguments.json:
        say_json({"files": [_published(report) for report in reports], "valid": valid})
    else:
        for report in reports:
            _show(report)
    return 0 if valid else 1


def _report(path: str) -> dict[str, Any]:
    from edictum.guard import Edictum

    report: dict[str, Any] = {"file": path, "counts": dict.fromkeys(_TYPES.values(), 0), "disabled": 0, "problems": []}
    try:
        with reading(path):
            described = Edictum.from_yaml(path, audit_sink=[], telemetry=False).describe()
    except EdictumConfigError as error:
        report["problems"] = problem_lines([path], error)
    else:
        for rule in described["rules"]:
            report["counts"][_TYPES[rule["type"]]] += 1
        report["disabled"] = len(described["disabled_rules"])
    report["valid"] = not report["problems"]
    return report


def _published(report: dict[str, Any]) -> dict[str, Any]:
    return {
        "file": report["file"],
        "valid": report["valid"],
        "error": "\n".join(report["problems"]) or None,
        "total": sum(report["counts"].values()),
        "counts": report["counts"],
    }


def _show(report: dict[str, Any]) -> None:
    path, problems = report["file"], report["problems"]
    for problem in problems:
        say(problem)
    if problems:
        say(f"{path}: invalid, {counted(len(problems), 'problem')}")
        return
    counts = ", ".join(f"{number} {name}" for name, number in report["counts"].items() if number)
    line = f"{path}: valid, {counted(sum(report['counts'].values()), 'rule')}"
    line += f" ({counts})" if counts else ""
    line += f", {report['disabled']} disabled" if report["disabled"] else ""
    say(line)
