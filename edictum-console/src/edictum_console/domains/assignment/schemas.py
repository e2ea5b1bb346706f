"""
Bodies about assignment rules.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import attrs
from msgspec import Meta

from edictum_console.http.bodies import Identifier, Note

Pattern = Annotated[str, Meta(min_length=1, max_length=128)]
Tags = dict[str, str]
RuleIds = Annotated[list[UUID], Meta(min_length=1, max_length=500)]


@attrs.frozen
class AssignmentRule:
    """
    A rule that gives agents a ruleset.

    Attributes:
        id: Its id.
        env: Where it counts.
        priority: Its place in the environment; the lowest is first.
        pattern: Which agent ids, with * and ?; upper and lower case differ.
        tag_match: Tags that the agent must have, all of them.
        trusted_tags_only: Whether tags that agents report themselves do not count.
        bundle_name: The ruleset that it gives.
        enabled: Whether it counts.
        note: Why it is there.
        created_at: When it was made.
        created_by: By whom.
    """

    id: UUID
    env: str
    priority: int
    pattern: str
    tag_match: Tags
    trusted_tags_only: bool
    bundle_name: str
    enabled: bool
    note: str
    created_at: datetime
    created_by: str


@attrs.frozen
class AssignmentRules:
    """
    Rules, by environment and priority.
    """

    assignment_rules: list[AssignmentRule]


@attrs.frozen
class NewRule:
    """
    A rule to be added after all others of its environment.
    """

    env: Identifier
    pattern: Pattern
    bundle_name: Identifier
    tag_match: Tags = attrs.field(factory=dict)
    trusted_tags_only: bool = False
    enabled: bool = True
    note: Note = ""


@attrs.frozen
class RuleChange:
    """
    What changes of a rule; what is not named stays.
    """

    pattern: Pattern | None = None
    bundle_name: Identifier | None = None
    tag_match: Tags | None = None
    trusted_tags_only: bool | None = None
    enabled: bool | None = None
    note: Note | None = None


@attrs.frozen
class NewOrder:
    """
    All rules of an environment, in the order in which they are to be tried.
    """

    env: Identifier
    rule_ids: RuleIds
