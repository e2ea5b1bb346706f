"""
Collecting what is wrong with a document: the checks that every kind of document shares.

A check never raises.  It notes a problem with its path and gives back a usable default, so that one run finds all
problems.  Positions are looked up only when there is something to report.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from edictum.errors import ConfigProblem, EdictumConfigError
from edictum.ruleset.vocabulary import MAX_ITEMS

if TYPE_CHECKING:
    from edictum.ruleset.document import Document

Path: TypeAlias = tuple[str | int, ...]

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.*-]+")
_LONGEST_QUOTE = 60
_BOOL_WORDS = frozenset(("yes", "no", "on", "off", "y", "n", "true", "false"))
_TYPE_NAMES: dict[type, str] = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a mapping",
}


def quote(text: str) -> str:
    """
    A word of the document for an error text: in double quotes, shortened, without invisible characters.
    """
    if len(text) > _LONGEST_QUOTE:
        text = text[: _LONGEST_QUOTE - 3] + "..."
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in quoted)


def render(path: Iterable[str | int]) -> str:
    """
    A path as people write it, for example ``rules[0].then.action``.
    """
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _PLAIN_KEY.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{quote(step)}]"
    return text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """
    The hint at a likely misspelling, ready to be appended, or nothing.
    """
    from difflib import get_close_matches

    close = get_close_matches(word, list(known), n=1)
    return f"; did you mean {quote(close[0])}?" if close else ""


def choices(words: Iterable[str]) -> str:
    """
    Quoted words, comma-separated.
    """
    return ", ".join(quote(word) for word in words)


def _one_of(words: Sequence[str]) -> str:
    return quote(words[0]) if len(words) == 1 else f"one of {choices(words)}"


def _label(path: Path) -> str:
    if not path:
        return "the document"
    return f"item {path[-1]}" if isinstance(path[-1], int) else quote(path[-1])


class Problems:
    """
    All problems of one document.

    The getters take the mapping that holds a key, the key, and the path of the mapping.  A missing key gives the
    default without a problem: which keys must be there is said once, to :meth:`keys`.
    """

    def __init__(self, document: Document) -> None:
        self.document = document
        self._found: list[ConfigProblem] = []
        self._old_vocabulary = False

    def __len__(self) -> int:
        return len(self._found)

    def add(self, path: Path, message: str) -> None:
        """
        Note one problem.
        """
        line, column = self.document.locate(path)
        self._found.append(ConfigProblem(render(path), message, self.document.source, line, column))

    def raise_if_any(self) -> None:
        """
        End the run.

        Raises:
            EdictumConfigError: There is at least one problem.
        """
        if self._found:
            raise self.as_error()

    def as_error(self) -> EdictumConfigError:
        """
        The error that holds every problem so far.
        """
        return EdictumConfigError.from_problems(self._found)

    def keys(self, holder: Mapping[str, Any], path: Path, known: frozenset[str], required: Sequence[str] = ()) -> None:
        """
        Refuse unknown keys and note missing ones.
        """
        if not known.issuperset(holder):
            for key in holder:
                if key not in known:
                    hint = did_you_mean(key, known) or f"; known keys are {', '.join(sorted(known))}"
                    self.add((*path, key), f"unknown key {quote(key)}{hint}")
        for key in required:
            if key not in holder:
                self.add(path, f"missing key {quote(key)}")

    def wrong_type(self, path: Path, expected: str, value: Any) -> None:
        """
        Note a value of another type; the value itself is not repeated.
        """
        self.add(path, f"{_label(path)} must be {expected}, not {_TYPE_NAMES[type(value)]}")

    def old_vocabulary(self, path: Path, old: str, new: str) -> None:
        """
        Note the first word of the older contract vocabulary; the migration finds the others itself.
        """
        if not self._old_vocabulary:
            self._old_vocabulary = True
            self.add(
                path,
                f"{quote(old)} is a word of the older contract vocabulary, now {quote(new)}; "
                "convert the document with: edictum migrate",
            )

    def mapping(self, holder: Mapping[str, Any], key: str, path: Path) -> dict[str, Any] | None:
        """
        The mapping under ``key``, or None.
        """
        if key not in holder:
            return None
        value = holder[key]
        if type(value) is dict:
            return value
        self.wrong_type((*path, key), "a mapping", value)
        return None

    def text(
        self,
        holder: Mapping[str, Any],
        key: str,
        path: Path,
        *,
        default: str = "",
        shortest: int = 1,
        longest: int | None = None,
    ) -> str:
        """
        The text under ``key``.
        """
        value = holder.get(key, default)
        if type(value) is not str:
            self.wrong_type((*path, key), "text", value)
            return default
        if len(value) < shortest and key in holder:
            self.add((*path, key), f"{quote(key)} must not be empty")
        if longest is not None and len(value) > longest:
            self.add((*path, key), f"{quote(key)} has {len(value)} characters; at most {longest} are allowed")
        return value

    def named(self, holder: Mapping[str, Any], key: str, path: Path, form: re.Pattern[str], allowed: str) -> str:
        """
        The name under ``key``, which must have a certain form; ``allowed`` describes it.
        """
        value: object = holder.get(key, "")
        if not isinstance(value, str):
            self.wrong_type((*path, key), "text", value)
            return ""
        if key in holder and not value:
            self.add((*path, key), f"{quote(key)} must not be empty")
        elif key in holder and form.fullmatch(value) is None:
            self.add((*path, key), f"{quote(key)} {quote(value)} is not a valid name; use {allowed}")
        return value

    def choice(
        self,
        holder: Mapping[str, Any],
        key: str,
        path: Path,
        allowed: Sequence[str],
        *,
        default: str,
        old: Mapping[str, str] | None = None,
    ) -> str:
        """
        The word under ``key``, one of ``allowed``; ``old`` maps words of the older vocabulary to today's.
        """
        value: object = holder.get(key, default)
        if not isinstance(value, str):
            self.wrong_type((*path, key), _one_of(allowed), value)
        elif value in allowed:
            return value
        elif old is not None and value in old:
            self.old_vocabulary((*path, key), value, old[value])
        elif key in holder:
            hint = did_you_mean(value, allowed)
            self.add((*path, key), f"{quote(key)} must be {_one_of(allowed)}, not {quote(value)}{hint}")
        return default

    def boolean(self, holder: Mapping[str, Any], key: str, path: Path, *, default: bool) -> bool:
        """
        The truth value under ``key``.
        """
        value = holder.get(key, default)
        if value is True or value is False:
            return value
        self.not_boolean((*path, key), value)
        return default

    def not_boolean(self, path: Path, value: Any) -> None:
        """
        Note that a truth value is needed; words of YAML 1.1 get their own hint.
        """
        if type(value) is str and value.lower() in _BOOL_WORDS:
            self.add(path, f"{_label(path)} is the text {quote(value)}; write true or false without quotes")
        else:
            self.wrong_type(path, "true or false", value)

    def count(self, holder: Mapping[str, Any], key: str, path: Path) -> int | None:
        """
        The whole number >= 1 under ``key``, or None.
        """
        if key not in holder:
            return None
        value = holder[key]
        if type(value) is int and value >= 1:
            return value
        if type(value) is int:
            self.add((*path, key), f"{quote(key)} must be at least 1")
        else:
            self.wrong_type((*path, key), "a whole number, 1 or more", value)
        return None

    def texts(self, holder: Mapping[str, Any], key: str, path: Path, *, shortest: int = 1) -> tuple[str, ...]:
        """
        The list of non-empty texts under ``key``; ``shortest`` is the number of items that it must have.
        """
        if key not in holder:
            return ()
        value = holder[key]
        path = (*path, key)
        if not self.items(value, path, shortest=shortest):
            return ()
        self.only_texts(value, path)
        return tuple(item for item in value if type(item) is str)

    def only_texts(self, items: list[Any], path: Path) -> None:
        """
        Note the items that are not non-empty texts.
        """
        for index, item in enumerate(items):
            if type(item) is not str:
                self.wrong_type((*path, index), "text", item)
            elif not item:
                self.add((*path, index), f"item {index} must not be empty")

    def items(self, value: Any, path: Path, *, shortest: int = 1, longest: int = MAX_ITEMS) -> bool:
        """
        Whether the value is a list of an allowed length.
        """
        if type(value) is not list:
            self.wrong_type(path, "a list", value)
        elif len(value) < shortest:
            self.add(path, f"{_label(path)} must not be empty")
        elif len(value) > longest:
            self.add(path, f"{_label(path)} has {len(value)} items; at most {longest} are allowed")
        else:
            return True
        return False
