"""
A workflow as it is written: stages in order, and what each of them asks for.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Literal, TypeAlias

from edictum.errors import ConfigProblem, EdictumConfigError
from edictum.ruleset.patterns import PatternRefused, admit
from edictum.ruleset.problems import Path, quote, render
from edictum.tool_call import name_problem
from edictum.workflow.conditions import BadCondition, parse_condition

API_VERSION = "edictum/v1"
KIND = "Workflow"
MAX_STAGES = 1_000

CheckFailure: TypeAlias = Literal["advance", "never"]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_NAME_FORM = "lower-case letters, digits, dots, hyphens and underscores, a letter or digit first"


@dataclass(frozen=True, slots=True)
class WorkflowMetadata:
    """
    Name of a workflow.

    Attributes:
        name: Its name; session state is kept under it.
        description: For people.
        version: Shown in the decision log.
    """

    name: str
    description: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class WorkflowGate:
    """
    A condition for entering or leaving a stage.

    Attributes:
        condition: See :func:`~edictum.workflow.conditions.parse_condition`.
        message: Text for the agent while it is not met.
    """

    condition: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class WorkflowCheck:
    """
    What the commands of a stage must look like; exactly one of the two patterns is given.

    Attributes:
        message: Text for the agent when a command does not.
        command_matches: Every command of a line matches this.
        command_not_matches: No command of a line matches this.
    """

    message: str
    command_matches: str | None = None
    command_not_matches: str | None = None


@dataclass(frozen=True, slots=True)
class WorkflowApproval:
    """
    A person has to agree before the stage is left.

    Attributes:
        message: Text for that person.
    """

    message: str


@dataclass(frozen=True, slots=True)
class WorkflowStage:
    """
    One step of a workflow.

    Attributes:
        id: Its name within the workflow.
        description: For people.
        entry: Gates that must be open before the stage begins.
        tools: Tools that may be called; names and globs; empty means any.
        checks: What commands must look like.
        exit: Gates that must be open before the stage is left.
        approval: Who has to agree before it is left.
        terminal: Whether nothing follows: once its exit gates are met, every call is blocked.
        reads_from: Tools, besides ``Read``, whose path counts as a file that was read; names and globs.
        advance_on_check_failure: ``never`` blocks a command that fails a check, also where the next stage would
            take it.
    """

    id: str
    description: str = ""
    entry: tuple[WorkflowGate, ...] = ()
    tools: tuple[str, ...] = ()
    checks: tuple[WorkflowCheck, ...] = ()
    exit: tuple[WorkflowGate, ...] = ()
    approval: WorkflowApproval | None = None
    terminal: bool = False
    reads_from: tuple[str, ...] = ()
    advance_on_check_failure: CheckFailure = "advance"


@dataclass(frozen=True, slots=True)
class WorkflowDefinition:
    """
    A workflow.

    Attributes:
        metadata: Its name.
        stages: In the order in which they follow each other.
        api_version: ``edictum/v1``.
        kind: ``Workflow``.
        index: Place of each stage by its id.
        digest: SHA-256 of the definition, lower-case hex.
    """

    metadata: WorkflowMetadata
    stages: tuple[WorkflowStage, ...]
    api_version: str = API_VERSION
    kind: str = KIND
    index: Mapping[str, int] = field(init=False, repr=False, compare=False)
    digest: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(self.stages))
        index: dict[str, int] = {}
        for place, stage in enumerate(self.stages):
            index.setdefault(stage.id, place)
        object.__setattr__(self, "index", MappingProxyType(index))
        said = json.dumps([asdict(self.metadata), [asdict(stage) for stage in self.stages]], sort_keys=True)
        object.__setattr__(self, "digest", hashlib.sha256(said.encode("utf-8", "backslashreplace")).hexdigest())

    def validate(self) -> None:
        """
        Check a definition that was not read from a document.

        Raises:
            EdictumConfigError: It makes no sense; ``errors`` has every problem.
        """
        problems = [ConfigProblem(render(path), message) for path, message in find_problems(self)]
        if problems:
            raise EdictumConfigError.from_problems(problems, what="workflow")

    def stage_index(self, stage_id: str) -> int:
        """
        Place of a stage.

        Raises:
            ValueError: There is no such stage.
        """
        place = self.index.get(stage_id)
        if place is None:
            known = ", ".join(self.index)
            raise ValueError(f"workflow {self.metadata.name!r} has no stage {stage_id!r}; its stages are {known}")
        return place

    def stage_by_id(self, stage_id: str) -> WorkflowStage:
        """
        A stage by its id.

        Raises:
            ValueError: There is no such stage.
        """
        return self.stages[self.stage_index(stage_id)]


def find_problems(definition: WorkflowDefinition) -> Iterator[tuple[Path, str]]:
    """
    Everything about a definition that makes no sense, with its place in the document.
    """
    if definition.api_version != API_VERSION:
        yield ("apiVersion",), f"{quote(definition.api_version)} is not known; write {API_VERSION}"
    if definition.kind != KIND:
        yield ("kind",), f"{quote(definition.kind)} is not a workflow; write {KIND}"
    if not _NAME.fullmatch(definition.metadata.name):
        name = quote(definition.metadata.name)
        yield ("metadata", "name"), f"{name} is not a valid name; use {_NAME_FORM}"
    if not definition.stages:
        yield ("stages",), "a workflow has at least one stage"
    if len(definition.stages) > MAX_STAGES:
        yield ("stages",), f"a workflow has at most {MAX_STAGES} stages, not {len(definition.stages)}"
    for place, stage in enumerate(definition.stages):
        path: Path = ("stages", place)
        if not _NAME.fullmatch(stage.id):
            yield (*path, "id"), f"{quote(stage.id)} is not a valid id; use {_NAME_FORM}"
        elif definition.index[stage.id] != place:
            yield (*path, "id"), f"the id {quote(stage.id)} is used twice; rename one of the stages"
        yield from _problems_of_stage(definition, stage, path)


def _problems_of_stage(definition: WorkflowDefinition, stage: WorkflowStage, path: Path) -> Iterator[tuple[Path, str]]:
    for key, names in (("tools", stage.tools), ("reads_from", stage.reads_from)):
        for number, name in enumerate(names):
            problem = name_problem(name)
            if problem is not None:
                yield (*path, key, number), f"not a tool name: {problem}"
    for key, gates in (("entry", stage.entry), ("exit", stage.exit)):
        for number, gate in enumerate(gates):
            where = (*path, key, number, "condition")
            try:
                condition = parse_condition(gate.condition)
            except BadCondition as error:
                yield where, str(error)
            else:
                named = condition.args[:1] if condition.kind in ("stage_complete", "approval") else ()
                for stage_id in set(named) - definition.index.keys():
                    yield where, f"there is no stage {quote(stage_id)}"
    for number, check in enumerate(stage.checks):
        where = (*path, "checks", number)
        if not check.message:
            yield where, 'missing key "message"'
        if (check.command_matches is None) == (check.command_not_matches is None):
            yield where, 'a check has exactly one of "command_matches" and "command_not_matches"'
        for key, pattern in (
            ("command_matches", check.command_matches),
            ("command_not_matches", check.command_not_matches),
        ):
            if pattern is not None:
                try:
                    admit(pattern)
                except PatternRefused as error:
                    yield (*where, key), str(error)
    if stage.approval is not None and not stage.approval.message:
        yield (*path, "approval"), 'missing key "message"'
    if stage.advance_on_check_failure not in ("advance", "never"):
        said = quote(str(stage.advance_on_check_failure))
        yield (*path, "advance_on_check_failure"), f'must be one of "advance", "never", not {said}'
