"""
How long the patterns of a ruleset may search.

A search of a short text is not measured: it is over before a clock could be read twice.  Whatever could take
longer runs within a :class:`TimeBudget`, which the engine makes for each decision and hands to the conditions.
So nothing is shared between threads, or between calls that take turns on an event loop.
"""

from __future__ import annotations

from collections.abc import Callable
from time import thread_time
from typing import TypeAlias, TypeVar

RULE_SECONDS = 0.25
CALL_SECONDS = 2.0

Deadline: TypeAlias = Callable[[], None]
Found = TypeVar("Found")


class RuleTimeoutError(RuntimeError):
    """
    Searching took longer than a rule or a call may take; its text begins with ``rule_timeout``.
    """

    def __init__(self, whose: str, seconds: float) -> None:
        super().__init__(f"rule_timeout: the searches of one {whose} took more than {round(seconds * 1000)} ms")


class TimeBudget:
    """
    What is left of the time for one decision, and for the rule that is judged.

    It is the time of the processor that counts, not that of the wall: a search that waits while other threads run
    is not slow.

    Attributes:
        rule: The rule that is judged; None for work that counts for the whole decision only.
    """

    # Values of the class, because hardly any decision ever needs its own.
    rule: object = None
    _measured: object = None  # the rule that the following belongs to
    _rule_left = RULE_SECONDS
    _call_left = CALL_SECONDS

    def run(self, search: Callable[[str, Deadline], Found], text: str) -> Found:
        """
        Search a text within the time that is left, and count what it took.

        A search that comes to its end is answered, however long it took; it is the next one that does not start.

        Args:
            search: A function of the text, and of a function to be called at times.  That one raises when the
                time is up; a search that cannot be interrupted does not call it.
            text: The text.

        Returns:
            What the search returns.

        Raises:
            RuleTimeoutError: No time is left.
        """
        if self._measured is not self.rule:
            self._measured = self.rule
            self._rule_left = RULE_SECONDS
        self._check(0.0)
        began = thread_time()
        try:
            return search(text, lambda: self._check(thread_time() - began))
        finally:
            spent = thread_time() - began
            self._call_left -= spent
            self._rule_left -= spent

    def _check(self, spent: float) -> None:
        if spent >= self._call_left:
            raise RuleTimeoutError("call", CALL_SECONDS)
        if spent >= self._rule_left and self.rule is not None:
            raise RuleTimeoutError("rule", RULE_SECONDS)
