"""
Asking everything that the console depends on how it is doing.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from edictum_console import __version__
from edictum_console.domains.operations.repository import OperationsRepository
from edictum_console.domains.operations.schemas import Details, PartHealth, WorkerHealth
from edictum_console.errors import UnavailableError
from edictum_console.metrics import Sample
from edictum_console.resources import Resources


class Watched(Protocol):
    """
    What is looked at of a worker.
    """

    name: str
    every: timedelta
    succeeded_at: datetime
    failures: int

    def late(self, now: datetime) -> bool:
        """
        Whether it has not succeeded for much longer than it should.
        """


class Streaming(Protocol):
    """
    What is looked at of the streams.
    """

    @property
    def count(self) -> int:
        """
        How many streams there are.
        """

    def frames(self) -> Mapping[str, int]:
        """
        What became of events for them.
        """


class OperationsService:
    """
    The console's own health.
    """

    def __init__(self, resources: Resources, workers: Sequence[Watched], streams: Streaming) -> None:
        self._resources = resources
        self._workers = workers
        self._streams = streams
        self._rows = OperationsRepository(resources.scopes.database)

    async def details(self) -> Details:
        """
        Return everything that there is to know.

        Raises:
            UnavailableError: The database does not answer.
        """
        database, settings = self._resources.scopes.database, self._resources.settings
        shared = "memory and database" if settings.redis_url is None else "redis"
        parts = [
            await _part("database", database.dialect, database.ping),
            await _part("state", shared, self._resources.stores.ping),
        ]
        workers = self._worker_health()
        well = not any(part.problem for part in parts) and not any(worker.late for worker in workers)
        return Details(
            "ok" if well else "unavailable",
            __version__,
            await self._rows.schema_version(),
            settings.secure,
            parts,
            workers,
            self._streams.count,
            await self._rows.event_counts_waiting(),
        )

    async def metrics(self) -> str:
        """
        Return what was counted, as Prometheus reads it.
        """
        samples = [
            Sample("edictum_info", 1, (("version", __version__),)),
            Sample("edictum_streams", self._streams.count),
        ]
        for outcome, number in self._streams.frames().items():
            samples.append(Sample("edictum_stream_events_total", number, (("outcome", outcome),), "counter"))
        for outcome, number in self._resources.verifier.checks.items():
            samples.append(Sample("edictum_key_checks_total", number, (("outcome", outcome),), "counter"))
        for state, number in self._resources.scopes.database.connections().items():
            samples.append(Sample("edictum_database_connections", number, (("state", state),)))
        for worker in self._worker_health():
            labels = (("worker", worker.name),)
            samples.append(Sample("edictum_worker_success_age_seconds", worker.succeeded_seconds_ago, labels))
            samples.append(Sample("edictum_worker_failures_total", worker.failures, labels, "counter"))
        try:
            began = time.perf_counter()
            waiting = await self._rows.event_counts_waiting()
            samples.append(Sample("edictum_database_seconds", time.perf_counter() - began))
            samples.append(Sample("edictum_event_counts_waiting", waiting))
            pending, oldest = await self._rows.approvals_pending()
            samples.append(Sample("edictum_approvals_pending", pending))
            age = 0.0 if oldest is None else (datetime.now(UTC) - oldest).total_seconds()
            samples.append(Sample("edictum_approvals_oldest_seconds", max(0.0, age)))
        except UnavailableError:
            pass  # what this process counted is worth most just now
        return self._resources.metrics.text(samples)

    def _worker_health(self) -> list[WorkerHealth]:
        now = datetime.now(UTC)
        return [
            WorkerHealth(
                worker.name,
                worker.every.total_seconds(),
                (now - worker.succeeded_at).total_seconds(),
                worker.failures,
                worker.late(now),
            )
            for worker in self._workers
        ]


async def _part(name: str, kind: str, ping: Callable[[], Awaitable[None]]) -> PartHealth:
    began = time.perf_counter()
    try:
        await ping()
    except UnavailableError as error:
        return PartHealth(name, kind, None, error.detail)
    return PartHealth(name, kind, (time.perf_counter() - began) * 1000, None)
