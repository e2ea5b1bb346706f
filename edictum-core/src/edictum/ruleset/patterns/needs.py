r"""
What a match must have: its repeats at the least, and fixed texts.

Both serve a yes or no only. With its repeats cut, ``\s+$`` needs linear work and not quadratic; and where
there is no fixed text there is no match.
"""

from __future__ import annotations

from collections.abc import Iterable
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

from edictum.ruleset.patterns.tree import REPEATS, Node, combine_flags

_WRITTEN_OUT = 16  # a text repeated so often is still taken as one text
_RARE_ENOUGH = 3
_COMMON = frozenset("etaoinshrdlu \n\t")


def trim(tree: Any) -> Any:
    """
    Cut the repeats at both ends of a pattern, which has no references, to what decides about a match.

    A match with more rounds at an end contains one with the least rounds, in the same surroundings; and
    one with the least rounds is a match. A possessive repeat gives nothing back to what follows it, so
    it stays at the front.

    Returns:
        A new tree with the same state, or the given one when there was nothing to cut.
    """
    return _trim_end(_trim_end(tree, front=True), front=False)


def _trim_end(group: Any, *, front: bool) -> Any:
    items = list(group)
    changed = False
    while items:
        end = items[0 if front else -1]
        new = _trim_node(end, front=front)
        if new == [end]:
            break
        items = [*new, *items[1:]] if front else [*items[:-1], *new]
        changed = True
    return _parser.SubPattern(group.state, items) if changed else group


def _trim_node(node: Node, *, front: bool) -> list[Node]:
    kind, value = node
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
        least, _, body = value
        if least <= 1:
            return list(body) if least else []
        return [(kind, (least, least, body))]
    if kind is op.SUBPATTERN:
        inner = _trim_end(value[3], front=front)
        return [(kind, (*value[:3], inner))] if len(inner) else []
    if kind is op.BRANCH:
        branches = [_trim_end(branch, front=front) for branch in value[1]]
        if not all(len(branch) for branch in branches):
            return []  # one alternative matches anywhere, so none of them decides anything
        if any(new is not old for new, old in zip(branches, value[1], strict=True)):
            return [(kind, (value[0], branches))]
    return [node]


class Literals:
    """
    The fixed texts that every match of a pattern contains, in order.

    Attributes:
        runs: Each text with its distance from the start of the match, None where that varies.
        exact: Whether the pattern is nothing but one fixed text.
    """

    def __init__(self, tree: Any) -> None:
        self.runs: list[tuple[str, int | None]] = []
        self.exact = True
        self._state = tree.state
        self._text = ""
        self._offset: int | None = 0
        self._read(tree, tree.state.flags)
        self._end_run()

    def best(self) -> tuple[str, int | None] | None:
        """
        Choose the rarest text, at a fixed distance if there is one; None when all are too common.
        """
        worth = [run for run in self.runs if _rarity(run[0]) >= _RARE_ENOUGH]
        return max(worth, key=lambda run: (run[1] is not None, _rarity(run[0])), default=None)

    def placed(self) -> tuple[str, int] | None:
        """
        Choose the rarest text at a fixed distance, however common; None when there is none.
        """
        runs = [(text, offset) for text, offset in self.runs if offset is not None]
        return max(runs, key=lambda run: _rarity(run[0]), default=None)

    def _end_run(self) -> None:
        if self._text:
            offset = None if self._offset is None else self._offset - len(self._text)
            self.runs.append((self._text, offset))
            self._text = ""

    def _read(self, nodes: Iterable[Node], flags: int) -> None:
        for kind, value in nodes:
            if kind is op.LITERAL and (not flags & op.SRE_FLAG_IGNORECASE or _caseless(chr(value))):
                self._text += chr(value)
                if self._offset is not None:
                    self._offset += 1
            elif kind in (op.AT, op.ASSERT, op.ASSERT_NOT):
                self.exact = False
            elif kind is op.SUBPATTERN:
                self._read(value[3], combine_flags(flags, value[1], value[2]))
            elif kind in REPEATS and value[0] >= 1:
                self._read_rounds(value, flags)
            else:
                self._skip((kind, value))

    def _read_rounds(self, repeat: Any, flags: int) -> None:
        least, most, body = repeat
        if least == most <= _WRITTEN_OUT:
            for _ in range(least):
                self._read(body, flags)
        elif least == most:
            self._skip((op.MAX_REPEAT, repeat))
        else:  # the first round is there in any case; where the last one ends is not known
            self._read(body, flags)
            self.exact = False
            self._end_run()
            self._offset = None

    def _skip(self, node: Node) -> None:
        self.exact = False
        self._end_run()
        low, high = _parser.SubPattern(self._state, [node]).getwidth()
        if self._offset is not None:
            self._offset = self._offset + low if low == high else None


def _rarity(text: str) -> int:
    """
    Estimate how rarely a text occurs in prose, source code and tables: the sum over its characters.
    """
    return sum(1 if c in _COMMON else 2 if c.islower() else 3 if c.isalnum() or c in "-.,:/'\"" else 4 for c in text)


def _caseless(char: str) -> bool:
    return char.isascii() and not char.isalpha()
