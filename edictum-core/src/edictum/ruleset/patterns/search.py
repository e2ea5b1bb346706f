"""
Telling whether a pattern matches somewhere in a text, as fast as its fixed texts allow.

Where every match has a fixed text at a fixed place, that text is looked for with ``str.find`` and only its
surroundings are matched.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NoReturn

from edictum.ruleset.patterns.limits import MAX_MATCH_CHARS, TextTooLong
from edictum.ruleset.patterns.needs import Literals
from edictum.ruleset.patterns.tree import anchored, begins_with_text

_SHORT_TEXT = 200  # up to here one plain search is as fast as trying the places of a text
_FREE_PLACES = 8  # places tried before their density is looked at
_PLACE_GAP = 32  # places closer than this on average cost more than the plain search

_STEPS_BEYOND = 50_000_000  # units of work in a text beyond the limit: as many as in one at the limit, n * n / 2

Finder = Callable[[str], bool]


def choose_finder(
    tree: Any,
    compiled: re.Pattern[str],
    limit: int,
    place_factor: int,
    border: tuple[str, re.Pattern[str]] | None = None,
) -> Finder:
    """
    Choose the fastest way to tell whether a pattern matches somewhere in a text.

    Args:
        tree: The parsed pattern.
        compiled: The same, compiled.
        limit: Longest text that is searched whatever it holds.
        place_factor: See `Risk`; with it a longer text is searched if few matches can begin in it.
        border: See `Border`: the character, and the compiled tail, whose work is linear.

    Returns:
        A function that tells it, and raises `TextTooLong` for a text beyond the limit.
    """
    literals = Literals(tree)
    placed = literals.placed() if place_factor else None
    beyond = _search_places(compiled, *placed, limit, place_factor) if placed else _too_long(limit)
    if literals.exact:
        return _find_text(literals.runs[0][0] if literals.runs else "", limit, beyond)
    if anchored(tree, tree.state.flags):
        return _find_plainly(compiled.match, limit, beyond)
    best = literals.best()
    if border is not None and (best is None or best[1] is None):
        return _find_between(compiled, *border, limit)
    if best is None:
        return _find_plainly(compiled.search, limit, beyond)
    text, offset = best
    if begins_with_text(tree, tree.state.flags):
        return _find_from_prefix(compiled, text, limit, beyond)
    if offset is None:
        return _find_if_present(compiled, text, limit, beyond)
    return _find_at_text(compiled, text, offset, limit, beyond)


def _too_long(limit: int) -> Callable[[str], NoReturn]:
    def beyond(text: str) -> NoReturn:
        raise TextTooLong(len(text), limit)

    return beyond


def _search_places(compiled: re.Pattern[str], wanted: str, offset: int, limit: int, place_factor: int) -> Finder:
    """
    Search a long text at the places of a fixed text only, if these are few enough for its length.

    They are counted before any is tried, so a text that is too long is refused at once. ``str.count`` would
    miss places that overlap.
    """
    match = compiled.match

    def beyond(text: str) -> bool:
        length = len(text)
        if length > MAX_MATCH_CHARS:
            raise TextTooLong(length, limit)
        most = _STEPS_BEYOND // (length * place_factor)
        places: list[int] = []
        at = text.find(wanted, offset)
        while at >= 0:
            if len(places) >= most:
                raise TextTooLong(length, limit)
            places.append(at - offset)
            at = text.find(wanted, at + 1)
        return any(match(text, place) is not None for place in places)

    return beyond


def _find_text(wanted: str, limit: int, beyond: Finder) -> Finder:
    return lambda text: wanted in text if len(text) <= limit else beyond(text)


def _find_plainly(test: Callable[[str], re.Match[str] | None], limit: int, beyond: Finder) -> Finder:
    return lambda text: test(text) is not None if len(text) <= limit else beyond(text)


def _find_if_present(compiled: re.Pattern[str], wanted: str, limit: int, beyond: Finder) -> Finder:
    search = compiled.search
    return lambda text: wanted in text and search(text) is not None if len(text) <= limit else beyond(text)


def _find_from_prefix(compiled: re.Pattern[str], wanted: str, limit: int, beyond: Finder) -> Finder:
    search = compiled.search

    def found(text: str) -> bool:
        if len(text) <= _SHORT_TEXT:
            return wanted in text and search(text) is not None
        return search(text) is not None if len(text) <= limit else beyond(text)

    return found


def _find_at_text(compiled: re.Pattern[str], wanted: str, offset: int, limit: int, beyond: Finder) -> Finder:
    search, match = compiled.search, compiled.match

    def found(text: str) -> bool:
        length = len(text)
        if length <= _SHORT_TEXT:
            return wanted in text and search(text) is not None
        if length > limit:
            return beyond(text)
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


def _find_between(compiled: re.Pattern[str], border: str, tail: re.Pattern[str], limit: int) -> Finder:
    """
    Search the pieces of a text between borders, and of these only the ones with the tail behind their border.

    The pieces that are searched may need as much work together as one text at the limit.
    """
    search, behind = compiled.search, tail.match

    def found(text: str) -> bool:
        length = len(text)
        if length <= _SHORT_TEXT:
            return border in text and search(text) is not None
        if length > MAX_MATCH_CHARS:
            raise TextTooLong(length, limit)
        work = limit * limit
        start = 0
        at = text.find(border)
        while at >= 0:
            following = text.find(border, at + 1)
            if behind(text, at + 1) is not None:
                end = length if following < 0 else following + 1  # the edge of a word is seen from both sides
                work -= (end - start) * (end - start)
                if work < 0:
                    raise TextTooLong(length, limit)
                if search(text, start, end) is not None:
                    return True
            start = at + 1
            at = following
        return False

    return found
