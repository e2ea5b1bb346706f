"""
A session: counters and values under one id.
"""

from __future__ import annotations

import re
from math import inf
from typing import NamedTuple, TypeAlias

from edictum.engine.plan import ToolPlan
from edictum.storage import (
    Batch,
    ReservingBackend,
    StorageBackend,
    immediate,
    parse_counter,
    reserving,
    swap,
)

Counts: TypeAlias = tuple[float, ...]

MAX_ID = 256
MAX_VALUE_NAME = 10_000
MAX_BATCHES = 64

_BAD_ID = re.compile(r"[\x00-\x1f\x7f/\\:]")
_BAD_VALUE_NAME = re.compile(r"[\x00-\x1f\x7f/\\]")


def validate_session_id(session_id: object) -> str:
    r"""
    Check a session id.

    Returns:
        The id.

    Raises:
        ValueError: It is empty, longer than 256 characters, or holds a control character, ``/``, ``\`` or
            ``:`` (the separator of storage keys).
    """
    if not isinstance(session_id, str) or not session_id:
        raise ValueError("a session id is text of at least one character")
    if len(session_id) > MAX_ID:
        raise ValueError(f"a session id has at most {MAX_ID} characters")
    if _BAD_ID.search(session_id):
        raise ValueError("a session id holds no control character, slash, backslash or colon")
    return session_id


class Batches(NamedTuple):
    """
    What the calls of one tool change in one session.

    Attributes:
        attempt: Counts an attempt and reads the counters that a decision needs, in the order of
            :attr:`ToolPlan.counters`.
        again: Reads them without counting.
        execution: Counts an execution, against the limits.
        unlimited: Counts it, but never refuses; for observe mode.
        both: Counts an attempt and an execution, against the limits.
    """

    attempt: Batch
    again: Batch
    execution: Batch
    unlimited: Batch
    both: Batch


class Session:
    """
    Counters and values of one session in a storage backend.

    Args:
        session_id: See :func:`validate_session_id`.
        backend: Where they are kept.

    Attributes:
        backend: As given.
        store: The backend with reservations.
        immediate: The same where it never waits, else None.
        failures: Key of the counter of failures in a row.
        known: What :meth:`batches` made, by plan.

    Raises:
        ValueError: The id is not valid.
    """

    __slots__ = ("_prefix", "backend", "failures", "immediate", "known", "session_id", "store")

    def __init__(self, session_id: str, backend: StorageBackend) -> None:
        self.session_id = validate_session_id(session_id)
        self.backend = backend
        self._prefix = f"s:{session_id}:"
        self.failures = self._prefix + "consec_fail"
        self.store: ReservingBackend = reserving(backend)
        self.immediate = immediate(self.store)
        self.known: dict[ToolPlan, Batches] = {}

    # --- published methods ----------------------------------------------------------------------

    async def increment_attempts(self) -> int:
        """
        Count an attempted call and return how many there were with it.
        """
        return int(await self.store.increment(self._prefix + "attempts"))

    async def attempt_count(self) -> int:
        """
        Attempted calls, blocked ones included.
        """
        return await self._count("attempts")

    async def execution_count(self) -> int:
        """
        Executed calls.
        """
        return await self._count("execs")

    async def tool_execution_count(self, tool_name: str) -> int:
        """
        Executed calls of one tool.
        """
        return await self._count(f"tool:{tool_name}")

    async def consecutive_failures(self) -> int:
        """
        Failures since the last success.
        """
        return await self._count("consec_fail")

    async def record_execution(self, tool_name: str, success: bool) -> None:
        """
        Count an executed call that was not reserved before.
        """
        await self.store.increment(self._prefix + "execs")
        await self.store.increment(f"{self._prefix}tool:{tool_name}")
        await self._count_failure(success)

    async def batch_get_counters(self, *, include_tool: str | None = None) -> dict[str, int]:
        """
        ``attempts``, ``execs`` and, if asked, ``tool:<name>``.
        """
        names = ["attempts", "execs"] + ([f"tool:{include_tool}"] if include_tool is not None else [])
        result = await self.store.reserve([(self._prefix + name, 0, None) for name in names])
        return {name: int(value) for name, value in zip(names, result.values, strict=True)}

    async def get_value(self, name: str) -> str | None:
        """
        A stored value, or None.
        """
        return await self.store.get(self._value_key(name))

    async def set_value(self, name: str, value: str) -> None:
        """
        Store a value.
        """
        await self.store.set(self._value_key(name), value)

    async def swap_value(self, name: str, expected: str | None, value: str) -> bool:
        """
        Store a value if it is still the expected one; see :func:`~edictum.storage.swap`.

        Returns:
            Whether it was stored.
        """
        return await swap(self.backend, self._value_key(name), expected, value)

    async def delete_value(self, name: str) -> None:
        """
        Forget a value.
        """
        await self.store.delete(self._value_key(name))

    async def _count_failure(self, success: bool) -> None:
        if success:
            await self.store.delete(self.failures)
        else:
            await self.store.increment(self.failures)

    async def _count(self, name: str) -> int:
        key = self._prefix + name
        return int(parse_counter(key, await self.store.get(key)))

    def batches(self, plan: ToolPlan) -> Batches:
        """
        What the calls of one tool change here; made when the first of them comes.
        """
        known = self.known.get(plan)
        if known is not None:
            return known
        attempt, *others = (self._prefix + name for name in plan.counters)
        reserved = [(self._prefix + name, 1, limit) for name, limit in plan.reserved]
        batches = Batches(
            Batch([(attempt, 1, None), *((key, 0, None) for key in others)]),
            Batch([(key, 0, None) for key in (attempt, *others)]),
            Batch(reserved),
            Batch([(key, amount, inf) for key, amount, _ in reserved]),
            Batch([(attempt, 1, plan.max_attempts), *reserved]),
        )
        if len(self.known) >= MAX_BATCHES:
            self.known.clear()
        self.known[plan] = batches
        return batches

    def _value_key(self, name: str) -> str:
        if not isinstance(name, str) or not name or len(name) > MAX_VALUE_NAME or _BAD_VALUE_NAME.search(name):
            raise ValueError("a value name is text without control characters, slash or backslash")
        return self._prefix + name
