from __future__ import annotations

import hashlib
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from edictum.errors import EdictumConfigError
from edictum.ruleset import yaml
from edictum.ruleset.document import MAX_BUNDLE_SIZE, Document, from_mapping, read_document, read_file
from edictum.testing.strategies import rulesets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HAS_YAML = yaml.available()
HAS_C_PARSER = HAS_YAML and find_spec("_ruamel_yaml") is not None

needs_yaml = pytest.mark.skipif(not HAS_YAML, reason="the yaml extra is not installed")
needs_c_parser = pytest.mark.skipif(not HAS_C_PARSER, reason="the yaml-fast extra is not installed")
without_c_parser = pytest.mark.parametrize("pure", [False, True], ids=["fastest", "pure"])


@pytest.fixture
def pure_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml, "_open_c_parser", lambda text: None)


@pytest.fixture
def no_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ruamel.yaml", None)


def refusal(source: str | bytes, name: str | None = None) -> tuple[int | None, int | None, str]:
    """
    Line, column and message of the only problem.
    """
    with pytest.raises(EdictumConfigError) as caught:
        read_document(source, name=name)
    (problem,) = caught.value.errors
    return problem.line, problem.column, problem.message


# YAML: values


@needs_yaml
@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", True),
        ("TRUE", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("Off", "Off"),
        ("tRue", "tRue"),
        ("12", 12),
        ("-7", -7),
        ("+7", 7),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("-0x1F", "-0x1F"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("12e03", 12000.0),
        ("1.2.3", "1.2.3"),
        (".", "."),
        ("-", ["one dash opens a list"]),
        (".inf", float("inf")),
        ("-.INF", float("-inf")),
        ("2026-01-01", "2026-01-01"),
        ("'12'", "12"),
        ('"true"', "true"),
        ('"a\\tb"', "a\tb"),
        ("|\n    two\n    lines\n", "two\nlines\n"),
    ],
)
def test_yaml_scalar_is_resolved_by_the_core_schema(written: str, value: Any) -> None:
    if written == "-":
        written = "\n - one dash opens a list"
    data = read_document(f"key: {written}\n").data
    assert {"key": value} == data
    assert type(value) is type(data["key"])


@needs_yaml
def test_yaml_nan_is_a_number_that_equals_nothing() -> None:
    value = read_document("key: .nan").data["key"]
    assert isinstance(value, float)
    assert value != value


@needs_yaml
def test_yaml_keys_in_quotes_may_look_like_numbers() -> None:
    assert read_document("'1': a\n\"true\": b\n'<<': c\n").data == {"1": "a", "true": "b", "<<": "c"}


@needs_yaml
def test_yaml_empty_text_is_null() -> None:
    assert read_document("# nothing\n").data is None


# YAML: refusals


REFUSED_YAML = [
    pytest.param("a: 1\nb:\n  c: 1\n  c: 2\n", 4, 3, "duplicate key", id="duplicate key"),
    pytest.param("a: {x: 1, x: 2}\n", 1, 11, "duplicate key", id="duplicate key in flow"),
    pytest.param("a: &x 1\nb: *x\n", 1, 4, "aliases", id="alias"),
    pytest.param("a: &x [*x]\n", 1, 4, "aliases", id="recursive alias"),
    pytest.param("a: 1\nb: *x\n", 2, 4, "aliases", id="alias without anchor"),
    pytest.param("a:\n  <<: {b: 1}\n", 2, 3, "merge keys", id="merge key"),
    pytest.param("%YAML 1.1\n---\na: yes\n", 1, 1, "directives", id="version directive"),
    pytest.param("%TAG ! tag:x,2000:\n---\na: 1\n", 1, 1, "directives", id="tag directive"),
    pytest.param("# c\n%FOO bar\n---\na: 1\n", 2, 1, "directives", id="unknown directive"),
    pytest.param("a: !!str 1\n", 1, 4, "tags", id="scalar tag"),
    pytest.param("a: !!python/object:os.system {}\n", 1, 4, "tags", id="python tag"),
    pytest.param("a: ! 1\n", 1, 4, "tags", id="non-specific tag"),
    pytest.param("a: 1\n1: b\n", 2, 1, "in quotes", id="integer key"),
    pytest.param("true: b\n", 1, 1, "in quotes", id="boolean key"),
    pytest.param("? [a, b]\n: c\n", 1, 3, "not a list", id="list as key"),
    pytest.param("a: 1\n---\nb: 2\n", 2, 1, "second document", id="second document"),
    pytest.param('a: "\\0"\n', 1, 4, "NUL", id="escaped NUL"),
    pytest.param('a: "\\uD800"\n', 1, 4, "surrogate", id="escaped surrogate"),
    pytest.param(f"a: {'1' * 5000}\n", 1, 4, "number", id="endless number"),
    pytest.param(f"a: 0x{'1' * 5000}\n", 1, 4, "number", id="endless hexadecimal number"),
    pytest.param('a: "\\UFFFFFFFF"\n', 1, 7, "not valid YAML", id="escape beyond all integers"),
    pytest.param('a: "\\U00110000"\n', 1, 7, "not valid YAML", id="escape beyond the last character"),
    pytest.param("a: [1, 2\n", 2, 1, "not valid YAML", id="unclosed list"),
    pytest.param("a: b: c\n", 1, 5, "not valid YAML", id="two colons"),
    pytest.param("a:\n\t- b\n", 2, 1, "not valid YAML", id="tab as indentation"),
]


@needs_yaml
@without_c_parser
@pytest.mark.parametrize(("text", "line", "column", "words"), REFUSED_YAML)
def test_yaml_refusal_has_its_place(
    text: str, line: int, column: int, words: str, pure: bool, request: pytest.FixtureRequest
) -> None:
    if pure:
        request.getfixturevalue("pure_parser")
    found_line, found_column, message = refusal(text)
    assert words in message
    assert (line, column) == (found_line, found_column)


@needs_yaml
@without_c_parser
@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_yaml_deep_nesting_is_refused_without_recursion(
    opening: str, pure: bool, request: pytest.FixtureRequest
) -> None:
    if pure:
        request.getfixturevalue("pure_parser")
    _, _, message = refusal(opening * 20_000)
    assert "deeper than 100 levels" in message or "not a list" in message or "not valid YAML" in message


@needs_yaml
@pytest.mark.parametrize(("levels", "accepted"), [(100, True), (101, False)])
def test_yaml_depth_limit_is_exact(levels: int, accepted: bool) -> None:
    text = "[" * levels + "1" + "]" * levels
    if accepted:
        assert json.loads(text) == read_document(text).data
    else:
        assert "100 levels" in refusal(text)[2]


@needs_yaml
def test_yaml_more_values_than_allowed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml, "MAX_DOCUMENT_NODES", 5)
    assert read_document("- 1\n- 2\n- 3\n- 4\n").data == [1, 2, 3, 4]
    line, column, message = refusal("- 1\n- 2\n- 3\n- a: 4\n")
    assert (line, column) == (4, 3)
    assert "values" in message


# YAML and JSON: positions


TEXT_WITH_PLACES = """\
# comment
apiVersion: edictum/v1
rules:
  - id: one
    then: {action: block}
  -   id:
      tags: [a,
        'b']
"""


@needs_yaml
@without_c_parser
def test_locate_yaml_gives_line_and_column_of_the_value(pure: bool, request: pytest.FixtureRequest) -> None:
    if pure:
        request.getfixturevalue("pure_parser")
    document = read_document(TEXT_WITH_PLACES)
    places = {
        (): (2, 1),
        ("apiVersion",): (2, 13),
        ("rules", 0): (4, 5),
        ("rules", 0, "id"): (4, 9),
        ("rules", 0, "then", "action"): (5, 20),
        ("rules", 1, "id"): (6, 7),  # an absent value stands where its key stands
        ("rules", 1, "tags", 1): (8, 9),
        ("rules", 0, "then", "message"): (5, 11),  # a missing key: where its mapping stands
        ("rules", 7, "then"): (4, 3),
        ("nothing", 0): (2, 1),
    }
    assert places == {path: document.locate(path) for path in places}


def test_locate_json_gives_line_and_column_of_the_value() -> None:
    document = read_document('{\n  "a, {": "x]",\r\n  "\\u0062": [1, {"c": null}, [\n] ]\n}\n')
    assert document.data == {"a, {": "x]", "b": [1, {"c": None}, []]}
    places = {
        (): (1, 1),
        ("a, {",): (2, 11),
        ("b",): (3, 13),
        ("b", 0): (3, 14),
        ("b", 1, "c"): (3, 23),
        ("b", 2): (3, 30),
        ("b", 2, 0): (3, 30),
    }
    assert places == {path: document.locate(path) for path in places}


def test_locate_mapping_has_no_positions() -> None:
    assert from_mapping({"a": [1]}).locate(("a", 0)) == (None, None)


@needs_yaml
@pytest.mark.parametrize("text", ["just text", "", "# nothing\n"])
def test_locate_single_value_is_where_the_document_begins(text: str) -> None:
    assert read_document(text).locate(("a",)) == (1, 1)


# JSON


def test_json_needs_no_extra(no_yaml: None, tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    path.write_text('{"a": [1, 2.5, true, null, "é"]}', encoding="utf-8")
    document = read_file(path)
    assert document.data == {"a": [1, 2.5, True, None, "é"]}
    assert document.source == "rules.json"


def test_yaml_without_the_extra_says_what_to_install(no_yaml: None) -> None:
    with pytest.raises(EdictumConfigError, match=r"pip install edictum-core\[yaml\].*JSON"):
        read_document("a: 1")


def test_json_with_a_mistake_but_without_the_extra_is_reported_as_json(no_yaml: None) -> None:
    line, column, message = refusal('{"a": 1,\n "b" 2}')
    assert (line, column) == (2, 6)
    assert "not valid JSON" in message


@needs_yaml
def test_text_that_starts_with_a_brace_may_be_yaml() -> None:
    assert read_document("{a: [b, 1]} # flow").data == {"a": ["b", 1]}


def test_json_file_is_never_read_as_yaml(tmp_path: Path) -> None:
    path = tmp_path / "rules.JSON"
    path.write_text("{a: 1}", encoding="utf-8")
    with pytest.raises(EdictumConfigError, match=r"rules\.JSON:1:2: this is not valid JSON"):
        read_file(path)


REFUSED_JSON = [
    pytest.param('{"a": 1, "b": {"c": 1,\n "c": 2}}', 2, 7, "duplicate key", id="duplicate key"),
    pytest.param('{"a": {"b": 1}, "a": 1}', 1, 22, "duplicate key", id="duplicate key over a container"),
    pytest.param('{"a": NaN}', 1, 7, "finite", id="NaN"),
    pytest.param('{"a": [-Infinity]}', 1, 8, "finite", id="infinity"),
    pytest.param('{"a": 1e999}', 1, 7, "finite", id="overflow"),
    pytest.param('{"a": "\\u0000"}', 1, 7, "NUL", id="NUL"),
    pytest.param('{"a": "\\ud800"}', 1, 7, "surrogate", id="surrogate"),
    pytest.param('{"\\u0000": 1}', 1, 1, "NUL", id="NUL in a key"),
    pytest.param('{"a": ' + "1" * 5000 + "}", 1, 7, "digits", id="endless number"),
    pytest.param('{"b": 1.5, "a": [1,\n -' + "2" * 5000 + "]}", 2, 2, "digits", id="endless negative number"),
    pytest.param('{"a": ' + "[" * 101 + "]" * 101 + "}", 1, 9, "deeper", id="too deep"),
    pytest.param('{"a": [],\n"b": ' + "[" * 100_000 + "]" * 100_000 + "}", 2, 105, "deeper", id="far too deep"),
    pytest.param('{"a": [' + "1," * 200_000 + "1]}", 1, 1, "200000 values", id="too many values"),
]


@pytest.mark.parametrize(("text", "line", "column", "words"), REFUSED_JSON)
def test_json_refusal_has_its_place(text: str, line: int, column: int, words: str) -> None:
    found_line, found_column, message = refusal(text)
    assert words in message
    assert (line, column) == (found_line, found_column)


# Both: bytes, size, encoding, forbidden characters


def test_digest_is_that_of_the_raw_bytes_for_text_and_bytes() -> None:
    text = '{"a": "é"}\r\n'
    expected = hashlib.sha256(text.encode("utf-8")).hexdigest()
    assert {expected} == {read_document(text).digest, read_document(text.encode("utf-8")).digest}


def test_byte_order_mark_is_accepted_once_and_counts_for_the_digest() -> None:
    raw = b'\xef\xbb\xbf{"a": 1}'
    document = read_document(raw)
    assert ({"a": 1}, hashlib.sha256(raw).hexdigest()) == (document.data, document.digest)
    line, column, message = refusal(b"\xef\xbb\xbf" + raw)
    assert (line, column) == (1, 1)
    assert "U+FEFF" in message


@pytest.mark.parametrize("character", ["\0", "\x07", "\x1b", "\x7f", "\x85", "\u2028", "\u202e", "\u2066", "\ufeff"])
def test_hidden_character_is_refused_with_its_place(character: str) -> None:
    line, column, message = refusal(f"a: 1\r\nb: x{character}y\n")
    assert (line, column) == (2, 5)
    assert f"U+{ord(character):04X}" in message


def test_invalid_utf8_is_refused_with_its_place() -> None:
    line, column, message = refusal("a: é\n".encode() + b"b: \xff")
    assert (line, column) == (2, 4)
    assert "UTF-8" in message


def test_lone_surrogate_in_text_is_refused() -> None:
    assert "surrogate" in refusal("a: \ud800")[2]


@pytest.mark.parametrize("extra", [0, 1])
def test_size_limit_is_exact(extra: int, tmp_path: Path) -> None:
    raw = b'{"a": 1}'.ljust(MAX_BUNDLE_SIZE + extra)
    path = tmp_path / "rules.json"
    path.write_bytes(raw)
    if extra:
        assert str(MAX_BUNDLE_SIZE) in refusal(raw)[2]
        with pytest.raises(EdictumConfigError, match=str(MAX_BUNDLE_SIZE)):
            read_file(path)
    else:
        assert read_document(raw).data == read_file(path).data == {"a": 1}


def test_missing_file_is_no_config_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "absent.yaml")


def test_other_source_types_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(TypeError, match="not int"):
        read_document(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not list"):
        from_mapping([])  # type: ignore[arg-type]


# Mappings


class Word(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


def test_mapping_is_copied_into_plain_data() -> None:
    inner = ["x", (1, Word("y"))]
    document = from_mapping(MappingProxyType({Word("a"): inner, "b": True}))
    inner.append("later")
    assert document.data == {"a": ["x", [1, "y"]], "b": True}
    assert [str, str] == [type(next(iter(document.data))), type(document.data["a"][1][1])]


def test_mapping_digest_ignores_the_order_of_keys() -> None:
    expected = hashlib.sha256(b'{"a":1,"b":["\xc3\xa9"]}').hexdigest()
    assert expected == from_mapping({"b": ["é"], "a": 1}).digest
    assert from_mapping({}, digest="given").digest == "given"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({1: "a"}, "key must be text"),
        ({"x": {2, 3}}, "a set has no place"),
        ({"x": b"raw"}, "a bytes has no place"),
        ({"x": float("nan")}, "finite"),
        ({"x": "a\0b"}, "NUL"),
        ({"x\ud800": 1}, "surrogate"),
    ],
)
def test_mapping_with_something_else_is_refused_with_the_path(value: dict[Any, Any], words: str) -> None:
    with pytest.raises(EdictumConfigError, match=words) as caught:
        from_mapping({"rules": [0, value]})
    assert caught.value.errors[0].path.startswith("rules[1]")


def test_mapping_that_contains_itself_is_refused() -> None:
    data: dict[str, Any] = {}
    data["again"] = [data]
    with pytest.raises(EdictumConfigError, match="deeper than 100 levels"):
        from_mapping(data)


# Properties


def read_as(text: str, *, pure: bool) -> tuple[Any, ...]:
    """
    Data with all its places, or the place of the refusal.
    """
    with pytest.MonkeyPatch.context() as patch:
        if pure:
            patch.setattr(yaml, "_open_c_parser", lambda text: None)
        try:
            document = read_document(text, name="rules.yaml")
        except EdictumConfigError as error:
            return ("refused", error.errors)
    return ("read", repr(document.data), list(all_places(document)))


def all_places(document: Document, path: tuple[str | int, ...] = ()) -> Any:
    yield path, document.locate(path)
    value = document.data
    for step in path:
        value = value[step]
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield from all_places(document, (*path, key))


PIECES = [
    *("a", "b: c", "- ", "x: ", "\n", "\n  ", "\n    ", "{", "}", "[", "]", ",", ":", " ", "'", '"', "#", " # c"),
    *("|", "|-\n", "> \n", "|+\n", "|2\n", "?", "? ", "&a ", "*a", "!", "!!str ", "\t", "---\n", "...\n", "@", "`"),
    *("1", "true", "é", "\\n", "''", "\r\n", "\r", "-", "<<", "\U0001f600", "- - ", "{a: 1}", "[a, b]", "\\", "%"),
]
YAML_BASES = [
    TEXT_WITH_PLACES,
    '{"a": [1, {"b": "c"}], d: e, f: [g, h: i]}\n',
    "a: >-\n  x\n\n  y\nb:\n- c\n- d: |\n   e\n",
]


@st.composite
def broken_yaml(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(["", *YAML_BASES]))
    for piece in draw(st.lists(st.sampled_from(PIECES), min_size=0 if text else 1, max_size=3 if text else 14)):
        place = draw(st.integers(0, len(text)))
        text = text[:place] + piece + text[place + draw(st.integers(0, 3)) :]
    return text


@needs_c_parser
@pytest.mark.property
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(broken_yaml())
def test_yaml_both_parsers_give_the_same_data_places_and_refusals(text: str) -> None:
    assert read_as(text, pure=True) == read_as(text, pure=False)


@pytest.mark.property
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rulesets(sandbox=True, for_readers=True))
def test_json_round_trip_gives_the_same_data_and_a_place_for_every_value(data: dict[str, Any]) -> None:
    text = json.dumps(data, indent=1)
    document = read_document(text)
    assert data == document.data == from_mapping(data).data
    lines = text.split("\n")
    for path, (line, column) in all_places(document):
        assert line is not None
        assert column is not None
        value = document.data
        for step in path:
            value = value[step]
        start = lines[line - 1][column - 1 :]
        expected = json.dumps(value) if not isinstance(value, dict | list) else json.dumps(value)[0]
        assert start.startswith(expected)


@needs_yaml
@pytest.mark.property
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rulesets(sandbox=True, for_readers=True))
def test_json_text_read_as_yaml_is_the_same(data: dict[str, Any]) -> None:
    text = json.dumps(data, ensure_ascii=False)
    assert read_document(text).data == yaml.compose(text).root
