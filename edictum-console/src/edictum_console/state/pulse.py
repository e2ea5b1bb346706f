"""
What happened in this process lately, told to the pages of all replicas from time to time, and stored nowhere.

A page that missed something asks again by itself.  So many things happen within a second that each cannot be told for
itself: events are counted, and of other things the first ones are named.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from edictum_console.state.ports import Bus, Signal

_MOST = 100


class Pulse:
    """
    Gathers what happens until it is told.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._events: defaultdict[tuple[UUID, str], Counter[str]] = defaultdict(Counter)
        self._others: defaultdict[UUID | None, list[tuple[str, Mapping[str, Any]]]] = defaultdict(list)

    def events(self, tenant_id: UUID, env: str, counts: Mapping[str, int]) -> None:
        """
        Note that events were stored.

        Args:
            tenant_id: Whose.
            env: Where they happened.
            counts: How many of each class.
        """
        self._events[tenant_id, env].update(counts)

    def happened(self, tenant_id: UUID | None, name: str, facts: Mapping[str, Any]) -> None:
        """
        Note that something else happened.

        Args:
            tenant_id: To whom; None if to the console itself, which all tenants' pages are told.
            name: What.
            facts: Ids and labels; never arguments of tools, documents or secrets.
        """
        if len(self._others[tenant_id]) < _MOST:
            self._others[tenant_id].append((name, facts))

    async def tell(self) -> None:
        """
        Tell what was noted; once, whether it arrives or not.
        """
        events, self._events = self._events, defaultdict(Counter)
        others, self._others = self._others, defaultdict(list)
        for (tenant_id, env), counts in events.items():
            facts = {"accepted": counts.total(), "env": env, "counts": dict(counts)}
            others[tenant_id].append(("event_created", facts))
        for whom, said in others.items():
            await self._bus.send(Signal("happened", whom, said))
