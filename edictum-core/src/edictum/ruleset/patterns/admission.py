"""
Admitting a pattern: the decision whether a ruleset may hold it, and which engine searches which texts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from edictum.ruleset.patterns.limits import (
    ALWAYS_SEARCHED,
    IRREGULAR_MATCH_CHARS,
    MAX_MATCH_CHARS,
    MAX_PATTERN_LENGTH,
    PatternRefused,
    RiskClass,
    TextTooLong,
)
from edictum.ruleset.time_budget import Deadline, TimeBudget

if TYPE_CHECKING:
    from edictum.ruleset.patterns.linear import LinearPattern
    from edictum.ruleset.patterns.regular import NotRegular, TooLarge
    from edictum.ruleset.patterns.risk import Risk
    from edictum.ruleset.patterns.search import Finder

Engine: TypeAlias = Literal["standard", "mixed", "linear"]

_CACHED_PATTERNS = 4_096
_SHORT_TEXT = 200  # characters replaced without a look at the clock

# The standard engine searches texts up to a length at which its worst case is a sixteenth of a second, if the linear
# engine can search longer ones; the standard engine is not worth it for less.
_SHARE, _LEAST_CHARS = 16, 1_000
# Otherwise it searches texts up to one of these lengths, at which its worst case is a second; replacing takes more.
_IRREGULAR_LIMITS = (MAX_MATCH_CHARS, IRREGULAR_MATCH_CHARS, ALWAYS_SEARCHED, 500, 50)


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """
    An admitted regular expression.

    Attributes:
        source: The pattern as written.
        risk: How the standard engine's work on it can grow with the text; ``safe`` is in proportion.
        engine: Which engine searches: ``standard`` all texts, ``linear`` all texts, or ``mixed``, the standard one
            short texts and the linear one long texts.
        limit: Longest text that `found` searches in any case. Where it is less than ``MAX_MATCH_CHARS`` and
            every match has a fixed text at a fixed place, a longer text is still searched at those places, as long
            as the time allows.
        found: Tells whether the pattern matches anywhere in a text, as ``re.search`` would, within a time budget.
            Raises `TextTooLong` for a text that is too long, and `RuleTimeoutError` when the budget is spent. A
            closure rather than a method: one call, not two.
        wanted: A text without which there is no match; empty when none is known.
    """

    source: str
    risk: RiskClass
    engine: Engine
    limit: int
    found: Finder = field(repr=False)
    wanted: str = field(repr=False)
    _whole: re.Pattern[str] = field(repr=False)
    _replace_chars: int = field(repr=False)  # longest text that the standard engine replaces in
    _linear: Callable[[], LinearPattern] | None = field(repr=False)

    def replace(self, text: str, replacement: str, budget: TimeBudget | None = None) -> str:
        """
        Replace every match by a fixed text.

        In a long text that would be risky for the standard engine, all that belongs to any match is replaced: at
        least what the standard engine would have replaced, and matches that touch or overlap by one replacement.

        Args:
            text: The text to change.
            replacement: Put in place of each match as it is; nothing in it is expanded.
            budget: How long that may take; without one a budget of its own.

        Returns:
            The changed text.

        Raises:
            TextTooLong: The text is longer than what can be replaced in bounded time. That can be less
                than ``limit``, because finding the ends of a match needs the untrimmed pattern.
            RuleTimeoutError: The time budget is spent.
        """
        if len(text) <= min(_SHORT_TEXT, self._replace_chars):
            return self._replaced(replacement, text)
        return (budget or TimeBudget()).run(partial(self._replaced, replacement), text)

    def _replaced(self, replacement: str, text: str, check: Deadline | None = None) -> str:
        if len(text) <= self._replace_chars:
            return self._whole.sub(replacement.replace("\\", r"\\"), text)
        if self._linear is None or len(text) > MAX_MATCH_CHARS:
            raise TextTooLong(len(text), self._replace_chars if self._linear is None else MAX_MATCH_CHARS)
        parts = []
        done = 0
        for start, end in self._linear().spans(text, check):
            parts += [text[done:start], replacement]
            done = end
        return "".join([*parts, text[done:]])


@lru_cache(maxsize=_CACHED_PATTERNS)
def admit(source: str) -> Pattern:
    """
    Check and compile a pattern from a ruleset.

    Args:
        source: The pattern, in the syntax of the standard library.

    Returns:
        The pattern, ready to search.

    Raises:
        PatternRefused: The pattern is too long, does not compile, or could need unbounded work and has a construct
            that the linear engine cannot read.
    """
    if len(source) > MAX_PATTERN_LENGTH:
        raise PatternRefused(
            f"the pattern has {len(source)} characters, more than {MAX_PATTERN_LENGTH}; split it into several patterns",
            source[:100],
        )
    try:
        return _judged(source)
    except (re.error, OverflowError) as error:
        raise PatternRefused(f"the pattern does not compile: {error}; correct it", source) from error
    except RecursionError as error:
        raise PatternRefused("the pattern is nested too deeply; flatten its groups", source) from error


def _judged(source: str) -> Pattern:
    # Imported here because a program that loads no pattern need not wait for the analysis.
    from re import _compiler  # type: ignore[attr-defined]

    from edictum.ruleset.patterns.needs import trim
    from edictum.ruleset.patterns.risk import analyse
    from edictum.ruleset.patterns.search import choose_finder
    from edictum.ruleset.patterns.tree import parse

    tree = parse(source)
    whole: re.Pattern[str] = _compiler.compile(tree)
    obstacle = _obstacle(tree)
    risk = analyse(tree)
    if obstacle is not None and risk.refusal is not None:
        raise _refused(risk, obstacle, source)
    trimmed = tree if risk.has_reference else trim(tree)
    least = risk if trimmed is tree else analyse(trimmed)
    limit, replace_chars = _standard_chars(least, obstacle), _standard_chars(risk, obstacle)
    if obstacle is not None and limit < ALWAYS_SEARCHED:
        raise _refused(least, obstacle, source)
    if obstacle is not None and not replace_chars:
        raise _refused(risk, obstacle, source)
    search = whole if trimmed is tree else _compiler.compile(trimmed)
    linear = linear_whole = None
    if obstacle is None:
        linear_whole = cache(partial(_build_linear, tree))
        linear = linear_whole if trimmed is tree else cache(partial(_build_linear, trimmed))
        if not limit:
            linear()  # every text needs it; elsewhere it waits for a long text
    found, wanted = choose_finder(trimmed, search, least, limit, linear)
    return Pattern(
        source=source,
        risk=_risk_class(least, limit),
        engine="standard" if limit == MAX_MATCH_CHARS or obstacle is not None else "mixed" if limit else "linear",
        limit=limit if obstacle is not None else MAX_MATCH_CHARS,
        found=found,
        wanted=wanted,
        _whole=whole,
        _replace_chars=replace_chars,
        _linear=linear_whole,
    )


def _obstacle(tree: Any) -> NotRegular | TooLarge | None:
    """
    Return what keeps the linear engine from reading a pattern.
    """
    from edictum.ruleset.patterns.regular import NotRegular, TooLarge, check_regular

    try:
        check_regular(tree)
    except (NotRegular, TooLarge) as obstacle:
        return obstacle
    return None


def _build_linear(tree: Any) -> LinearPattern:
    from edictum.ruleset.patterns.linear import LinearPattern

    return LinearPattern(tree)


def _standard_chars(risk: Risk, obstacle: object) -> int:
    """
    Tell how long a text the standard engine may search.
    """
    from edictum.ruleset.patterns.risk import UNITS_OF_A_SECOND

    if obstacle is None:
        chars = risk.reach(UNITS_OF_A_SECOND // _SHARE)
        return chars if chars >= _LEAST_CHARS else 0
    chars = risk.reach(UNITS_OF_A_SECOND)
    return next((limit for limit in _IRREGULAR_LIMITS if limit <= chars), 0)


def _risk_class(risk: Risk, standard_chars: int) -> RiskClass:
    if risk.refusal is not None:
        return risk.refusal.risk
    if risk.degree > 1:
        return "quadratic" if risk.degree == 2 else "polynomial"
    return "safe" if standard_chars else "exponential"  # bounded repeats multiply the work like an exponent


def _refused(risk: Risk, obstacle: Exception, source: str) -> PatternRefused:
    """
    Make the refusal of a pattern that is too much for the standard engine, and no pattern for the linear one.
    """
    part = risk.part or source
    if risk.refusal is not None:
        reason = str(risk.refusal)
    elif risk.degree > 2:
        reason = (
            f"the work grows with the power {risk.degree} of the text's length, because repeats can take each "
            f"other's text: '{part}'; anchor the pattern with ^, or narrow the repeated characters"
        )
    else:
        reason = (
            f"bounded repeats or alternatives that look alike multiply the work {risk.factor} times: '{part}'; "
            "lower the bounds, or split the rule into several leaves"
        )
    return PatternRefused(f"{reason}; {obstacle}", part)
