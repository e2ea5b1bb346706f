"""
Bodies about events.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs

# What a request with events holds.  It is read event by event, so this stands here for the document of the API alone.
BATCH_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["events"],
    "properties": {
        "events": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["action", "timestamp"],
                "properties": {
                    "action": {"type": "string"},
                    "timestamp": {"type": "string"},
                    "agent_id": {"type": "string"},
                    "call_id": {"type": "string"},
                    "event_id": {"type": "string"},
                    "tool_name": {"type": "string"},
                    "tool_args": {"type": "object"},
                },
            },
        },
        "batch": {
            "type": "object",
            "properties": {"id": {"type": "string"}, "dropped_before": {"type": "integer"}},
        },
    },
}


@attrs.frozen
class RejectedEvent:
    """
    An event that was not stored.

    Attributes:
        index: Its place in the request, from 0.
        code: Why, for programs.
        detail: Why, for people.
    """

    index: int
    code: str
    detail: str


@attrs.frozen
class Ingested:
    """
    What became of a request with events.

    Attributes:
        accepted: How many were stored.
        duplicates: How many had been stored before.
        rejected: Those that cannot be stored; sending them again does not help.
        batch_id: How the batch is called.
    """

    accepted: int
    duplicates: int
    rejected: list[RejectedEvent]
    batch_id: str


@attrs.frozen
class EventPage:
    """
    Some events, the newest first.
    """

    events: list[dict[str, Any]]
    next_cursor: str | None


@attrs.frozen
class FacetValue:
    """
    A value, and how many events have it.
    """

    value: str
    count: int


@attrs.frozen
class Facets:
    """
    For each facet its most frequent values, counted under the filter without what it says about this facet.
    """

    since: datetime
    until: datetime
    facets: dict[str, list[FacetValue]]


@attrs.frozen
class Bucket:
    """
    Events of one time, by class; classes without events are left out.
    """

    start: datetime
    counts: dict[str, int]


@attrs.frozen
class Histogram:
    """
    Counts of events over time; times without events are left out.
    """

    since: datetime
    until: datetime
    bucket_seconds: int
    buckets: list[Bucket]


@attrs.frozen
class WorkflowState:
    """
    Where a session's workflow stands, by its last event.
    """

    agent_id: str
    session_id: str
    env: str
    workflow: dict[str, Any]
    at: datetime
