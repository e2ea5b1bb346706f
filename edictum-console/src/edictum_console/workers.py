"""
What runs beside requests, from time to time.

Every worker may run on all replicas at once: each step is a conditional change that one of them wins.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import attrs

from edictum_console.db.leftovers import Leftovers
from edictum_console.domains.approvals.service import expire_due
from edictum_console.domains.events.upkeep import keep_partitions, remove_over
from edictum_console.domains.notifications.delivering import Deliverer
from edictum_console.domains.rollups.service import fold_all, tidy
from edictum_console.domains.signing.service import end_overlaps
from edictum_console.resources import Resources
from edictum_console.state.pulse import Pulse

logger = logging.getLogger(__name__)

_LATE_INTERVALS = 5
_PATIENCE_SECONDS = 5


@attrs.define
class Worker:
    """
    Something that is done again and again.

    Attributes:
        name: What it is called.
        every: The pause between two times.
        work: What is done.
        succeeded_at: When it last succeeded; the start counts.
        failures: How often it failed.
        failing: Whether it failed when it last ran.
        takes: How long it may take, where that may be longer than the pause.
        woken: Set when it is to be done without waiting for the pause to end.
    """

    name: str
    every: timedelta
    work: Callable[[], Awaitable[object]]
    succeeded_at: datetime = attrs.field(factory=lambda: datetime.now(UTC))
    failures: int = 0
    failing: bool = False
    takes: timedelta = timedelta()
    woken: asyncio.Event = attrs.field(factory=asyncio.Event)

    def late(self, now: datetime) -> bool:
        """
        Whether it has not succeeded for much longer than it should.
        """
        return now - self.succeeded_at > self.every * _LATE_INTERVALS + self.takes

    def status(self, now: datetime) -> str:
        """
        Say in a word how it is: ``ok``, ``failing``, or ``late``, which makes this replica not ready.
        """
        if self.late(now):
            return "late"
        return "failing" if self.failing else "ok"

    async def run(self, stopping: asyncio.Event) -> None:
        """
        Do it until the console stops; a failure is logged and tried again at the next time.
        """
        while not stopping.is_set():
            self.woken.clear()
            try:
                await self.work()
                self.succeeded_at = datetime.now(UTC)
                self.failing = False
            except Exception:
                self.failures += 1
                self.failing = True
                logger.exception("the worker %s failed", self.name)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.woken.wait(), self.every.total_seconds())


class Watch:
    """
    Tells pages when it goes worse with a worker, or better.
    """

    def __init__(self, workers: Sequence[Worker], pulse: Pulse) -> None:
        self._workers = workers
        self._pulse = pulse
        self._told = {worker.name: "ok" for worker in workers}

    async def look(self) -> None:
        """
        Tell what changed since the last time.
        """
        now = datetime.now(UTC)
        for worker in self._workers:
            status = worker.status(now)
            if status != self._told[worker.name]:
                self._told[worker.name] = status
                self._pulse.happened(None, "worker_status", {"worker": worker.name, "status": status})


def workers_of(resources: Resources, deliverer: Deliverer, pulse: Pulse) -> list[Worker]:
    """
    Make all workers.
    """
    stores, leftovers = resources.stores, Leftovers(resources.scopes.database)
    workers = [
        Worker("claim", timedelta(seconds=30), resources.scopes.database.keep_claim),
        Worker(
            "approval expiry",
            timedelta(seconds=10),
            lambda: expire_due(resources.scopes, stores.limits, stores.bus, resources.metrics),
        ),
        Worker("signing overlaps", timedelta(minutes=1), lambda: end_overlaps(resources.scopes.database)),
        Worker("leftovers", timedelta(hours=1), leftovers.remove),
        Worker("event partitions", timedelta(hours=24), lambda: keep_partitions(resources.scopes)),
        Worker("event retention", timedelta(hours=1), lambda: remove_over(resources.scopes)),
        Worker("rollups", timedelta(seconds=10), lambda: fold_all(resources.scopes)),
        Worker(
            "deliveries",
            timedelta(seconds=2),
            deliverer.send_due,
            takes=timedelta(seconds=30),
            woken=deliverer.woken,
        ),
        Worker("older rollups", timedelta(hours=1), lambda: tidy(resources.scopes)),
    ]
    watch = Watch(tuple(workers), pulse)
    return [*workers, Worker("watch", timedelta(seconds=5), watch.look)]


@asynccontextmanager
async def working(workers: Sequence[Worker]) -> AsyncIterator[None]:
    """
    Run workers meanwhile; at the end, what they are doing is finished first.
    """
    stopping = asyncio.Event()
    tasks = {asyncio.create_task(worker.run(stopping), name=worker.name) for worker in workers}
    try:
        yield
    finally:
        stopping.set()
        for worker in workers:
            worker.woken.set()
        _, left = await asyncio.wait(tasks, timeout=_PATIENCE_SECONDS)
        while left:
            # Again and again, because drivers may lose a cancellation that comes just as a query ends.
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=1)
