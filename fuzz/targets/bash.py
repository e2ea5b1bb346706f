"""
Texts of shell commands against bash: what was read is what bash runs and writes.

Bytes choose from the alphabet of ``test_sandbox_shell``, whose texts name no program and no file outside of an empty
folder, so that bash can run them.  One bash runs many; the finding names its text.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from edictum.sandbox.shell import SimpleCommand
from test_sandbox_shell import BASH, agrees, braces, comparable, observe, plain, quotes, redirections

LONGEST = 24
SECONDS = 300

_ALPHABET = plain + quotes + braces + redirections
_TOGETHER = 200
_waiting: dict[str, SimpleCommand] = {}
_seen: set[str] = set()

assert BASH is not None, "this target needs bash 5"


def target(data: bytes) -> None:
    """
    Read a text, and have bash run it together with others.
    """
    text = "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in data)
    command = comparable(text)
    if command is None or text in _seen:
        return
    _seen.add(text)
    _waiting[text] = command
    if len(_waiting) == _TOGETHER:
        run_waiting()


def run_waiting() -> None:
    """
    Compare the texts that were put aside.
    """
    waiting = dict(_waiting)
    _waiting.clear()
    for (text, command), found in zip(waiting.items(), observe(list(waiting)), strict=True):
        assert agrees(text, command, found), f"{text!r} was read as {command}, bash did {found}"


def seeds() -> Iterator[bytes]:
    """
    Random choices, the same ones each time.
    """
    source = random.Random(1)
    for size in (2, 4, 8, 16, 24) * 20:
        yield bytes(source.randrange(len(_ALPHABET)) for _ in range(size))


def words() -> list[str]:
    """
    None: the bytes only choose.
    """
    return []
