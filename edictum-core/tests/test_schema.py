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
from hypothesis import HealthCheck, given, settings
from strategies import mutated_rulesets, rulesets

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
@given(rulesets(sandbox=True))
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
