"""
Generators of rulesets and calls: what they make is valid, and calls meet the rules that they are made for.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any

import pytest
from call_strategies import post, pre, ruleset, session_rule
from edictum import Edictum, EdictumDenied, Principal, create_tool_call
from edictum.testing.strategies import (
    SampleCall,
    expressions,
    operations,
    principals,
    rules,
    rulesets,
    selectors,
    tool_calls,
    values_around,
    variables,
)
from edictum.tool_call import name_problem
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

many = settings(
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def made(strategy: st.SearchStrategy[Any], number: int = 80) -> list[Any]:
    """
    Examples: so many that none of what is looked for is ever missing among them.
    """
    found: list[Any] = []

    @settings(many, max_examples=number)
    @given(strategy)
    def collect(example: Any) -> None:
        found.append(example)

    collect()
    return found


# --- rulesets ---------------------------------------------------------------------------------------


@pytest.mark.property
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_generated_ruleset_makes_a_guard_that_judges_any_call(data: st.DataObject) -> None:
    document = data.draw(rulesets(sandbox=True))
    guard = Edictum.from_bundle_dict(document, env=data.draw(variables(document)))
    call = data.draw(tool_calls(document) | tool_calls())

    result = guard.evaluate(call.tool_name, call.args, output=call.output, **call.fields)
    assert result.decision in ("allow", "block", "warn")


def test_generated_rulesets_have_all_kinds_of_rules_and_never_look_at_files_unless_asked_to() -> None:
    plain, whole = made(rulesets(), 100), made(rulesets(sandbox=True, for_readers=True), 100)

    for documents, kinds in ((plain, {"pre", "post", "session"}), (whole, {"pre", "post", "session", "sandbox"})):
        assert kinds == {rule["type"] for document in documents for rule in document["rules"]}
        sizes = {len(document["rules"]) for document in documents}
        assert sizes <= {1, 2, 3, 4, 5}
        assert len(sizes) >= 3
    assert [document for document in plain if {"observability", "observe_alongside"} & document.keys()] == []
    assert [document for document in whole if {"observability", "observe_alongside"} <= document.keys()]


@pytest.mark.parametrize("kind", ["pre", "post", "session", "sandbox"])
def test_generated_rules_of_one_type_are_taken(kind: str) -> None:
    for rule in made(rules(kind), 20):
        described = Edictum.from_bundle_dict(ruleset({"id": "only", **rule})).describe()
        assert len(described["rules"]) + len(described["disabled_rules"]) == 1


def test_generated_rules_of_no_type_are_refused() -> None:
    with pytest.raises(KeyError):
        rules("postcondition")
    with pytest.raises(KeyError):
        operations("matchs")


def test_generated_expressions_use_all_operators_connectives_and_roots() -> None:
    text = str(made(expressions(), 200)) + str(made(selectors(), 200))

    for word in ("all", "any", "not", *(name for test in made(operations(), 200) for name in test)):
        assert f"'{word}':" in text
    for root in ("args.", "env.", "metadata.", "principal.claims.", "principal.role", "environment", "tool.name"):
        assert f"'{root}" in text
    assert len({next(iter(test)) for test in made(operations(), 200)}) == 15
    assert {next(iter(test)) for test in made(operations("gt", "in"))} == {"gt", "in"}
    before, after = set(made(selectors(), 200)), set(made(selectors(after_call=True), 200))
    assert {selector for selector in before if selector.startswith(("output", "result"))} == set()
    assert {"output.text", "result.output", "result.value"} <= after


# --- calls ------------------------------------------------------------------------------------------


def test_generated_calls_and_principals_are_valid_and_varied() -> None:
    calls = made(tool_calls(), 200)
    for call in calls:
        assert name_problem(call.tool_name) is None
        create_tool_call(call.tool_name, call.args, principal=call.principal)
    people = made(principals(), 200)

    assert len({call.tool_name for call in calls}) > 3
    assert {type(value) for call in calls for value in call.args.values()} >= {str, int, float, bool, list, dict}
    for name in ("user_id", "service_id", "org_id", "role", "ticket_ref", "claims"):
        assert {bool(getattr(person, name)) for person in people} == {True, False}


def outcomes(
    document: dict[str, Any], judge: Callable[[Edictum, SampleCall], str] | None = None, **options: Any
) -> set[str]:
    guard = Edictum.from_bundle_dict(document, **options)

    def evaluate(guard: Edictum, call: SampleCall) -> str:
        result = guard.evaluate(call.tool_name, call.args, output=call.output, **call.fields)
        return "error" if result.policy_error else result.decision

    return {(judge or evaluate)(guard, call) for call in made(tool_calls(document))}


RARE = {
    "a text within": {"args.path": {"contains": "id_rsa.pub"}},
    "a text at the start": {"args.url": {"starts_with": "ftp://"}},
    "a text at the end": {"args.file": {"ends_with": ".tar.gz"}},
    "one of several texts": {"args.command": {"contains_any": ["mkfs", "shutdown -h"]}},
    "a pattern": {"args.query": {"matches": r"(?i)drop\s+table\s+\w+"}},
    "one of several patterns": {"args.query": {"matches_any": [r"^[a-f0-9]{8}$", r"\bgrant\b"]}},
    "a number above": {"args.amount": {"gt": 7_919}},
    "a number not above": {"args.amount": {"lte": -7_919}},
    "a number exactly": {"args.amount": {"equals": 7_919.5}},
    "a list": {"args.tags": {"equals": ["urgent", 3, None]}},
    "a map": {"args.options": {"equals": {"force": True}}},
    "one of several values": {"args.branch": {"in": ["release/1.9", "hotfix"]}},
    "a value deep inside": {"args.request.headers.accept": {"equals": "text/x-odd"}},
    "what must not be missing": {"args.reason": {"exists": False}},
    "two at once": {"all": [{"args.path": {"contains": "/etc/"}}, {"args.mode": {"equals": "w+"}}]},
    "one of two": {"any": [{"args.path": {"equals": "/etc/fstab"}}, {"principal.role": {"equals": "intern"}}]},
    "not": {"not": {"args.path": {"starts_with": "/workspace/"}}},
    "a role": {"principal.role": {"in": ["intern", "contractor"]}},
    "a claim": {"principal.claims.clearance.level": {"lt": 3_001}},
    "the environment": {"environment": {"equals": "staging-7"}},
    "metadata": {"metadata.origin.host": {"ends_with": ".internal"}},
    "the tool": {"tool.name": {"starts_with": "delete_"}},
}


@pytest.mark.parametrize("when", RARE.values(), ids=RARE)
def test_generated_calls_meet_a_rule_and_miss_it(when: dict[str, Any]) -> None:
    assert outcomes(ruleset(pre(when))) >= {"allow", "block"}


@pytest.mark.parametrize("operator", ["contains", "matches", "gt"])
def test_generated_calls_have_values_that_cannot_be_judged(operator: str) -> None:
    operand: Any = 7_919 if operator == "gt" else "id_rsa"

    assert outcomes(ruleset(pre({"args.value": {operator: operand}}))) == {"allow", "block", "error"}


def test_generated_calls_meet_several_rules_at_once() -> None:
    first, second = RARE["a text within"], RARE["a role"]
    document = ruleset(pre(first, rule_id="first"), pre(second, rule_id="second"))
    reasons = outcomes(document, lambda guard, call: str(len(_evaluated(guard, call).block_reasons)))

    assert reasons == {"0", "1", "2"}


def _evaluated(guard: Edictum, call: SampleCall) -> Any:
    return guard.evaluate(call.tool_name, call.args, output=call.output, **call.fields)


@pytest.mark.parametrize(
    "when",
    [
        {"output.text": {"contains": "BEGIN RSA"}},
        {"output.text": {"matches": r"\d{4}-\d{4}"}},
        {"result.status": {"gte": 5_003}},
        {"result.body.error": {"equals": "E-17"}},
        {"result.value": {"equals": 7_919}},
        {"result.output": {"starts_with": "Traceback"}},
        {"all": [{"output.text": {"contains": "secret-9"}}, {"result.code": {"equals": 3}}]},
    ],
)
def test_generated_outputs_meet_a_post_rule_and_miss_it(when: dict[str, Any]) -> None:
    assert outcomes(ruleset(post(when))) >= {"allow", "warn"}


@pytest.mark.parametrize(
    "pattern", ["mcp__github__*", "fetch_??", "[st]end_mail", "delete_*_now", "exactly_this", "*_admin"]
)
def test_generated_calls_are_of_the_tools_of_a_rule_and_of_others(pattern: str) -> None:
    document = ruleset({**pre({"tool.name": {"exists": True}}), "tool": pattern})

    assert outcomes(document) == {"allow", "block"}


def test_generated_calls_are_of_the_tools_that_a_limit_names() -> None:
    document = ruleset(session_rule(max_calls_per_tool={"send_mail": 1}))

    def run_twice(guard: Edictum, call: SampleCall) -> str:
        try:
            for _ in range(2):
                asyncio.run(guard.run(call.tool_name, call.args, lambda **args: None, session_id="s", **call.fields))
        except EdictumDenied as denied:
            return str(denied.decision_source)
        return "allow"

    assert outcomes(document, run_twice) == {"allow", "operation_limit"}


@pytest.mark.parametrize(
    "inside",
    [
        {"within": ["/srv/data"], "not_within": ["/srv/data/keys"]},
        {"allows": {"commands": ["git status", "ls"]}},
        {"allows": {"domains": ["api.example.com", "*.python.org"]}},
    ],
)
def test_generated_calls_are_inside_a_sandbox_and_outside(inside: dict[str, Any]) -> None:
    rule = {"id": "box", "type": "sandbox", "tool": "*", "message": "no", **inside}

    assert outcomes(ruleset(rule)) >= {"allow", "block"}


@pytest.mark.parametrize(
    ("operator", "operand"),
    [("equals", "prod-7"), ("equals", 7), ("equals", True), ("gt", 5_003), ("contains", "debug"), ("exists", False)],
)
def test_generated_variables_meet_a_rule_and_miss_it(operator: str, operand: Any) -> None:
    document = ruleset(pre({"env.STAGE": {operator: operand}}))

    found = {
        Edictum.from_bundle_dict(document, env=env).evaluate("t", {}).decision for env in made(variables(document))
    }
    assert found == {"allow", "block"}


def test_generated_values_for_an_operator_of_the_users_are_any() -> None:
    document = ruleset(pre({"all": [{"args.n": {"divides": 3}}, {"mine.x": {"equals": 1}}]}))
    calls = made(tool_calls(document), 150)

    assert {type(call.args["n"]) for call in calls if "n" in call.args} >= {str, int, list, dict}
    assert {type(value) for value in made(values_around("divides", 3), 150)} >= {str, int, list, dict}


def test_generated_calls_leave_the_ruleset_alone() -> None:
    document = ruleset(pre({"args.options": {"equals": {"force": [True]}}}))
    before = copy.deepcopy(document)
    for call in made(tool_calls(document)):
        for value in call.args.values():
            if isinstance(value, dict) and "force" in value:
                value["force"].append("changed")

    assert before == document


@pytest.mark.parametrize("given_as", ["rules.yaml", Edictum(), [1]])
def test_generated_calls_for_something_else_than_a_mapping_are_refused(given_as: Any) -> None:
    for make in (tool_calls, variables):
        with pytest.raises(TypeError, match=r"a ruleset is a mapping, not \w+; .*load_bundle"):
            make(given_as)


def test_sample_call_gives_the_keywords_of_a_guard() -> None:
    call = SampleCall("read", {}, Principal(role="intern"), "staging", {"a": 1})
    when = [{"principal.role": {"equals": "intern"}}, {"environment": {"equals": "staging"}}]
    guard = Edictum.from_bundle_dict(ruleset(pre({"all": [*when, {"metadata.a": {"equals": 1}}]})))

    assert guard.evaluate(call.tool_name, call.args, **call.fields).decision == "block"
    with pytest.raises(EdictumDenied):
        asyncio.run(guard.run(call.tool_name, call.args, lambda: None, **call.fields))
    assert SampleCall("read", {}).fields == {"principal": None, "environment": "production", "metadata": {}}
