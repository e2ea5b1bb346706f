"""
Regular expressions: an admitted one answers what the standard library answers, and never takes long.

An input is a pattern, a NUL, and a text.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from itertools import product

from edictum.ruleset.patterns import Pattern, PatternRefused, TextTooLong, admit
from harvest import TESTS, texts_in

LONGEST = 512
SECONDS = 300

_SHORT = 400  # up to here the standard library is asked too
_PROCESSOR_SECONDS = 5  # for any text that an admitted pattern takes; the slowest seen needs a quarter of a second
_REPLACEMENT = r"<\1\g<0>>"
_tried_at_length: set[str] = set()

warnings.simplefilter("ignore", FutureWarning)


def target(data: bytes) -> None:
    """
    Admit a pattern, compare it on short texts, and give it long ones once.
    """
    source, _, text = data.decode("utf-8", "surrogateescape").partition("\0")
    try:
        pattern = admit(source)
    except PatternRefused as refusal:
        assert refusal.part or not source, "a refusal that names no part"
        return
    for sample in (text, text * 20, text + "\n", "zzzzzzz " * 30 + text):
        _compare(pattern, sample[:_SHORT])
    if source not in _tried_at_length:
        _tried_at_length.add(source)
        for unit in {text or "a", re.sub(r"\W+", "", source) or "a"}:
            _run_at_length(pattern, unit)


def _compare(pattern: Pattern, text: str) -> None:
    assert pattern.found(text) == bool(re.search(pattern.source, text)), f"{pattern.source!r} on {text!r}"
    try:
        replaced = pattern.replace(text, _REPLACEMENT)
    except TextTooLong:
        return
    assert replaced == re.sub(pattern.source, lambda _: _REPLACEMENT, text), f"{pattern.source!r} in {text!r}"


def _run_at_length(pattern: Pattern, unit: str) -> None:
    """
    Search a text as long as the pattern may be given, which almost matches to its end.
    """
    before = time.process_time()
    text = (unit * (pattern.limit // len(unit) + 1))[: pattern.limit - 1] + "!"
    pattern.found(text)
    with suppress(TextTooLong):
        pattern.found(text * 2)
    spent = time.process_time() - before
    assert spent < _PROCESSOR_SECONDS, f"{pattern.source!r} needs {spent:.1f} s for {unit!r} repeated"


def seeds() -> Iterator[bytes]:
    """
    The patterns of the tests and of the rulesets, with a few texts each.
    """
    patterns = [text for text in texts_in(TESTS / "test_patterns.py", TESTS / "test_redaction.py") if len(text) < 100]
    for source, text in product(patterns, ["ab", "foo 1-2@x.org\n"]):
        yield f"{source}\0{text}".encode("utf-8", "surrogateescape")


def words() -> list[str]:
    """
    The syntax of patterns.
    """
    signs = [
        "(?:",
        "(?i)",
        "(?=",
        "(?!",
        "(?<=",
        "(?<!",
        "(?>",
        "(?P<a>",
        "(?P=a)",
        "(?(1)",
        "(?-i:",
        "(?s:",
        "(?m)",
        "(?x)",
    ]
    repeats = ["*", "+", "?", "*?", "+?", "??", "*+", "++", "?+", "{2}", "{0,9}", "{3,}", "{2,5}?", "{2,}+", "{,300}"]
    classes = [
        r"\w",
        r"\W",
        r"\d",
        r"\s",
        r"\S",
        r"\b",
        r"\B",
        r"\A",
        r"\Z",
        r"\1",
        "[^a]",
        "[a-z]",
        "[\\w.-]",
        "|",
        ".",
        "^",
        "$",
    ]
    return [*signs, *repeats, *classes, "\u212a", "\u0130", "ß", "@", "-", "x"]
