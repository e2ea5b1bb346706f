"""
Bodies about the library of contracts: single rules with versions.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, TypeAlias

import attrs
from msgspec import Meta

from edictum_console.domains.rulesets.schemas import RulesetText
from edictum_console.http.bodies import Identifier, Label, Note

Tags: TypeAlias = Annotated[list[Identifier], Meta(max_length=32)]
VersionNumber: TypeAlias = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class ContractType(StrEnum):
    """
    What kind of rule it is.
    """

    PRE = "pre"
    POST = "post"
    SESSION = "session"
    SANDBOX = "sandbox"


@attrs.frozen
class NewContract:
    """
    A rule for the library.

    Attributes:
        definition: The rule as it stands in a ruleset; its ``id`` is the contract's.
        name: What people call it.
        description: What it is for.
        tags: Words by which people find it.
    """

    definition: dict[str, Any]
    name: Label = ""
    description: Note = ""
    tags: Tags = attrs.field(factory=list)


@attrs.frozen
class ContractRevision(NewContract):
    """
    What a contract says from now on.

    Attributes:
        expect_version: The version that is the newest now; if it is another one, nothing is changed.
    """

    expect_version: VersionNumber | None = None


@attrs.frozen
class ContractSummary:
    """
    A contract without the rule.

    Attributes:
        contract_id: The id of the rule.
        version: The number of the version.
        type: What kind of rule it is.
        name: What people call it.
        description: What it is for.
        tags: Words by which people find it.
        created_at: When this version was made.
        created_by: By whom.
    """

    contract_id: str
    version: int
    type: ContractType
    name: str
    description: str
    tags: list[str]
    created_at: datetime
    created_by: str


@attrs.frozen
class Contract(ContractSummary):
    """
    A version of a contract, with the rule.
    """

    definition: dict[str, Any]


@attrs.frozen
class Contracts:
    """
    The newest version of each contract, by id.
    """

    contracts: list[ContractSummary]
    next_cursor: str | None


@attrs.frozen
class ContractDetail:
    """
    The newest version of a contract, and all versions, newest first.
    """

    contract: Contract
    versions: list[ContractSummary]


@attrs.frozen
class ContractUse:
    """
    A composition that uses a contract.

    Attributes:
        composition: The composition.
        version: The version that it keeps to; null where it takes the newest.
        enabled: Whether the contract is in what the composition makes.
    """

    composition: str
    version: int | None
    enabled: bool

    @property
    def takes_newest(self) -> bool:
        """
        Whether a new version of the contract changes what the composition makes.
        """
        return self.enabled and self.version is None


@attrs.frozen
class ContractUsage:
    """
    The compositions that use a contract, by name.
    """

    used_by: list[ContractUse]


@attrs.frozen
class Import:
    """
    A ruleset whose rules are put into the library.
    """

    yaml_content: RulesetText
    tags: Tags = attrs.field(factory=list)


@attrs.frozen
class Imported:
    """
    What became of the rules of a ruleset.

    Attributes:
        created: Contracts that are new.
        updated: Contracts that have a new version.
        unchanged: Contracts that say the same already.
        left_out: Parts of the ruleset that are no rules, and belong into a composition.
    """

    created: list[str]
    updated: list[str]
    unchanged: list[str]
    left_out: list[str]


@attrs.frozen
class Template:
    """
    A ruleset to start from.
    """

    name: str
    description: str
    rule_count: int
    yaml_content: str


@attrs.frozen
class Templates:
    """
    Rulesets to start from, by name.
    """

    templates: list[Template]
