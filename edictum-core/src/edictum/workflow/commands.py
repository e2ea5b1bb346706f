"""
The simple commands of a shell line, for the patterns of a workflow.

A pattern that is meant for one command must not be satisfied, or evaded, by a second one beside it.  The line is taken
apart at everything that starts another command: separators, line breaks, groups, substitutions, here-documents.
Nothing is expanded.  What cannot be taken apart with certainty satisfies no pattern and evades none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from edictum.ruleset.patterns import Pattern, TextTooLong
from edictum.ruleset.time_budget import RuleTimeoutError
from edictum.sandbox.commands import RUNNERS, handed_to_shell
from edictum.sandbox.shell import SimpleCommand, Word

MAX_LINE = 20_000
_MAX_DEPTH = 20
_MAX_SUFFIXES = 20
_CACHED_LINES = 256

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
_ONLY_REDIRECTION = re.compile(r"(?:\d*(?:>>?|<|<>|>\|)\s*[^\s<>]+\s*)+")
# Stands for what the shell would put in; read as a command, it is one whose name nobody knows.
_UNKNOWN = "${}"
_KEYWORDS = frozenset(
    (
        "!",
        "{",
        "}",
        "if",
        "then",
        "else",
        "elif",
        "fi",
        "while",
        "until",
        "do",
        "done",
        "for",
        "select",
        "time",
        "coproc",
    )
)


@dataclass(slots=True)
class _Part:
    """
    One simple command.

    Attributes:
        text: As written.
        words: Its words without quotes.
        dynamic: Whether its name is only known to the shell that runs it.
    """

    text: str
    words: list[str] = field(default_factory=list)
    dynamic: bool = False


class _UnreadableError(Exception):
    """
    The line cannot be taken apart.
    """


@dataclass(frozen=True, slots=True)
class CommandLine:
    """
    A line that was taken apart.

    Attributes:
        text: The line.
        parts: Its simple commands as written; None when it cannot be taken apart.
        readings: Other ways to write them: without quotes, without what stands before the command's name.
    """

    text: str
    parts: tuple[str, ...] | None
    readings: tuple[str, ...] = ()

    def satisfies(self, pattern: Pattern) -> bool:
        """
        Whether every command of the line matches.
        """
        try:
            return self.parts is not None and all(pattern.found(part) for part in self.parts)
        except (TextTooLong, RuleTimeoutError):
            return False

    def avoids(self, pattern: Pattern) -> bool:
        """
        Whether no command of the line matches, however it is written.
        """
        if self.parts is None:
            return False
        try:
            return not any(pattern.found(text) for text in (self.text, *self.parts, *self.readings))
        except (TextTooLong, RuleTimeoutError):
            return False


@lru_cache(maxsize=_CACHED_LINES)
def read_line(text: str) -> CommandLine:
    """
    Take a line apart.
    """
    try:
        parts = _parts(text, 0)
    except _UnreadableError:
        return CommandLine(text, None)
    if len(parts) <= 1:
        # As it stands, blanks around it included: a pattern that fits the whole line goes on doing so.
        return CommandLine(text, (text,), _readings(parts, text))
    written = tuple(part.text for part in parts if not _ONLY_REDIRECTION.fullmatch(part.text))
    return CommandLine(text, written, _readings(parts, text))


def _readings(parts: list[_Part], text: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for part in parts:
        for start in (0, *_later_starts(part.words)):
            words = part.words[start:]
            found[" ".join(words)] = None
            if words and "/" in words[0]:
                found[" ".join((os.path.basename(words[0]), *words[1:]))] = None
    found.pop(text, None)
    return tuple(found)


def _later_starts(words: list[str]) -> Iterator[int]:
    """
    Where a command may begin behind words that only lead to it: ``FOO=1 git push``, ``sudo git push``, ``{ git push``.
    """
    leading = False
    for place, word in enumerate(words[:_MAX_SUFFIXES]):
        if place and leading:
            yield place
        leading = leading or (
            word in _KEYWORDS or _ASSIGNMENT.match(word) is not None or os.path.basename(word) in RUNNERS
        )


def _parts(text: str, depth: int) -> list[_Part]:
    if len(text) > MAX_LINE or depth > _MAX_DEPTH or _CONTROL.search(text):
        raise _UnreadableError
    scanner = _Scanner(text, depth)
    scanner.commands("")
    parts = scanner.parts
    for part in list(parts):
        name = next((word for word in part.words if word not in _KEYWORDS and not _ASSIGNMENT.match(word)), "")
        if part.dynamic or name == "case":
            # The name is not known, or the pattern of a case has a parenthesis that closes nothing.
            raise _UnreadableError
        inner = handed_to_shell(SimpleCommand((), tuple(Word(word) for word in part.words), ()))
        if inner is not None:
            parts += _parts(inner, depth + 1)
    return parts


class _Scanner:
    """
    Reads a line from left to right; nested commands become parts of their own.
    """

    def __init__(self, text: str, depth: int) -> None:
        self._text = text
        self._depth = depth
        self._at = 0
        self._level = 0
        self._bodies: list[tuple[str, bool, bool]] = []  # here-documents whose text has not begun
        self.parts: list[_Part] = []

    # --- commands -------------------------------------------------------------------------------

    def commands(self, closing: str) -> None:
        """
        Read commands up to a closing character, or to the end of the line.
        """
        self._level += 1
        if self._level + self._depth > _MAX_DEPTH:
            raise _UnreadableError
        part, start = _Part(""), self._at
        while True:
            char = self._peek()
            if char in ("", ";", "&", "|", "\n", "(", ")"):
                self._finish(part, start)
                self._at += 1
                if char in ("", closing):
                    if char != closing or (not char and self._bodies):
                        raise _UnreadableError
                    self._level -= 1
                    return
                if char == "\n":
                    self._read_bodies()
                elif char == "(":
                    self.commands(")")
                part, start = _Part(""), self._at
            elif char in " \t":
                self._at += 1
            elif char == "#":
                end = self._text.find("\n", self._at)
                self._finish(part, start)
                self._at = len(self._text) if end < 0 else end
                part, start = _Part(""), self._at
            elif char in "<>":
                self._redirection()
            else:
                self._word(part)

    def _finish(self, part: _Part, start: int) -> None:
        part.text = self._text[start : self._at].strip()
        if part.words or part.text:
            self.parts.append(part)

    def _redirection(self) -> None:
        rest = self._text[self._at : self._at + 3]
        if rest.startswith("<<") and rest != "<<<":
            self._at += 2
            tabs = self._peek() == "-"
            self._at += tabs
            while self._peek() in (" ", "\t"):
                self._at += 1
            begin = self._at
            delimiter = _Part("")
            self._word(delimiter)
            quoted = any(char in "'\"\\" for char in self._text[begin : self._at])
            if not delimiter.words or delimiter.dynamic:
                raise _UnreadableError
            self._bodies.append((delimiter.words[0], quoted, tabs))
        elif rest[1:2] == "(":
            self._at += 2
            self.commands(")")
        else:
            self._at += 3 if rest == "<<<" else 2 if rest[1:2] in ("&", ">", "|") else 1

    def _read_bodies(self) -> None:
        bodies, self._bodies = self._bodies, []
        for delimiter, quoted, tabs in bodies:
            begin = self._at
            while True:
                if self._at >= len(self._text):
                    raise _UnreadableError
                end = self._text.find("\n", self._at)
                end = len(self._text) if end < 0 else end
                line = self._text[self._at : end]
                if (line.lstrip("\t") if tabs else line) == delimiter:
                    break
                self._at = end + 1
            body = self._text[begin : self._at]
            self._at = end
            if not quoted:
                inner = _Scanner(body, self._depth + self._level)
                inner._text_until("")
                self.parts += inner.parts

    # --- words ----------------------------------------------------------------------------------

    def _word(self, part: _Part) -> None:
        pieces: list[str] = []
        dynamic = False
        begin, continued = self._at, 0
        while True:
            char = self._peek()
            if char in ("", " ", "\t", "\n", ";", "&", "|", "(", ")", "<", ">"):
                break
            self._at += 1
            if char == "\\":
                escaped = self._take()
                if escaped == "\n":
                    continued += 2
                else:
                    pieces.append(escaped)
            elif char == "'":
                pieces.append(self._until_quote())
            elif char == '"':
                text, expanded = self._text_until('"')
                pieces.append(text)
                dynamic = dynamic or expanded
            elif char == "`":
                self._backticks()
                pieces.append(_UNKNOWN)
                dynamic = True
            elif char == "$":
                dynamic = self._dollar(pieces, quoted=False) or dynamic
            else:
                pieces.append(char)
        if self._at - begin == continued:
            return  # the line goes on, and no word has begun
        if dynamic and not any(not _ASSIGNMENT.match(word) and word not in _KEYWORDS for word in part.words):
            part.dynamic = not _ASSIGNMENT.match("".join(pieces))
        part.words.append("".join(pieces))

    def _dollar(self, pieces: list[str], *, quoted: bool) -> bool:
        """
        Read what follows a dollar sign; whether the shell would put something else in its place.
        """
        char = self._peek()
        if char == "(":
            self._at += 1
            self.commands(")")
            pieces.append(_UNKNOWN)
        elif char == "{":
            self._at += 1
            self._parameter()
            pieces.append(_UNKNOWN)
        elif char == "'" and not quoted:
            self._at += 1
            pieces.append(self._until_quote(escapes=True))
        elif char == '"' and not quoted:
            return False
        else:
            pieces.append("$")
            return char.isalnum() or (char != "" and char in "_@*#?$!-")
        return True

    def _parameter(self) -> None:
        while True:
            char = self._take()
            if char == "}":
                return
            if char == "\\":
                self._take()
            elif char == "'":
                raise _UnreadableError  # a quote or not, depending on what is around
            elif char == '"':
                self._text_until('"')
            elif char == "`":
                self._backticks()
            elif char == "$":
                self._dollar([], quoted=True)

    def _text_until(self, closing: str) -> tuple[str, bool]:
        """
        Read text as between double quotes; with it, whether the shell would change it.
        """
        pieces: list[str] = []
        dynamic = False
        while True:
            if not closing and self._at >= len(self._text):
                return "".join(pieces), dynamic
            char = self._take()
            if char == closing:
                return "".join(pieces), dynamic
            if char == "\\":
                escaped = self._take()
                pieces.append({"\n": ""}.get(escaped, escaped if escaped in '$`"\\' else "\\" + escaped))
            elif char == "`":
                self._backticks()
                pieces.append(_UNKNOWN)
                dynamic = True
            elif char == "$":
                dynamic = self._dollar(pieces, quoted=True) or dynamic
            elif char == "\n" and self._bodies:
                raise _UnreadableError
            else:
                pieces.append(char)

    def _until_quote(self, *, escapes: bool = False) -> str:
        begin = self._at
        while True:
            char = self._take()
            if char == "'":
                return self._text[begin : self._at - 1]
            if char == "\n" and self._bodies:
                raise _UnreadableError
            if char == "\\" and escapes:
                self._take()

    def _backticks(self) -> None:
        pieces: list[str] = []
        while True:
            char = self._take()
            if char == "`":
                break
            if char == "\\":
                escaped = self._take()
                pieces.append(escaped if escaped in "$`\\" else "\\" + escaped)
            else:
                pieces.append(char)
        self.parts += _parts("".join(pieces), self._depth + self._level + 1)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        if self._at >= len(self._text):
            raise _UnreadableError
        self._at += 1
        return self._text[self._at - 1]
