from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest
from edictum.errors import ConfigProblem, EdictumConfigError
from edictum.ruleset import yaml
from edictum.ruleset.document import from_mapping, read_document
from edictum.ruleset.reader import KnownNames, read_ruleset
from edictum.ruleset.syntax import (
    All,
    AnyOf,
    Leaf,
    Not,
    Observability,
    PostRule,
    PreRule,
    Ruleset,
    SandboxRule,
    SessionRule,
    ToolDef,
)
from edictum.ruleset.vocabulary import BUILTIN_OPERATORS, RESERVED_METADATA
from edictum.testing.strategies import rulesets
from edictum.tools import SideEffect
from hypothesis import HealthCheck, given, settings

needs_yaml = pytest.mark.skipif(not yaml.available(), reason="the yaml extra is not installed")

Data = dict[str, Any]

PRE: Data = {
    "id": "p",
    "type": "pre",
    "tool": "*",
    "when": {"args.x": {"equals": 1}},
    "then": {"action": "block", "message": "no"},
}
POST: Data = {
    "id": "q",
    "type": "post",
    "tool": "*",
    "when": {"output.text": {"contains": "x"}},
    "then": {"action": "warn", "message": "no"},
}
SESSION: Data = {
    "id": "s",
    "type": "session",
    "limits": {"max_attempts": 3},
    "then": {"action": "block", "message": "no"},
}
SANDBOX: Data = {
    "id": "b",
    "type": "sandbox",
    "tool": "*",
    "within": ["/w"],
    "message": "no",
}
MISSING = object()


def document(*rules: Any, **other: Any) -> Data:
    data = {
        "apiVersion": "edictum/v1",
        "kind": "Ruleset",
        "metadata": {"name": "t"},
        "defaults": {"mode": "enforce"},
        "rules": list(rules or (PRE,)),
        **other,
    }
    return copy.deepcopy({key: value for key, value in data.items() if value is not MISSING})


def edited(base: Data, path: str, value: Any) -> Data:
    """
    A copy with the value at a slash-separated path set, or removed when it is MISSING.
    """
    result = copy.deepcopy(base)
    *above, last = path.split("/")
    holder = result
    for step in above:
        holder = holder[step]
    if value is MISSING:
        del holder[last]
    else:
        holder[last] = value
    return result


def problems_of(data: Any, custom: KnownNames | None = KnownNames()) -> list[ConfigProblem]:  # noqa: B008  frozen
    with pytest.raises(EdictumConfigError) as caught:
        read_ruleset(from_mapping(data), custom=custom)
    return list(caught.value.errors)


def the_problem(data: Any, custom: KnownNames | None = KnownNames()) -> tuple[str, str]:  # noqa: B008  frozen
    (problem,) = problems_of(data, custom)
    return problem.path, problem.message


def when_problem(when: Any, base: Data = PRE) -> tuple[str, str]:
    return the_problem(document(edited(base, "when", when)))


# What a valid document becomes


def test_read_whole_document_fills_in_defaults_and_resolves_synonyms() -> None:
    data = document(
        {
            **PRE,
            "tools": ["read_*", "Bash"],
            "when": {"all": [{"any": [{"args.x": {"gt": 1}}, {"environment": {"in": ["prod"]}}]},
                             {"not": {"principal.claims.a.b": {"exists": False}}}]},
            "then": {"action": "ask", "message": "why", "timeout": 60, "timeout_effect": "allow",
                     "tags": ["t"], "metadata": {"owner": {"team": ["a"]}}},
        },
        {**POST, "mode": "observe"},
        {**SESSION, "limits": {"max_tool_calls": 5, "max_calls_per_tool": {"Bash": 2, "x y": 1}}},
        {**SANDBOX, "outside": "approve", "timeout_effect": "allow", "allow_pipelines": True, "not_within": ["/w/x"],
         "allows": {"commands": ["ls"], "domains": ["a"]}, "not_allows": {"domains": ["b"]}, "schemes": ["https"]},
        {**SANDBOX, "id": "c", "enabled": False},
        {**PRE, "id": "off", "enabled": False},
        metadata={"name": "a.b-c_1", "description": ""},
        tools={"Bash": {"side_effect": "write", "idempotent": True}, "1": {"side_effect": "pure"}},
        observability={"stdout": False, "file": "x.jsonl", "otel": {"enabled": True, "protocol": "http"}},
        observe_alongside=True,
    )  # fmt: skip
    del data["rules"][0]["tool"]
    either = AnyOf(
        (
            Leaf("args.x", "gt", 1, "rules[0].when.all[0].any[0]"),
            Leaf("environment", "in", ["prod"], "rules[0].when.all[0].any[1]"),
        )
    )
    negated = Not(Leaf("principal.claims.a.b", "exists", False, "rules[0].when.all[1].not"))
    expected = Ruleset(
        name="a.b-c_1",
        mode="enforce",
        rules=(
            PreRule(
                "p", "enforce", "why", ("t",), {"owner": {"team": ["a"]}}, "rules[0]",
                False, ("read_*", "Bash"), All((either, negated)), "ask", 60, "allow",
            ),
            PostRule(
                "q", "observe", "no", path="rules[1]",
                when=Leaf("output.text", "contains", "x", "rules[1].when"),
            ),
            SessionRule(
                "s", "enforce", "no", path="rules[2]", max_tool_calls=5,
                max_calls_per_tool={"Bash": 2, "x y": 1},
            ),
            SandboxRule(
                "b", "enforce", "no", path="rules[3]", within=("/w",), not_within=("/w/x",), commands=("ls",),
                domains=("a",), not_domains=("b",), outside="ask", timeout_action="allow", allow_pipelines=True,
                schemes=("https",),
            ),
        ),
        description="",
        tools={"Bash": ToolDef(SideEffect.WRITE, True), "1": ToolDef(SideEffect.PURE, False)},
        observability=Observability(False, "x.jsonl", {"enabled": True, "protocol": "http"}),
        observe_alongside=True,
        disabled=("c", "off"),
    )  # fmt: skip
    assert expected == read_ruleset(from_mapping(data))


def test_read_rule_mode_defaults_to_that_of_the_document() -> None:
    ruleset = read_ruleset(from_mapping(document(PRE, {**POST, "mode": "enforce"}, defaults={"mode": "observe"})))
    assert [rule.mode for rule in ruleset.rules] == ["observe", "enforce"]


@pytest.mark.property
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rulesets(sandbox=True, for_readers=True))
def test_read_generated_document_keeps_every_rule(data: Data) -> None:
    ruleset = read_ruleset(from_mapping(data))
    enabled = [rule["id"] for rule in data["rules"] if rule.get("enabled", True)]
    assert enabled == [rule.id for rule in ruleset.rules]
    assert len(data["rules"]) == len(ruleset.rules) + len(ruleset.disabled)


# One cause, one problem: path and words of it


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        ({"apiVersion": "edictum/v2"}, "apiVersion", 'must be "edictum/v1", not "edictum/v2"; did you mean'),
        ({"apiVersion": MISSING}, "", 'missing key "apiVersion"'),
        ({"kind": 3}, "kind", 'must be "Ruleset", not a number'),
        ({"metadata": {"name": "t", "title": "x"}}, "metadata.title", 'unknown key "title"'),
        ({"metadata": {"name": "t\n"}}, "metadata.name", '"t\\n" is not a valid name'),
        ({"metadata": {"name": "t", "description": 1}}, "metadata.description", "must be text"),
        ({"defaults": {"mode": "observed"}}, "defaults.mode", 'did you mean "observe"?'),
        ({"defaults": None}, "defaults", "must be a mapping, not null"),
        ({"rules": {}}, "rules", "must be a list, not a mapping"),
        ({"rules": ["x"]}, "rules[0]", "must be a mapping, not text"),
        ({"rule": []}, "rule", 'unknown key "rule"; did you mean "rules"?'),
        ({"extends": "parent"}, "extends", "is not known here; load it from a file beside it"),
        ({"extends": "parent", "rules": MISSING}, "extends", "is not known here"),
        ({"extends": "../parent"}, "extends", "is not the name of a ruleset"),
        ({"rules": [{**PRE, "override": True}]}, "rules[0].override", '"override" needs "extends"'),
        ({"extends": "", "rules": []}, "extends", "must not be empty"),
        ({"extends": 1}, "extends", "must be text"),
        ({"tools": []}, "tools", "must be a mapping"),
        ({"tools": {"a b": {"side_effect": "rite"}}}, 'tools["a b"].side_effect', 'did you mean "write"?'),
        ({"tools": {"a": {}}}, "tools.a", 'missing key "side_effect"'),
        ({"tools": {"a": "read"}}, "tools.a", "must be a mapping"),
        ({"tools": {"a": {"side_effect": "read", "idempotent": "on"}}}, "tools.a.idempotent", "write true or false"),
        ({"observability": {"otel": {"protocol": "udp"}}}, "observability.otel.protocol", 'one of "grpc", "http"'),
        ({"observability": {"otel": {"insecure": 0}}}, "observability.otel.insecure", "true or false, not a number"),
        ({"observability": {"otel": {"resource_attributes": {"a": 1}}}},
         "observability.otel.resource_attributes.a", "must be text"),
        ({"observability": {"file": 1}}, "observability.file", "must be text"),
        ({"observability": {"stdot": True}}, "observability.stdot", 'did you mean "stdout"?'),
        ({"observe_alongside": "yes"}, "observe_alongside", "write true or false"),
    ],
)  # fmt: skip
def test_document_problem_is_reported_once_with_its_path(change: Data, path: str, words: str) -> None:
    found_path, message = the_problem(document(**change))
    assert path == found_path
    assert words in message


@pytest.mark.parametrize(
    ("base", "where", "value", "path", "words"),
    [
        (PRE, "id", "A", "rules[0].id", '"A" is not a valid name'),
        (PRE, "id", 1, "rules[0].id", "must be text"),
        (PRE, "type", "sessions", "rules[0].type", 'did you mean "session"?'),
        (PRE, "enabled", "no", "rules[0].enabled", "write true or false"),
        (PRE, "mode", "log", "rules[0].mode", "must be one of"),
        (PRE, "tool", "", "rules[0].tool", "must not be empty"),
        (PRE, "tool", MISSING, "rules[0]", 'missing key "tool"'),
        (PRE, "tool", ["a"], "rules[0].tool", "must be text, not a list"),
        (PRE, "tool", "{Read,Write}", "rules[0].tool", 'list the names under "tools"'),
        (PRE, "tools", ["a"], "rules[0].tools", "exclude each other"),
        (PRE, "limits", {}, "rules[0].limits", 'unknown key "limits"'),
        (PRE, "then", [], "rules[0].then", "must be a mapping"),
        (PRE, "then/action", "warn", "rules[0].then.action", '"block", "ask"'),
        (PRE, "then/action", "blok", "rules[0].then.action", 'did you mean "block"?'),
        (PRE, "then/message", "", "rules[0].then.message", "must not be empty"),
        (PRE, "then/message", "m" * 501, "rules[0].then.message", "501 characters; at most 500"),
        (PRE, "then/tags", ["a", ""], "rules[0].then.tags[1]", "item 1 must not be empty"),
        (PRE, "then/tags", ["a", 2], "rules[0].then.tags[1]", "item 1 must be text"),
        (PRE, "then/tags", ["a"] * 1001, "rules[0].then.tags", "1001 items; at most 1000"),
        (PRE, "then/metadata", [], "rules[0].then.metadata", "must be a mapping"),
        (PRE, "then/timeout", 0, "rules[0].then.timeout", "at least 1"),
        (PRE, "then/timeout", True, "rules[0].then.timeout", "a whole number, 1 or more, not true or false"),
        (PRE, "then/timeout", 1.5, "rules[0].then.timeout", "a whole number"),
        (PRE, "then/timeout", "60", "rules[0].then.timeout", "a whole number, 1 or more, not text"),
        (PRE, "then/timeout_action", "ask", "rules[0].then.timeout_action", '"block", "allow"'),
        (POST, "then/timeout", 5, "rules[0].then.timeout", 'unknown key "timeout"'),
        (POST, "then/action", "ask", "rules[0].then.action", '"warn", "redact", "block"'),
        (SESSION, "tool", "*", "rules[0].tool", 'unknown key "tool"'),
        (SESSION, "limits", {}, "rules[0].limits", "at least one of"),
        (SESSION, "limits", 5, "rules[0].limits", "must be a mapping"),
        (SESSION, "limits/max_attempts", False, "rules[0].limits.max_attempts", "a whole number"),
        (SESSION, "limits/max_attempt", 1, "rules[0].limits.max_attempt", 'did you mean "max_attempts"?'),
        (SESSION, "limits/max_calls_per_tool", {}, "rules[0].limits.max_calls_per_tool", "must not be empty"),
        (SESSION, "limits/max_calls_per_tool", {"B": -1}, "rules[0].limits.max_calls_per_tool.B", "at least 1"),
        (SANDBOX, "within", [], "rules[0].within", "must not be empty"),
        (SANDBOX, "not_within", [1], "rules[0].not_within[0]", "must be text"),
        (SANDBOX, "within", MISSING, "rules[0]", '"within" or "allows"'),
        (SANDBOX, "outside", "warn", "rules[0].outside", '"block", "ask", "approve"'),
        (SANDBOX, "not_allows", {"domains": ["a"]}, "rules[0].not_allows", 'needs "allows"'),
        (SANDBOX, "allows", {"domain": ["a"]}, "rules[0].allows.domain", 'did you mean "domains"?'),
        (SANDBOX, "then", {}, "rules[0].then", 'unknown key "then"'),
        (SANDBOX, "allows", {}, "rules[0].allows", 'must list "commands" or "domains"'),
        (SANDBOX, "schemes", ["https"], "rules[0].schemes", 'needs "allows.domains"'),
        (SANDBOX, "block_private", True, "rules[0].block_private", 'needs "allows.domains"'),
        (SANDBOX, "path_dirs", ["/bin"], "rules[0].path_dirs", 'needs "allows.commands"'),
        (SANDBOX, "require_match", "yes", "rules[0].require_match", "write true or false"),
        (SANDBOX, "base", "", "rules[0].base", "must not be empty"),
    ],
)  # fmt: skip
def test_rule_problem_is_reported_once_with_its_path(base: Data, where: str, value: Any, path: str, words: str) -> None:
    found_path, message = the_problem(document(edited(base, where, value)))
    assert path == found_path
    assert words in message


def test_sandbox_dependencies_are_checked() -> None:
    rule = edited(edited(SANDBOX, "within", MISSING), "not_within", ["/x"])
    rule.update(allows={"commands": ["ls"]}, not_allows={"domains": ["d"]})
    expected = [("rules[0].not_within", '"not_within" needs "within"'),
                ("rules[0].not_allows.domains", '"not_allows.domains" needs "allows.domains"')]  # fmt: skip
    assert expected == [(problem.path, problem.message) for problem in problems_of(document(rule))]


@pytest.mark.parametrize("name", sorted(RESERVED_METADATA))
def test_reserved_metadata_name_is_refused(name: str) -> None:
    path, message = the_problem(document(edited(PRE, "then/metadata", {name: 1, "owner": 2})))
    assert f"rules[0].then.metadata.{name}" == path
    assert "is reserved" in message


def test_timeout_words_that_differ_are_refused_and_equal_ones_are_not() -> None:
    then = {**PRE["then"], "timeout_action": "allow"}
    path, message = the_problem(document({**PRE, "then": {**then, "timeout_effect": "block"}}))
    assert path == "rules[0].then.timeout_effect"
    assert "differ" in message
    ruleset = read_ruleset(from_mapping(document({**PRE, "then": {**then, "timeout_effect": "allow"}})))
    (rule,) = ruleset.rules
    assert isinstance(rule, PreRule)
    assert rule.timeout_action == "allow"


def test_duplicate_id_counts_disabled_rules_too() -> None:
    path, message = the_problem(document({**PRE, "enabled": False}, POST, {**SESSION, "id": "p"}))
    assert path == "rules[2].id"
    assert 'duplicate id "p"; rules[0] has it already' in message


def test_disabled_rule_is_validated_too() -> None:
    assert the_problem(document({**edited(PRE, "then/action", "no"), "enabled": False}))[0] == "rules[0].then.action"


@pytest.mark.parametrize(("count", "accepted"), [(2000, True), (2001, False)])
def test_rule_limit_is_exact(count: int, accepted: bool) -> None:
    data = document(*({**SESSION, "id": f"r{number}"} for number in range(count)))
    if accepted:
        assert count == len(read_ruleset(from_mapping(data)).rules)
    else:
        assert "2001 items; at most 2000" in the_problem(data)[1]


@pytest.mark.parametrize("root", [None, [], "text", 1])
def test_document_that_is_no_mapping_is_refused(root: Any) -> None:
    import json

    with pytest.raises(EdictumConfigError, match="the document must be a mapping"):
        read_ruleset(read_document(json.dumps(root), name="rules.json"))


# Expressions


@pytest.mark.parametrize(
    ("when", "path", "words"),
    [
        ([], "", "must be a mapping with one selector"),
        ({}, "", "the condition is empty"),
        ({"args.x": {"equals": 1}, "args.y": {"equals": 1}}, "", "has 2 keys; it needs exactly one"),
        ({"all": []}, ".all", "must not be empty"),
        ({"any": {}}, ".any", "must be a list"),
        ({"all": [{"args.x": {"equals": 1}}] * 1001}, ".all", "at most 1000"),
        ({"not": [{"args.x": {"equals": 1}}]}, ".not", "must be a mapping"),
        ({"any": [{"args.x": {"equals": 1}}, 5]}, ".any[1]", "item 1 must be a mapping"),
        ({"args.x": 1}, ".args.x", "must be a mapping with one operator"),
        ({"args.x": {}}, ".args.x", "has no operator"),
        ({"args.x": {"gt": 1, "lt": 3}}, ".args.x", "has 2 operators"),
        ({"args.x": {"equal": 1}}, ".args.x.equal", 'unknown operator "equal"; did you mean "equals"?'),
        ({"args.x": {"zzz": 1}}, ".args.x.zzz", "known operators are contains, contains_any"),
    ],
)
def test_expression_shape_problem_is_reported_once(when: Any, path: str, words: str) -> None:
    found_path, message = when_problem(when)
    assert "rules[0].when" + path == found_path
    assert words in message


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        ("arg.x", 'did you mean "args"?'),
        ("principle.role", 'did you mean "principal"?'),
        ("session.attempts", "a selector starts with one of"),
        ("args", 'needs a name after it, as in "args.name"'),
        ("env", "needs a name after it"),
        ("metadata", "needs a name after it"),
        ("args.", "has an empty part"),
        ("args..x", "has an empty part"),
        (".args", "has an empty part"),
        ("", "has an empty part"),
        ("environment.x", "nothing may follow it"),
        ("tool", 'did you mean "tool.name"?'),
        ("tool.nam", 'did you mean "tool.name"?'),
        ("tool.name.x", "nothing may follow it"),
        ("principal", "unknown selector"),
        ("principal.rol", 'did you mean "principal.role"?'),
        ("principal.role.x", "nothing may follow it"),
        ("principal.claims", 'as in "principal.claims.name"'),
        ("output.text", "use it in a post rule"),
        ("output.txt", "use it in a post rule"),
        ("result.a", "use it in a post rule"),
    ],
)
def test_selector_that_could_never_match_is_refused(selector: str, words: str) -> None:
    path, message = when_problem({"not": {selector: {"exists": True}}})
    assert path.startswith("rules[0].when.not")
    assert words in message


@pytest.mark.parametrize("selector", ["output.txt", "output", "result", "output.text.x"])
def test_selector_of_the_result_is_checked_in_post_rules_too(selector: str) -> None:
    assert "rules[0].when." + selector == when_problem({selector: {"exists": True}}, POST)[0]


GOOD_OPERANDS: dict[str, list[Any]] = {
    "any": [1, "x", None, True, [], {"a": [1]}],
    "bool": [True, False],
    "text": ["x", ""],
    "pattern": ["^a", "(a|b)+c"],
    "number": [1, -2.5, 0],
    "list": [[1], ["a", None, [1]]],
    "texts": [["a"], ["a", ""]],
    "patterns": [["a", "b"]],
}
BAD_OPERANDS: dict[str, list[Any]] = {
    "any": [float("inf"), {"a": [float("nan")]}],
    "bool": ["yes", 1, None, "true"],
    "text": [1, None, ["a"]],
    "pattern": ["", 1, "(", "a" * 10_001, ["a"], r"(a+)+(?=b)\1"],
    "number": ["1", True, None, float("nan"), float("-inf")],
    "list": [[], "a", {"a": 1}, [1] * 1001, [float("nan")]],
    "texts": [[], "a", [1], ["a", None]],
    "patterns": [[], "a", [""], ["("], [1]],
}


@pytest.mark.parametrize("operator", sorted(BUILTIN_OPERATORS))
def test_operand_of_the_right_kind_is_kept_as_written(operator: str) -> None:
    for operand in GOOD_OPERANDS[BUILTIN_OPERATORS[operator]]:
        (rule,) = read_ruleset(from_mapping(document(edited(PRE, "when", {"args.x": {operator: operand}})))).rules
        assert isinstance(rule, PreRule)
        assert Leaf("args.x", operator, operand, "rules[0].when") == rule.when


@needs_yaml
@pytest.mark.parametrize("operator", sorted(BUILTIN_OPERATORS))
def test_operand_of_the_wrong_kind_is_refused(operator: str) -> None:
    """
    As YAML text, because a mapping with NaN is refused before it is read.
    """
    import json

    for operand in BAD_OPERANDS[BUILTIN_OPERATORS[operator]]:
        text = json.dumps(document(edited(PRE, "when", {"args.x": {operator: operand}})))
        text = text.replace("-Infinity", "-.inf").replace("Infinity", ".inf").replace("NaN", ".nan")
        with pytest.raises(EdictumConfigError) as caught:
            read_ruleset(read_document(text))
        (problem,) = caught.value.errors
        assert problem.path.startswith(f"rules[0].when.args.x.{operator}")


def test_pattern_problem_says_what_is_wrong_with_the_pattern() -> None:
    path, message = when_problem({"args.x": {"matches_any": ["fine", "a("]}})
    assert path == "rules[0].when.args.x.matches_any[1]"
    assert "parenthesis" in message or ")" in message


@pytest.mark.parametrize(("levels", "accepted"), [(50, True), (51, False)])
def test_expression_depth_limit_is_exact(levels: int, accepted: bool) -> None:
    when: Data = {"args.x": {"exists": True}}
    for level in range(levels - 1):
        when = {"not": when} if level % 2 else {"all": [when]}
    if accepted:
        assert len(read_ruleset(from_mapping(document(edited(PRE, "when", when)))).rules) == 1
    else:
        assert "deeper than 50 levels" in when_problem(when)[1]


# Custom names


def test_custom_names_are_accepted_and_others_are_not() -> None:
    custom = KnownNames(frozenset({"is_even"}), frozenset({"repo"}))
    good = document(edited(PRE, "when", {"repo.branch.name": {"is_even": {"any": ["operand"]}}}))
    (rule,) = read_ruleset(from_mapping(good), custom=custom).rules
    assert isinstance(rule, PreRule)
    assert Leaf("repo.branch.name", "is_even", {"any": ["operand"]}, "rules[0].when") == rule.when
    misspelt = document(edited(PRE, "when", {"repo.branch": {"is_eve": 1}}))
    assert 'did you mean "is_even"?' in the_problem(misspelt, custom)[1]
    bare = document(edited(PRE, "when", {"repo": {"is_even": 1}}))
    assert "needs a name after it" in the_problem(bare, custom)[1]


def test_unknown_names_pass_when_names_are_not_checked() -> None:
    data = document(edited(PRE, "when", {"anything.at.all": {"some_operator": 1}}))
    assert len(read_ruleset(from_mapping(data), custom=None).rules) == 1
    for when in ({"principal.rol": {"equals": 1}}, {"args..x": {"equals": 1}}, {"args.x": {"gt": "1"}}):
        assert len(problems_of(document(edited(PRE, "when", when)), None)) == 1


# The older vocabulary


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (document(kind="ContractBundle"), "kind"),
        (document(rules=MISSING, contracts=[PRE, {"nonsense": 1}]), "contracts"),
        (document(shadow_alongside=True), "shadow_alongside"),
        (document(defaults={"mode": "shadow"}), "defaults.mode"),
        (document(edited(PRE, "then", {"effect": "deny", "message": "m"})), "rules[0].then.effect"),
        (document(edited(PRE, "then/action", "deny")), "rules[0].then.action"),
        (document(edited(PRE, "then/action", "approve"), edited(POST, "then/action", "deny")), "rules[0].then.action"),
        (document(edited(PRE, "then/timeout_effect", "deny")), "rules[0].then.timeout_effect"),
        (document({**SANDBOX, "outside": "deny", "enabled": False}), "rules[0].outside"),
    ],
)
def test_older_vocabulary_is_one_problem_that_names_the_migration(data: Data, path: str) -> None:
    found_path, message = the_problem(data)
    assert path == found_path
    assert "edictum migrate" in message


# Many problems, and where they are


def test_all_problems_are_found_in_one_run() -> None:
    data = document(
        edited(PRE, "id", MISSING),
        edited(POST, "then/action", "x"),
        edited(SESSION, "limits/max_attempts", 0),
        metadata={},
        extra=1,
    )
    expected = ["extra", "metadata", "rules[0]", "rules[1].then.action", "rules[2].limits.max_attempts"]
    assert expected == [problem.path for problem in problems_of(data)]
    with pytest.raises(EdictumConfigError, match=r"; and 2 more$"):
        read_ruleset(from_mapping(data))


@needs_yaml
def test_problem_in_a_file_has_file_line_and_column() -> None:
    text = """\
apiVersion: edictum/v1
kind: Ruleset
metadata: {name: t}
defaults: {mode: enforce}
rules:
  - id: a
    type: session
    limits: {max_attempts: 3}
    then:
      action: warn
  - id: b
    type: post
    tool: "*"
    when:
      output.text: {contain: x}
    then: {action: warn, message: m}
"""
    with pytest.raises(EdictumConfigError) as caught:
        read_ruleset(read_document(text, name="rules.yaml"))
    found = [(problem.file, problem.line, problem.column, problem.path) for problem in caught.value.errors]
    assert found == [
        ("rules.yaml", 10, 7, "rules[0].then"),
        ("rules.yaml", 10, 15, "rules[0].then.action"),
        ("rules.yaml", 15, 30, "rules[1].when.output.text.contain"),
    ]
    assert "rules.yaml:10:15: rules[0].then.action: " in str(caught.value)


def test_problem_text_shortens_and_escapes_what_the_document_says() -> None:
    path, message = the_problem(document(edited(PRE, "id", "x\u202e" + "y" * 500)))
    assert path == "rules[0].id"
    assert "\u202e" not in message
    assert len(message) < 250


# The shared rejection fixtures


def rejection_cases() -> list[Any]:
    if not yaml.available():
        return []
    configured = os.environ.get("EDICTUM_SCHEMAS_DIR")
    beside = Path(__file__).resolve().parents[3] / "shared" / "conformance" / "fixtures"
    folder = Path(configured) if configured else beside
    return [
        pytest.param(case, id=case["id"])
        for file in sorted(folder.rglob("*.rejection.yaml"))
        for case in read_document(file.read_bytes(), name=file.name).data["fixtures"]
    ]


CASES = rejection_cases()


def test_rejection_fixtures_are_there() -> None:
    if not CASES:
        if os.environ.get("EDICTUM_CONFORMANCE_REQUIRED") == "1":
            pytest.fail("no rejection fixtures found; set EDICTUM_SCHEMAS_DIR to the folder that holds them")
        pytest.skip("NO REJECTION FIXTURES FOUND: install the yaml extra and set EDICTUM_SCHEMAS_DIR")
    assert len(CASES) == len({case.id for case in CASES})


@pytest.mark.parametrize("case", CASES)
def test_rejection_fixture_is_refused_and_the_message_names_the_field(case: Data) -> None:
    import json

    for source in (read_document(json.dumps(case["bundle"])), from_mapping(case["bundle"])):
        with pytest.raises(EdictumConfigError) as caught:
            read_ruleset(source)
        assert case["expected"]["error_contains"].lower() in str(caught.value).lower()
        assert len(caught.value.errors) == 1
