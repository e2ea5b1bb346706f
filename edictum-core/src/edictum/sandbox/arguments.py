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
_COMMAND_KEYS = frozenset(key for key, meaning in _KEYS.items() if meaning == COMMAND)
# Beside a command, these hold its arguments.
_ARGUMENT_LISTS = frozenset(("args", "argv", "arguments"))
WORKING_DIRECTORY = frozenset(("cwd", "workdir", "workingdirectory"))

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
    """

    text: str | None
    words: tuple[str, ...] = ()


@lru_cache(maxsize=4_096)
def fold(key: str) -> str:
    """
    A key without case and separators, so that ``filePath``, ``file_path`` and ``File-Path`` are one.
    """
    return _FOLDED.sub("", key).lower()


def read_arguments(args: Mapping[str, Any]) -> tuple[list[Leaf], list[Command]]:
    """
    Collect the texts and commands of a call's arguments.

    Raises:
        TooManyArguments: More than 10,000 values, or nested deeper than 20 levels.
    """
    leaves: list[Leaf] = []
    commands: list[Command] = []
    _read_mapping(args, 0, 1, leaves, commands)
    return leaves, commands


def _read_mapping(
    mapping: Mapping[Any, Any], around: int, depth: int, leaves: list[Leaf], commands: list[Command]
) -> None:
    folded = {fold(str(key)): key for key in mapping}
    has_command = not _COMMAND_KEYS.isdisjoint(folded)
    for key, value in mapping.items():
        short = fold(str(key))
        meaning = _KEYS.get(short, 0)
        if not str(key).isidentifier():
            leaves.append(Leaf(str(key), 0, around, name=True))
        if meaning == COMMAND and _is_command(value):
            commands.append(_command(value, mapping, folded))
        elif not (has_command and short in _ARGUMENT_LISTS and _is_words(value)):
            _read(value, meaning, around | meaning, depth, leaves, commands)


def _read(value: Any, meaning: int, around: int, depth: int, leaves: list[Leaf], commands: list[Command]) -> None:
    if len(leaves) >= MAX_LEAVES:
        raise TooManyArguments(f"the arguments hold more than {MAX_LEAVES} values")
    if isinstance(value, str):
        leaves.append(Leaf(value, meaning, around))
    elif value is None or isinstance(value, (bool, float)):
        return
    elif isinstance(value, int):
        # A host may be given as a number; nothing else that matters here is one.
        if around & HOST:
            leaves.append(Leaf(str(value), meaning, around))
    elif depth >= MAX_DEPTH:
        raise TooManyArguments(f"the arguments are nested deeper than {MAX_DEPTH} levels")
    elif isinstance(value, Mapping):
        _read_mapping(value, around, depth + 1, leaves, commands)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            _read(item, meaning, around, depth + 1, leaves, commands)
    else:
        leaves.append(Leaf(_text(value), meaning, around))


def _text(value: Any) -> str:
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "surrogateescape")
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    return str(value)


def _is_words(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value)


def _is_command(value: Any) -> bool:
    return isinstance(value, str) or (_is_words(value) and len(value) > 0)


def _command(value: Any, mapping: Mapping[Any, Any], folded: Mapping[str, Any]) -> Command:
    following: tuple[str, ...] = ()
    for key in sorted(_ARGUMENT_LISTS & folded.keys()):
        if _is_words(mapping[folded[key]]):
            following += tuple(mapping[folded[key]])
    if isinstance(value, str):
        return Command(value, following)
    return Command(None, (*value, *following))


def working_directory(args: Mapping[str, Any]) -> str | None:
    """
    The directory that the call asks to run in, or None.
    """
    for key, value in args.items():
        if isinstance(value, str) and value and fold(str(key)) in WORKING_DIRECTORY:
            return value
    return None


_SHAPE = re.compile(r"[~/\\]|\.{1,2}(?:[/\\]|$)|[A-Za-z]:[/\\]|(?i:file:)")
_CLIMBS = re.compile(r"(?:^|[/\\])\.\.(?:[/\\]|$)")
_PERCENT_IN_PATH = re.compile(r"%(?:2[eEfF]|5[cC]|25|00)")
_MAX_SHAPED = 4_096


def looks_like_path(text: str) -> bool:
    """
    Whether a text reads as a path whatever its key: it starts like one, or climbs with ``..``.
    """
    if ".." not in text and "%" not in text and not _SHAPE.match(text.lstrip()):
        return False
    line = text.strip()
    if not line or len(line) > _MAX_SHAPED or "\n" in line or "\r" in line:
        return False
    if _SHAPE.match(line) or (".." in line and _CLIMBS.search(line)):
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
