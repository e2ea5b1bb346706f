"""
Bodies about the console itself.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class WorkerHealth:
    """
    How a worker is doing.

    Attributes:
        name: What it is called.
        every_seconds: The pause between two times.
        succeeded_seconds_ago: When it last succeeded.
        failures: How often it failed since the start.
        late: Whether it has not succeeded for much longer than it should.
    """

    name: str
    every_seconds: float
    succeeded_seconds_ago: float
    failures: int
    late: bool


@attrs.frozen
class PartHealth:
    """
    How something that the console depends on is doing: what it is, how long an answer takes, and what is wrong.
    """

    name: str
    kind: str
    milliseconds: float | None
    problem: str | None


@attrs.frozen
class Details:
    """
    Everything about the console's health.

    Attributes:
        status: ``ok``, or ``unavailable`` if a part does not answer or a worker is late.
        version: The version that runs.
        schema_version: The version of the database's schema.
        https: Whether browsers and agents reach it by HTTPS.
        parts: What it depends on.
        workers: What runs beside requests.
        streams: How many streams agents hold at this replica.
        event_counts_waiting: Batches of events that are not in the statistics yet.
    """

    status: str
    version: str
    schema_version: int
    https: bool
    parts: list[PartHealth]
    workers: list[WorkerHealth]
    streams: int
    event_counts_waiting: int
