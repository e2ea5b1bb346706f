"""
Time as a port, so that tests decide what time it is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

logger = logging.getLogger(__name__)


class Clock(Protocol):
    """
    What the guard wants to know about time.
    """

    def now(self) -> datetime:
        """
        The current moment, with its time zone.
        """

    def monotonic(self) -> float:
        """
        Seconds from an arbitrary start that never run backwards.
        """


def quick_now(clock: Clock) -> Callable[[], datetime | float]:
    """
    The clock's ``now``; that of the machine's clock in seconds since 1970.

    A datetime takes as long to make as a rule to judge, and is seldom looked at.
    """
    return time.time if type(clock) is SystemClock else clock.now


def as_datetime(moment: datetime | float) -> datetime:
    """
    What :func:`quick_now` gave, with its time zone.
    """
    return datetime.fromtimestamp(moment, UTC) if isinstance(moment, float) else moment


def careful_monotonic(clock: Clock) -> Callable[[], float | None]:
    """
    The clock's ``monotonic``, with None instead of an exception: a broken clock costs durations, not calls.
    """
    if type(clock) is SystemClock:
        return clock.monotonic

    def monotonic() -> float | None:
        try:
            return clock.monotonic()
        except Exception:
            logger.exception("the clock failed; durations are not known")
            return None

    return monotonic


class SystemClock:
    """
    The clock of the machine.
    """

    __slots__ = ()

    # Without functions of its own: both are asked several times for every call.
    now = staticmethod(partial(datetime.now, UTC))
    monotonic = staticmethod(time.monotonic)
