r"""
Regular expressions in rulesets: which are admitted, and how a text is searched.

A pattern may never hang the process, and a text is never judged by a part of it. So a pattern that could
need unbounded work is refused when the ruleset is loaded (``pattern_risk`` decides), and a text beyond the
length up to which the work is bounded raises `TextTooLong`, which makes the rule fire.

For a yes or no the pattern is first trimmed: repeats at its two ends are cut to what a match must have at
least, so ``\s+$`` needs linear work and not quadratic. Then, where every match has a fixed text at a fixed
place, that text is looked for with ``str.find`` and only its surroundings are matched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from re import _compiler, _parser  # type: ignore[attr-defined]
from re import _constants as op  # type: ignore[attr-defined]
from typing import Any

from edictum.ruleset.pattern_risk import REPEATS, Node, PatternRefused, Risk, analyse, anchored, combine_flags

__all__ = [
    "MAX_MATCH_CHARS",
    "MAX_PATTERN_LENGTH",
    "QUADRATIC_MATCH_CHARS",
    "Pattern",
    "PatternRefused",
    "TextTooLong",
    "admit",
]

MAX_PATTERN_LENGTH = 10_000
MAX_MATCH_CHARS = 1_000_000
QUADRATIC_MATCH_CHARS = 10_000

_REPLACE_CHARS = (MAX_MATCH_CHARS, QUADRATIC_MATCH_CHARS, 500, 50)  # the untrimmed pattern may need more work
_CACHED_PATTERNS = 4_096
_SHORT_TEXT = 200  # up to here one plain search is as fast as trying the places of a literal
_FREE_CANDIDATES = 8  # places tried before their density is looked at
_CANDIDATE_GAP = 64  # candidates closer than this on average cost more than the plain search


class TextTooLong(ValueError):  # noqa: N818  a limit was met, nothing malfunctioned
    """
    A text is longer than what a pattern may be run on.

    Attributes:
        length: Characters of the text.
        limit: Characters up to which the pattern is run.
    """

    def __init__(self, length: int, limit: int) -> None:
        self.length = length
        self.limit = limit
        super().__init__(
            f"the text has {length} characters, more than the {limit} that this pattern can search in "
            "bounded time; shorten the text, or rewrite the pattern so that its repeats "
            "cannot take each other's text"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """
    An admitted regular expression.

    Attributes:
        source: The pattern as written.
        limit: Longest text that `found` searches.
        found: Tells whether the pattern matches anywhere in a text, as ``re.search`` would, and raises
            `TextTooLong` for a text beyond ``limit``. A closure rather than a method: one call, not two.
    """

    source: str
    limit: int
    found: Callable[[str], bool] = field(repr=False)
    _whole: re.Pattern[str] = field(repr=False)
    _replace_limit: int = field(repr=False)

    def replace(self, text: str, replacement: str) -> str:
        """
        Replace every match by a fixed text.

        Args:
            text: The text to change.
            replacement: Put in place of each match as it is; nothing in it is expanded.

        Returns:
            The changed text.

        Raises:
            TextTooLong: The text is longer than what can be replaced in bounded time. That can be less
                than ``limit``, because finding the ends of a match needs the untrimmed pattern.
        """
        if len(text) > self._replace_limit:
            raise TextTooLong(len(text), self._replace_limit)
        return self._whole.sub(replacement.replace("\\", r"\\"), text)


@lru_cache(maxsize=_CACHED_PATTERNS)
def admit(source: str) -> Pattern:
    """
    Check and compile a pattern from a ruleset.

    Args:
        source: The pattern, in the syntax of the standard library.

    Returns:
        The pattern, ready to search.

    Raises:
        PatternRefused: The pattern is too long, does not compile, or could need unbounded work.
    """
    if len(source) > MAX_PATTERN_LENGTH:
        raise PatternRefused(
            f"the pattern has {len(source)} characters, more than {MAX_PATTERN_LENGTH}; "
            "split it into several patterns",
            source[:100],
        )
    try:
        tree = _parser.parse(source)
        whole: re.Pattern[str] = _compiler.compile(tree)
        risk = analyse(tree)
        trimmed = tree if risk.has_reference else _trim(tree)
        least = risk if trimmed is tree else analyse(trimmed)
        search = whole if trimmed is tree else _compiler.compile(trimmed)
    except (re.error, OverflowError) as error:
        raise PatternRefused(f"the pattern does not compile: {error}; correct it", source) from error
    except RecursionError as error:
        raise PatternRefused("the pattern is nested too deeply; flatten its groups", source) from error
    limit = _limit(least, (MAX_MATCH_CHARS, QUADRATIC_MATCH_CHARS), source)
    replace_limit = _limit(risk, _REPLACE_CHARS, source)
    return Pattern(source, limit, _finder(trimmed, search, limit), whole, replace_limit)


def _limit(risk: Risk, choices: Iterable[int], source: str) -> int:
    for length in choices:
        if risk.affordable(length):
            return length
    part = risk.part or source
    if risk.degree > 2:
        reason = (
            f"the work grows with the power {risk.degree} of the text's length, "
            f"because repeats can take each other's text: '{part}'"
        )
    else:
        reason = (
            f"bounded repeats or alternatives that look alike multiply the work {risk.factor} times: '{part}'"
        )
    advice = (
        "anchor the pattern with ^, narrow the repeated characters, or split the rule into several leaves"
    )
    raise PatternRefused(f"{reason}; {advice}", part)


# --- trimming: what a match must have at least -----------------------------------------------------


def _trim(tree: Any) -> Any:
    """
    Cut the repeats at both ends of a pattern, which has no references, to what decides about a match.

    A match with more rounds at an end contains one with the least rounds, in the same surroundings; and
    one with the least rounds is a match. A possessive repeat gives nothing back to what follows it, so
    it stays at the front.

    Returns:
        A new tree with the same state, or the given one when there was nothing to cut.
    """
    items = list(tree)
    trimmed = _trim_end(_trim_end(items, front=True), front=False)
    return tree if trimmed is items else _parser.SubPattern(tree.state, trimmed)


def _trim_end(items: list[Node], *, front: bool) -> list[Node]:
    """
    Cut repeats at one end until nothing is left to cut; the same list is returned when nothing was.
    """
    while items:
        end = items[0 if front else -1]
        new = _trim_node(end, front=front)
        if new == [end]:
            break
        items = [*new, *items[1:]] if front else [*items[:-1], *new]
    return items


def _trim_node(node: Node, *, front: bool) -> list[Node]:
    kind, value = node
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
        least, _, body = value
        if least <= 1:
            return list(body) if least else []
        return [(kind, (least, least, body))]
    if kind is op.POSSESSIVE_REPEAT and not front:
        return [(kind, (value[0], value[0], value[2]))] if value[0] else []
    if kind is op.SUBPATTERN:
        inner = _trimmed_group(value[3], front=front)
        return [(kind, (*value[:3], inner))] if len(inner) else []
    if kind is op.BRANCH:
        branches = [_trimmed_group(branch, front=front) for branch in value[1]]
        if not all(len(branch) for branch in branches):
            return []  # one alternative matches anywhere, so none of them decides anything
        if any(new is not old for new, old in zip(branches, value[1], strict=True)):
            return [(kind, (value[0], branches))]
    return [node]


def _trimmed_group(group: Any, *, front: bool) -> Any:
    items = list(group)
    trimmed = _trim_end(items, front=front)
    return group if trimmed is items else _parser.SubPattern(group.state, trimmed)


# --- texts that every match contains ---------------------------------------------------------------


class _Literals:
    """
    The fixed texts that every match of a pattern contains, in order.

    Attributes:
        runs: Each text with its distance from the start of the match, None where that varies.
        exact: Whether the pattern is nothing but one fixed text.
    """

    _WRITTEN_OUT = 16  # a literal repeated so often is still taken as text

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
            elif kind is op.ATOMIC_GROUP:
                self._read(value, flags)
            elif kind in REPEATS and value[0] >= 1:
                self._read_rounds(value, flags)
            else:
                self._skip((kind, value))

    def _read_rounds(self, repeat: Any, flags: int) -> None:
        least, most, body = repeat
        if least == most <= self._WRITTEN_OUT:
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


_RARE_ENOUGH = 3
_COMMON = frozenset("etaoinshrdlu \n\t")


def _rarity(text: str) -> int:
    """
    Estimate how rarely a text occurs in prose, source code and tables: the sum over its characters.
    """
    return sum(
        1 if c in _COMMON else 2 if c.islower() else 3 if c.isalnum() or c in "-.,:/'\"" else 4 for c in text
    )


def _begins_with_text(nodes: Any, flags: int) -> bool:
    """
    Tell whether the regex engine itself looks for fixed text at the start of a match, which is as fast.
    """
    if not len(nodes):
        return False
    kind, value = nodes[0]
    if kind is op.SUBPATTERN:
        return _begins_with_text(value[3], combine_flags(flags, value[1], value[2]))
    return kind is op.LITERAL and not flags & op.SRE_FLAG_IGNORECASE


def _caseless(char: str) -> bool:
    return char.isascii() and not char.isalpha()


# --- searching -------------------------------------------------------------------------------------


def _finder(tree: Any, compiled: re.Pattern[str], limit: int) -> Callable[[str], bool]:
    """
    Choose the fastest way to tell whether a pattern matches somewhere in a text.
    """
    literals = _Literals(tree)
    if literals.exact:
        return _find_text(literals.runs[0][0] if literals.runs else "", limit)
    if anchored(tree):
        return _find_at_start(compiled, limit)
    best = literals.best()
    if best is None:
        return _find_plainly(compiled, limit)
    text, offset = best
    if _begins_with_text(tree, tree.state.flags):
        return _find_from_prefix(compiled, text, limit)
    if offset is None:
        return _find_if_text_present(compiled, text, limit)
    return _find_around_text(compiled, text, offset, limit)


def _find_text(wanted: str, limit: int) -> Callable[[str], bool]:
    def found(text: str) -> bool:
        if len(text) > limit:
            raise TextTooLong(len(text), limit)
        return wanted in text

    return found


def _find_at_start(compiled: re.Pattern[str], limit: int) -> Callable[[str], bool]:
    match = compiled.match

    def found(text: str) -> bool:
        if len(text) > limit:
            raise TextTooLong(len(text), limit)
        return match(text) is not None

    return found


def _find_plainly(compiled: re.Pattern[str], limit: int) -> Callable[[str], bool]:
    search = compiled.search

    def found(text: str) -> bool:
        if len(text) > limit:
            raise TextTooLong(len(text), limit)
        return search(text) is not None

    return found


def _find_from_prefix(compiled: re.Pattern[str], wanted: str, limit: int) -> Callable[[str], bool]:
    search = compiled.search

    def found(text: str) -> bool:
        length = len(text)
        if length <= _SHORT_TEXT:
            return wanted in text and search(text) is not None
        if length > limit:
            raise TextTooLong(length, limit)
        return search(text) is not None

    return found


def _find_if_text_present(compiled: re.Pattern[str], wanted: str, limit: int) -> Callable[[str], bool]:
    search = compiled.search

    def found(text: str) -> bool:
        if len(text) > limit:
            raise TextTooLong(len(text), limit)
        return wanted in text and search(text) is not None

    return found


def _find_around_text(
    compiled: re.Pattern[str], wanted: str, offset: int, limit: int
) -> Callable[[str], bool]:
    search, match = compiled.search, compiled.match

    def found(text: str) -> bool:
        length = len(text)
        if length <= _SHORT_TEXT:
            return wanted in text and search(text) is not None
        if length > limit:
            raise TextTooLong(length, limit)
        find = text.find
        at = find(wanted, offset)
        tried = 0
        while at >= 0:
            if match(text, at - offset) is not None:
                return True
            tried += 1
            if tried > _FREE_CANDIDATES and tried * _CANDIDATE_GAP > at:
                return search(text, at - offset + 1) is not None
            at = find(wanted, at + 1)
        return False

    return found
