"""
Observe mode in its three forms: for a guard, for one rule, and for candidate rules beside the real ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from edictum import (
    Decision,
    Edictum,
    EdictumConfigError,
    EdictumDenied,
    MemoryBackend,
    OperationLimits,
    postcondition,
    precondition,
    session_contract,
)
from edictum.testing import AutoApprovalBackend
from guards import (
    CANNOT_BE_JUDGED,
    Callbacks,
    Tool,
    actions,
    ask,
    denied,
    events_of,
    granted,
    guard_of,
    post,
    pre,
    run,
    session_rule,
    trace,
)


def candidate(
    name: str = "planned", *, passes: bool = False, decorator: Callable[[Any], Any] | None = None
) -> Callable[..., Any]:
    """
    A Python rule of an observe-alongside layer.
    """

    def judge(*facts: Any) -> Decision:
        return Decision.pass_() if passes else Decision.fail("planned rule says no")

    rule: Any = (decorator or precondition("*"))(judge)
    rule._edictum_id = name
    rule._edictum_observe = True
    return rule  # type: ignore[no-any-return]


def test_observing_rule_that_fires_lets_the_call_pass() -> None:
    told = Callbacks()
    guard = guard_of(pre(mode="observe"), **told.options)
    assert run(guard) == "done"
    assert trace(guard) == [
        ("call_would_deny", "observe", "yaml_precondition", "no-read"),
        ("call_allowed", "enforce", None, None),
        ("call_executed", "enforce", None, None),
    ]
    assert events_of(guard)[0].observed_action == "block"
    assert told.would_block == [("read", "no-read says no", "no-read")]
    assert told.counts == (0, 1, 1)


def test_observing_session_rule_neither_blocks_nor_limits() -> None:
    guard = guard_of(session_rule(mode="observe"))
    run(guard)
    assert run(guard) == "done"
    assert trace(guard)[2] == ("call_would_deny", "observe", "yaml_session", "few-calls")
    assert guard.limits.max_tool_calls == 200


def test_observing_rules_all_fire_and_keep_their_own_policy_error() -> None:
    told = Callbacks()
    rules = [pre("first", mode="observe"), ask("second", mode="observe", when=CANNOT_BE_JUDGED), pre("third")]
    guard = guard_of(*rules, **told.options)
    with pytest.raises(EdictumDenied):
        run(guard, args={"path": "a"})
    found = [(event.decision_name, event.observed_action, event.policy_error) for event in events_of(guard)]
    assert found == [("first", "block", False), ("second", "ask", True), ("third", None, False)]
    assert actions(guard) == ["call_would_deny", "call_would_deny", "call_denied"]
    assert told.counts == (1, 0, 2)


def test_observing_rule_is_recorded_as_observed() -> None:
    guard = guard_of(pre(mode="observe"), pre("other", when={"args.path": {"equals": "b"}}))
    run(guard)
    first, second = events_of(guard)[1].contracts_evaluated
    assert (first["name"], first["passed"], first["observed"]) == ("no-read", False, True)
    assert (second["name"], second["passed"], "observed" in second) == ("other", True, False)


def test_observing_guard_logs_a_would_be_block_and_runs_the_tool() -> None:
    told = Callbacks()
    guard = guard_of(pre(), mode="observe", **told.options)
    tool = Tool()
    assert run(guard, tool) == "done"
    assert trace(guard) == [
        ("call_would_deny", "observe", "yaml_precondition", "no-read"),
        ("call_executed", "observe", None, None),
    ]
    assert told.counts == (0, 0, 1)
    assert tool.calls == [{}]


def test_observing_guard_without_a_block_allows_as_usual() -> None:
    told = Callbacks()
    guard = guard_of(mode="observe", **told.options)
    run(guard)
    assert trace(guard) == [("call_allowed", "observe", None, None), ("call_executed", "observe", None, None)]
    assert told.counts == (0, 1, 0)


def test_ruleset_that_observes_by_default_tells_on_allow() -> None:
    told = Callbacks()
    guard = guard_of(pre(), defaults_mode="observe", **told.options)
    assert run(guard) == "done"
    assert trace(guard) == [
        ("call_would_deny", "observe", "yaml_precondition", "no-read"),
        ("call_allowed", "observe", None, None),
        ("call_executed", "observe", None, None),
    ]
    assert told.counts == (0, 1, 1)


def test_enforcing_rule_in_an_observing_ruleset_only_would_block() -> None:
    told = Callbacks()
    guard = guard_of(pre(mode="enforce"), defaults_mode="observe", **told.options)
    assert run(guard) == "done"
    assert actions(guard) == ["call_would_deny", "call_executed"]
    assert told.counts == (0, 0, 1)


def test_mode_option_does_not_change_rules_that_observe() -> None:
    """
    A rule that takes its mode from the document keeps it when the guard is told to enforce.
    """
    guard = guard_of(pre(), defaults_mode="observe", mode="enforce")
    assert run(guard) == "done"
    assert trace(guard)[0] == ("call_would_deny", "observe", "yaml_precondition", "no-read")
    assert trace(guard)[1] == ("call_allowed", "enforce", None, None)


@pytest.mark.parametrize("backend", [None, AutoApprovalBackend()], ids=["no backend", "backend"])
def test_observing_guard_asks_nobody(backend: AutoApprovalBackend | None) -> None:
    told = Callbacks()
    guard = guard_of(ask(), mode="observe", approval_backend=backend, **told.options)
    assert run(guard) == "done"
    assert trace(guard) == [
        ("call_would_deny", "observe", "yaml_precondition", "ask-first"),
        ("call_executed", "observe", None, None),
    ]
    event = events_of(guard)[0]
    assert (event.observed_action, event.reason) == ("ask", "may it run?")
    assert told.counts == (0, 0, 1)
    assert backend is None or backend.requests == []


@pytest.mark.parametrize(
    ("options", "source"),
    [
        ({"limits": OperationLimits(max_attempts=1)}, "attempt_limit"),
        ({"limits": OperationLimits(max_tool_calls=1)}, "operation_limit"),
        ({"limits": OperationLimits(max_calls_per_tool={"read": 1})}, "operation_limit"),
    ],
)
def test_observing_guard_counts_beyond_a_limit(options: dict[str, Any], source: str) -> None:
    guard = guard_of(mode="observe", **options)
    for _ in range(3):
        assert run(guard, session_id="s") == "done"
    assert [event.decision_source for event in events_of(guard)] == [None, None, source, None, source, None]
    assert events_of(guard)[-1].session_execution_count == 3


@pytest.mark.fault
def test_observing_guard_lets_pass_what_storage_cannot_count() -> None:
    class Broken(MemoryBackend):
        async def increment(self, key: str, amount: float = 1) -> float:
            raise ConnectionError("down")

    guard = guard_of(mode="observe", backend=Broken())
    assert run(guard) == "done"
    assert trace(guard) == [
        ("call_would_deny", "observe", "backend_error", "session"),
        ("call_executed", "observe", None, None),
    ]


def test_observing_guard_run_detailed_shows_the_would_be_decision() -> None:
    import asyncio

    guard = guard_of(pre(), mode="observe")
    outcome = asyncio.run(guard.run_detailed("read", {}, Tool()))
    assert (outcome.decision.action, outcome.decision.decision_name) == ("block", "no-read")
    assert outcome.result == "done"


def test_guard_mode_set_later_applies_to_the_next_call() -> None:
    guard = guard_of(pre())
    with pytest.raises(EdictumDenied):
        run(guard)
    guard.mode = "observe"
    assert run(guard) == "done"
    with pytest.raises(EdictumConfigError, match="mode"):
        guard.mode = "watch"  # type: ignore[assignment]


# --- candidates beside the real decision ------------------------------------------------------------


@pytest.mark.parametrize("passes", [True, False])
def test_candidate_is_logged_after_the_allowed_event(passes: bool) -> None:
    told = Callbacks()
    guard = Edictum(rules=[candidate(passes=passes)], **told.options)
    assert run(guard) == "done"
    assert trace(guard) == [
        ("call_allowed", "enforce", None, None),
        ("call_allowed" if passes else "call_would_deny", "observe", "precondition", "planned"),
        ("call_executed", "enforce", None, None),
    ]
    event = events_of(guard)[1]
    assert event.metadata == {"enforced_action": "allow"}
    assert event.observed_action == ("allow" if passes else "block")
    assert told.counts == (0, 1, 0 if passes else 1)


def test_candidate_is_measured_also_when_the_call_is_blocked() -> None:
    told = Callbacks()
    guard = guard_of(pre(), rules=[candidate(passes=True), candidate("stricter")], **told.options)
    with pytest.raises(EdictumDenied):
        run(guard)
    assert trace(guard) == [
        ("call_denied", "enforce", "yaml_precondition", "no-read"),
        ("call_allowed", "observe", "precondition", "planned"),
        ("call_would_deny", "observe", "precondition", "stricter"),
    ]
    assert [event.metadata for event in events_of(guard)[1:]] == [{"enforced_action": "block"}] * 2
    assert told.counts == (1, 0, 1)


@pytest.mark.parametrize("answer", [granted(), denied()], ids=["granted", "denied"])
def test_candidate_is_measured_also_when_a_person_is_asked(answer: Any) -> None:
    guard = guard_of(ask(), rules=[candidate()], approval_backend=AutoApprovalBackend(answer))
    if answer.approved:
        run(guard)
    else:
        with pytest.raises(EdictumDenied):
            run(guard)
    event = events_of(guard)[2]
    assert (str(event.action), event.mode, event.decision_name) == ("call_would_deny", "observe", "planned")
    assert event.metadata is not None
    assert event.metadata["enforced_action"] == ("allow" if answer.approved else "block")


def test_candidate_session_rule_sees_the_session_and_never_decides() -> None:
    guard = Edictum(rules=[candidate(decorator=session_contract)])
    run(guard)
    assert trace(guard)[1] == ("call_would_deny", "observe", "session_contract", "planned")


def test_candidate_post_rule_is_recorded_and_changes_nothing() -> None:
    rule: Any = candidate(decorator=postcondition("*"))
    rule._edictum_effect = "block"
    guard = guard_of(rules=[rule])
    assert run(guard, Tool("text")) == "text"
    executed = events_of(guard)[-1]
    assert executed.postconditions_passed is True
    (record,) = executed.contracts_evaluated
    assert (record["name"], record["passed"], record["observed"]) == ("planned", False, True)


@pytest.mark.fault
def test_candidate_that_raises_is_a_policy_error_of_its_own_event() -> None:
    @precondition("*")
    def broken(call: Any) -> Decision:
        raise KeyError("x")

    broken._edictum_observe = True  # type: ignore[attr-defined]
    guard = Edictum(rules=[broken])
    assert run(guard) == "done"
    assert [event.policy_error for event in events_of(guard)] == [False, True, False]


def test_observing_post_rule_warns_with_a_mark_and_leaves_the_result() -> None:
    import asyncio

    guard = guard_of(post(action="redact", mode="observe"))
    outcome = asyncio.run(guard.run_detailed("read", {}, Tool("pw hunter2")))
    assert outcome.result == "pw hunter2"
    assert list(outcome.warnings) == ["\u26a0\ufe0f [observe] bad-output says no"]
    assert list(outcome.violations) == []
    executed = events_of(guard)[-1]
    assert (executed.postconditions_passed, executed.observed_action) == (True, "redact")


@pytest.mark.fault
def test_on_would_block_that_raises_changes_nothing() -> None:
    def raising(*facts: Any) -> None:
        raise LookupError("callback")

    guard = guard_of(pre("first", mode="observe"), mode="observe", rules=[candidate()], on_would_block=raising)
    assert run(guard) == "done"
    assert actions(guard) == ["call_would_deny", "call_allowed", "call_would_deny", "call_executed"]
