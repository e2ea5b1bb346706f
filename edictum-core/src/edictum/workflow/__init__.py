"""
Workflow gates: work in stages, each with its tools, its checks and the conditions for going on.

* ``conditions``: what gates may ask for; ``definition``: a workflow as it is written; ``reader``: from a document;
* ``commands``: the simple commands of a shell line;
* ``state``: how far a session has come, and its stored form;
* ``machine``: what a call means in a state; ``execution``: the programs of ``exec`` gates;
* ``runtime``: loads, judges, saves.
"""

from __future__ import annotations

from edictum.workflow.definition import (
    WorkflowApproval,
    WorkflowCheck,
    WorkflowDefinition,
    WorkflowGate,
    WorkflowMetadata,
    WorkflowStage,
)
from edictum.workflow.execution import ExecError, ExecPolicy
from edictum.workflow.reader import load_workflow, load_workflow_string
from edictum.workflow.runtime import WorkflowConflictError, WorkflowEvaluation, WorkflowRuntime, mcp_result_of
from edictum.workflow.state import WorkflowEvidence, WorkflowState

__all__ = [
    "ExecError",
    "ExecPolicy",
    "WorkflowApproval",
    "WorkflowCheck",
    "WorkflowConflictError",
    "WorkflowDefinition",
    "WorkflowEvaluation",
    "WorkflowEvidence",
    "WorkflowGate",
    "WorkflowMetadata",
    "WorkflowRuntime",
    "WorkflowStage",
    "WorkflowState",
    "load_workflow",
    "load_workflow_string",
    "mcp_result_of",
]
