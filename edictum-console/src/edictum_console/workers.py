"""
What runs beside requests, from time to time.

Every worker may run on all replicas at once: each step is a conditional change that one of them wins.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import attrs

from edictum_console.db.leftovers import Leftovers
from edictum_console.domains.approvals.service import expire_due
from edictum_console.domains.signing.service import end_overlaps
from edictum_console.resources import Resources

logger = logging.getLogger(__name__)

_LATE_INTERVALS = 5


@attrs.define
class Worker:
    """
    Something that is done again and again.

    Attributes:
        name: What it is called.
        every: The pause between two times.
        work: What is done.
        succeeded_at: When it last succeeded; the start counts.
    """

    name: str
    every: timedelta
    work: Callable[[], Awaitable[object]]
    succeeded_at: datetime = attrs.field(factory=lambda: datetime.now(UTC))

    def late(self, now: datetime) -> bool:
        """
        Whether it has not succeeded for much longer than it should.
        """
        return now - self.succeeded_at > self.every * _LATE_INTERVALS

    async def run_forever(self) -> None:
        """
        Do it until cancelled; a failure is logged and tried again at the next time.
        """
        while True:
            try:
                await self.work()
                self.succeeded_at = datetime.now(UTC)
            except Exception:
                logger.exception("the worker %s failed", self.name)
            await asyncio.sleep(self.every.total_seconds())


def workers_of(resources: Resources) -> list[Worker]:
    """
    Make all workers.
    """
    stores, leftovers = resources.stores, Leftovers(resources.scopes.database)
    return [
        Worker(
            "approval expiry", timedelta(seconds=10), lambda: expire_due(resources.scopes, stores.limits, stores.bus)
        ),
        Worker("signing overlaps", timedelta(minutes=1), lambda: end_overlaps(resources.scopes.database)),
        Worker("leftovers", timedelta(hours=1), leftovers.remove),
    ]


@asynccontextmanager
async def working(workers: Sequence[Worker]) -> AsyncIterator[None]:
    """
    Run workers meanwhile.
    """
    tasks = [asyncio.create_task(worker.run_forever(), name=worker.name) for worker in workers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
