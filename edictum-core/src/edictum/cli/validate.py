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
        files = [{key: value for key, value in report.items() if key != "disabled"} for report in reports]
        say_json({"files": files, "valid": valid})
    else:
        for report in reports:
            _show(report)
    return 0 if valid else 1


def _report(path: str) -> dict[str, Any]:
    from edictum.guard import Edictum

    counts = dict.fromkeys(_TYPES.values(), 0)
    report = {"file": path, "valid": True, "error": None, "total": 0, "counts": counts, "disabled": 0}
    try:
        with reading(path):
            described = Edictum.from_yaml(path, audit_sink=[]).describe()
    except EdictumConfigError as error:
        return report | {"valid": False, "error": "\n".join(problem_lines(path, error))}
    for rule in described["rules"]:
        counts[_TYPES[rule["type"]]] += 1
    return report | {"total": len(described["rules"]), "disabled": len(described["disabled_rules"])}


def _show(report: dict[str, Any]) -> None:
    path = report["file"]
    if not report["valid"]:
        problems = report["error"].split("\n")
        for problem in problems:
            say(problem)
        say(f"{path}: invalid, {counted(len(problems), 'problem')}")
        return
    counts = ", ".join(f"{number} {name}" for name, number in report["counts"].items() if number)
    disabled = f", {report['disabled']} disabled" if report["disabled"] else ""
    say(f"{path}: valid, {counted(report['total'], 'rule')}" + (f" ({counts})" if counts else "") + disabled)
