"""
What a batch of events adds to the counts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import attrs

HOUR = 60


class Group(NamedTuple):
    """
    Events that are counted together.
    """

    minute: int
    agent_id: str
    tool_name: str
    action: str
    mode: str
    rule_name: str


@attrs.frozen
class Counts:
    """
    How many events there were of each group, how long they took together, and which rules were evaluated how often.
    """

    groups: dict[Group, tuple[int, int]] = attrs.field(factory=dict)
    rules: Counter[tuple[int, str]] = attrs.field(factory=Counter)

    def count(self, group: Group, duration: int, rules: Iterable[str]) -> None:
        """
        Count one event.
        """
        number, total = self.groups.get(group, (0, 0))
        self.groups[group] = number + 1, total + duration
        hour = group.minute - group.minute % HOUR
        for rule in rules:
            self.rules[hour, rule] += 1

    def add(self, text: str) -> None:
        """
        Add what was counted elsewhere.
        """
        written = json.loads(text)
        for *names, number, total in written["groups"]:
            group = Group(*names)
            before, total_before = self.groups.get(group, (0, 0))
            self.groups[group] = before + number, total_before + total
        for hour, rule, number in written["rules"]:
            self.rules[hour, rule] += number

    def written(self) -> str:
        """
        Write the counts down for later.
        """
        groups: list[Any] = [[*group, *numbers] for group, numbers in self.groups.items()]
        rules = [[*rule, number] for rule, number in self.rules.items()]
        return json.dumps({"groups": groups, "rules": rules}, separators=(",", ":"))
