"""
The limits that patterns keep to, how risky they are called, and the two errors that tell of them.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

MAX_PATTERN_LENGTH = 10_000
MAX_MATCH_CHARS = 1_000_000
IRREGULAR_MATCH_CHARS = 10_000  # for risky patterns that only the standard engine can read
ALWAYS_SEARCHED = 5_000  # a pattern that could not search every text of so many characters is refused

RiskClass: TypeAlias = Literal["safe", "quadratic", "polynomial", "exponential", "unknown"]


class PatternRefused(ValueError):  # noqa: N818  a refusal is an answer, not a malfunction
    """
    A regular expression was refused when the ruleset was loaded.

    Attributes:
        part: The part of the pattern that is the reason, as text.
        risk: How much work it could cause.
    """

    def __init__(self, message: str, part: str, risk: RiskClass = "unknown") -> None:
        self.part = part
        self.risk = risk
        super().__init__(message)


class TextTooLong(ValueError):  # noqa: N818  a limit was met, nothing malfunctioned
    """
    A text is longer than what a pattern may be run on.

    Attributes:
        length: Characters of the text.
        limit: Characters up to which the pattern is run on any text.
    """

    def __init__(self, length: int, limit: int) -> None:
        self.length = length
        self.limit = limit
        if limit < MAX_MATCH_CHARS:
            reason = (
                "this pattern can search in bounded time; shorten the text, or write the pattern without references "
                "and lookarounds, or so that its repeats cannot take each other's text"
            )
        else:
            reason = "patterns search; shorten the text"
        super().__init__(f"the text has {length} characters, more than the {limit} that {reason}")
