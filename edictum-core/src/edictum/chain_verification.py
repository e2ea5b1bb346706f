"""
Checking a chained decision log: was a line changed, removed, inserted or moved?

What each line must be is said in :mod:`edictum.hash_chain`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from edictum.file_sink import rotated_files
from edictum.hash_chain import GENESIS, Link, read_link, seal

# Findings that are kept; all are counted.
MAX_FINDINGS = 100

# How often the files are opened anew because they were rotated meanwhile.
ATTEMPTS = 100

_CHANGED = "this line was changed: its hash is not that of its text"
_NOT_THE_BEGINNING = "the log does not begin here: the lines before this one are missing"
_NEW_CHAIN = "a new chain begins here: the lines before it are of another log, or were gone when it was written"
_NO_SUCCESSOR = "this line does not follow the one before it: lines were changed, removed, inserted or moved"
_UNFINISHED = "an unfinished line: it is being written, its writer was killed, or the end was cut off"

_NUMBERED = re.compile(r"(.+)\.([1-9][0-9]{0,5})")


class LineFinding(NamedTuple):
    """
    What is to be said about one line.

    Attributes:
        file: The file.
        line: Number of the line in it, from 1.
        message: What was found.
    """

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


@dataclass(slots=True)
class ChainReport:
    """
    What was found in a log.

    Attributes:
        files: How many lines each file holds, the oldest file first.
        links: How many lines are links of the chain.
        others: Lines that are no links, the first :data:`MAX_FINDINGS` of them.
        other_lines: How many these are.
        first_break: The first line at which the chain does not hold.
        breaks: How many there are.
        unfinished: The last line of the log when it is no link and lacks its line break: it is being written, or
            its writer was killed, or the end was cut off.
        starts_after: The hash before the first link, when that is not the beginning of the log.
        last_hash: The hash of the last link; None without any.
        not_found: Hashes that were expected and are not in the log.
    """

    files: dict[str, int] = field(default_factory=dict)
    links: int = 0
    others: list[LineFinding] = field(default_factory=list)
    other_lines: int = 0
    first_break: LineFinding | None = None
    breaks: int = 0
    unfinished: LineFinding | None = None
    starts_after: str | None = None
    last_hash: str | None = None
    not_found: tuple[str, ...] = ()

    @property
    def lines(self) -> int:
        """
        How many lines all files hold.
        """
        return sum(self.files.values())

    @property
    def intact(self) -> bool:
        """
        Whether the chain holds and every expected hash was found.
        """
        return self.breaks == 0 and not self.not_found


def verify(paths: Sequence[str], *, expected: Collection[str] = (), start_may_be_missing: bool = False) -> ChainReport:
    """
    Check one log, which may be in use.

    Nothing can tell that lines were cut off at the end, unless a hash that stood there was kept and is expected.

    Args:
        paths: The files of the log, the oldest first.  ``path.1`` and so on are read before ``path`` without being
            named.
        expected: Hashes that must be in the log.
        start_may_be_missing: Accept a log whose oldest files are gone, as after rotation has deleted them.

    Raises:
        OSError: A file cannot be read, or the log was rotated all the time.
    """
    check = _Check(start_may_be_missing, set(expected))
    with ExitStack() as stack:
        parts = _open_parts(paths, stack)
        last = next((part for part in reversed(parts) if part.size), None)  # a new file may still be empty
        for part in parts:
            check.read(part, is_last=part is last)
    return check.finish(expected)


class _Part(NamedTuple):
    path: str
    file: BinaryIO
    size: int


class _Check:
    def __init__(self, start_may_be_missing: bool, missing: set[str]) -> None:
        self._start_may_be_missing = start_may_be_missing
        self._missing = missing
        self._hash = GENESIS
        self._unsealed: LineFinding | None = None  # the first of the lines since the last link
        self._report = ChainReport()

    def read(self, part: _Part, is_last: bool) -> None:
        number = 0
        for number, line in enumerate(_lines(part), 1):
            link = read_link(line.removesuffix(b"\n"))
            if link is not None:
                self._take_link(part.path, number, link)
            elif is_last and not line.endswith(b"\n"):
                self._report.unfinished = LineFinding(part.path, number, _UNFINISHED)
            else:
                self._take_other(LineFinding(part.path, number, _describe(line)), line.removesuffix(b"\n"))
        self._report.files[part.path] = number

    def finish(self, expected: Collection[str]) -> ChainReport:
        if self._unsealed is not None:
            file, line, what = self._unsealed
            self._break(LineFinding(file, line, f"{what}, and no later line of the chain vouches for it"))
        self._report.not_found = tuple(digest for digest in expected if digest in self._missing)
        return self._report

    def _take_link(self, path: str, number: int, link: Link) -> None:
        report = self._report
        problem = self._problem(link)
        if problem is not None:
            self._break(LineFinding(path, number, problem))
        if report.links == 0 and self._unsealed is None and link.prev_hash != GENESIS:
            report.starts_after = link.prev_hash
        report.links += 1
        report.last_hash = self._hash = link.hash
        self._missing.discard(link.hash)
        self._unsealed = None

    def _problem(self, link: Link) -> str | None:
        if not link.is_genuine:
            return _CHANGED
        if link.prev_hash == self._hash:
            return None
        if self._report.links == 0 and self._unsealed is None:
            return None if self._start_may_be_missing else _NOT_THE_BEGINNING
        return _NEW_CHAIN if link.prev_hash == GENESIS else _NO_SUCCESSOR

    def _take_other(self, found: LineFinding, line: bytes) -> None:
        self._hash = seal(self._hash, line)
        self._report.other_lines += 1
        if len(self._report.others) < MAX_FINDINGS:
            self._report.others.append(found)
        if self._unsealed is None:
            self._unsealed = found

    def _break(self, found: LineFinding) -> None:
        self._report.breaks += 1
        if self._report.first_break is None:
            self._report.first_break = found


def _lines(part: _Part) -> Iterator[bytes]:
    """
    The lines that the file held when it was opened.
    """
    left = part.size
    while left > 0:
        line = part.file.readline(left)
        if not line:
            raise OSError(f"{part.path!r} became shorter while it was read; verify it again")
        left -= len(line)
        yield line


def _describe(line: bytes) -> str:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return "an unfinished or damaged line"
    return "a line without a place in the chain"


def _open_parts(paths: Sequence[str], stack: ExitStack) -> list[_Part]:
    """
    Open all files of a log at one moment between two rotations, the oldest first.
    """
    problem: OSError = OSError("the log was rotated each time it was opened; try again")
    for _ in range(ATTEMPTS):
        with ExitStack() as attempt:
            names = _parts(paths)
            try:
                files = {name: attempt.enter_context(open(name, "rb")) for name in names}
                # In this order: within a rotation a name may be missing, but then the files above it have moved.
                stayed = names == _parts(paths) and all(
                    os.path.samestat(os.fstat(file.fileno()), os.stat(name)) for name, file in files.items()
                )
            except FileNotFoundError as error:
                problem = error
                continue
            if stayed:
                # The last one still grows: what is there now is what is checked.
                parts = [_Part(name, file, file.seek(0, os.SEEK_END)) for name, file in files.items()]
                for part in parts:
                    part.file.seek(0)
                stack.enter_context(attempt.pop_all())
                return parts
    raise problem


def _parts(paths: Sequence[str]) -> list[str]:
    """
    The files of a log in the order in which they were written, each once.
    """
    found: dict[str, None] = {}
    for path in paths:
        stem, number = _split(path)
        if path.removesuffix(".lock") in paths and path.endswith(".lock"):
            continue  # from a pattern such as ``audit.jsonl*``
        if number is None:
            rotated = rotated_files(path)
            found.update(dict.fromkeys(rotated))
            if os.path.lexists(path) or not rotated:  # between the two steps of a rotation there is none
                found[path] = None
        elif stem not in paths:
            siblings = {split[1]: other for other in paths if (split := _split(other))[0] == stem and split[1]}
            found.update(dict.fromkeys(siblings[key] for key in sorted(siblings, reverse=True)))
    found.update(dict.fromkeys(path for path in paths if _split(path)[1] is not None))
    return list(found)


def _split(path: str) -> tuple[str, int | None]:
    match = _NUMBERED.fullmatch(path)
    return (path, None) if match is None else (match[1], int(match[2]))
