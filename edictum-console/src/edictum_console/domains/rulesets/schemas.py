"""
Bodies about rulesets.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import attrs
from msgspec import Meta

from edictum_console.http.bodies import Note

RulesetText = Annotated[str, Meta(min_length=1, max_length=1024 * 1024)]


@attrs.frozen
class RulesetProblem:
    """
    Why a text cannot be loaded.

    Attributes:
        message: What is wrong and what to do.
        path: Where in the document, such as ``rules[0].then.action``.
        line: In which line, from 1; null if no line is to blame.
        column: In which column, from 1.
    """

    message: str
    path: str
    line: int | None
    column: int | None


@attrs.frozen
class Upload:
    """
    A ruleset to be stored.
    """

    yaml_content: RulesetText
    note: Note = ""


@attrs.frozen
class Draft:
    """
    A ruleset to be checked.
    """

    yaml_content: RulesetText


@attrs.frozen
class Validation:
    """
    Whether a ruleset can be loaded.

    Attributes:
        valid: Whether it can.
        errors: Why not.
        name: Its name, if it can.
        revision_hash: The SHA-256 of its bytes, if it can.
        rule_count: How many rules it has, if it can.
    """

    valid: bool
    errors: list[RulesetProblem]
    name: str | None = None
    revision_hash: str | None = None
    rule_count: int | None = None


@attrs.frozen
class RulesetVersion:
    """
    One version of a ruleset.

    Attributes:
        id: Its id.
        name: The ruleset.
        version: The number of the version.
        revision_hash: The SHA-256 of its bytes.
        rule_count: How many rules it has.
        note: What its author says about it.
        uploaded_by: Who uploaded it.
        created_at: When.
    """

    id: UUID
    name: str
    version: int
    revision_hash: str
    rule_count: int
    note: str
    uploaded_by: str
    created_at: datetime


@attrs.frozen
class RulesetVersions:
    """
    The versions of a ruleset, newest first.
    """

    versions: list[RulesetVersion]
    next_cursor: str | None


@attrs.frozen
class RulesetName:
    """
    A ruleset.

    Attributes:
        name: Its name.
        latest_version: Its newest version.
        versions: How many it has.
    """

    name: str
    latest_version: int
    versions: int


@attrs.frozen
class RulesetNames:
    """
    All rulesets, by name.
    """

    bundles: list[RulesetName]


@attrs.frozen
class RuleChange:
    """
    A rule that differs, with the places in it.
    """

    id: str
    type: str
    paths: list[str]


@attrs.frozen
class Diff:
    """
    What differs between two versions.

    Attributes:
        name: The ruleset.
        from_version: The version before.
        to_version: The version after; 0 for one that is not stored.
        added: Rules that only the later one has.
        removed: Rules that only the earlier one has.
        changed: Rules that mean something else.
        moved: Rules that stand in another order.
        settings: Places outside the rules that differ.
        text: The lines that differ, in the unified form.
    """

    name: str
    from_version: int
    to_version: int
    added: list[RuleChange]
    removed: list[RuleChange]
    changed: list[RuleChange]
    moved: list[str]
    settings: list[str]
    text: str
