"""
Every port fails at every one of its uses in a call, and the promises of a guard hold all the same.

The promises: no tool runs without a decision in the log, no block is lost, each call is decided exactly once, and
``run`` raises nothing but :class:`EdictumDenied` and :class:`EdictumToolError`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from backends import PlainBackend
from edictum import (
    AuditEvent,
    Decision,
    Edictum,
    EdictumDenied,
    EdictumToolError,
    HookDecision,
    HookRegistration,
    MemoryBackend,
    Session,
    StorageBackend,
    precondition,
)
from edictum.testing import AutoApprovalBackend, Faults
from edictum.testing.faults import from_nth, nth
from faulty_ports import PORTS
from guards import guard_of, post

pytestmark = pytest.mark.fault

MODES = ["enforce", "observe"]
# What the tool or the rules do with a call.
CALLS = ["allowed", "blocked", "asked", "failing"]
# Events after which a tool may run.
DECIDED = ("call_allowed", "call_would_deny", "call_approval_granted")


# A failure of one of these before the tool must block a call that would be allowed.
BLOCKING = {
    "storage",
    "storage in memory",
    "clock",
    "python rule",
    "hook",
    "principal resolver",
    "selector",
    "operator",
}


# --- one call -------------------------------------------------------------------------------------


class Trial:
    """
    One call through a guard with a port that fails at one of its uses, or at none.

    Attributes:
        decisions: Events that decide, in order.
        uses_before_tool: How often the port was used until the tool began.
        decided_before_tool: Whether one of them was there when the tool began; None if it never began.
        outcome: What ``run`` returned or raised.
    """

    def __init__(
        self,
        port: str,
        mode: Any,
        call: str,
        fails_at: int,
        *,
        lasting: bool = False,
        afterwards: bool = False,
        **options: Any,
    ) -> None:
        when = from_nth(fails_at) if lasting else nth(*filter(None, [fails_at]))
        self.faults = faults = Faults(when, afterwards=afterwards)
        self.decided_before_tool: bool | None = None
        self.uses_before_tool = 0
        self._call = call
        options = {"approval_backend": AutoApprovalBackend(), **PORTS[port](faults), **options}
        self.guard = guard_of(*self._rules(options), mode=mode, **options)
        self.uses_of_loading = faults.uses
        try:
            self.outcome: Any = asyncio.run(self.guard.run("read", {"call": call, "password": "hunter2"}, self._tool))
        except Exception as error:
            self.outcome = error
        events = self.guard.local_sink.events
        self.decisions = [str(event.action) for event in events if event.tool_success is None]
        self.decisions = [action for action in self.decisions if action != "call_approval_requested"]
        self.ends = [str(event.action) for event in events if event.tool_success is not None]
        assert {guard_call.call_id for guard_call in events} == {events[0].call_id}

    def _rules(self, options: dict[str, Any]) -> list[dict[str, Any]]:
        def fires(rule_id: str, when: dict[str, Any], action: str = "block") -> dict[str, Any]:
            then = {"action": action, "message": f"{rule_id}: {{args.call}}"}
            return {"id": rule_id, "type": "pre", "tool": "*", "when": when, "then": then}

        rules = [
            fires("no", {"args.call": {"equals": "blocked"}}),
            fires("ask", {"args.call": {"equals": "asked"}}, "ask"),
            post("secret", action="redact"),
        ]
        if "custom_selectors" in options:
            rules.insert(0, fires("selected", {"mine.x": {"equals": "harmful"}}))
        if "custom_operators" in options:
            rules.insert(0, fires("liked", {"args.call": {"likes": 1}}))
        return rules

    def _tool(self, **args: Any) -> str:
        self.uses_before_tool = self.faults.uses
        self.decided_before_tool = any(event.action in DECIDED for event in self.guard.local_sink.events)
        if self._call == "failing":
            raise OSError("disk is full, password=hunter2")
        return "hunter2 is the password"

    @property
    def ran(self) -> bool:
        return self.decided_before_tool is not None

    def check(self, *, others: list[list[str]] | None = None) -> None:
        """
        All promises.
        """
        observing = self.guard.mode == "observe"
        blocked = isinstance(self.outcome, EdictumDenied)
        assert isinstance(self.outcome, (str, EdictumDenied, EdictumToolError)), repr(self.outcome)
        assert self.decided_before_tool in (None, True)
        assert blocked is not self.ran
        if observing:
            assert self.decisions in (["call_allowed"], ["call_would_deny"])
            assert self.ran
        elif self.ran:
            assert self._call != "blocked"
            assert [["call_approval_granted"] if self._call == "asked" else ["call_allowed"]] == [self.decisions]
        else:
            alone = [["call_denied"], ["call_approval_denied"], ["call_approval_granted", "call_denied"]]
            assert self.decisions in alone + (others or [])
        assert len(self.ends) == self.ran
        if self.ran:
            assert "hunter2" not in str(self.outcome)


def uses(port: str, mode: str, call: str) -> tuple[int, int]:
    """
    The first and the last use of a port after the guard was made.
    """
    quiet = Trial(port, mode, call, 0)
    quiet.check()
    return quiet.uses_of_loading + 1, quiet.faults.uses


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("port", PORTS)
def test_fault_at_any_use_of_a_port_keeps_the_promises(port: str, mode: str, call: str, lasting: bool) -> None:
    first, last = uses(port, mode, call)
    for fails_at in range(first, last + 1):
        trial = Trial(port, mode, call, fails_at, lasting=lasting)
        assert trial.faults.uses >= fails_at
        trial.check()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("port", ["storage", "storage in memory", "approval", "sink"])
def test_fault_that_loses_the_answer_of_a_port_keeps_the_promises(port: str, mode: str, call: str) -> None:
    """
    The port has done its work, but the guard only sees the error.
    """
    first, last = uses(port, mode, call)
    for fails_at in range(first, last + 1):
        Trial(port, mode, call, fails_at, afterwards=True).check()


def test_fault_trials_use_every_port() -> None:
    """
    The test above proves nothing about a port that a call never uses.
    """
    unused = []
    for port in PORTS:
        spans = [uses(port, "enforce", call) for call in CALLS]
        if not any(last >= first for first, last in spans):
            unused.append(port)

    assert unused == []


@pytest.mark.parametrize("call", ["allowed", "asked"])
@pytest.mark.parametrize("port", sorted(BLOCKING))
def test_fault_before_the_tool_blocks_and_tells_the_log_why(port: str, call: str) -> None:
    first, _ = uses(port, "enforce", call)
    last = Trial(port, "enforce", call, 0).uses_before_tool
    if port == "clock":
        last = first  # its later uses only say when something happened
    assert last >= first
    for fails_at in range(first, last + 1):
        trial = Trial(port, "enforce", call, fails_at)

        assert isinstance(trial.outcome, EdictumDenied)
        event = trial.guard.local_sink.last()
        assert (event.policy_error, event.tool_name, event.action) == (True, "read", "call_denied")
        assert "injected" not in trial.outcome.reason
        detail = [*event.contracts_evaluated, *event.hooks_evaluated, event.metadata]
        assert "InjectedError: injected" in str(detail)


@pytest.mark.parametrize(
    ("port", "call", "source"),
    [
        ("storage", "allowed", "backend_error"),
        ("storage in memory", "allowed", "backend_error"),
        ("approval", "asked", "approval_error"),
        ("clock", "allowed", "invalid_call"),
        ("principal resolver", "allowed", "invalid_call"),
        ("hook", "allowed", "hook"),
        ("python rule", "allowed", "precondition"),
        ("selector", "allowed", "yaml_precondition"),
        ("operator", "allowed", "yaml_precondition"),
    ],
)
def test_fault_at_the_first_use_blocks_with_the_source_of_the_port(port: str, call: str, source: str) -> None:
    trial = Trial(port, "enforce", call, uses(port, "enforce", call)[0])

    assert isinstance(trial.outcome, EdictumDenied)
    assert source == trial.outcome.decision_source


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("mode", MODES)
def test_fault_of_a_sink_with_audit_failure_block_runs_nothing_unlogged(mode: str, call: str) -> None:
    first, last = uses("sink", mode, call)
    found = []
    for fails_at in range(first, last + 1):
        trial = Trial("sink", mode, call, fails_at, audit_failure="block")
        trial.check(others=[["call_allowed", "call_denied"]])
        found.append(getattr(trial.outcome, "decision_source", None))

    # The request for approval is no decision; the event after the tool cannot undo it.
    expected = {"allowed": ["audit_unavailable", None], "failing": ["audit_unavailable", None],
                "blocked": ["yaml_precondition"], "asked": [None, "audit_unavailable", None]}  # fmt: skip
    assert (expected[call] if mode == "enforce" else [None] * len(found)) == found


# --- the tool itself ------------------------------------------------------------------------------


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


class Undecided:
    def __bool__(self) -> bool:
        raise ValueError("neither true nor false")


@pytest.mark.parametrize("backend", [MemoryBackend, PlainBackend])
@pytest.mark.parametrize("error", [KeyboardInterrupt, asyncio.CancelledError, SystemExit, GeneratorExit])
def test_tool_that_is_interrupted_is_logged_and_counted_and_the_interruption_goes_on(
    error: type[BaseException], backend: Callable[[], StorageBackend]
) -> None:
    after: list[object] = []
    store = backend()
    guard = guard_of(post(), backend=store, hooks=[HookRegistration("after", "*", lambda *facts: after.append(facts))])

    def tool() -> None:
        raise error

    async def main() -> tuple[int, int]:
        with pytest.raises(error):
            await guard.run("read", {}, tool, session_id="s")
        session = Session("s", store)
        return await session.execution_count(), await session.consecutive_failures()

    assert asyncio.run(main()) == (1, 1)
    with pytest.raises(error):
        guard.run_sync("read", {}, tool)
    events = guard.local_sink.events
    assert [str(event.action) for event in events] == ["call_allowed", "call_failed"] * 2
    assert [event.error for event in events if event.error is not None] == ["cancelled"] * 2


def test_tool_that_is_interrupted_gets_no_after_hooks() -> None:
    after: list[object] = []
    guard = Edictum(hooks=[HookRegistration("after", "*", lambda call, result: after.append(result))])

    with pytest.raises(KeyboardInterrupt):
        guard.run_sync("read", {}, _interrupt)
    guard.run_sync("read", {}, lambda: "done")

    assert after == ["done"]


@pytest.mark.parametrize("sync", [False, True])
def test_interruption_between_count_and_tool_gives_the_place_back(sync: bool) -> None:
    guard = Edictum()
    log: Any = guard._decision_log
    log.collect = lambda event: _interrupt()  # the first thing that happens once the execution is counted
    ran: list[str] = []

    with pytest.raises(KeyboardInterrupt):
        _run(guard, lambda: ran.append("x"), sync)

    session = Session("s", guard.backend)
    assert (ran, asyncio.run(session.execution_count())) == ([], 0)


@pytest.mark.parametrize("sync", [False, True])
def test_interruption_while_a_result_is_judged_leaves_the_call_counted_and_logged(sync: bool) -> None:
    guard = guard_of(
        post(when={"output.text": {"interrupts": "x"}}),
        custom_operators={"interrupts": lambda value, operand: _interrupt()},
    )

    with pytest.raises(KeyboardInterrupt):
        _run(guard, lambda: "done", sync)

    session = Session("s", guard.backend)
    assert asyncio.run(session.execution_count()) == 1
    assert [str(event.action) for event in guard.local_sink.events] == ["call_allowed", "call_executed"]


def _run(guard: Edictum, tool: Callable[[], object], sync: bool) -> None:
    if sync:
        guard.run_sync("read", {}, tool, session_id="s")
    else:
        asyncio.run(guard.run("read", {}, tool, session_id="s"))


def _interrupt() -> None:
    raise KeyboardInterrupt


def _raise_unprintable() -> None:
    raise UnprintableError


@pytest.mark.parametrize(
    "tool", [_raise_unprintable, lambda: {"is_error": Undecided()}], ids=["error without text", "undecided result"]
)
def test_tool_with_a_strange_outcome_is_a_failure_in_the_log(tool: Callable[[], Any]) -> None:
    guard = Edictum()

    with pytest.raises(EdictumToolError):
        asyncio.run(guard.run("read", {}, tool))
    assert [str(event.action) for event in guard.local_sink.events] == ["call_allowed", "call_failed"]


def test_principal_of_another_type_is_a_block_with_an_event() -> None:
    guard = Edictum()

    with pytest.raises(EdictumDenied):
        asyncio.run(guard.run("read", {}, lambda: "done", principal={"role": "admin"}))
    assert [(str(event.action), event.decision_source) for event in guard.local_sink.events] == [
        ("call_denied", "invalid_call")
    ]


# --- foreign code that writes to the arguments ----------------------------------------------------

ARGS = {"path": "harmless"}


def _write(*facts: object) -> bool:
    ARGS["path"] = "/etc/passwd"
    return True


class WritingSink:
    async def emit(self, event: AuditEvent) -> None:
        _write()


def _writing_hook(call: object) -> HookDecision:
    _write()
    return HookDecision.allow()


@precondition("*")
def _writing_rule(call: object) -> Decision:
    _write()
    return Decision.pass_()


@precondition("*")
def _candidate(call: object) -> Decision:
    return Decision.fail("it would be blocked")


_candidate._edictum_observe = True  # type: ignore[attr-defined]

WRITERS: dict[str, dict[str, Any]] = {
    "hook": {"hooks": [HookRegistration("before", "*", _writing_hook)]},
    "hook condition": {"hooks": [HookRegistration("before", "*", lambda call: HookDecision.allow(), _write)]},
    "python rule": {"rules": [_writing_rule]},
    "sink": {"audit_sink": WritingSink()},
    "on_allow": {"on_allow": _write},
    "on_would_block": {"rules": [_candidate], "on_would_block": _write},
}


@pytest.mark.parametrize("writer", WRITERS)
def test_args_written_by_foreign_code_after_they_were_read_block(writer: str) -> None:
    ARGS["path"] = "harmless"
    ran: list[str] = []
    guard = Edictum(**WRITERS[writer])

    with pytest.raises(EdictumDenied) as caught:
        asyncio.run(guard.run("read", ARGS, lambda path: ran.append(path)))

    assert caught.value.decision_source == "args_changed"
    assert ran == []
    assert guard.local_sink.last().tool_args == {"path": "harmless"}
