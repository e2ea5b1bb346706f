"""
JSON text to plain data.

Parsed by the standard library and then held to the same rules as YAML.  The standard library gives no positions;
they are found by a second walk over the text, which happens only when a problem has to be shown.
"""

from __future__ import annotations

import json
import re
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from edictum.errors import ConfigProblem, EdictumConfigError
from edictum.ruleset.plain import TOO_DEEP_MESSAGE, Place, Places, Positions, Unfit, plain_copy
from edictum.ruleset.problems import quote, render
from edictum.ruleset.vocabulary import MAX_DOCUMENT_DEPTH

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_LINE_BREAK = re.compile(r"\r\n|\r|\n")

_Step: TypeAlias = tuple[Literal["open", "close", "scalar"], str | int | None, int]


class _DuplicateKeyError(ValueError):
    pass


def compose(text: str, name: str | None = None) -> Positions:
    """
    Parse one JSON document.

    Args:
        text: Decoded text without byte-order mark.
        name: File name for errors.

    Returns:
        The data, as the root of its positions.

    Raises:
        json.JSONDecodeError: The text is not JSON.
        EdictumConfigError: It is, and holds what no document may hold.
    """
    try:
        parsed = json.loads(text, object_pairs_hook=_without_duplicates)
    except json.JSONDecodeError:
        raise
    except _DuplicateKeyError:
        raise _error(*_first_duplicate(text), name) from None
    except RecursionError:
        raise _error(TOO_DEEP_MESSAGE, _first_too_deep(text), name) from None
    except ValueError:  # int() refuses more digits than sys.get_int_max_str_digits()
        raise _error("a number has too many digits; put text in quotes", _first_too_long(text), name) from None
    try:
        data = plain_copy(parsed)
    except Unfit as error:
        place = Positions(parsed, lambda: _index(text, parsed)).locate(error.path)
        raise _error(error.message, place, name, render(error.path)) from None
    return Positions(data, lru_cache(maxsize=1)(lambda: _index(text, data)))


def _error(message: str, place: tuple[int | None, int | None], name: str | None, path: str = "") -> EdictumConfigError:
    line, column = place
    return EdictumConfigError.from_problems([ConfigProblem(path, message, name, line, column)])


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise _DuplicateKeyError
    return mapping


def _walk(text: str) -> Iterator[_Step]:
    """
    Values of a JSON text in order: what happens, under which key or index, at which offset.
    """
    stack: list[str | int | None] = []  # of a list the next index, of a mapping the key that waits for its value
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token in (",", ":"):
            continue
        if token in ("}", "]"):
            stack.pop()
            yield "close", None, match.start()
            continue
        key = stack[-1] if stack else None
        if stack and key is None:
            stack[-1] = json.loads(token)
            continue
        if stack:
            stack[-1] = key + 1 if isinstance(key, int) else None
        yield ("open" if token in ("{", "[") else "scalar"), key, match.start()
        if token in ("{", "["):
            stack.append(None if token == "{" else 0)


def _placer(text: str) -> Callable[[int], Place]:
    starts = [0, *(match.end() for match in _LINE_BREAK.finditer(text))]

    def place(offset: int) -> Place:
        line = bisect_right(starts, offset)
        return line, offset - starts[line - 1] + 1

    return place


def _index(text: str, root: Any) -> Places:
    place_of = _placer(text)
    places: Places = {}
    stack: list[Any] = []
    for what, key, offset in _walk(text):
        if what == "close":
            stack.pop()
            continue
        place = place_of(offset)
        if stack:
            places[id(stack[-1])][key] = place
        if what == "open":
            stack.append(stack[-1][key] if stack else root)
            places[id(stack[-1])] = {} if len(stack) > 1 else {None: place}
    return places


def _first_duplicate(text: str) -> tuple[str, Place]:
    place_of = _placer(text)
    stack: list[dict[Any, Place]] = []
    for what, key, offset in _walk(text):
        if what == "close":
            stack.pop()
            continue
        if stack and key in stack[-1]:
            line, column = stack[-1][key]
            first = f"its first value is at line {line}, column {column}"
            return f"duplicate key {quote(str(key))}; {first}; remove one", place_of(offset)
        if stack:
            stack[-1][key] = place_of(offset)
        if what == "open":
            stack.append({})
    raise AssertionError("called only for a text with a duplicate key")


def _first_too_deep(text: str) -> Place:
    depth = 0
    for what, _, offset in _walk(text):
        depth += {"open": 1, "close": -1, "scalar": 0}[what]
        if depth > MAX_DOCUMENT_DEPTH:
            return _placer(text)(offset)
    raise AssertionError("called only for a text that is nested too deeply")


def _first_too_long(text: str) -> Place:
    for match in _TOKEN.finditer(text):
        digits = match.group().removeprefix("-")
        if digits.isdigit() and len(digits) > sys.get_int_max_str_digits():
            return _placer(text)(match.start())
    raise AssertionError("called only for a text with a number that int() refuses")
