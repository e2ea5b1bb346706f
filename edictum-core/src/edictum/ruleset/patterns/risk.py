"""
How much work can a pattern cause?

The standard library matches by backtracking: its work is the number of different ways in which the
pattern can read pieces of the text. That number is bounded here from the parsed pattern alone:

* a loop in which two different ways round read the same text is *exponential*;
* two loops that can hand the same text to each other multiply the work by the length of the text. The
  search itself is such a loop, in front of every pattern that is not anchored to the start of the text;
* bounded repeats and alternatives that look alike multiply it by a constant.

The constants are estimates, set so that work rated at ``UNITS_OF_A_SECOND`` takes about a second and seldom three.
"""

from __future__ import annotations

from math import factorial
from typing import Any, NamedTuple

from edictum.ruleset.patterns.ambiguity import exponential, link_loops, loop_characters, worst_chain
from edictum.ruleset.patterns.automaton import Automaton, Ways, build
from edictum.ruleset.patterns.limits import MAX_MATCH_CHARS, PatternRefused
from edictum.ruleset.patterns.naming import render
from edictum.ruleset.patterns.tree import anchored, least_distance

UNITS_OF_A_SECOND = 40_000_000  # units of work, see Risk.reach

_LOOKAHEAD = 3  # alternatives that still agree after this many characters are counted as alike
_WIDE = 64  # characters that a plain walk through the pattern may read at the cost of one unit
_CHOICE = 2  # units of work that two alternatives cost at each step of a loop before them
_SLOW = 3  # units of work to enter a state inside a repeat of more than one character
_HIGHEST_DEGREE = 8  # beyond it the estimates mean nothing
_TOO_LARGE = 10**9  # where a factor stops being counted

_Memo = dict[tuple[int, int, int], bool]


class Risk(NamedTuple):
    """
    Bound of the work of one search in a text of n characters: ``factor * n ** degree``.

    Attributes:
        degree: 1 for linear work, 2 for quadratic work, and so on.
        factor: Bounded repeats and alternatives that multiply the work, in units of a search step.
        part: The repeats that caused the degree, as text.
        has_reference: Whether the pattern refers to the text of one of its groups.
        linear_at_place: Whether the work at one place where a match can begin is linear, although the whole is
            quadratic.
        refusal: Why the work cannot be bounded; None when it can, otherwise the rest means nothing.
    """

    degree: int
    factor: int
    part: str
    has_reference: bool
    linear_at_place: bool
    refusal: PatternRefused | None = None

    def reach(self, units: int) -> int:
        """
        Tell how long a text can be that is searched with so much work, up to ``MAX_MATCH_CHARS``.

        With more than one degree the choices are ordered, so there are ``n ** degree / degree!`` of them,
        and most of their steps are those of one-character loops, which are cheaper.
        """
        if self.refusal is not None or self.degree > _HIGHEST_DEGREE:
            return 0
        discount = 1 if self.degree == 1 else factorial(self.degree) * 2.5
        return min(int((units * discount / self.factor) ** (1 / self.degree)), MAX_MATCH_CHARS)


def analyse(tree: Any) -> Risk:
    """
    Bound the work that a parsed pattern can cause.

    It is not bounded where it can grow exponentially, where a construct is unknown or cannot be combined with the
    rest, or where the pattern is too large to be judged.
    """
    flags = tree.state.flags
    try:
        automaton = build(tree, flags, searching=not anchored(tree, flags))
        return _judge(automaton, least_distance(tree, flags))
    except PatternRefused as refusal:
        return Risk(0, 0, refusal.part, False, False, refusal)


def _judge(automaton: Automaton, spread: int) -> Risk:
    aside_factor = _judge_lookbehinds(automaton)
    _refuse_exponential(automaton)
    links = link_loops(automaton)
    chain = worst_chain(automaton, links, spread)
    part = ", ".join(render(automaton.loops[index].nodes) for index in chain.loops)
    if automaton.has_reference and chain.degree:
        raise PatternRefused(
            "a reference to a group is only possible where the rest of the pattern needs linear work: "
            f"bound the repeat '{part}', or anchor the pattern with ^",
            part,
        )
    times = _local_factor(automaton) * aside_factor
    if chain.degree:
        times *= _walk_after(automaton, chain.loops[-1])
    factor = min(chain.weight(chain.spread) * times, _TOO_LARGE)
    linear_at_place = chain.degree == 1 and not worst_chain(automaton, links, 1, int(automaton.searching)).degree
    return Risk(1 + chain.degree, factor, part, automaton.has_reference, linear_at_place)


def _judge_lookbehinds(automaton: Automaton) -> int:
    factor = 1
    for body, flags in automaton.lookbehinds:
        risk = _judge(build(body, flags, searching=False), 1)
        automaton.has_reference |= risk.has_reference
        factor *= risk.factor * max(1, int(body.getwidth()[1]) // 16)
    return factor


def _refuse_exponential(automaton: Automaton) -> None:
    for index, loop in enumerate(automaton.loops):
        if exponential(automaton, index):
            part = render(loop.nodes)
            raise PatternRefused(
                f"the repeat '{part}' can read the same text in exponentially many ways, so the search "
                "can hang; rewrite it so that each text is read in one way only, e.g. 'a+' for '(a+)+'",
                part,
                "exponential",
            )


# --- what multiplies the work by a constant --------------------------------------------------------


def _local_factor(automaton: Automaton) -> int:
    """
    Multiply, along the worst way, the alternatives outside of loops that cannot be told apart at once.
    """
    owner = automaton.owner
    factor = [1] * len(owner)
    depth = [1] * len(owner)
    memo: _Memo = {}
    rows: dict[tuple[tuple[int, int], ...], int] = {}
    for state in reversed(range(len(owner))):
        ahead = [(to, ways) for to, ways in automaton.follow[state].items() if to > state]
        if not ahead:
            continue
        mine = owner[state]
        onward = tuple((to, ways) for to, ways in ahead if mine < 0 or owner[to] != mine)
        if onward not in rows:
            rows[onward] = _most_alike(automaton, dict(onward), memo)
        factor[state] = rows[onward] * max(factor[to] for to, _ in ahead)
        depth[state] = 1 + len(onward) // 8 + max(depth[to] for to, _ in ahead)
    return factor[0] * max(1, depth[0] // _WIDE)


def _most_alike(automaton: Automaton, onward: Ways, memo: _Memo) -> int:
    if len(onward) < 2:
        return max(onward.values(), default=1)
    groups: dict[int, list[int]] = {}
    for state in onward:
        groups.setdefault(automaton.masks[state], []).append(state)
    most = 1
    for mask, members in groups.items():
        rivals = [state for other, group in groups.items() if other & mask for state in group]
        automaton.spend(len(members) * len(rivals))
        for state in members:
            alike = sum(onward[other] for other in rivals if _alike(automaton, state, other, memo))
            most = max(most, alike)
    return most


def _alike(automaton: Automaton, one: int, other: int, memo: _Memo) -> bool:
    """
    Tell whether two alternatives agree for a few characters, so that the second is tried after the first.

    To pass a loop by is a number of its rounds like any other, and those are counted where loops compete.
    """
    follow, owner = automaton.follow, automaton.owner
    if one == other:
        return True
    if (owner[one] >= 0 and other in follow[one]) or (owner[other] >= 0 and one in follow[other]):
        return False
    return _agree(automaton, one, other, _LOOKAHEAD, memo)


def _agree(automaton: Automaton, one: int, other: int, depth: int, memo: _Memo) -> bool:
    """
    Tell whether some text can be read from both states for so many characters, or until they meet.
    """
    if not automaton.masks[one] & automaton.masks[other]:
        return False
    if one == other or depth == 0:
        return True
    key = (one, other, depth) if one < other else (other, one, depth)
    if key not in memo:
        left_row, right_row = automaton.follow[one], automaton.follow[other]
        automaton.spend(len(left_row) * len(right_row))
        memo[key] = any(_agree(automaton, left, right, depth - 1, memo) for left in left_row for right in right_row)
    return memo[key]


def _walk_after(automaton: Automaton, index: int) -> int:
    """
    Estimate the cost of a round of a loop and of going on after it, in a text that allows it everywhere.

    That text repeats one character, so the walk ends where no character is common to all its states.
    Choices and slow states make up the cost; single characters are cheap. A walk that was cut short is
    dear anyway.
    """
    masks, follow, owner = automaton.masks, automaton.follow, automaton.owner
    loop = automaton.loops[index]
    done: dict[tuple[int, int], tuple[int, int]] = {}

    def walk(state: int, common: int, left: int) -> tuple[int, int]:
        known = done.get((state, common))
        if known is not None:
            return known
        ahead = [to for to in follow[state] if to > state and owner[to] != index and left]
        automaton.spend(len(ahead), loop.nodes)
        ways = [walk(to, common & masks[to], left - 1) for to in ahead if common & masks[to]]
        cost, read = max(ways, default=(0, -1))
        several = len(ways if owner[state] == index else ahead) > 1
        cost += _CHOICE * several + _SLOW * any(to in automaton.slow for to in ahead)
        done[state, common] = result = (cost, read + 1)
        return result

    common = loop_characters(automaton, index)
    cost, read = max(walk(state, common, _WIDE) for state in loop.states)
    return 1 + _SLOW * any(state in automaton.slow for state in loop.states) + cost + read // 2
