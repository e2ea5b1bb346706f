"""
An engine that searches a text in time linear in its length, whatever the pattern's repeats and alternatives.

The pattern becomes an automaton with one position for each character it reads (Glushkov's construction). A set of
positions is an integer with one bit for each, so one step for all of them takes a few operations. The sets that
occur are kept as states that lead from character to state, so that on most texts a step is one look-up.

Zero-width tests look at the characters on both sides of a gap in the text. The sides of a gap are described by a
few bits, its context, and the joins between positions are worked out once for each outcome of the tests.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import accumulate
from re import _compiler, _parser  # type: ignore[attr-defined]
from re import _constants as op  # type: ignore[attr-defined]
from typing import Any, NamedTuple, Protocol

from edictum.ruleset.patterns.naming import render
from edictum.ruleset.patterns.tree import REPEATS, Node, combine_flags

MAX_NODES = 5_000  # after bounded repeats are written out
MAX_STATES = 5_000  # kept at a time
MAX_TRANSITIONS = 32_768  # kept at a time: a text can have a million different characters

_MAX_STEPS = 4 * MAX_NODES  # of building, for patterns that mostly group and test
_CHUNK = 4_096  # characters read between two looks at the deadline
_FREE_NODES = 256  # a larger pattern looks at the deadline more often, as its steps are slower
_COMPILED_SETS = 4_096
_BLOCK_BITS = 8  # characters are classified in blocks of 256

# What a context tells of one side of a gap.
_EDGE, _NEWLINE, _FINAL_NEWLINE, _WORD, _ASCII_WORD = (1 << bit for bit in range(5))

_READS = frozenset({op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN})
_READ_FLAGS: int = op.SRE_FLAG_IGNORECASE | op.SRE_FLAG_DOTALL | op.SRE_FLAG_ASCII | op.SRE_FLAG_UNICODE
_WORD_SET = (op.IN, ((op.CATEGORY, op.CATEGORY_WORD),))
_EMPTY_TEXT_HAS_NO_BORDER = re.search(r"\B", "") is not None  # from Python 3.14 on

Deadline = Callable[[], None]


class NotRegular(ValueError):  # noqa: N818  an answer about the pattern, not a malfunction
    """
    A pattern has a construct that no finite automaton reads, or one that this engine does not know.

    Attributes:
        part: The construct, as text.
    """

    def __init__(self, part: str) -> None:
        self.part = part
        super().__init__(f"'{part}' cannot be searched in linear time; write it without references and lookarounds")


class TooLarge(ValueError):  # noqa: N818  a limit was met, nothing malfunctioned
    """
    A pattern with its bounded repeats written out is larger than ``MAX_NODES``.
    """

    def __init__(self) -> None:
        super().__init__(
            f"the pattern with its bounded repeats written out reads more than {MAX_NODES} characters, "
            "or holds too many groups; lower the bounds of its repeats"
        )


# --- characters ---------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Kind:
    """
    Characters that the pattern does not tell apart.

    Attributes:
        reads: The positions that read them.
        context: What they are to a gap beside them.
    """

    reads: int
    context: int


@lru_cache(maxsize=_COMPILED_SETS)
def _runs(node: Node, flags: int) -> re.Pattern[str]:
    """
    Compile the search for runs of the characters that a one-character node reads.

    The standard library decides which these are, so the answer is its own by construction.
    """
    state = _parser.State()
    state.flags = flags
    body = _parser.SubPattern(state, [node])
    repeat = (op.MAX_REPEAT, (1, op.MAXREPEAT, body))
    compiled: re.Pattern[str] = _compiler.compile(_parser.SubPattern(state, [repeat]))
    return compiled


class _Alphabet:
    """
    The sets of characters that a pattern reads or tests, and from them the kind of every character.

    Characters are classified by blocks as they occur, which costs little for each set and block; most blocks
    beyond the first few are of one kind, and equal blocks are kept once.
    """

    def __init__(self) -> None:
        self._sets: dict[tuple[Node, int], _Kind] = {}
        self._literals: dict[int, dict[Node, None]] = {}
        self._kinds: dict[int, _Kind] = {}
        self._blocks: dict[int, tuple[_Kind, ...]] = {}
        self._equal_blocks: dict[tuple[_Kind, ...], tuple[_Kind, ...]] = {}

    def add(self, node: Node, flags: int, *, reads: int = 0, context: int = 0) -> None:
        """
        Note that a one-character node stands at a position, or that its characters matter to a gap.
        """
        kind, value = node
        node = (kind, tuple(value) if kind is op.IN else value)
        flags &= _READ_FLAGS
        known = self._sets.setdefault((node, flags), _Kind(0, 0))
        known.reads |= reads
        known.context |= context
        if kind is op.LITERAL:
            self._literals.setdefault(flags, {})[node] = None

    def kind(self, char: str) -> _Kind:
        code = ord(char)
        block = self._blocks.get(code >> _BLOCK_BITS) or self._classify(code >> _BLOCK_BITS)
        return block[code & (1 << _BLOCK_BITS) - 1]

    def final_newline(self) -> _Kind:
        """
        Return the kind of a newline that is the last character of the text, which ``$`` tells from others.
        """
        newline = self.kind("\n")
        return _Kind(newline.reads, newline.context | _FINAL_NEWLINE)

    def _classify(self, block: int) -> tuple[_Kind, ...]:
        codes = range(block << _BLOCK_BITS, block + 1 << _BLOCK_BITS)
        text = "".join(map(chr, codes))
        # All literals are looked for at once, because few blocks hold any of them.
        absent = {
            flags for flags, nodes in self._literals.items() if not _runs((op.IN, tuple(nodes)), flags).search(text)
        }
        edges = [0] * (len(text) + 1)
        for number, (node, flags) in enumerate(self._sets):
            if node[0] is op.LITERAL and flags in absent:
                continue
            for run in _runs(node, flags).finditer(text):
                edges[run.start()] ^= 1 << number
                edges[run.end()] ^= 1 << number
        kinds = tuple(self._kind_in(members) for members in accumulate(edges[:-1], operator.xor))
        kinds = self._blocks[block] = self._equal_blocks.setdefault(kinds, kinds)
        return kinds

    def _kind_in(self, members: int) -> _Kind:
        found = self._kinds.get(members)
        if found is None:
            found = _Kind(0, 0)
            for number, known in enumerate(self._sets.values()):
                if members >> number & 1:
                    found.reads |= known.reads
                    found.context |= known.context
            found = self._kinds.setdefault(members, found)
        return found


# --- the pattern, written out -------------------------------------------------------------------


class _Test(NamedTuple):
    """
    A zero-width test: of one side of a gap, or whether the sides differ in a bit.
    """

    kind: Any
    bits: int

    def holds(self, before: int, after: int) -> bool:
        if self.kind is op.AT_BEGINNING:
            return bool(before & self.bits)
        if self.kind is op.AT_END:
            return bool(after & self.bits)
        border = bool(before & self.bits) != bool(after & self.bits)
        if self.kind is op.AT_BOUNDARY:
            return border
        return not border and (_EMPTY_TEXT_HAS_NO_BORDER or not before & after & _EDGE)


class _Part(NamedTuple):
    """
    A piece of the pattern: whether it can read nothing, the positions it begins with, those it ends with.
    """

    empty: bool
    first: int
    last: int


class _Expression(Protocol):
    def link(self, links: _Links) -> _Part: ...


class _Read(NamedTuple):
    position: int

    def link(self, links: _Links) -> _Part:
        return _Part(False, self.position, self.position)


class _Check(NamedTuple):
    number: int

    def link(self, links: _Links) -> _Part:
        return _Part(bool(links.outcomes >> self.number & 1), 0, 0)


class _Either(NamedTuple):
    branches: list[_Expression]

    def link(self, links: _Links) -> _Part:
        whole = _Part(False, 0, 0)
        for branch in self.branches:
            part = branch.link(links)
            whole = _Part(whole.empty or part.empty, whole.first | part.first, whole.last | part.last)
        return whole


class _Rounds(NamedTuple):
    """
    Pieces in a row, of which those beyond the least number may be left out from the end, as in ``(a(b(c)?)?)?``.
    """

    parts: list[_Expression]
    least: int
    endless: bool  # whether the last piece may be repeated

    def link(self, links: _Links) -> _Part:
        parts = [part.link(links) for part in self.parts]
        if self.endless and parts:
            links.join(parts[-1].last, parts[-1].first)
        whole = _Part(True, 0, 0)
        for number, part in reversed(list(enumerate(parts))):
            links.join(part.last, whole.first)
            first = part.first | whole.first if part.empty else part.first
            last = part.last | whole.last if whole.empty else whole.last
            whole = _Part(number >= self.least or (part.empty and whole.empty), first, last)
        return whole


class _Links:
    """
    How the positions of a pattern are joined across a gap at which its tests have these outcomes.

    Attributes:
        outcomes: A bit for each test that holds.
        empty: Whether the pattern can match the gap itself.
        first: The positions at which a match can begin behind the gap.
        last: The positions at which a match can end before it.
    """

    def __init__(self, expression: _Expression, outcomes: int) -> None:
        self.outcomes = outcomes
        self._joins: dict[int, int] = {}
        self.empty, self.first, self.last = expression.link(self)
        self._next = 0  # positions that are joined to the next one: most are, and one shift moves them all
        pairs: dict[int, int] = {}
        for first, last in self._joins.items():
            if first.bit_count() == 1:
                self._next |= last & first >> 1
                last &= ~(first >> 1)
            if last:
                pairs[last] = pairs.get(last, 0) | first
        self._pairs = list(pairs.items())

    def join(self, last: int, first: int) -> None:
        """
        Let each of some positions be followed by each of some others.
        """
        if last and first:
            self._joins[first] = self._joins.get(first, 0) | last

    def after(self, positions: int) -> int:
        """
        Return the positions that can follow any of these.
        """
        found = (positions & self._next) << 1
        for last, first in self._pairs:
            if positions & last:
                found |= first
        return found

    def before(self, positions: int) -> int:
        """
        Return the positions that any of these can follow.
        """
        found = positions >> 1 & self._next
        for last, first in self._pairs:
            if positions & first:
                found |= last
        return found


class _Graph:
    """
    A pattern written out: its positions, what they read, its tests, and the links in every context.

    Attributes:
        alphabet: What the positions read.
        size: The number of positions.
        anchored: Whether a match can begin at the start of the text only.
    """

    def __init__(self, tree: Any) -> None:
        self.alphabet = _Alphabet()
        self.size = 0
        self._steps = 0
        self._tests: dict[_Test, int] = {}
        self._by_context: dict[tuple[int, int], _Links] = {}
        self._by_outcomes: dict[int, _Links] = {}
        self._expression = self._row(tree, tree.state.flags)
        hopeful = sum(1 << number for test, number in self._tests.items() if test != (op.AT_BEGINNING, _EDGE))
        elsewhere = self._links_for(hopeful)
        self.anchored = not elsewhere.empty and not elsewhere.first

    def links(self, before: int, after: int) -> _Links:
        """
        Return how positions are joined across a gap between these contexts.
        """
        found = self._by_context.get((before, after))
        if found is None:
            found = self._links_for(sum(test.holds(before, after) << number for test, number in self._tests.items()))
            self._by_context[before, after] = found
        return found

    def _links_for(self, outcomes: int) -> _Links:
        found = self._by_outcomes.get(outcomes)
        return found or self._by_outcomes.setdefault(outcomes, _Links(self._expression, outcomes))

    def _row(self, nodes: Iterable[Node], flags: int) -> _Expression:
        parts = [self._node(node, flags) for node in nodes]
        return parts[0] if len(parts) == 1 else _Rounds(parts, len(parts), False)

    def _node(self, node: Node, flags: int) -> _Expression:
        kind, value = node
        self._steps += 1
        if self._steps > _MAX_STEPS:
            raise TooLarge
        if kind in _READS:
            return self._read(node, flags)
        if kind is op.AT:
            return self._test(value, flags)
        if kind is op.SUBPATTERN:
            return self._row(value[3], combine_flags(flags, value[1], value[2]))
        if kind is op.BRANCH:
            return _Either([self._row(branch, flags) for branch in value[1]])
        if kind in REPEATS:
            return self._repeat(value, flags)
        if kind is op.FAILURE or (kind is op.ASSERT_NOT and not len(value[1])):  # (?!) in newer and older versions
            return _Either([])
        raise NotRegular(render([node]))

    def _read(self, node: Node, flags: int) -> _Expression:
        if self.size == MAX_NODES:
            raise TooLarge
        position = 1 << self.size
        self.size += 1
        self.alphabet.add(node, flags, reads=position)
        return _Read(position)

    def _test(self, kind: Any, flags: int) -> _Expression:
        multiline = flags & op.SRE_FLAG_MULTILINE and kind in (op.AT_BEGINNING, op.AT_END)
        if multiline:
            self.alphabet.add((op.LITERAL, ord("\n")), 0, context=_NEWLINE)
        if kind in (op.AT_BEGINNING, op.AT_BEGINNING_STRING):
            test = _Test(op.AT_BEGINNING, _EDGE | (_NEWLINE if multiline else 0))
        elif kind is op.AT_END_STRING:
            test = _Test(op.AT_END, _EDGE)
        elif kind is op.AT_END:
            test = _Test(op.AT_END, _EDGE | _FINAL_NEWLINE | (_NEWLINE if multiline else 0))
        elif kind in (op.AT_BOUNDARY, op.AT_NON_BOUNDARY):
            word = _ASCII_WORD if flags & op.SRE_FLAG_ASCII else _WORD
            self.alphabet.add(_WORD_SET, flags & ~op.SRE_FLAG_IGNORECASE, context=word)
            test = _Test(kind, word)
        else:
            raise NotRegular(str(kind))
        return _Check(self._tests.setdefault(test, len(self._tests)))

    def _repeat(self, repeat: Any, flags: int) -> _Expression:
        least, most, body = repeat
        endless = most is op.MAXREPEAT
        rounds: list[_Expression] = []
        for _ in range(max(1, int(least)) if endless else int(most)):
            size = self.size
            rounds.append(self._row(body, flags))
            if self.size == size:  # It reads nothing, so once is as good as often.
                return _Rounds(rounds, min(1, int(least)), False)
        return _Rounds(rounds, int(least), endless)


# --- reading ------------------------------------------------------------------------------------


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

    def __init__(self, graph: _Graph) -> None:
        self.graph = graph
        self._states: dict[tuple[int, int], _State] = {}
        self._transitions = 0

    def state(self, active: int = 0, context: int = _EDGE) -> _State:
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

    def step(self, state: _State, kind: _Kind) -> _State:
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


class _Search(_Machine):
    """
    Reads forwards until a match ends, or until none can come any more.
    """

    def step(self, state: _State, kind: _Kind) -> _State:
        links = self.graph.links(state.context, kind.context)
        if links.empty or state.active & links.last:
            raise _Settled(True)
        active = (links.first | links.after(state.active)) & kind.reads
        if not active and self.graph.anchored:
            raise _Settled(False)
        return self.state(active, kind.context)

    def ends_in_match(self, state: _State) -> bool:
        links = self.graph.links(state.context, _EDGE)
        return links.empty or bool(state.active & links.last)


class _Outlook(_Machine):
    """
    Reads backwards: the active positions are those that can read the character and then come to the end of a match.
    """

    def step(self, state: _State, kind: _Kind) -> _State:
        links = self.graph.links(kind.context, state.context)
        return self.state((links.last | links.before(state.active)) & kind.reads, kind.context)


class LinearPattern:
    """
    A pattern that reads each character of a text once, and does bounded work for it.

    Args:
        tree: The parsed pattern.

    Raises:
        NotRegular: It has a construct that no finite automaton reads.
        TooLarge: It is larger than ``MAX_NODES`` when its bounded repeats are written out.
    """

    def __init__(self, tree: Any) -> None:
        self._graph = _Graph(tree)
        self._search = _Search(self._graph)
        self._outlook = _Outlook(self._graph)
        self._chunk = _CHUNK * _FREE_NODES // max(_FREE_NODES, self._graph.size)

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
        chunk = self._chunk
        state = self._search.state()
        try:
            for at in range(0, length, chunk):
                state = reduce(_next_state, text[at : min(at + chunk, length)], state)
                if deadline is not None:
                    deadline()
            if length < len(text):
                state = self._search.step(state, self._graph.alphabet.final_newline())
        except _Settled as settled:
            return settled.answer
        return self._search.ends_in_match(state)

    def spans(self, text: str, deadline: Deadline | None = None) -> Iterator[tuple[int, int]]:
        """
        Find the matches that do not overlap: of those that are left the leftmost one, as long as it can be.

        Where there is a match, the text is read backwards twice, and then forwards. Reading backwards tells at each
        character which positions can still come to the end of a match, so reading forwards never goes beyond one
        in vain. The work is linear in the text, for each character at most in proportion to the size of the pattern.

        Args:
            text: The text to search.
            deadline: Called at least every 4,096 characters; what it raises ends the search.

        Yields:
            The start and end of each match that is not empty.
        """
        if not self.found(text, deadline):  # on most texts the answer, and many times as fast
            return
        start = -1
        active = 0
        before = _EDGE
        steps: dict[tuple[_Links, int, int], int] = {}
        for at, outlook in enumerate(self._outlooks(text, deadline)):
            links = self._graph.links(before, outlook.context)
            before = outlook.context
            if active:
                step = (links, active, outlook.active)
                following = steps.get(step)
                if following is None:
                    if len(steps) >= MAX_STATES:
                        steps.clear()
                    following = steps[step] = links.after(active) & outlook.active
                active = following
            if not active:
                if start >= 0:
                    yield start, at
                active = links.first & outlook.active
                start = at if active else -1
        if start >= 0:
            yield start, len(text)

    def _outlooks(self, text: str, deadline: Deadline | None) -> Iterator[_State]:
        """
        Return the state of reading backwards at each character of a text, in the order of the text.

        Only some are kept on the way back; those between are worked out again, so that memory stays bounded.
        """
        length = len(text) - text.endswith("\n")
        state = self._outlook.state()
        if length < len(text):
            state = self._outlook.step(state, self._graph.alphabet.final_newline())
        final = state
        kept: list[tuple[str, _State]] = []
        for at in range((length - 1) // self._chunk * self._chunk, -1, -self._chunk):
            piece = text[at : min(at + self._chunk, length)][::-1]
            kept.append((piece, state))
            state = reduce(_next_state, piece, state)
            if deadline is not None:
                deadline()
        for piece, state in reversed(kept):
            states = list(accumulate(piece, _next_state, initial=state))
            yield from states[:0:-1]
            if deadline is not None:
                deadline()
        if length < len(text):
            yield final
