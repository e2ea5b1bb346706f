"""
Bodies about compositions.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, TypeAlias

import attrs
from msgspec import Meta

from edictum_console.domains.library.schemas import VersionNumber
from edictum_console.domains.rulesets.schemas import Diff, RulesetProblem
from edictum_console.http.bodies import Identifier, Note

CompositionName: TypeAlias = Annotated[
    str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,127}$(?!\n)", max_length=128, description="The name of the ruleset.")
]
ContractId: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128)]


class Mode(StrEnum):
    """
    Whether a rule counts.
    """

    ENFORCE = "enforce"
    OBSERVE = "observe"


class UpdateStrategy(StrEnum):
    """
    What happens when a contract has a new version that a composition takes.
    """

    MANUAL = "manual"
    NOTIFY = "notify"
    AUTO = "auto"


@attrs.frozen
class CompositionItem:
    """
    A contract in a composition.

    A contract may be there twice, once of them observed; that copy's id gets the ending ``-obs``.

    Attributes:
        contract_id: The contract.
        version: The version to keep to; null takes the newest whenever a ruleset is made.
        mode: Instead of the mode that the rule has, or the composition by default.
        enabled: Whether the contract is in the ruleset.
    """

    contract_id: ContractId
    version: VersionNumber | None = None
    mode: Mode | None = None
    enabled: bool = True


Items: TypeAlias = Annotated[list[CompositionItem], Meta(max_length=1000)]


@attrs.frozen(kw_only=True)
class CompositionContent:
    """
    What a composition says.

    Attributes:
        description: What the ruleset is for.
        defaults_mode: The mode of rules that have none.
        update_strategy: What happens when one of the contracts has a new version: nothing, a word to whoever watches,
            or a deployment wherever the ruleset runs already and the environment is not protected.
        items: The contracts, in the order of the rules.
        tools: What is known about tools, as it stands in a ruleset.
        observability: Where events go, as it stands in a ruleset.
    """

    description: Note = ""
    defaults_mode: Mode = Mode.ENFORCE
    update_strategy: UpdateStrategy = UpdateStrategy.MANUAL
    items: Items = attrs.field(factory=list)
    tools: dict[str, Any] = attrs.field(factory=dict)
    observability: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class NewComposition(CompositionContent):
    """
    A composition to be added.
    """

    name: CompositionName


@attrs.frozen(kw_only=True)
class CompositionChange(CompositionContent):
    """
    What a composition says from now on.

    Attributes:
        expect_revision: The revision that counts now; if it is another one, nothing is changed.
    """

    expect_revision: VersionNumber | None = None


@attrs.frozen(kw_only=True)
class Composition(CompositionContent):
    """
    A composition.

    Attributes:
        name: The name of the ruleset that it makes.
        revision: How often it was changed, from 1.
        created_by: Who added it.
        created_at: When.
        updated_by: Who changed it last.
        updated_at: When.
    """

    name: str
    revision: int
    created_by: str
    created_at: datetime
    updated_by: str
    updated_at: datetime


@attrs.frozen
class CompositionSummary:
    """
    A composition without what is in it.
    """

    name: str
    description: str
    defaults_mode: Mode
    update_strategy: UpdateStrategy
    revision: int
    updated_by: str
    updated_at: datetime


@attrs.frozen
class Compositions:
    """
    All compositions, by name.
    """

    compositions: list[CompositionSummary]


@attrs.frozen
class PreviewRequest:
    """
    What to compare a preview with.

    Attributes:
        env: An environment, with what runs there; null compares with nothing.
    """

    env: Identifier | None = None


@attrs.frozen
class Ingredient:
    """
    Which version of a contract a rule is.
    """

    rule_id: str
    contract_id: str
    version: int


@attrs.frozen
class Running:
    """
    What runs in an environment under the name of a composition.

    Attributes:
        version: The version of the ruleset.
        revision_hash: The SHA-256 of its bytes.
        assembled_here: Whether it came from this composition; if not, deploying would replace somebody's own text.
        same: Whether it is what the composition makes now.
    """

    version: int
    revision_hash: str
    assembled_here: bool
    same: bool


@attrs.frozen
class Preview:
    """
    What a composition makes now.

    Attributes:
        yaml_content: The ruleset.
        valid: Whether agents can load it.
        errors: Why not; lines are those of the ruleset.
        revision_hash: The SHA-256 of its bytes, if they can.
        contents: Which version of a contract each rule is.
        running: What runs in the environment that was asked for, if anything.
        changes: How the ruleset differs from that.
    """

    yaml_content: str
    valid: bool
    errors: list[RulesetProblem]
    revision_hash: str | None
    contents: list[Ingredient]
    running: Running | None
    changes: Diff | None


@attrs.frozen
class DeployComposition:
    """
    Where what a composition makes is to run.

    Attributes:
        env: The environment.
        note: Why.
        expect_current: The version of the ruleset that is to run there now, 0 for none.  Without it, only a version
            that came from this composition is replaced.
    """

    env: Identifier
    note: Note = ""
    expect_current: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
