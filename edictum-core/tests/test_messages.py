"""
Placeholders in messages: what is filled in, what stays, and what must never be shown.
"""

from __future__ import annotations

import asyncio
import unicodedata
from typing import Any

import pytest
from call_strategies import post, pre, ruleset, session_rule
from edictum import Edictum, EdictumDenied, OperationLimits, Principal, RedactionPolicy
from hypothesis import example, given
from hypothesis import strategies as st

ALWAYS = {"tool.name": {"exists": True}}
SECRET = "sk-proj-Abcdefgh1234567890Abcdefgh1234567890"


def message(template: str, args: Any = None, *, tool: str = "tool", output: Any = None, **options: Any) -> str:
    """
    The text for the agent, from a pre rule or, when there is an output, from a post rule.
    """
    call = {key: options.pop(key) for key in ("principal", "environment", "metadata") if key in options}
    rule = pre(ALWAYS, message=template) if output is None else post(ALWAYS, message=template)
    guard = Edictum.from_bundle_dict(ruleset(rule), **options)
    result = guard.evaluate(tool, args or {}, output=output, **call)
    (text,) = result.block_reasons or result.warn_reasons
    return text


# --- what is filled in ---------------------------------------------------------------------------


def test_message_of_the_tool_name_follows_the_tool_however_many_there_are() -> None:
    guard = Edictum.from_bundle_dict(
        ruleset(
            pre(ALWAYS, message="not {tool.name}: {args.path}"),
            pre(ALWAYS, message="not {tool.name}", rule_id="second"),
        )
    )
    for number in (*range(200), 0, 199):
        reasons = guard.evaluate(f"tool_{number}", {"path": number}).block_reasons
        assert reasons == [f"not tool_{number}: {number}", f"not tool_{number}"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("plain", "plain"),
        ("{args.path}", "/srv/a"),
        ("read {args.path}, then {args.path}", "read /srv/a, then /srv/a"),
        ("{args.nested.deep}", "1.5"),
        ("{args.list}", "[1, 'x']"),
        ("{args.flag}{args.zero}", "False0"),
        ("<{args.empty}>", "<>"),
        ("{tool.name} in {environment}", "Read in staging"),
        ("{principal.role} {principal.claims.team}", "admin core"),
        ("{metadata.ticket}", "T-1"),
        ("{env.REGION} {env.COUNT}", "eu 7"),
        ("{risk.score}", "9"),
    ],
)
def test_message_placeholder_becomes_the_text_of_its_value(template: str, expected: str) -> None:
    args = {"path": "/srv/a", "nested": {"deep": 1.5}, "list": [1, "x"], "flag": False, "zero": 0, "empty": ""}
    assert expected == message(
        template,
        args,
        tool="Read",
        environment="staging",
        principal=Principal(role="admin", claims={"team": "core"}),
        metadata={"ticket": "T-1"},
        env={"REGION": "eu", "COUNT": "007"},
        custom_selectors={"risk": lambda call: {"score": 9}},
    )


@pytest.mark.parametrize(
    "template",
    [
        "{args.missing}",
        "{args.none}",
        "{args.path.below}",
        "{principal.role}",
        "{env.EDICTUM_TEST_NOT_SET}",
        "{metadata.x}",
        "{output.text}",
        "{result.value}",
        "{args}",
        "{unknown.root}",
        "{environment.x}",
        "{principal.claims}",
        "{}",
        "{ args.path }",
        "{args.path",
        "args.path}",
        "{path}",
        "{0}",
        "{args.path!r}",
        "%(args.path)s $args.path",
    ],
)
def test_message_placeholder_without_a_value_stays_as_written(template: str) -> None:
    assert template == message(template, {"path": "x", "none": None})


def test_message_placeholder_beside_braces_is_filled_in() -> None:
    assert message("{args.value} {args.path} } {", {"path": "x", "value": "{x}"}) == "{x} x } {"
    assert message("{{args.path}", {"path": "x"}) == "{{args.path}"


@pytest.mark.parametrize(
    ("output", "template", "expected"),
    [
        ("text", "got {output.text}", "got text"),
        ("text", "got {result.output}", "got text"),
        ({"a": 1}, "got {output.text}", "got {'a': 1}"),
        ({"a": 1}, "got {result.a} {result.b}", "got 1 {result.b}"),
        (b"caf\xc3\xa9", "got {output.text}", "got café"),
    ],
)
def test_message_of_a_post_rule_shows_the_result(output: Any, template: str, expected: str) -> None:
    assert expected == message(template, output=output)


def test_message_text_that_came_from_a_value_is_not_expanded_again() -> None:
    args = {"a": "{args.b}", "b": "{args.a}", "c": "{ar"}

    assert message("{args.a} {args.b}", args) == "{args.b} {args.a}"
    assert message("{args.a}gs.b}", args) == "{args.b}gs.b}"


def test_message_of_a_session_rule_is_never_expanded() -> None:
    document = ruleset(session_rule(message="{tool.name} {args.a} {limit}", max_tool_calls=1))
    guard = Edictum.from_bundle_dict(document)

    asyncio.run(guard.run("tool", {"a": "x"}, lambda a: a))
    with pytest.raises(EdictumDenied) as denied:
        asyncio.run(guard.run("tool", {"a": "x"}, lambda a: a))

    assert denied.value.reason == "{tool.name} {args.a} {limit}"


def test_message_of_a_session_rule_is_not_expanded_when_its_limit_is_met_elsewhere() -> None:
    document = ruleset(session_rule(message="only {args.a}", max_calls_per_tool={"tool": 1}))
    guard = Edictum.from_bundle_dict(document, limits=OperationLimits())

    asyncio.run(guard.run("tool", {"a": "x"}, lambda a: a))
    with pytest.raises(EdictumDenied) as denied:
        asyncio.run(guard.run("tool", {"a": "x"}, lambda a: a))

    assert denied.value.reason.startswith("only {args.a}")


# --- what is cut ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "shown"), [(199, 199), (200, 200), (201, 197), (5_000, 197)])
def test_message_value_over_200_characters_is_cut(length: int, shown: int) -> None:
    value = "wxyz " * 1_000
    expected = value[:length] if shown == length else value[:197] + "..."

    assert f"<{expected}>" == message("<{args.a}>", {"a": value[:length]})


@pytest.mark.parametrize(("fixed", "whole"), [(300, True), (301, False), (480, False)])
def test_message_over_500_characters_is_cut(fixed: int, whole: bool) -> None:
    value = "v" * 200
    full = "f" * fixed + value

    found = message("f" * fixed + "{args.a}", {"a": value})

    assert (full if whole else full[:497] + "...") == found
    assert len(found) <= 500


def test_message_without_placeholders_may_have_500_characters() -> None:
    assert message("m" * 500) == "m" * 500


# --- what is escaped -----------------------------------------------------------------------------


@pytest.mark.security
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a\nb", "a\\u000ab"),
        ("\x1b[2Jx", "\\u001b[2Jx"),
        ("\x00\x7f\x9b", "\\u0000\\u007f\\u009b"),
        ("txt\u202egpj", "txt\\u202egpj"),
        ("\u2066x\u2069", "\\u2066x\\u2069"),
        ("pay\u200bpal", "pay\\u200bpal"),
        ("\ud800", "\\ud800"),
        ("größe", "größe"),
    ],
)
def test_message_value_has_its_control_characters_written_out(value: str, shown: str) -> None:
    assert f"<{shown}>" == message("<{args.a}>", {"a": value})


def test_message_value_is_cut_after_it_was_escaped() -> None:
    found = message("{args.a}", {"a": "\n" * 100})

    assert ("\\u000a" * 100)[:197] + "..." == found


@pytest.mark.property
@pytest.mark.security
@given(st.text(max_size=600), st.text(max_size=300))
def test_message_with_any_values_is_short_and_safe_to_print(left: str, right: str) -> None:
    found = message("before {args.a} between {args.b} after", {"a": left, "b": [right]})

    assert len(found) <= 500
    assert not {unicodedata.category(char) for char in found} & {"Cc", "Zl", "Zp"}
    assert not any(unicodedata.bidirectional(char) in {"RLO", "LRO", "RLE", "LRE", "RLI", "LRI"} for char in found)


# --- what is withheld ----------------------------------------------------------------------------


@pytest.mark.security
@pytest.mark.parametrize(
    "value",
    [
        SECRET,
        f"the key is {SECRET}",
        "x" * 190 + f" {SECRET}",
        "x " * 4_000 + SECRET,
        {"deep": [1, {"key": SECRET}]},
        [SECRET],
        f"first\n{SECRET}\nlast".encode(),
    ],
    ids=["alone", "inside", "across the cut", "far behind the cut", "mapping", "list", "bytes"],
)
def test_message_value_with_a_secret_anywhere_is_withheld_as_a_whole(value: Any) -> None:
    assert message("<{args.a}>", {"a": value}) == "<[REDACTED]>"


def test_message_value_that_only_the_guards_own_policy_calls_secret_is_withheld() -> None:
    redaction = RedactionPolicy(custom_patterns=[(r"EMP-\d{4}", "[REDACTED]")])

    assert message("<{args.a}>", {"a": "by EMP-1234"}, redaction=redaction) == "<[REDACTED]>"
    assert message("<{args.a}>", {"a": "by EMP-1234"}) == "<by EMP-1234>"


@pytest.mark.parametrize("selector", ["metadata.a", "principal.role", "principal.claims.a", "env.A", "risk.a"])
def test_message_secret_from_anywhere_is_withheld(selector: str) -> None:
    found = message(
        f"<{{{selector}}}>",
        metadata={"a": SECRET},
        principal=Principal(role=SECRET, claims={"a": SECRET}),
        env={"A": SECRET},
        custom_selectors={"risk": lambda call: {"a": SECRET}},
    )

    assert found == "<[REDACTED]>"
    assert message("<{output.text}>", output={"log": SECRET}) == "<[REDACTED]>"


def test_message_whose_value_cannot_be_read_is_replaced() -> None:
    def failing(call: Any) -> Any:
        raise LookupError(SECRET)

    found = message("<{risk.a}>", custom_selectors={"risk": failing})

    assert found == "rule 'rule' could not be judged, so the call is held back"


_ALPHANUMERIC = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_TAIL = st.text(alphabet=_ALPHANUMERIC, min_size=40, max_size=60)
SECRETS = st.one_of(
    st.sampled_from(["sk-", "sk-ant-", "ghp_", "github_pat_", "sk_live_", "xoxb-", "AIza"]).flatmap(
        lambda prefix: _TAIL.map(prefix.__add__)
    ),
    st.text(alphabet="ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=16, max_size=16).map("AKIA".__add__),
    st.tuples(_TAIL, _TAIL, _TAIL).map(lambda parts: "eyJ" + ".".join(parts)),
)
AROUND = st.text(alphabet=st.characters(codec="utf-8"), max_size=250)


@pytest.mark.property
@pytest.mark.security
@given(SECRETS, AROUND, AROUND, st.sampled_from(["text", "list", "mapping", "key", "bytes"]))
@example(SECRET, "x" * 180, "", "text")
@example(SECRET, "", "x" * 10_000, "text")
def test_message_never_shows_a_planted_secret(secret: str, before: str, after: str, form: str) -> None:
    """
    Neither in the text for the agent nor in any event, wherever the secret stands in the value.
    """
    text = f"{before} {secret} {after}"
    values: dict[str, Any] = {
        "text": text,
        "list": [0, text],
        "mapping": {"b": {"c": text}},
        "key": {text: 1},
        "bytes": text.encode(),
    }
    guard = Edictum.from_bundle_dict(ruleset(pre(ALWAYS, message="saw {args.a} and again {args.a.b}{args.a.b.c}")))
    with pytest.raises(EdictumDenied) as denied:
        asyncio.run(guard.run("tool", {"a": values[form]}, lambda a: a))

    shown = [denied.value.reason, *(event.to_json() for event in guard.local_sink.events)]
    start = secret[:30]
    assert [text for text in shown if start in text] == []
