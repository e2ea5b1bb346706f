"""
The kit for adapters, driven by a framework of one class that is made here.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from edictum import (
    Adapter,
    ApprovalDecision,
    ApprovalPaused,
    ApprovalRequest,
    ApprovalStatus,
    Edictum,
    EdictumConfigError,
    EdictumDenied,
    MemoryBackend,
    OperationLimits,
    Principal,
    SelfTestError,
)
from edictum.adapter import refusal_text, retry_may_help, usable_session_id
from edictum.testing import AutoApprovalBackend, Faults, FaultyStorageBackend
from guards import CANNOT_BE_JUDGED, Callbacks, actions, ask, denied, events_of, granted, guard_of, post, pre
from hypothesis import given
from hypothesis import strategies as st

ANN = Principal(user_id="ann")


class Framework(Adapter):
    """
    Runs tools as a framework would that asks before each call.
    """

    def around(self, args: dict[str, Any], tool: Callable[..., Any], **facts: Any) -> Any:
        call = self.call("read", args, **facts)
        try:
            call.begin_sync()
        except EdictumDenied as refused:
            return refusal_text(refused)
        try:
            result = tool(**args)
        except BaseException as error:
            call.fail_sync(error)
            raise
        return call.finish_sync(result).result

    def push_call(self, tool_name: str, body: Callable[[], str]) -> str:
        return str(self.around({}, body))


def read(**args: Any) -> str:
    return "text"


def never(**args: Any) -> str:
    raise AssertionError("the tool ran")


# --- facts of the framework ----------------------------------------------------------------------


def test_call_events_carry_what_the_framework_knows() -> None:
    guard = guard_of()
    framework = Framework(guard, principal=ANN)
    framework.around({"path": "a"}, read, session="thread-1", tool_use_id="call_7", caller="researcher")
    for event in events_of(guard):
        assert (event.session_id, event.run_id, event.call_id) == ("thread-1", "thread-1", "call_7")
        assert event.principal is not None
        assert (event.principal["user_id"], event.metadata) == ("ann", {"caller": "researcher"})


@pytest.mark.parametrize("tool_use_id", ["a\nb", "x" * 257, "\u202e", ""])
def test_call_with_an_id_that_is_none_gets_one_of_its_own(tool_use_id: str) -> None:
    guard = guard_of()
    Framework(guard).around({}, read, tool_use_id=tool_use_id)
    (first, second) = events_of(guard)
    assert first.call_id == second.call_id != tool_use_id


def test_call_secret_in_the_name_of_the_caller_is_not_logged() -> None:
    guard = guard_of()
    token = "ghp_" + "a1B2" * 9
    Framework(guard).around({}, read, caller=f"agent {token}")
    assert token not in str(events_of(guard))


def test_session_fixed_one_wins_over_that_of_the_framework() -> None:
    guard = guard_of()
    Framework(guard, session_id="mine").around({}, read, session="theirs")
    assert events_of(guard)[0].session_id == "mine"


@pytest.mark.parametrize("session", [None, ""])
def test_session_without_any_is_the_same_for_all_calls(session: str | None) -> None:
    guard = guard_of()
    framework = Framework(guard)
    framework.around({}, read, session=session)
    framework.around({}, read)
    assert {event.session_id for event in events_of(guard)} == {framework.session_id}
    assert Framework(guard).session_id != framework.session_id


def test_session_resolver_sees_the_context_and_wins() -> None:
    guard = guard_of()
    framework = Framework(guard, session_resolver=lambda context: context["session"], session_id="mine")
    framework.around({}, read, context={"session": "resolved"}, session="theirs")
    framework.around({}, read, context={"session": None}, session="theirs")
    assert [event.session_id for event in events_of(guard)[::2]] == ["resolved", "mine"]


def test_principal_resolver_of_the_published_kind_gets_name_and_arguments() -> None:
    seen: list[Any] = []

    def resolver(tool_name: str, args: Mapping[str, Any]) -> Principal:
        seen.append((tool_name, dict(args)))
        return ANN

    guard = guard_of()
    Framework(guard, principal_resolver=resolver).around({"path": "a"}, read, context="ignored")
    assert seen == [("read", {"path": "a"})]
    assert events_of(guard)[0].principal is not None


@pytest.mark.parametrize(
    "resolver",
    [
        lambda tool_name, args, context: Principal(user_id=context),
        lambda tool_name, args, context=None: Principal(user_id=context),
        lambda tool_name, args, run: Principal(user_id=run),
    ],
)
def test_principal_resolver_with_a_third_parameter_gets_the_context(resolver: Callable[..., Principal]) -> None:
    guard = guard_of()
    framework = Framework(guard, principal_resolver=resolver, principal=Principal(user_id="nobody"))
    for user in ("ann", "bob"):
        framework.around({}, read, context=user)
    assert [event.principal["user_id"] for event in events_of(guard)[::2] if event.principal] == ["ann", "bob"]


def test_principal_resolver_with_an_optional_third_parameter_does_not_get_the_context() -> None:
    caches: list[Any] = []

    def resolver(tool_name: str, args: Mapping[str, Any], cache: Any = "own") -> None:
        caches.append(cache)

    Framework(guard_of(), principal_resolver=resolver).around({}, read, context="context")
    assert caches == ["own"]


def test_principal_resolver_that_knows_nobody_is_not_replaced_by_the_guards_principal() -> None:
    guard = guard_of(principal=ANN)
    Framework(guard, principal_resolver=lambda tool_name, args: None).around({}, read)
    assert events_of(guard)[0].principal is None


def test_set_principal_holds_for_later_calls_and_without_one_the_guards_counts() -> None:
    guard = guard_of(principal=ANN)
    framework = Framework(guard)
    framework.around({}, read)
    framework.set_principal(Principal(user_id="bob"))
    framework.around({}, read)
    assert [event.principal["user_id"] for event in events_of(guard)[::2] if event.principal] == ["ann", "bob"]


def test_principal_resolver_cannot_change_the_arguments() -> None:
    def resolver(tool_name: str, args: Any) -> None:
        args["path"] = "other"

    guard = guard_of()
    assert "The tool did not run." in Framework(guard, principal_resolver=resolver).around({"path": "a"}, never)


def raising(*facts: Any) -> Any:
    raise LookupError("hunter2")


def a_text(*facts: Any) -> Any:
    return "ann/../root"


@pytest.mark.parametrize("resolver", [raising, a_text])
@pytest.mark.parametrize("option", ["principal_resolver", "session_resolver"])
def test_resolver_in_trouble_blocks_with_an_event(option: str, resolver: Callable[..., Any]) -> None:
    callbacks = Callbacks()
    guard = guard_of(principal=ANN, **callbacks.options)
    framework = Framework(guard, **{option: resolver})
    shown = framework.around({}, never, session="thread")
    assert "on whose behalf" in shown
    assert "hunter2" not in shown
    (event,) = events_of(guard)
    assert (str(event.action), event.decision_source, event.policy_error) == ("call_denied", "invalid_call", True)
    assert callbacks.counts == (1, 0, 0)


@pytest.mark.parametrize("option", ["principal_resolver", "session_resolver"])
def test_resolver_in_trouble_in_observe_mode_is_logged_and_the_tool_runs(option: str) -> None:
    guard = guard_of(mode="observe")
    assert Framework(guard, **{option: raising}).around({}, read) == "text"
    assert actions(guard) == ["call_would_deny", "call_executed"]


@pytest.mark.parametrize("options", [{"principal": "ann"}, {"guard": "rules.yaml"}])
def test_option_of_the_wrong_kind_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(EdictumConfigError):
        Framework(**{"guard": guard_of(), **options})
    with pytest.raises(ValueError, match="session id"):
        Framework(guard_of(), session_id="a/b")


def test_principal_of_another_type_from_a_function_given_to_govern_blocks() -> None:
    guard = guard_of()
    call = guard.govern("read", {}, principal=lambda: "ann")  # type: ignore[arg-type,return-value]
    with pytest.raises(EdictumDenied, match="on whose behalf"):
        asyncio.run(call.begin())
    assert actions(guard) == ["call_denied"]


# --- session ids ---------------------------------------------------------------------------------


@given(st.text(max_size=300), st.text(max_size=300))
def test_usable_session_id_is_valid_and_differs_for_others(one: str, other: str) -> None:
    ids = {usable_session_id(text) for text in (one, other) if text}
    assert len(ids) == len({one, other} - {""})
    for session_id in ids:
        Framework(guard_of(), session_id=session_id)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("thread-1", "thread-1"), ("user:1/a", "user%3A1%2Fa"), ("50%", "50%25"), (7, "7")],
)
def test_usable_session_id_stays_readable(theirs: object, ours: str) -> None:
    assert usable_session_id(theirs) == ours


# --- results -------------------------------------------------------------------------------------


def test_on_postcondition_warn_of_the_adapter_is_called_instead_of_the_guards() -> None:
    told: list[str] = []

    def mine(result: Any, violations: list[Any]) -> str:
        told.append(violations[0].rule_id)
        return f"mine: {result}"

    guard = guard_of(post(), on_postcondition_warn=lambda result, violations: f"guard: {result}")
    assert Framework(guard, on_postcondition_warn=mine).around({}, lambda: "hunter2") == "mine: hunter2"
    assert Framework(guard).around({}, lambda: "hunter2") == "guard: hunter2"
    assert told == ["bad-output"]


@pytest.mark.parametrize("entry", ["sync", "async"])
def test_result_that_the_framework_calls_a_failure_keeps_its_type_and_is_logged_as_failed(entry: str) -> None:
    guard = guard_of(post(action="redact"))
    call = Framework(guard).call("read", {})
    call.begin_sync()
    result = {"text": "hunter2", "kind": "error"}
    if entry == "sync":
        outcome = call.finish_sync(result, failed=True)
    else:
        outcome = asyncio.run(call.finish(result, failed=True))
    assert outcome.result == {"text": "[REDACTED]", "kind": "error"}
    assert outcome.tool_success is False
    assert actions(guard) == ["call_allowed", "call_failed"]


def test_abandon_without_await_gives_the_place_back() -> None:
    guard = guard_of(limits=OperationLimits(max_tool_calls=1))
    framework = Framework(guard)
    for _ in range(3):
        call = framework.call("read", {})
        call.begin_sync()
        call.abandon_sync()
        with pytest.raises(RuntimeError, match="'done'"):
            call.abandon_sync()
    assert framework.around({}, read) == "text"


def test_abandon_inside_a_running_loop_needs_no_loop_of_its_own() -> None:
    async def main() -> None:
        call = Framework(guard_of()).call("read", {})
        call.begin_sync()
        call.abandon_sync()

    asyncio.run(main())


# --- what a refused model is told ----------------------------------------------------------------


def told(guard: Edictum) -> tuple[str, bool]:
    call = Adapter(guard).call("read", {"path": "a"})
    with pytest.raises(EdictumDenied) as raised:
        call.begin_sync()
    text = refusal_text(raised.value)
    assert raised.value.reason in text
    assert "The tool did not run." in text
    return text, retry_may_help(raised.value)


@pytest.mark.parametrize(
    ("guard", "expected", "retry"),
    [
        (lambda: guard_of(pre()), "Blocked by 'no-read': no-read says no\nThe tool did not run. The same call", False),
        (lambda: guard_of(pre(when=CANNOT_BE_JUDGED)), "The same call will be blocked again", False),
        (lambda: guard_of(ask(), approval_backend=AutoApprovalBackend("denied")), "unless the user asks", False),
        (lambda: guard_of(ask(), approval_backend=AutoApprovalBackend("timeout")), "Ask the user before", False),
        (lambda: guard_of(ask(), approval_backend=AutoApprovalBackend(OSError())), "may work later", True),
        (lambda: guard_of(backend=FaultyStorageBackend(MemoryBackend(), Faults())), "may work later", True),
        (lambda: guard_of(principal_resolver=raising), "Tell the user.", False),
    ],
)
def test_refusal_text_says_what_to_do_instead(guard: Callable[[], Edictum], expected: str, retry: bool) -> None:
    text, may_help = told(guard())
    assert expected in text
    assert may_help is retry


def test_refusal_text_of_a_limit_says_that_the_session_is_over() -> None:
    guard = guard_of(limits=OperationLimits(max_tool_calls=1))
    framework = Framework(guard)
    framework.around({}, read)
    assert "for the rest of the session" in framework.around({}, never)


# --- approvals that pause the run ----------------------------------------------------------------


class Pausing:
    """
    Pauses until there is an answer, as a framework with checkpoints does.
    """

    pauses = True

    def __init__(self) -> None:
        self.answer: ApprovalDecision | None = None
        self.asked: list[str] = []

    async def request_approval(self, tool_name: str, tool_args: Any, message: str, **facts: Any) -> ApprovalRequest:
        self.asked.append(tool_name)
        return ApprovalRequest("a-1", tool_name, tool_args, message, 300)

    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> ApprovalDecision:
        if self.answer is None:
            raise ApprovalPaused
        return self.answer


@pytest.mark.parametrize("entry", ["sync", "async"])
@pytest.mark.parametrize("answer", [granted(), denied()])
def test_paused_call_is_made_again_and_counts_once(entry: str, answer: ApprovalDecision) -> None:
    backend = Pausing()
    guard = guard_of(ask(), approval_backend=backend, limits=OperationLimits(max_attempts=1, max_tool_calls=1))
    adapter = Adapter(guard)

    def begin() -> Any:
        call = adapter.call("read", {}, tool_use_id="c1")
        if entry == "sync":
            return call.begin_sync(), call
        return asyncio.run(call.begin()), call

    for _ in range(2):
        with pytest.raises(ApprovalPaused):
            begin()
    assert set(actions(guard)) == {"call_approval_requested"}
    backend.answer = answer
    if answer.status is ApprovalStatus.DENIED:
        with pytest.raises(EdictumDenied):
            begin()
        assert actions(guard)[2:] == ["call_approval_denied"]
        return
    _, call = begin()
    call.finish_sync("text")
    assert actions(guard)[2:] == ["call_approval_granted", "call_executed"]
    assert events_of(guard)[-1].session_attempt_count == 1


def test_paused_call_cannot_be_finished() -> None:
    call = Adapter(guard_of(ask(), approval_backend=Pausing())).call("read", {})
    with pytest.raises(ApprovalPaused):
        call.begin_sync()
    with pytest.raises(RuntimeError, match="'blocked'"):
        call.finish_sync("text")


def test_backend_that_may_not_pause_and_does_is_logged_before() -> None:
    backend = Pausing()
    backend.pauses = False
    guard = guard_of(ask(), approval_backend=backend)
    with pytest.raises(ApprovalPaused):
        Adapter(guard).call("read", {}).begin_sync()
    assert actions(guard) == ["call_approval_requested"]


# --- the self-test -------------------------------------------------------------------------------


def test_self_test_passes_where_calls_are_stopped_and_leaves_no_trace() -> None:
    guard = guard_of(principal_resolver=raising)
    Framework(guard, principal_resolver=raising, session_resolver=raising).self_test()
    assert events_of(guard) == []


class Bypassed(Framework):
    def push_call(self, tool_name: str, body: Callable[[], str]) -> str:
        return body()


class BypassedAndFailing(Framework):
    def push_call(self, tool_name: str, body: Callable[[], str]) -> str:
        body()
        raise OSError("no route")


class Failing(Framework):
    def push_call(self, tool_name: str, body: Callable[[], str]) -> str:
        raise OSError("no route")


class Mute(Framework):
    def push_call(self, tool_name: str, body: Callable[[], str]) -> str:
        super().push_call(tool_name, body)
        return "blocked"


class Unasked(Framework):
    def push_call(self, tool_name: str, body: Callable[[], str]) -> str:
        return "This call is forbidden, to show that it is stopped."


class Silent(Adapter):
    pass


@pytest.mark.parametrize(
    ("adapter", "expected"),
    [
        (Bypassed, "a forbidden call ran;"),
        (BypassedAndFailing, "a forbidden call ran, and"),
        (Failing, "the run with a forbidden call failed"),
        (Mute, "did not see why"),
        (Unasked, "not by the guard"),
        (Silent, "the run with a forbidden call failed"),
    ],
)
def test_self_test_of_an_adapter_that_is_not_in_the_way_raises(adapter: type[Adapter], expected: str) -> None:
    with pytest.raises(SelfTestError, match=expected):
        adapter(guard_of()).self_test()


# --- together ------------------------------------------------------------------------------------


def test_adapter_shared_by_two_runs_keeps_them_apart_and_holds_nothing() -> None:
    guard = guard_of()
    framework = Framework(guard, principal_resolver=lambda tool, args, context: Principal(user_id=context))
    before = dict(vars(framework))
    meeting = threading.Barrier(2)

    def tool(**args: Any) -> str:
        meeting.wait(10)
        return "text"

    threads = [
        threading.Thread(
            target=framework.around,
            args=({}, tool),
            kwargs={"context": user, "session": f"of-{user}", "tool_use_id": "call_1"},
        )
        for user in ("ann", "bob")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    found = sorted((event.session_id, event.principal["user_id"]) for event in events_of(guard) if event.principal)
    assert found == [("of-ann", "ann")] * 2 + [("of-bob", "bob")] * 2
    assert vars(framework) == before
