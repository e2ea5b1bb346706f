"""
The suite for adapters notices each of these faults.
"""

from __future__ import annotations

import asyncio
import threading
import unittest
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, TypeVar

import pytest
from edictum import Adapter, Edictum, EdictumDenied, SelfTestError
from edictum.adapter import refusal_text
from edictum.testing.suites.agent_run import AgentRun, Entry
from edictum.testing.suites.suite import WholeSuite
from tiny_framework import Event, TinyAdapter, TinyAgent, TinySuite

T = TypeVar("T", bound=type)

CASES: list[Any] = []
CAUGHT: set[str] = set()


class MutantSuite(TinySuite):
    patience = 3.0
    part: type[TinyAdapter]

    def adapter(self, guard: Edictum, **options: Any) -> Adapter:
        return self.part(guard, **options)


def caught_by(*tests: str, entry: str = "run") -> Callable[[T], T]:
    """
    Mark a mutant, an adapter or a suite with another driver, with the tests that must fail on it.
    """

    def mark(part: T) -> T:
        suite = part if issubclass(part, TinySuite) else type(f"Suite{part.__name__}", (MutantSuite,), {"part": part})
        for test in tests:
            CAUGHT.add(f"test_{test}")
            CASES.append(pytest.param(suite, f"test_{test}", entry, id=f"{part.__name__}-{test}"))
        return part

    return mark


@pytest.mark.parametrize(("suite", "test", "entry"), CASES)
def test_adapter_mutant_is_caught(suite: type[TinySuite], test: str, entry: str) -> None:
    # Only what the suite says itself counts; a mutant that cannot be run proves nothing.
    with pytest.raises((AssertionError, SelfTestError)):
        run(suite(), test, entry)


def run(suite: TinySuite, name: str, entry: str) -> None:
    test = getattr(suite, name)
    entries = {each.name: each for each in suite.entries}
    if hasattr(test, "entry_kind"):
        test(entries[entry])
    else:
        test()


def test_every_test_of_the_adapter_suite_can_fail() -> None:
    tests = {name for name in dir(TinySuite) if name.startswith("test_")}
    assert tests - CAUGHT == {"test_suite_is_run_as_it_is"}


def test_faultless_adapter_passes_what_mutants_fail() -> None:
    suite = type("Faultless", (MutantSuite,), {"part": TinyAdapter, "patience": WholeSuite.patience})()
    for name in sorted(CAUGHT):
        for entry in suite._entries(getattr(getattr(suite, name), "entry_kind", "any")):
            run(suite, name, entry.name)


# --- suites that leave something out -----------------------------------------------------------------


def refused(suite: type[WholeSuite]) -> str:
    with pytest.raises(AssertionError) as raised:
        suite().test_suite_is_run_as_it_is()
    return str(raised.value)


def test_suite_with_a_test_replaced_or_taken_away_fails() -> None:
    class Replaced(TinySuite):
        def test_observe_mode_records_and_changes_nothing(self, entry: Entry) -> None:
            pass

    class TakenAway(TinySuite):
        test_self_test_passes_and_leaves_no_trace = None  # type: ignore[assignment]

    assert "test_observe_mode" in refused(Replaced)
    assert "test_self_test" in refused(TakenAway)


def test_suite_with_a_wrong_exception_fails() -> None:
    class Unknown(TinySuite):
        not_met: ClassVar[Mapping[str, str]] = {
            "test_observe_mode_records_and_changes_nothing[no_such_entry]": "reason"
        }

    class Unreasoned(TinySuite):
        not_met: ClassVar[Mapping[str, str]] = {"test_observe_mode_records_and_changes_nothing[run]": " "}

    assert "no_such_entry" in refused(Unknown)
    assert "without a reason" in refused(Unreasoned)


def test_not_met_of_one_entry_leaves_the_others() -> None:
    name = "test_observe_mode_records_and_changes_nothing"

    class Partly(MutantSuite):
        part = TinyAdapter
        not_met: ClassVar[Mapping[str, str]] = {f"{name}[run]": "observing is left to others"}

    with pytest.raises(unittest.SkipTest, match="left to others"):
        run(Partly(), name, "run")
    run(Partly(), name, "arun")


@caught_by("entries_are_complete")
class NoEntries(TinySuite):
    entries = ()


@caught_by("entries_are_complete")
class OneNameTwice(TinySuite):
    entries = (Entry("run"), Entry("run"))


@caught_by("entries_are_complete")
class FewerEntries(TinySuite):
    def pytest_generate_tests(self, metafunc: Any) -> None:
        pass


@caught_by("entries_are_complete")
class OwnOutcome(TinySuite):
    def drive_to_the_end(self, *args: Any) -> Any:
        return None


@caught_by("blocked_call_never_runs_and_the_model_reads_why")
class PretendsToBeSynchronous(TinySuite):
    def drive(self, adapter: Any, entry: Entry, run: AgentRun) -> Awaitable[None] | None:
        return super().drive(adapter, Entry("arun", True), run)


@caught_by("blocked_call_never_runs_and_the_model_reads_why", entry="arun")
class PretendsToBeAsynchronous(TinySuite):
    def drive(self, adapter: Any, entry: Entry, run: AgentRun) -> Awaitable[None] | None:
        return super().drive(adapter, Entry("run"), run)


@caught_by("arguments_that_run_are_those_that_were_judged")
class NeverRewrites(TinySuite):
    def drive(self, adapter: Any, entry: Entry, run: AgentRun) -> Awaitable[None] | None:
        run.rewrite = None
        return super().drive(adapter, entry, run)


@caught_by("redacted_result_is_all_that_anybody_sees", "withheld_result_is_seen_by_nobody")
class StreamsWhatTheToolSaid(TinySuite):
    def drive(self, adapter: Any, entry: Entry, run: AgentRun) -> Awaitable[None] | None:
        try:
            return super().drive(adapter, entry, run)
        finally:
            run.streamed += [str(tool._result) for tool in run.tools]


# --- calls ------------------------------------------------------------------------------------------


@caught_by("blocked_call_never_runs_and_the_model_reads_why")
class NotInTheWay(TinyAdapter):
    def around(self, event: Event, tool: Callable[..., Any]) -> Any:
        return tool(**event.args)


@caught_by("blocked_call_never_runs_and_the_model_reads_why")
class TooLate(TinyAdapter):
    def around(self, event: Event, tool: Callable[..., Any]) -> Any:
        result = tool(**event.args)
        return super().around(event, lambda **args: result)


@caught_by("blocked_call_never_runs_and_the_model_reads_why", "self_test_passes_and_leaves_no_trace")
class Silent(TinyAdapter):
    def around(self, event: Event, tool: Callable[..., Any]) -> Any:
        shown = super().around(event, tool)
        return "blocked" if "The tool did not run" in str(shown) else shown


@caught_by("blocked_call_never_runs_and_the_model_reads_why")
class Raises(TinyAdapter):
    def around(self, event: Event, tool: Callable[..., Any]) -> Any:
        shown = super().around(event, tool)
        if "The tool did not run" in str(shown):
            raise PermissionError(shown)
        return shown


@caught_by("self_test_passes_and_leaves_no_trace")
class UsesItsOwnGuard(TinyAdapter):
    def self_test(self) -> None:
        self.push_call("read", lambda: "text")


@caught_by(
    "call_is_blocked_while_the_store_is_away",
    "call_is_blocked_while_the_log_cannot_be_written",
    "call_is_blocked_while_nobody_knows_on_whose_behalf",
)
class OpenInTrouble(TinyAdapter):
    def around(self, event: Event, tool: Callable[..., Any]) -> Any:
        shown = super().around(event, tool)
        refused_by_a_rule = "Blocked by 'no-secrets'" in str(shown)
        return shown if refused_by_a_rule or "did not run" not in str(shown) else tool(**event.args)


@caught_by("call_never_runs_when_the_guard_itself_raises")
class OpenWhenTheGuardRaises(TinyAdapter):
    def around(self, event: Event, tool: Callable[..., Any]) -> Any:
        try:
            return super().around(event, tool)
        except RuntimeError:
            return tool(**event.args)


@caught_by("call_has_one_decision_and_one_outcome_if_it_ran", "nothing_is_kept_after_the_end")
class NeverFinishes(TinyAdapter):
    def around(self, event: Event, tool: Callable[..., Any]) -> Any:
        call = self.begun(event)
        self.calls = [*getattr(self, "calls", []), call]
        try:
            call.begin_sync()
        except EdictumDenied as denied:
            return refusal_text(denied)
        return tool(**event.args)


@caught_by("call_has_one_decision_and_one_outcome_if_it_ran")
class AsksTwice(TinyAdapter):
    def around(self, event: Event, tool: Callable[..., Any]) -> Any:
        return super().around(event, lambda **args: super(AsksTwice, self).around(event, tool))


class Unnamed(TinyAdapter):
    left_out: ClassVar[dict[str, Any]]

    def call(self, *args: Any, **facts: Any) -> Any:
        return super().call(*args, **{**facts, **self.left_out})


@caught_by("events_say_which_call_whose_and_where")
class WithoutIds(Unnamed):
    left_out: ClassVar[dict[str, Any]] = {"tool_use_id": None}


@caught_by("events_say_which_call_whose_and_where", "runs_that_share_an_adapter_are_kept_apart")
class WithoutSessions(Unnamed):
    left_out: ClassVar[dict[str, Any]] = {"session": None}


@caught_by("events_say_which_call_whose_and_where")
class WithoutCallers(Unnamed):
    left_out: ClassVar[dict[str, Any]] = {"caller": None}


@caught_by("events_say_which_call_whose_and_where")
class WithoutContext(Unnamed):
    left_out: ClassVar[dict[str, Any]] = {"context": {"user": "nobody"}}


class Shows(TinyAdapter):
    """
    Shows something else than what the guard said.
    """

    def around(self, event: Event, tool: Callable[..., Any]) -> Any:
        raw: list[Any] = []

        def noted(**args: Any) -> Any:
            raw.append(tool(**args))
            return raw[0]

        shown = super().around(event, noted)
        return self.shown(shown, raw[0]) if raw else shown

    def shown(self, shown: Any, raw: Any) -> Any:
        raise NotImplementedError


@caught_by("redacted_result_is_all_that_anybody_sees", "withheld_result_is_seen_by_nobody")
class ShowsRawResults(Shows):
    def shown(self, shown: Any, raw: Any) -> Any:
        return raw


@caught_by("redacted_result_is_all_that_anybody_sees")
class ShowsStructuresRaw(Shows):
    def shown(self, shown: Any, raw: Any) -> Any:
        return shown if isinstance(raw, str) else raw


@caught_by("redacted_result_is_all_that_anybody_sees", "result_without_findings_is_left_alone")
class ShowsTextOnly(Shows):
    def shown(self, shown: Any, raw: Any) -> Any:
        return str(shown)


@caught_by("result_without_findings_is_left_alone")
class AddsToResults(Shows):
    def shown(self, shown: Any, raw: Any) -> Any:
        return f"{shown} (allowed)"


@caught_by("failing_tool_is_recorded_and_the_run_goes_on_as_ever")
class SwallowsFailures(TinyAdapter):
    def around(self, event: Event, tool: Callable[..., Any]) -> Any:
        try:
            return super().around(event, tool)
        except OSError as error:
            return f"error: {error}"


@caught_by("failing_tool_is_recorded_and_the_run_goes_on_as_ever", "nothing_is_kept_after_the_end")
class ForgetsFailures(TinyAdapter):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.pending: dict[int, Any] = {}

    def around(self, event: Event, tool: Callable[..., Any]) -> Any:
        call = self.begun(event)
        self.pending[id(call)] = call
        try:
            call.begin_sync()
        except EdictumDenied as denied:
            return refusal_text(denied)
        result = tool(**event.args)
        return self.pending.pop(id(call)).finish_sync(result).result


@caught_by("failing_tool_is_recorded_and_the_run_goes_on_as_ever")
class CallsFailuresResults(TinyAdapter):
    def around(self, event: Event, tool: Callable[..., Any]) -> Any:
        raised: list[Exception] = []

        def calm(**args: Any) -> Any:
            try:
                return tool(**args)
            except OSError as error:
                raised.append(error)
                return "no result"

        shown = super().around(event, calm)
        if raised:
            raise raised[0]
        return shown


@caught_by("entry_decides_as_the_first_entry_does", entry="arun")
class ForgetsTheSecondEntry(TinyAdapter):
    async def around_awaited(self, event: Event, tool: Callable[..., Awaitable[Any]]) -> Any:
        return await tool(**event.args)


@caught_by("observe_mode_records_and_changes_nothing")
class NeverObserves(TinyAdapter):
    def around(self, event: Event, tool: Callable[..., Any]) -> Any:
        result = super().around(event, tool)
        return "blocked" if any(event.observed_action for event in self.guard.local_sink.events) else result


@caught_by("arguments_that_run_are_those_that_were_judged")
class JudgesWhatTheModelSaid(MutantSuite):
    """
    The hook that rewrites stands between the guard and the tool.
    """

    part = TinyAdapter

    def drive(self, adapter: Any, entry: Entry, run: AgentRun) -> Awaitable[None] | None:
        rewrite, run.rewrite = run.rewrite, None
        if rewrite is not None:
            (tool,) = run.tools
            body = tool.__call__
            agent = TinyAgent(run, adapter, {tool.name: lambda **args: body(**rewrite(args))})
            return agent.run()  # type: ignore[func-returns-value]
        return super().drive(adapter, entry, run)


@caught_by("unknown_tool_and_malformed_arguments_run_nothing")
class CallsAnything(TinySuite):
    def drive(self, adapter: Any, entry: Entry, run: AgentRun) -> Awaitable[None] | None:
        for tool in run.tools:
            tool()
        return super().drive(adapter, entry, run)


@caught_by("agent_inside_has_its_calls_decided")
class TrustsAgentsInside(TinySuite):
    def drive(self, adapter: Any, entry: Entry, run: AgentRun) -> Awaitable[None] | None:
        return super().drive(None if run.agent == "helper" else adapter, entry, run)


# --- several at once --------------------------------------------------------------------------------


class OneSlot(TinyAdapter):
    """
    Remembers one call only: what was begun last is what is finished.
    """

    def around(self, event: Event, tool: Callable[..., Any]) -> Any:
        self.current = call = self.begun(event)
        try:
            call.begin_sync()
        except EdictumDenied as denied:
            return refusal_text(denied)
        result = tool(**event.args)
        try:
            return self.current.finish_sync(result).result
        except RuntimeError:
            return result


caught_by("parallel_calls_are_kept_apart", "runs_that_share_an_adapter_are_kept_apart")(OneSlot)


@caught_by("parallel_calls_are_kept_apart", "other_calls_go_on_while_one_waits_for_approval")
class OneAtATime(TinyAdapter):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.lock = threading.Lock()

    def around(self, event: Event, tool: Callable[..., Any]) -> Any:
        with self.lock:
            return super().around(event, tool)


@caught_by("limit_is_exact_for_parallel_calls")
class CountsByItself(TinyAdapter):
    """
    Each call has a session of its own.
    """

    def call(self, *args: Any, **facts: Any) -> Any:
        return super().call(*args, **{**facts, "session": facts["tool_use_id"]})


@caught_by("call_that_waits_for_approval_runs_once_after_a_yes")
class RunsWhileItAsks(TinyAdapter):
    def around(self, event: Event, tool: Callable[..., Any]) -> Any:
        result = tool(**event.args)
        return super().around(event, lambda **args: result)


@caught_by("call_that_waits_for_approval_runs_once_after_a_yes")
class RunsAgain(TinyAdapter):
    def around(self, event: Event, tool: Callable[..., Any]) -> Any:
        return super().around(event, lambda **args: (tool(**args), tool(**args))[1])


@caught_by("call_that_is_refused_or_not_answered_never_runs")
class TakesSilenceAsYes(TinyAdapter):
    def around(self, event: Event, tool: Callable[..., Any]) -> Any:
        shown = super().around(event, tool)
        return tool(**event.args) if "Nobody answered" in str(shown) else shown


@caught_by("event_loop_goes_on_while_a_call_waits_for_approval", entry="arun")
class HoldsUpTheLoop(TinyAdapter):
    async def around_awaited(self, event: Event, tool: Callable[..., Awaitable[Any]]) -> Any:
        call = self.begun(event)
        try:
            call.begin_sync()
        except EdictumDenied as denied:
            return refusal_text(denied)
        return call.finish_sync(await tool(**event.args)).result


@caught_by("arguments_that_change_while_somebody_is_asked_do_not_run")
class JudgesACopy(TinyAdapter):
    def call(self, tool_name: str, args: Any, **facts: Any) -> Any:
        return super().call(tool_name, dict(args), **facts)


LATER: list[Any] = []


@caught_by("run_that_is_cancelled_does_not_make_its_call_later", entry="arun")
class GoesOnWhenCancelled(TinyAdapter):
    async def around_awaited(self, event: Event, tool: Callable[..., Awaitable[Any]]) -> Any:
        work = asyncio.ensure_future(super().around_awaited(event, tool))
        LATER.append(work)
        return await asyncio.shield(work)


# --- several runs and threads -----------------------------------------------------------------------


FIRST: list[Any] = []


@caught_by("adapters_of_two_guards_are_kept_apart")
class SharedByAll(TinyAdapter):
    """
    The guard that was registered last decides for all.
    """

    def __init__(self, guard: Edictum, **options: Any) -> None:
        super().__init__(guard, **options)
        FIRST.append(self)

    def around(self, event: Event, tool: Callable[..., Any]) -> Any:
        return TinyAdapter.around(FIRST[-1], event, tool)


@caught_by("nothing_is_kept_after_the_end")
class KeepsResults(TinyAdapter):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.results: list[Any] = []

    def around(self, event: Event, tool: Callable[..., Any]) -> Any:
        self.results.append(super().around(event, tool))
        return self.results[-1]


KEPT: list[Any] = []


@caught_by("nothing_is_kept_after_the_end")
class KeepsCallsElsewhere(TinyAdapter):
    """
    Where the sizes of the adapter's own attributes do not tell.
    """

    def begun(self, event: Event) -> Any:
        KEPT.append(super().begun(event))
        return KEPT[-1]


@caught_by("run_works_in_any_thread_with_a_store_of_one_loop")
class NewLoopForEachCall(TinyAdapter):
    def around(self, event: Event, tool: Callable[..., Any]) -> Any:
        async def awaited(**args: Any) -> Any:
            return tool(**args)

        return asyncio.run(self.around_awaited(event, awaited))
