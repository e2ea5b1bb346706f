"""
Which regular expressions a ruleset may hold, and that admitted ones answer exactly and in bounded work.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from itertools import chain, pairwise
from time import thread_time

import pytest
from edictum.ruleset.patterns import (
    IRREGULAR_MATCH_CHARS,
    MAX_MATCH_CHARS,
    MAX_PATTERN_LENGTH,
    PatternRefused,
    TextTooLong,
    admit,
)
from edictum.ruleset.patterns.borders import find_border
from edictum.ruleset.patterns.linear import LinearPattern
from edictum.ruleset.patterns.regular import MAX_POSITIONS
from edictum.ruleset.patterns.tree import parse
from edictum.ruleset.time_budget import RuleTimeoutError, TimeBudget
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

EXPONENTIAL = [
    r"^(a+)+$",
    r"^(a*)*$",
    r"^(a|aa)+$",
    r"^(a|a)*b",
    r"z(x|xx)+y",
    r"^(\w+\s*)+$",
    r"^(\s+)+x$",
    r"(a?){30}a{30}",
    r"(.*a){20}",
    r"^(a?a)+$",
    r"^((a*)?b)+c",
    r"x(?:a?(?:ab|aab))+x",
    r"x(?:foo\s*,?\s*)*x",
    r"(?i)x(?:ka|\u212aa)+x",
    r"c(?:(?:ab)+|(?:abab)+)+c",
    r"^(?:|a)*b",
    "^" + "a?" * 30 + "a" * 30 + "$",
    "(a|a)" * 30 + "b",
    "^" + "a{0,5}" * 20 + "b",
]
TRIMMED = [  # to find them, less must be read than to tell how far they reach
    r"(a*)*", r"(a|aa)+", r"(x|xx)+y", r"(\w+\s*)+$", r"(\s+)+x$", "(a*)?" * 30 + "b", "a?" * 30 + "a" * 30
]  # fmt: skip
POLYNOMIAL = [
    r"a.*b.*c",
    r"^.*a.*b.*c",
    r"(.*a){3}x",
    r"x\s*\s*\s*\s*y",
    r"x[ab]*[bc]*[bd]*y",
    r"^a*a*xb*b*y",
]
LINEAR = [
    r"",
    r"x*",
    r"Bearer [A-Za-z0-9._-]+",
    r"(?i)(api[_-]?key|secret[_-]?key)\s*[:=]",
    r"^\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}$",
    r"-----BEGIN (RSA |EC )?PRIVATE KEY-----",
    r"ghp_[A-Za-z0-9]{36}",
    r"sk-[A-Za-z0-9]{20,}",
    r"AKIA[0-9A-Z]{16}",
    r"rm\s+-rf",
    r"\brm\b",
    r"(foo|bar)+",
    r"(a+b)+",
    r"^(a+b)+$",
    r"(\w+\s)+x",
    r"(,\d+)*",
    r"\b\d{3}-\d{2}-\d{4}\b",
    r"\.env(\.[a-z]+)?$",
    r"^/workspace/",
    r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}",
    r"\s+$",
    r".*foo.*",
    r"^([a-z0-9-]+\.)+[a-z]{2,}$",
    r"(https?://)?([\w-]+\.)+[\w-]+(/\S*)?",
    r"(foo|foobar)+x",
    r"^(\w+)-\1$",
    r"""(["'])x\1""",
    r"(a)(?(1)b|c)",
    r"^(?=.*foo)(?=.*bar)",
    r"(?<=foo)bar",
    r"(?s:.)x(?-i:Y)",
    r"\b(?:" + "|".join(f"word{n}{n * 7919 % 1000}" for n in range(400)) + r")\b",
]
MULTIPLIED = [  # by bounded repeats, so much that long texts go to the linear engine
    r"(?:[A-Z]{5}-?){5}",
    r"\b(?:\d[ -]?){13,16}\b",
    r"[A-Za-z0-9+/]{200,}={0,2}$",
    r"foo.{0,200}bar",
]
QUADRATIC = [
    r"foo.*bar",
    r"rm\s+.*-rf",
    r".*foo.*bar.*",
    r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}\b",
    r"password.*[A-Za-z0-9]{20,}",
    "(?i)k\u212a*-",
    r'"(?:[^"\\]|\\.)*"',
    r"a.*(?:a|ab)c",
    r"a.*(x)?b",
]
UNREADABLE = [
    "(",
    "[a",
    r"(?<=a+)b",
    "a" * (MAX_PATTERN_LENGTH + 1),
    "(" * 3000 + ")" * 3000,
    "a{99999999999}",
]
_EMAIL = r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}\b"
RISKY_AND_IRREGULAR = {  # with the part that is risky, and the one that keeps the linear engine from it
    r"^(?=(?:a|b|ab)*$)c": ("(?:a|b|ab)*", "(?=(?:a|b|ab)*$)"),
    r"(?=.*(?=.*a))x": (".*, .*", "(?=.*(?=.*a))"),
    r"^/tmp/(?:[\w.]+-?)+\.(txt|md)(?!\w)": (r"(?:[\w\.]+\-?)+", r"(?!\w)"),
    r"x(?:a+)+y(?<=y)": ("(?:a+)+", "(?<=y)"),
    r"(?<!k)a.*b.*c": (".*, .*", "(?<!k)"),
    r"(\w+) \1": (r"\w+", r"\1"),
    r"(?:(a)\1)+": (r"\1", r"\1"),
    r"(?:(a)?(?(1)b|c))*x": ("(?(1)...)", "(?(1)...)"),
    # Possessive and atomic forms hang Python 3.11.2 on some of them, for example the last one.
    r"a++b": ("a++", "a++"),
    r"(?>a+)b": ("(?>a+)", "(?>a+)"),
    r"(?:(?<=a)b)*+": ("(?:(?<=a)b)*+", "(?:(?<=a)b)*+"),
}
LIMITED = {r"(?=.*foo)x": 10_000, r"x(?:(?!foo).)*bar": 5_000, r"foo.*(?=bar)": 10_000}


@pytest.mark.parametrize("source", LINEAR + TRIMMED)
def test_admit_safe_pattern_is_searched_by_the_standard_engine(source: str) -> None:
    pattern = admit(source)
    assert (pattern.engine, pattern.risk, pattern.limit) == ("standard", "safe", MAX_MATCH_CHARS)


@pytest.mark.parametrize(
    ("source", "risk"), [(source, "safe") for source in MULTIPLIED] + [(source, "quadratic") for source in QUADRATIC]
)
def test_admit_risky_pattern_is_searched_by_the_linear_engine_in_long_texts(source: str, risk: str) -> None:
    pattern = admit(source)
    assert (pattern.engine, pattern.risk, pattern.limit) == ("mixed", risk, MAX_MATCH_CHARS)


@pytest.mark.parametrize(
    ("source", "risk"),
    [(source, "exponential") for source in EXPONENTIAL] + [(source, "polynomial") for source in POLYNOMIAL],
)
def test_admit_pattern_of_unbounded_work_is_searched_by_the_linear_engine(source: str, risk: str) -> None:
    pattern = admit(source)
    assert (pattern.engine, pattern.risk, pattern.limit) == ("linear", risk, MAX_MATCH_CHARS)


@pytest.mark.parametrize(("source", "limit"), LIMITED.items())
def test_admit_quadratic_pattern_that_only_the_standard_engine_reads_is_limited(source: str, limit: int) -> None:
    pattern = admit(source)
    assert (pattern.engine, pattern.risk, pattern.limit) == ("standard", "quadratic", limit)


@pytest.mark.parametrize(("source", "parts"), RISKY_AND_IRREGULAR.items())
def test_admit_risky_pattern_that_only_the_standard_engine_reads_is_refused(
    source: str, parts: tuple[str, str]
) -> None:
    risky, irregular = parts
    with pytest.raises(PatternRefused) as caught:
        admit(source)
    assert caught.value.part == risky
    assert f"'{risky}'" in str(caught.value)
    assert f"'{irregular}' cannot be searched in linear time" in str(caught.value)
    assert str(caught.value)[0].islower()


@pytest.mark.parametrize("source", UNREADABLE)
def test_admit_pattern_that_does_not_compile_is_refused(source: str) -> None:
    with pytest.raises(PatternRefused) as caught:
        admit(source)
    assert caught.value.part
    assert str(caught.value)[0].islower()


def test_admit_risky_pattern_that_is_too_large_for_the_linear_engine_is_refused() -> None:
    with pytest.raises(PatternRefused, match=f"more than {MAX_POSITIONS} characters.*lower the bounds"):
        admit(f"x(?:a|aa)+(?:bc){{{MAX_POSITIONS // 2}}}")


def test_admit_pattern_too_large_to_be_judged_is_searched_by_the_linear_engine() -> None:
    """Thousands of loops or branches are given up by size, before their combinations are looked at."""
    pattern = admit(r"\d+\s" * 1900)
    assert (pattern.engine, pattern.risk) == ("linear", "unknown")
    assert pattern.found("x" + "12 " * 1900)
    assert not pattern.found("x" + "12 " * 1899)


def test_admit_same_source_twice_returns_the_same_pattern() -> None:
    assert admit(r"\brm\b") is admit(r"\brm\b")


def test_pattern_attribute_assignment_is_rejected() -> None:
    with pytest.raises(AttributeError):
        admit("a").limit = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    "source",
    ["foo", r"^foo", r"\bfoo\b", r"foo[a-z]", r"[a-z]*foo|bar", r"[ab]{2}|b", r"(?:a|bb)@+x", "[fo].*bar", "^(foo?)+",
     r"\b[a-z]+@\w+", r"[fo].*(?=bar)", r"(?<!x)f[o]*[o]* "],
)  # fmt: skip
def test_found_text_beyond_limit_raises_even_when_its_start_matches(source: str) -> None:
    """Every way of searching has a limit of its own to check."""
    pattern = admit(source)
    text = "foo bar food a@@x@x "
    assert pattern.found(text)
    with pytest.raises(TextTooLong) as caught:
        pattern.found(text + "-" * pattern.limit)
    assert (caught.value.length, caught.value.limit) == (pattern.limit + len(text), pattern.limit)


@pytest.mark.parametrize(
    ("source", "hit"),
    [
        (r"\b\d{3}-\d{2}-\d{4}\b", "123-45-6789"),
        (r"(?:a|bb)\d{3}-\d{2}-\d{4}", "bb123-45-6789"),
        (r"ghp_[0-9]{3}-\d\d-\d{4}", "ghp_123-45-6789"),
    ],
)
@pytest.mark.parametrize("filler", ["x ", "- ", "1-", "123-45-678 ", "a ghp_"])
def test_found_match_at_the_very_end_is_seen(source: str, hit: str, filler: str) -> None:
    """Near misses make the search change its strategy on the way; none may lose the match."""
    text = filler * 3000 + " " + hit
    assert admit(source).found(text)
    assert not admit(source).found(text[:-1])


def test_found_on_exactly_limit_characters_reads_the_last_one() -> None:
    assert admit(r"\d-x").found("y" * (MAX_MATCH_CHARS - 3) + "1-x")


def test_replace_backslashes_in_replacement_are_literal() -> None:
    assert admit(r"k(\d)").replace("k1 k2", r"\1\g<1>\n") == r"\1\g<1>\n \1\g<1>\n"


def test_replace_takes_the_whole_match_though_found_is_trimmed() -> None:
    assert admit(r"sk-[a-z]{3,}").replace("a sk-abcdef.", "[REDACTED]") == "a [REDACTED]."


def test_replace_with_untrimmed_quadratic_pattern_works_in_long_texts() -> None:
    pattern = admit(r"[\w.]+@[\w.]+\.[a-z]{2,}")
    text = "x" * 20_000 + " a@b.cd"
    assert pattern.replace(text, "-") == "x" * 20_000 + " -"
    assert pattern.replace(text[-1000:], "-") == "x" * 993 + " -"


def test_replace_with_untrimmed_irregular_pattern_raises_where_found_still_answers() -> None:
    pattern = admit(r"[\w.]+@[\w.]+\.[a-z]{2,}(?!\d)")
    text = "x" * IRREGULAR_MATCH_CHARS + " a@b.cd"
    assert pattern.found(text)
    with pytest.raises(TextTooLong):
        pattern.replace(text, "-")
    assert pattern.replace(text[-1000:], "-") == "x" * 993 + " -"


@pytest.mark.parametrize("length", [0, 100, 5_000])
def test_replace_where_matches_overlap_leaves_none_of_their_characters(length: int) -> None:
    """The standard engine takes 'a' first, and could take 'bcd' then; the longest match ends before the 'd'."""
    text = "-" * length + "abcd"
    assert admit("z(y|y)+z|a|abc|bcd").replace(text, "") == "-" * length


def test_admit_pattern_that_the_parser_warns_of_stays_silent_and_changes_no_filter() -> None:
    """It means what the standard library makes of it; with warnings as errors it would not load otherwise."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        assert admit(r"^[[a]--[||b]$").found("[--|")
        assert before == warnings.filters


def test_admit_first_call_is_what_imports_the_analysis() -> None:
    code = (
        "import sys, edictum.ruleset.patterns as p; print('edictum.ruleset.patterns.risk' in sys.modules);"
        "p.admit('a'); print('edictum.ruleset.patterns.risk' in sys.modules)"
    )
    assert _run(code, "", seconds=60) == "False\nTrue\n"


def test_linear_engine_is_imported_for_the_first_long_text() -> None:
    code = (
        "import sys, edictum.ruleset.patterns as p; linear = lambda: 'edictum.ruleset.patterns.linear' in sys.modules;"
        "q = p.admit('foo.*bar'); q.found('foo bar'); print(linear()); q.found('foo' * 9_000); print(linear())"
    )
    assert _run(code, "", seconds=60) == "False\nTrue\n"


def _run(code: str, text: str, *, seconds: int) -> str:
    return subprocess.run(
        [sys.executable, "-c", code],
        input=text,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    ).stdout


# --- texts beyond the limit of a quadratic pattern that is not regular ------------------------------


@pytest.mark.parametrize(
    ("source", "hit"),
    [(r"foo(?!k).*bar", "foo x bar"), (r"\d\dfoo(?:(?!;;).)*bar", "11foo x bar"), (r"x(?!k).*y", "x y")],
)
def test_found_long_text_where_few_matches_can_begin_is_judged(source: str, hit: str) -> None:
    pattern = admit(source)
    text = f"{hit[:-1]}\n{'-' * 64_000}"
    assert len(text) > pattern.limit
    assert not pattern.found(text + hit[:-1])
    assert pattern.found(text + hit)


@pytest.mark.parametrize(("source", "unit"), [("foo(?!k).*bar", "foo"), ("aa(?!k).*b", "a"), ("--(?!k).*x", "--")])
def test_found_long_text_is_judged_at_its_places_as_long_as_the_time_allows(source: str, unit: str) -> None:
    pattern = admit(source)
    budget = TimeBudget()
    budget.rule = "rule"
    assert not pattern.found((unit * 10 + "\n") * 1_000, budget)
    with pytest.raises(RuleTimeoutError):
        pattern.found(unit * 200_000, budget)


@pytest.mark.parametrize("source", [r"foo[ab]*[ab]*(?=c)", r"[fg]x?.*(?=bar)", r"^.*foo.*(?=bar)"])
def test_found_long_text_where_one_place_alone_can_be_too_much_raises(source: str) -> None:
    """Nothing bounds the work: it is quadratic at one place, or the places are not known."""
    with pytest.raises(TextTooLong):
        admit(source).found("-" * (IRREGULAR_MATCH_CHARS + 1) + "foo")


@pytest.mark.parametrize("source", [r"foo[ab]*[ab]*(?=c)", "foo.*bar", "^(a+)+foo$", _EMAIL])
def test_found_long_text_without_the_fixed_text_of_a_match_needs_no_time(source: str) -> None:
    budget = TimeBudget()
    budget._call_left = 0
    assert not admit(source).found("-" * MAX_MATCH_CHARS, budget)
    with pytest.raises(RuleTimeoutError):
        admit(source).found("- foo @" * 1_000, budget)


def test_found_text_beyond_the_largest_limit_raises_though_no_match_can_begin() -> None:
    with pytest.raises(TextTooLong):
        admit("foo.*(?=bar)").found("-" * (MAX_MATCH_CHARS + 1))


@pytest.mark.property
@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([r"foo(?!k).*bar", r"\bfoo[^;]*(?=bar)", r"(?<=-)\dfoo.*bar$", r"foo(?=.*;).*bar"]),
    st.lists(st.sampled_from(["foo", "bar", ";", "\n", "1", "-", " ", "o"]), max_size=12),
    st.sampled_from([" ", "-", "b;", "\n"]),
    st.integers(0, 12),
)
def test_found_long_text_answers_as_the_standard_library(
    source: str, parts: list[str], filler: str, place: int
) -> None:
    text = "".join([*parts[:place], filler * 11_000, *parts[place:]])
    assert admit(source).found(text) == bool(re.search(source, text))


def test_admit_huge_number_of_ways_is_refused_with_a_printable_number() -> None:
    with pytest.raises(PatternRefused, match="1000000000 times"):
        admit("(?<!x)" + "(?:ab|ab)" * 200 + "c")


def test_admit_irregular_pattern_too_large_to_be_judged_is_refused() -> None:
    with pytest.raises(PatternRefused, match="too large"):
        admit(r"(?<!x)" + r"\d+\s" * 1900)


# --- patterns with a border -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "char"),
    [(_EMAIL, "@"), (r"\w+=\w+", "="), (r"(?i)[a-z]+@(?:[a-z]|\d)+", "@"), (r"\w+ \w+;\d", " "), (r"\B-x", "-")],
)
def test_find_border_character_that_nothing_else_reads_is_found(source: str, char: str) -> None:
    border = find_border(parse(source))
    assert border is not None
    assert border.char == char


@pytest.mark.parametrize(
    "source",
    [r"\S+@\w+", r"a@b@c", r"\w+@(?=.*x)y", r"\w+@$", r"^\w+@\w", r"\w+@", r"\w+@\b", r"\w+(?:@\w)+", r"\w+a\w+",
     r"(\w)@\1"],
)  # fmt: skip
def test_find_border_is_none_where_a_match_could_look_beyond(source: str) -> None:
    assert find_border(parse(source)) is None


def test_found_long_text_with_borders_is_judged() -> None:
    """An e-mail address is searched in quadratic work, but only between the signs around it."""
    pattern = admit(_EMAIL)
    assert pattern.risk == "quadratic"
    assert not pattern.found("nobody wrote to anybody " * 40_000)
    assert not pattern.found("name@host and a.b@c, " * 40_000)
    assert pattern.found("name@host and a.b@c, " * 40_000 + "a.b@example.org")


def test_found_long_pieces_between_borders_are_judged_when_their_work_adds_up() -> None:
    piece = "x" * 3_000 + "@host.org-"  # has the tail, so its head is searched for
    pattern = admit(r"\b[a-z]+[,;]@[a-z]+\.[a-z]{2,}")
    assert not pattern.found(piece * 300)
    assert pattern.found(piece * 300 + "x;@host.org")


@pytest.mark.property
@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(
        [
            _EMAIL,
            r"\w+=\d+",
            r"(?i)[a-z]+@(?:[a-z]{2}|\d)+",
            r"\B\w-\w\b",
            r"[a-z.]+@[a-z.]+",
            r"\b\d+ :\d*x",
            r"(?:a|bc)*@a?\B\w",
        ]
    ),
    st.lists(st.sampled_from(["@", "a", "bc", ".", "=", "-", "1", " ", ":", "x", "org", "\n", "é"]), max_size=40),
    st.sampled_from(["", "@", "-", "=", ":", "a@", "1-"]),
    st.sampled_from(["~", "a ", "a", "x@"]),
)
def test_found_between_borders_answers_as_the_standard_library(
    source: str, parts: list[str], end: str, filler: str
) -> None:
    text = filler * 210 + "".join(parts) + end
    assert admit(source).found(text) == bool(re.search(source, text))


# --- equality with the standard library ------------------------------------------------------------

_CHARS = "ab-@1 \nBK\u212aé"
_ATOMS = st.sampled_from(
    ["a", "b", "ab", "-", "@", "1", ".", r"\w", r"\W", r"\d", r"\s", "[ab]", "[^a]", "[^b-]", r"\b", r"\B",
     "^", "$", r"\A", r"\Z", "K", "é", r"[\w-]", "(?=a)", "(?!b)", "(?<=a)", "(?<!-)", "aab-"]
)  # fmt: skip
_REPEATS = ["*", "+", "?", "*?", "+?", "{2}", "{3,}", "{1,3}", "{0,5}", "{6}", "++", "*+", "?+", "{2,}?"]


def _larger(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("".join, st.lists(parts, min_size=2, max_size=4)),
        st.builds(lambda left, right: f"(?:{left}|{right})", parts, parts),
        st.builds(lambda part, sign: f"(?:{part}){sign}", parts, st.sampled_from(_REPEATS)),
        st.builds(lambda part, sign: f"{sign}{part})", parts, st.sampled_from(["(", "(?>", "(?i:", "(?s:", "(?m:"])),
    )


_PATTERNS = st.builds(
    lambda flag, pattern, reference: flag + pattern + reference,
    st.sampled_from(["", "", "(?i)", "(?m)", "(?s)", "(?a)"]),
    st.recursive(_ATOMS, _larger, max_leaves=8),
    st.sampled_from(["", "", "", "", r"(a|b)\1", r"(-)?(?(1)a|b)"]),
)
_TEXTS = st.one_of(
    st.text(_CHARS, max_size=30),
    st.builds(lambda part, times, end: part * times + end,
              st.text(_CHARS, min_size=1, max_size=8), st.integers(1, 60), st.text(_CHARS, max_size=12)),
    st.builds(lambda fill, hit: fill * 40 + hit,
              st.sampled_from(["ab ", "a-", "@ ", "zzzzzzz"]), st.text(_CHARS, max_size=30)),
)  # fmt: skip


@pytest.mark.property
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(_PATTERNS, st.lists(_TEXTS, min_size=1, max_size=6), st.text("x\\1g<>", max_size=6))
@example("(?:a|ab){2,}+", ["aba", "abab"], "x")
@example("a*+ab", ["aab"], "x")
@example("(?:^a|b)*-", ["ab-"], "x")
@example("(?i)k-", ["\u212a-"], "x")
def test_admitted_pattern_any_text_answers_as_the_standard_library(
    source: str, texts: list[str], replacement: str
) -> None:
    try:
        pattern = admit(source)
    except PatternRefused:
        return
    regular = LinearPattern(parse(source)) if pattern.engine == "linear" or not pattern._replace_chars else None
    for text in texts:
        if regular is not None:
            text = text[:12] or "a"  # more might keep the standard engine busy for ever
        assert pattern.found(text) == bool(re.search(source, text))
        try:
            replaced = pattern.replace(text, replacement)
        except TextTooLong:
            assert pattern.engine == "standard"
            continue
        if regular is None:
            assert replaced == re.sub(source, lambda _: replacement, text)
            continue
        spans = regular.spans(text)
        assert replaced == "".join(
            replacement if (start, end) in spans else text[start:end]
            for start, end in pairwise(sorted({0, len(text), *chain.from_iterable(spans)}))
        )
        for match in re.finditer(source, text):
            assert not match[0] or any(start <= match.start() and match.end() <= end for start, end in spans)


@pytest.mark.property
@settings(max_examples=300, deadline=None)
@given(st.text(r"ab()[]{}*+?|\^$.-,:=!<>0123iwsPm", max_size=14))
def test_admit_any_text_is_admitted_or_refused(source: str) -> None:
    """No other error can come out of loading a pattern, whatever the parser makes of it."""
    try:
        pattern = admit(source)
    except PatternRefused:
        return
    assert pattern.source == source


# --- padding ---------------------------------------------------------------------------------------

_HITS = {  # of every engine and every way of searching
    "forbidden": "a forbidden word",
    r"\brm\s+-rf\b": "rm  -rf /",
    r"\d{3}-\d{2}-\d{4}": "123-45-6789",
    _EMAIL: "a.b@example.org",
    r"rm\s+.*-rf": "rm -v -rf",
    r"(?m)^(\w+\s*)+;$": "some words;",
    r"(x|xx)+y": "xxxy",
    r"[a-z]+,(?:[a-z]+\s?)+!": "say,it is so!",
    r"sh.*\|.*sh.*\|.*sh": "sh a | sh b | sh c",
    r"\s+$": " \t",
    r"(?:ab|ab)(?:[ab]|ab){0,30}(?:ba|ba)!": "abba!",
}
_PADS = ["x", " ", "\n", "rm ", "a@", "a.b@", "sh |", "123-45-678 ", "words ", "ab", ",\u00e9\n", "\U0001f600"]
_LENGTHS = [0, 1, 250, 1_100, 4_000, 10_100, 70_000, 400_000, MAX_MATCH_CHARS]


@pytest.mark.property
@pytest.mark.security
@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(_HITS)),
    st.sampled_from(_PADS),
    st.sampled_from(_PADS),
    st.sampled_from(_LENGTHS),
    st.sampled_from(_LENGTHS),
)
def test_found_text_with_a_match_fires_whatever_is_put_around_it(
    source: str, before: str, after: str, left: int, right: int
) -> None:
    """In a line of its own at the end, so that the tests for borders hold."""
    text = (before * left)[:left] + (after * right)[:right] + "\n" + _HITS[source]
    if len(text) > MAX_MATCH_CHARS:
        with pytest.raises(TextTooLong):
            admit(source).found(text)
    else:
        assert admit(source).found(text)


@pytest.mark.property
@pytest.mark.security
@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(_HITS)), st.sampled_from(_PADS), st.sampled_from(_PADS), st.integers(0, 6_000),
    st.integers(0, 6_000),
)  # fmt: skip
def test_replace_shows_no_more_of_a_match_whatever_is_put_before_it(
    source: str, before: str, other: str, left: int, right: int
) -> None:
    hit = "\n" + _HITS[source]
    *hidden, shown = admit(source).replace((before * left)[:left] + (other * right)[:right] + hit, "\0").split("\0")
    assert hidden
    assert admit(source).replace(hit, "\0").rpartition("\0")[2].endswith(shown)


# --- work ------------------------------------------------------------------------------------------


def _seconds(source: str, text: str) -> float:
    """
    Measure the processor time of a search, at its best.
    """
    pattern = admit(source)
    taken = []
    for _ in range(3):
        began = thread_time()
        pattern.found(text)
        taken.append(thread_time() - began)
    return min(taken)


@pytest.mark.security
@pytest.mark.parametrize(
    ("source", "unit"),
    [
        (r"^(a+)+$", "a"),
        (r"\s+$", " "),
        (r"^(a|aa)+$", "a"),
        (r"z(x|xx)+y|x+z", "x"),
        (r"^(\s+)+x$", " "),
        (r"foo.*bar.*baz", "foo bar "),
        (r"[^;]*;[^;]*!", ";"),
        (r'"(?:[^"\\]|\\.)*"', '\\"'),
        (r"a.*(?:a|ab)c", "ab"),
    ],
)
def test_found_in_a_text_four_times_as_long_takes_about_four_times_as_long(source: str, unit: str) -> None:
    """Quadratic work would take sixteen times as long, exponential work would not end."""
    quarter, whole = ((unit * MAX_MATCH_CHARS)[: length - 1] + "~" for length in (250_000, MAX_MATCH_CHARS))
    assert _seconds(source, whole) < 10 * _seconds(source, quarter) + 0.01


_KILLED_AFTER = 120
_NASTY = {  # each with the units of which its worst texts are made
    r"[a-z]{255}1": ["a"],
    r"(?:ab){1,32}c": ["ab"],
    r"\b\w{200}-\b": ["a", "a."],
    r"(?:a[^b]|ab){5,20}x": ["ab", "aa"],
    r"(?:[A-Z]{5}-?){5}": ["AAAAA", "AAAAA-AAAAA-AAAAA-AAAAA-AAAA."],
    r"\b(?:\d[ -]?){13,16}\b": ["1", "1-"],
    r"foo.{0,200}bar": ["foo", "foob"],
    r"[\w.]+@[\w.]+\.[a-z]{2,}": ["a", "a@", "a."],
    r"\s+$": [" ", "  x"],
    r"rm\s+.*-rf": ["rm -r"],
    r'"(?:[^"\\]|\\.)*"': ['\\"'],
    r"(?=.*foo)x": ["x"],
    r"x(?:(?!foo).)*bar": ["x"],
    r"password.*[A-Za-z0-9]{20,}": ["passwordaaaaaaaaaaa "],
    r"a.*(?:a|ab)c": ["a", "ab"],
    r"^(\w+\s?)*$": ["a", "a "],
    r"(.*a){20}": ["a"],
    r"a[ab]{300}c": ["ab", "aab"],
}
_WORKER = """
import sys
from edictum.ruleset.patterns import TextTooLong, admit
from edictum.ruleset.time_budget import RuleTimeoutError, TimeBudget

for source, units in eval(sys.stdin.read()).items():
    pattern = admit(source)
    for unit in units:
        for length in (1_000_000, 100_000, 10_000, 7_000, 3_500, 1_000, 200):
            for search in (pattern.found, lambda text: pattern.replace(text, "-")):
                try:
                    search((unit * length)[: length - 1] + "!")
                except (TextTooLong, RuleTimeoutError):
                    pass
    print(source, flush=True)
"""


@pytest.mark.slow
@pytest.mark.security
def test_admitted_nasty_patterns_on_texts_of_every_length_come_to_an_end() -> None:
    """Run aside and killed when it takes far too long: a hang is a failure and not a stuck suite."""
    assert _run(_WORKER, repr(_NASTY), seconds=_KILLED_AFTER).splitlines() == list(_NASTY)
