"""
Every error that edictum raises on purpose.

    EdictumError
    ├── EdictumConfigError      a ruleset, an option or a command line is wrong; nothing was loaded
    ├── EdictumDenied           a tool call was blocked; the tool did not run
    ├── EdictumToolError        the tool ran and failed
    ├── SelfTestError           an adapter is not in the way of its framework's tool calls
    └── MarkEvictedError        a mark points at decision-log events that are no longer held

Errors of misuse by the programmer (a wrong argument type, an id with a control character) are
``TypeError`` and ``ValueError`` as everywhere in Python.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


class EdictumError(Exception):
    """
    Base of all errors raised by edictum.
    """


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """
    One thing that is wrong in a ruleset or another document.

    Attributes:
        path: Where in the document, for example ``rules[0].then.action``; empty for the whole document.
        message: What is wrong and what to do about it.
        file: Name of the file, or None when the document did not come from one.
        line: 1-based line, or None when the document carried no positions (a mapping).
        column: 1-based column, or None.
    """

    path: str
    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        place = self.file or ""
        if self.line is not None:
            place += f":{self.line}:{self.column}" if place else f"line {self.line}, column {self.column}"
        parts = [part for part in (place, self.path) if part]
        return ": ".join([*parts, self.message])


class EdictumConfigError(EdictumError):
    """
    A ruleset or an option was refused.

    ``errors`` holds every problem that was found; ``str()`` shows the first three.
    """

    _SHOWN = 3

    def __init__(self, message: str, errors: Iterable[ConfigProblem] = ()) -> None:
        self.errors: tuple[ConfigProblem, ...] = tuple(errors)
        super().__init__(message)

    @classmethod
    def from_problems(cls, problems: Iterable[ConfigProblem], what: str = "ruleset") -> EdictumConfigError:
        """
        Build the error from problems of a document, in its order as far as lines are known.
        """
        found = sorted(problems, key=lambda problem: problem.line or 0)
        shown = "; ".join(str(problem) for problem in found[: cls._SHOWN])
        more = len(found) - cls._SHOWN
        if more > 0:
            shown += f"; and {more} more"
        return cls(f"invalid {what}: {shown}", found)


class EdictumDenied(EdictumError):  # noqa: N818  the published family uses this name
    """
    A tool call was blocked and the tool did not run.

    Attributes:
        reason: Text for the agent: why, and what to do instead.
        decision_source: Kind of check that blocked, for example ``yaml_precondition``.
        decision_name: The rule, hook or limit that blocked.
        action: The event that was written, for example ``call_approval_denied``; None where the error was not raised
            by a guard.
    """

    def __init__(
        self,
        reason: str,
        decision_source: str | None = None,
        decision_name: str | None = None,
        action: str | None = None,
    ) -> None:
        self.args = (reason,)
        self.reason = reason
        self.decision_source = decision_source
        self.decision_name = decision_name
        self.action = action


class EdictumToolError(EdictumError):
    """
    The tool ran and failed; the original exception, if there was one, is ``__cause__``.

    Attributes:
        result: What the tool returned or the text of its exception, after redaction.
    """

    def __init__(self, result: Any) -> None:
        self.result = result
        super().__init__(str(result))


class SelfTestError(EdictumError):
    """
    The self-test of an adapter failed: calls of the framework may run unguarded.
    """


class MarkEvictedError(EdictumError):
    """
    The events after a mark are no longer all held by the collecting sink.
    """
