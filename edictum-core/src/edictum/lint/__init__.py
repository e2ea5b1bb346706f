"""
Finding what is valid in a ruleset and still likely to be a mistake.

A finding must be right: where a property cannot be decided from the document alone, nothing is said.

The modules, each of which uses only those above it:

* ``catalogue``: every check with its severity and the texts that explain it;
* ``report``: findings, their places, and the comments that suppress them;
* ``patterns``: what is wrong with a regular expression;
* ``coverage``: which calls a condition or a tool pattern takes from another one;
* ``subject``: the ruleset in the form that the checks share;
* ``conditions``: what is wrong inside the condition of one rule;
* ``reach``: rules and limits that others leave nothing to do; ``effects``: keys and rules without effect;
* ``linting``: all checks on one file.
"""

from __future__ import annotations

from edictum.lint.catalogue import CHECKS, Check, Severity
from edictum.lint.linting import lint_file
from edictum.lint.report import LintFinding

__all__ = ["CHECKS", "Check", "LintFinding", "Severity", "lint_file"]
