"""
The ruleset that is looked at, in the form that the checks share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edictum.loading import Resolved
from edictum.ruleset.coverage import FALSE, Coverage, Node, simplify
from edictum.ruleset.problems import Path
from edictum.ruleset.syntax import Expression, Leaf, Not, PostRule, PreRule, Rule, Ruleset


@dataclass(frozen=True, eq=False)
class LintedRule:
    """
    An enabled rule.

    Attributes:
        rule: The rule.
        path: Where it stands in the file; None for one that the file inherits, about which nothing is said.
        written: What the file says.
    """

    rule: Rule
    path: Path | None
    written: Mapping[str, Any]

    @cached_property
    def node(self) -> Node:
        """
        The condition, in the form that is compared; that of a rule without one never fires.
        """
        if isinstance(self.rule, PreRule | PostRule):
            return simplify(self.rule.when, self.rule.tools)
        return FALSE

    @cached_property
    def leaves(self) -> list[Leaf]:
        """
        The tests of the condition.
        """
        return list(_leaves(self.rule.when)) if isinstance(self.rule, PreRule | PostRule) else []

    @property
    def blocks(self) -> bool:
        """
        Whether it ends the search for a decision when it fires.
        """
        return isinstance(self.rule, PreRule) and self.rule.action == "block" and self.rule.mode == "enforce"


def _leaves(expression: Expression) -> Iterator[Leaf]:
    if isinstance(expression, Leaf):
        yield expression
    elif isinstance(expression, Not):
        yield from _leaves(expression.item)
    else:
        for item in expression.items:
            yield from _leaves(item)


class Subject:
    """
    A file with what it extends.

    Attributes:
        ruleset: The whole, with inherited rules.
        rules: Its enabled rules.
        coverage: Compares conditions; shared, so that the work on one file is bounded.
        written: The data of the file itself.
    """

    def __init__(self, resolved: Resolved) -> None:
        self.ruleset: Ruleset = resolved.ruleset
        self.coverage = Coverage()
        self.written: Mapping[str, Any] = resolved.own.data
        places = {rule["id"]: place for place, rule in enumerate(self.written.get("rules", []))}
        whole = {rule["id"]: rule for rule in resolved.data["rules"]}
        self.rules = [
            LintedRule(rule, ("rules", places[rule.id]) if rule.id in places else None, whole[rule.id])
            for rule in self.ruleset.rules
        ]
