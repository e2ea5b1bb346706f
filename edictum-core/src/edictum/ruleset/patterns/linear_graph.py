"""
A pattern written out for the linear engine: one position for each character it reads (Glushkov's construction).

A set of positions is an integer with one bit for each. Zero-width tests look at the characters on both sides of a
gap in the text. The sides of a gap are described by a few bits, its context, and the joins between positions are
worked out once for each outcome of the tests.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from re import _compiler, _parser  # type: ignore[attr-defined]
from re import _constants as op  # type: ignore[attr-defined]
from typing import Any, NamedTuple, Protocol

from edictum.ruleset.patterns.regular import READS, check_regular, is_never, rounds
from edictum.ruleset.patterns.tree import REPEATS, Node, combine_flags

_COMPILED_SETS = 4_096
_BLOCK_BITS = 8  # characters are classified in blocks of 256

# What a context tells of one side of a gap.
EDGE, _NEWLINE, _FINAL_NEWLINE, _WORD, _ASCII_WORD = (1 << bit for bit in range(5))

_READ_FLAGS: int = op.SRE_FLAG_IGNORECASE | op.SRE_FLAG_ASCII | op.SRE_FLAG_UNICODE
_WORD_SET = (op.IN, ((op.CATEGORY, op.CATEGORY_WORD),))
_EMPTY_TEXT_HAS_NO_BORDER = re.search(r"\B", "") is not None  # from Python 3.14 on


# --- characters ---------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Kind:
    """
    Characters that the pattern does not tell apart.

    Attributes:
        reads: The positions that read them.
        context: What they are to a gap beside them.
    """

    reads: int
    context: int


class _Set(NamedTuple):
    """
    A set of characters.

    Attributes:
        items: What a class like ``[a-z_]`` lists.
        flags: What the items mean.
        others: Whether the set is of all characters but these.
        few: Whether the items are characters and ranges only.
    """

    items: tuple[Node, ...]
    flags: int
    others: bool
    few: bool


def _read_set(node: Node, flags: int) -> _Set:
    kind, value = node
    if kind is op.ANY:
        items: tuple[Node, ...] = () if flags & op.SRE_FLAG_DOTALL else ((op.LITERAL, ord("\n")),)
        return _Set(items, 0, True, True)
    items = tuple(value) if kind is op.IN else ((op.LITERAL, value),)
    others = kind is op.NOT_LITERAL
    if items[0][0] is op.NEGATE:
        items, others = items[1:], True
    return _Set(items, flags & _READ_FLAGS, others, all(item[0] is not op.CATEGORY for item in items))


@lru_cache(maxsize=_COMPILED_SETS)
def _runs(items: tuple[Node, ...], flags: int) -> re.Pattern[str]:
    """
    Compile the search for runs of characters.

    The standard library decides which these are, so the answer is its own by construction.
    """
    state = _parser.State()
    state.flags = flags
    body = _parser.SubPattern(state, [(op.IN, items)])
    repeat = (op.MAX_REPEAT, (1, op.MAXREPEAT, body))
    compiled: re.Pattern[str] = _compiler.compile(_parser.SubPattern(state, [repeat]))
    return compiled


class Alphabet:
    """
    The sets of characters that a pattern reads or tests, and from them the kind of every character.

    Characters are classified by blocks as they occur, which costs little for each set and block; most blocks
    beyond the first few are of one kind, and equal blocks are kept once.
    """

    def __init__(self) -> None:
        self._sets: dict[_Set, Kind] = {}
        self._others = 0  # a bit for each set that is given by what is not in it
        self._few: dict[int, dict[Node, None]] = {}
        self._kinds: dict[int, Kind] = {}
        self._blocks: dict[int, tuple[Kind, ...]] = {}
        self._equal_blocks: dict[tuple[Kind, ...], tuple[Kind, ...]] = {}

    def add(self, node: Node, flags: int, *, reads: int = 0, context: int = 0) -> None:
        """
        Note that a one-character node stands at a position, or that its characters matter to a gap.
        """
        read = _read_set(node, flags)
        if read not in self._sets:
            self._others |= read.others << len(self._sets)
            if read.few:
                self._few.setdefault(read.flags, {}).update(dict.fromkeys(read.items))
        known = self._sets.setdefault(read, Kind(0, 0))
        known.reads |= reads
        known.context |= context

    def kind(self, char: str) -> Kind:
        """
        Return the kind of a character.
        """
        code = ord(char)
        block = self._blocks.get(code >> _BLOCK_BITS) or self._classify(code >> _BLOCK_BITS)
        return block[code & (1 << _BLOCK_BITS) - 1]

    def final_newline(self) -> Kind:
        """
        Return the kind of a newline that is the last character of the text, which ``$`` tells from others.
        """
        newline = self.kind("\n")
        return Kind(newline.reads, newline.context | _FINAL_NEWLINE)

    def _classify(self, block: int) -> tuple[Kind, ...]:
        codes = range(block << _BLOCK_BITS, block + 1 << _BLOCK_BITS)
        text = "".join(map(chr, codes))
        # These are looked for at once, because few blocks hold any of them.
        absent = {
            flags for flags, items in self._few.items() if not items or not _runs(tuple(items), flags).search(text)
        }
        edges = [0] * (len(text) + 1)
        for number, read in enumerate(self._sets):
            if not read.items or (read.few and read.flags in absent):
                continue
            for run in _runs(read.items, read.flags).finditer(text):
                edges[run.start()] ^= 1 << number
                edges[run.end()] ^= 1 << number
        kinds = tuple(self._kind_in(members ^ self._others) for members in accumulate(edges[:-1], operator.xor))
        kinds = self._blocks[block] = self._equal_blocks.setdefault(kinds, kinds)
        return kinds

    def _kind_in(self, members: int) -> Kind:
        found = self._kinds.get(members)
        if found is None:
            found = Kind(0, 0)
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
        return not border and (_EMPTY_TEXT_HAS_NO_BORDER or not before & after & EDGE)


class _Part(NamedTuple):
    """
    A piece of the pattern: whether it can read nothing, the positions it begins with, those it ends with.
    """

    empty: bool
    first: int
    last: int


class _Expression(Protocol):
    def link(self, links: Links) -> _Part: ...


class _Read(NamedTuple):
    position: int

    def link(self, links: Links) -> _Part:
        return _Part(False, self.position, self.position)


class _Check(NamedTuple):
    number: int

    def link(self, links: Links) -> _Part:
        return _Part(bool(links.outcomes >> self.number & 1), 0, 0)


class _Either(NamedTuple):
    branches: list[_Expression]

    def link(self, links: Links) -> _Part:
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

    def link(self, links: Links) -> _Part:
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


class Links:
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
        # Most joins are to the next position or to the same one, and for those one operation moves all positions.
        self._next = self._same = 0
        pairs: dict[int, int] = {}
        for first, last in self._joins.items():
            if first.bit_count() == 1:
                self._next |= last & first >> 1
                self._same |= last & first
                last &= ~(first >> 1 | first)
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
        found = (positions & self._next) << 1 | positions & self._same
        for last, first in self._pairs:
            if positions & last:
                found |= first
        return found

    def before(self, positions: int) -> int:
        """
        Return the positions that any of these can follow.
        """
        found = positions >> 1 & self._next | positions & self._same
        for last, first in self._pairs:
            if positions & first:
                found |= last
        return found


class Graph:
    """
    A pattern written out: its positions, what they read, its tests, and the links in every context.

    Attributes:
        alphabet: What the positions read.
        size: The number of positions.
        anchored: Whether a match can begin at the start of the text only.
    """

    def __init__(self, tree: Any) -> None:
        check_regular(tree)
        self.alphabet = Alphabet()
        self.size = 0
        self._tests: dict[_Test, int] = {}
        self._by_context: dict[tuple[int, int], Links] = {}
        self._by_outcomes: dict[int, Links] = {}
        self._expression = self._row(tree, tree.state.flags)
        hopeful = sum(1 << number for test, number in self._tests.items() if test != (op.AT_BEGINNING, EDGE))
        elsewhere = self._links_for(hopeful)
        self.anchored = not elsewhere.empty and not elsewhere.first

    def links(self, before: int, after: int) -> Links:
        """
        Return how positions are joined across a gap between these contexts.
        """
        found = self._by_context.get((before, after))
        if found is None:
            found = self._links_for(sum(test.holds(before, after) << number for test, number in self._tests.items()))
            self._by_context[before, after] = found
        return found

    def _links_for(self, outcomes: int) -> Links:
        found = self._by_outcomes.get(outcomes)
        return found or self._by_outcomes.setdefault(outcomes, Links(self._expression, outcomes))

    def _row(self, nodes: Iterable[Node], flags: int) -> _Expression:
        parts = [self._node(node, flags) for node in nodes]
        return parts[0] if len(parts) == 1 else _Rounds(parts, len(parts), False)

    def _node(self, node: Node, flags: int) -> _Expression:
        kind, value = node
        if kind in READS:
            return self._read(node, flags)
        if kind is op.AT:
            return self._test(value, flags)
        if kind is op.SUBPATTERN:
            return self._row(value[3], combine_flags(flags, value[1], value[2]))
        if kind is op.BRANCH:
            return _Either([self._row(branch, flags) for branch in value[1]])
        if kind in REPEATS:
            return self._repeat(value, flags)
        assert is_never(node)
        return _Either([])

    def _read(self, node: Node, flags: int) -> _Expression:
        position = 1 << self.size
        self.size += 1
        self.alphabet.add(node, flags, reads=position)
        return _Read(position)

    def _test(self, kind: Any, flags: int) -> _Expression:
        multiline = flags & op.SRE_FLAG_MULTILINE and kind in (op.AT_BEGINNING, op.AT_END)
        if multiline:
            self.alphabet.add((op.LITERAL, ord("\n")), 0, context=_NEWLINE)
        if kind in (op.AT_BEGINNING, op.AT_BEGINNING_STRING):
            test = _Test(op.AT_BEGINNING, EDGE | (_NEWLINE if multiline else 0))
        elif kind is op.AT_END_STRING:
            test = _Test(op.AT_END, EDGE)
        elif kind is op.AT_END:
            test = _Test(op.AT_END, EDGE | _FINAL_NEWLINE | (_NEWLINE if multiline else 0))
        else:
            word = _ASCII_WORD if flags & op.SRE_FLAG_ASCII else _WORD
            self.alphabet.add(_WORD_SET, flags & ~op.SRE_FLAG_IGNORECASE, context=word)
            test = _Test(kind, word)
        return _Check(self._tests.setdefault(test, len(self._tests)))

    def _repeat(self, repeat: Any, flags: int) -> _Expression:
        least, most, body = repeat
        size = self.size
        parts = [self._row(body, flags)] if most else []
        reads = self.size > size
        parts += [self._row(body, flags) for _ in range(1, rounds(least, most, reads=reads))]
        return _Rounds(parts, int(least) if reads else min(1, int(least)), reads and most is op.MAXREPEAT)
