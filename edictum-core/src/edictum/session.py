"""
A session: counters and values under one id.
"""

from __future__ import annotations

import re

from edictum.engine.plan import ToolPlan
from edictum.storage import Change, ReserveResult, ReservingBackend, StorageBackend, parse_counter, reserving

MAX_ID = 256
MAX_VALUE_NAME = 10_000

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


class Session:
    """
    Counters and values of one session in a storage backend.

    Args:
        session_id: See :func:`validate_session_id`.
        backend: Where they are kept.

    Raises:
        ValueError: The id is not valid.
    """

    __slots__ = ("_backend", "_changes", "_prefix", "backend", "session_id")

    def __init__(self, session_id: str, backend: StorageBackend) -> None:
        self.session_id = validate_session_id(session_id)
        self.backend = backend
        self._prefix = f"s:{session_id}:"
        self._backend: ReservingBackend = reserving(backend)
        self._changes: dict[ToolPlan, tuple[tuple[Change, ...], tuple[Change, ...]]] = {}

    # --- published methods ----------------------------------------------------------------------

    async def increment_attempts(self) -> int:
        """
        Count an attempted call and return how many there were with it.
        """
        return int(await self._backend.increment(self._prefix + "attempts"))

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
        await self._backend.increment(self._prefix + "execs")
        await self._backend.increment(f"{self._prefix}tool:{tool_name}")
        await self._count_failure(success)

    async def batch_get_counters(self, *, include_tool: str | None = None) -> dict[str, int]:
        """
        ``attempts``, ``execs`` and, if asked, ``tool:<name>``.
        """
        names = ["attempts", "execs"] + ([f"tool:{include_tool}"] if include_tool is not None else [])
        result = await self._backend.reserve([(self._prefix + name, 0, None) for name in names])
        return {name: int(value) for name, value in zip(names, result.values, strict=True)}

    async def get_value(self, name: str) -> str | None:
        """
        A stored value, or None.
        """
        return await self._backend.get(self._value_key(name))

    async def set_value(self, name: str, value: str) -> None:
        """
        Store a value.
        """
        await self._backend.set(self._value_key(name), value)

    async def delete_value(self, name: str) -> None:
        """
        Forget a value.
        """
        await self._backend.delete(self._value_key(name))

    # --- the steps of a governed call ------------------------------------------------------------

    async def begin(self, plan: ToolPlan) -> tuple[float, ...]:
        """
        Count the attempt and read what the decision needs, in one step.

        Returns:
            Counters in the order of ``plan.counters``; attempts do not include this call.
        """
        result = await self._backend.reserve(self._keys(plan)[0])
        return (result.values[0] - 1, *result.values[1:])

    async def read_again(self, plan: ToolPlan) -> tuple[float, ...]:
        """
        Read the counters of :meth:`begin` once more, later in the same call.
        """
        changes = self._keys(plan)[0]
        result = await self._backend.reserve([(key, 0, None) for key, _, _ in changes])
        return (result.values[0] - 1, *result.values[1:])

    async def reserve(self, plan: ToolPlan, *, limited: bool) -> ReserveResult:
        """
        Count the execution before the tool runs, if the limits allow it.

        Args:
            plan: Of the tool.
            limited: False in observe mode: count, but never refuse.
        """
        changes = self._keys(plan)[1]
        if not limited:
            changes = tuple((key, amount, None) for key, amount, _ in changes)
        return await self._backend.reserve(changes)

    async def release(self, plan: ToolPlan) -> None:
        """
        Give back the reservation of a call whose tool never started.
        """
        await self._backend.release(self._keys(plan)[1])

    async def settle(self, plan: ToolPlan, success: bool) -> None:
        """
        Keep the reservation of a call whose tool has run.
        """
        await self._backend.settle(self._keys(plan)[1])
        await self._count_failure(success)

    async def _count_failure(self, success: bool) -> None:
        key = self._prefix + "consec_fail"
        if success:
            await self._backend.delete(key)
        else:
            await self._backend.increment(key)

    async def _count(self, name: str) -> int:
        key = self._prefix + name
        return int(parse_counter(key, await self._backend.get(key)))

    def _keys(self, plan: ToolPlan) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
        cached = self._changes.get(plan)
        if cached is None:
            prefix = self._prefix
            attempt, *others = plan.counters
            reading: tuple[Change, ...] = (
                (prefix + attempt, 1, None),
                *((prefix + name, 0, None) for name in others),
            )
            reserving_: tuple[Change, ...] = tuple((prefix + name, 1, limit) for name, limit in plan.reserved)
            cached = (reading, reserving_)
            if len(self._changes) >= 64:
                self._changes.clear()
            self._changes[plan] = cached
        return cached

    def _value_key(self, name: str) -> str:
        if not isinstance(name, str) or not name or len(name) > MAX_VALUE_NAME or _BAD_VALUE_NAME.search(name):
            raise ValueError("a value name is text without control characters, slash or backslash")
        return self._prefix + name
