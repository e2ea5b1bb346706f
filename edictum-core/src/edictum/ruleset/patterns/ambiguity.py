"""
In how many ways can the loops of an automaton read the same text?

The criteria are those of Weber and Seidl, "On the degree of ambiguity of finite automata" (1991). Where the
exact test would be costly it is replaced by one that reports too much rather than too little.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

from edictum.ruleset.patterns.automaton import Automaton, Loop, Ways
from edictum.ruleset.patterns.charsets import ALL
from edictum.ruleset.patterns.tree import UNBOUNDED

_CHEAPER = 8  # a round of a one-character loop costs so much less than other steps

Rows = dict[int, Ways] | dict[int, list[int]] | list[Ways]
Links = dict[tuple[int, int], int]  # an earlier loop and a later one in its reach -> ways to share out a text


def exponential(automaton: Automaton, index: int) -> bool:
    """
    Tell whether two different ways from a state of a loop meet again after the same text.
    """
    masks, loop = automaton.masks, automaton.loops[index]
    inside = {
        state: {to: ways for to, ways in automaton.follow[state].items() if automaton.owner[to] == index}
        for state in loop.states
    }
    if any(ways > 1 for row in inside.values() for ways in row.values()):
        return True
    automaton.spend(sum(len(row) ** 2 for row in inside.values()), loop.nodes)
    forks = {
        pair for row in inside.values() for pair in combinations(sorted(row), 2) if masks[pair[0]] & masks[pair[1]]
    }
    return _meet(automaton, forks, inside, inside, ALL, loop)


def _meet(automaton: Automaton, seen: set[tuple[int, int]], left: Rows, right: Rows, common: int, loop: Loop) -> bool:
    """
    Tell whether two readers of one text in the common characters can come together from any pair of states.
    """
    masks = automaton.masks
    pending = list(seen)
    while pending:
        first, second = pending.pop()
        automaton.spend(len(left[first]) * len(right[second]), loop.nodes)
        for one in left[first]:
            for other in right[second]:
                if not masks[one] & masks[other] & common:
                    continue
                if one == other:
                    return True
                if (one, other) not in seen:
                    seen.add((one, other))
                    pending.append((one, other))
    return False


class Chain(NamedTuple):
    """
    Loops of which each can take text from the one before.

    Attributes:
        degree: How many of them can take any amount.
        factor: What the bounded ones multiply the work by.
        loops: Their indices, without that of the search.
        plain: Whether all but the first are loops over one character.
        spread: Characters from one possible start to the next, where the search comes first.
    """

    degree: int = 0
    factor: int = 1
    loops: tuple[int, ...] = ()
    plain: bool = True
    spread: int = 1

    def weight(self, spread: int) -> int:
        """
        Turn the factor into units of work, for starts at such a distance.
        """
        return -(-self.factor // (spread * (_CHEAPER if self.plain else 1)))

    def cost(self) -> tuple[int, int]:
        """
        Rate the chain against others.
        """
        return self.degree, self.weight(self.spread)


def link_loops(automaton: Automaton) -> Links:
    """
    Bound, for each loop and each loop in its reach, how many ways they have of sharing out a text.
    """
    reach = [_reachable(automaton, loop) for loop in automaton.loops]
    return {
        (earlier, later): _sharings(automaton, earlier, later)
        for later in range(len(automaton.loops))
        for earlier in reversed(range(later))
        if later in reach[earlier]
    }


def worst_chain(automaton: Automaton, links: Links, spread: int, first: int = 0) -> Chain:
    """
    Find the chain that multiplies the work most, from the loops that are not before the first one given.
    """
    best: dict[int, Chain] = {}
    for later in range(first, len(automaton.loops)):
        mine = Chain()
        between = 1  # choices of the bounded repeats after the earlier loop
        for earlier in reversed(range(first, later)):
            times = links.get((earlier, later))
            if times is None:
                continue
            before = best[earlier]
            if times > 1:
                before = _extended(automaton, before, (earlier, later), times, between, spread)
                between *= times if times < UNBOUNDED else 1
            mine = max(mine, before, key=Chain.cost)
        best[later] = mine
    return max(best.values(), key=Chain.cost, default=Chain())


def _extended(
    automaton: Automaton, chain: Chain, link: tuple[int, int], times: int, between: int, spread: int
) -> Chain:
    earlier, later = (automaton.loops[index] for index in link)
    endless = times >= UNBOUNDED
    return Chain(
        chain.degree + endless,
        chain.factor * between * (1 if endless else times),
        tuple(index for index in dict.fromkeys((*chain.loops, *link)) if automaton.loops[index].nodes),
        chain.plain and len(later.states) == 1,
        chain.spread if earlier.nodes else spread,
    )


def _sharings(automaton: Automaton, earlier: int, later: int) -> int:
    if not _compete(automaton, earlier, later):
        return 1
    source, target = automaton.loops[earlier], automaton.loops[later]
    play = source.longest - source.shortest + 1 if source.longest < UNBOUNDED else UNBOUNDED
    return min(play, target.longest)


def _compete(automaton: Automaton, earlier: int, later: int) -> bool:
    """
    Tell whether the later loop can read text that the earlier one could have read instead.

    That is: some text leads round the earlier loop, from it into the later one, and round the later one. Two
    readers look for the last two; the first is only asked to be possible in characters that both loops read.
    """
    follow = automaton.follow
    common = loop_characters(automaton, earlier) & loop_characters(automaton, later)
    starts = _cycling(automaton, earlier, common)
    goals = _cycling(automaton, later, common)
    around = {state: [to for to in follow[state] if to in goals] for state in goals}
    pairs = {(start, at) for start in starts for at in goals}
    return _meet(automaton, pairs, follow, around, common, automaton.loops[later])


def loop_characters(automaton: Automaton, index: int) -> int:
    """
    Unite the characters that the states of a loop read.
    """
    mask = 0
    for state in automaton.loops[index].states:
        mask |= automaton.masks[state]
    return mask


def _cycling(automaton: Automaton, index: int, common: int) -> set[int]:
    """
    Find the states of a loop from which it can go on for ever with these characters.
    """
    owner = automaton.owner
    states = {state for state in automaton.loops[index].states if automaton.masks[state] & common}
    while True:
        automaton.spend(len(states))
        stuck = {
            state for state in states
            if not any(owner[to] == index and to in states for to in automaton.follow[state])
        }  # fmt: skip
        if not stuck:
            return states
        states -= stuck


def _reachable(automaton: Automaton, source: Loop) -> set[int]:
    seen = set(source.states)
    pending = list(seen)
    while pending:
        row = automaton.follow[pending.pop()]
        automaton.spend(len(row))
        fresh = row.keys() - seen
        seen |= fresh
        pending.extend(fresh)
    return {automaton.owner[state] for state in seen}
