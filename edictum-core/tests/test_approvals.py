"""
Approvals: who is asked what, what an answer means, and what may not change before the tool runs.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from edictum import (
    ApprovalBackend,
    ApprovalDecision,
    ApprovalRequest,
    ApprovalStatus,
    OperationLimits,
    Principal,
    approval_flow,
)
from edictum.snapshot import fingerprint
from edictum.testing import AutoApprovalBackend, Faults, FaultyApprovalBackend
from guards import (
    Callbacks,
    actions,
    ask,
    denial,
    denied,
    events_of,
    granted,
    guard_of,
    pre,
    run,
    trace,
    unanswered,
)

# --- the request ------------------------------------------------------------------------------------


def test_approval_request_describes_the_call() -> None:
    backend = AutoApprovalBackend()
    principal = Principal(user_id="u1")
    guard = guard_of(ask(message="read {args.path}?", timeout=60, timeout_action="allow"), approval_backend=backend)
    run(guard, args={"path": "a.txt"}, session_id="s1", principal=principal)
    (request,) = backend.requests
    assert (request.tool_name, request.tool_args, request.message) == ("read", {"path": "a.txt"}, "read a.txt?")
    assert (request.timeout, request.timeout_action) == (60, "allow")
    assert (request.principal, request.session_id) == (principal, "s1")
    assert request.metadata == {
        "rules": ["ask-first"],
        "args_fingerprint": fingerprint("read", {"path": "a.txt"}),
        "policy_version": guard.policy_version,
        "call_id": events_of(guard)[0].call_id,
    }
    assert backend.waits == [("approval-1", 60)]


@pytest.mark.security
def test_approval_request_shows_redacted_arguments() -> None:
    backend = AutoApprovalBackend()
    run(guard_of(ask(), approval_backend=backend), args={"password": "swordfish", "path": "a"})
    args = backend.requests[0].tool_args
    assert "swordfish" not in json.dumps(args)
    assert args["path"] == "a"


@pytest.mark.parametrize(("wanted", "shown"), [(True, True), (False, False), ("yes", False)])
def test_approval_request_shows_raw_arguments_only_where_declared(wanted: Any, shown: bool) -> None:
    backend = AutoApprovalBackend()
    backend.wants_raw_args = wanted  # type: ignore[attr-defined]
    args = {"password": "swordfish", "tags": ["x"]}
    run(guard_of(ask(), approval_backend=backend), args=args)
    seen = backend.requests[0].tool_args
    assert shown == (seen == args)
    if shown:
        assert type(seen["tags"]) is list  # a copy that may be changed
        assert seen["tags"] is not args["tags"]


def test_approval_of_several_asking_rules_is_one_request() -> None:
    """
    The first rule's words, the shortest time, and ``allow`` on timeout only if all rules say so.
    """
    backend = AutoApprovalBackend(unanswered())
    rules = [ask("first", message="one?", timeout=90, timeout_action="allow"), ask("second", timeout=30)]
    guard = guard_of(*rules, approval_backend=backend)
    assert denial(guard).decision_name == "first"
    (request,) = backend.requests
    assert (request.message, request.timeout, request.timeout_action) == ("one?", 30, "block")
    assert request.metadata["rules"] == ["first", "second"]
    assert (events_of(guard)[0].metadata or {})["rules"] == ["first", "second"]


@pytest.mark.parametrize("position", [0, 1, 2])
def test_approval_is_not_requested_where_any_rule_blocks(position: int) -> None:
    rules = [ask("first"), ask("second")]
    rules.insert(position, pre())
    backend = AutoApprovalBackend()
    guard = guard_of(*rules, approval_backend=backend)
    assert denial(guard).decision_name == "no-read"
    assert backend.requests == []
    assert trace(guard) == [("call_denied", "enforce", "yaml_precondition", "no-read")]


@pytest.mark.parametrize(
    ("options", "source"),
    [
        ({"limits": OperationLimits(max_tool_calls=0)}, "operation_limit"),
        ({"limits": OperationLimits(max_attempts=0)}, "attempt_limit"),
    ],
)
def test_approval_is_not_requested_where_a_limit_blocks(options: dict[str, Any], source: str) -> None:
    backend = AutoApprovalBackend()
    guard = guard_of(ask(), approval_backend=backend, **options)
    assert denial(guard).decision_source == source
    assert backend.requests == []


class OldApprovals(AutoApprovalBackend):
    """
    A backend of the first protocol, which knew neither session nor metadata.
    """

    async def request_approval(  # type: ignore[override]
        self,
        tool_name: str,
        tool_args: dict[str, Any],
        message: str,
        *,
        timeout: int = 300,
        timeout_action: str = "block",
        principal: Principal | None = None,
    ) -> ApprovalRequest:
        return await super().request_approval(
            tool_name, tool_args, message, timeout=timeout, timeout_action=timeout_action, principal=principal
        )


class KeywordApprovals(AutoApprovalBackend):
    async def request_approval(self, tool_name: str, tool_args: Any, message: str, **facts: Any) -> ApprovalRequest:
        return await super().request_approval(tool_name, tool_args, message, **facts)


@pytest.mark.parametrize(("backend", "session_id"), [(OldApprovals(), None), (KeywordApprovals(), "s1")])
def test_approval_backend_gets_the_keywords_it_takes(backend: AutoApprovalBackend, session_id: str | None) -> None:
    assert isinstance(backend, ApprovalBackend)
    assert run(guard_of(ask(timeout=7), approval_backend=backend), session_id="s1") == "done"
    (request,) = backend.requests
    assert (request.session_id, request.timeout) == (session_id, 7)


# --- the answer -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "action"),
    [
        (granted(reason="looks right"), "call_approval_granted"),
        (denied(reason="looks wrong"), "call_approval_denied"),
        (ApprovalDecision(False, "ann", "asleep", ApprovalStatus.TIMEOUT), "call_approval_timeout"),
    ],
)
def test_approval_event_says_who_decided(answer: ApprovalDecision, action: str) -> None:
    guard = guard_of(ask(timeout_action="allow"), approval_backend=AutoApprovalBackend(answer))
    if answer.status is ApprovalStatus.DENIED:
        assert "looks wrong" in denial(guard).reason
    else:
        run(guard)
    requested, decided = events_of(guard)[:2]
    assert requested.metadata == {"rules": ["ask-first"], "approval_id": "approval-1"}
    assert str(decided.action) == action
    facts = dict(decided.metadata or {})
    assert facts.pop("waited_ms") >= 0
    assert facts == {
        "rules": ["ask-first"],
        "approval_id": "approval-1",
        "approver": "ann",
        "approval_reason": answer.reason,
    }


@pytest.mark.security
@pytest.mark.parametrize(
    "answer",
    [
        ApprovalDecision(True, status=ApprovalStatus.DENIED),
        ApprovalDecision(False, status=ApprovalStatus.APPROVED),
        ApprovalDecision(False, status=ApprovalStatus.PENDING),
        ApprovalDecision(1, status=ApprovalStatus.APPROVED),  # type: ignore[arg-type]
        ApprovalDecision("true", status=ApprovalStatus.APPROVED),  # type: ignore[arg-type]
        ApprovalDecision(True, status="whatever"),  # type: ignore[arg-type]
    ],
)
def test_approval_answer_that_contradicts_itself_is_a_no(answer: ApprovalDecision) -> None:
    guard = guard_of(ask(), approval_backend=AutoApprovalBackend(answer))
    denial(guard)
    assert actions(guard) == ["call_approval_requested", "call_approval_denied"]


def test_approval_answer_with_the_default_status_of_old_backends_is_a_yes() -> None:
    assert run(guard_of(ask(), approval_backend=AutoApprovalBackend(ApprovalDecision(True, "ann")))) == "done"


class NoDecision(AutoApprovalBackend):
    """
    A backend whose answer is no decision.
    """

    def __init__(self, answer: object) -> None:
        super().__init__()
        self.given = answer

    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> Any:
        return self.given


@pytest.mark.fault
@pytest.mark.parametrize(
    "backend", [AutoApprovalBackend(RuntimeError("chat server at host c9 is down")), NoDecision(True), NoDecision(None)]
)
def test_approval_wait_that_fails_blocks_with_approval_error(backend: ApprovalBackend) -> None:
    told = Callbacks()
    guard = guard_of(ask(timeout_action="allow"), approval_backend=backend, **told.options)
    error = denial(guard)
    assert (error.decision_source, error.decision_name) == ("approval_error", "ask-first")
    assert "c9" not in error.reason
    assert trace(guard) == [
        ("call_approval_requested", "enforce", "yaml_precondition", "ask-first"),
        ("call_approval_denied", "enforce", "approval_error", "ask-first"),
    ]
    assert events_of(guard)[1].policy_error is True
    assert told.counts == (1, 0, 0)


@pytest.mark.fault
def test_approval_wait_whose_connection_times_out_is_not_an_unanswered_request() -> None:
    guard = guard_of(ask(timeout_action="allow"), approval_backend=AutoApprovalBackend(TimeoutError("connect")))
    assert denial(guard).decision_source == "approval_error"


@pytest.mark.fault
def test_approval_request_that_fails_blocks_with_approval_error() -> None:
    backend = FaultyApprovalBackend(AutoApprovalBackend(), Faults(error=ConnectionError("down")))
    guard = guard_of(ask(timeout_action="allow"), approval_backend=backend)
    assert denial(guard).decision_source == "approval_error"
    assert trace(guard) == [("call_approval_denied", "enforce", "approval_error", "ask-first")]


@pytest.mark.fault
@pytest.mark.parametrize("timeout_action", ["block", "allow"])
def test_approval_backend_that_never_answers_is_a_timeout(timeout_action: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approval_flow, "GRACE_SECONDS", -0.999)
    backend = AutoApprovalBackend(meanwhile=lambda: asyncio.Event().wait())
    guard = guard_of(ask(timeout=1, timeout_action=timeout_action), approval_backend=backend)
    if timeout_action == "allow":
        assert run(guard) == "done"
    else:
        denial(guard)
    assert actions(guard)[:2] == ["call_approval_requested", "call_approval_timeout"]
    facts = events_of(guard)[1].metadata or {}
    assert facts["approver"] is None
