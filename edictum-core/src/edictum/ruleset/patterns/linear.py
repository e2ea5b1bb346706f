"""
An engine that searches a text in time linear in its length, whatever the pattern's repeats and alternatives.

A set of positions (see ``linear_graph``) is an integer, so one step for all of them takes a few operations. The sets
that occur are kept as states that lead from character to state, so that on most texts a step is one look-up.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import reduce
from itertools import accumulate
from typing import Any

from edictum.ruleset.patterns.linear_graph import EDGE, Graph, Kind
from edictum.ruleset.time_budget import Deadline

MAX_STATES = 5_000  # kept at a time
MAX_TRANSITIONS = 32_768  # kept at a time: a text can have a million different characters
KEPT_TRANSITIONS = 4_096  # kept for the next text

_CHUNK = 4_096  # characters read between two looks at the deadline
_FREE_POSITIONS = 256  # a larger pattern looks at the deadline more often, as its steps are slower
_RUNS = re.compile(b"\1+")


class _Settled(Exception):  # noqa: N818  it ends a loop that has no place for a test
    """
    The rest of the text need not be read.
    """

    def __init__(self, answer: bool) -> None:
        self.answer = answer


class _State(dict[Any, "_State"]):
    """
    The state behind a gap's one side: the states that follow it by character, and by kind of character.

    Attributes:
        active: The positions that have just been read.
        context: What the character just read is to the gap.
    """

    __slots__ = ("_machine", "active", "context")

    def __init__(self, machine: _Machine, active: int, context: int) -> None:
        self._machine = machine
        self.active = active
        self.context = context

    def __missing__(self, char: str) -> _State:
        return self._machine.follow(self, char)


_next_state: Callable[[_State, str], _State] = operator.getitem


class _Machine:
    """
    The states met so far in reading texts in one direction. There is no lock, as one could be held across a fork.

    Threads at most do the same work twice. A state that was dropped while a thread stood in it still leads on.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._states: dict[tuple[int, int], _State] = {}
        self._transitions = 0

    def state(self, active: int = 0, context: int = EDGE) -> _State:
        """
        Return the state in which these positions have just been read; by default none, at an edge of the text.
        """
        found = self._states.get((active, context))
        if found is None:
            if len(self._states) >= MAX_STATES:
                self._drop_states()
            found = self._states.setdefault((active, context), _State(self, active, context))
        return found

    def follow(self, state: _State, char: str) -> _State:
        """
        Read a character that this state has not met yet.
        """
        if self._transitions >= MAX_TRANSITIONS:
            self._drop_states()
        kind = self.graph.alphabet.kind(char)
        following = state.get(kind)
        if following is None:
            following = self.step(state, kind)
            state[kind] = following
        state[char] = following
        self._transitions += 1
        return following

    def rest(self) -> None:
        """
        Forget the states between two texts, if they are too many to be kept for every pattern of a process.
        """
        if self._transitions > KEPT_TRANSITIONS:
            self._drop_states()

    def step(self, state: _State, kind: Kind) -> _State:
        """
        Work out the state behind a character of this kind.
        """
        raise NotImplementedError

    def _drop_states(self) -> None:
        """
        Forget all states, and empty them, so that they need not wait for the garbage collector.
        """
        dropped, self._states = self._states, {}
        self._transitions = 0
        with suppress(KeyError):  # when all are gone, by this thread or by another one
            while True:
                dropped.popitem()[1].clear()


class _Forwards(_Machine):
    """
    Reads forwards: the active positions are those that can have read the character in a match that has begun.
    """

    def step(self, state: _State, kind: Kind) -> _State:
        links = self.graph.links(state.context, kind.context)
        return self.state((links.first | links.after(state.active)) & kind.reads, kind.context)


class _Search(_Forwards):
    """
    Reads forwards until a match ends, or until none can come any more.
    """

    def step(self, state: _State, kind: Kind) -> _State:
        if self.ends_in_match(state, kind.context):
            raise _Settled(True)
        following = super().step(state, kind)
        if not following.active and self.graph.anchored:
            raise _Settled(False)
        return following

    def ends_in_match(self, state: _State, after: int = EDGE) -> bool:
        links = self.graph.links(state.context, after)
        return links.empty or bool(state.active & links.last)


class _Backwards(_Machine):
    """
    Reads backwards: the active positions are those that can read the character and then come to the end of a match.
    """

    def step(self, state: _State, kind: Kind) -> _State:
        links = self.graph.links(kind.context, state.context)
        return self.state((links.last | links.before(state.active)) & kind.reads, kind.context)


class LinearPattern:
    """
    A pattern that reads each character of a text a fixed number of times, and does bounded work for it.

    Args:
        tree: The parsed pattern.

    Raises:
        NotRegular: It has a construct that no finite automaton reads.
        TooLarge: It is too large when its bounded repeats are written out.
    """

    def __init__(self, tree: Any) -> None:
        self._graph = Graph(tree)
        self._search = _Search(self._graph)
        self._forwards = _Forwards(self._graph)
        self._backwards = _Backwards(self._graph)
        self._chunk = _CHUNK * _FREE_POSITIONS // max(_FREE_POSITIONS, self._graph.size)

    def found(self, text: str, deadline: Deadline | None = None) -> bool:
        """
        Tell whether the pattern matches anywhere in a text, as ``re.search`` would.

        One defect is not shared: where a pattern begins with a category in a group like ``(?a:...)``, which changes
        what it means, ``re.search`` overlooks matches that ``re.match`` accepts.

        Args:
            text: The text to search.
            deadline: Called at least every 4,096 characters; what it raises ends the search.

        Returns:
            Whether there is a match.
        """
        length = len(text) - text.endswith("\n")
        state = self._search.state()
        try:
            for piece in self._pieces(text, length):
                state = reduce(_next_state, piece, state)
                if deadline is not None:
                    deadline()
            if length < len(text):
                state = self._search.step(state, self._graph.alphabet.final_newline())
            return self._search.ends_in_match(state)
        except _Settled as settled:
            return settled.answer
        finally:
            self._search.rest()

    def spans(self, text: str, deadline: Deadline | None = None) -> list[tuple[int, int]]:
        """
        Find the characters that belong to a match, whichever of all the matches that overlap.

        So no choice between matches that a search could make leaves one of their characters out. A character
        belongs to a match where reading forwards to it and reading backwards to it meet in a position.

        Args:
            text: The text to search.
            deadline: Called at least every 4,096 characters; what it raises ends the search.

        Returns:
            Start and end of each run of such characters, in order.
        """
        if not self.found(text, deadline):  # on most texts the answer, and many times as fast
            return []
        try:
            return [run.span() for run in _RUNS.finditer(self._flags(text, deadline))]
        finally:
            self._forwards.rest()
            self._backwards.rest()

    def _flags(self, text: str, deadline: Deadline | None) -> bytearray:
        """
        Tell for each character of a text whether it belongs to a match.
        """
        length = len(text) - text.endswith("\n")
        pieces = list(self._pieces(text, length))
        outlooks = self._outlooks(text, pieces, deadline)
        state = self._forwards.state()
        flags = bytearray()
        for piece, outlook in zip(pieces, reversed(outlooks), strict=False):
            reached = list(accumulate(piece, _next_state, initial=state))
            ahead = list(accumulate(reversed(piece), _next_state, initial=outlook))
            flags += bytes(map(_meet, reached[1:], ahead[:0:-1]))
            state = reached[-1]
            if deadline is not None:
                deadline()
        if length < len(text):
            newline = self._graph.alphabet.final_newline()
            flags.append(_meet(self._forwards.step(state, newline), outlooks[0]))
        return flags

    def _outlooks(self, text: str, pieces: list[str], deadline: Deadline | None) -> list[_State]:
        """
        Read a text backwards, and return the state behind each of its pieces, the last one first.
        """
        state = self._backwards.state()
        if text.endswith("\n"):
            state = self._backwards.step(state, self._graph.alphabet.final_newline())
        outlooks = [state]
        for piece in reversed(pieces[1:]):
            state = reduce(_next_state, reversed(piece), state)
            outlooks.append(state)
            if deadline is not None:
                deadline()
        return outlooks

    def _pieces(self, text: str, length: int) -> Iterator[str]:
        return (text[at : min(at + self._chunk, length)] for at in range(0, length, self._chunk))


def _meet(reached: _State, outlook: _State) -> bool:
    return bool(reached.active & outlook.active)
