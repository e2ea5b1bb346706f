"""
Masking parts of a result: its type is kept, everything that a rule looks for goes, and in doubt all of it goes.
"""

from __future__ import annotations

import asyncio
import types
from collections import UserDict, namedtuple
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import pytest
from call_strategies import post, ruleset
from edictum import Edictum, RedactionPolicy, RunResult
from edictum.engine.masking import Unmaskable, mask_result
from edictum.ruleset.patterns import MAX_MATCH_CHARS, admit
from hypothesis import given
from hypothesis import strategies as st

SSN = r"\d{3}-\d{2}-\d{4}"
ONE, TWO = "123-45-6789", "987-65-4321"
GONE = "[REDACTED]"
TOKEN = "ghp_" + "a1B2" * 9

Pair = namedtuple("Pair", ["left", "right"])


class Row(NamedTuple):
    number: int
    note: str = ""


@dataclass
class Person:
    name: str
    numbers: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Frozen:
    name: str
    inner: Person


def masked(value: Any, *patterns: str) -> Any:
    replacements = [admit(pattern).replace for pattern in patterns]
    return mask_result(value, replacements, RedactionPolicy().redact_whole)


def run(output: Any, *rules: dict[str, Any], side_effect: str = "read") -> RunResult:
    guard = Edictum.from_bundle_dict(ruleset(*rules), tools={"tool": {"side_effect": side_effect}})
    return asyncio.run(guard.run_detailed("tool", {}, lambda: output))


# --- types ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"a {ONE} b {TWO}", f"a {GONE} b {GONE}"),
        (f"a {ONE}".encode(), f"a {GONE}".encode()),
        (bytearray(f"a {ONE}".encode()), f"a {GONE}".encode()),
        (b"\xff\xfe " + ONE.encode(), b"\xff\xfe " + GONE.encode()),
        ({"a": ONE, "b": 1, "c": None}, {"a": GONE, "b": 1, "c": None}),
        ({ONE: "a"}, {GONE: "a"}),
        ({"a": {"b": [ONE, {"c": TWO}]}}, {"a": {"b": [GONE, {"c": GONE}]}}),
        ([ONE, "x", 2], [GONE, "x", 2]),
        ((ONE, ["x", TWO]), (GONE, ["x", GONE])),
        (Pair(ONE, 1), Pair(GONE, 1)),
        (Row(1, ONE), Row(1, GONE)),
        (Person(ONE, ["x", TWO]), Person(GONE, ["x", GONE])),
        (Frozen("x", Person(ONE)), Frozen("x", Person(GONE))),
        ({1: ONE, (1, 2): "x"}, {1: GONE, (1, 2): "x"}),
    ],
)
def test_mask_result_keeps_the_type_and_masks_each_text(value: Any, expected: Any) -> None:
    found = masked(value, SSN)

    assert expected == found
    assert type(expected) is type(found)


@pytest.mark.parametrize(
    "value",
    ["text", "", b"\xff", {"a": [1, None, 1.5, True]}, [], (), {}, Pair(1, 2), Person("x"), {1, 2}, 7, None],
    ids=repr,
)
def test_mask_result_with_nothing_to_mask_is_the_same_object(value: Any) -> None:
    assert masked(value, SSN) is value
    assert masked(value) is value


class Model:
    """
    What pydantic models have in common, which edictum does not import.
    """

    model_fields: ClassVar[dict[str, Any]] = {"text": None, "tags": None}

    def __init__(self, text: str, tags: list[str], **extra: Any) -> None:
        self.text, self.tags, self.model_extra = text, tags, extra
        vars(self).update(extra)

    def model_copy(self, *, update: dict[str, Any]) -> Model:
        return type(self)(**{"text": self.text, "tags": self.tags, **self.model_extra, **update})


def test_mask_result_of_a_pydantic_model_masks_each_field() -> None:
    model = Model("plain", [f"of {ONE}"], note=TWO)
    found = masked({"model": model}, SSN)["model"]
    assert type(found) is Model
    assert (found.text, found.tags, found.note) == ("plain", [f"of {GONE}"], GONE)
    assert model.tags == [f"of {ONE}"]
    clean = Model("plain", [])
    assert masked(clean, SSN) is clean
    assert masked(Model, SSN) is Model


def test_mask_result_leaves_the_original_as_it_is() -> None:
    value = {"a": [ONE], "b": Person(ONE)}

    masked(value, SSN)

    assert {"a": [ONE], "b": Person(ONE)} == value


def test_mask_result_applies_every_pattern() -> None:
    assert [f"{GONE} {GONE}", GONE] == masked([f"{ONE} code 77", "code 1"], SSN, r"code \d+")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"user": "bob", "pin": 1234}, "{'user': 'bob', '" + GONE + "}"),
        (["a", 77], f"['a', {GONE}]"),
        ({TWO, "x"}, None),
        (types.MappingProxyType({"a": ONE}), "{'a': '" + GONE + "'}"),
        (UserDict(a=ONE), "{'a': '" + GONE + "'}"),
    ],
    ids=["key and value", "number", "set", "mapping proxy", "user dict"],
)
def test_mask_result_that_matches_only_as_a_whole_becomes_masked_text(value: Any, expected: str | None) -> None:
    """
    What cannot be masked leaf by leaf is masked in the text form.
    """
    found = masked(value, SSN, r"pin': \d+", r"\b77\b")

    assert isinstance(found, str)
    assert GONE in found
    assert ONE not in found
    assert TWO not in found
    assert expected is None or expected == found


class Record:
    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"Record({self.text})"


@pytest.mark.security
@pytest.mark.parametrize(
    "other",
    [{TWO}, frozenset((TWO,)), Record(TWO), UserDict(b=TWO), types.MappingProxyType({"b": TWO}), {("k", TWO): 1}],
    ids=["set", "frozenset", "object", "user dict", "mapping proxy", "key in a tuple"],
)
def test_mask_result_finds_a_match_in_one_leaf_and_does_not_overlook_another(other: Any) -> None:
    """
    That one leaf was masked says nothing about values of types that are not walked.
    """
    found = masked({"a": ONE, "b": other}, SSN)

    assert ONE not in str(found)
    assert TWO not in str(found)


@pytest.mark.security
def test_mask_result_keys_that_become_equal_lose_no_entry() -> None:
    found = masked({ONE: "first", TWO: "second"}, SSN)

    assert "first" in str(found)
    assert "second" in str(found)


def test_mask_result_by_a_pattern_that_matches_the_mask_itself_keeps_the_type() -> None:
    assert masked({"key": "AB12CD34", "n": 1}, r"\b[A-Z0-9]{8}\b") == {"key": GONE, "n": 1}


# --- without a pattern ---------------------------------------------------------------------------


def test_mask_result_without_a_pattern_masks_what_looks_like_a_secret() -> None:
    value = {"log": f"token {TOKEN} end", "list": [TOKEN], "number": ONE}

    assert {"log": f"token {GONE} end", "list": [GONE], "number": ONE} == masked(value)


def test_mask_result_without_a_pattern_does_not_shorten() -> None:
    text = "word " * 40_000

    assert text == masked(text)
    assert {"a": text + GONE} == masked({"a": text + TOKEN})


# --- in doubt ------------------------------------------------------------------------------------


def _nested(levels: int) -> Any:
    value: Any = ONE
    for _ in range(levels):
        value = [value]
    return value


def _cycle() -> Any:
    value: list[Any] = [ONE]
    value.append(value)
    return value


class Unreadable:
    def __str__(self) -> str:
        raise RuntimeError(ONE)


@dataclass
class Unbuildable:
    """
    A copy of it with another text cannot be made.
    """

    text: str = field(default=ONE, init=False)


CANNOT_BE_MASKED = [
    "x" * (MAX_MATCH_CHARS + 1),
    {"a": ["x" * (MAX_MATCH_CHARS + 1)]},
    _nested(150),
    _cycle(),
    Unreadable(),
    Unbuildable(),
]
NAMES = ["too long", "too long inside", "too deep", "cycle", "no text", "no copy"]


@pytest.mark.security
@pytest.mark.parametrize("value", CANNOT_BE_MASKED, ids=NAMES)
def test_mask_result_that_cannot_be_done_completely_raises(value: Any) -> None:
    with pytest.raises(Unmaskable):
        masked(value, SSN)


@pytest.mark.security
@pytest.mark.parametrize("value", CANNOT_BE_MASKED[:4], ids=NAMES[:4])
def test_redact_rule_that_cannot_mask_the_result_withholds_it(value: Any) -> None:
    fires = {"any": [{"tool.name": {"exists": True}}, {"output.text": {"matches": SSN}}]}

    result = run(value, redact(fires))

    assert result.result == "[OUTPUT SUPPRESSED] bad result"
    assert result.output_suppressed
    assert ONE not in "".join(result.warnings)


# --- rules ---------------------------------------------------------------------------------------


def redact(when: dict[str, Any]) -> dict[str, Any]:
    return post(when, "redact")


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({"output.text": {"matches": SSN}}, {"a": f"id {GONE}", "b": ["secret"]}),
        ({"output.text": {"matches_any": ["secret", SSN]}}, {"a": f"id {GONE}", "b": [GONE]}),
        ({"result.a": {"matches": SSN}}, {"a": f"id {GONE}", "b": ["secret"]}),
        ({"output.text": {"contains": "secret"}}, {"a": f"id {ONE}", "b": [GONE]}),
        ({"output.text": {"contains_any": ["none", "secret"]}}, {"a": f"id {ONE}", "b": [GONE]}),
        ({"result.a": {"starts_with": "id"}}, {"a": f"{GONE} {ONE}", "b": ["secret"]}),
        ({"result.a": {"ends_with": ONE[-4:]}}, {"a": f"id {ONE[:-4]}{GONE}", "b": ["secret"]}),
        ({"result.a": {"equals": f"id {ONE}"}}, {"a": GONE, "b": ["secret"]}),
        ({"result.a": {"in": [f"id {ONE}", 3]}}, {"a": GONE, "b": ["secret"]}),
        (
            {"all": [{"result.a": {"matches": SSN}}, {"not": {"output.text": {"contains": "id "}}}]},
            {"a": f"id {ONE}", "b": ["secret"]},
        ),
        (
            {"any": [{"not": {"output.text": {"matches": "nothing|id"}}}, {"output.text": {"contains": "secret"}}]},
            {"a": f"id {ONE}", "b": [GONE]},
        ),
        ({"not": {"not": {"output.text": {"contains": "secret"}}}}, {"a": f"id {ONE}", "b": [GONE]}),
        ({"result.a": {"exists": True}}, {"a": f"id {ONE}", "b": ["secret"]}),
    ],
)
def test_redact_rule_masks_what_it_looks_for_and_not_what_it_tolerates(when: dict[str, Any], expected: Any) -> None:
    assert expected == run({"a": f"id {ONE}", "b": ["secret"]}, redact(when)).result


@pytest.mark.security
@pytest.mark.parametrize(
    "when",
    [
        {"output.text": {"matches": r'"ssn":"\d+"'}},
        {"output.text": {"contains": '"ssn":"123"'}},
        {"output.text": {"matches": r'"code":\d+'}},
        {"output.text": {"matches": r"'code': \d+"}},
    ],
    ids=["json pattern", "json text", "json number", "python number"],
)
def test_redact_rule_that_fires_on_one_text_form_hides_what_it_found(when: dict[str, Any]) -> None:
    """
    Output is judged as ``str()`` and as JSON; whichever form matched, the agent must not get the result unchanged.
    """
    output = {"ssn": "123", "code": 123}

    assert output != run(output, redact(when)).result


def test_redact_rules_build_on_each_other_and_a_later_block_replaces_both() -> None:
    first = post({"output.text": {"matches": SSN}}, "redact", rule_id="first")
    second = post({"output.text": {"contains": "secret"}}, "redact", rule_id="second")
    third = post({"output.text": {"contains": "secret"}}, "block", rule_id="third", message="hidden")
    output = [f"{ONE} secret"]

    assert [f"{GONE} {GONE}"] == run(output, first, second).result
    assert run(output, first, second, third).result == "[OUTPUT SUPPRESSED] hidden"
    assert run(output, third, first, second).result == "[OUTPUT SUPPRESSED] hidden"


def test_redact_rule_that_could_not_be_judged_withholds_the_result() -> None:
    result = run({"a": 5, "b": ONE}, redact({"any": [{"result.a": {"contains": "x"}}, {"result.b": {"matches": SSN}}]}))

    assert result.result == "[OUTPUT SUPPRESSED] bad result"
    assert result.output_suppressed


@pytest.mark.parametrize("side_effect", ["write", "irreversible"])
def test_redact_rule_for_a_tool_that_changed_something_only_warns(side_effect: str) -> None:
    output = {"a": ONE}

    result = run(output, redact({"output.text": {"matches": SSN}}), side_effect=side_effect)

    assert result.result is output
    assert "already executed" in result.warnings[0]


LEAVES = st.one_of(
    st.text(max_size=5), st.integers(), st.none(), st.just(ONE), st.text(max_size=5).map((ONE + " ").__add__)
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.tuples(inner, inner),
        inner.map(lambda item: Pair(item, 1)),
        inner.map(lambda item: Frozen("x", Person("y", [item]))),
        st.sets(st.sampled_from([ONE, "x", "y"]), max_size=2),
    ),
    max_leaves=6,
)


@pytest.mark.property
@pytest.mark.security
@given(TREES)
def test_redact_rule_on_any_result_never_lets_a_match_through(output: Any) -> None:
    found = run(output, redact({"output.text": {"contains": ONE}})).result

    assert ONE not in str(found)
    assert found is output or ONE in str(output)
