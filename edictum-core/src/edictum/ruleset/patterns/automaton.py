"""
A pattern as an automaton with one state for each character it reads (Glushkov's construction).

Zero-width tests are taken as always true, which can only add ways to read a text, never hide one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from re import _constants as op  # type: ignore[attr-defined]
from typing import Any, NamedTuple

from edictum.ruleset.patterns.charsets import ALL, characters
from edictum.ruleset.patterns.limits import PatternRefused
from edictum.ruleset.patterns.naming import render
from edictum.ruleset.patterns.tree import REPEATS, UNBOUNDED, Node, combine_flags, unfailing_tail, wasted

_COPIES = 4  # a repeat up to this often is written out, as its rounds then cannot multiply without bound
_COPIES_IN_LOOP = 64  # the same for a fixed number of single characters inside another repeat
_MAX_STATES = 12_000
_MAX_STEPS = 400_000  # of building and judging, so that a ruleset loads in bounded time

Ways = dict[int, int]  # state -> number of ways to get there


@dataclass(slots=True)
class Loop:
    """
    An outermost repeat: states that can follow each other again and again.

    Attributes:
        nodes: The repeat in the parsed pattern; nothing for the search for a place to begin.
        shortest: Characters it takes at least.
        longest: Characters it may take before it can no longer fail.
        states: Its states.
    """

    nodes: Sequence[Node]
    shortest: int
    longest: int
    states: list[int] = field(default_factory=list)


class Automaton:
    """
    States, numbered from 0, where the search stands before a match.

    Attributes:
        masks: The characters that each state reads.
        follow: The states after each state.
        owner: The index of each state's loop, or -1.
        slow: The states inside a repeat of more than one character, for which the engine keeps records.
        loops: The loops, as they stand in the pattern; the search, if there is one, is the first.
        lookbehinds: Patterns that are matched aside, with their flags.
        has_reference: Whether the pattern refers to the text of one of its groups.
        searching: Whether a match can begin anywhere in the text.
    """

    def __init__(self, tree: Any, *, searching: bool) -> None:
        self.masks: list[int] = [ALL]
        self.follow: list[Ways] = [{}]
        self.owner: list[int] = [-1]
        self.slow: set[int] = set()
        self.loops: list[Loop] = []
        self.lookbehinds: list[tuple[Any, int]] = []
        self.has_reference = False
        self.searching = searching
        self._tree = tree
        self._steps = 0
        if searching:
            self.loops.append(Loop((), 0, UNBOUNDED, [0]))
            self.owner[0] = 0
            self.follow[0][0] = 1

    def spend(self, steps: int, nodes: Sequence[Node] = ()) -> None:
        """
        Count steps of building or judging; beyond the bound the pattern is refused, and these nodes named.
        """
        self._steps += steps
        if self._steps > _MAX_STEPS or len(self.masks) > _MAX_STATES:
            raise PatternRefused(
                "the pattern is too large or too intertwined to be judged; split it into several patterns",
                render(nodes or self._tree),
            )

    def add_state(self, mask: int, loop: int, *, slow: bool = False) -> int:
        """
        Add a state that reads these characters, and belongs to this loop or, with -1, to none.
        """
        state = len(self.masks)
        self.masks.append(mask)
        self.follow.append({})
        self.owner.append(loop)
        if loop >= 0:
            self.loops[loop].states.append(state)
        if slow:
            self.slow.add(state)
        self.spend(1)
        return state

    def join(self, last: Ways, first: Ways) -> None:
        """
        Let each of some states be followed by each of some others.
        """
        self.spend(len(last) * len(first))
        for state, ways in last.items():
            _add(self.follow[state], first, ways)


def build(tree: Any, flags: int, *, searching: bool) -> Automaton:
    """
    Build the automaton of a parsed pattern, or of a part of one, at whose start these flags hold.

    Raises:
        PatternRefused: A construct is unknown or cannot be combined with the rest, or the pattern is too large.
    """
    automaton = Automaton(tree, searching=searching)
    whole = _Builder(automaton, tree).sequence(tree, _Scope(flags))
    automaton.join({0: 1}, whole.first)
    return automaton


@dataclass(slots=True)
class _Fragment:
    """
    A piece of the automaton: in how many ways it reads nothing, begins with a state, ends with a state.
    """

    empty: int = 1
    first: Ways = field(default_factory=dict)
    last: Ways = field(default_factory=dict)


class _Scope(NamedTuple):
    """
    What holds at a place in the pattern: flags, enclosing loop, and how it is repeated.
    """

    flags: int
    loop: int = -1
    repeated: bool = False
    slow: bool = False  # see Automaton.slow


def _add(row: Ways, more: Ways, times: int) -> None:
    for state, ways in more.items():
        row[state] = row.get(state, 0) + times * ways


class _Builder:
    """
    Turns nodes of the parsed pattern into fragments, whose states it adds to the automaton.
    """

    def __init__(self, automaton: Automaton, tree: Any) -> None:
        self._automaton = automaton
        self._widths = tree.state.groupwidths
        self._tail = unfailing_tail(tree)

    def sequence(self, nodes: Iterable[Node], scope: _Scope) -> _Fragment:
        return self._chain(self._node(node, scope) for node in nodes)

    def _chain(self, parts: Iterable[_Fragment]) -> _Fragment:
        whole = _Fragment()
        for part in parts:
            self._automaton.join(whole.last, part.first)
            if whole.empty:
                _add(whole.first, part.first, whole.empty)
            last = dict(part.last)
            if part.empty:
                _add(last, whole.last, part.empty)
            whole.last = last
            whole.empty *= part.empty
        return whole

    def _either(self, branches: Iterable[Iterable[Node]], scope: _Scope) -> _Fragment:
        whole = _Fragment(0)
        for branch in branches:
            part = self.sequence(branch, scope)
            whole.empty += part.empty
            whole.first.update(part.first)
            whole.last.update(part.last)
        return whole

    def _node(self, node: Node, scope: _Scope) -> _Fragment:
        mask = characters(node, scope.flags)
        if mask is not None:
            return self._state(mask, scope.loop, slow=scope.slow)
        kind, value = node
        if kind is op.AT:
            return _Fragment()
        if kind is op.SUBPATTERN:
            flags = combine_flags(scope.flags, value[1], value[2])
            return self.sequence(value[3], scope._replace(flags=flags))
        if kind in (op.ATOMIC_GROUP, op.POSSESSIVE_REPEAT):
            # In Python 3.11.2, which is still in use, (?:(?<=a)b)*+ is searched for ever.
            reason = "atomic groups and possessive repeats can hang some versions of Python 3.11"
            raise PatternRefused(f"{reason}; write the plain form", render([node]))
        if kind is op.BRANCH:
            return self._either(value[1], scope)
        if kind in REPEATS:
            return self._repeat(node, scope)
        if kind in (op.ASSERT, op.ASSERT_NOT):
            return self._lookaround(value, scope)
        if kind in (op.GROUPREF, op.GROUPREF_EXISTS):
            return self._reference(node, scope)
        if kind is op.FAILURE:  # (?!) never matches, so nothing after it is read
            return _Fragment(0)
        raise PatternRefused(f"the construct {kind} is not known to this version; remove it", render([node]))

    def _state(self, mask: int, loop: int, *, slow: bool = False) -> _Fragment:
        state = self._automaton.add_state(mask, loop, slow=slow)
        return _Fragment(0, {state: 1}, {state: 1})

    def _repeat(self, node: Node, scope: _Scope) -> _Fragment:
        least, most, body = node[1]
        single = len(body) == 1 and characters(body[0], scope.flags) is not None
        fixed_inside = single and scope.loop >= 0 and least == most <= _COPIES_IN_LOOP
        scope = scope._replace(slow=scope.slow or not single)
        if most <= _COPIES or fixed_inside:
            return self._copies(int(least), int(most), body, scope)
        loop = scope.loop
        if loop < 0:
            loop = len(self._automaton.loops)
            self._automaton.loops.append(self._loop(node))
        part = self.sequence(body, scope._replace(loop=loop, repeated=True))
        if part.empty:
            raise PatternRefused(
                f"what is repeated in '{render([node])}' can match nothing at all, so the search can hang; "
                "make the repeated part read at least one character",
                render([node]),
                "exponential",
            )
        self._automaton.join(part.last, part.first)
        return _Fragment(int(least == 0), part.first, part.last)

    def _loop(self, node: Node) -> Loop:
        least, most, body = node[1]
        low, high = (int(width) for width in body.getwidth())
        longest = int(most) * high
        if id(node[1]) in self._tail:
            longest = min(longest, wasted(node[1]))
        return Loop([node], int(least) * low, min(longest, UNBOUNDED))

    def _copies(self, least: int, most: int, body: Any, scope: _Scope) -> _Fragment:
        inner = scope._replace(repeated=scope.repeated or most > 1)
        rounds = [self.sequence(body, inner) for _ in range(most)]
        optional = _Fragment()
        for part in reversed(rounds[least:]):
            optional = self._chain([part, optional])
            optional.empty += 1
        return self._chain([*rounds[:least], optional])

    def _lookaround(self, value: Any, scope: _Scope) -> _Fragment:
        direction, body = value
        if direction < 0:
            self._automaton.lookbehinds.append((body, scope.flags))
            return _Fragment()
        part = self.sequence(body, scope._replace(loop=-1))
        return _Fragment(1, part.first)  # a side road: it is entered and never comes back

    def _reference(self, node: Node, scope: _Scope) -> _Fragment:
        automaton = self._automaton
        automaton.has_reference = True
        if scope.repeated:
            text = render([node])
            raise PatternRefused(
                f"the reference to a group '{text}' stands inside a repeat; move it out of the repeat", text
            )
        kind, value = node
        if kind is op.GROUPREF_EXISTS:
            return self._either([value[1], value[2] or ()], scope)
        low, high = self._widths[value]
        automaton.loops.append(Loop([node], int(low), min(int(high), UNBOUNDED)))
        part = self._state(ALL, len(automaton.loops) - 1)
        automaton.join(part.last, part.first)
        return _Fragment(int(low == 0), part.first, part.last)
