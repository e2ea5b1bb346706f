"""
What is counted for ``/metrics``, in this process, in the text format of Prometheus.

No label names a tenant, an agent or anything else that comes from outside: their number would have no end.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from typing import Literal, TypeAlias

import attrs

Labels: TypeAlias = tuple[tuple[str, str], ...]

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_HELP = {
    "edictum_requests_total": "Requests by route, method and status.",
    "edictum_request_seconds": "Time until an answer began, by route.",
    "edictum_deliveries_total": "Attempts to send messages to channels, by what became of them.",
    "edictum_events_total": "Events delivered by agents, by what became of them.",
    "edictum_events_dropped_total": "Events that agents say they lost before they could deliver them.",
    "edictum_approvals_pending": "Requests for approval that nobody has decided.",
    "edictum_approvals_oldest_seconds": "How long the oldest of them has waited.",
    "edictum_approval_seconds": "Time until requests for approval ended, by how they did.",
    "edictum_key_checks_total": "API keys that were shown: remembered, checked against their hash, or refused.",
    "edictum_database_connections": "Connections to the database, by whether they are used.",
    "edictum_stream_events_total": "Events for streams: sent, or replaced by a newer one; and readers cut off.",
    "edictum_feed_seconds": "Time from a change until this replica's streams are told of it.",
    "edictum_event_counts_waiting": "Batches of events that are not in the statistics yet.",
    "edictum_worker_success_age_seconds": "Time since a worker last succeeded.",
    "edictum_worker_failures_total": "How often a worker failed.",
    "edictum_database_seconds": "Time of a round trip to the database.",
    "edictum_streams": "Streams that agents hold at this replica.",
    "edictum_info": "The version that runs.",
}


@attrs.frozen
class Sample:
    """
    One value that is read when somebody asks.
    """

    name: str
    value: float
    labels: Labels = ()
    kind: Literal["gauge", "counter"] = "gauge"


class Metrics:
    """
    Counters and durations of one process.
    """

    def __init__(self) -> None:
        self._counters: defaultdict[tuple[str, Labels], float] = defaultdict(float)
        self._durations: dict[tuple[str, Labels], list[int]] = {}
        self._sums: defaultdict[tuple[str, Labels], float] = defaultdict(float)

    def add(self, name: str, number: float = 1, **labels: str) -> None:
        """
        Add to a counter.
        """
        self._counters[name, tuple(labels.items())] += number

    def took(self, name: str, seconds: float, **labels: str) -> None:
        """
        Note how long something took.
        """
        key = name, tuple(labels.items())
        counts = self._durations.setdefault(key, [0] * (len(_BOUNDS) + 1))
        counts[bisect_left(_BOUNDS, seconds)] += 1
        self._sums[key] += seconds

    def text(self, samples: Iterable[Sample]) -> str:
        """
        Write everything, together with values that were read just now.
        """
        lines: defaultdict[str, list[str]] = defaultdict(list)
        kinds: dict[str, str] = {}
        for (name, labels), number in sorted(self._counters.items()):
            kinds[name] = "counter"
            lines[name].append(_line(name, labels, number))
        for sample in samples:
            kinds[sample.name] = sample.kind
            lines[sample.name].append(_line(sample.name, sample.labels, sample.value))
        for (name, labels), counts in sorted(self._durations.items()):
            kinds[name] = "histogram"
            total = 0
            for bound, count in zip((*map(str, _BOUNDS), "+Inf"), counts, strict=True):
                total += count
                lines[name].append(_line(f"{name}_bucket", (*labels, ("le", bound)), total))
            lines[name].append(_line(f"{name}_sum", labels, self._sums[name, labels]))
            lines[name].append(_line(f"{name}_count", labels, total))
        parts = (
            [f"# HELP {name} {_HELP[name]}", f"# TYPE {name} {kinds[name]}", *found] for name, found in lines.items()
        )
        return "".join(f"{line}\n" for part in parts for line in part)


def _line(name: str, labels: Labels, number: float) -> str:
    shown = ",".join(f'{label}="{_escaped(value)}"' for label, value in labels)
    return f"{name}{{{shown}}} {float(number)!r}" if shown else f"{name} {float(number)!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
