"""
The tests that every adapter passes, on every way into CrewAI.
"""

from __future__ import annotations

from driving import NATIVE, TEXT, NetSuite, WrappedToolsSuite
from edictum_crewai._framework import MODERN_HOOKS


def because(reason: str, *names: str) -> dict[str, str]:
    return dict.fromkeys(names, reason)


def older(reason: str, *names: str) -> dict[str, str]:
    """
    What only older releases do not give.
    """
    return {} if MODERN_HOOKS else because(f"in this release of CrewAI {reason}", *names)


THREADS = because(
    "CrewAI runs crews in threads, which cancelling does not reach: the whole crew goes on",
    "test_run_that_is_cancelled_does_not_make_its_call_later",
)
ON_A_LOOP = "test_run_works_in_any_thread_with_a_store_of_one_loop"


def outside_of_loops(crew: str, agent: str) -> dict[str, str]:
    """
    Synchronous entries that CrewAI does not run inside a running event loop; older releases run crews.
    """
    found = because("CrewAI runs no agent inside a running event loop by this entry", f"{ON_A_LOOP}[{agent}]")
    if MODERN_HOOKS:
        found |= because("CrewAI refuses this entry inside a running event loop", f"{ON_A_LOOP}[{crew}]")
    return found


ONE_AT_A_TIME = because(
    "by text a model asks for one call at a time",
    "test_parallel_calls_are_kept_apart",
    "test_limit_is_exact_for_parallel_calls",
    "test_other_calls_go_on_while_one_waits_for_approval",
)
REPAIRED = because(
    "CrewAI repairs arguments that are given by text: they are judged and run as repaired, see test_outcomes",
    "test_unknown_tool_and_malformed_arguments_run_nothing",
)
BY_TEXT = {**THREADS, **outside_of_loops("text_kickoff", "text_agent"), **ONE_AT_A_TIME, **REPAIRED}
RAW_ON_THE_BUS = because(
    "on the way by text CrewAI's event bus has the result before any hook",
    "test_redacted_result_is_all_that_anybody_sees",
    "test_withheld_result_is_seen_by_nobody",
)
RETRIED = because(
    "by text CrewAI runs a failing tool several times between one pair of hooks",
    "test_failing_tool_is_recorded_and_the_run_goes_on_as_ever",
)
LOOP_HELD_UP = older(
    "akickoff makes native calls, and runs hooks, on the event loop itself",
    "test_event_loop_goes_on_while_a_call_waits_for_approval[akickoff]",
)
LOOP_HELD_UP_BY_TEXT = older(
    "akickoff runs hooks on the event loop itself",
    "test_event_loop_goes_on_while_a_call_waits_for_approval[text_akickoff]",
)
HOOKS_BEHIND = older(
    "a hook that is registered later can change arguments behind the net, which is seen too late, see test_net",
    "test_arguments_that_run_are_those_that_were_judged",
)
NO_REASONS = older(
    "no after-hook runs for a blocked call by text, so the net cannot tell the model why",
    "test_blocked_call_never_runs_and_the_model_reads_why",
    "test_call_is_blocked_while_the_store_is_away",
    "test_call_is_blocked_while_the_log_cannot_be_written",
    "test_call_is_blocked_while_nobody_knows_on_whose_behalf",
    "test_call_that_is_refused_or_not_answered_never_runs",
)


class TestWrappedTools(WrappedToolsSuite):
    entries = NATIVE
    not_met = {**THREADS, **outside_of_loops("kickoff", "agent"), **LOOP_HELD_UP}  # noqa: RUF012


class TestWrappedToolsByText(WrappedToolsSuite):
    entries = TEXT
    not_met = BY_TEXT


class TestNet(NetSuite):
    entries = NATIVE
    not_met = {**TestWrappedTools.not_met, **HOOKS_BEHIND}  # noqa: RUF012


class TestNetByText(NetSuite):
    entries = TEXT
    not_met = {  # noqa: RUF012
        **BY_TEXT,
        **RAW_ON_THE_BUS,
        **RETRIED,
        **LOOP_HELD_UP_BY_TEXT,
        **HOOKS_BEHIND,
        **NO_REASONS,
    }
