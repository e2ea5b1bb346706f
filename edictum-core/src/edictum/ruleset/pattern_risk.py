"""
How much work can a regular expression cause? Decided once, when a ruleset is loaded.

The standard library matches by backtracking: its work is the number of different ways in which the
pattern can read pieces of the text. That number is bounded here from the parsed pattern alone:

* the pattern becomes an automaton with one state for each character it reads (Glushkov's construction);
  zero-width tests are taken as always true, which can only add ways, never hide one;
* a loop in which two different ways round read the same text is *exponential* and refused;
* two loops that can hand the same text to each other multiply the work by the length of the text. The
  search itself is such a loop, in front of every pattern that is not anchored to the start of the text;
* bounded repeats and alternatives that look alike multiply it by a constant.

The loop criteria are those of Weber and Seidl, "On the degree of ambiguity of finite automata" (1991).
Where the exact test would be costly it is replaced by one that reports too much rather than too little.
The constants are estimates, set so that a search at its limit takes about a second and seldom three.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import factorial
from re import _constants as op  # type: ignore[attr-defined]
from typing import Any

UNBOUNDED = 256  # a repeat of more characters than this is counted like one without an end
_COPIES = 4  # a repeat up to this often is written out, as its rounds then cannot multiply without bound
_COPIES_IN_LOOP = 64  # the same for a fixed number of single characters inside another repeat
_MAX_STATES = 12_000
_MAX_STEPS = 400_000  # steps of the analysis itself, so that a ruleset loads in bounded time
_LOOKAHEAD = 3  # alternatives that still agree after this many characters are counted as alike
_WIDE = 64  # characters that a plain walk through the pattern may read at the cost of one unit
_CHEAPER = 8  # a round of a one-character loop costs so much less than other steps
_STEP_BUDGET = 40_000_000  # units of work in one search, see Risk.affordable
_TOO_LARGE = 10**9  # where a factor stops being counted

_ASCII_ONLY: int = op.SRE_FLAG_ASCII  # plain integers: the enum of the re module costs a microsecond a test
_IGNORECASE: int = op.SRE_FLAG_IGNORECASE
_DOTALL: int = op.SRE_FLAG_DOTALL
_MULTILINE: int = op.SRE_FLAG_MULTILINE
_KINDS: int = op.SRE_FLAG_ASCII | op.SRE_FLAG_LOCALE | op.SRE_FLAG_UNICODE

REPEATS = frozenset({op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT})

Node = tuple[Any, Any]


class PatternRefused(ValueError):  # noqa: N818  a refusal is an answer, not a malfunction
    """
    A regular expression was refused when the ruleset was loaded.

    Attributes:
        part: The part of the pattern that is the reason, as text.
    """

    def __init__(self, message: str, part: str) -> None:
        self.part = part
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Risk:
    """
    Bound of the work of one search in a text of n characters: ``factor * n ** degree``.

    Attributes:
        degree: 1 for linear work, 2 for quadratic work, and so on.
        factor: Bounded repeats and alternatives that multiply the work, in units of a search step.
        part: The repeats that caused the degree, as text.
        has_reference: Whether the pattern refers to the text of one of its groups.
    """

    degree: int
    factor: int
    part: str
    has_reference: bool

    def affordable(self, length: int) -> bool:
        """
        Tell whether a text of this length can be searched in about a second.

        With more than one degree the choices are ordered, so there are ``n ** degree / degree!`` of them,
        and most of their steps are those of one-character loops, which are cheaper.
        """
        discount = 1 if self.degree == 1 else factorial(self.degree) * 5 // 2
        steps: int = self.factor * length**self.degree
        return steps <= _STEP_BUDGET * discount


def analyse(tree: Any) -> Risk:
    """
    Bound the work that a parsed pattern can cause.

    Args:
        tree: What ``re._parser.parse`` returned, or a part of it with the same state.

    Returns:
        The degree and the constant factor of the work.

    Raises:
        PatternRefused: The work can grow exponentially, a construct is unknown or cannot be combined
            with the rest, or the pattern is too large to be judged.
    """
    return _Automaton(tree, tree.state.flags, searching=not anchored(tree)).risk()


def anchored(nodes: Any, flags: int | None = None) -> bool:
    """
    Tell whether a match can begin at the start of the text only.
    """
    if flags is None:
        flags = nodes.state.flags
    first = next(iter(nodes), None)
    if first is None:
        return False
    kind, value = first
    if kind is op.AT:
        return value is op.AT_BEGINNING_STRING or (value is op.AT_BEGINNING and not flags & _MULTILINE)
    if kind is op.SUBPATTERN:
        return anchored(value[3], combine_flags(flags, value[1], value[2]))
    if kind is op.BRANCH:
        return all(anchored(branch, flags) for branch in value[1])
    return False


def combine_flags(flags: int, added: int, removed: int) -> int:
    """
    Apply the flags of a group such as ``(?i-s:...)`` to those around it.
    """
    if added & _KINDS:
        flags &= ~_KINDS
    return (flags | added) & ~removed


# --- sets of characters ---------------------------------------------------------------------------
#
# A set is a bit mask: one bit for each ASCII character and one for each of four classes of others.
# Sets are rounded up, so that two sets without a common bit have no common character.

_ASCII = (1 << 128) - 1
_DIGIT, _WORD, _SPACE, _OTHER = (1 << bit for bit in range(128, 132))
_ALL = (1 << 132) - 1
_LOWER = sum(1 << code for code in range(ord("a"), ord("z") + 1))
_UPPER = _LOWER >> 32
_FOLDED = sum(1 << ord(c) for c in "iksIKS")  # the ASCII letters with partners outside ASCII

_ASCII_CATEGORIES = {
    name: sum(1 << code for code in range(128) if re.match(text, chr(code), re.ASCII))
    for name, text in (("DIGIT", r"\d"), ("WORD", r"\w"), ("SPACE", r"\s"))
}
_SEPARATORS = sum(1 << code for code in range(0x1C, 0x20))  # white space, except under re.ASCII
_UNICODE_CATEGORIES = {
    "DIGIT": _ASCII_CATEGORIES["DIGIT"] | _DIGIT,
    "WORD": _ASCII_CATEGORIES["WORD"] | _DIGIT | _WORD,
    "SPACE": _ASCII_CATEGORIES["SPACE"] | _SEPARATORS | _SPACE,
}


def _category(name: str, flags: int) -> int:
    sets = _ASCII_CATEGORIES if flags & _ASCII_ONLY else _UNICODE_CATEGORIES
    name = name.removeprefix("CATEGORY_")
    if name.startswith("NOT_"):
        return _ALL & ~sets[name.removeprefix("NOT_")]
    return sets[name]


def _one(code: int) -> int:
    if code < 128:
        return 1 << code
    char = chr(code)
    if char.isdecimal():
        return _DIGIT
    if char.isspace():
        return _SPACE
    return _WORD if char.isalnum() else _OTHER


def _fold(mask: int, flags: int) -> int:
    if not flags & _IGNORECASE:
        return mask
    mask |= (mask & _LOWER) >> 32 | (mask & _UPPER) << 32
    if not flags & _ASCII_ONLY:
        if mask & _FOLDED:
            mask |= _WORD
        if mask & (_WORD | _OTHER):
            mask |= _FOLDED | _WORD | _OTHER
    return mask


def _class(items: Sequence[Node], flags: int) -> int:
    may = must = 0  # characters that may and that must belong to the listed items
    negated = False
    for kind, value in items:
        if kind is op.NEGATE:
            negated = True
        elif kind is op.LITERAL:
            may |= _one(value)
            must |= _one(value) & _ASCII
        elif kind is op.RANGE:
            low, high = value
            inside = _ASCII & ((1 << high + 1) - (1 << low)) if low < 128 else 0
            must |= inside
            may |= inside | (_ALL & ~_ASCII if high > 127 else 0)
        else:
            category = _category(value.name, flags)
            may |= category
            must |= category
    if negated:
        ascii_only = flags | _ASCII_ONLY  # partners outside ASCII share their class with other characters
        return _ALL & ~_fold(must, ascii_only)
    return _fold(may, flags)


def _single(node: Node, flags: int) -> int | None:
    """
    Return the characters that a one-character node reads, or None for any other node.
    """
    kind, value = node
    if kind is op.LITERAL:
        return _fold(_one(value), flags)
    if kind is op.NOT_LITERAL:
        return _class([(op.NEGATE, None), (op.LITERAL, value)], flags)
    if kind is op.ANY:
        return _ALL if flags & _DOTALL else _ALL & ~(1 << 10)
    return _class(value, flags) if kind is op.IN else None


# --- the automaton --------------------------------------------------------------------------------


@dataclass(slots=True)
class _Fragment:
    """
    A piece of the automaton: in how many ways it reads nothing, begins with a state, ends with a state.
    """

    empty: int = 1
    first: dict[int, int] = field(default_factory=dict)
    last: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Loop:
    """
    An outermost repeat: states that can follow each other again and again.
    """

    nodes: Sequence[Node]
    shortest: int
    longest: int  # characters it may take before it can no longer fail
    states: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Scope:
    """
    What holds at a place in the pattern: flags, enclosing loop, and whether it is read repeatedly.
    """

    flags: int
    loop: int = -1
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class _Chain:
    """
    Loops of which each can take text from the one before.
    """

    degree: int = 0
    factor: int = 1
    loops: tuple[int, ...] = ()
    plain: bool = True  # all of them but the first are loops over one character
    spread: int = 1  # characters from one possible start to the next, where the search comes first

    @property
    def cost(self) -> tuple[int, int]:
        share = self.spread * (_CHEAPER if self.plain else 1)
        return self.degree, -(-self.factor // share)


class _Automaton:
    def __init__(self, tree: Any, flags: int, *, searching: bool) -> None:
        self.masks: list[int] = [_ALL]  # state 0 is where the search stands before the match
        self.follow: list[dict[int, int]] = [{}]  # state -> next state -> number of ways
        self.owner: list[int] = [-1]  # state -> index of its loop
        self.loops: list[_Loop] = []
        self.steps = 0
        self.factor = 1  # by lookbehinds, which are judged on their own
        self.has_reference = False
        self.widths = tree.state.groupwidths
        self.tree = tree
        self.tail = _unfailing_tail(tree)
        self.spread = _least_distance(tree, flags)
        if searching:
            self.loops.append(_Loop((), 0, UNBOUNDED, [0]))
            self.owner[0] = 0
            self.follow[0][0] = 1
        whole = self._sequence(tree, _Scope(flags))
        self._join({0: 1}, whole.first)

    # Construction

    def _spend(self, steps: int, nodes: Sequence[Node] = ()) -> None:
        self.steps += steps
        if self.steps > _MAX_STEPS or len(self.masks) > _MAX_STATES:
            raise PatternRefused(
                "the pattern is too large or too intertwined to be judged; split it into several patterns",
                render(nodes or self.tree),
            )

    def _join(self, last: dict[int, int], first: dict[int, int]) -> None:
        self._spend(len(last) * len(first))
        for state, ways in last.items():
            row = self.follow[state]
            for following, more in first.items():
                row[following] = row.get(following, 0) + ways * more

    def _state(self, mask: int, loop: int) -> _Fragment:
        state = len(self.masks)
        self.masks.append(mask)
        self.follow.append({})
        self.owner.append(loop)
        if loop >= 0:
            self.loops[loop].states.append(state)
        self._spend(1)
        return _Fragment(0, {state: 1}, {state: 1})

    def _append(self, whole: _Fragment, part: _Fragment) -> None:
        self._join(whole.last, part.first)
        if whole.empty:
            for state, ways in part.first.items():
                whole.first[state] = whole.first.get(state, 0) + whole.empty * ways
        if part.empty:
            last = dict(part.last)
            for state, ways in whole.last.items():
                last[state] = last.get(state, 0) + part.empty * ways
            whole.last = last
        else:
            whole.last = part.last
        whole.empty *= part.empty

    def _sequence(self, nodes: Iterable[Node], scope: _Scope) -> _Fragment:
        whole = _Fragment()
        for node in nodes:
            self._append(whole, self._node(node, scope))
        return whole

    def _either(self, branches: Iterable[Iterable[Node]], scope: _Scope) -> _Fragment:
        whole = _Fragment(0)
        for branch in branches:
            part = self._sequence(branch, scope)
            whole.empty += part.empty
            whole.first.update(part.first)
            whole.last.update(part.last)
        return whole

    def _node(self, node: Node, scope: _Scope) -> _Fragment:
        mask = _single(node, scope.flags)
        if mask is not None:
            return self._state(mask, scope.loop)
        kind, value = node
        if kind is op.AT:
            return _Fragment()
        if kind is op.SUBPATTERN:
            flags = combine_flags(scope.flags, value[1], value[2])
            return self._sequence(value[3], _Scope(flags, scope.loop, scope.repeated))
        if kind is op.ATOMIC_GROUP:
            return self._sequence(value, scope)
        if kind is op.BRANCH:
            return self._either(value[1], scope)
        if kind in REPEATS:
            return self._repeat(node, scope)
        if kind in (op.ASSERT, op.ASSERT_NOT):
            return self._lookaround(node, scope)
        if kind in (op.GROUPREF, op.GROUPREF_EXISTS):
            return self._reference(node, scope)
        if kind is op.FAILURE:  # (?!) never matches, so nothing after it is read
            return _Fragment(0)
        raise PatternRefused(f"the construct {kind} is not known to this version; remove it", render([node]))

    def _repeat(self, node: Node, scope: _Scope) -> _Fragment:
        least, most, body = node[1]
        single = len(body) == 1 and _single(body[0], scope.flags) is not None
        fixed_inside = single and scope.loop >= 0 and least == most <= _COPIES_IN_LOOP
        if most <= _COPIES or fixed_inside:
            return self._copies(int(least), int(most), body, scope)
        loop = scope.loop
        if loop < 0:
            loop = len(self.loops)
            self.loops.append(self._loop(node))
        part = self._sequence(body, _Scope(scope.flags, loop, True))
        if part.empty:
            raise PatternRefused(
                f"what is repeated in '{render([node])}' can match nothing at all, so the search can hang; "
                "make the repeated part read at least one character",
                render([node]),
            )
        self._join(part.last, part.first)
        return _Fragment(int(least == 0), part.first, part.last)

    def _loop(self, node: Node) -> _Loop:
        least, most, body = node[1]
        low, high = (int(width) for width in body.getwidth())
        longest = int(most) * high
        if id(node[1]) in self.tail:
            longest = min(longest, _wasted(node))
        return _Loop([node], int(least) * low, min(longest, UNBOUNDED))

    def _copies(self, least: int, most: int, body: Any, scope: _Scope) -> _Fragment:
        inner = _Scope(scope.flags, scope.loop, scope.repeated or most > 1)
        parts = [self._sequence(body, inner) for _ in range(most)]
        rest = _Fragment()
        for part in reversed(parts[least:]):
            begun = _Fragment()
            self._append(begun, part)
            self._append(begun, rest)
            begun.empty += 1
            rest = begun
        whole = _Fragment()
        for part in (*parts[:least], rest):
            self._append(whole, part)
        return whole

    def _lookaround(self, node: Node, scope: _Scope) -> _Fragment:
        direction, body = node[1]
        if direction < 0:
            aside = _Automaton(body, scope.flags, searching=False).risk()
            self.has_reference |= aside.has_reference
            self.factor *= aside.factor * max(1, int(body.getwidth()[1]) // 16)
            return _Fragment()
        part = self._sequence(body, _Scope(scope.flags, -1, scope.repeated))
        return _Fragment(1, part.first)  # a side road: it is entered and never comes back

    def _reference(self, node: Node, scope: _Scope) -> _Fragment:
        self.has_reference = True
        if scope.repeated:
            text = render([node])
            raise PatternRefused(
                f"the reference to a group '{text}' stands inside a repeat; move it out of the repeat", text
            )
        kind, value = node
        if kind is op.GROUPREF_EXISTS:
            return self._either([value[1], value[2] or ()], scope)
        low, high = self.widths[value]
        loop = _Loop([node], int(low), min(int(high), UNBOUNDED))
        self.loops.append(loop)
        part = self._state(_ALL, len(self.loops) - 1)
        self._join(part.last, part.first)
        return _Fragment(int(low == 0), part.first, part.last)

    # Judgement

    def risk(self) -> Risk:
        for index, loop in enumerate(self.loops):
            if self._exponential(index, loop):
                part = render(loop.nodes)
                raise PatternRefused(
                    f"the repeat '{part}' can read the same text in exponentially many ways, so the search "
                    "can hang; rewrite it so that each text is read in one way only, e.g. 'a+' for '(a+)+'",
                    part,
                )
        chain = self._worst_chain()
        if self.has_reference and chain.degree:
            raise PatternRefused(
                "a reference to a group is only possible where the rest of the pattern needs linear work; "
                "bound the repeats or anchor the pattern with ^",
                self._named(chain),
            )
        factor = chain.cost[1] * self._local_factor() * self.factor
        if chain.degree:
            factor *= self._walk_after(chain.loops[-1])
        return Risk(1 + chain.degree, min(factor, _TOO_LARGE), self._named(chain), self.has_reference)

    def _named(self, chain: _Chain) -> str:
        return ", ".join(render(self.loops[index].nodes) for index in chain.loops)

    def _exponential(self, index: int, loop: _Loop) -> bool:
        """
        Tell whether two different ways from a state of the loop meet again after the same text.
        """
        inside = {
            state: {to: ways for to, ways in self.follow[state].items() if self.owner[to] == index}
            for state in loop.states
        }
        if any(ways > 1 for row in inside.values() for ways in row.values()):
            return True
        seen: set[tuple[int, int]] = set()
        pending = [(state, state) for state in loop.states] if len(loop.states) > 1 else []
        while pending:
            left, right = pending.pop()
            self._spend(len(inside[left]) * len(inside[right]), loop.nodes)
            for one in inside[left]:
                for other in inside[right]:
                    if not self.masks[one] & self.masks[other]:
                        continue
                    if one == other:
                        if left != right:
                            return True
                    elif (one, other) not in seen and (other, one) not in seen:
                        seen.add((one, other))
                        pending.append((one, other))
        return False

    def _worst_chain(self) -> _Chain:
        best: list[_Chain] = []
        within_reach = [self._reachable(loop) for loop in self.loops]
        for later in range(len(self.loops)):
            mine = _Chain()
            between = 1  # choices of the bounded repeats after the earlier loop
            for earlier in reversed(range(later)):
                if later not in within_reach[earlier]:
                    continue
                before = best[earlier]
                if self._compete(earlier, later):
                    times = self._times(earlier, later)
                    before = self._extended(before, earlier, later, times, between)
                    between *= times if times < UNBOUNDED else 1
                mine = max(mine, before, key=lambda chain: chain.cost)
            best.append(mine)
        return max(best, key=lambda chain: chain.cost, default=_Chain())

    def _times(self, earlier: int, later: int) -> int:
        """
        Bound how many ways the two loops have of sharing out a text.
        """
        source, target = self.loops[earlier], self.loops[later]
        play = source.longest - source.shortest + 1 if source.longest < UNBOUNDED else UNBOUNDED
        return min(play, target.longest)

    def _extended(self, chain: _Chain, earlier: int, later: int, times: int, between: int) -> _Chain:
        if times <= 1:
            return chain
        loops = tuple(
            index for index in dict.fromkeys((*chain.loops, earlier, later)) if self.loops[index].nodes
        )
        plain = chain.plain and len(self.loops[later].states) == 1
        spread = chain.spread if self.loops[earlier].nodes else self.spread
        factor = chain.factor * between
        if times >= UNBOUNDED:
            return _Chain(chain.degree + 1, factor, loops, plain, spread)
        return _Chain(chain.degree, factor * times, loops, plain, spread)

    def _compete(self, earlier: int, later: int) -> bool:
        """
        Tell whether the later loop can read text that the earlier one could have read instead.

        That is: some text leads round the earlier loop, from it into the later one, and round the later
        one. A walk of two readers looks for the last two; the first is only asked to be possible in
        characters that both loops read.
        """
        common = self._union(earlier) & self._union(later)
        starts = self._cycling(earlier, common)
        around = {
            state: [to for to in self.follow[state] if self.owner[to] == later]
            for state in self._cycling(later, common)
        }
        seen = {(start, at) for start in starts for at in around}
        pending = list(seen)
        while pending:
            left, right = pending.pop()
            self._spend(len(self.follow[left]) * len(around[right]), self.loops[later].nodes)
            for one in self.follow[left]:
                for other in around[right]:
                    if other not in around or not self.masks[one] & self.masks[other] & common:
                        continue
                    if one == other:
                        return True
                    if (one, other) not in seen:
                        seen.add((one, other))
                        pending.append((one, other))
        return False

    def _union(self, index: int) -> int:
        mask = 0
        for state in self.loops[index].states:
            mask |= self.masks[state]
        return mask

    def _cycling(self, index: int, common: int) -> set[int]:
        """
        Find the states of a loop from which it can go on for ever with these characters.
        """
        states = {state for state in self.loops[index].states if self.masks[state] & common}
        while True:
            self._spend(len(states))
            stuck = {
                state for state in states
                if not any(self.owner[to] == index and to in states for to in self.follow[state])
            }  # fmt: skip
            if not stuck:
                return states
            states -= stuck

    def _reachable(self, source: _Loop) -> set[int]:
        seen = set(source.states)
        pending = list(seen)
        while pending:
            row = self.follow[pending.pop()]
            self._spend(len(row))
            fresh = row.keys() - seen
            seen |= fresh
            pending.extend(fresh)
        return {self.owner[state] for state in seen}

    def _local_factor(self) -> int:
        """
        Multiply, along the worst way, the alternatives outside of loops that cannot be told apart at once.
        """
        factor = [1] * len(self.masks)
        depth = [1] * len(self.masks)
        memo: dict[tuple[int, int, int], bool] = {}
        rows: dict[tuple[tuple[int, int], ...], int] = {}
        for state in range(len(self.masks) - 1, -1, -1):
            ahead = [(to, ways) for to, ways in self.follow[state].items() if to > state]
            if not ahead:
                continue
            mine = self.owner[state]
            onward = tuple((to, ways) for to, ways in ahead if mine < 0 or self.owner[to] != mine)
            alike = rows.get(onward)
            if alike is None:
                alike = rows[onward] = self._most_alike(dict(onward), memo)
            factor[state] = alike * max(factor[to] for to, _ in ahead)
            depth[state] = 1 + len(onward) // 8 + max(depth[to] for to, _ in ahead)
        return factor[0] * max(1, depth[0] // _WIDE)

    def _most_alike(self, onward: dict[int, int], memo: dict[tuple[int, int, int], bool]) -> int:
        if len(onward) < 2:
            return max(onward.values(), default=1)
        groups: dict[int, list[int]] = {}
        for state in onward:
            groups.setdefault(self.masks[state], []).append(state)
        most = 1
        for mask, members in groups.items():
            rivals = [s for other, group in groups.items() if other & mask for s in group]
            self._spend(len(members) * len(rivals))
            for state in members:
                alike = sum(
                    onward[other] for other in rivals
                    if other == state
                    or (not self._skips(state, other) and self._agree(state, other, _LOOKAHEAD, memo))
                )  # fmt: skip
                most = max(most, alike)
        return most

    def _walk_after(self, index: int) -> int:
        """
        Estimate the cost of going on after each round of a loop, in a text that allows it everywhere.

        That text repeats one character, so the walk ends where no character is common to all its states.
        Choices make up the cost; single characters are cheap. A walk that was cut short is dear anyway.
        """
        loop = self.loops[index]
        done: dict[tuple[int, int], tuple[int, int]] = {}

        def walk(state: int, common: int, left: int) -> tuple[int, int]:
            known = done.get((state, common))
            if known is not None:
                return known
            ahead = [to for to in self.follow[state] if to > state and self.owner[to] != index and left]
            self._spend(len(ahead), loop.nodes)
            ways = [walk(to, common & self.masks[to], left - 1) for to in ahead if common & self.masks[to]]
            choices, characters = max(ways, default=(0, -1))
            done[state, common] = result = (choices + (len(ways) > 1), characters + 1)
            return result

        choices, characters = max(walk(state, self._union(index), _WIDE) for state in loop.states)
        return max(1, choices) + characters // 4

    def _skips(self, one: int, other: int) -> bool:
        """
        Tell whether one state is that of a loop and the other comes after it.

        To pass a loop by is a number of its rounds like any other, and those are counted where loops compete.
        """
        return (self.owner[one] >= 0 and other in self.follow[one]) or (
            self.owner[other] >= 0 and one in self.follow[other]
        )

    def _agree(self, one: int, other: int, depth: int, memo: dict[tuple[int, int, int], bool]) -> bool:
        """
        Tell whether some text can be read from both states for so many characters, or until they meet.
        """
        if not self.masks[one] & self.masks[other]:
            return False
        if one == other or depth == 0:
            return True
        key = (one, other, depth) if one < other else (other, one, depth)
        known = memo.get(key)
        if known is None:
            self._spend(len(self.follow[one]) * len(self.follow[other]))
            known = memo[key] = any(
                self._agree(left, right, depth - 1, memo)
                for left in self.follow[one]
                for right in self.follow[other]
            )
        return known


def _unfailing_tail(nodes: Any) -> set[int]:
    """
    Find the repeats behind which nothing can fail: the last of the pattern, and optional ones before it.
    """
    found: set[int] = set()
    for kind, value in reversed(list(nodes)):
        if kind in REPEATS:
            found.add(id(value))
            if value[1] == 1:
                found |= _unfailing_tail(value[2])
            if value[0] == 0:
                continue
        elif kind is op.SUBPATTERN:
            found |= _unfailing_tail(value[3])
        elif kind is op.BRANCH:
            for branch in value[1]:
                found |= _unfailing_tail(branch)
        break
    return found


def _least_distance(nodes: Iterable[Node], flags: int) -> int:
    """
    Tell how close two matches can begin, as far as the fixed text at the start of the pattern shows.
    """
    text = ""
    for kind, value in nodes:
        if kind is not op.LITERAL:
            break
        text += chr(value)
    if flags & _IGNORECASE:
        text = text.lower() if text.isascii() else ""
    return next((shift for shift in range(1, len(text)) if text.startswith(text[shift:])), max(1, len(text)))


def _wasted(repeat: Node) -> int:
    """
    Bound the characters that a repeat at the end of a pattern reads without making them part of the match.

    Once its least rounds are read the match has succeeded, so only the begun round can be lost.
    """
    least, _, body = repeat[1]
    return max(0, int(least) - 1) * int(body.getwidth()[1]) + _lost(body)


def _lost(nodes: Any) -> int:
    """
    Bound what is read in vain when a try to read these last nodes of a pattern fails.
    """
    lost = 0
    at_end = True
    for kind, value in reversed(list(nodes)):
        if at_end and kind in REPEATS:
            lost += _wasted((kind, value))
            at_end = value[0] == 0
        elif at_end and kind is op.SUBPATTERN:
            lost += _lost(value[3])
            at_end = False
        else:
            lost += _longest((kind, value))
            at_end = False
    return lost


def _longest(node: Node) -> int:
    kind, value = node
    if kind is op.AT:
        return 0
    if kind in REPEATS:
        return int(value[1]) * int(value[2].getwidth()[1])
    if kind is op.SUBPATTERN:
        return int(value[3].getwidth()[1])
    return 1 if kind in (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN) else UNBOUNDED


# --- naming a part --------------------------------------------------------------------------------

_REPEAT_SIGNS = {op.MAX_REPEAT: "", op.MIN_REPEAT: "?", op.POSSESSIVE_REPEAT: "+"}
_CATEGORY_SIGNS = {
    "CATEGORY_DIGIT": r"\d", "CATEGORY_NOT_DIGIT": r"\D", "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S", "CATEGORY_WORD": r"\w", "CATEGORY_NOT_WORD": r"\W",
}  # fmt: skip
_AT_SIGNS = {
    "AT_BEGINNING": "^", "AT_BEGINNING_STRING": r"\A", "AT_BOUNDARY": r"\b", "AT_NON_BOUNDARY": r"\B",
    "AT_END": "$", "AT_END_STRING": r"\Z",
}  # fmt: skip
_LOOK_SIGNS = {
    (op.ASSERT, 1): "?=",
    (op.ASSERT, -1): "?<=",
    (op.ASSERT_NOT, 1): "?!",
    (op.ASSERT_NOT, -1): "?<!",
}


def render(nodes: Iterable[Node]) -> str:
    """
    Write parsed nodes as a pattern again, for an error text: the parser keeps no positions.
    """
    return "".join(_render_node(kind, value) for kind, value in nodes)


def _render_node(kind: Any, value: Any) -> str:
    if kind is op.LITERAL:
        return re.escape(chr(value))
    if kind is op.NOT_LITERAL:
        return f"[^{re.escape(chr(value))}]"
    if kind is op.ANY:
        return "."
    if kind is op.AT:
        return _AT_SIGNS[value.name]
    if kind is op.IN:
        return _render_class(value)
    if kind is op.BRANCH:
        return "(?:" + "|".join(render(branch) for branch in value[1]) + ")"
    if kind is op.SUBPATTERN:
        return f"({'' if value[0] else '?:'}{render(value[3])})"
    if kind is op.ATOMIC_GROUP:
        return f"(?>{render(value)})"
    if kind in _REPEAT_SIGNS:
        least, most, body = value
        text = render(body)
        if len(body) > 1:
            text = f"(?:{text})"
        return text + _render_count(least, most) + _REPEAT_SIGNS[kind]
    if kind in (op.ASSERT, op.ASSERT_NOT):
        return f"({_LOOK_SIGNS[kind, value[0]]}{render(value[1])})"
    if kind is op.GROUPREF:
        return f"\\{value}"
    if kind is op.FAILURE:
        return "(?!)"
    return f"(?({value[0]})...)" if kind is op.GROUPREF_EXISTS else str(kind)


def _render_class(items: Sequence[Node]) -> str:
    signs = []
    for kind, value in items:
        if kind is op.NEGATE:
            signs.append("^")
        elif kind is op.LITERAL:
            signs.append(re.escape(chr(value)))
        elif kind is op.RANGE:
            signs.append(f"{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}")
        else:
            signs.append(_CATEGORY_SIGNS[value.name])
    text = "".join(signs)
    return text if len(items) == 1 and items[0][0] is op.CATEGORY else f"[{text}]"


def _render_count(least: Any, most: Any) -> str:
    if most is op.MAXREPEAT:
        return {0: "*", 1: "+"}.get(least, f"{{{least},}}")
    if (least, most) == (0, 1):
        return "?"
    return f"{{{least}}}" if least == most else f"{{{least},{most}}}"
