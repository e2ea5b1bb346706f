"""
What every selector reads: arguments, principal, environment, metadata, the tool's result, custom selectors.
"""

from __future__ import annotations

import types
from collections import OrderedDict, UserDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import pytest
from call_strategies import post, pre, ruleset, verdict_of
from edictum import Edictum, EdictumConfigError, Principal, ToolCall
from hypothesis import given
from hypothesis import strategies as st
from reference import Call, coerced, leaf_verdict


def present(selector: str, **call: Any) -> bool:
    return verdict_of({selector: {"exists": True}}, **call) == "true"


def reads(selector: str, value: Any, **call: Any) -> bool:
    return verdict_of({selector: {"equals": value}}, **call) == "true"


# --- the call ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "args", "value"),
    [
        ("args.a", {"a": "x"}, "x"),
        ("args.a.b", {"a": {"b": "x"}}, "x"),
        ("args.a.b.c", {"a": {"b": {"c": 1}}}, 1),
        ("args.a", {"a": [1, {"k": 2}]}, [1, {"k": 2}]),
        ("args.a.b", {"a": OrderedDict(b="x")}, "x"),
        ("args.a.b", {"a": UserDict(b="x")}, "x"),
        ("args.a.b", {"a": types.MappingProxyType({"b": "x"})}, "x"),
        ("args.a.b", types.MappingProxyType({"a": {"b": "x"}}), "x"),
        ("args.été", {"été": "x"}, "x"),
        ("args.x-y", {"x-y": "x"}, "x"),
        ("args.0", {"0": "x"}, "x"),
    ],
)
def test_args_selector_walks_mappings_of_any_kind(selector: str, args: Mapping[str, Any], value: Any) -> None:
    assert reads(selector, value, args=args)


@pytest.mark.parametrize(
    ("selector", "args"),
    [
        ("args.a", {}),
        ("args.a.b", {}),
        ("args.a.b", {"a": None}),
        ("args.a.b", {"a": "b"}),
        ("args.a.b", {"a.b": "x"}),
        ("args.a.0", {"a": ["x"]}),
        ("args.0", {0: "x"}),
        ("args.a.keys", {"a": {}}),
        ("args.a.b.c", {"a": {"b": "c"}}),
    ],
)
def test_args_selector_that_leads_nowhere_is_missing(selector: str, args: dict[Any, Any]) -> None:
    assert not present(selector, args=args)


PERSON = Principal(
    user_id="u-1",
    service_id="s-1",
    org_id="o-1",
    role="admin",
    ticket_ref="T-1",
    claims={"team": {"name": "core"}, "level": 3, "role": "other"},
)


@pytest.mark.parametrize(
    ("selector", "value"),
    [
        ("principal.user_id", "u-1"),
        ("principal.service_id", "s-1"),
        ("principal.org_id", "o-1"),
        ("principal.role", "admin"),
        ("principal.ticket_ref", "T-1"),
        ("principal.claims.team.name", "core"),
        ("principal.claims.level", 3),
        ("principal.claims.role", "other"),
    ],
)
def test_principal_selector_reads_the_field_and_is_missing_without_it(selector: str, value: Any) -> None:
    assert reads(selector, value, principal=PERSON)
    assert not present(selector, principal=Principal())
    assert not present(selector, principal=None)


def test_call_selectors_read_environment_tool_name_and_metadata() -> None:
    assert reads("environment", "staging", environment="staging")
    assert reads("environment", "production")
    assert reads("tool.name", "Read", tool="Read")
    assert reads("metadata.a.b", 1, metadata={"a": {"b": 1}})
    assert not present("metadata.a.b", metadata={"a": "b"})
    assert not present("metadata.a")


@pytest.mark.parametrize(
    "selector",
    ["arg.x", "principle.role", "principal.rol", "principal.claims", "principal.role.x", "args", "tool.id", "env"],
)
def test_selector_that_names_nothing_is_refused_when_loaded(selector: str) -> None:
    with pytest.raises(EdictumConfigError, match=r"selector|single value"):
        Edictum.from_bundle_dict(ruleset(pre({selector: {"exists": True}})))


@pytest.mark.parametrize("selector", ["output.text", "result.a"])
def test_result_selector_in_a_pre_rule_is_refused_when_loaded(selector: str) -> None:
    with pytest.raises(EdictumConfigError, match="post rule"):
        Edictum.from_bundle_dict(ruleset(pre({"not": {"all": [{selector: {"exists": True}}]}})))


# --- environment variables -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("TRUE", True),
        ("1", 1),
        ("-7", -7),
        ("0123", 123),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("nan", "nan"),
        ("NaN", "NaN"),
        ("inf", "inf"),
        ("-Infinity", "-Infinity"),
        ("1e999", "1e999"),
        ("", ""),
        ("yes", "yes"),
        ("1.2.3", "1.2.3"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_variable_is_coerced_to_boolean_integer_float_or_text(text: str, value: Any) -> None:
    assert reads("env.A", value, env={"A": text})
    expected = "true" if type(value) in (int, float) else "error"
    assert expected == verdict_of({"env.A": {"gt": -(10**9)}}, env={"A": text})


@pytest.mark.parametrize(
    ("test", "text", "expected"),
    [
        ({"equals": "0123"}, "0123", "true"),
        ({"equals": "123"}, "0123", "false"),
        ({"equals": 123}, "0123", "true"),
        ({"not_equals": "0123"}, "0123", "false"),
        ({"not_equals": 123}, "0123", "false"),
        ({"not_equals": "x"}, "0123", "true"),
        ({"in": ["x", "1.50"]}, "1.50", "true"),
        ({"in": [1.5]}, "1.50", "true"),
        ({"not_in": ["1.50"]}, "1.50", "false"),
        ({"not_in": [1.5]}, "1.50", "false"),
        ({"equals": "True"}, "True", "true"),
        ({"equals": "true"}, "True", "false"),
        ({"equals": True}, "True", "true"),
        ({"equals": 1}, "true", "false"),
        ({"gt": 100}, "0123", "true"),
        ({"gt": 100}, "nan", "error"),
        ({"contains": "1"}, "1x", "true"),
        ({"contains": "1"}, "123", "error"),
        ({"exists": True}, "", "true"),
    ],
)
def test_variable_is_compared_as_text_as_well(test: dict[str, Any], text: str, expected: str) -> None:
    assert expected == verdict_of({"env.A": test}, env={"A": text})


def test_variable_that_is_not_set_is_missing() -> None:
    assert not present("env.A", env={})
    assert verdict_of({"env.A": {"not_equals": "x"}}, env={}) == "false"


def test_variable_is_read_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = Edictum.from_bundle_dict(ruleset(pre({"env.EDICTUM_TEST_FREEZE": {"equals": True}})))
    decisions = []
    for value in ("false", "true"):
        monkeypatch.setenv("EDICTUM_TEST_FREEZE", value)
        decisions.append(guard.evaluate("tool", {}).decision)

    assert decisions == ["allow", "block"]


VARIABLES = st.sampled_from(["1", "01", "true", "TRUE", "x", "xy", "1.5", "nan", "inf", "", "-1"])


@pytest.mark.property
@given(VARIABLES, st.sampled_from(["equals", "not_equals", "in", "not_in"]), st.data())
def test_variable_equals_its_text_and_its_value(text: str, operator: str, data: st.DataObject) -> None:
    operand = data.draw(st.one_of(st.just(text), st.just(coerced(text)), VARIABLES))
    operand = [operand] if operator.endswith("in") else operand

    expected = leaf_verdict("env.A", operator, operand, Call("tool", env={"A": text}))
    assert expected == verdict_of({"env.A": {operator: operand}}, env={"A": text})


# --- the result ----------------------------------------------------------------------------------


@dataclass
class Inner:
    c: int = 1


@dataclass
class Answer:
    a: str = "x"
    b: dict[str, int] = field(default_factory=lambda: {"c": 1})
    inner: Inner = field(default_factory=Inner)


class Attribute(NamedTuple):
    name: str


class LikeAttrs:
    """
    What the decorator of the attrs library leaves on a class.
    """

    __attrs_attrs__ = (Attribute("a"), Attribute("b"))

    def __init__(self) -> None:
        self.a = "x"
        self.b = {"c": 1}
        self.hidden = "no field"


class LikeModel:
    """
    What a pydantic model shows of itself.
    """

    model_fields: ClassVar[dict[str, Any]] = {"a": str}

    def __init__(self) -> None:
        self.a = "x"
        self.model_extra = {"more": 1}
        self.more = 1
        self.hidden = "no field"

    def model_copy(self, update: dict[str, Any]) -> LikeModel:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("value", "selector"),
    [
        (Answer(), "args.place.a"),
        (Answer(), "args.place.inner.c"),
        (Answer(), "args.place.b.c"),
        (LikeAttrs(), "args.place.a"),
        (LikeModel(), "args.place.a"),
        (LikeModel(), "args.place.more"),
        ({"deep": LikeModel()}, "args.place.deep.a"),
    ],
)
def test_args_selector_walks_the_declared_fields_of_objects(value: Any, selector: str) -> None:
    assert present(selector, args={"place": value})


@pytest.mark.parametrize(
    "value", [Answer, LikeAttrs(), LikeModel(), object()], ids=["class", "attrs", "model", "plain"]
)
def test_args_selector_finds_nothing_that_an_object_does_not_declare(value: Any) -> None:
    assert not present("args.place.hidden", args={"place": value})


@pytest.mark.parametrize(
    ("output", "selector", "value"),
    [
        ({"a": "x"}, "result.a", "x"),
        ({"a": {"b": [1]}}, "result.a.b", [1]),
        ({"output": "x", "value": 1}, "result.output", "x"),
        ({"output": "x", "value": 1}, "result.value", 1),
        (types.MappingProxyType({"a": "x"}), "result.a", "x"),
        ("text", "result.output", "text"),
        ("", "result.output", ""),
        (Answer(), "result.a", "x"),
        (Answer(), "result.b.c", 1),
        (Answer(), "result.inner.c", 1),
        ({"answer": Answer()}, "result.answer.inner.c", 1),
        (LikeAttrs(), "result.a", "x"),
        (LikeAttrs(), "result.b.c", 1),
        (7, "result.value", 7),
        (False, "result.value", False),
        ([1, 2], "result.value", [1, 2]),
    ],
)
def test_result_selector_reads_mapping_text_object_or_value(output: Any, selector: str, value: Any) -> None:
    assert reads(selector, value, output=output)


@pytest.mark.parametrize(
    ("output", "selector"),
    [
        ({"a": "x"}, "result.output"),
        ({"a": "x"}, "result.value"),
        ("text", "result.value"),
        ("text", "result.output.text"),
        (Answer(), "result.value"),
        (Answer, "result.a"),
        (LikeAttrs(), "result.hidden"),
        (7, "result.output"),
        ([1], "result.0"),
    ],
)
def test_result_selector_that_leads_nowhere_is_missing(output: Any, selector: str) -> None:
    assert not present(selector, output=output)


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ({"a": 1}, "{'a': 1}"),
        ({"a": 1}, '{"a":1}'),
        ({"a": [1, None]}, '"a":[1,null]'),
        ({"é": "ü"}, '"é":"ü"'),
        ([1, "x"], "[1, 'x']"),
        ([1, "x"], '[1,"x"]'),
        ((1, 2), "(1, 2)"),
        ((1, 2), "[1,2]"),
        ({(1, 2): "key"}, "(1, 2)"),
        (types.MappingProxyType({"a": 1}), '{"a":1}'),
        ({"a": UserDict(b=1)}, '"b":1'),
        (b"caf\xc3\xa9 \xff", "café \ufffd"),
        (bytearray(b"text"), "text"),
        ("text", "text"),
        (12, "12"),
        (Answer(), "a='x'"),
    ],
)
def test_output_text_is_judged_in_each_of_its_forms(output: Any, text: str) -> None:
    """
    A rule written for ``str()`` and one written for compact JSON both work on a mapping or a list.
    """
    assert verdict_of({"output.text": {"contains": text}}, output=output) == "true"


def test_output_text_of_a_result_that_has_no_text_is_a_policy_error() -> None:
    class Silent:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    assert verdict_of({"output.text": {"contains": "x"}}, output=Silent()) == "error"


def test_post_rule_without_a_result_is_not_judged() -> None:
    guard = Edictum.from_bundle_dict(ruleset(post({"not": {"output.text": {"exists": True}}})))

    assert guard.evaluate("tool", {}).rules == []


# --- custom selectors ----------------------------------------------------------------------------


def failing(call: ToolCall) -> dict[str, Any]:
    raise LookupError("no risk known")


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda call: {"score": {"now": 9}}, "true"),
        (lambda call: {"score": {"now": 1}}, "false"),
        (lambda call: {"score": 9}, "false"),
        (lambda call: {}, "false"),
        (lambda call: None, "false"),
        (lambda call: {"score": {"now": "9"}}, "error"),
        (failing, "error"),
        (lambda: {}, "error"),
    ],
)
def test_custom_selector_is_walked_and_its_failure_is_a_policy_error(
    function: Callable[..., Any], expected: str
) -> None:
    assert expected == verdict_of({"risk.score.now": {"gt": 5}}, custom_selectors={"risk": function})


def test_custom_selector_gets_the_call() -> None:
    selectors = {"risk": lambda call: {"who": call.principal.role, "what": call.args["a"]}}

    assert reads("risk.who", "admin", custom_selectors=selectors, principal=PERSON, args={"a": 1})
    assert reads("risk.what", 1, custom_selectors=selectors, principal=PERSON, args={"a": 1})


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("test", [{"gt": 5}, {"exists": False}, {"exists": True}])
def test_custom_selector_that_is_asynchronous_is_a_policy_error(test: dict[str, Any]) -> None:
    """
    Its coroutine is not the value, and taking it for a missing one would let every call pass.
    """

    async def risk(call: ToolCall) -> dict[str, Any]:
        return {"score": 9}

    assert verdict_of({"risk.score": test}, custom_selectors={"risk": risk}) == "error"


@pytest.mark.parametrize("root", ["args", "principal", "output", "env", "metadata", "result", "session", "tool", "not"])
def test_custom_selector_under_a_reserved_root_is_refused(root: str) -> None:
    with pytest.raises(EdictumConfigError, match="custom_selectors"):
        Edictum(custom_selectors={root: lambda call: {}})
