"""
Can the linear engine read a pattern? Known from the parsed pattern, before anything is built.
"""

from __future__ import annotations

from collections.abc import Iterable
from re import _constants as op  # type: ignore[attr-defined]
from typing import NamedTuple

from edictum.ruleset.patterns.naming import render
from edictum.ruleset.patterns.tree import REPEATS, Node

MAX_POSITIONS = 5_000  # after bounded repeats are written out

_MAX_NODES = 4 * MAX_POSITIONS  # for patterns that mostly group and test

READS = frozenset({op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN})


class NotRegular(ValueError):  # noqa: N818  an answer about the pattern, not a malfunction
    """
    A pattern has a construct that no finite automaton reads, or one that the linear engine does not know.

    Attributes:
        part: The construct, as text.
    """

    def __init__(self, part: str) -> None:
        self.part = part
        super().__init__(f"'{part}' cannot be searched in linear time; write the pattern without it")


class TooLarge(ValueError):  # noqa: N818  a limit was met, nothing malfunctioned
    """
    A pattern with its bounded repeats written out is larger than ``MAX_POSITIONS``.
    """

    def __init__(self) -> None:
        super().__init__(
            f"with its bounded repeats written out the pattern reads more than {MAX_POSITIONS} characters, "
            "or holds too many groups, for a search in linear time; lower the bounds of its repeats"
        )


class _Size(NamedTuple):
    reads: int
    nodes: int


def check_regular(tree: Iterable[Node]) -> None:
    """
    Make sure that the linear engine can read a parsed pattern.

    Raises:
        NotRegular: It has a construct that no finite automaton reads.
        TooLarge: It is too large when its bounded repeats are written out.
    """
    size = _measure(tree)
    if size.reads > MAX_POSITIONS or size.nodes > _MAX_NODES:
        raise TooLarge


def is_never(node: Node) -> bool:
    """
    Tell whether a node is ``(?!)``, which newer and older versions of the parser write differently.
    """
    kind, value = node
    return kind is op.FAILURE or (kind is op.ASSERT_NOT and not len(value[1]))


def rounds(least: int, most: int, *, reads: bool) -> int:
    """
    Tell how often the body of a repeat is written out. What reads nothing is as good once as often.
    """
    times = max(1, int(least)) if most is op.MAXREPEAT else int(most)
    return times if reads else min(1, times)


def _measure(nodes: Iterable[Node]) -> _Size:
    reads = count = 0
    for kind, value in nodes:
        count += 1
        if kind in READS:
            reads += 1
        elif kind in REPEATS:
            least, most, body = value
            inner = _measure(body)
            times = rounds(least, most, reads=inner.reads > 0)
            reads += times * inner.reads
            count += times * inner.nodes
        elif kind in (op.SUBPATTERN, op.BRANCH):
            for part in value[1] if kind is op.BRANCH else [value[3]]:
                inner = _measure(part)
                reads += inner.reads
                count += inner.nodes
        elif kind is not op.AT and not is_never((kind, value)):
            raise NotRegular(render([(kind, value)]))
    return _Size(reads, count)
