"""
The linear engine answers as the standard one does, on texts and patterns that would hang the standard one.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from edictum.ruleset.patterns import linear
from edictum.ruleset.patterns.linear import MAX_STATES, LinearPattern
from edictum.ruleset.patterns.regular import MAX_POSITIONS, NotRegular, TooLarge
from edictum.ruleset.patterns.tree import parse
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

MEGABYTE = 1_000_000

TEXTS = [
    "", "\n", "\n\n", "a", "b", "A", "ab", "ba", "a\n", "\na", "a\nb", "a b", "ab ab\n", "a\n\n", " a", "aaa",
    "abab", "aaaa", "_", "1", "\u0661", "a1_", "-", "a-b", "é", "É", "e\u0301", "s", "S", "\u017f", "k", "K",
    "\u212a", "i", "I", "İ", "\u0131", "ß", "ẞ", "ss", "µ", "μ", "\u0345", "\u03b9", "Σ", "\u03c3", "ς",
    "\U0001f600", "\U00010400", "\U00010428", "\ud800", "\x1c", "\xa0", "\u2028", "\r\n", "\x00", ".", "x\ny\n",
    "foo bar\nbaz", "aab", "abb", "abc", "ABC", "xaby",
]  # fmt: skip

PATTERNS = {
    "literal": ["a", "ab", "é", r"\.", r"\x00", r"\ud800", "\U0001f600", "\u017f"],
    "class": [
        "[ab]", "[^ab]", "[a-c]", "[^a-c]", r"[\d_]", r"[^\W\d]", r"[\s\S]", "[é-\u017f]", "[^a]",
        "[\U00010400-\U00010428]",
    ],
    "category": [
        r"\d", r"\D", r"\w", r"\W", r"\s", r"\S", r"(?a)\d", r"(?a)\D", r"(?a)\w", r"(?a)\W", r"(?a)\s", r"(?a)\S",
    ],
    "any": [".", "a.b", "(?s).", "(?s)a.b", "(?s:.)b", "(?s)(?-s:.)b"],
    "alternation": ["a|b", "ab|a", "a||b", "(?:a|ab)(?:c|bc)", "(?:|a)b", "foo|bar|baz", "(a|(b|c))$"],
    "group": ["(a)(b)", "(?:ab)c", "(?P<n>a)b", "((a))", "()", "(|a)", "(?x: a b # c\n)"],
    "flag": ["(?i)abc", "(?i:a)b", "(?i)a(?-i:b)", "(?x) a  b # c", r"(?a:\w)\w", r"(?u:\w)", "(?m)^b$", "(?s-m:a.b)"],
    "repeat": [
        "a*", "a+", "a?", "a{2}", "a{2,}", "a{,2}b", "a{1,2}$", "^a{2,3}$", "a{0}", "^a{0}b", "(ab)*", "(?:a|b){2}$",
    ],
    "lazy": ["a*?b", "a+?$", "a??b", "^a{2,3}?$", "(?:a|b)+?c", "(?:ab)*?$"],
    "nested repeat": [
        "(?:a*)*b", "(?:a*b*)*c", "^(?:a+)+$", "(?:a?){3}b", "^(?:a{2}){2}$", "(?:(?:a|b)*c?)+$", "^(?:a{2,}b?){2}",
    ],
    "empty round": [
        "(?:|a)*b", "(?:^|a){2}", r"(?:\b|a)+b", r"(?:\b){3}a", r"(?:\b){0}a", r"(?:\b){0,3}b", "(?:(?:$)*)*",
        "(?:$)?b",
    ],
    "border": [
        "^a", "b$", "^", "$", "^$", r"\A", r"\Z", r"\Aa", r"b\Z", r"a\Z|b$", "a^b", "a$b", "a$\n", "a$\nb", r"a\Z\n",
        "^^a",
    ],
    "line": [
        "(?m)^a", "(?m)a$", "(?m)^$", r"(?m)\Aa", r"(?m)b\Z", "(?m)$\n^", "(?m)\n^", "(?m)$\n", "(?m:^)b",
        "(?m)(?-m:$)",
    ],
    "edge of a word": [
        r"\b", r"\B", r"\ba", r"a\b", r"\Ba", r"a\B", r"\b\B", r"(?a)\b", r"(?a)\B", r"(?a:\b)é", r"é\b", r"(?a)é\B",
    ],
    "combined tests": [
        r"\b$", r"^\b", r"^\B", r"\B$", r"(?m)^\b\w+\b$", r"(?:\b|^)a(?:\b|$)", r"(?a:\B)\b", r"\b(?:a|\B)+\b",
    ],
    "case": [
        "(?i)s", "(?i)k", "(?i)\u212a", "(?i)i", "(?i)İ", "(?i)\u0131", "(?i)ß", "(?i)ẞ", "(?i)µ", "(?i)ς",
        "(?i)\u0345", "(?i)é",
    ],
    "case in a class": [
        "(?i)[a-z]", "(?i)[^a-z]", "(?i)[^k]", "(?i)[\u017f]", "(?ia)[k-s]", "(?ia)k", "(?i)[^\u212a]",
        "(?i)[\u0400-\U00010428]",
    ],
    "never": ["(?!)", "a(?!)", "(?:a|(?!))b", "(?:(?!))*a", "(?:(?!)|b){2}"],
}  # fmt: skip

NOT_REGULAR = {
    r"(a)\1": r"\1",
    "(?P<n>a)x(?P=n)": r"\1",
    "(a)?(?(1)b|c)": "(?(1)...)",
    "x(?=a)": "(?=a)",
    "(?!a)x": "(?!a)",
    "(?<=a)b": "(?<=a)",
    "(?<!a)b": "(?<!a)",
    "(?:b(?>a|ab)c)*": "(?>a(?:|b))",
    "a*+b": "a*+",
}


def make(source: str) -> LinearPattern:
    return LinearPattern(parse(source))


def all_matches(flags: str, body: str, text: str) -> set[tuple[int, int]]:
    """
    Find the bounds of every match that is not empty, by asking the standard engine for each of them.

    A match is tried from each place on, in the whole text, and what is behind it must have a given length. So the
    tests at both ends see the text on both sides.
    """
    found = set()
    length = len(text)
    for rest in range(length):
        compiled = re.compile(f"(?{flags}:{body})(?s:(?=.{{{rest}}}\\Z))")
        found |= {(start, length - rest) for start in range(length - rest) if compiled.match(text, start)}
    return found


def covered(matches: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """
    Unite matches that touch or overlap.
    """
    spans: list[tuple[int, int]] = []
    for start, end in sorted(matches):
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((start, end))
    return spans


# --- the same answers as the standard engine --------------------------------------------------------


@pytest.mark.parametrize("source", [source for sources in PATTERNS.values() for source in sources])
def test_found_each_construct_answers_like_standard_engine(source: str) -> None:
    pattern = make(source)
    compiled = re.compile(source)
    assert {text: pattern.found(text) for text in TEXTS} == {text: bool(compiled.search(text)) for text in TEXTS}


@pytest.mark.parametrize("source", [source for sources in PATTERNS.values() for source in sources])
def test_spans_each_construct_hold_every_match(source: str) -> None:
    flags, body = re.fullmatch(r"(?s)(?:\(\?([imsxau]+)\))?(.*)", source).groups()
    body += "\n" if "x" in (flags or "") else ""  # which ends a comment
    pattern = make(source)
    for text in TEXTS:
        matches = all_matches(flags or "", body, text)
        assert pattern.spans(text) == covered(matches), text


@pytest.mark.parametrize(
    "source",
    [r"\w", r"(?a)\W", r"\s", r"\d", "(?i)k", "(?i)[^s]", "(?i)[a-zà-ÿ]", "(?i)İ",
     "[^\u0100-\uffff]", "(?i)[\u0370-\u03ff]"],
)  # fmt: skip
def test_found_single_characters_are_read_as_by_standard_engine(source: str) -> None:
    pattern = make(source)
    compiled = re.compile(source)
    scripts_and_cases = (range(0x3100), range(0xA400, 0xAC00), range(0xF900, 0x11000), range(0x1E900, 0x1F000))
    for codes in scripts_and_cases:
        differing = [hex(code) for code in codes if pattern.found(chr(code)) != bool(compiled.search(chr(code)))]
        assert differing == []


ATOMS = st.sampled_from(
    ["a", "b", "k", "s", "i", "é", "\u017f", "\u212a", "İ", "1", " ", r"\n", ".", r"\w", r"\W", r"\d", r"\D",
     r"\s", r"\S", "[ab]", "[^a]", r"[^\w]", r"[\s1]", "[a-k]", "[^k-s]", "(?:)"]
)  # fmt: skip
TESTS = st.sampled_from(["^", "$", r"\A", r"\Z", r"\b", r"\B"])
REPEAT_SIGNS = st.sampled_from(["*", "+", "?", "*?", "+?", "??", "{2}", "{0,2}", "{1,2}?", "{2,}", "{0}", "{3,4}"])
GROUPS = st.sampled_from(["(", "(?:", "(?i:", "(?m:", "(?s:", "(?a:", "(?u:", "(?-i:", "(?i-ms:"])


def _extend(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.lists(inner, min_size=2, max_size=4).map("".join),
        st.tuples(GROUPS, st.lists(inner, min_size=1, max_size=3).map("|".join)).map(
            lambda pair: f"{pair[0]}{pair[1]})"
        ),
        st.tuples(inner, REPEAT_SIGNS).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
        st.lists(inner, min_size=2, max_size=3).map("|".join).map("(?:{})".format),
    )


BODIES = st.recursive(ATOMS | TESTS, _extend, max_leaves=7)
FLAGS = st.sets(st.sampled_from("imsx"), max_size=3).map(sorted).map("".join) | st.sampled_from(["a", "ai", "am", "u"])
SHORT_TEXTS = st.text(st.sampled_from("aabk1 \n\né\u017fs\u212aKİiI\u0307_"), max_size=9)


def _source(flags: str, body: str) -> str:
    return f"(?{flags}){body}" if flags else body


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(FLAGS, BODIES, st.lists(SHORT_TEXTS, min_size=1, max_size=4))
@pytest.mark.property
def test_found_generated_pattern_answers_like_standard_engine(flags: str, body: str, texts: list[str]) -> None:
    source = _source(flags, body)
    pattern = make(source)
    compiled = re.compile(source)
    for text in texts:
        assert pattern.found(text) == any(compiled.match(text, at) for at in range(len(text) + 1)), text
        if not re.search(r"\(\?[au]:", body):  # see below
            assert pattern.found(text) == bool(compiled.search(text)), text


@pytest.mark.parametrize(("source", "text"), [(r"(?a:[^\w])", "é"), (r"(?a:\W)b", "éb"), (r"(?a)(?u:\w)", "é")])
def test_found_with_other_characters_at_its_start_reads_them_as_written(source: str, text: str) -> None:
    # The standard engine finds no place to begin: it skips characters by the flags outside of the group.
    assert re.compile(source).match(text)
    assert make(source).found(text)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(FLAGS, BODIES, SHORT_TEXTS)
@example("", r"\b(?:a|k)+\B", "aak a")
@example("m", "(?:^a|a$)+", "a\na\na")
@pytest.mark.property
def test_spans_generated_pattern_hold_every_match(flags: str, body: str, text: str) -> None:
    pattern = make(_source(flags, body))
    matches = all_matches(flags, body, text)
    assert pattern.spans(text) == covered(matches)


# --- refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "part"), NOT_REGULAR.items())
def test_construction_with_irregular_construct_names_it(source: str, part: str) -> None:
    with pytest.raises(NotRegular) as caught:
        make(source)
    assert caught.value.part == part


@pytest.mark.parametrize(
    "source",
    [
        f"a{{{MAX_POSITIONS + 1}}}",
        f"a{{0,{MAX_POSITIONS + 1}}}",
        f"(?:ab?){{{MAX_POSITIONS},}}",
        "(?:" * 9 + "a" + "{9})" * 9,
        "(?:a" + r"\b" * 4_000 + "){4000}",
    ],
)
def test_construction_of_large_pattern_is_refused(source: str) -> None:
    with pytest.raises(TooLarge):
        make(source)


@pytest.mark.parametrize(
    "source",
    [f"^a{{{MAX_POSITIONS}}}$", f"^(?:a{{2}}){{{MAX_POSITIONS // 2}}}$", r"^(?:(?:(?:\b){4000}){4000}){4000}a{5000}$"],
)
def test_construction_of_largest_pattern_succeeds(source: str) -> None:
    pattern = make(source)
    assert pattern.found("a" * MAX_POSITIONS)
    assert not pattern.found("a" * (MAX_POSITIONS - 1))


# --- texts and patterns that hang the standard engine -----------------------------------------------


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        (r"^(a+)+$", "a" * MEGABYTE + "b", False),
        (r"(\s+)+x$", " " * MEGABYTE + "y", False),
        (r"(x|xx)+y", "x" * MEGABYTE, False),
        (r"(x|xx)+y", "x" * MEGABYTE + "y", True),
        (r"\s+$", " " * MEGABYTE + "x", False),
        (r"\s+$", " " * MEGABYTE + "\n", True),
        (r"(?:(?:a|b|ab)*|(?:ba|c)+)*d", "ab" * (MEGABYTE // 2), False),
        (r"(.*a){20}x", "a" * MEGABYTE, False),
        (r"(?:a?){30}a{30}b", "a" * MEGABYTE, False),
        (r"(?i)(?:\w+\s?)+!", "Some words \n" * (MEGABYTE // 12), False),
    ],
)
def test_found_in_a_megabyte_with_ambiguous_pattern_answers(source: str, text: str, expected: bool) -> None:
    assert make(source).found(text) is expected


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        (r"a(.*b)?", "a" * 200_000, [(0, 200_000)]),  # a plain scan from each match would read up to the end
        (r"(a+)+b|ac", "a" * 200_000 + "c", [(199_999, 200_001)]),
        (r"(\w+\s?)+", "words " * 30_000 + "\n" + "more " * 1_000, [(0, 180_000), (180_001, 185_001)]),
    ],
)
def test_spans_in_long_text_with_ambiguous_pattern_are_found(
    source: str, text: str, expected: list[tuple[int, int]]
) -> None:
    assert make(source).spans(text) == expected


def test_found_when_match_has_become_impossible_reads_no_further() -> None:
    looks = []
    assert not make(r"^(a+)+$").found("b" * MEGABYTE, lambda: looks.append(1))
    assert looks == []


# --- bounded memory ---------------------------------------------------------------------------------


def machines(pattern: LinearPattern) -> tuple[linear._Machine, ...]:
    return pattern._search, pattern._forwards, pattern._backwards


def _states(pattern: LinearPattern) -> int:
    return max(len(machine._states) for machine in machines(pattern))


def test_found_with_more_states_than_are_kept_stays_exact() -> None:
    choice = random.Random(0)
    text = "".join(choice.choice("ab") for _ in range(60_000))
    pattern = make("(a|b)*a(a|b){20}c")
    assert not pattern.found(text)
    assert pattern.found(text + "a" + "b" * 20 + "c")
    assert not pattern.found(text + "b" * 21 + "c")
    assert _states(pattern) <= MAX_STATES


def test_spans_with_more_states_than_are_kept_stay_exact() -> None:
    choice = random.Random(1)
    text = "".join(choice.choice("ababababababababc") for _ in range(60_000))
    source = "c[ab]{13}a|b[ab]{16}c"  # one match at the most, wherever it begins
    pattern = make(source)
    spans = pattern.spans(text)
    assert spans == covered({match.span(1) for match in re.finditer(f"(?=({source}))", text)})
    assert len(spans) > 500
    assert _states(pattern) <= MAX_STATES


def test_found_with_many_different_characters_stays_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "MAX_TRANSITIONS", 1_000)
    text = "".join(map(chr, range(0x20, 0x11000))) + "a"
    pattern = make(r"(\w+\W?)+\u0301\u0302\u0301")
    assert not pattern.found(text)
    assert pattern.found(text + "\u0301\u0302\u0301")
    for machine in machines(pattern):
        assert sum(len(state) for state in machine._states.values()) <= 2_000


# --- the deadline, and threads ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "read", [lambda pattern, *rest: pattern.found(*rest), lambda pattern, *rest: pattern.spans(*rest)]
)
def test_deadline_is_looked_at_every_4096_characters(read: Callable[..., object]) -> None:
    looks: list[int] = []
    read(make("(a+)+b|c$"), "a" * 4_096 * 10 + "c", lambda: looks.append(1))
    assert len(looks) >= 10


def test_deadline_that_has_passed_ends_the_search() -> None:
    def passed() -> None:
        raise TimeoutError

    pattern = make("(a+)+b")
    with pytest.raises(TimeoutError):
        pattern.found("a" * MEGABYTE, passed)
    with pytest.raises(TimeoutError):
        pattern.spans("b" + "ab" * MEGABYTE, passed)


def test_two_threads_with_one_pattern_that_drops_states_answer_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "MAX_STATES", 50)
    monkeypatch.setattr(linear, "MAX_TRANSITIONS", 100)
    choice = random.Random(2)
    texts = ["".join(choice.choice("abé") for _ in range(3_000)) + ending for ending in ("c", "d") for _ in range(20)]
    pattern = make("(?:a|b|é)*(?:a|é)(?:a|b|é){9}c$")
    compiled = re.compile("[aé][abé]{9}c$")
    expected = [bool(compiled.search(text)) for text in texts]
    begin = threading.Barrier(4)

    def run() -> list[bool]:
        begin.wait()
        return [pattern.found(text) for text in texts]

    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(run) for _ in range(4)]
        assert [run.result() for run in runs] == [expected] * 4
