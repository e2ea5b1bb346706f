"""
Limits of a session: a limit of N lets exactly N calls pass, and the reason says what to do.
"""

from __future__ import annotations

from typing import Any

import pytest
from backends import PlainBackend
from edictum import Edictum, EdictumConfigError, EdictumDenied, EdictumToolError, MemoryBackend, OperationLimits
from guards import actions, events_of, guard_of, pre, run, session_rule

each_backend = pytest.mark.parametrize("make", [MemoryBackend, PlainBackend])


def passing(guard: Edictum, calls: int, name: str = "read") -> int:
    """
    How many of so many calls run.
    """
    ran = 0
    for _ in range(calls):
        try:
            run(guard, name=name, session_id="s")
        except EdictumDenied:
            continue
        ran += 1
    return ran


def refusal(guard: Edictum, name: str = "read") -> EdictumDenied:
    with pytest.raises(EdictumDenied) as caught:
        run(guard, name=name, session_id="s")
    return caught.value


# --- exactly N ------------------------------------------------------------------------------------


@each_backend
@pytest.mark.parametrize("number", [0, 1, 2, 7])
@pytest.mark.parametrize(
    "limits",
    [
        lambda n: OperationLimits(max_attempts=n),
        lambda n: OperationLimits(max_tool_calls=n),
        lambda n: OperationLimits(max_calls_per_tool={"read": n}),
        lambda n: OperationLimits(max_calls_per_tool={"re*": n}),
        lambda n: OperationLimits(n, n, {"read": n, "*": n, "r?ad": n + 1}),
    ],
    ids=["attempts", "calls", "tool", "glob", "all"],
)
def test_limit_of_n_lets_exactly_n_pass(make: Any, limits: Any, number: int) -> None:
    assert number == passing(Edictum(limits=limits(number), backend=make()), number + 3)


@pytest.mark.parametrize(
    "limits", [{"max_attempts": 3}, {"max_tool_calls": 3}, {"max_calls_per_tool": {"read": 3}}], ids=str
)
def test_limit_of_a_rule_lets_exactly_n_pass(limits: dict[str, Any]) -> None:
    assert passing(guard_of(session_rule(limits=limits)), 6) == 3


def test_limit_defaults_are_the_published_ones() -> None:
    assert OperationLimits(500, 200, {}) == Edictum().limits == OperationLimits()


def test_limit_default_on_calls_is_enforced() -> None:
    assert passing(Edictum(), 203) == 200


def test_limit_on_attempts_counts_blocked_calls() -> None:
    guard = guard_of(pre(tool="bad"), limits=OperationLimits(max_attempts=4))

    assert passing(guard, 3, "bad") == 0
    assert passing(guard, 3) == 1
    assert refusal(guard, "bad").decision_source == "attempt_limit"


def test_limit_on_calls_does_not_count_blocked_calls() -> None:
    guard = guard_of(pre(tool="bad"), limits=OperationLimits(max_tool_calls=2))
    passing(guard, 5, "bad")

    assert passing(guard, 5) == 2


def test_limit_counts_calls_whose_tool_failed() -> None:
    guard = Edictum(limits=OperationLimits(max_tool_calls=2))
    for _ in range(2):
        with pytest.raises(EdictumToolError):
            run(guard, lambda: "error: broken", session_id="s")

    assert passing(guard, 2) == 0


def test_limit_by_exact_name_concerns_that_tool_only() -> None:
    guard = Edictum(limits=OperationLimits(max_calls_per_tool={"read": 1}))

    assert [passing(guard, 3, name) for name in ("read", "Read", "read2")] == [1, 3, 3]


def test_limit_by_glob_counts_all_matching_tools_together() -> None:
    guard = Edictum(limits=OperationLimits(max_calls_per_tool={"mcp_*": 3}))

    assert [passing(guard, 2, name) for name in ("mcp_a", "mcp_b", "other")] == [2, 1, 2]


def test_limits_by_name_and_glob_all_hold() -> None:
    guard = Edictum(limits=OperationLimits(max_calls_per_tool={"mcp_a": 2, "mcp_*": 3, "*_b": 1}))

    assert [passing(guard, 3, name) for name in ("mcp_a", "mcp_b", "mcp_c")] == [2, 1, 0]


def test_limit_refusal_by_one_counter_counts_none() -> None:
    """
    A call refused by the limit on its tool must not use up the limits on all tools.
    """
    guard = Edictum(limits=OperationLimits(max_tool_calls=3, max_calls_per_tool={"a": 1, "*": 4}))

    assert [passing(guard, 5, name) for name in ("a", "b")] == [1, 2]


def test_limit_is_kept_for_each_session() -> None:
    guard = Edictum(limits=OperationLimits(max_tool_calls=1))

    assert run(guard, session_id="a") == run(guard, session_id="b") == "done"


# --- several rules --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "rules", "expected"),
    [
        (None, [{"max_tool_calls": 5}], (500, 5, {})),
        (None, [{"max_tool_calls": 300}], (500, 300, {})),
        (None, [{"max_attempts": 700, "max_tool_calls": 5}, {"max_attempts": 9}], (9, 5, {})),
        (None, [{"max_tool_calls": 5}, {"max_tool_calls": 8}], (500, 5, {})),
        (OperationLimits(max_tool_calls=4), [{"max_tool_calls": 8}], (500, 4, {})),
        (OperationLimits(max_tool_calls=8), [{"max_tool_calls": 4}], (500, 4, {})),
        (OperationLimits(), [{"max_attempts": 600}], (500, 200, {})),
        (
            OperationLimits(max_calls_per_tool={"a": 3, "b": 3}),
            [{"max_calls_per_tool": {"a": 1, "b": 9}}, {"max_calls_per_tool": {"c*": 2}}],
            (500, 200, {"a": 1, "b": 3, "c*": 2}),
        ),
    ],
)
def test_limits_of_several_rules_are_merged_to_the_strictest(
    own: OperationLimits | None, rules: list[dict[str, Any]], expected: tuple[int, int, dict[str, int]]
) -> None:
    guard = guard_of(*(session_rule(f"r{at}", limits=limits) for at, limits in enumerate(rules)), limits=own)

    assert OperationLimits(*expected) == guard.limits


def test_limits_of_several_rules_the_strictest_blocks_in_its_own_words() -> None:
    guard = guard_of(
        session_rule("loose", limits={"max_tool_calls": 4}, message="loose"),
        session_rule("tight", limits={"max_tool_calls": 2}, message="tight"),
    )
    assert passing(guard, 2) == 2

    found = refusal(guard)
    assert (found.decision_source, found.decision_name) == ("yaml_session", "tight")
    assert "tight" in found.reason


def test_limits_of_an_observing_rule_neither_block_nor_count() -> None:
    guard = guard_of(
        session_rule("watch", mode="observe", limits={"max_tool_calls": 1, "max_calls_per_tool": {"*": 1}})
    )

    assert passing(guard, 3) == 3
    assert OperationLimits() == guard.limits
    assert actions(guard).count("call_would_deny") == 2
    assert {("yaml_session", "watch")} == {
        (event.decision_source, event.decision_name) for event in events_of(guard) if event.action == "call_would_deny"
    }


def test_limits_of_a_disabled_rule_do_not_count() -> None:
    guard = guard_of(session_rule(enabled=False), pre(tool="none"))

    assert passing(guard, 3) == 3


# --- reasons --------------------------------------------------------------------------------------


def test_limit_on_attempts_tells_not_to_retry() -> None:
    guard = Edictum(limits=OperationLimits(max_attempts=7))
    passing(guard, 7)
    found = refusal(guard)

    assert (found.decision_source, found.decision_name) == ("attempt_limit", "max_attempts")
    for word in ("limit", "retry", "7"):
        assert word in found.reason


def test_limit_on_calls_tells_the_number() -> None:
    guard = Edictum(limits=OperationLimits(max_tool_calls=3))
    passing(guard, 3)
    found = refusal(guard)

    assert (found.decision_source, found.decision_name) == ("operation_limit", "max_tool_calls")
    for word in ("limit", "3"):
        assert word in found.reason


@pytest.mark.parametrize("pattern", ["Bash", "Ba*"])
def test_limit_on_a_tool_tells_tool_count_and_number(pattern: str) -> None:
    guard = Edictum(limits=OperationLimits(max_calls_per_tool={pattern: 3}))
    passing(guard, 3, "Bash")
    found = refusal(guard, "Bash")

    assert (found.decision_source, found.decision_name) == ("operation_limit", "max_calls_per_tool:Bash")
    for word in ("limit", "Bash", "3 of 3"):
        assert word in found.reason


def test_limit_count_in_the_reason_is_that_before_the_call() -> None:
    guard = Edictum(limits=OperationLimits(max_attempts=2))
    passing(guard, 4)

    assert "4 of 2" in refusal(guard).reason


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"max_attempts": 2}, ["slow down", "limit", "retry", "2"]),
        ({"max_calls_per_tool": {"read": 2}}, ["slow down", "limit", "read", "2 of 2"]),
    ],
    ids=str,
)
def test_limit_of_a_rule_speaks_in_its_words_and_adds_what_is_missing(limits: dict[str, Any], words: list[str]) -> None:
    guard = guard_of(session_rule("few", limits=limits, message="slow down"))
    passing(guard, 2)
    reason = refusal(guard).reason

    assert [word for word in words if word not in reason] == []
    record = events_of(guard)[-1].contracts_evaluated[-1]
    assert "few" == record.get("rule_id")  # noqa: SIM300


def test_limit_of_a_rule_that_says_everything_is_left_alone() -> None:
    message = "the limit on read is two calls"
    guard = guard_of(session_rule(limits={"max_calls_per_tool": {"read": 2}}, message=message))
    passing(guard, 2)

    assert message == refusal(guard).reason


def test_limit_block_is_an_event_with_the_counts() -> None:
    guard = Edictum(limits=OperationLimits(max_tool_calls=1))
    passing(guard, 2)
    event = events_of(guard)[-1]

    assert (
        event.action,
        event.decision_source,
        event.decision_name,
    ) == ("call_denied", "operation_limit", "max_tool_calls")
    assert (event.session_attempt_count, event.session_execution_count) == (2, 1)


# --- setting and checking -------------------------------------------------------------------------


def test_limits_set_later_hold_from_the_next_call_and_keep_those_of_rules() -> None:
    guard = guard_of(session_rule(limits={"max_calls_per_tool": {"read": 6}}))
    assert passing(guard, 2) == 2

    guard.limits = OperationLimits(max_tool_calls=4, max_calls_per_tool={"read": 9})
    assert OperationLimits(500, 4, {"read": 6}) == guard.limits
    assert passing(guard, 9) == 2

    guard.limits = OperationLimits(max_tool_calls=100)
    assert passing(guard, 9) == 2
    assert refusal(guard).decision_name == "max_calls_per_tool:read"


@pytest.mark.parametrize(
    "limits",
    [{"max_attempts": -1}, {"max_tool_calls": 1.5}, {"max_attempts": True}, {"max_calls_per_tool": {"a": "1"}}],
)
def test_limits_that_are_no_counts_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(limits))):
        OperationLimits(**limits)


@pytest.mark.parametrize(
    "limits", [{}, {"max_attempts": 0}, {"max_tool_calls": "1"}, {"max_calls_per_tool": {}}], ids=str
)
def test_limits_of_a_rule_that_are_no_counts_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(EdictumConfigError, match="limits"):
        guard_of(session_rule(limits=limits))
