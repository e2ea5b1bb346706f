"""
Judge one case of the fixtures that all implementations of edictum share.

There are three kinds of case.  A *call* case (families ``behavioral`` and ``adversarial``) gives a ruleset,
a tool call and the state around it, and names the verdict.  A *rejection* case gives a document that must not load.
A *workflow* case is described in :mod:`edictum.testing.conformance_workflow`.  All go through the public API only.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from edictum import (
    ApprovalStatus,
    AuditAction,
    AuditEvent,
    Edictum,
    EdictumConfigError,
    EdictumDenied,
    EdictumToolError,
    MemoryBackend,
    Principal,
)
from edictum.testing.approval import AutoApprovalBackend
from edictum.testing.conformance_format import (
    ERRATA,
    MalformedError,
    check_call_case,
    check_rejection_case,
    to_yaml,
)
from edictum.testing.conformance_workflow import DifferenceError, judge_workflow

Status: TypeAlias = Literal["passed", "failed", "skipped"]

# What the declared action of a post rule means for the caller, also where the side effect of the tool keeps the
# result from being held back.
_POST_VERDICTS = {"warn": "warned", "redact": "redacted", "block": "denied"}

WORKFLOWS = ("workflow", "workflow-coding-guard", "workflow-v0.18", "workflow-adapter")

# Sources of a block that no case can want: something around the rules is broken.
_BROKEN_SOURCES = ("internal_error", "backend_error", "approval_error")


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What became of a case.

    Attributes:
        status: ``passed``, ``failed`` or ``skipped``.
        detail: Why it failed or was skipped.
        erratum: What is wrong with the case itself, when it was judged by an erratum.
    """

    status: Status
    detail: str = ""
    erratum: str | None = None


@dataclass(frozen=True, slots=True)
class _Seen:
    """
    What a call did.
    """

    verdict: str
    message: str
    tags: list[Any] | None = None
    observed: bool = False
    fault: str | None = None


def judge(family: str, case: Any) -> Outcome:
    """
    Run one case and compare.

    Args:
        family: Name of the case's family; ``rejection`` has a format of its own.
        case: The case as it was read.

    Returns:
        The outcome; whatever goes wrong is a failure of the case.
    """
    try:
        if family == "rejection":
            return _judge_rejection(case)
        if family in WORKFLOWS:
            return _judge_workflow(family, case)
        return _judge_call(case)
    except MalformedError as error:
        return Outcome("failed", f"malformed case: {error}")
    except Exception as error:
        return Outcome("failed", f"{type(error).__name__}: {error}")


# --- cases that must not load --------------------------------------------------------------------


def _judge_rejection(case: Any) -> Outcome:
    check_rejection_case(case)
    expected = case["expected"]
    wanted = expected.get("error_contains", "").lower()
    try:
        _load(case["bundle"])
    except EdictumConfigError as error:
        if not expected["rejected"]:
            return Outcome("failed", f"refused although it is valid: {error}")
        # In a problem itself too, because the words around the problems hold short keys such as "id" by chance.
        problems = [str(problem).lower() for problem in error.errors]
        if wanted in str(error).lower() and any(wanted in problem for problem in problems):
            return Outcome("passed")
        return Outcome("failed", f"refused, but without {wanted!r} in the message: {error}")
    if expected["rejected"]:
        return Outcome("failed", "loaded, although it has to be refused")
    return Outcome("passed")


# --- cases that walk through a workflow -----------------------------------------------------------


def _judge_workflow(family: str, case: Any) -> Outcome:
    import asyncio

    try:
        asyncio.run(judge_workflow(family, case))
    except DifferenceError as difference:
        return Outcome("failed", str(difference))
    return Outcome("passed")


# --- cases that make a call ----------------------------------------------------------------------


def _judge_call(case: Any) -> Outcome:
    check_call_case(case)
    import asyncio

    try:
        seen = asyncio.run(_play(case))
    except EdictumConfigError as error:
        # The verdict "error" is a refusal on purpose; any other exception is a failure under every expectation.
        seen = _Seen("error", str(error))
    return _compare(case, seen)


def _load(document: Any, **options: Any) -> Edictum:
    # No sink besides memory, whatever the document asks for: a run of fixtures writes no files.
    return Edictum.from_yaml_string(to_yaml(document), audit_sink=(), **options)


async def _play(case: Mapping[str, Any]) -> _Seen:
    """
    Make the call of a case.
    """
    session_id = str(uuid.uuid4())
    backend = MemoryBackend()
    await _seed(backend, session_id, case.get("session", {}))
    environment = case.get("environment")
    guard = _load(
        case["contract"],
        backend=backend,
        approval_backend=_approval_backend(case),
        env=None if environment is None else {**os.environ, **_as_variables(environment)},
        name_policy="lenient",
    )
    executions = 0

    async def tool(**arguments: Any) -> Any:
        nonlocal executions
        executions += 1
        return case.get("result")

    refusal = None
    try:
        await guard.run_detailed(
            case["envelope"]["tool_name"],
            case["envelope"]["arguments"],
            tool,
            session_id=session_id,
            principal=_principal(case.get("principal")),
            metadata=case.get("call_metadata"),
        )
    except EdictumDenied as denied:
        refusal = denied.reason
    except EdictumToolError:
        pass  # the result means failure; post rules judged it all the same
    return _read(guard.local_sink.events, refusal, executions, judged="result" in case)


async def _seed(backend: MemoryBackend, session_id: str, session: Mapping[str, Any]) -> None:
    """
    Count what happened in the session before the call, under the published storage keys.
    """
    counters = {"execs": session.get("tool_calls", 0), "attempts": session.get("attempts", 0)}
    counters |= {f"tool:{tool}": count for tool, count in session.get("per_tool", {}).items()}
    for name, count in counters.items():
        await backend.increment(f"s:{session_id}:{name}", count)


def _approval_backend(case: Mapping[str, Any]) -> AutoApprovalBackend | None:
    """
    Who answers; a case that says nothing about approvals takes it that they are granted.
    """
    if case.get("approval_pending"):
        return None
    if case.get("approval_decision") == "rejected":
        return AutoApprovalBackend(ApprovalStatus.DENIED)
    if case.get("timeout_expired"):
        return AutoApprovalBackend(ApprovalStatus.TIMEOUT)
    return AutoApprovalBackend()


def _principal(given: Mapping[str, Any] | None) -> Principal | None:
    """
    A principal from the fields of the fixtures, of which ``id`` is called otherwise here and ``name`` is a claim.
    """
    if given is None:
        return None
    fields = {name: value for name, value in given.items() if name not in ("id", "name")}
    if "id" in given:
        fields["user_id"] = given["id"]
    if "name" in given:
        fields["claims"] = {**fields.get("claims", {}), "name": given["name"]}
    return Principal(**fields)


def _as_variables(environment: Mapping[str, Any]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in environment.items()}


def _read(events: list[AuditEvent], refusal: str | None, executions: int, *, judged: bool) -> _Seen:
    """
    Verdict of a call from what the caller got and what the decision log says.

    Args:
        events: The decision log.
        refusal: Why the call was blocked, or None.
        executions: How often the tool ran.
        judged: Whether the case gives a result, so that post rules count.
    """
    observed = any(event.action is AuditAction.CALL_WOULD_DENY and event.mode == "observe" for event in events)
    decided = next((event for event in reversed(events) if event.decision_name is not None), None)
    fault = _fault(events, refusal, executions)
    if refusal is not None:
        return _Seen("denied", refusal, _tags(decided), observed, fault)
    broken = _first_broken(events) if judged else None
    if broken is not None:
        tags = broken.get("metadata", {}).get("tags")
        return _Seen(_POST_VERDICTS[broken["action"]], broken["message"], tags, observed, fault)
    reason = decided.reason if decided is not None else None
    return _Seen("allowed", reason or "", _tags(decided), observed, fault)


def _fault(events: list[AuditEvent], refusal: str | None, executions: int) -> str | None:
    """
    What is wrong under any expectation.
    """
    for event in events:
        if event.decision_source in _BROKEN_SOURCES:
            return f"blocked by {event.decision_source} and not by a rule: {event.metadata}"
    right = 1 if refusal is None else 0
    return None if executions == right else f"the tool ran {executions} times, {right} is right"


def _first_broken(events: list[AuditEvent]) -> dict[str, Any] | None:
    """
    Record of the first enforcing post rule that fired.
    """
    for event in events:
        if event.action in (AuditAction.CALL_EXECUTED, AuditAction.CALL_FAILED):
            for record in event.contracts_evaluated:
                if record["passed"] is False and not record.get("observed"):
                    return dict(record)
    return None


def _tags(decided: AuditEvent | None) -> list[Any] | None:
    if decided is None:
        return None
    for record in decided.contracts_evaluated:
        if record["name"] == decided.decision_name and record["passed"] is False:
            tags = record.get("metadata", {}).get("tags")
            return list(tags) if tags is not None else None
    return None


def _compare(case: Mapping[str, Any], seen: _Seen) -> Outcome:
    if seen.fault is not None:
        return Outcome("failed", seen.fault)
    difference = _difference(case["expected"], seen)
    erratum = ERRATA.get(case["id"])
    if erratum is None:
        return Outcome("passed") if difference is None else Outcome("failed", difference)
    note = f"{erratum.label}: {erratum.reason}"
    if erratum.must_fail and difference is None:
        return Outcome("failed", f"passes as written, so its erratum is out of date ({note})")
    if seen.verdict not in erratum.verdicts:
        wanted = " or ".join(erratum.verdicts)
        return Outcome("failed", f"expected {wanted} ({note}), got {seen.verdict}: {seen.message}")
    return Outcome("passed", erratum=f"{note}; got {seen.verdict}")


def _difference(expected: Mapping[str, Any], seen: _Seen) -> str | None:
    if seen.verdict != expected["verdict"]:
        return f"expected {expected['verdict']}, got {seen.verdict}: {seen.message}"
    wanted = expected.get("message_contains", "")
    if wanted not in seen.message:
        return f"the message does not contain {wanted!r}: {seen.message}"
    if "audit_action" in expected and not seen.observed:
        return "the decision log has no call_would_deny event in observe mode"
    if "tags" in expected and seen.tags != expected["tags"]:
        return f"expected the tags {expected['tags']!r}, got {seen.tags!r}"
    return None
