"""
What several test modules need: a storage backend of a third party, rulesets in a line, and a view of the decision log.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from edictum import Edictum

T = TypeVar("T")
Data = dict[str, Any]


class PlainBackend:
    """
    A storage backend with the four basic methods only.

    Args:
        yields: Let other tasks run before each step, as a backend behind a network does.
    """

    def __init__(self, *, yields: bool = False) -> None:
        self.data: dict[str, str] = {}
        self._yields = yields
        self._lock = threading.Lock()

    async def get(self, key: str) -> str | None:
        await self._step()
        return self.data.get(key)

    async def set(self, key: str, value: str) -> None:
        await self._step()
        self.data[key] = value

    async def delete(self, key: str) -> None:
        await self._step()
        self.data.pop(key, None)

    async def increment(self, key: str, amount: float = 1) -> float:
        await self._step()
        with self._lock:
            value = float(self.data.get(key, "0")) + amount
            self.data[key] = str(int(value)) if value.is_integer() else repr(value)
            return value

    async def _step(self) -> None:
        if self._yields:
            await asyncio.sleep(0)


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """
    The result of a coroutine that never waits, without an event loop.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise AssertionError("the coroutine waited")


def ruleset(*rules: Data, mode: str = "enforce", **more: Any) -> Data:
    """
    A document with these rules.
    """
    return {
        "apiVersion": "edictum/v1",
        "kind": "Ruleset",
        "metadata": {"name": "test"},
        "defaults": {"mode": mode},
        "rules": list(rules),
        **more,
    }


def pre_rule(rule_id: str, when: Data, *, tool: str = "*", action: str = "block", message: str = "no", **more: Any) -> Data:
    """
    A pre rule; ``more`` goes into ``then``.
    """
    then = {"action": action, "message": message, **more}
    return {"id": rule_id, "type": "pre", "tool": tool, "when": when, "then": then}


def session_rule(rule_id: str, message: str = "enough", *, mode: str = "enforce", **limits: Any) -> Data:
    """
    A session rule with limits.
    """
    then = {"action": "block", "message": message}
    return {"id": rule_id, "type": "session", "mode": mode, "limits": limits, "then": then}


def actions(guard: Edictum) -> list[str]:
    """
    What the guard's events report, in order.
    """
    return [str(event.action) for event in guard.local_sink.events]
