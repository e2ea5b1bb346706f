"""
The conditions of gates: one call of a known function, with texts in double quotes.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edictum.ruleset.patterns import Pattern, PatternRefused, admit
from edictum.ruleset.problems import did_you_mean, quote

ConditionKind: TypeAlias = Literal[
    "stage_complete", "file_read", "approval", "command_matches", "command_not_matches", "mcp_result_matches", "exec"
]

MAX_EXEC_SECONDS = 300
DEFAULT_EXEC_SECONDS = 30

# How many texts each function takes.
_ARGUMENTS: dict[str, tuple[int, ...]] = {
    "stage_complete": (1,),
    "file_read": (1,),
    "approval": (0, 1),
    "command_matches": (1,),
    "command_not_matches": (1,),
    "mcp_result_matches": (3,),
    "exec": (1,),
}
_CALL = re.compile(r"\s*([A-Za-z_]+)\s*\((.*)\)\s*", re.DOTALL)
_TEXT = re.compile(r'\s*"((?:[^"\\]|\\.)*)"\s*', re.DOTALL)
_NUMBER = re.compile(r"\s*(exit_code|timeout)\s*=\s*([0-9]{1,3})\s*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


class BadCondition(ValueError):  # noqa: N818  said of a document, not of the program
    """
    A text is no condition; ``str()`` says why and what to write.
    """


@dataclass(frozen=True, slots=True)
class Condition:
    """
    A condition that was read.

    Attributes:
        kind: The function.
        args: Its texts.
        pattern: The admitted pattern of ``command_matches`` and ``command_not_matches``.
        argv: The words of ``exec``.
        exit_code: The exit code that ``exec`` waits for.
        timeout: Seconds that ``exec`` may take.
    """

    kind: ConditionKind
    args: tuple[str, ...] = ()
    pattern: Pattern | None = None
    argv: tuple[str, ...] = ()
    exit_code: int = 0
    timeout: int = DEFAULT_EXEC_SECONDS


def parse_condition(text: str) -> Condition:
    r"""
    Read a condition.

    The functions are ``stage_complete("id")``, ``file_read("path")``, ``approval()`` and ``approval("stage")``,
    ``command_matches("pattern")``, ``command_not_matches("pattern")``, ``mcp_result_matches("tool", "field", "value")``
    and ``exec("command", exit_code=0, timeout=30)``.  In a text a backslash stands before a quote or another
    backslash.

    Raises:
        BadCondition: It is something else.
    """
    found = _CALL.fullmatch(text)
    if found is None:
        raise BadCondition(f'{quote(text)} is not a condition; write for example file_read("README.md")')
    kind, inside = found.groups()
    counts = _ARGUMENTS.get(kind)
    if counts is None:
        hint = did_you_mean(kind, _ARGUMENTS) or f"; known are {', '.join(_ARGUMENTS)}"
        raise BadCondition(f"unknown condition {quote(kind)}{hint}")
    args, numbers = _arguments(kind, inside)
    if len(args) not in counts:
        wanted = " or ".join(map(str, counts))
        raise BadCondition(f"{kind} takes {wanted} text(s) in double quotes, not {len(args)}")
    return _condition(kind, args, numbers)


def _condition(kind: str, args: tuple[str, ...], numbers: dict[str, int]) -> Condition:
    if kind in ("command_matches", "command_not_matches"):
        try:
            return Condition(kind, args, pattern=admit(args[0]))  # type: ignore[arg-type]
        except PatternRefused as error:
            raise BadCondition(str(error)) from None
    if kind == "exec":
        try:
            argv = tuple(shlex.split(args[0]))
        except ValueError as error:
            raise BadCondition(f"the command of exec cannot be split into words: {error}") from None
        if not argv:
            raise BadCondition("exec needs a command")
        timeout = numbers.get("timeout", DEFAULT_EXEC_SECONDS)
        if not 1 <= timeout <= MAX_EXEC_SECONDS:
            raise BadCondition(f"timeout of exec is 1 to {MAX_EXEC_SECONDS} seconds, not {timeout}")
        exit_code = numbers.get("exit_code", 0)
        if exit_code > 255:
            raise BadCondition(f"exit_code of exec is 0 to 255, not {exit_code}")
        return Condition("exec", args, argv=argv, exit_code=exit_code, timeout=timeout)
    if kind != "approval" and not args[0]:
        raise BadCondition(f"the text of {kind} is empty")
    return Condition(kind, args)  # type: ignore[arg-type]


def _arguments(kind: str, inside: str) -> tuple[tuple[str, ...], dict[str, int]]:
    texts: list[str] = []
    numbers: dict[str, int] = {}
    if not inside.strip():
        return (), numbers
    at = 0
    while True:
        text = _TEXT.match(inside, at)
        number = _NUMBER.match(inside, at) if kind == "exec" and texts else None
        if text is not None and not numbers:
            texts.append(_plain(text[1]))
            at = text.end()
        elif number is not None and number[1] not in numbers:
            numbers[number[1]] = int(number[2])
            at = number.end()
        else:
            options = ", or exit_code=N and timeout=N" if kind == "exec" else ""
            raise BadCondition(f"the arguments of {kind} are texts in double quotes{options}, separated by commas")
        if at == len(inside):
            return tuple(texts), numbers
        if inside[at] != ",":
            raise BadCondition(
                f"the arguments of {kind} are separated by commas; quotes inside a text need a backslash"
            )
        at += 1


def _plain(written: str) -> str:
    text = _ESCAPE.sub(_unescaped, written)
    if _CONTROL.search(text):
        raise BadCondition("a text of a condition holds no control character")
    return text


def _unescaped(match: re.Match[str]) -> str:
    if match[1] not in '\\"':
        said = quote(match[0])
        raise BadCondition(f"{said} is no escape in a condition; write two backslashes for one")
    return match[1]
