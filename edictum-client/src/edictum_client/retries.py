"""
How long the client waits for an answer, and when it asks again.
"""

from __future__ import annotations

import random

import attrs

LONGEST_PAUSE = 60.0


@attrs.frozen
class Schedule:
    """
    Times of one kind of request, in seconds.

    Attributes:
        connect: Until a connection stands.
        total: Until one try has its answer.
        pauses: Before each further try, give or take a fifth.
        deadline: Until all tries are over.
    """

    connect: float
    total: float
    pauses: tuple[float, ...]
    deadline: float

    def lasting(self, total: float) -> Schedule:
        """
        The same for a request that the console answers late on purpose.
        """
        return attrs.evolve(self, total=total, deadline=total)


ONCE = Schedule(connect=5, total=30, pauses=(), deadline=30)
RULESET = Schedule(connect=5, total=30, pauses=(0.5, 1, 2), deadline=120)
APPROVAL = Schedule(connect=5, total=30, pauses=(0.5, 1, 2), deadline=60)
EVENTS = Schedule(connect=5, total=60, pauses=(), deadline=60)
# A tool call waits for this: it fails in seconds rather than hold up the agent for minutes.
STATE = Schedule(connect=2, total=5, pauses=(0.1, 0.3), deadline=6)


def jittered(pause: float) -> float:
    """
    A pause, give or take a fifth, so that many agents do not ask in step.
    """
    return pause * random.uniform(0.8, 1.2)


class Backoff:
    """
    Ever longer pauses, each chosen at random between none and its limit.

    Args:
        first: The limit of the first pause, in seconds.
        last: The limit that is not exceeded.
    """

    def __init__(self, first: float = 1.0, last: float = LONGEST_PAUSE) -> None:
        self._first = first
        self._last = last
        self._next = first

    def pause(self, at_least: float = 0.0) -> float:
        """
        The next pause.

        Args:
            at_least: What the console asked for; counts up to the longest pause.
        """
        limit, self._next = self._next, min(self._next * 2, self._last)
        return max(min(at_least, self._last), random.uniform(0.1, 1.0) * limit)

    def reset(self) -> None:
        """
        Begin with short pauses again.
        """
        self._next = self._first
