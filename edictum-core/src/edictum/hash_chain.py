r"""
The hash chain of a decision log: every line vouches for all lines before it.

A link is an event whose last two keys are ``prev_hash`` and ``hash``:

    {"schema_version":...,"prev_hash":"<hash of the link before>","hash":"<its own>"}

``hash`` is SHA-256, in lower-case hexadecimal, over the 64 characters of ``prev_hash`` and then the line itself
without ``,"hash":"..."`` and without the line break.  The bytes are taken as they stand in the file, so that no two
programs can disagree about how numbers, escapes or the order of keys are written.  The first link follows
:data:`GENESIS`.

A line that is no link was left unfinished by a process that was killed, or written by a sink without the chain.
The next link seals it: it follows SHA-256 over the hash before, a line break, and the bytes of that line.  A line
holds no line break, so this can never be mistaken for a link.

The hash has no key.  Whoever may write the file can compute the rest of the chain anew after a change; only a hash
that was kept elsewhere shows that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

GENESIS = "0" * 64
"""What the first link follows."""

_END = re.compile(rb',"prev_hash":"([0-9a-f]{64})","hash":"([0-9a-f]{64})"\}\Z')

LINK_BYTES = len(',"prev_hash":"","hash":""') + 2 * len(GENESIS)
"""How much longer an event becomes as a link."""

# How much of a file's end is searched for a link before the whole file is.
_WINDOW = 1 << 18


class Link(NamedTuple):
    """
    What a line says about its place in the chain.

    Attributes:
        prev_hash: The hash that it follows.
        hash: Its own hash, as written.
        text: The line without its own hash.
    """

    prev_hash: str
    hash: str
    text: bytes

    @property
    def is_genuine(self) -> bool:
        """
        Whether the hash is that of the text.
        """
        return self.hash == _digest(self.prev_hash, self.text)


def make_link(event: bytes, prev_hash: str) -> tuple[bytes, str]:
    """
    Add an event to the chain.

    Args:
        event: JSON object with at least one key, on one line, without a line break.
        prev_hash: The hash to follow.

    Returns:
        The line without a line break, and its hash.
    """
    text = b'%b,"prev_hash":"%b"}' % (event[:-1], prev_hash.encode())
    digest = _digest(prev_hash, text)
    return b'%b,"hash":"%b"}' % (text[:-1], digest.encode()), digest


def read_link(line: bytes) -> Link | None:
    """
    Read a line without its line break; None means that it is no link.
    """
    end = _END.search(line, max(0, len(line) - LINK_BYTES - 1))
    if end is None:
        return None
    prev_hash, digest = end.groups()
    text = line[: end.start(2) - len(b',"hash":"')] + b"}"
    return Link(prev_hash.decode(), digest.decode(), text)


def seal(prev_hash: str, line: bytes) -> str:
    """
    The hash to follow after a line that is no link, given without its line break.
    """
    return _digest(prev_hash, b"\n" + line)


class ChainWriter:
    """
    The place in a chain at which one sink writes.
    """

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = GENESIS

    def catch_up(self, tail: bytes, files: Iterable[str]) -> None:
        """
        Go on from what others wrote.

        Args:
            tail: The last 256 bytes of the log, or all when there are fewer.
            files: The parts of the log, the newest first; they are read when the tail is not the end of a link.

        Raises:
            OSError: One of the files cannot be read.
        """
        link = read_link(tail.removesuffix(b"\n"))
        self._last = chain_end(files) if link is None else link.hash

    def link(self, event: bytes) -> bytes:
        """
        The next line, see :func:`make_link`.
        """
        line, self._last = make_link(event, self._last)
        return line

    def length(self, event: bytes) -> int:
        """
        How long the line of an event is.
        """
        return len(event) + LINK_BYTES


def chain_end(files: Iterable[str]) -> str:
    """
    The hash that the next link follows.

    Args:
        files: The parts of a log, the newest first.  No more of them are read than needed.

    Raises:
        OSError: One of them cannot be read.
    """
    unread: list[str] = []
    digest, start = GENESIS, 0
    for path in files:
        unread.append(path)
        found = _find_last_link(path)
        if found is not None:
            digest, start = found
            break
    for path in reversed(unread):
        with open(path, "rb") as file:
            file.seek(start)
            start = 0
            for line in file:
                digest = seal(digest, line.removesuffix(b"\n"))
    return digest


def _find_last_link(path: str) -> tuple[str, int] | None:
    """
    Hash of the last link in a file and the offset behind it.
    """
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        for start in (max(0, size - _WINDOW), 0):
            found = None
            offset = file.seek(start)
            for line in file:
                offset += len(line)
                link = read_link(line.removesuffix(b"\n"))
                if link is not None:
                    found = (link.hash, offset)
            if found is not None or start == 0:
                return found
    raise AssertionError("the second search starts at 0")


def _digest(prev_hash: str, text: bytes) -> str:
    return sha256(prev_hash.encode() + text).hexdigest()
