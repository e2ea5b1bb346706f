"""
What a batch of events adds to the counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import attrs
import msgspec

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


class Countable(Protocol):
    """
    What is counted of an event.
    """

    occurred_at: int
    agent_id: str
    tool_name: str
    action: str
    mode: str
    rule_name: str | None
    duration_ms: int | None
    rules: tuple[str, ...]


@attrs.frozen
class Counts:
    """
    How many events there were of each group, how long they took together, and which rules were evaluated how often.
    """

    groups: dict[Group, tuple[int, int]] = attrs.field(factory=dict)
    rules: Counter[tuple[int, str]] = attrs.field(factory=Counter)

    @classmethod
    def of(cls, events: Iterable[Countable]) -> Counts:
        """
        Count events.
        """
        numbers: Counter[tuple[Any, ...]] = Counter()
        durations: Counter[tuple[Any, ...]] = Counter()
        evaluated: Counter[tuple[int, tuple[str, ...]]] = Counter()
        for event in events:
            minute, rule, rules = event.occurred_at // 60_000_000, event.rule_name or "", event.rules
            names = (minute, event.agent_id, event.tool_name, event.action, event.mode, rule)
            numbers[names] += 1
            if event.duration_ms:
                durations[names] += event.duration_ms
            if rules:
                evaluated[minute - minute % HOUR, rules] += 1
        counts = cls({Group(*names): (number, durations[names]) for names, number in numbers.items()})
        for (hour, rules), number in evaluated.items():
            for name in rules:
                counts.rules[hour, name] += number
        return counts

    def add(self, text: str) -> None:
        """
        Add what was counted elsewhere.
        """
        written = msgspec.json.decode(text)
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
        return msgspec.json.encode({"groups": groups, "rules": rules}).decode()
