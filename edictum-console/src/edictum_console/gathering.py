"""
Doing what several requests ask for at once: a commit, or a round trip, costs as much for one as for twenty.

What comes while nothing is going on is done at once.  What comes meanwhile waits, never longer than that takes, and is
then done together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeAlias, TypeVar

import attrs

from edictum_console.errors import UnavailableError

Q = TypeVar("Q")
A = TypeVar("A")

# Does several things, and returns what came of each: an answer, or an error of its own.
Do: TypeAlias = Callable[[Sequence[Q]], Awaitable[Sequence[A | Exception]]]


@attrs.define
class _Asked(Generic[Q, A]):
    """
    Something that is to be done, and who waits for it.
    """

    what: Q
    answer: asyncio.Future[A]

    def tell(self, answer: A | Exception) -> None:
        """
        Say what came of it, unless whoever asked is gone.
        """
        if self.answer.done():
            return
        if isinstance(answer, Exception):
            self.answer.set_exception(answer)
        else:
            self.answer.set_result(answer)


class Gathering(Generic[Q, A]):
    """
    What waits in this process to be done, by where it belongs.

    Args:
        most: How much is done together, unless a single thing is more.
        size: How much something is; None counts each as one.
    """

    def __init__(self, most: int, size: Callable[[Q], int] | None = None) -> None:
        self._most = most
        self._size = size or (lambda _: 1)
        self._waiting: dict[Hashable, list[_Asked[Q, A]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def done(self, place: Hashable, what: Q, do: Do[Q, A]) -> A:
        """
        Do something, perhaps together with others.

        Args:
            place: Where it belongs; only what belongs to one place is done together, and one after the other.
            what: What to do.
            do: Does things of this place: all of them, or it raises and has done none.

        Returns:
            What came of it.

        Raises:
            UnavailableError: It could not be done, or nobody knows; nothing is tried twice then.
        """
        asked: _Asked[Q, A] = _Asked(what, asyncio.get_running_loop().create_future())
        if place in self._waiting:
            self._waiting[place].append(asked)
        else:
            self._waiting[place] = [asked]
            # In a task of its own, so that no request's end takes the others along.
            task = asyncio.create_task(self._work(place, do))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await asked.answer

    async def _work(self, place: Hashable, do: Do[Q, A]) -> None:
        """
        Do what waits until nothing does.
        """
        taken: list[_Asked[Q, A]] = []
        try:
            while taken := self._take(self._waiting[place]):
                await self._do(place, taken, do)
        finally:
            for asked in (*taken, *self._waiting.pop(place)):
                asked.answer.cancel()

    async def _do(self, place: Hashable, taken: Sequence[_Asked[Q, A]], do: Do[Q, A]) -> None:
        try:
            await _together(taken, do)
        except UnavailableError as error:
            # What came meanwhile is told as well: it would only wait as long for the same.
            waiting, self._waiting[place] = self._waiting[place], []
            for asked in (*taken, *waiting):
                asked.tell(error)
        except Exception as error:
            if len(taken) == 1:
                taken[0].tell(error)
            else:
                await _each(taken, do)

    def _take(self, waiting: list[_Asked[Q, A]]) -> list[_Asked[Q, A]]:
        number = size = 0
        for asked in waiting:
            size += self._size(asked.what)
            if number and size > self._most:
                break
            number += 1
        taken = waiting[:number]
        del waiting[:number]
        return taken


async def _together(taken: Sequence[_Asked[Q, A]], do: Do[Q, A]) -> None:
    answers = await do([asked.what for asked in taken])
    for asked, answer in zip(taken, answers, strict=True):
        asked.tell(answer)


async def _each(taken: Sequence[_Asked[Q, A]], do: Do[Q, A]) -> None:
    """
    Do each for itself: whatever is wrong with one must not keep the others out.
    """
    for asked in taken:
        try:
            await _together([asked], do)
        except Exception as error:
            asked.tell(error)
