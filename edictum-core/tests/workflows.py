"""
Workflows and sessions for tests.
"""

from __future__ import annotations

import json
from typing import Any

from edictum import MemoryBackend, Session, StorageBackend, ToolCall, create_envelope
from edictum.workflow import WorkflowDefinition, WorkflowRuntime, load_workflow_string


def document(*stages: dict[str, Any], **top: Any) -> dict[str, Any]:
    """
    A workflow document of these stages.
    """
    return {
        "apiVersion": "edictum/v1",
        "kind": "Workflow",
        "metadata": {"name": "work", "version": "1"},
        "stages": list(stages),
        **top,
    }


def definition(*stages: dict[str, Any], **top: Any) -> WorkflowDefinition:
    return load_workflow_string(json.dumps(document(*stages, **top)))


def runtime(*stages: dict[str, Any], **options: Any) -> WorkflowRuntime:
    return WorkflowRuntime(definition(*stages), **options)


def session(session_id: str = "s", backend: StorageBackend | None = None) -> Session:
    return Session(session_id, backend or MemoryBackend())


def bash(command: str) -> ToolCall:
    return create_envelope("Bash", {"command": command})


def call(tool: str = "Edit", **args: Any) -> ToolCall:
    return create_envelope(tool, args)


READ_TASK = {
    "id": "read",
    "tools": ["Read"],
    "exit": [{"condition": 'file_read("TASK.md")', "message": "Read TASK.md first."}],
}
EDIT = {"id": "edit", "tools": ["Edit"]}
TEST = {
    "id": "test",
    "tools": ["Bash"],
    "checks": [{"command_matches": "^pytest$", "message": "Only pytest."}],
    "exit": [{"condition": 'command_matches("^pytest$")', "message": "Run pytest."}],
}
REVIEW = {"id": "review", "approval": {"message": "Look at the diff."}}
PUSH = {
    "id": "push",
    "tools": ["Bash"],
    "checks": [
        {"command_matches": "^git push", "message": "Only git push."},
        {"command_not_matches": r"\bmain\b", "message": "Not to main."},
    ],
}
DEVELOPMENT = (READ_TASK, EDIT, TEST, REVIEW, PUSH)
