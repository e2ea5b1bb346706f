"""
From a document to a workflow definition; all problems of a document are found in one run.
"""

from __future__ import annotations

import os
from typing import Any

from edictum.errors import EdictumConfigError
from edictum.ruleset.document import Document, read_document, read_file
from edictum.ruleset.problems import Path, Problems
from edictum.workflow.definition import (
    API_VERSION,
    KIND,
    MAX_STAGES,
    WorkflowApproval,
    WorkflowCheck,
    WorkflowDefinition,
    WorkflowGate,
    WorkflowMetadata,
    WorkflowStage,
    find_problems,
)

_DOCUMENT_KEYS = frozenset(("apiVersion", "kind", "metadata", "stages"))
_METADATA_KEYS = frozenset(("name", "description", "version"))
_STAGE_KEYS = frozenset(
    (
        "id",
        "description",
        "entry",
        "tools",
        "checks",
        "exit",
        "approval",
        "terminal",
        "reads_from",
        "advance_on_check_failure",
    )
)
_GATE_KEYS = frozenset(("condition", "message"))
_CHECK_KEYS = frozenset(("message", "command_matches", "command_not_matches"))
_APPROVAL_KEYS = frozenset(("message",))


def load_workflow(path: str | os.PathLike[str]) -> WorkflowDefinition:
    """
    Read a workflow from a file, YAML or JSON.

    Raises:
        FileNotFoundError: There is no such file.
        EdictumConfigError: It is not a valid workflow; ``errors`` has every problem.
    """
    try:
        return _read(read_file(path))
    except EdictumConfigError as error:
        raise _said_of_workflow(error) from None


def load_workflow_string(content: str | bytes) -> WorkflowDefinition:
    """
    Read a workflow from text, YAML or JSON.

    Raises:
        EdictumConfigError: It is not a valid workflow; ``errors`` has every problem.
    """
    try:
        return _read(read_document(content))
    except EdictumConfigError as error:
        raise _said_of_workflow(error) from None


def _said_of_workflow(error: EdictumConfigError) -> EdictumConfigError:
    return EdictumConfigError.from_problems(error.errors, what="workflow") if error.errors else error


def _read(document: Document) -> WorkflowDefinition:
    problems = Problems(document)
    data = document.data
    if type(data) is not dict:
        problems.wrong_type((), "a mapping with apiVersion, kind, metadata and stages", data)
        raise problems.as_error()
    problems.keys(data, (), _DOCUMENT_KEYS, ("apiVersion", "kind", "metadata", "stages"))
    api_version = problems.choice(data, "apiVersion", (), (API_VERSION,), default=API_VERSION)
    kind = problems.choice(data, "kind", (), (KIND,), default=KIND)
    metadata = problems.mapping(data, "metadata", ()) or {}
    if "metadata" in data:
        problems.keys(metadata, ("metadata",), _METADATA_KEYS, ("name",))
    about = WorkflowMetadata(
        problems.text(metadata, "name", ("metadata",)),
        problems.text(metadata, "description", ("metadata",), shortest=0),
        problems.text(metadata, "version", ("metadata",), shortest=0),
    )
    stages = _maps(problems, data, "stages", ())
    read = tuple(_stage(problems, entry, ("stages", place)) for place, entry in stages)
    # What is missing has been said; what has another type would only be misunderstood.
    problems.raise_if_any()
    definition = WorkflowDefinition(about, read, api_version, kind)
    for path, message in find_problems(definition):
        problems.add(path, message)
    problems.raise_if_any()
    return definition


def _stage(problems: Problems, entry: dict[str, Any], path: Path) -> WorkflowStage:
    problems.keys(entry, path, _STAGE_KEYS, ("id",))
    return WorkflowStage(
        id=problems.text(entry, "id", path),
        description=problems.text(entry, "description", path, shortest=0),
        entry=_gates(problems, entry, "entry", path),
        tools=problems.texts(entry, "tools", path, shortest=0),
        checks=tuple(_check(problems, item, at) for at, item in _placed(problems, entry, "checks", path)),
        exit=_gates(problems, entry, "exit", path),
        approval=_approval(problems, entry, path),
        terminal=problems.boolean(entry, "terminal", path, default=False),
        reads_from=problems.texts(entry, "reads_from", path, shortest=0),
        advance_on_check_failure=problems.choice(  # type: ignore[arg-type]
            entry, "advance_on_check_failure", path, ("advance", "never"), default="advance"
        ),
    )


def _gates(problems: Problems, entry: dict[str, Any], key: str, path: Path) -> tuple[WorkflowGate, ...]:
    gates = []
    for at, item in _placed(problems, entry, key, path):
        problems.keys(item, at, _GATE_KEYS, ("condition",))
        condition = problems.text(item, "condition", at)
        gates.append(WorkflowGate(condition, problems.text(item, "message", at, shortest=0)))
    return tuple(gates)


def _check(problems: Problems, item: dict[str, Any], path: Path) -> WorkflowCheck:
    problems.keys(item, path, _CHECK_KEYS, ("message",))
    matches = problems.text(item, "command_matches", path) if "command_matches" in item else None
    avoids = problems.text(item, "command_not_matches", path) if "command_not_matches" in item else None
    return WorkflowCheck(problems.text(item, "message", path), matches, avoids)


def _approval(problems: Problems, entry: dict[str, Any], path: Path) -> WorkflowApproval | None:
    approval = problems.mapping(entry, "approval", path)
    if approval is None:
        return None
    problems.keys(approval, (*path, "approval"), _APPROVAL_KEYS, ("message",))
    return WorkflowApproval(problems.text(approval, "message", (*path, "approval")))


def _placed(problems: Problems, holder: dict[str, Any], key: str, path: Path) -> list[tuple[Path, dict[str, Any]]]:
    return [((*path, key, place), item) for place, item in _maps(problems, holder, key, path)]


def _maps(problems: Problems, holder: dict[str, Any], key: str, path: Path) -> list[tuple[int, dict[str, Any]]]:
    """
    The mappings of a list, with their places in it.
    """
    if key not in holder:
        return []
    items = holder[key]
    if not problems.items(items, (*path, key), shortest=0, longest=MAX_STAGES):
        return []
    found = []
    for place, item in enumerate(items):
        if type(item) is dict:
            found.append((place, item))
        else:
            problems.wrong_type((*path, key, place), "a mapping", item)
    return found
