"""
``edictum lint``.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edictum.cli.inputs import add_format_options, path_of, reading
from edictum.cli.terminal import counted, say, say_json
from edictum.errors import EdictumConfigError

if TYPE_CHECKING:
    from edictum.lint import LintFinding


@dataclass(frozen=True, slots=True)
class LintedFile:
    """
    A file and what was found.

    Attributes:
        path: The file as it was named.
        findings: Each with the path of its own file, which can be one that this one extends.
    """

    path: str
    findings: list[tuple[str, LintFinding]]


def configure(parser: argparse.ArgumentParser) -> None:
    """
    Add the options.
    """
    parser.add_argument("files", nargs="+", metavar="FILE", help="ruleset, YAML or JSON")
    add_format_options(parser)
    parser.epilog = (
        "Exit code 1 means that there is a warning or an error; notes alone are fine. A comment at the end of a line, "
        "'# edictum-lint: ignore=ID', suppresses a finding there."
    )


def run(arguments: argparse.Namespace) -> int:
    """
    Look for likely mistakes in each file by itself.
    """
    from edictum.lint import CHECKS

    files = [_lint(path) for path in arguments.files]
    found = [item for file in files for item in file.findings]
    totals = Counter(finding.severity for _, finding in found)
    if arguments.format == "sarif":
        from edictum.cli.sarif import to_sarif

        say_json(to_sarif(found, list(CHECKS.values())))
    elif arguments.format == "json":
        say_json(_published(files, totals))
    else:
        for file in files:
            _show(file)
    return 1 if totals["error"] or totals["warning"] else 0


def _lint(path: str) -> LintedFile:
    from edictum.lint import lint_file

    with reading(path):
        try:
            return LintedFile(path, [(path, finding) for finding in lint_file(path)])
        except EdictumConfigError as error:
            return LintedFile(path, invalid_findings(path, error))


def invalid_findings(path: str, error: EdictumConfigError) -> list[tuple[str, LintFinding]]:
    """
    The problems of an invalid ruleset as findings, each with the path of its file.

    Args:
        path: The file as it was named.
        error: What the reader found.
    """
    from edictum.errors import ConfigProblem
    from edictum.lint.report import of_problem

    problems = error.errors or (ConfigProblem("", str(error)),)
    return [(path_of(problem, [path]), of_problem("invalid-ruleset", problem)) for problem in problems]


def _published(files: list[LintedFile], totals: Counter[Any]) -> dict[str, Any]:
    return {
        "files": [
            {"file": file.path, "findings": [_published_finding(path, finding) for path, finding in file.findings]}
            for file in files
        ],
        "errors": totals["error"],
        "warnings": totals["warning"],
        "notes": totals["note"],
        "clean": not totals["error"] and not totals["warning"],
    }


def _published_finding(path: str, finding: LintFinding) -> dict[str, Any]:
    return {
        "id": finding.check,
        "severity": finding.severity,
        "file": path,
        "line": finding.line,
        "column": finding.column,
        "path": finding.path,
        "rule_id": finding.rule,
        "message": finding.message,
        "why": finding.why,
        "fix": finding.fix,
    }


def _show(file: LintedFile) -> None:
    explained: set[tuple[str, str]] = set()
    for path, finding in file.findings:
        place = path if finding.line is None else f"{path}:{finding.line}:{finding.column}"
        say(f"{place}: {finding.severity}: {finding.message} [{finding.check}]")
        if (finding.check, finding.fix) not in explained:
            explained.add((finding.check, finding.fix))
            say(f"    {finding.why}")
            say(f"    {finding.fix}")
    totals = Counter(finding.severity for _, finding in file.findings)
    counts = [counted(totals[severity], severity) for severity in ("error", "warning", "note") if totals[severity]]
    say(f"{file.path}: {', '.join(counts) or 'nothing found'}")
