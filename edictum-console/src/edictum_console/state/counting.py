"""
Counting attempts, without holding the console's own outages against whoever makes them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from edictum_console.errors import RateLimitedError, UnavailableError
from edictum_console.state.ports import Limit, RateLimits


@asynccontextmanager
async def counted(limits: RateLimits, limit: Limit, subject: str, refusal: str, cost: int = 1) -> AsyncIterator[None]:
    """
    Count something that is tried inside; what could not even be tried does not count.

    Otherwise those who try again while the database is away would be refused when it is back.

    Args:
        limits: Where it is counted.
        limit: How much may be tried.
        subject: Who tries it.
        refusal: What is said when it is too much.
        cost: For how many it counts.

    Raises:
        RateLimitedError: It is too much.
    """
    wait = await limits.take(limit, subject, cost)
    if wait:
        raise RateLimitedError(refusal, wait)
    try:
        yield
    except UnavailableError:
        await limits.give_back(limit, subject, cost)
        raise
