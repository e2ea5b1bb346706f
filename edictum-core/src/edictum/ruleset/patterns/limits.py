"""
The limits that patterns keep to, and the two errors that tell of them.
"""

from __future__ import annotations

MAX_PATTERN_LENGTH = 10_000
MAX_MATCH_CHARS = 1_000_000
QUADRATIC_MATCH_CHARS = 10_000
SLOW_MATCH_CHARS = 5_000  # for quadratic work whose single steps are slow


class PatternRefused(ValueError):  # noqa: N818  a refusal is an answer, not a malfunction
    """
    A regular expression was refused when the ruleset was loaded.

    Attributes:
        part: The part of the pattern that is the reason, as text.
    """

    def __init__(self, message: str, part: str) -> None:
        self.part = part
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
        super().__init__(
            f"the text has {length} characters, more than the {limit} that this pattern can search in "
            "bounded time; shorten the text, or rewrite the pattern so that its repeats "
            "cannot take each other's text"
        )
