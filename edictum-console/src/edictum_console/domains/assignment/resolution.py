"""
Deciding which ruleset an agent runs, without a database.

In this order: the ruleset that an operator gave the agent; the one that the agent asks for; the first enabled rule of
its environment, by rising priority, whose pattern and tags match; none.  A tenant may put rules before what agents ask
for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from uuid import UUID

import attrs


class Source(StrEnum):
    """
    Who says which ruleset an agent runs.
    """

    EXPLICIT = "explicit"
    CLIENT = "client"
    RULE = "rule"
    NONE = "none"


@attrs.frozen
class Subject:
    """
    An agent, as rules see it.

    Attributes:
        agent_id: What it calls itself.
        explicit: The ruleset that an operator gave it.
        requested: The ruleset that it asks for.
        operator_tags: What operators say about it.
        reported_tags: What it says about itself; never instead of what operators say.
    """

    agent_id: str
    explicit: str | None = None
    requested: str | None = None
    operator_tags: Mapping[str, str] = attrs.field(factory=dict)
    reported_tags: Mapping[str, str] = attrs.field(factory=dict)

    def tags(self, trusted_only: bool) -> Mapping[str, str]:
        """
        The tags that count.
        """
        return self.operator_tags if trusted_only else {**self.reported_tags, **self.operator_tags}


@attrs.frozen
class Rule:
    """
    One rule of an environment.

    Attributes:
        id: Its id.
        priority: Its place; the lowest is first.
        pattern: Which agent ids, with ``*`` and ``?``; upper and lower case differ.
        tag_match: Tags that the agent must have, all of them.
        trusted_tags_only: Whether tags that agents report themselves do not count.
        bundle_name: The ruleset that it gives.
        enabled: Whether it counts.
    """

    id: UUID
    priority: int
    pattern: str
    tag_match: Mapping[str, str]
    trusted_tags_only: bool
    bundle_name: str
    enabled: bool

    def obstacle(self, subject: Subject) -> str | None:
        """
        Say why it does not match an agent; None if it does.
        """
        if not self.enabled:
            return "it is disabled"
        if not fnmatchcase(subject.agent_id, self.pattern):
            return "the agent id does not match the pattern"
        if self.tag_match:
            tags = subject.tags(self.trusted_tags_only)
            missing = sorted(name for name, value in self.tag_match.items() if tags.get(name) != value)
            if missing:
                of_whom = "tags that operators gave" if self.trusted_tags_only else "tags"
                return f"these {of_whom} differ or are missing: {', '.join(missing)}"
        return None


@attrs.frozen
class Step:
    """
    One place where a ruleset may come from.

    Attributes:
        source: Which.
        bundle_name: The ruleset that comes from there.
        obstacle: Why it does not; None if it does.
        rule: The rule, where it is one.
    """

    source: Source
    bundle_name: str | None
    obstacle: str | None
    rule: Rule | None = None


@attrs.frozen
class Resolution:
    """
    What an agent runs, and who says so.
    """

    bundle_name: str | None
    source: Source
    rule_id: UUID | None = None


def steps(subject: Subject, rules: Sequence[Rule], rules_first: bool = False) -> Iterator[Step]:
    """
    Go through all places where a ruleset may come from, in their order; the first without an obstacle counts.

    Args:
        subject: The agent.
        rules: Those of its environment, by rising priority.
        rules_first: Whether they go before what the agent asks for.
    """
    explicit, requested = subject.explicit, subject.requested
    asked = Step(Source.CLIENT, requested, None if requested else "the agent asks for none")
    yield Step(Source.EXPLICIT, explicit, None if explicit else "no operator gave the agent a ruleset")
    if not rules_first:
        yield asked
    for rule in rules:
        yield Step(Source.RULE, rule.bundle_name, rule.obstacle(subject), rule)
    if rules_first:
        yield asked


def resolve(subject: Subject, rules: Sequence[Rule], rules_first: bool = False) -> Resolution:
    """
    Say which ruleset an agent runs.

    Args:
        subject: The agent.
        rules: Those of its environment, by rising priority.
        rules_first: Whether they go before what the agent asks for.
    """
    for step in steps(subject, rules, rules_first):
        if step.obstacle is None:
            return Resolution(step.bundle_name, step.source, step.rule.id if step.rule else None)
    return Resolution(None, Source.NONE)
