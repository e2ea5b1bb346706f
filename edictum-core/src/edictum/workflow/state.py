"""
How far a session has come in a workflow, and its stored form.

The stored form is one JSON text for each session and workflow, in the shape that all implementations share.  Our own
additions are keys that the others do not have; they are left out while they say nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from edictum.workflow.definition import WorkflowDefinition

MAX_ITEMS = 1_000
MAX_STRING = 4_096
APPROVED = "approved"

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


class StateError(ValueError):
    """
    Stored state cannot be used; the session is blocked until it is reset.
    """


class RefusedEvidenceError(ValueError):
    """
    Something cannot be recorded as evidence.
    """


@dataclass(slots=True)
class WorkflowEvidence:
    """
    What a session has done so far.

    Attributes:
        reads: Files that were read, as they were named.
        stage_calls: Commands that succeeded, by stage.
        mcp_results: Results of MCP tools, by tool.
        dropped: How many items did not fit, by the list that was full: ``reads``, ``calls:<stage>``, ``mcp:<tool>``.
    """

    reads: list[str] = field(default_factory=list)
    stage_calls: dict[str, list[str]] = field(default_factory=dict)
    mcp_results: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)

    def add_read(self, path: str) -> bool:
        """
        Note a file; whether that changed anything.

        Raises:
            RefusedEvidenceError: The path is too long or holds a control character.
        """
        if _fit(path) in self.reads:
            return False
        return self._add(self.reads, path, "reads")

    def add_call(self, stage_id: str, command: str) -> bool:
        """
        Note a command that succeeded.

        Raises:
            RefusedEvidenceError: It is too long or holds a control character.
        """
        command = _fit(command)
        return self._add(self.stage_calls.setdefault(stage_id, []), command, f"calls:{stage_id}")

    def add_mcp_result(self, tool_name: str, result: object) -> bool:
        """
        Note the result of an MCP tool; what is no map counts as an empty one.
        """
        plain = {str(key): _shown(value) for key, value in result.items()} if isinstance(result, Mapping) else {}
        return self._add(self.mcp_results.setdefault(tool_name, []), plain, f"mcp:{tool_name}")

    def _add(self, items: list[Any], item: Any, name: str) -> bool:
        if len(items) < MAX_ITEMS:
            items.append(item)
        else:
            self.dropped[name] = self.dropped.get(name, 0) + 1
        return True

    def to_dict(self) -> dict[str, Any]:
        """
        The evidence as plain data.
        """
        data: dict[str, Any] = {"reads": self.reads, "stage_calls": self.stage_calls}
        if self.mcp_results:
            data["mcp_results"] = self.mcp_results
        if self.dropped:
            data["dropped"] = self.dropped
        return data


@dataclass(slots=True)
class WorkflowState:
    """
    How far a session has come.

    Attributes:
        session_id: The session.
        active_stage: The stage it is in; empty when the workflow is completed.
        completed_stages: Those behind it, in the order in which they were completed.
        approvals: Stage to ``approved``.
        evidence: What was done.
        blocked_reason: Why the latest call was blocked, or None.
        pending_approval: ``{"required": False}``, or with ``stage_id`` and ``message`` what is waited for.
        last_blocked_action: Tool, summary, message and time of the latest blocked call, until one is allowed.
        last_recorded_evidence: Tool, summary and time of what was recorded last.
        approved_by: For approved stages who agreed: ``approver``, ``approval_id`` and ``at``.
        definition: Digest of the definition that the state belongs to; empty when it is not known.
    """

    session_id: str
    active_stage: str
    completed_stages: list[str] = field(default_factory=list)
    approvals: dict[str, str] = field(default_factory=dict)
    evidence: WorkflowEvidence = field(default_factory=WorkflowEvidence)
    blocked_reason: str | None = None
    pending_approval: dict[str, Any] = field(default_factory=lambda: {"required": False})
    last_blocked_action: dict[str, str] | None = None
    last_recorded_evidence: dict[str, str] | None = None
    approved_by: dict[str, dict[str, Any]] = field(default_factory=dict)
    definition: str = ""

    @property
    def completed(self) -> bool:
        """
        Whether the last stage is behind the session.
        """
        return not self.active_stage

    def copy(self) -> WorkflowState:
        """
        An independent copy.
        """
        return deepcopy(self)

    def to_dict(self) -> dict[str, Any]:
        """
        The state as plain data.
        """
        data: dict[str, Any] = {
            "session_id": self.session_id,
            "active_stage": self.active_stage,
            "completed_stages": self.completed_stages,
            "approvals": self.approvals,
            "evidence": self.evidence.to_dict(),
            "blocked_reason": self.blocked_reason,
            "pending_approval": self.pending_approval,
        }
        for name in ("last_blocked_action", "last_recorded_evidence", "approved_by", "definition"):
            value = getattr(self, name)
            if value:
                data[name] = value
        return data

    def to_json(self) -> str:
        """
        The stored form.
        """
        return json.dumps(self.to_dict(), separators=(",", ":"), sort_keys=True)

    def clear_status(self) -> None:
        """
        Forget what the latest call left: why it was blocked, and what is waited for.
        """
        self.blocked_reason = None
        self.last_blocked_action = None
        self.pending_approval = {"required": False}


def initial_state(definition: WorkflowDefinition, session_id: str) -> WorkflowState:
    """
    The state of a session that has done nothing yet.
    """
    return WorkflowState(session_id, definition.stages[0].id, definition=definition.digest)


def state_from_json(text: str, session_id: str) -> WorkflowState:
    """
    Read the stored form.

    Raises:
        StateError: It is not of the shared shape.
    """
    try:
        data = json.loads(text)
        if not isinstance(data, dict):
            raise TypeError("it is no map")
        evidence = _map(data, "evidence")
        state = WorkflowState(
            session_id=session_id,
            active_stage=_text(data["active_stage"]),
            completed_stages=_texts(data.get("completed_stages", [])),
            approvals={_text(stage): _approval(value) for stage, value in _map(data, "approvals").items()},
            evidence=WorkflowEvidence(
                reads=_texts(evidence.get("reads", [])),
                stage_calls={_text(stage): _texts(calls) for stage, calls in _map(evidence, "stage_calls").items()},
                mcp_results={_text(tool): _maps(results) for tool, results in _map(evidence, "mcp_results").items()},
                dropped={name: int(number) for name, number in _map(evidence, "dropped").items()},
            ),
            blocked_reason=None if data.get("blocked_reason") is None else _text(data["blocked_reason"]),
            pending_approval=_map(data, "pending_approval") or {"required": False},
            last_blocked_action=_map(data, "last_blocked_action") or None,
            last_recorded_evidence=_map(data, "last_recorded_evidence") or None,
            approved_by={_text(stage): dict(facts) for stage, facts in _map(data, "approved_by").items()},
            definition=_text(data.get("definition", "")),
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise StateError(f"the stored workflow state of session {session_id!r} cannot be read: {error}") from None
    return state


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text is expected, not {type(value).__name__}")
    return value


def _texts(value: object) -> list[str]:
    if not isinstance(value, list):
        raise TypeError(f"a list is expected, not {type(value).__name__}")
    return [_text(item) for item in value]


def _map(holder: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = holder.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TypeError(f"{key} is a map, not {type(value).__name__}")
    return value


def _maps(value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise TypeError("results are a list of maps")
    return value


def _approval(value: object) -> str:
    # Some implementations store a map with the status in it.
    return _text(value["status"] if isinstance(value, dict) else value)


def _fit(text: str) -> str:
    if len(text) > MAX_STRING:
        raise RefusedEvidenceError(f"evidence has at most {MAX_STRING} characters, not {len(text)}")
    if _CONTROL.search(text):
        raise RefusedEvidenceError("evidence holds no control character")
    return text


def _shown(value: object, depth: int = 0) -> Any:
    """
    A value of a result as it is kept: JSON types, short texts without control characters, None as empty text.
    """
    if value is None or depth > 8:
        return ""
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _shown(item, depth + 1) for key, item in list(value.items())[:MAX_ITEMS]}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)):
        return [_shown(item, depth + 1) for item in value[:MAX_ITEMS]]
    return _CONTROL.sub(" ", str(value)[:MAX_STRING])
