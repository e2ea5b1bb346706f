"""
The suite for adapters: one call after another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from edictum.guard import Edictum
from edictum.memory_storage import MemoryBackend
from edictum.redaction import REDACTED
from edictum.sinks import CollectingAuditSink
from edictum.testing.approval import AutoApprovalBackend
from edictum.testing.faults import Faults, FaultyAuditSink, FaultyStorageBackend
from edictum.testing.suites.adapter_driving import (
    MESSAGE,
    SECRET,
    AdapterDriving,
    ask_first,
    guard_of,
    is_calm,
    mask,
    no_secrets,
    per_entry,
    read,
    reader,
    run_of,
    send,
)
from edictum.testing.suites.agent_run import AgentRun, Entry, ModelCall, Outcome, Tool
from edictum.testing.suites.suite import check, same
from edictum.tool_call import Principal

RESULTS: tuple[Any, ...] = (
    f"the password is {SECRET}",
    {"password": SECRET, "files": 7, "more": {"names": ["a", SECRET]}},
    [SECRET, "kept"],
    [{"text": SECRET}, {"text": "kept"}],
)


class AdapterCallTests(AdapterDriving):
    """
    What holds for each call.
    """

    # --- blocked calls --------------------------------------------------------------------------

    @per_entry()
    def test_blocked_call_never_runs_and_the_model_reads_why(self, entry: Entry) -> None:
        """
        The text is the result of that very call, and the model can go on with another one.
        """
        run = run_of([read(1, "secret.txt")], [read(2, "notes.txt")])
        outcome = self.run_with(entry, guard_of(no_secrets()), run)
        is_calm(outcome)
        same([("read", {"path": "notes.txt"})], outcome.executed, "the calls that ran")
        check(MESSAGE in outcome.said("call_1"), "the model reads the message of the rule as the result of its call")
        check("notes.txt" in outcome.said("call_2"), "the model reads the result of the call that it corrected")
        same(["call_denied", "call_allowed", "call_executed"], outcome.actions, "the decision log")

    @per_entry()
    def test_call_is_blocked_while_the_store_is_away(self, entry: Entry) -> None:
        """
        Limits cannot be kept then.
        """
        self._is_closed(entry, guard_of(backend=FaultyStorageBackend(MemoryBackend(), Faults())))

    @per_entry()
    def test_call_is_blocked_while_the_log_cannot_be_written(self, entry: Entry) -> None:
        """
        Under ``audit_failure="block"``.
        """
        sink = FaultyAuditSink(CollectingAuditSink(), Faults())
        self._is_closed(entry, guard_of(audit_sink=sink, audit_failure="block"))

    @per_entry()
    def test_call_is_blocked_while_nobody_knows_on_whose_behalf(self, entry: Entry) -> None:
        """
        Resolvers of principals and of sessions raise.
        """
        for option in ("principal_resolver", "session_resolver"):
            self._is_closed(entry, guard_of(), **{option: _raising})

    @per_entry()
    def test_call_never_runs_when_the_guard_itself_raises(self, entry: Entry) -> None:
        """
        The run may end, or the model may be told; the tool does not run.
        """
        guard = guard_of()
        guard.govern = _raising  # type: ignore[method-assign]
        run = run_of([read(1, "notes.txt")])
        same([], self.run_with(entry, guard, run).executed, "the calls that ran although the guard raised")

    def _is_closed(self, entry: Entry, guard: Edictum, **options: Any) -> None:
        run = run_of([read(1, "notes.txt")])
        outcome = self.run_with(entry, guard, run, **options)
        is_calm(outcome)
        same([], outcome.executed, "the calls that ran")
        check("did not run" in outcome.said("call_1"), "the model is told that the tool did not run")

    # --- the decision log -----------------------------------------------------------------------

    @per_entry()
    def test_call_has_one_decision_and_one_outcome_if_it_ran(self, entry: Entry) -> None:
        """
        The decision log tells the same story as the tools.
        """
        paths = ("a.txt", "secret.txt", "b.txt", "a.txt")
        run = run_of(*([read(number, path)] for number, path in enumerate(paths)))
        outcome = self.run_with(entry, guard_of(no_secrets()), run)
        is_calm(outcome)
        found = Counter((str(event.action), event.tool_args["path"]) for event in outcome.events)
        expected = {
            ("call_denied", "secret.txt"): 1,
            **{(action, "a.txt"): 2 for action in ("call_allowed", "call_executed")},
            **{(action, "b.txt"): 1 for action in ("call_allowed", "call_executed")},
        }
        same(expected, dict(found), "the events of four calls")
        same(["a.txt", "b.txt", "a.txt"], [args["path"] for _, args in outcome.executed], "the calls that ran")

    @per_entry()
    def test_events_say_which_call_whose_and_where(self, entry: Entry) -> None:
        """
        The ids are the framework's, so that its own records can be found by them.
        """
        run = run_of([read(1, "secret.txt")], [read(2, "notes.txt")], session="thread-7", user="bob", agent="helper")
        outcome = self.run_with(entry, guard_of(no_secrets()), run, principal_resolver=self._principal)
        is_calm(outcome)
        same(3, len(outcome.events), "the number of events")
        for event in outcome.events:
            same("thread-7", event.session_id, "the session of an event")
            same("bob", (event.principal or {}).get("user_id"), "on whose behalf, in an event")
            same("helper", (event.metadata or {}).get("caller"), "the caller in an event")
        if self.call_ids:
            same(["call_1", "call_2", "call_2"], [event.call_id for event in outcome.events], "the ids of calls")
        blocked, allowed, executed = (event.call_id for event in outcome.events)
        check(blocked != allowed == executed, "ids tell calls apart")

    def _principal(self, tool_name: str, args: Mapping[str, Any], context: Any) -> Principal:
        return Principal(user_id=self.user(context))

    # --- results --------------------------------------------------------------------------------

    @per_entry()
    def test_redacted_result_is_all_that_anybody_sees(self, entry: Entry) -> None:
        """
        Neither the model nor the program's streams get the raw value, and the type of the result stays.
        """
        for result in RESULTS:
            outcome = self.run_with(entry, guard_of(mask()), run_of([read(1, "a")], tools=(Tool("read", result),)))
            is_calm(outcome)
            same(1, len(outcome.executed), "the number of calls that ran")
            said = outcome.said("call_1")
            check(SECRET not in said + outcome.streamed, f"a rule masks a password in {result!r}, but it was seen")
            expected = self._ungoverned(entry, run_of([read(1, "a")], tools=(Tool("read", _masked(result)),)))
            same(expected.said("call_1"), said, "what the model saw of a result of which a part was masked")

    @per_entry()
    def test_withheld_result_is_seen_by_nobody(self, entry: Entry) -> None:
        """
        A post rule that blocks replaces the whole result.
        """
        for result in RESULTS:
            run = run_of([read(1, "a")], tools=(Tool("read", result),))
            outcome = self.run_with(entry, guard_of(mask("block")), run)
            is_calm(outcome)
            said = outcome.said("call_1")
            check("It holds a password." in said, "the model reads why the result is withheld")
            check(SECRET not in said + outcome.streamed, f"a rule withholds {result!r}, but it was seen")

    @per_entry()
    def test_result_without_findings_is_left_alone(self, entry: Entry) -> None:
        """
        Nothing is added to it, and nothing is lost.
        """
        for result in ("", "text", {"a": [1, 2.5, None]}, ["a"], None, 7):
            runs = [run_of([read(1, "a")], tools=(Tool("read", result),)) for _ in range(2)]
            outcome = self.run_with(entry, guard_of(mask()), runs[0])
            same(self._ungoverned(entry, runs[1]).results, outcome.results, f"what the model saw of {result!r}")

    @per_entry()
    def test_failing_tool_is_recorded_and_the_run_goes_on_as_ever(self, entry: Entry) -> None:
        """
        The framework's own handling of failures is not changed.
        """
        runs = [
            run_of([read(1, "a")], [read(2, "b")], tools=(Tool("read", OSError("no such file")),)) for _ in range(2)
        ]
        outcome = self.run_with(entry, guard_of(), runs[0])
        expected = self._ungoverned(entry, runs[1])
        same(repr(expected.error), repr(outcome.error), "what the run raised")
        same(expected.results, outcome.results, "what the model saw")
        same(expected.executed, outcome.executed, "the calls that ran")
        counts = Counter(outcome.actions)
        ran = len(outcome.executed)
        same({"call_allowed": counts["call_allowed"], "call_failed": ran}, dict(counts), f"events of {ran} failures")

    def _ungoverned(self, entry: Entry, run: AgentRun) -> Outcome:
        return self.drive_to_the_end(None, entry, run)

    # --- other entries, observing ---------------------------------------------------------------

    @per_entry()
    def test_entry_decides_as_the_first_entry_does(self, entry: Entry) -> None:
        """
        Same model, same rules: same results, same events.
        """
        outcomes = []
        for each in (entry, self.entries[0]):
            run = run_of(
                [read(1, "secret.txt")],
                [read(2, "a.txt")],
                [send(3)],
                tools=(Tool("read", f"it is {SECRET}"), Tool("send")),
            )
            guard = guard_of(no_secrets(), ask_first(), mask(), approval_backend=AutoApprovalBackend("approved"))
            outcomes.append(self.run_with(each, guard, run))
        mine, first = outcomes
        is_calm(mine)
        same(first.results, mine.results, "what the model saw")
        same(first.executed, mine.executed, "the calls that ran")
        same([_gist(event) for event in first.events], [_gist(event) for event in mine.events], "the decision log")

    @per_entry()
    def test_observe_mode_records_and_changes_nothing(self, entry: Entry) -> None:
        """
        Nobody is asked, and nothing is blocked or masked.
        """
        runs = [
            run_of(
                [read(1, "secret.txt")],
                [send(2)],
                tools=(Tool("read", f"it is {SECRET}"), Tool("send")),
            )
            for _ in range(2)
        ]
        desk = AutoApprovalBackend("denied")
        guard = guard_of(no_secrets(), ask_first(), mask(), default_mode="observe", approval_backend=desk)
        outcome = self.run_with(entry, guard, runs[0])
        is_calm(outcome)
        expected = self._ungoverned(entry, runs[1])
        same(expected.results, outcome.results, "what the model saw")
        same(expected.executed, outcome.executed, "the calls that ran")
        same([], desk.requests, "requests for approval")
        same(["call_would_deny", "call_allowed", "call_executed"] * 2, outcome.actions, "the decision log")

    # --- what is judged and what runs -----------------------------------------------------------

    @per_entry()
    def test_arguments_that_run_are_those_that_were_judged(self, entry: Entry) -> None:
        """
        Another hook rewrites them: that is seen, or it has no effect, or the call does not run.
        """
        rewritten: list[dict[str, Any]] = []

        def rewrite(args: Mapping[str, Any]) -> dict[str, Any]:
            rewritten.append({**args, "path": "secret.txt"})
            return rewritten[-1]

        run = run_of([read(1, "notes.txt")], rewrite=rewrite)
        outcome = self.run_with(entry, guard_of(no_secrets()), run)
        check(rewritten, "the driver hands run.rewrite to the framework; it was not called")
        check(
            all(args["path"] != "secret.txt" for _, args in outcome.executed),
            "a hook that rewrites arguments got a call executed that is blocked",
        )
        ran = [event.tool_args for event in outcome.events if event.action == "call_executed"]
        same([args for _, args in outcome.executed], ran, "arguments that ran, and those in the decision log")

    @per_entry()
    def test_unknown_tool_and_malformed_arguments_run_nothing(self, entry: Entry) -> None:
        """
        Whatever the framework makes of them, the log does not say that something ran.
        """
        calls = [
            ModelCall("call_1", "no_such_tool", {"path": "a"}),
            ModelCall("call_1", "read", {"file": "a"}),
            ModelCall("call_1", "read", "{path: "),
        ]
        for call in calls:
            outcome = self.run_with(entry, guard_of(), run_of([call]))
            same([], outcome.executed, f"the calls that ran for {call}")
            check("call_executed" not in outcome.actions, f"the log says that {call} was executed")

    @per_entry()
    def test_agent_inside_has_its_calls_decided(self, entry: Entry) -> None:
        """
        Calls during a call each get their own decision, and so does the outer one.
        """
        inner = run_of([read(1, "secret.txt")], [read(2, "notes.txt")], tools=(reader(),), agent="helper")
        helper = Tool("helper", parameters={"task": str}, agent=inner)
        run = run_of([ModelCall("call_9", "helper", {"task": "read"})], tools=(helper,))
        outcome = self.run_with(entry, guard_of(no_secrets()), run)
        is_calm(outcome)
        same([("read", {"path": "notes.txt"})], outcome.executed, "the calls that ran")
        found = [(str(event.action), event.tool_name == "read") for event in outcome.events]
        read_events = [("call_denied", True), ("call_allowed", True), ("call_executed", True)]
        same([("call_allowed", False), *read_events, ("call_executed", False)], found, "events, and whether of 'read'")

    def test_self_test_passes_and_leaves_no_trace(self) -> None:
        """
        Programs may call it at their start.
        """
        self._skip_if_not_met("test_self_test_passes_and_leaves_no_trace")
        guard = guard_of(no_secrets())
        self.adapter(guard).self_test()
        same([], list(guard.local_sink.events), "the decision log of the guard after the self-test")


def _raising(*args: Any, **keywords: Any) -> Any:
    raise RuntimeError("made by the suite")


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _masked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_masked(item) for item in value]
    return value.replace(SECRET, REDACTED) if isinstance(value, str) else value


def _gist(event: Any) -> tuple[Any, ...]:
    return (
        str(event.action),
        event.tool_name,
        event.tool_args,
        event.reason,
        event.decision_name,
        event.result_summary,
    )
