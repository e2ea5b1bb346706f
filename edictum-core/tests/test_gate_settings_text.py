"""
Editing JSON as text: what was there stays, byte for byte, and what was put in comes out again.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from edictum.gate.settings_text import SettingsProblem, append, data_of, find, parse, remove, replace, set_member
from hypothesis import given
from hypothesis import strategies as st

PATH = ("hooks", "PreToolUse")
ENTRY = {"matcher": "*", "hooks": [{"type": "command", "command": "sh -c 'ä \"x\"' || exit 2"}]}

AFTER = """\
{
  "a": 1,
  "hooks": {
    "PreToolUse": [
      1
    ]
  }
}
"""


def data(text: str) -> Any:
    return data_of(text, parse(text))


# --- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", {}),
        ('\ufeff{"a": [1, -2.5e3, true, null, "x\\u00fc\\n"]}', {"a": [1, -2500.0, True, None, "xü\n"]}),
        ('// c\n{ /* , } */ "a" : [ 1 , ] , // "b": 2\n }', {"a": [1]}),
        ('{"a": "// no comment /* */"}', {"a": "// no comment /* */"}),
    ],
)
def test_document_is_read_with_comments_and_trailing_commas(text: str, expected: Any) -> None:
    assert data(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1: a value"),
        ('{"a": 1', "line 1, column 8"),
        ('{"a" 1}', '":" is expected'),
        ("{a: 1}", "a key in double quotes"),
        ("{'a': 1}", "a key in double quotes"),
        ('{"a": 1 "b": 2}', '"," or "}"'),
        ('{"a": 1}\n{}', "line 2, column 1: there is more text"),
        ('{\n  "a": 1,\n  "a": 2\n}', r'the key "a" stands here a second time'),
        ('{"a": 01}', "a value"),
        ('{"a": undefined}', "a value"),
        ('{"a": "x\ny"}', "a value"),
        ("{, }", "a key"),
        ("[1,,2]", "a value"),
        ("{} /* open", "more text"),
        ("[" * 200, "nested too deeply"),
    ],
)
def test_text_that_is_no_document_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(SettingsProblem, match=message):
        parse(text)


# --- inserting ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{\n  "a": 1\n}\n', AFTER),
        ('{\r\n\t"a": 1\r\n}\r\n', AFTER.replace("\n", "\r\n").replace("  ", "\t")),
        ('{"a":1}', '{"a":1, "hooks": {"PreToolUse": [1]}}'),
        ('{"hooks": {"PreToolUse": [0]}}', '{"hooks": {"PreToolUse": [0, 1]}}'),
        ('{"hooks": {"PreToolUse": []}}', '{"hooks": {"PreToolUse": [\n  1\n]}}'),
        ('{\n  "a": 1, // one\n}', AFTER[:-3].replace('"a": 1,', '"a": 1,') + ", // one\n}"),
    ],
)
def test_insertion_follows_the_style_of_the_document(before: str, after: str) -> None:
    assert append(before, PATH, 1) == after


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "the document is not an object"),
        ('{"hooks": []}', '"hooks" is not an object'),
        ('{"hooks": {"PreToolUse": {}}}', '"hooks.PreToolUse" is not an array'),
        ('{"hooks": null}', '"hooks" is not an object'),
        ("{", "line 1"),
    ],
)
def test_insertion_into_something_else_is_refused(text: str, message: str) -> None:
    with pytest.raises(SettingsProblem, match=message):
        append(text, PATH, 1)


def test_member_is_set_once() -> None:
    assert set_member('{\n  "a": 1\n}', "version", 1) == '{\n  "a": 1,\n  "version": 1\n}'
    assert set_member('{"version": 2}', "version", 1) == '{"version": 2}'


def test_value_is_replaced_in_its_place() -> None:
    text = '{\n    "a": [\n        {"b": 1}, // mine\n        2\n    ]\n}\n'
    value = find(text, ("a", 0))
    assert value is not None
    assert replace(text, value, {"c": 3}) == (
        '{\n    "a": [\n        {\n            "c": 3\n        }, // mine\n        2\n    ]\n}\n'
    )


# --- removing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "path", "after"),
    [
        ('{"a": [1, 2, 3]}', ("a", 0), '{"a": [2, 3]}'),
        ('{"a": [1, 2, 3]}', ("a", 1), '{"a": [1, 3]}'),
        ('{"a": [1, 2, 3]}', ("a", 2), '{"a": [1, 2]}'),
        ('{"a": [1], "b": 2}', ("a", 0), '{"b": 2}'),
        ('{"b": 2, "a": {"c": [1]}}', ("a", "c", 0), '{"b": 2}'),
        ('{"a": [1]}', ("a", 0), "{}"),
        ('{"a": [1 /* mine */]}', ("a", 0), '{"a": [/* mine */]}'),
        ('{"a": [1, // first\n2]}', ("a", 0), '{"a": [// first\n2]}'),
        ('{"a": [1, // first\n2]}', ("a", 1), '{"a": [1 // first\n]}'),
        ('{"a": [1, /* , */ 2,]}', ("a", 1), '{"a": [1 /* , */ ,]}'),
    ],
)
def test_removal_takes_its_comma_and_empty_containers_and_no_comment(
    before: str, path: tuple[str | int, ...], after: str
) -> None:
    assert remove(before, path) == after
    parse(after)


def test_removal_of_what_is_not_there_is_an_error() -> None:
    with pytest.raises(SettingsProblem, match="there is no"):
        remove('{"a": [1]}', ("a", 1))


# --- any document ---------------------------------------------------------------------------------

KEYS = st.sampled_from(["a", "b", "hooks", "PreToolUse", "version", 'q"uote', "ü"])
PLAIN = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))
HOOKS = st.dictionaries(
    st.sampled_from(["PreToolUse", "Stop", "SessionStart"]), st.lists(VALUES, min_size=1, max_size=3), max_size=3
)
GAPS = st.sampled_from(["", " ", "\n", "\n  ", "\t", "\r\n", "/* , ] } */", "// it's\n"])


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, Any]:
    """
    A document as somebody may have written it, and what it means.
    """
    members = draw(st.dictionaries(KEYS.filter(lambda key: key != "hooks"), VALUES, max_size=3))
    if draw(st.booleans()):
        members["hooks"] = draw(HOOKS.filter(bool))
    meaning = dict(draw(st.permutations(list(members.items()))))

    def write(value: Any) -> str:
        gap = lambda: draw(GAPS)  # noqa: E731
        if isinstance(value, (dict, list)) and value:
            items = (
                [f"{json.dumps(key)}{gap()}:{gap()}{write(item)}" for key, item in value.items()]
                if isinstance(value, dict)
                else [write(item) for item in value]
            )
            text = f"{gap()},{gap()}".join(items) + draw(st.sampled_from(["", ","]))
            return ("{%s%s%s}" if isinstance(value, dict) else "[%s%s%s]") % (gap(), text, gap())
        return json.dumps(value)

    style = draw(st.sampled_from(["own", None, 2, 4, "\t"]))
    text = write(meaning) if style == "own" else json.dumps(meaning, indent=style, ensure_ascii=False)
    return draw(GAPS) + text + draw(GAPS), meaning


@pytest.mark.property
@given(documents())
def test_inserting_changes_the_meaning_by_the_entry_only(document: tuple[str, Any]) -> None:
    text, meaning = document
    expected = json.loads(json.dumps(meaning))
    expected.setdefault("hooks", {}).setdefault("PreToolUse", []).append(ENTRY)
    assert data(append(text, PATH, ENTRY)) == expected


@pytest.mark.property
@given(documents())
def test_inserting_keeps_every_character_that_was_there(document: tuple[str, Any]) -> None:
    text, _ = document
    rest = iter(append(text, PATH, ENTRY))
    # In order, with the insertion in between; white space inside an empty container may be written anew.
    assert all(character in rest for character in text if not character.isspace())


@pytest.mark.property
@given(documents())
def test_removing_the_entry_again_restores_the_document(document: tuple[str, Any]) -> None:
    text, meaning = document
    edited = append(text, PATH, ENTRY)
    place = len(data(edited)["hooks"]["PreToolUse"]) - 1
    restored = remove(edited, (*PATH, place))
    assert data(restored) == meaning
    if meaning:  # an empty root may have lost the space in it
        assert restored == text


@pytest.mark.property
@given(documents(), st.data())
def test_removing_any_element_keeps_all_others(document: tuple[str, Any], draw: st.DataObject) -> None:
    text, meaning = document
    hooks = meaning.get("hooks")
    if not hooks:
        return
    key = draw.draw(st.sampled_from(sorted(hooks)))
    index = draw.draw(st.integers(0, len(hooks[key]) - 1))
    expected = json.loads(json.dumps(meaning))
    del expected["hooks"][key][index]
    result = data(remove(text, ("hooks", key, index)))
    if not result.get("hooks", {}).get(key) and not expected["hooks"][key]:
        # A container that has become empty goes with it, unless a comment is in it.
        expected["hooks"].pop(key)
        if result.get("hooks", {}).pop(key, None) is None and not expected["hooks"]:
            expected.pop("hooks")
            if result.get("hooks") == {}:
                result.pop("hooks")
    if result.get("hooks") == {} and not expected.get("hooks"):
        result.pop("hooks")
        expected.pop("hooks", None)
    assert result == expected
