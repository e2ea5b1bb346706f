"""
``edictum validate``.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Any

from edictum.cli.inputs import add_format_options, problem_lines, reading
from edictum.cli.layers import compose_files, published_report, report_lines
from edictum.cli.terminal import CommandError, counted, say, say_json
from edictum.errors import EdictumConfigError

# Published words for the types of rules, and what documents call them.
_TYPES = {"precondition": "pre", "postcondition": "post", "session_contract": "session", "sandbox": "sandbox"}


@dataclass(slots=True)
class _Report:
    """
    What is said about one file.

    Attributes:
        file: The file as it was named.
        counts: Rules by type.
        disabled: How many rules are switched off.
        stages: How many stages there are, of a workflow; None for a ruleset.
        error: Why it is invalid, or None.
    """

    file: str
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_TYPES.values(), 0))
    disabled: int = 0
    stages: int | None = None
    error: EdictumConfigError | None = None

    @property
    def total(self) -> int:
        """
        How many rules, or stages, there are.
        """
        return sum(self.counts.values()) if self.stages is None else self.stages

    @property
    def problems(self) -> list[str]:
        """
        What is wrong, one line each.
        """
        return [] if self.error is None else problem_lines([self.file], self.error)


def configure(parser: argparse.ArgumentParser) -> None:
    """
    Add the options.
    """
    parser.add_argument("files", nargs="+", metavar="FILE", help="ruleset or workflow, YAML or JSON")
    add_format_options(parser)
    parser.epilog = "Exit code 1 means that a file is invalid. Of several valid rulesets it is shown how they compose."


def run(arguments: argparse.Namespace) -> int:
    """
    Validate each file by itself and show all problems; then say what the valid ones become together.
    """
    reports = [_report(path) for path in arguments.files]
    invalid = any(report.error is not None for report in reports)
    valid = [report.file for report in reports if report.error is None and report.stages is None]
    if arguments.format == "sarif":
        _show_sarif(reports)
    elif arguments.format == "json":
        _show_json(reports, valid, invalid)
    else:
        for report in reports:
            _show(report)
        if len(valid) > 1:
            _show_composition(valid)
    return 1 if invalid else 0


def _report(path: str) -> _Report:
    from edictum.guard import Edictum

    report = _Report(path)
    try:
        with reading(path):
            report.stages = _stages(path)
            if report.stages is not None:
                return report
            described = Edictum.from_yaml(path, audit_sink=[], telemetry=False).describe()
    except EdictumConfigError as error:
        report.error = error
    else:
        for rule in described["rules"]:
            report.counts[_TYPES[rule["type"]]] += 1
        report.disabled = len(described["disabled_rules"])
    return report


def _stages(path: str) -> int | None:
    """
    How many stages a workflow has; None when the file is none.

    Raises:
        EdictumConfigError: It is no valid workflow, or cannot be read.
    """
    from edictum.ruleset.document import read_file

    data = read_file(path).data
    if not isinstance(data, dict) or data.get("kind") != "Workflow":
        return None
    from edictum.workflow import load_workflow

    return len(load_workflow(path).stages)


def _compose(files: list[str]) -> Any:
    try:
        return compose_files(files)[2]
    except EdictumConfigError as error:
        message = "each file is valid, but they cannot be composed"
        raise CommandError(message, *problem_lines(files, error), code=1) from error


def _show_json(reports: list[_Report], valid: list[str], invalid: bool) -> None:
    published: dict[str, Any] = {
        "files": [
            {
                "file": report.file,
                "valid": report.error is None,
                "error": "\n".join(report.problems) or None,
                "total": report.total,
                "counts": report.counts if report.stages is None else {"stages": report.stages},
            }
            for report in reports
        ],
        "valid": not invalid,
    }
    if len(valid) > 1:
        published["composed"] = published_report(_compose(valid))
    say_json(published)


def _show_sarif(reports: list[_Report]) -> None:
    from edictum.cli.lint import invalid_findings
    from edictum.cli.sarif import to_sarif
    from edictum.lint import CHECKS

    found = [
        item for report in reports if report.error is not None for item in invalid_findings(report.file, report.error)
    ]
    say_json(to_sarif(found, [CHECKS["invalid-ruleset"]]))


def _show(report: _Report) -> None:
    problems = report.problems
    for problem in problems:
        say(problem)
    if problems:
        say(f"{report.file}: invalid, {counted(len(problems), 'problem')}")
        return
    if report.stages is not None:
        say(f"{report.file}: valid workflow, {counted(report.stages, 'stage')}")
        return
    counts = ", ".join(f"{number} {name}" for name, number in report.counts.items() if number)
    line = f"{report.file}: valid, {counted(report.total, 'rule')}"
    line += f" ({counts})" if counts else ""
    line += f", {report.disabled} disabled" if report.disabled else ""
    say(line)


def _show_composition(files: list[str]) -> None:
    lines = list(report_lines(_compose(files)))
    say(f"composed in this order: {'nothing changes' if not lines else ''}".rstrip())
    for line in lines:
        say(f"  {line}")
