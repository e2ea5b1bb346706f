"""
Tests of the four methods that every storage backend has: values, counters, keys, and many users at once.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Iterable

from edictum.storage import StorageBackend
from edictum.testing.running import in_threads, run_within
from edictum.testing.suites.suite import (
    Suite,
    cancelled_after,
    check,
    error_of,
    on_a_loop,
    over_loops,
    result_of,
    same,
    skip,
)

TEXTS = (
    "text",
    "",
    " ",
    "two\nlines",
    "ünïcode \U0001f642",
    '{"a": [1, 2.5, null]}',
    'it\'s "quoted" \\ %s {x} $y',
    "007",
    "1e3",
    "nan",
    "x" * 100_000,
)
ODD_TEXTS = ("nul \x00 inside", "lone \ud800 surrogate")
NO_NUMBERS = ("many", "", "nan", "inf", "1 2", "0x10")
# What the guard itself uses, and what programs store beside it.
NAMES = (
    "attempts",
    "execs",
    "tool:read",
    "tool:read:x",
    "tool:Read",
    "tool:read_file",
    "note",
    "note:1",
    "a b",
    "x.y-z",
)
# All of these may stand in a session id or in the name of a value.
ODD_PARTS = (
    *("a ", " a", "e\u0301", "\u00e9", "\U0001f642", "\u200b", "it's", 'a"b', "%", "%25", "*", "?", "[a]", "{a}"),
    *("$a", "a;b", "..", "~", "a=b,c", "#", "&amp;", "`a`", "--", "null"),
)


class StorageValueTests(Suite[StorageBackend]):
    """
    Tests of ``get``, ``set``, ``delete``, ``increment``, and of ``batch_get`` where it exists.
    """

    def another(self, backend: StorageBackend) -> StorageBackend | Awaitable[StorageBackend | None] | None:
        """
        Make a second backend on the same data, as another process would have it.

        Returns:
            The backend, which is closed like the first one; None if there can be none, as with data in memory.
        """
        return None

    # --- values -------------------------------------------------------------------------------------

    @on_a_loop
    async def test_key_that_was_never_set_is_none(self, backend: StorageBackend) -> None:
        """
        Reading what is not there gives None and makes nothing.
        """
        key = new_key("note")
        for _ in range(2):
            same(None, await backend.get(key), "the value of a key that was never set")

    @on_a_loop
    async def test_value_is_returned_as_it_was_set(self, backend: StorageBackend) -> None:
        """
        Text comes back as it was given, also text that looks like a number.
        """
        for text in TEXTS:
            key = new_key("note")
            await backend.set(key, text)
            same(text, await backend.get(key), "a value that was set")

    @on_a_loop
    async def test_odd_value_is_returned_as_it_was_set_or_refused(self, backend: StorageBackend) -> None:
        """
        Text that a store cannot hold raises; it is never changed in silence.
        """
        for text in ODD_TEXTS:
            key = new_key("note")
            try:
                await backend.set(key, text)
            except Exception:
                same(None, await backend.get(key), "a value that was refused")
            else:
                same(text, await backend.get(key), "a value that was set")

    @on_a_loop
    async def test_value_set_again_is_replaced(self, backend: StorageBackend) -> None:
        """
        The newest value counts.
        """
        key = new_key("note")
        for text in ("first", "", "second"):
            await backend.set(key, text)
            same(text, await backend.get(key), "a value that was replaced")

    @on_a_loop
    async def test_deleted_value_is_gone_and_others_stay(self, backend: StorageBackend) -> None:
        """
        Deleting concerns one key only, and what is not there can be deleted.
        """
        key, other = new_key("note"), new_key("note")
        for name in (key, f"{key}:1", other):
            await backend.set(name, "text")
        for _ in range(2):
            await backend.delete(key)
        same(None, await backend.get(key), "a deleted value")
        same("text", await backend.get(f"{key}:1"), "a value whose key begins like a deleted one")
        same("text", await backend.get(other), "a value of another session")

    # --- keys ---------------------------------------------------------------------------------------

    @on_a_loop
    async def test_keys_are_kept_apart(self, backend: StorageBackend) -> None:
        """
        Sessions and names differ by case, by what follows a colon, and by what they begin with.
        """
        await self._kept_apart(backend, plain_keys(), refusing=False)

    @on_a_loop
    async def test_odd_keys_are_kept_apart_or_refused(self, backend: StorageBackend) -> None:
        """
        A key that a store cannot hold raises; it never means another key, for example because it was cut off.
        """
        await self._kept_apart(backend, odd_keys(), refusing=True)

    async def _kept_apart(self, backend: StorageBackend, keys: Iterable[str], *, refusing: bool) -> None:
        values: dict[str, str] = {}
        for number, key in enumerate(keys):
            try:
                if number % 2:
                    await backend.increment(key, number)
                else:
                    await backend.set(key, str(number))
            except Exception:
                if not refusing:
                    raise
            else:
                values[key] = str(number)
        for key, value in values.items():
            same(value, await backend.get(key), f"what is stored under {key!a:.100}")

    # --- counters -----------------------------------------------------------------------------------

    @on_a_loop
    async def test_counter_starts_at_zero_and_returns_its_new_value(self, backend: StorageBackend) -> None:
        """
        ``increment`` adds 1 unless told otherwise, also nothing, fractions and negative numbers.
        """
        key = new_key("execs")
        same(1, await backend.increment(key), "the first value of a counter")
        for amount, expected in ((1, 2), (3, 5), (0, 5), (-4, 1), (0.5, 1.5), (0.25, 1.75)):
            same(expected, await backend.increment(key, amount), f"a counter to which {amount} was added")

    @on_a_loop
    async def test_counter_reads_as_text(self, backend: StorageBackend) -> None:
        """
        ``get`` gives a counter as text, whole numbers without a point, as programs that read them with int() expect.
        """
        for amounts, text in (((1,), "1"), ((1, 1), "2"), ((0.5, 0.5), "1"), ((-2,), "-2"), ((1_000_000,), "1000000")):
            key = new_key("execs")
            for amount in amounts:
                await backend.increment(key, amount)
            same(text, await backend.get(key), f"the text of a counter to which {amounts} was added")
        key = new_key("cost")
        await backend.increment(key, 0.25)
        same(0.25, float(await backend.get(key) or "0"), "the text of a counter of fractions")

    @on_a_loop
    async def test_counter_goes_on_from_a_number_that_was_set(self, backend: StorageBackend) -> None:
        """
        Numeric text replaces a counter; it does not hide it.
        """
        for counted in (0, 3):
            for text, expected in (("5", 6), ("2.5", 3.5), ("-1", 0), ("0", 1)):
                key = new_key("execs")
                if counted:
                    await backend.increment(key, counted)
                await backend.set(key, text)
                same(expected, await backend.increment(key), f"a counter that was set to {text!r}")

    @on_a_loop
    async def test_text_that_is_no_number_is_not_counted(self, backend: StorageBackend) -> None:
        """
        Counting on from zero, or from NaN, would reset a limit or end it.
        """
        for counted in (0, 3):
            for text in NO_NUMBERS:
                key = new_key("execs")
                if counted:
                    await backend.increment(key, counted)
                await backend.set(key, text)
                await error_of(backend.increment(key), f"increment of a key that holds {text!r}")
                same(text, await backend.get(key), "a text that could not be counted")

    @on_a_loop
    async def test_deleted_counter_starts_at_zero(self, backend: StorageBackend) -> None:
        """
        Deleting forgets what was counted.
        """
        key = new_key("execs")
        await backend.increment(key, 5)
        await backend.delete(key)
        same(None, await backend.get(key), "a deleted counter")
        same(1, await backend.increment(key), "a counter after it was deleted")

    # --- several at once ----------------------------------------------------------------------------

    @on_a_loop
    async def test_increments_of_many_tasks_are_all_counted(self, backend: StorageBackend) -> None:
        """
        Reading and writing back is one step: each task gets a value of its own.
        """
        key = new_key("attempts")
        found = await asyncio.gather(*(backend.increment(key) for _ in range(100)))
        same(list(range(1, 101)), sorted(found), "what 100 increments at once returned")
        same("100", await backend.get(key), "the counter after 100 increments at once")

    @on_a_loop
    async def test_cancelled_increment_is_made_or_not(self, backend: StorageBackend) -> None:
        """
        Cancelling leaves a whole number behind, and a backend that goes on working.
        """
        key = new_key("attempts")
        confirmed = 0
        for steps in range(12):
            confirmed += len(await cancelled_after(steps, backend.increment(key)))
        # A cancelled step may still be under way in a thread.
        after = await backend.increment(key)
        what = f"a counter is {after} after 12 cancelled increments, {confirmed} of them confirmed, and one more"
        check(confirmed + 1 <= after <= 13 and after == int(after), what)

    @over_loops
    def test_event_loops_one_after_another_see_the_same(self, backend: StorageBackend) -> None:
        """
        A guard is used on one event loop after another, for example by ``asyncio.run`` for each request.
        """
        key, counter = new_key("note"), new_key("execs")

        async def use(number: int) -> tuple[str | None, float]:
            before = await backend.get(key)
            await backend.set(key, str(number))
            return before, await backend.increment(counter)

        found = [run_within(self.patience, use(number)) for number in range(3)]
        same([(None, 1), ("0", 2), ("1", 3)], found, "what each event loop found")

    @over_loops
    def test_increments_of_threads_are_all_counted(self, backend: StorageBackend) -> None:
        """
        Threads with event loops of their own share a backend.
        """
        key = new_key("attempts")

        async def count() -> list[float]:
            return [await backend.increment(key) for _ in range(25)]

        found = in_threads(8, lambda: run_within(self.patience, count()), seconds=self.patience)
        same(list(range(1, 201)), sorted(value for part in found for value in part), "what 8 threads were returned")

    # --- optional: several backends, several values -------------------------------------------------

    @on_a_loop
    async def test_second_backend_sees_the_same_data(self, backend: StorageBackend) -> None:
        """
        Processes that share their data share values and counters.
        """
        other = await self._other(backend)
        try:
            key, counter = new_key("note"), new_key("attempts")
            await backend.set(key, "text")
            same("text", await other.get(key), "a value that another backend set")
            found = await asyncio.gather(*(one.increment(counter) for one in (backend, other) * 25))
            same(list(range(1, 51)), sorted(found), "what 50 increments by two backends returned")
            await other.delete(key)
            same(None, await backend.get(key), "a value that another backend deleted")
        finally:
            await result_of(self.close(other))

    async def _other(self, backend: StorageBackend) -> StorageBackend:
        other = await result_of(self.another(backend))
        return other if other is not None else skip("the subclass defines no another()")

    @on_a_loop
    async def test_batch_get_reads_what_get_reads(self, backend: StorageBackend) -> None:
        """
        ``batch_get`` is optional; what is not there is None or left out.
        """
        batch_get = getattr(backend, "batch_get", None)
        if batch_get is None:
            skip("the backend has no batch_get")
        value, counter, text, missing = keys = [new_key(name) for name in ("note", "execs", "note", "note")]
        await backend.set(value, "text")
        await backend.increment(counter, 2)
        await backend.set(text, "")
        found = await batch_get(keys)
        expected = {value: "text", counter: "2", text: "", missing: None}
        same(expected, {missing: None, **found}, "what batch_get read")
        same({}, dict(await batch_get([])), "what batch_get reads of no keys")
        same({value: "text"}, dict(await batch_get([value, value])), "what batch_get reads of one key asked for twice")


def new_session() -> str:
    """
    A session id that was never used before.
    """
    return f"suite-{uuid.uuid4().hex}"


def new_key(name: str) -> str:
    """
    A key of a new session.
    """
    return f"s:{new_session()}:{name}"


def plain_keys() -> list[str]:
    """
    Keys made of letters, digits, blanks and a few signs.
    """
    session = new_session()
    sessions = [f"{session}x", session.upper(), f"{session} x", f"{session}.x"]
    keys = [f"s:{session}:{name}" for name in NAMES] + [f"s:{other}:attempts" for other in sessions]
    return [*keys, session, f"s:{session}"]


def odd_keys() -> list[str]:
    """
    Keys that a guard may make, and that not every store can hold.
    """
    session = new_session()
    keys = [f"s:{session}{part}:note" for part in ODD_PARTS] + [f"s:{session}:{part}" for part in ODD_PARTS]
    keys += [f"s:{session}:a", f"s:{session}:a:", f"s:{session}:a::b", f"s:{session}:a:b"]
    long = f"s:{session}{'x' * (256 - len(session))}"
    return [*keys, f"{long[:-1]}y:note", f"{long}:note", f"{long}:{'n' * 9_999}1", f"{long}:{'n' * 9_999}2"]
