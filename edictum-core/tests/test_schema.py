"""
The schema and the reader accept the same documents.

Left to the reader alone, because a schema cannot say it, and therefore not generated here: duplicate rule ids,
expressions nested more than 50 levels, patterns that do not compile or are risky, NaN and infinity, custom operators
and selectors, size and number of values of the whole document.  Two more differences come from the schema language:
it takes 5.0 for an integer, and validators written in Python let a name end with a line break.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
from edictum.errors import EdictumConfigError
from edictum.ruleset.document import from_mapping
from edictum.ruleset.reader import read_ruleset
from edictum.ruleset.schema import ruleset_schema
from edictum.testing.strategies import rulesets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

jsonschema = pytest.importorskip("jsonschema", reason="the schema is compared with the reader by jsonschema")

VALIDATOR = jsonschema.Draft202012Validator(ruleset_schema())


def reader_problem(data: dict[str, Any]) -> str | None:
    try:
        read_ruleset(from_mapping(data), extending=True)
    except EdictumConfigError as error:
        return str(error)
    return None


def schema_problem(data: dict[str, Any]) -> str | None:
    error = next(VALIDATOR.iter_errors(data), None)
    return None if error is None else error.message


_STRANGE_VALUES: list[Any] = [
    None,
    True,
    0,
    1,
    1.5,
    "",
    "x",
    "block",
    "ask",
    "enforce",
    "pre",
    "post",
    "session",
    "sandbox",
    "yes",
    "{a,b}",
    "Upper",
    "m" * 501,
    [],
    ["a", ""],
    {},
    {"args.x": {"equals": 1}},
    {"output.text": {"contains": "a"}},
]
_STRANGE_KEYS = [
    "tool",
    "tools",
    "when",
    "mode",
    "enabled",
    "timeout",
    "timeout_action",
    "timeout_effect",
    "tags",
    "limits",
    "message",
    "extends",
    "override",
    "within",
    "not_within",
    "allows",
    "not_allows",
    "domains",
    "metadata",
    "all",
    "not",
    "args",
    "args.x",
    "args..x",
    "principal.rol",
    "principal.claims",
    "result.x",
    "equals",
    "matchs",
    "unknown",
]


@st.composite
def mutated_rulesets(draw: st.DrawFn) -> dict[str, Any]:
    """
    A valid document with one thing removed, replaced or added somewhere.
    """
    document = copy.deepcopy(draw(rulesets(sandbox=True, for_readers=True)))
    places = _containers(document)[::-1]  # the innermost first: generators favour the front
    container = draw(st.sampled_from(places))
    value = copy.deepcopy(draw(st.sampled_from(_STRANGE_VALUES)))
    if isinstance(container, list):
        index = draw(st.integers(0, len(container)))
        if index < len(container) and draw(st.booleans()):
            del container[index]
        else:
            container[index : index + 1] = [value]
        return document
    how = draw(st.sampled_from(["replace", "add", "remove"]))
    if how == "add" or not container:
        container[draw(st.sampled_from(_STRANGE_KEYS))] = value
    else:
        key = draw(st.sampled_from(sorted(container)))
        if how == "remove":
            del container[key]
        else:
            container[key] = value
    return document


def _containers(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [value, *(inner for item in value.values() for inner in _containers(item))]
    if isinstance(value, list):
        return [value, *(inner for item in value for inner in _containers(item))]
    return []


def test_schema_is_itself_a_valid_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(ruleset_schema())


def test_schema_each_call_gives_data_of_its_own() -> None:
    first = ruleset_schema()
    first["properties"].clear()
    first["$defs"]["pre"]["properties"]["tool"]["pattern"] = "changed"
    assert ruleset_schema()["properties"]
    assert ruleset_schema()["$defs"]["pre"]["properties"]["tool"]["pattern"] == "^[^{]+$"


@pytest.mark.property
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rulesets(sandbox=True, for_readers=True))
def test_schema_generated_valid_document_is_accepted_by_both(data: dict[str, Any]) -> None:
    assert (reader_problem(data), schema_problem(data)) == (None, None)


@pytest.mark.property
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated_rulesets())
def test_schema_damaged_document_gets_the_same_verdict_from_both(data: dict[str, Any]) -> None:
    by_reader, by_schema = reader_problem(data), schema_problem(data)
    assert (by_reader is None) == (by_schema is None), (by_reader, by_schema)


def test_schema_reading_leaves_the_callers_data_alone() -> None:
    data = {"apiVersion": "edictum/v1", "kind": "Ruleset", "rules": []}
    before = copy.deepcopy(data)
    assert reader_problem(data) is not None
    assert before == data
