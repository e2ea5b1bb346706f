"""
What the arguments of a call may name: every text in them, with the keys it stands under.

A sandbox cannot know which argument a tool takes for a path, a host or a command.  It goes by the key, as people
name such arguments, and by the look of the text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from unicodedata import normalize

from edictum.objects import fields_of

MAX_DEPTH = 20
MAX_LEAVES = 10_000

PATH, HOST, COMMAND, PROSE = 1, 2, 4, 8

# Names of arguments, in lower case without "_" and "-".
_MEANING = {
    PATH: "path filepath directory dir folder target destination source src dst file filename pathname cwd workdir "
    "workingdirectory root basedir outputfile inputfile out infile dest destinations sources paths files",
    HOST: "url urls uri uris href host hosts hostname hostnames domain domains endpoint endpoints baseurl webhook link "
    "links server servers",
    COMMAND: "command cmd shell script bash code commands",
    PROSE: "content text body message query prompt description oldstring newstring data",
}
_KEYS = {key: meaning for meaning, keys in _MEANING.items() for key in keys.split()}
# Beside a command, these hold its arguments; they are judged by themselves as well.
_ARGUMENT_LISTS = frozenset(("args", "argv", "arguments"))
_WORKING = frozenset(("cwd", "workdir", "workingdirectory"))
_FOLDERS = frozenset(("root", "basedir", "dir", "directory", "folder"))
# Values under the key of a command that are none, such as "shell": true.
_NO_COMMAND = (bool, int, float, type(None))

_FOLDED = re.compile(r"[_\-\s]")


class TooManyArguments(ValueError):  # noqa: N818  the engine counts it as a rule that cannot be judged
    """
    The arguments are too large or nested too deeply to be judged.
    """


class Leaf(NamedTuple):
    """
    One text of the arguments.

    Attributes:
        text: The text.
        meaning: What its own key says about it: ``PATH``, ``HOST``, ``COMMAND``, ``PROSE`` or 0.
        around: The same of the keys around it, and of its own, added up.
        name: Whether it is itself a key, as in ``{"files": {"/etc/passwd": "..."}}``.
    """

    text: str
    meaning: int
    around: int
    name: bool = False


class Command(NamedTuple):
    """
    A command among the arguments.

    Attributes:
        text: What a shell reads; None for a list of words, which no shell takes apart.
        words: The words of the list, or those that follow the text as a list of its own.
        readable: False for a value that is neither text nor a list of words.
    """

    text: str | None
    words: tuple[str, ...] = ()
    readable: bool = True


class Arguments:
    """
    What the arguments of a call hold.

    Attributes:
        leaves: All texts that are not commands.
        commands: All commands.
        working: Directories that the call asks to run in.
        folders: Other directories, from which a tool may take relative paths.
    """

    __slots__ = ("_room", "commands", "folders", "leaves", "working")

    def __init__(self) -> None:
        self.leaves: list[Leaf] = []
        self.commands: list[Command] = []
        self.working: list[str] = []
        self.folders: list[str] = []
        self._room = MAX_LEAVES

    def add(self, leaf: Leaf) -> None:
        """
        Note a text.

        Raises:
            TooManyArguments: There were too many texts and words before it.
        """
        self._take(1)
        self.leaves.append(leaf)

    def add_command(self, command: Command) -> None:
        """
        Note a command; see :meth:`add`.
        """
        self._take(1 + len(command.words))
        self.commands.append(command)

    def _take(self, room: int) -> None:
        self._room -= room
        if self._room < 0:
            raise TooManyArguments(f"the arguments hold more than {MAX_LEAVES} texts and words")


@lru_cache(maxsize=4_096)
def fold(key: str) -> str:
    """
    A key without case and separators, so that ``filePath``, ``file_path`` and ``File-Path`` are one.
    """
    return _FOLDED.sub("", key).lower()


def read_arguments(args: Mapping[str, Any]) -> Arguments:
    """
    Collect the texts and commands of a call's arguments.

    Raises:
        TooManyArguments: More than 10,000 texts and words, or nested deeper than 20 levels.
    """
    found = Arguments()
    _read_mapping(args, 0, 1, found)
    return found


def _read_mapping(mapping: Mapping[Any, Any], around: int, depth: int, found: Arguments) -> None:
    for key, value in mapping.items():
        short = fold(str(key))
        meaning = _KEYS.get(short, 0)
        if not str(key).isidentifier():
            found.add(Leaf(str(key), 0, around, name=True))
        if meaning == COMMAND and not isinstance(value, _NO_COMMAND):
            _read_command(short, value, _following(mapping), depth, found)
        else:
            _read(value, meaning, around | meaning, depth, found)
        if short in _WORKING and (text := _text(value)):
            found.working.append(text)
        elif short in _FOLDERS and (text := _text(value)):
            found.folders.append(text)


def _read(value: Any, meaning: int, around: int, depth: int, found: Arguments) -> None:
    text = _text(value)
    if text is not None:
        found.add(Leaf(text, meaning, around))
    elif value is None or isinstance(value, (bool, float)):
        return
    elif isinstance(value, int):
        # A host may be given as a number; nothing else that matters here is one.
        if around & HOST:
            found.add(Leaf(str(value), meaning, around))
    elif depth >= MAX_DEPTH:
        raise TooManyArguments(f"the arguments are nested deeper than {MAX_DEPTH} levels")
    elif isinstance(value, Mapping):
        _read_mapping(value, around, depth + 1, found)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            _read(item, meaning, around, depth + 1, found)
    else:
        found.add(Leaf(str(value), meaning, around))  # a tool may take this for a path as well
        _read_mapping(fields_of(value) or {}, around, depth + 1, found)


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "surrogateescape")
    return os.fsdecode(value) if isinstance(value, os.PathLike) else None


def _words(value: Any) -> tuple[str, ...] | None:
    """
    A list of words, also of numbers; None for anything else.
    """
    if not isinstance(value, (list, tuple)):
        return None
    words = [str(item) if isinstance(item, (int, float)) else _text(item) for item in value]
    return None if None in words else tuple(word for word in words if word is not None)


def _following(mapping: Mapping[Any, Any]) -> tuple[str, ...]:
    words: tuple[str, ...] = ()
    for key, value in mapping.items():
        if fold(str(key)) in _ARGUMENT_LISTS:
            words += _words(value) or ()
    return words


def _read_command(key: str, value: Any, following: tuple[str, ...], depth: int, found: Arguments) -> None:
    text, words = _text(value), _words(value)
    if text is not None:
        found.add_command(Command(text, following))
    elif isinstance(value, (list, tuple)) and (key == "commands" or len(value) == 1):
        # Several commands, or one that a list was put around.
        for item in value:
            _read_command("command", item, following, depth, found)
    elif words is not None:
        found.add_command(Command(None, (*words, *following)))
    else:
        found.add_command(Command(None, readable=False))
        _read(value, 0, 0, depth, found)


_SHAPE = re.compile(r"[~/\\]|\.{1,2}(?:[/\\]|$)|[A-Za-z]:[/\\]|(?i:file:)")
CLIMBS = re.compile(r"(?:^|[/\\])\.\.(?:[/\\]|$)")
_PERCENT_IN_PATH = re.compile(r"%(?:2[eEfF]|5[cC]|7[eE]|25|00)")


def looks_like_path(text: str) -> bool:
    """
    Whether a text reads as a path whatever its key: it starts like one, or climbs with ``..``.
    """
    if not text.isascii():
        # Full-width dots and slashes become plain ones in tools that normalise.
        text = normalize("NFKC", text)
    if ".." not in text and "%" not in text and not _SHAPE.match(text.lstrip()):
        return False
    line = text.strip()
    if not line or "\n" in line or "\r" in line:
        return False
    if _SHAPE.match(line) or (".." in line and CLIMBS.search(line)):
        return True
    return "%" in line and _PERCENT_IN_PATH.search(line) is not None


def path_leaves(leaves: list[Leaf]) -> Iterator[str]:
    """
    The texts that a tool may take for paths.

    Under the key of a path every text counts, elsewhere one that looks like a path.  Prose (the content of a file, a
    message) counts only where it is one line that begins with a slash.
    """
    for leaf in leaves:
        text = leaf.text
        if not text:
            continue
        if leaf.meaning == PROSE:
            if text.startswith("/") and looks_like_path(text):
                yield text
        elif (leaf.around & PATH and not leaf.name) or looks_like_path(text):
            yield text
