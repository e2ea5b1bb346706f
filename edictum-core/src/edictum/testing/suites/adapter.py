"""
The suite for adapters of agent frameworks.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic, sleep

from edictum.adapter import Adapter
from edictum.governed_call import GovernedCall
from edictum.guard import Edictum
from edictum.limits import OperationLimits
from edictum.testing.approval import AutoApprovalBackend
from edictum.testing.suites.adapter_calls import AdapterCallTests
from edictum.testing.suites.adapter_driving import (
    SECRET,
    ask_first,
    cancelled,
    guard_of,
    is_calm,
    mask,
    no_secrets,
    per_entry,
    read,
    run_of,
    send,
)
from edictum.testing.suites.agent_run import Desk, Entry, LoopBoundStore, ModelCall, Tool
from edictum.testing.suites.suite import check, same

PARALLEL = 4


class AdapterSuite(AdapterCallTests):
    """
    The tests that every adapter passes, with each entry of its framework; for pytest.

    A subclass names ``entries`` and defines ``adapter``, ``drive`` and ``user``::

        class TestMyAdapter(AdapterSuite):
            entries = (Entry("run"), Entry("arun", asynchronous=True))

    ``not_met`` takes names of tests, and ``name[entry]`` for one entry only.
    """

    # --- several calls at once ------------------------------------------------------------------

    @per_entry()
    def test_parallel_calls_are_kept_apart(self, entry: Entry) -> None:
        """
        Each has its own decision, arguments, result and outcome; all of them run at the same time.
        """
        meeting = threading.Barrier(PARALLEL)

        def body(path: str) -> str:
            meeting.wait(self.approval_seconds)
            return f"text of {path}" + (SECRET if path[0] in "13" else "")

        run = run_of([read(number, f"{number}.txt") for number in range(PARALLEL)], tools=(Tool("read", body),))
        outcome = self.run_with(entry, guard_of(mask()), run)
        is_calm(outcome)
        for number in range(PARALLEL):
            check(f"text of {number}.txt" in outcome.said(f"call_{number}"), "each call has the result of its own")
        found = Counter((str(event.action), event.tool_args["path"]) for event in outcome.events)
        expected = {
            (action, f"{number}.txt"): 1 for action in ("call_allowed", "call_executed") for number in range(PARALLEL)
        }
        same(expected, dict(found), f"the events of {PARALLEL} calls")
        for event in outcome.events:
            if event.action == "call_executed":
                same(event.tool_args["path"][0] not in "13", event.postconditions_passed, "whether a result is fine")
                if self.call_ids:
                    same(f"call_{event.tool_args['path'][0]}", event.call_id, "the id of an outcome")
        same(PARALLEL, max(event.session_execution_count for event in outcome.events), "the executions counted")

    @per_entry()
    def test_limit_is_exact_for_parallel_calls(self, entry: Entry) -> None:
        """
        Calls that are under way count.
        """
        meeting = threading.Barrier(2)

        def body(path: str) -> str:
            meeting.wait(self.approval_seconds)
            return f"text of {path}"

        run = run_of([read(number, f"{number}.txt") for number in range(PARALLEL)], tools=(Tool("read", body),))
        outcome = self.run_with(entry, guard_of(limits=OperationLimits(max_tool_calls=2)), run)
        is_calm(outcome)
        same(2, len(outcome.executed), f"the calls that ran of {PARALLEL}, when 2 may")
        same({"call_allowed": 2, "call_executed": 2, "call_denied": 2}, dict(Counter(outcome.actions)), "the events")

    # --- approvals ------------------------------------------------------------------------------

    @per_entry()
    def test_call_that_waits_for_approval_runs_once_after_a_yes(self, entry: Entry) -> None:
        """
        Not before, and not again.
        """
        desk = Desk()
        run = run_of([send(1)], tools=(Tool("send", "sent"),))
        guard = guard_of(ask_first(self.approval_seconds), approval_backend=desk)
        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(self.run_with, entry, guard, run)
            desk.wait_for_request(self.approval_seconds)
            before = run.executed
            desk.approve()
            outcome = working.result(self.patience)
        is_calm(outcome)
        same([], before, "the calls that ran before the answer")
        same([("send", {"path": "letter.txt"})], outcome.executed, "the calls that ran after a yes")
        check("sent" in outcome.said("call_1"), "the model reads the result")
        expected = ["call_approval_requested", "call_approval_granted", "call_executed"]
        same(expected, outcome.actions, "the decision log")

    @per_entry()
    def test_call_that_is_refused_or_not_answered_never_runs(self, entry: Entry) -> None:
        """
        The model is told.
        """
        for answer in ("denied", "timeout"):
            run = run_of([send(1)], tools=(Tool("send"),))
            guard = guard_of(ask_first(), approval_backend=AutoApprovalBackend(answer))
            outcome = self.run_with(entry, guard, run)
            is_calm(outcome)
            same([], outcome.executed, f"the calls that ran after the answer {answer!r}")
            check("May it send?" in outcome.said("call_1"), f"the model reads about the answer {answer!r}")
            same(["call_approval_requested", f"call_approval_{answer}"], outcome.actions, "the decision log")

    @per_entry()
    def test_arguments_that_change_while_somebody_is_asked_do_not_run(self, entry: Entry) -> None:
        """
        The model's message is the framework's, and others may write to it; what was approved runs, or nothing.
        """
        args = {"path": "letter.txt"}

        async def meanwhile() -> None:
            args["path"] = "other.txt"

        run = run_of([ModelCall("call_1", "send", args)], tools=(Tool("send"),))
        desk = AutoApprovalBackend("approved", meanwhile=meanwhile)
        outcome = self.run_with(entry, guard_of(ask_first(), approval_backend=desk), run)
        same(1, len(desk.requests), "the requests for approval")
        ran = [args["path"] for _, args in outcome.executed]
        check(ran in ([], ["letter.txt"]), f"letter.txt was approved, and {ran} ran")

    @per_entry()
    def test_other_calls_go_on_while_one_waits_for_approval(self, entry: Entry) -> None:
        """
        The answer comes while another call of the same turn runs.
        """
        desk = Desk()

        def body(path: str) -> str:
            desk.wait_for_request(self.approval_seconds)
            desk.approve()
            return f"text of {path}"

        run = run_of([send(1), read(2, "a.txt")], tools=(Tool("send"), Tool("read", body)))
        outcome = self.run_with(entry, guard_of(ask_first(self.approval_seconds), approval_backend=desk), run)
        is_calm(outcome)
        same(["read", "send"], sorted(name for name, _ in outcome.executed), "the calls that ran")

    @per_entry("asynchronous")
    def test_event_loop_goes_on_while_a_call_waits_for_approval(self, entry: Entry) -> None:
        """
        The answer comes from the same loop.
        """
        desk = Desk()
        run = run_of([send(1)], tools=(Tool("send"),))
        adapter = self.adapter(guard_of(ask_first(self.approval_seconds), approval_backend=desk))

        async def main() -> None:
            working = asyncio.ensure_future(self.driving(adapter, entry, run))
            await asyncio.to_thread(desk.wait_for_request, self.approval_seconds)
            desk.approve()
            outcome = await working
            same(
                [("send", {"path": "letter.txt"})], outcome.executed, "the calls that ran after a yes of the same loop"
            )

        asyncio.run(main())

    @per_entry("asynchronous")
    def test_run_that_is_cancelled_does_not_make_its_call_later(self, entry: Entry) -> None:
        """
        Also not when the answer is yes.
        """
        desk = Desk()
        run = run_of([send(1)], tools=(Tool("send"),))
        adapter = self.adapter(guard_of(ask_first(self.approval_seconds), approval_backend=desk))

        async def main() -> None:
            working = asyncio.ensure_future(self.driving(adapter, entry, run))
            await asyncio.to_thread(desk.wait_for_request, self.approval_seconds)
            await cancelled(working)
            desk.approve()
            for _ in range(20):
                await asyncio.sleep(0)

        asyncio.run(main())
        same([], run.executed, "the calls that ran after the run was cancelled")
        actions = {str(event.action) for event in adapter.guard.local_sink.events}
        same({"call_approval_requested"}, actions, "the decision log of a run that was cancelled")

    # --- several runs ---------------------------------------------------------------------------

    @per_entry()
    def test_runs_that_share_an_adapter_are_kept_apart(self, entry: Entry) -> None:
        """
        Two people, two conversations, the same ids of calls, at the same time.
        """
        meeting = threading.Barrier(2)

        def body(path: str) -> str:
            meeting.wait(self.approval_seconds)
            return f"text of {path}"

        guard = guard_of(limits=OperationLimits(max_tool_calls=1))
        adapter = self.adapter(guard, principal_resolver=self._principal)
        users = {"ann": "thread-1", "bob": "thread-2"}
        runs = {
            user: run_of([read(1, f"{user}.txt")], tools=(Tool("read", body),), session=session, user=user)
            for user, session in users.items()
        }
        with ThreadPoolExecutor(2) as pool:
            working = [pool.submit(self.drive_to_the_end, adapter, entry, run) for run in runs.values()]
            for work in working:
                is_calm(work.result(self.patience))
        for user, run in runs.items():
            same([("read", {"path": f"{user}.txt"})], run.executed, f"the calls that ran for {user}")
        found = Counter(
            (event.session_id, (event.principal or {}).get("user_id"), event.tool_args["path"])
            for event in guard.local_sink.events
        )
        same(
            {(session, user, f"{user}.txt"): 2 for user, session in users.items()},
            dict(found),
            "session, person and file of the events",
        )

    @per_entry()
    def test_adapters_of_two_guards_are_kept_apart(self, entry: Entry) -> None:
        """
        What one forbids concerns the runs of the other as little as its decision log.
        """
        strict = self.adapter(guard_of(no_secrets()))
        lenient = self.adapter(guard_of())
        for adapter, ran in ((strict, 0), (lenient, 1), (strict, 0)):
            before = [len(each.guard.local_sink.events) for each in (strict, lenient)]
            outcome = self.drive_to_the_end(adapter, entry, run_of([read(1, "secret.txt")]))
            is_calm(outcome)
            same(ran, len(outcome.executed), "the calls that ran")
            after = [len(each.guard.local_sink.events) for each in (strict, lenient)]
            grown = [now - then for now, then in zip(after, before, strict=True)]
            same([0, 2] if adapter is lenient else [1, 0], grown, "new events of the strict and of the lenient guard")

    @per_entry()
    def test_nothing_is_kept_after_the_end(self, entry: Entry) -> None:
        """
        Whatever the end is: a result, a refusal, a failure, or an answer that never came.
        """
        guard = guard_of(no_secrets(), ask_first(), approval_backend=AutoApprovalBackend("timeout"))
        adapter = self.adapter(guard)

        def runs() -> None:
            self.drive_to_the_end(adapter, entry, run_of([read(1, "a.txt"), read(2, "secret.txt")]))
            self.drive_to_the_end(adapter, entry, run_of([send(1)], tools=(Tool("send"),)))
            self.drive_to_the_end(adapter, entry, run_of([read(1, "a")], tools=(Tool("read", OSError("no")),)))

        with _collecting_on_demand():
            runs()  # what is made once, at the first use, is not counted
            held, known = _held(adapter), _live_calls(guard)
            runs()
            same(held, _held(adapter), "the sizes of what the adapter keeps, before and after three runs")
            until = monotonic() + self.patience / 2
            while (tools := _tools_of_new_calls(guard, known)) and monotonic() < until:
                sleep(0.05)  # threads of the framework may still be ending
        same([], tools, "the tools of governed calls that something still holds after their runs")

    # --- threads and event loops ----------------------------------------------------------------

    @per_entry()
    def test_run_works_in_any_thread_with_a_store_of_one_loop(self, entry: Entry) -> None:
        """
        Synchronous entries: without an event loop, and called from inside a running one.
        """
        guard = guard_of(no_secrets(), backend=LoopBoundStore())
        adapter = self.adapter(guard)
        runs = [run_of([read(1, "a.txt"), read(2, "b.txt")], [read(3, "secret.txt")]) for _ in range(3)]
        first, *others = runs

        async def inside() -> None:
            for run in runs if entry.asynchronous else others:
                outcome = self.driving(adapter, entry, run) if entry.asynchronous else None
                is_calm(await outcome if outcome else self.drive_to_the_end(adapter, entry, run))

        if not entry.asynchronous:
            is_calm(self.drive_to_the_end(adapter, entry, first))
        asyncio.run(inside())
        for run in runs:
            same(["a.txt", "b.txt"], sorted(args["path"] for _, args in run.executed), "the files that were read")
        counts = Counter(str(event.action) for event in guard.local_sink.events)
        same({"call_allowed": 6, "call_executed": 6, "call_denied": 3}, dict(counts), "the events of three runs")


def _held(adapter: Adapter) -> Mapping[str, int]:
    return {name: len(value) for name, value in vars(adapter).items() if isinstance(value, Sized)}


@contextmanager
def _collecting_on_demand() -> Iterator[None]:
    """
    Look for garbage when asked to only, and not in what is there already: a framework is large.

    A collection amid a call could end what the framework left open.  Who is told of that, pytest for one, keeps the
    frames in which it happened, and with them the call.
    """
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()


def _live_calls(guard: Edictum) -> list[GovernedCall]:
    """
    The governed calls of a guard that are still in memory.

    Those of other guards do not count: threads of a framework may go on making calls of an earlier test.
    """
    gc.collect()
    return [found for found in gc.get_referrers(guard) if issubclass(type(found), GovernedCall)]


def _tools_of_new_calls(guard: Edictum, known: Sequence[GovernedCall]) -> list[str]:
    # No name here may hold a call: it would be found again by the next look, also where this frame is kept.
    ids = {id(call) for call in known}
    return [call._tool_name for call in _live_calls(guard) if id(call) not in ids]
