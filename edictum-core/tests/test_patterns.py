"""
Which regular expressions a ruleset may hold, and that admitted ones answer exactly and in bounded work.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings

import pytest
from edictum.ruleset.patterns import (
    MAX_MATCH_CHARS,
    MAX_PATTERN_LENGTH,
    QUADRATIC_MATCH_CHARS,
    PatternRefused,
    TextTooLong,
    admit,
)
from edictum.ruleset.patterns.borders import find_border
from edictum.ruleset.patterns.tree import parse
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

EXPONENTIAL = [
    r"^(a+)+$",
    r"(a*)*",
    r"(a|aa)+",
    r"(a|a)*b",
    r"(x|xx)+y",
    r"(\w+\s*)+$",
    r"(\s+)+x$",
    r"(a?){30}a{30}",
    r"(.*a){20}",
    r"(a?a)+",
    r"((a*)?b)+c",
    r"(?:a?(?:ab|aab))+x",
    r"(?:foo\s*,?\s*)*x",
    r"(?i)(?:ka|\u212aa)+x",
    r"(?:(?:ab)+|(?:abab)+)+c",
    r"^(?=(?:a|a)*$)b",
    "a?" * 30 + "a" * 30,
    "(a*)?" * 30 + "b",
    "(a|a)" * 30 + "b",
    "^" + "a{0,5}" * 20 + "b",
]
HIGH_DEGREE = [
    r"a.*b.*c",
    r"^.*a.*b.*c",
    r"(.*a){3}x",
    r"x\s*\s*\s*\s*y",
    r"x[ab]*[bc]*[bd]*y",
    r"(?=.*(?=.*a))x",
    r"^a*a*xb*b*y",
    # Possessive and atomic forms hang Python 3.11.2 on some of them, for example the last one.
    r"a++b",
    r"(?>a+)b",
    r"(?:(?<=a)b)*+",
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
    r"(?:[A-Z]{5}-?){5}",
    r"\b(?:\d[ -]?){13,16}\b",
    r"[A-Za-z0-9+/]{200,}={0,2}$",
    r"foo.{0,200}bar",
    r"(foo|foobar)+x",
    r"^(\w+)-\1$",
    r"""(["'])x\1""",
    r"(a)(?(1)b|c)",
    r"^(?=.*foo)(?=.*bar)",
    r"(?<=foo)bar",
    r"(?s:.)x(?-i:Y)",
    r"\b(?:" + "|".join(f"word{n}{n * 7919 % 1000}" for n in range(400)) + r")\b",
]
QUADRATIC = [
    r"foo.*bar",
    r"rm\s+.*-rf",
    r".*foo.*bar.*",
    r"(?=.*foo)x",
    r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}\b",
    r"password.*[A-Za-z0-9]{20,}",
    "(?i)k\u212a*-",
]
SLOW = [r"x(?:(?!foo).)*bar", r'"(?:[^"\\]|\\.)*"', r"a.*(?:a|ab)c", r"a.*(x)?b"]
UNREADABLE = [
    "(",
    "[a",
    r"(?<=a+)b",
    "a" * (MAX_PATTERN_LENGTH + 1),
    "(" * 3000 + ")" * 3000,
    "a{99999999999}",
]
IRREGULAR = [r"(\w+) \1", r"(?:(a)\1)+", r"(?:(a)?(?(1)b|c))*x"]


@pytest.mark.parametrize("source", EXPONENTIAL + HIGH_DEGREE + IRREGULAR + UNREADABLE)
def test_admit_pattern_of_unbounded_work_or_wrong_syntax_is_refused(source: str) -> None:
    with pytest.raises(PatternRefused) as caught:
        admit(source)
    assert caught.value.part
    assert str(caught.value)[0].islower()


@pytest.mark.parametrize("source", LINEAR)
def test_admit_linear_pattern_searches_a_million_characters(source: str) -> None:
    assert admit(source).limit == MAX_MATCH_CHARS


@pytest.mark.parametrize("source", QUADRATIC)
def test_admit_quadratic_pattern_searches_ten_thousand_characters(source: str) -> None:
    assert admit(source).limit == QUADRATIC_MATCH_CHARS


@pytest.mark.parametrize("source", SLOW)
def test_admit_quadratic_pattern_of_slow_steps_searches_half_as_much(source: str) -> None:
    assert admit(source).limit == QUADRATIC_MATCH_CHARS // 2


@pytest.mark.parametrize(
    ("source", "part"),
    [(r"^/tmp/(?:[\w.]+-?)+\.(txt|md)$", r"(?:[\w\.]+\-?)+"), (r"x(?:a+)+y", "(?:a+)+")],
)
def test_admit_refusal_names_the_repeat_that_is_the_reason(source: str, part: str) -> None:
    with pytest.raises(PatternRefused) as caught:
        admit(source)
    assert caught.value.part == part
    assert caught.value.part in str(caught.value)


def test_admit_same_source_twice_returns_the_same_pattern() -> None:
    assert admit(r"\brm\b") is admit(r"\brm\b")


def test_pattern_attribute_assignment_is_rejected() -> None:
    with pytest.raises(AttributeError):
        admit("a").limit = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    "source",
    ["foo", r"^foo", r"\bfoo\b", r"foo[a-z]", r"[a-z]*foo|bar", r"[ab]{2}|b", r"(?:a|bb)@+x", "[fo].*bar"],
)
def test_found_text_beyond_limit_raises_even_when_its_start_matches(source: str) -> None:
    """Every way of searching has a limit of its own to check."""
    pattern = admit(source)
    text = "foo bar aax@x "
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


def test_replace_with_untrimmed_quadratic_pattern_raises_where_found_still_answers() -> None:
    pattern = admit(r"[\w.]+@[\w.]+\.[a-z]{2,}")
    text = "x" * QUADRATIC_MATCH_CHARS + " a@b.cd"
    assert pattern.found(text)
    with pytest.raises(TextTooLong):
        pattern.replace(text, "-")
    assert pattern.replace(text[-1000:], "-") == "x" * 993 + " -"


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


# --- texts beyond the limit of a quadratic pattern --------------------------------------------------


@pytest.mark.parametrize(
    ("source", "hit"), [(r"foo.*bar", "foo x bar"), (r"\d\dfoo(?:(?!;;).)*bar", "11foo x bar"), (r"x.*y", "x y")]
)
def test_found_long_text_where_few_matches_can_begin_is_judged(source: str, hit: str) -> None:
    pattern = admit(source)
    text = f"{hit[:-1]}\n{'-' * 64_000}"
    assert len(text) > pattern.limit
    assert not pattern.found(text + hit[:-1])
    assert pattern.found(text + hit)


@pytest.mark.parametrize(
    ("source", "unit", "places"), [("foo.*bar", "foo", 500), ("aa.*b", "a", 501), ("--.*x", "-- ", 500)]
)
def test_found_long_text_is_judged_up_to_so_many_places_and_refused_beyond(source: str, unit: str, places: int) -> None:
    """A hundred thousand characters times five hundred places is the work allowed; places may overlap."""
    pattern = admit(source)
    assert not pattern.found((unit * places).ljust(100_000))
    with pytest.raises(TextTooLong) as caught:
        pattern.found((unit * (places + 1)).ljust(100_000))
    assert (caught.value.length, caught.value.limit) == (100_000, QUADRATIC_MATCH_CHARS)


@pytest.mark.parametrize("source", [r"foo[ab]*[ab]*c", r"[fg]x?.*bar", r"^.*foo.*bar"])
def test_found_long_text_where_one_place_alone_can_be_too_much_raises(source: str) -> None:
    """Nothing bounds the work: it is quadratic at one place, or the places are not known."""
    with pytest.raises(TextTooLong):
        admit(source).found("-" * (QUADRATIC_MATCH_CHARS + 1))


def test_found_text_beyond_the_largest_limit_raises_though_no_match_can_begin() -> None:
    with pytest.raises(TextTooLong):
        admit("foo.*bar").found("-" * (MAX_MATCH_CHARS + 1))


@pytest.mark.property
@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([r"foo.*bar", r"\bfoo[^;]*bar", r"(?<=-)\dfoo.*bar$", r"foo(?=.*;).*bar", r"oo.*(?:a|ab)r"]),
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
        admit("(?:ab|ab)" * 200 + "c")


def test_refusal_cost_of_a_large_pattern_is_bounded() -> None:
    """Thousands of loops or branches are refused by size, before their combinations are looked at."""
    with pytest.raises(PatternRefused, match="too large"):
        admit(r"\d+\s" * 1900)


# --- patterns with a border -------------------------------------------------------------------------

_EMAIL = r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}\b"


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
    assert pattern.limit == QUADRATIC_MATCH_CHARS
    assert not pattern.found("nobody wrote to anybody " * 40_000)
    assert not pattern.found("name@host and a.b@c, " * 40_000)
    assert pattern.found("name@host and a.b@c, " * 40_000 + "a.b@example.org")


def test_found_long_pieces_between_borders_are_refused_when_their_work_adds_up() -> None:
    piece = "x" * 3_000 + "@host.org-"  # has the tail, so its head is searched for
    pattern = admit(r"\b[a-z]+[,;]@[a-z]+\.[a-z]{2,}")
    assert not pattern.found(piece * 2)
    with pytest.raises(TextTooLong):
        pattern.found(piece * 4)


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
    for text in texts:
        assert pattern.found(text) == bool(re.search(source, text))
        try:
            replaced = pattern.replace(text, replacement)
        except TextTooLong:
            continue
        assert replaced == re.sub(source, lambda _: replacement, text)


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


# --- work ------------------------------------------------------------------------------------------

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
}
_WORKER = """
import sys
from edictum.ruleset.patterns import TextTooLong, admit

for source, units in eval(sys.stdin.read()).items():
    pattern = admit(source)
    for unit in units:
        text = (unit * pattern.limit)[: pattern.limit - 1] + "!"
        pattern.found(text)
        for length in (len(text), 10_000, 5_000, 500, 50):
            try:
                pattern.replace(text[-length:], "-")
                break
            except TextTooLong:
                pass
    print(source, flush=True)
"""


@pytest.mark.slow
@pytest.mark.security
def test_admitted_nasty_patterns_on_texts_at_their_limit_come_to_an_end() -> None:
    """Run aside and killed when it takes far too long: a hang is a failure and not a stuck suite."""
    assert _run(_WORKER, repr(_NASTY), seconds=_KILLED_AFTER).splitlines() == list(_NASTY)
