"""
Plain data: the only values that a document may consist of, and a copy that makes sure of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from edictum.ruleset.vocabulary import MAX_DOCUMENT_DEPTH, MAX_DOCUMENT_NODES

Place: TypeAlias = tuple[int, int]
"""1-based line and column."""

Places: TypeAlias = dict[int, dict[Any, Place]]
"""id() of a container -> key or index -> place of that value; the root holds its own place under the key None."""

# Escape sequences and mappings can bring these in although no raw text may hold them.
UNUSABLE = re.compile("[\0\ud800-\udfff]")
UNUSABLE_MESSAGE = "text must not contain NUL or half of a surrogate pair"
TOO_DEEP_MESSAGE = f"the document is nested deeper than {MAX_DOCUMENT_DEPTH} levels; flatten it"
TOO_LARGE_MESSAGE = f"the document has more than {MAX_DOCUMENT_NODES} values; split it"


class Unfit(Exception):  # noqa: N818  always turned into an EdictumConfigError by the caller
    """
    A value that no document may hold, and where it is.
    """

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        self.path = path
        self.message = message
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Positions:
    """
    Where the values of one parsed tree stand in its text.

    Holds the tree itself, because ``places`` is keyed by the identity of its containers.
    """

    root: Any
    places: Callable[[], Places]

    def locate(self, path: Sequence[str | int]) -> tuple[int | None, int | None]:
        """
        Place of the value at ``path``, or of the deepest container on the way.
        """
        places = self.places()
        node = self.root
        # A root that is a single value has no entry: only containers do.
        place: tuple[int | None, int | None] = places.get(id(node), {}).get(None, (1, 1))
        for step in path:
            inside = places.get(id(node))
            if inside is None or step not in inside:
                break
            place = inside[step]
            node = node[step]
        return place


def plain_copy(data: Any, max_nodes: int = MAX_DOCUMENT_NODES) -> Any:
    """
    Copy nested data into exact dict, list, str, int, float, bool and None.

    Args:
        data: The data.
        max_nodes: How many values it may have.

    Raises:
        Unfit: A value of another type, a key that is not text, a number that is not finite, text that cannot be
            encoded, or more depth or values than allowed (a cycle is too deep).
    """
    return _Copy(max_nodes).value(data, ())


class _Copy:
    def __init__(self, max_nodes: int) -> None:
        self.max_nodes = max_nodes
        self.nodes = 0

    def value(self, value: Any, path: tuple[str | int, ...]) -> Any:
        self.nodes += 1
        if self.nodes > self.max_nodes:
            raise Unfit((), f"the document has more than {self.max_nodes} values; split it, or raise max_rules")
        if value is None or value is True or value is False:
            return value
        if isinstance(value, str):
            return self.text(value, path)
        if isinstance(value, int):
            return int.__int__(value)
        if isinstance(value, float):
            if not math.isfinite(value):
                raise Unfit(path, "a number must be finite, not NaN or infinity")
            return float.__float__(value)
        if len(path) == MAX_DOCUMENT_DEPTH:
            raise Unfit(path[:3], TOO_DEEP_MESSAGE)
        if isinstance(value, Mapping):
            return {self.key(key, path): self.value(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item, (*path, index)) for index, item in enumerate(value)]
        raise Unfit(path, f"a {type(value).__name__} has no place in a document; use text, numbers, lists or mappings")

    def key(self, key: Any, path: tuple[str | int, ...]) -> str:
        if not isinstance(key, str):
            raise Unfit(path, f"a key must be text, not {type(key).__name__}")
        self.nodes += 1
        return self.text(key, path)

    @staticmethod
    def text(text: str, path: tuple[str | int, ...]) -> str:
        if UNUSABLE.search(text):
            raise Unfit(path, UNUSABLE_MESSAGE)
        return str.__str__(text)
