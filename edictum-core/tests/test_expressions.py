"""
``all``, ``any`` and ``not``: what stops them, what errors do to them, and what no text around a match can undo.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from call_strategies import calls, documents, fields_of, meetings, post, pre, ruleset, verdict_of
from edictum import Edictum, EdictumConfigError, EdictumDenied
from edictum.testing.strategies import expressions
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference import Call, Data, evaluate, verdict

T: Data = {"args.a": {"equals": 1}}
F: Data = {"args.a": {"equals": 2}}
E: Data = {"args.a": {"contains": "x"}}
ARGS = {"a": 1}
LIMIT = 1_000_000


# --- connectives ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        (T, "true"),
        (F, "false"),
        (E, "error"),
        ({"all": [T]}, "true"),
        ({"all": [F]}, "false"),
        ({"all": [E]}, "error"),
        ({"all": [T, T]}, "true"),
        ({"all": [T, F]}, "false"),
        ({"all": [T, E]}, "error"),
        ({"all": [F, E]}, "false"),
        ({"all": [E, F]}, "error"),
        ({"any": [T]}, "true"),
        ({"any": [F, F]}, "false"),
        ({"any": [F, T]}, "true"),
        ({"any": [F, E]}, "error"),
        ({"any": [T, E]}, "true"),
        ({"any": [E, T]}, "error"),
        ({"not": T}, "false"),
        ({"not": F}, "true"),
        ({"not": E}, "error"),
        ({"not": {"not": T}}, "true"),
        ({"not": {"not": E}}, "error"),
        ({"not": {"all": [F, E]}}, "true"),
        ({"not": {"any": [T, E]}}, "false"),
        ({"not": {"any": [F, E]}}, "error"),
        ({"all": [{"any": [F, T]}, {"not": F}]}, "true"),
        ({"any": [{"all": [T, F]}, {"not": {"any": [F, F]}}]}, "true"),
        ({"any": [{"all": [T, E]}, T]}, "error"),
    ],
)
def test_connective_stops_at_the_first_item_that_decides(when: Data, expected: str) -> None:
    """
    An error that is never reached is never seen; one that is reached decides, also through ``not``.
    """
    assert expected == verdict_of(when, args=ARGS)


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({"all": [{"args.a": {"note": 1}}, {"args.a": {"note": 0}}, {"args.a": {"note": 2}}]}, [1, 0]),
        ({"any": [{"args.a": {"note": 0}}, {"args.a": {"note": 1}}, {"args.a": {"note": 2}}]}, [0, 1]),
        ({"all": [{"args.a": {"note": 1}}, {"not": {"args.a": {"note": 2}}}, {"args.a": {"note": 3}}]}, [1, 2]),
        ({"any": [{"not": {"args.a": {"note": 0}}}, {"args.a": {"note": 1}}]}, [0]),
    ],
)
def test_connective_judges_from_left_to_right_and_no_further(when: Data, expected: list[int]) -> None:
    judged: list[int] = []

    def note(value: Any, operand: int) -> bool:
        judged.append(operand)
        return operand != 0

    verdict_of(when, args=ARGS, custom_operators={"note": note})

    assert expected == judged


def nested(shape: str, levels: int) -> Data:
    when = T
    for _ in range(levels - 1):
        when = {shape: when if shape == "not" else [when]}
    return when


@pytest.mark.parametrize("shape", ["all", "any", "not"])
def test_expression_nested_beyond_the_limit_is_refused(shape: str) -> None:
    with pytest.raises(EdictumConfigError, match="nested deeper than"):
        verdict_of(nested(shape, 51), args=ARGS)


@pytest.mark.parametrize(
    ("shape", "levels", "expected"), [("not", 50, "false"), ("all", 45, "true"), ("any", 45, "true")]
)
def test_expression_nested_up_to_the_limit_is_judged(shape: str, levels: int, expected: str) -> None:
    assert expected == verdict_of(nested(shape, levels), args=ARGS)


@st.composite
def whens_and_calls(draw: st.DrawFn) -> tuple[Data, Call]:
    when = draw(expressions(after_call=True))
    return when, draw(calls(ruleset(post(when))))


@pytest.mark.property
@given(whens_and_calls())
def test_expression_on_any_call_agrees_with_the_reference(met: tuple[Data, Call]) -> None:
    when, call = met
    if call.output is not None:
        found = verdict_of(
            when,
            output=call.output,
            tool=call.tool,
            args=call.args,
            env=call.env,
            **fields_of(call),
        )
        assert verdict(when, call) == found


# --- padding -------------------------------------------------------------------------------------

PADDINGS = st.tuples(st.sampled_from([" ", "a", "\n", "0", "é", "rm ", "."]), st.integers(0, LIMIT))
DANGEROUS = "sudo rm  -rf /"
FINDERS: list[Data] = [
    {"contains": "rm  -rf"},
    {"contains_any": ["mkfs", "rm  -rf"]},
    {"matches": r"rm\s+-rf"},
    {"matches": r"(?i)\bRM\b.*-rf"},
    {"matches": r"rm\s+-[a-z]*r[a-z]*f"},
    {"matches": "[r]m +-rf /"},
    {"matches_any": ["mkfs", r"rm\s+-rf\s+/"]},
]


def padded(padding: tuple[str, int]) -> str:
    text, size = padding
    return (text * (size // len(text) + 1))[:size]


@pytest.mark.property
@pytest.mark.security
@settings(max_examples=max(100, settings().max_examples // 10))
@given(st.sampled_from(FINDERS), PADDINGS, PADDINGS)
@example(FINDERS[0], ("a", LIMIT), ("a", LIMIT))
@example(FINDERS[2], (" ", 10_001), ("a", 0))
@example(FINDERS[2], ("a", LIMIT - len(DANGEROUS)), ("a", 0))
@example(FINDERS[3], ("rm ", LIMIT - len(DANGEROUS)), ("a", 0))
@example(FINDERS[4], ("a", LIMIT), ("a", 1))
@example(FINDERS[6], ("\n", 0), ("\n", LIMIT))
def test_padding_around_a_match_never_turns_a_block_into_an_allow(
    finder: Data, before: tuple[str, int], after: tuple[str, int]
) -> None:
    text = f"{padded(before)} {DANGEROUS} {padded(after)}"

    assert verdict_of({"args.a": finder}, args={"a": text}) != "false"


@pytest.mark.security
@pytest.mark.parametrize("test", [{"matches": "xyz"}, {"matches_any": ["uvw", "^xyz"]}, {"matches": r"\d{3}$"}])
def test_text_too_long_to_be_searched_is_a_policy_error(test: Data) -> None:
    assert verdict_of({"args.a": test}, args={"a": "a" * LIMIT}) == "false"
    assert verdict_of({"args.a": test}, args={"a": "a" * (LIMIT + 1)}) == "error"
    assert verdict_of({"output.text": test}, output="a" * (LIMIT + 1)) == "error"
    assert verdict_of({"output.text": test}, output=["a" * (LIMIT + 1)]) == "error"


@pytest.mark.security
def test_text_too_long_to_be_searched_is_still_searched_for_a_literal() -> None:
    text = "a" * (3 * LIMIT)

    assert verdict_of({"args.a": {"contains": "xyz"}}, args={"a": text}) == "false"
    assert verdict_of({"args.a": {"contains": "xyz"}}, args={"a": text + "xyz"}) == "true"
    assert verdict_of({"args.a": {"ends_with": "xyz"}}, args={"a": text + "xyz"}) == "true"


# --- whole rulesets ------------------------------------------------------------------------------


def decide(document: Data, call: Call) -> str:
    guard = Edictum.from_bundle_dict(document, env=call.env)
    return guard.evaluate(call.tool, call.args, output=call.output, **fields_of(call)).decision


def runs(document: Data, call: Call) -> bool:
    """
    Whether the tool runs under an enforcing guard that nobody answers.
    """
    guard = Edictum.from_bundle_dict(document, env=call.env, mode="enforce", success_check=lambda tool, result: True)
    try:
        asyncio.run(guard.run(call.tool, call.args, lambda **args: call.output, **fields_of(call)))
    except EdictumDenied:
        return False
    return True


@st.composite
def one_more_rule(draw: st.DrawFn, *actions: str, mode: str) -> tuple[Data, Data, Call]:
    """
    A ruleset, the same with one more rule somewhere, and a call made for the latter.
    """
    document, when = draw(documents()), draw(expressions())
    more = pre(when, draw(st.sampled_from(actions)), rule_id="one-more", mode=mode)
    position = draw(st.integers(0, len(document["rules"])))
    longer = {**document, "rules": [*document["rules"][:position], more, *document["rules"][position:]]}
    return document, longer, draw(calls(longer))


@pytest.mark.property
@given(one_more_rule("block", "ask", mode="enforce"))
def test_one_more_pre_rule_never_turns_a_block_into_an_allow(case: tuple[Data, Data, Call]) -> None:
    document, stricter, call = case

    if decide(document, call) == "block":
        assert decide(stricter, call) == "block"
    if not runs(document, call):
        assert not runs(stricter, call)


@pytest.mark.property
@given(one_more_rule("block", "ask", mode="observe"))
def test_rule_in_observe_mode_never_changes_what_happens(case: tuple[Data, Data, Call]) -> None:
    document, measured, call = case

    assert decide(document, call) == decide(measured, call)
    assert runs(document, call) == runs(measured, call)


@pytest.mark.property
@given(meetings())
def test_decision_does_not_depend_on_key_order_or_on_earlier_calls(meeting: tuple[Data, Call]) -> None:
    document, call = meeting
    guard = Edictum.from_bundle_dict(document, env=call.env)
    other = Edictum.from_bundle_dict(_reversed(document), env=call.env)

    fields = {**fields_of(call), "output": call.output}

    first = guard.evaluate(call.tool, call.args, **fields).to_dict()

    assert first == guard.evaluate(call.tool, call.args, **fields).to_dict()
    assert first == other.evaluate(call.tool, _reversed(call.args), **fields).to_dict()
    assert first["decision"] == evaluate(document, call).decision


def _reversed(value: Any) -> Any:
    """
    The same mappings with their keys in the opposite order.
    """
    if isinstance(value, dict):
        return {key: _reversed(item) for key, item in reversed(value.items())}
    return [_reversed(item) for item in value] if isinstance(value, list) else value


def test_decision_on_one_call_is_the_same_under_observation_as_the_guard_enforces() -> None:
    document = ruleset(pre(T))

    assert Edictum.from_bundle_dict(document, mode="observe").evaluate("tool", ARGS).decision == "block"
    assert runs(ruleset(pre(T, mode="observe")), Call("tool", ARGS, output="x"))
