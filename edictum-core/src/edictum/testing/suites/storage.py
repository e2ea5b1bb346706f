"""
The suite for storage backends.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

from edictum import Edictum, EdictumDenied, EdictumToolError
from edictum.limits import OperationLimits
from edictum.session import Session
from edictum.storage import Change, ReservingBackend, StorageBackend, reserving
from edictum.testing.running import in_threads, run_within
from edictum.testing.suites.storage_limits import StorageLimitTests, keys_of_session
from edictum.testing.suites.storage_model import StorageModel
from edictum.testing.suites.storage_values import new_key, new_session
from edictum.testing.suites.suite import error_of, on_a_loop, over_loops, result_of, same

SEEDS = range(10)
STEPS = 60


class StorageBackendSuite(StorageLimitTests):
    """
    The tests that every storage backend passes; see :mod:`edictum.testing.suites` for how to run them.

    A subclass defines ``make``.  It may define ``another`` (a second backend on the same data), ``break_it`` and
    ``repair`` (the data cannot be reached), and ``close``; without them some tests are skipped.
    """

    @on_a_loop
    async def test_any_steps_agree_with_a_model(self, backend: StorageBackend) -> None:
        """
        Random steps in two sessions give what a plain mapping would give.
        """
        for seed in SEEDS:
            await _Comparison(backend, seed).run()

    # --- trouble ------------------------------------------------------------------------------------

    @on_a_loop
    async def test_step_on_data_that_cannot_be_reached_raises(self, backend: StorageBackend) -> None:
        """
        None or zero instead of an error would look like a session that has done nothing yet.
        """
        store = reserving(backend)
        key, note, failures = keys_of_session("execs", "note", "consec_fail")
        place: list[Change] = [(key, 1, 5)]
        await store.reserve(place)
        await backend.set(note, "text")
        await self._broken(backend)
        steps: dict[str, Callable[[], Awaitable[object]]] = {
            "get": lambda: backend.get(note),
            "set": lambda: backend.set(note, "other"),
            "delete": lambda: backend.delete(note),
            "increment": lambda: backend.increment(key),
            "reserve": lambda: store.reserve(place),
            "release": lambda: store.release(place),
            "settle": lambda: store.settle(place, failures, False),
        }
        for name, step in steps.items():
            await error_of(step(), f"{name} while the data cannot be reached")
        await result_of(self.repair(backend))
        same("text", await backend.get(note), "a value after the data can be reached again")
        same((2,), tuple((await store.reserve(place)).values), "a reservation after the data can be reached again")

    @on_a_loop
    async def test_guard_blocks_while_the_data_cannot_be_reached(self, backend: StorageBackend) -> None:
        """
        No call is made that could not be counted.
        """
        guard, session = Edictum(backend=backend), new_session()
        ran = []
        await guard.run("read", {}, lambda: ran.append(1), session_id=session)
        await self._broken(backend)
        try:
            await guard.run("read", {}, lambda: ran.append(2), session_id=session)
        except EdictumDenied as denied:
            same("backend_error", denied.decision_source, "the source of the decision")
        same([1], ran, "the calls that were made")
        await result_of(self.repair(backend))
        await guard.run("read", {}, lambda: ran.append(3), session_id=session)
        same([1, 3], ran, "the calls that were made after the data can be reached again")

    # --- in use by a guard --------------------------------------------------------------------------

    @on_a_loop
    async def test_guard_counts_what_happens(self, backend: StorageBackend) -> None:
        """
        Attempts, executions by tool, and failures in a row.
        """
        guard = Edictum(backend=backend, limits=OperationLimits(max_calls_per_tool={"write": 0}))
        name = new_session()
        session = Session(name, backend)

        def fail() -> None:
            raise OSError("a tool that fails")

        for tool, function in (("read", fail), ("write", fail), ("list", list), ("read", fail), ("read", fail)):
            with suppress(EdictumDenied, EdictumToolError):
                await guard.run(tool, {}, function, session_id=name)
        counters = await session.batch_get_counters(include_tool="read")
        same({"attempts": 5, "execs": 4, "tool:read": 3}, counters, "the counters of a session")
        same(0, await session.tool_execution_count("write"), "the executions of a tool that was blocked")
        same(2, await session.consecutive_failures(), "the failures in a row")

    @on_a_loop
    async def test_guard_runs_exactly_as_many_parallel_calls_as_the_limit_says(self, backend: StorageBackend) -> None:
        """
        Calls that were decided at the same moment are not all allowed.
        """
        session, running = new_session(), 0

        async def tool() -> None:
            nonlocal running
            running += 1
            await asyncio.sleep(0)

        guard = Edictum(backend=backend, limits=OperationLimits(max_tool_calls=5))
        calls = (guard.run("read", {}, tool, session_id=session) for _ in range(50))
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        same(5, running, "the calls that 50 tasks made under a limit of 5")
        denied = [outcome for outcome in outcomes if isinstance(outcome, EdictumDenied)]
        same([("operation_limit", 45)], _counted(denied), "the blocks by source")

    @over_loops
    def test_guard_runs_exactly_as_many_calls_of_threads_as_the_limit_says(self, backend: StorageBackend) -> None:
        """
        The same for threads, which wait for their calls or run event loops of their own.
        """
        guard = Edictum(backend=backend, limits=OperationLimits(max_tool_calls=10))
        session = new_session()

        async def on_a_loop_of_its_own() -> bool:
            return await guard.run("read", {}, lambda: True, session_id=session) is True

        def attempt(number: int) -> bool:
            try:
                if number % 2:
                    return run_within(self.patience, on_a_loop_of_its_own())
                return guard.run_sync("read", {}, lambda: True, session_id=session) is True
            except EdictumDenied:
                return False

        found = in_threads(6, lambda: sum(map(attempt, range(6))), seconds=self.patience)
        same(10, sum(found), "the calls that 6 threads made under a limit of 10")


def _counted(denied: list[EdictumDenied]) -> list[tuple[str | None, int]]:
    sources = [error.decision_source for error in denied]
    return [(source, sources.count(source)) for source in sorted(set(sources), key=str)]


class _Comparison:
    """
    Random steps on a backend and a model, compared one by one.
    """

    def __init__(self, backend: StorageBackend, seed: int) -> None:
        self._backend = backend
        self._store: ReservingBackend = reserving(backend)
        self._model = StorageModel()
        self._choose = random.Random(seed)
        self._sessions = [keys_of_session("attempts", "execs", "tool:read") for _ in range(2)]
        self._notes = [new_key("note") for _ in range(2)]
        self._failures = [keys[0].removesuffix("attempts") + "consec_fail" for keys in self._sessions]
        self._open: list[tuple[int, list[Change]]] = []
        self._done = f"steps with seed {seed}"

    async def run(self) -> None:
        """
        Take all steps.
        """
        keys = [key for session in self._sessions for key in session]
        for _ in range(STEPS):
            step = self._choose.choice((self._set, self._delete, self._increment, *(self._reserve, self._end) * 3))
            await step()
            for key in (*keys, *self._notes, *self._failures):
                same(self._model.data.get(key), await self._backend.get(key), f"{key.rpartition(':')[2]} {self._done}")

    def _free_key(self) -> str:
        """
        A key that no open reservation will give back.
        """
        held = {key for _, changes in self._open for key, _, _ in changes}
        keys = [key for session in self._sessions for key in session if key not in held]
        return self._choose.choice([*keys, *self._notes])

    async def _set(self) -> None:
        key, value = self._free_key(), self._choose.choice(("0", "3", "12", "text", ""))
        self._done += f", set {value!r}"
        self._model.data[key] = value
        await self._backend.set(key, value)

    async def _delete(self) -> None:
        key = self._free_key()
        self._done += ", delete"
        self._model.data.pop(key, None)
        await self._backend.delete(key)

    async def _increment(self) -> None:
        key, amount = self._free_key(), self._choose.randint(0, 3)
        self._done += f", increment by {amount}"
        step = self._backend.increment(key, amount)
        if self._model.is_countable(key):
            same(self._model.add(key, amount), await step, self._done)
        else:
            await error_of(step, self._done)

    async def _reserve(self) -> None:
        number = self._choose.randrange(2)
        keys = self._choose.sample(self._sessions[number], self._choose.randint(1, 3))
        limits = (None, 0, 1, 2, 3, 4, 13)
        changes: list[Change] = [(key, self._choose.randint(1, 2), self._choose.choice(limits)) for key in keys]
        self._done += f", reserve {[change[1:] for change in changes]}"
        if not self._model.is_countable(*keys):
            await error_of(self._store.reserve(changes), self._done)
            return
        expected = self._model.reserve(changes)
        found = await self._store.reserve(changes)
        same(expected, (found.ok, tuple(found.values), found.failed_key), self._done)
        if found.ok:
            self._open.append((number, changes))

    async def _end(self) -> None:
        if not self._open:
            return
        number, changes = self._open.pop(self._choose.randrange(len(self._open)))
        how = self._choose.choice(("release", "success", "failure"))
        self._done += f", {how}"
        if how == "release":
            self._model.release(changes)
            await self._store.release(changes)
        else:
            self._model.settle(self._failures[number], how == "success")
            await self._store.settle(changes, self._failures[number], how == "success")
