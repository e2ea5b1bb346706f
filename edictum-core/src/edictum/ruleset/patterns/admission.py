"""
Admitting a pattern: the decision whether a ruleset may hold it, and on how long a text it may run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from edictum.ruleset.patterns.limits import (
    MAX_MATCH_CHARS,
    MAX_PATTERN_LENGTH,
    QUADRATIC_MATCH_CHARS,
    SLOW_MATCH_CHARS,
    PatternRefused,
    TextTooLong,
)

if TYPE_CHECKING:
    from edictum.ruleset.patterns.risk import Risk

_SEARCH_CHARS = (MAX_MATCH_CHARS, QUADRATIC_MATCH_CHARS, SLOW_MATCH_CHARS)
_REPLACE_CHARS = (*_SEARCH_CHARS, 500, 50)  # the untrimmed pattern may need more work
_CACHED_PATTERNS = 4_096


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """
    An admitted regular expression.

    Attributes:
        source: The pattern as written.
        limit: Longest text that `found` searches in any case. Where it is less than ``MAX_MATCH_CHARS`` and
            every match has a fixed text at a fixed place, a longer text is still searched if that text
            occurs so seldom in it that the work stays the same.
        found: Tells whether the pattern matches anywhere in a text, as ``re.search`` would, and raises
            `TextTooLong` for a text that is too long. A closure rather than a method: one call, not two.
    """

    source: str
    limit: int
    found: Callable[[str], bool] = field(repr=False)
    _whole: re.Pattern[str] = field(repr=False)
    _replace_limit: int = field(repr=False)

    def replace(self, text: str, replacement: str) -> str:
        """
        Replace every match by a fixed text.

        Args:
            text: The text to change.
            replacement: Put in place of each match as it is; nothing in it is expanded.

        Returns:
            The changed text.

        Raises:
            TextTooLong: The text is longer than what can be replaced in bounded time. That can be less
                than ``limit``, because finding the ends of a match needs the untrimmed pattern.
        """
        if len(text) > self._replace_limit:
            raise TextTooLong(len(text), self._replace_limit)
        return self._whole.sub(replacement.replace("\\", r"\\"), text)


@lru_cache(maxsize=_CACHED_PATTERNS)
def admit(source: str) -> Pattern:
    """
    Check and compile a pattern from a ruleset.

    Args:
        source: The pattern, in the syntax of the standard library.

    Returns:
        The pattern, ready to search.

    Raises:
        PatternRefused: The pattern is too long, does not compile, or could need unbounded work.
    """
    if len(source) > MAX_PATTERN_LENGTH:
        raise PatternRefused(
            f"the pattern has {len(source)} characters, more than {MAX_PATTERN_LENGTH}; split it into several patterns",
            source[:100],
        )
    # Imported here because a program that loads no pattern need not wait for the analysis.
    from re import _compiler  # type: ignore[attr-defined]

    from edictum.ruleset.patterns.borders import find_border
    from edictum.ruleset.patterns.needs import trim
    from edictum.ruleset.patterns.risk import analyse
    from edictum.ruleset.patterns.search import choose_finder
    from edictum.ruleset.patterns.tree import parse

    try:
        tree = parse(source)
        whole: re.Pattern[str] = _compiler.compile(tree)
        risk = analyse(tree)
        trimmed = tree if risk.has_reference else trim(tree)
        least = risk if trimmed is tree else analyse(trimmed)
        search = whole if trimmed is tree else _compiler.compile(trimmed)
        border = None if risk.has_reference else find_border(trimmed)
        if border is not None and not analyse(border.tail).affordable(MAX_MATCH_CHARS):
            border = None
        pieces = None if border is None else (border.char, _compiler.compile(border.tail[1:]))
    except (re.error, OverflowError) as error:
        raise PatternRefused(f"the pattern does not compile: {error}; correct it", source) from error
    except RecursionError as error:
        raise PatternRefused("the pattern is nested too deeply; flatten its groups", source) from error
    limit = _limit(least, _SEARCH_CHARS, source)
    replace_limit = _limit(risk, _REPLACE_CHARS, source)
    found = choose_finder(trimmed, search, limit, least.place_factor, pieces)
    return Pattern(source, limit, found, whole, replace_limit)


def _limit(risk: Risk, choices: Iterable[int], source: str) -> int:
    for length in choices:
        if risk.affordable(length):
            return length
    part = risk.part or source
    if risk.degree > 2:
        reason = (
            f"the work grows with the power {risk.degree} of the text's length, "
            f"because repeats can take each other's text: '{part}'"
        )
    else:
        reason = f"bounded repeats or alternatives that look alike multiply the work {risk.factor} times: '{part}'"
    advice = "anchor the pattern with ^, narrow the repeated characters, or split the rule into several leaves"
    raise PatternRefused(f"{reason}; {advice}", part)
