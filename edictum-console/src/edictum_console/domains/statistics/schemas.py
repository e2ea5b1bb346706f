"""
Bodies with figures.
"""

from __future__ import annotations

from datetime import datetime

import attrs


@attrs.frozen
class Spread:
    """
    What half of the last events, and all but a twentieth, stay within; null where there are none.
    """

    p50: float | None
    p95: float | None
    of: int


@attrs.frozen
class Overview:
    """
    Figures for the home page, since a time.

    Attributes:
        since: The beginning, by whole minutes; by whole hours where it is more than two days ago.
        until: Now.
        counts: Events by class.
        decisions: Calls that were allowed, blocked, asked about, or would have been blocked.
        block_rate: Which part of the decisions were blocks; null where there are none.
        pending_approvals: Requests that nobody has decided.
        active_agents: Agents that delivered events of this time.
        events_dropped: Events that agents say they lost.
        duration_ms: How long the last calls took.
        ingest_lag_ms: How long after they happened the last events came, by the agents' clocks.
    """

    since: datetime
    until: datetime
    counts: dict[str, int]
    decisions: int
    block_rate: float | None
    pending_approvals: int
    active_agents: int
    events_dropped: int
    duration_ms: Spread
    ingest_lag_ms: Spread


@attrs.frozen
class RuleFigures:
    """
    What a rule did.

    Attributes:
        rule: Its name.
        evaluated: How often it was evaluated, by whole hours.
        blocked: How often it blocked.
        asked: How often it asked people.
        observed: How often it would have blocked.
        warned: How often it warned.
    """

    rule: str
    evaluated: int
    blocked: int
    asked: int
    observed: int
    warned: int


@attrs.frozen
class RuleStatistics:
    """
    What rules did in a time, those that were evaluated most first.
    """

    since: datetime
    until: datetime
    rules: list[RuleFigures]
