"""
Telling whether a pattern matches somewhere in a text, as fast as its fixed texts allow.

Where every match has a fixed text at a fixed place, that text is looked for with ``str.find`` and only its
surroundings are matched.  The clock is looked at only where a search could take long, and texts beyond what the
standard engine can afford go to the linear engine.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from re import _compiler  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeAlias

from edictum.ruleset.patterns.borders import find_border
from edictum.ruleset.patterns.limits import MAX_MATCH_CHARS, TextTooLong
from edictum.ruleset.patterns.needs import Literals
from edictum.ruleset.patterns.risk import UNITS_OF_A_SECOND, Risk, analyse
from edictum.ruleset.patterns.tree import anchored, begins_with_text
from edictum.ruleset.time_budget import Deadline, TimeBudget

if TYPE_CHECKING:
    from edictum.ruleset.patterns.linear import LinearPattern

_SHORT_TEXT = 200  # up to here one plain search is as fast as trying the places of a text
_FREE_PLACES = 8  # places tried before their density is looked at
_PLACE_GAP = 32  # places closer than this on average cost more than the plain search

_UNMEASURED_UNITS = UNITS_OF_A_SECOND // 100
_UNMEASURED_LINEAR = 1_000  # characters that the linear engine searches without a look at the clock

Look: TypeAlias = Callable[..., bool]  # of a text and its timing: a budget, or once that is running its deadline


class Finder(Protocol):
    """
    The search for one pattern.
    """

    def __call__(self, text: str, budget: TimeBudget | None = None, /) -> bool:
        """
        Whether the pattern matches somewhere in a text; raises where that cannot be told.
        """


def choose_finder(
    tree: Any, compiled: re.Pattern[str], risk: Risk, limit: int, linear: Callable[[], LinearPattern] | None
) -> tuple[Finder, str]:
    """
    Choose the fastest way to tell whether a pattern matches somewhere in a text.

    Args:
        tree: The parsed pattern.
        compiled: The same, compiled.
        risk: The same, judged.
        limit: Longest text that the standard engine searches whatever it holds.
        linear: Gives the linear engine for longer texts; None where it cannot read the pattern.

    Returns:
        A function that tells it, and a text without which there is no match; empty when none is known. The function
        raises `TextTooLong` for a text that is too long, and `RuleTimeoutError` when its time budget is spent;
        without one it has a budget of its own.
    """
    literals = Literals(tree)
    border = _cheap_border(tree, literals)
    best = literals.best()
    wanted = best[0] if best else border[0] if border else ""
    if linear is not None:
        beyond = _search_linearly(linear)
        if not limit:
            return _find_linearly(beyond, wanted), wanted
    else:
        placed = literals.placed() if risk.linear_at_place else None
        beyond = _search_places(compiled, *placed) if placed else _too_long(limit)
    standard = partial(_find_between, compiled, *border, limit * limit) if border else _chosen(tree, compiled, literals)
    careful = standard(MAX_MATCH_CHARS if border else limit, beyond)
    return standard(min(limit, risk.reach(_UNMEASURED_UNITS)), _in_time(careful, wanted)), wanted


def _cheap_border(tree: Any, literals: Literals) -> tuple[str, re.Pattern[str]] | None:
    """
    Find the border of a pattern that has no better fixed text: the character, and the compiled tail.
    """
    best = literals.best()
    if literals.exact or anchored(tree, tree.state.flags) or (best is not None and best[1] is not None):
        return None
    border = find_border(tree)
    if border is None or analyse(border.tail).reach(UNITS_OF_A_SECOND) < MAX_MATCH_CHARS:
        return None
    return border.char, _compiler.compile(border.tail[1:])


def _chosen(tree: Any, compiled: re.Pattern[str], literals: Literals) -> Callable[[int, Look], Look]:
    """
    Choose how the standard engine looks for a pattern, in texts up to a length; longer ones go to another look.
    """
    best = literals.best()
    if literals.exact:
        return partial(_find_text, literals.runs[0][0] if literals.runs else "")
    if anchored(tree, tree.state.flags):
        return partial(_find_plainly, compiled.match)
    if best is None:
        return partial(_find_plainly, compiled.search)
    text, offset = best
    if begins_with_text(tree, tree.state.flags):
        return partial(_find_from_prefix, compiled, text)
    if offset is None:
        return partial(_find_if_present, compiled, text)
    return partial(_find_at_text, compiled, text, offset)


def _in_time(look: Look, wanted: str) -> Look:
    """
    Look for a pattern whose matches all hold a fixed text; begin to measure the time where that text is present.
    """

    def found(text: str, budget: TimeBudget | None = None) -> bool:
        if wanted not in text and len(text) <= MAX_MATCH_CHARS:
            return False
        return (budget or TimeBudget()).run(look, text)

    return found


# --- texts beyond the limit of the standard engine --------------------------------------------------


def _too_long(limit: int) -> Callable[..., NoReturn]:
    def beyond(text: str, check: Deadline | None = None) -> NoReturn:
        raise TextTooLong(len(text), limit)

    return beyond


def _search_linearly(linear: Callable[[], LinearPattern]) -> Look:
    def beyond(text: str, check: Deadline | None = None) -> bool:
        if len(text) > MAX_MATCH_CHARS:
            raise TextTooLong(len(text), MAX_MATCH_CHARS)
        return linear().found(text, check)

    return beyond


def _find_linearly(look: Look, wanted: str) -> Look:
    measured = _in_time(look, wanted)

    def found(text: str, budget: TimeBudget | None = None) -> bool:
        return wanted in text and look(text) if len(text) <= _UNMEASURED_LINEAR else measured(text, budget)

    return found


def _search_places(compiled: re.Pattern[str], wanted: str, offset: int) -> Look:
    """
    Search a long text at the places of a fixed text only, with a look at the deadline after each.
    """
    match = compiled.match

    def beyond(text: str, check: Deadline) -> bool:
        if len(text) > MAX_MATCH_CHARS:
            raise TextTooLong(len(text), MAX_MATCH_CHARS)
        at = text.find(wanted, offset)
        while at >= 0:
            if match(text, at - offset) is not None:
                return True
            check()
            at = text.find(wanted, at + 1)
        return False

    return beyond


# --- ways to look with the standard engine ----------------------------------------------------------


def _find_text(wanted: str, limit: int, beyond: Look) -> Look:
    return lambda text, timing=None: wanted in text if len(text) <= limit else beyond(text, timing)


def _find_plainly(test: Callable[[str], re.Match[str] | None], limit: int, beyond: Look) -> Look:
    return lambda text, timing=None: test(text) is not None if len(text) <= limit else beyond(text, timing)


def _find_if_present(compiled: re.Pattern[str], wanted: str, limit: int, beyond: Look) -> Look:
    search = compiled.search

    def found(text: str, timing: Any = None) -> bool:
        return wanted in text and search(text) is not None if len(text) <= limit else beyond(text, timing)

    return found


def _find_from_prefix(compiled: re.Pattern[str], wanted: str, limit: int, beyond: Look) -> Look:
    search = compiled.search

    def found(text: str, timing: Any = None) -> bool:
        if len(text) <= _SHORT_TEXT:
            return wanted in text and search(text) is not None
        return search(text) is not None if len(text) <= limit else beyond(text, timing)

    return found


def _find_at_text(compiled: re.Pattern[str], wanted: str, offset: int, limit: int, beyond: Look) -> Look:
    search, match = compiled.search, compiled.match

    def found(text: str, timing: Any = None) -> bool:
        length = len(text)
        if length <= _SHORT_TEXT:
            return wanted in text and search(text) is not None
        if length > limit:
            return beyond(text, timing)
        find = text.find
        at = find(wanted, offset)
        tried = 0
        while at >= 0:
            if match(text, at - offset) is not None:
                return True
            tried += 1
            if tried > _FREE_PLACES and tried * _PLACE_GAP > at:
                return search(text, at - offset + 1) is not None
            at = find(wanted, at + 1)
        return False

    return found


def _find_between(
    compiled: re.Pattern[str], border: str, tail: re.Pattern[str], work: int, limit: int, beyond: Look
) -> Look:
    """
    Search the pieces of a text between borders, and of these only the ones with the tail behind their border.

    They may need so much work together: the sum of the squares of their lengths.
    """
    search, behind = compiled.search, tail.match

    def found(text: str, timing: Any = None) -> bool:
        length = len(text)
        if length <= _SHORT_TEXT:
            return border in text and search(text) is not None
        if length > limit:
            return beyond(text, timing)
        left = work
        start = 0
        at = text.find(border)
        while at >= 0:
            following = text.find(border, at + 1)
            if behind(text, at + 1) is not None:
                end = length if following < 0 else following + 1  # the edge of a word is seen from both sides
                left -= (end - start) * (end - start)
                if left < 0:
                    return beyond(text, timing)
                if search(text, start, end) is not None:
                    return True
            start = at + 1
            at = following
        return False

    return found
