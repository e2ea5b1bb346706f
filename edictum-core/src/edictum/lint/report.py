"""
Findings, their places in the file, and the comments that suppress them.

``# edictum-lint: ignore=ID`` (several ids separated by commas) at the end of a line suppresses findings on that line;
on a line of its own, those on the next line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from edictum.errors import ConfigProblem
from edictum.lint.catalogue import CHECKS, Severity
from edictum.ruleset.document import Document
from edictum.ruleset.problems import Path, did_you_mean, quote, render

_COMMENT = re.compile(r"(?<![^ \t])#[ \t]*edictum-lint:[ \t]*ignore=([A-Za-z0-9,_-]*)[ \t]*$")
_LINE_BREAK = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class LintFinding:
    """
    One thing that is likely to be a mistake.

    Attributes:
        check: Id of the check, a key of :data:`~edictum.lint.catalogue.CHECKS`.
        severity: How serious it is here.
        message: What was found.
        fix: What to do.
        path: Where in the document, for example ``rules[0].when``.
        rule: Id of the rule, or None.
        line: 1-based line, or None when the place is not known.
        column: 1-based column, or None.
    """

    check: str
    severity: Severity
    message: str
    fix: str
    path: str = ""
    rule: str | None = None
    line: int | None = None
    column: int | None = None

    @property
    def why(self) -> str:
        """
        Why it matters.
        """
        return CHECKS[self.check].why


def of_problem(check: str, problem: ConfigProblem) -> LintFinding:
    """
    What the reader of rulesets says, as a finding.
    """
    known = CHECKS[check]
    place = problem.line, problem.column
    return LintFinding(check, known.severity, problem.message, known.fix, problem.path, None, *place)


class Findings:
    """
    Collects the findings of one file.

    Args:
        document: The file, which knows where its values stand.
    """

    def __init__(self, document: Document) -> None:
        self._document = document
        self._found: list[LintFinding] = []

    def add(
        self,
        check: str,
        path: Path,
        message: str,
        *,
        rule: str | None = None,
        fix: str | None = None,
        severity: Severity | None = None,
    ) -> None:
        """
        Note a finding.

        Args:
            check: Id of the check.
            path: Where in the document.
            message: What was found.
            rule: Id of the rule it belongs to.
            fix: What to do; None takes the text of the check.
            severity: Another one than that of the check.
        """
        line, column = self._document.locate(path)
        known = CHECKS[check]
        self._found.append(
            LintFinding(check, severity or known.severity, message, fix or known.fix, render(path), rule, line, column)
        )

    def add_problem(self, check: str, problem: ConfigProblem) -> None:
        """
        Note what the reader of rulesets says as a finding.
        """
        self._found.append(of_problem(check, problem))

    def line_of(self, path: Path) -> int | None:
        """
        Where a value stands, to be named in a message.
        """
        return self._document.locate(path)[0]

    def close(self, text: str | None) -> list[LintFinding]:
        """
        The findings by line, without those that a comment suppresses.

        Args:
            text: The text of the document; None when it can hold no comments.
        """
        comments = [] if text is None else list(_suppressions(text))
        remaining = []
        used: set[tuple[int, str]] = set()
        wanted = {(target, check): (line, check) for line, target, checks in comments for check in checks}
        for finding in self._found:
            comment = wanted.get((finding.line or 0, finding.check))
            if comment is None:
                remaining.append(finding)
            else:
                used.add(comment)
        for line, _, checks in comments:
            remaining += [_about_comment(line, check) for check in checks if (line, check) not in used]
        return sorted(remaining, key=lambda finding: (finding.line or 0, finding.column or 0))


def _suppressions(text: str) -> Iterable[tuple[int, int, list[str]]]:
    """
    The comments: their line, the line that they are about, and the ids of checks.
    """
    for number, line in enumerate(_LINE_BREAK.split(text), 1):
        found = _COMMENT.search(line) if "edictum-lint" in line else None
        if found is not None:
            alone = not line[: found.start()].strip()
            yield number, number + 1 if alone else number, found[1].split(",")


def _about_comment(line: int, check: str) -> LintFinding:
    if check in CHECKS:
        about, message = "unused-suppression", f"nothing to suppress for {quote(check)}"
    else:
        about = "unknown-suppression"
        message = f"there is no check {quote(check)}{did_you_mean(check, CHECKS)}"
    known = CHECKS[about]
    return LintFinding(about, known.severity, message, known.fix, line=line, column=1)
