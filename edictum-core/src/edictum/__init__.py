"""
Edictum: rules between an agent's decision to call a tool and the call.

    from edictum import Edictum, EdictumDenied

    guard = Edictum.from_yaml("rules.yaml")
    text = await guard.run("read_file", {"path": "notes.txt"}, read_file)

The names below are the public surface, together with :mod:`edictum.testing`.
"""

from __future__ import annotations

import typing

from edictum.approval import ApprovalBackend, ApprovalDecision, ApprovalPaused, ApprovalRequest, ApprovalStatus
from edictum.audit import AuditAction, AuditEvent, AuditSink, canonical_action
from edictum.builtins import deny_sensitive_reads
from edictum.engine.outcome import PostDecision, PreDecision
from edictum.errors import (
    ConfigProblem,
    EdictumConfigError,
    EdictumDenied,
    EdictumError,
    EdictumToolError,
    MarkEvictedError,
    SelfTestError,
)
from edictum.evaluation import EvaluationResult, RuleResult
from edictum.findings import Finding, PostCallResult
from edictum.governed_call import GovernedCall, RunResult
from edictum.guard import Edictum
from edictum.guard_session import GuardSession
from edictum.hooks import HookDecision, HookRegistration, HookResult
from edictum.limits import OperationLimits
from edictum.memory_storage import MemoryBackend
from edictum.pipeline import CheckPipeline
from edictum.redaction import RedactionPolicy
from edictum.rules import Decision, postcondition, precondition, session_contract
from edictum.session import Session
from edictum.sinks import CollectingAuditSink, CompositeSink, FileAuditSink, StdoutAuditSink
from edictum.storage import ReserveResult, ReservingBackend, StorageBackend
from edictum.tool_call import Principal, ToolCall, create_envelope, create_tool_call
from edictum.tools import BashClassifier, SideEffect, ToolRegistry

if typing.TYPE_CHECKING:
    from edictum.adapter import Adapter
    from edictum.local_approval import LocalApprovalBackend
    from edictum.otel import configure_otel, get_tracer, has_otel
    from edictum.ruleset.composition import CompositionReport
    from edictum.sqlite_storage import SqliteBackend
    from edictum.telemetry import GovernanceTelemetry
    from edictum.template_files import TemplateInfo
    from edictum.workflow import (
        WorkflowApproval,
        WorkflowCheck,
        WorkflowDefinition,
        WorkflowEvaluation,
        WorkflowEvidence,
        WorkflowGate,
        WorkflowMetadata,
        WorkflowRuntime,
        WorkflowStage,
        WorkflowState,
        load_workflow,
        load_workflow_string,
    )

__version__ = "0.1.0"

ContractResult = RuleResult
"""Older name of :class:`RuleResult`."""

__all__ = [
    "Adapter",
    "ApprovalBackend",
    "ApprovalDecision",
    "ApprovalPaused",
    "ApprovalRequest",
    "ApprovalStatus",
    "AuditAction",
    "AuditEvent",
    "AuditSink",
    "BashClassifier",
    "CheckPipeline",
    "CollectingAuditSink",
    "CompositeSink",
    "CompositionReport",
    "ConfigProblem",
    "Decision",
    "Edictum",
    "EdictumConfigError",
    "EdictumDenied",
    "EdictumError",
    "EdictumToolError",
    "EvaluationResult",
    "FileAuditSink",
    "Finding",
    "GovernanceTelemetry",
    "GovernedCall",
    "GuardSession",
    "HookDecision",
    "HookRegistration",
    "HookResult",
    "LocalApprovalBackend",
    "MarkEvictedError",
    "MemoryBackend",
    "OperationLimits",
    "PostCallResult",
    "PostDecision",
    "PreDecision",
    "Principal",
    "RedactionPolicy",
    "ReserveResult",
    "ReservingBackend",
    "RuleResult",
    "RunResult",
    "SelfTestError",
    "Session",
    "SideEffect",
    "SqliteBackend",
    "StdoutAuditSink",
    "StorageBackend",
    "TemplateInfo",
    "ToolCall",
    "ToolRegistry",
    "WorkflowApproval",
    "WorkflowCheck",
    "WorkflowDefinition",
    "WorkflowEvaluation",
    "WorkflowEvidence",
    "WorkflowGate",
    "WorkflowMetadata",
    "WorkflowRuntime",
    "WorkflowStage",
    "WorkflowState",
    "__version__",
    "canonical_action",
    "configure_otel",
    "create_envelope",
    "create_tool_call",
    "deny_sensitive_reads",
    "get_tracer",
    "has_otel",
    "load_workflow",
    "load_workflow_string",
    "postcondition",
    "precondition",
    "session_contract",
]


# What an agent in production seldom needs is loaded when it is asked for.
_ON_DEMAND = {
    "Adapter": "edictum.adapter",
    "CompositionReport": "edictum.ruleset.composition",
    "GovernanceTelemetry": "edictum.telemetry",
    "LocalApprovalBackend": "edictum.local_approval",
    "SqliteBackend": "edictum.sqlite_storage",
    "TemplateInfo": "edictum.template_files",
    "WorkflowApproval": "edictum.workflow",
    "WorkflowCheck": "edictum.workflow",
    "WorkflowDefinition": "edictum.workflow",
    "WorkflowEvaluation": "edictum.workflow",
    "WorkflowEvidence": "edictum.workflow",
    "WorkflowGate": "edictum.workflow",
    "WorkflowMetadata": "edictum.workflow",
    "WorkflowRuntime": "edictum.workflow",
    "WorkflowStage": "edictum.workflow",
    "WorkflowState": "edictum.workflow",
    "configure_otel": "edictum.otel",
    "get_tracer": "edictum.otel",
    "has_otel": "edictum.otel",
    "load_workflow": "edictum.workflow",
    "load_workflow_string": "edictum.workflow",
}


def __getattr__(name: str) -> object:
    if name in _ON_DEMAND:
        from importlib import import_module

        return getattr(import_module(_ON_DEMAND[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
