"""
All checks on one file.
"""

from __future__ import annotations

import os

from edictum.errors import EdictumConfigError
from edictum.lint.conditions import check_conditions
from edictum.lint.effects import check_effects
from edictum.lint.reach import check_reach
from edictum.lint.report import Findings, LintFinding
from edictum.lint.subject import Subject
from edictum.loading import resolve_document
from edictum.redaction import RedactionPolicy
from edictum.ruleset.compiler import compile_ruleset
from edictum.ruleset.document import MAX_BUNDLE_SIZE, Document, read_document
from edictum.ruleset.expressions import Names
from edictum.ruleset.reader import KnownNames, read_ruleset


def lint_file(path: str) -> list[LintFinding]:
    """
    Look for likely mistakes in a valid ruleset file.

    What the file extends counts, but nothing is said about it.

    Args:
        path: The file.

    Returns:
        What was found and not suppressed by a comment, by line.

    Raises:
        FileNotFoundError: The file does not exist.
        EdictumConfigError: It is not a valid ruleset.
    """
    with open(path, "rb") as stream:
        raw = stream.read(MAX_BUNDLE_SIZE + 1)
    own = read_document(raw, name=os.path.basename(path))
    subject = Subject(resolve_document(own, os.path.dirname(path)))
    findings = Findings(own)
    if _all_names_are_built_in(own, findings):
        compile_ruleset(subject.ruleset, Names(), RedactionPolicy(), version=None)  # reads the lists of sandboxes
    check_conditions(subject, findings)
    check_reach(subject, findings)
    check_effects(subject, findings)
    text = raw.decode("utf-8")
    return findings.close(None if text.lstrip("\ufeff \t\r\n").startswith("{") else text)


def _all_names_are_built_in(document: Document, findings: Findings) -> bool:
    """
    Note the operators and selectors that a program has to register; the rest of the document is known to be valid.
    """
    try:
        read_ruleset(document, custom=KnownNames(), extending=True)
    except EdictumConfigError as error:
        for problem in error.errors:
            findings.add_problem("unknown-name", problem)
        return False
    return True
