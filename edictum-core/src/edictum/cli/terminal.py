"""
What the commands print, and the error that ends one.

Rulesets, arguments and outputs hold text of others; every line is written so that a terminal shows it and does not
obey it.
"""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

from edictum.text import escape_controls


class CommandError(Exception):
    """
    The command cannot go on.

    Args:
        *lines: What is wrong and what to do, one line each.
        code: Exit code; 2 means that the command was used wrongly.
    """

    def __init__(self, *lines: str, code: int = 2) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
        self.code = code


def say(line: str = "") -> None:
    """
    Print one line.
    """
    _print(escape_controls(line), sys.stdout)


def note(line: str) -> None:
    """
    Print one line beside the result, to stderr.
    """
    _print(escape_controls(line), sys.stderr)


def say_json(data: Any) -> None:
    """
    Print data as JSON in plain ASCII, which no terminal obeys.
    """
    say_raw(json.dumps(data, indent=2, allow_nan=False))


def say_raw(text: str) -> None:
    """
    Print JSON that is in plain ASCII already.
    """
    # DEL is the only control character that the encoder leaves as it is.
    _print(text.replace("\x7f", "\\u007f"), sys.stdout)


def complain(error: CommandError) -> None:
    """
    Show an error to a person.
    """
    first, *others = error.lines
    note(f"error: {first}")
    for line in others:
        note(f"  {line}")


def complain_json(error: CommandError) -> None:
    """
    Show an error to a program.
    """
    say_json({"error": str(error), "success": False})


def counted(number: int, noun: str) -> str:
    """
    A number with its noun, for example ``1 rule`` and ``2 rules``.
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _print(line: str, stream: TextIO) -> None:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), file=stream)
