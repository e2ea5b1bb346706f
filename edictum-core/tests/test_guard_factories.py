"""
Making guards, what each option does, and replacing the ruleset of a living guard.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from edictum import (
    AuditEvent,
    CollectingAuditSink,
    Decision,
    Edictum,
    EdictumConfigError,
    HookDecision,
    HookRegistration,
    MemoryBackend,
    OperationLimits,
    Principal,
    RedactionPolicy,
    Session,
    SideEffect,
    precondition,
)
from edictum.testing import AutoApprovalBackend
from guards import (
    Callbacks,
    Tool,
    ask,
    denial,
    events_of,
    guard_of,
    post,
    pre,
    ruleset,
    run,
    session_rule,
    text_of,
)

LONG = {"args.path": {"longer_than": 3}}
OPERATORS = {"longer_than": lambda value, operand: len(value) > operand}
OLD = {
    "apiVersion": "edictum/v1",
    "kind": "ContractBundle",
    "metadata": {"name": "old"},
    "defaults": {"mode": "enforce"},
    "contracts": [
        {
            "id": "no-read",
            "type": "pre",
            "tool": "read",
            "when": {"tool.name": {"exists": True}},
            "then": {"effect": "deny", "message": "no"},
        }
    ],
}


# --- documents ---------------------------------------------------------------------------------------------


def test_from_yaml_reads_a_file_and_hashes_its_bytes(tmp_path: Path) -> None:
    pytest.importorskip("ruamel.yaml", reason="the yaml extra is not installed")
    content = (
        b"apiVersion: edictum/v1\nkind: Ruleset\nmetadata: {name: t}\ndefaults: {mode: enforce}\n"
        b"rules:\n- id: no-read\n  type: pre\n  tool: read\n  when: {tool.name: {exists: true}}\n"
        b"  then: {action: block, message: 'no'}\n"
    )
    path = tmp_path / "rules.yaml"
    path.write_bytes(content)
    for given in (path, str(path)):
        guard = Edictum.from_yaml(given)
        assert denial(guard).decision_name == "no-read"
        assert guard.policy_version == hashlib.sha256(content).hexdigest()
        assert events_of(guard)[0].policy_version == guard.policy_version


def test_from_yaml_missing_file_or_no_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Edictum.from_yaml(tmp_path / "absent.yaml")
    with pytest.raises(EdictumConfigError, match="path"):
        Edictum.from_yaml()


def test_from_yaml_string_text_and_bytes_have_one_identity() -> None:
    text = text_of(pre(message="n\u00f6"))
    first, second = Edictum.from_yaml_string(text), Edictum.from_yaml_string(text.encode())
    assert first.policy_version == second.policy_version == hashlib.sha256(text.encode()).hexdigest()
    assert denial(first).reason == denial(second).reason


def test_from_bundle_dict_identity_is_given_or_computed() -> None:
    assert Edictum.from_bundle_dict(ruleset(), "v1").policy_version == "v1"
    first, same = Edictum.from_bundle_dict(ruleset()), Edictum.from_bundle_dict(ruleset())
    assert first.policy_version == same.policy_version != Edictum.from_bundle_dict(ruleset(pre())).policy_version
    assert len(first.policy_version or "") == 64


def test_from_bundle_dict_does_not_share_the_document() -> None:
    document = ruleset(pre(message="first"))
    guard = Edictum.from_bundle_dict(document)
    document["rules"][0]["then"]["message"] = "second"
    document["rules"].clear()
    assert denial(guard).reason == "first"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"apiVersion": "edictum/v1"}', b"\xff\xfe"])
def test_from_yaml_string_invalid_document_is_refused(content: Any) -> None:
    with pytest.raises(EdictumConfigError):
        Edictum.from_yaml_string(content)


def test_older_vocabulary_is_refused_unless_it_shall_be_upgraded() -> None:
    text = json.dumps(OLD)
    with pytest.raises(EdictumConfigError, match="migrate"):
        Edictum.from_yaml_string(text)
    with pytest.raises(EdictumConfigError):
        Edictum.from_bundle_dict(OLD)
    guard = Edictum.from_yaml_string(text, legacy="upgrade")
    assert denial(guard).decision_name == "no-read"
    assert guard.policy_version == hashlib.sha256(text.encode()).hexdigest()
    asyncio.run(guard.reload(text))
    assert denial(guard).decision_name == "no-read"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"kind": "ContractBundle",\n "contracts": [], "rules": []}', ("contracts", 2, 15)),
        ('{"contracts": [{\n"then": {"effect": "deny",\n"action": "block"}}]}', ("contracts[0].then.effect", 2, 20)),
        ("[]", ("", 1, 1)),
    ],
)
def test_problem_of_an_upgrade_says_where_it_is(text: str, place: tuple[str, int, int]) -> None:
    with pytest.raises(EdictumConfigError) as caught:
        Edictum.from_yaml_string(text, legacy="upgrade")
    (problem,) = caught.value.errors
    assert place == (problem.path, problem.line, problem.column)


# --- options: each one has an effect -----------------------------------------------------------------------


def test_option_environment_is_what_rules_see() -> None:
    rule = pre(when={"environment": {"equals": "staging"}})
    denial(guard_of(rule, environment="staging"))
    assert run(guard_of(rule)) == "done"


def test_option_mode_wins_over_the_document() -> None:
    assert guard_of(defaults_mode="observe").mode == "observe"
    assert guard_of(defaults_mode="observe", mode="enforce").mode == "enforce"
    assert (Edictum().mode, guard_of(mode="observe").mode) == ("enforce", "observe")


def test_option_tools_wins_over_the_document() -> None:
    tools = {"read": {"side_effect": "irreversible", "idempotent": True}, "mcp_*": {"side_effect": "pure"}}
    guard = guard_of(post(action="block"), tools=tools)
    assert guard.tool_registry.classify("read") == (SideEffect.IRREVERSIBLE, True)
    assert guard.tool_registry.classify("mcp_x") == (SideEffect.PURE, False)
    assert run(guard, Tool("hunter2")) == "hunter2"
    assert "[OUTPUT SUPPRESSED]" in run(guard_of(post(action="block")), Tool("hunter2"))


def test_option_tools_shell_classifies_commands() -> None:
    guard = guard_of(tools={"sh": {"side_effect": "read", "shell": True}})
    for command in ("ls", "rm -rf x"):
        run(guard, args={"command": command}, name="sh")
    assert [event.side_effect for event in events_of(guard)[::2]] == ["read", "irreversible"]


@pytest.mark.parametrize("several", [False, True])
def test_option_audit_sink_gets_what_the_local_one_gets(several: bool) -> None:
    sinks = [CollectingAuditSink(), CollectingAuditSink()]
    guard = guard_of(audit_sink=sinks if several else sinks[0])
    run(guard)
    for sink in sinks if several else sinks[:1]:
        assert sink.events == guard.local_sink.events
    assert len(guard.local_sink.events) == 2


def test_option_redaction_is_used_for_events() -> None:
    guard = guard_of(redaction=RedactionPolicy(sensitive_keys=["shoe_size"]))
    run(guard, args={"shoe_size": "forty-three"})
    assert "forty-three" not in events_of(guard)[0].to_json()


def test_option_backend_holds_the_sessions() -> None:
    backend = MemoryBackend()
    run(guard_of(backend=backend), session_id="s1")
    run(guard_of(backend=backend), session_id="s1")
    assert asyncio.run(Session("s1", backend).execution_count()) == 2


def test_option_on_deny_is_a_synonym_of_on_block() -> None:
    told = Callbacks()
    denial(guard_of(pre(), on_deny=told.options["on_block"]))
    assert told.counts == (1, 0, 0)
    with pytest.raises(EdictumConfigError, match="on_deny"):
        guard_of(on_deny=print, on_block=print)


def test_option_principal_resolver_wins_over_principal_and_the_call_over_both() -> None:
    asked: list[tuple[str, Any]] = []

    def resolve(tool_name: str, args: Any) -> Principal:
        asked.append((tool_name, dict(args)))
        return Principal(role="resolved")

    guard = guard_of(principal=Principal(role="static"), principal_resolver=resolve)
    run(guard, args={"path": "a"})
    run(guard, principal=Principal(role="call"))
    assert [(event.principal or {})["role"] for event in events_of(guard)[::2]] == ["resolved", "call"]
    assert asked == [("read", {"path": "a"})]


def test_set_principal_applies_to_later_calls() -> None:
    guard = guard_of()
    run(guard)
    guard.set_principal(Principal(user_id="u2"))
    run(guard)
    assert [event.principal and event.principal["user_id"] for event in events_of(guard)[::2]] == [None, "u2"]


def test_option_custom_operators_and_selectors_are_used() -> None:
    rules = [pre("long", when=LONG), pre("team", when={"team.name": {"equals": "red"}})]
    guard = guard_of(
        *rules, custom_operators=OPERATORS, custom_selectors={"team": lambda call: {"name": call.args["team"]}}
    )
    assert denial(guard, None, {"path": "abcd", "team": "blue"}).decision_name == "long"
    assert denial(guard, None, {"path": "abc", "team": "red"}).decision_name == "team"
    assert run(guard, args={"path": "abc", "team": "blue"}) == "done"


def test_option_custom_operator_that_is_not_given_is_refused() -> None:
    with pytest.raises(EdictumConfigError, match="longer_than"):
        guard_of(pre(when=LONG))


def test_option_env_replaces_the_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = pre(when={"env.STAGE": {"equals": "live"}})
    monkeypatch.setenv("STAGE", "live")
    denial(guard_of(rule))
    assert run(guard_of(rule, env={})) == "done"


def test_option_name_policy_lenient_lets_an_invalid_name_pass_unless_a_rule_blocks() -> None:
    assert run(guard_of(name_policy="lenient"), name="a/b") == "done"
    denial(guard_of(pre(), name_policy="lenient"), name="a/b")


def test_option_policy_version_given_to_the_constructor_is_on_events() -> None:
    guard = Edictum(policy_version="v7")
    run(guard)
    guard.policy_version = "v8"
    run(guard)
    assert [event.policy_version for event in events_of(guard)] == ["v7", "v7", "v8", "v8"]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"mode": "watch"}, "mode"),
        ({"audit_failure": "ignore"}, "audit_failure"),
        ({"name_policy": "none"}, "name_policy"),
        ({"tools": {"x": {"side_effect": "mild"}}}, "side_effect"),
        ({"tools": {"x": {"sideeffect": "read"}}}, "unknown keys"),
        ({"custom_operators": {"contains": len}}, "'contains' is built in"),
        ({"custom_operators": {"mine": 5}}, "'mine' cannot be called"),
        ({"custom_selectors": {"args": len}}, "'args' is built in"),
        ({"custom_selectors": {"session": len}}, "'session' is built in"),
        ({"custom_selectors": {"all": len}}, "'all' is built in"),
        ({"custom_selectors": {"mine": None}}, "'mine' cannot be called"),
    ],
)
@pytest.mark.parametrize("factory", [Edictum, guard_of])
def test_option_that_makes_no_sense_is_refused(factory: Any, options: dict[str, Any], word: str) -> None:
    with pytest.raises(EdictumConfigError, match=word):
        factory(**options)


def test_observability_of_the_document_writes_its_file(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    guard = Edictum.from_bundle_dict(ruleset(observability={"file": str(path)}))
    run(guard)
    asyncio.run(guard.close())
    assert [json.loads(line)["action"] for line in path.read_text().splitlines()] == ["call_allowed", "call_executed"]


def test_observability_prints_only_where_asked_and_not_beside_an_own_sink(capsys: pytest.CaptureFixture[str]) -> None:
    for sink, lines in ((None, 2), (CollectingAuditSink(), 0)):
        run(Edictum.from_bundle_dict(ruleset(observability={"stdout": True}), audit_sink=sink))
        assert len(capsys.readouterr().out.splitlines()) == lines
    run(guard_of())
    assert capsys.readouterr().out == ""


# --- limits ----------------------------------------------------------------------------------------------------


def test_limits_first_explicit_number_replaces_the_default_and_later_ones_tighten() -> None:
    rules = [session_rule(f"s{number}", limits={"max_tool_calls": number}) for number in (1000, 600, 800)]
    guard = guard_of(*rules)
    assert guard.limits == OperationLimits(max_attempts=500, max_tool_calls=600)
    assert guard.describe()["limits"]["max_tool_calls"] == {"number": 600, "rule": "s600"}


def test_limits_of_the_guard_are_only_tightened_by_rules() -> None:
    own = OperationLimits(max_attempts=10, max_tool_calls=5, max_calls_per_tool={"read": 2})
    rule = session_rule(limits={"max_attempts": 20, "max_tool_calls": 3, "max_calls_per_tool": {"read": 4, "x": 1}})
    guard = guard_of(rule, limits=own)
    assert guard.limits == OperationLimits(10, 3, {"read": 2, "x": 1})
    guard.limits = OperationLimits(1, 1)
    assert guard.limits == OperationLimits(1, 1, {"read": 4, "x": 1})


# --- describe ---------------------------------------------------------------------------------------------------


class SecretSink:
    def __init__(self) -> None:
        self.url = "https://token-8731@example.test"

    async def emit(self, event: AuditEvent) -> None:
        pass


def test_describe_is_json_and_shows_what_is_in_force() -> None:
    def checked(call: Any) -> HookDecision:
        return HookDecision.allow()

    @precondition("deploy")
    def in_python(call: Any) -> Decision:
        return Decision.pass_()

    guard = guard_of(
        pre("a", mode="observe", tags=["t"]),
        ask("b", tool="write"),
        pre("off", enabled=False),
        rules=[in_python],
        hooks=[HookRegistration("before", "*", checked)],
        audit_sink=SecretSink(),
        approval_backend=AutoApprovalBackend(),
        principal=Principal(claims={"key": "token-8731"}),
        env={"KEY": "token-8731"},
    )
    text = json.dumps(guard.describe())
    assert "token-8731" not in text
    found = json.loads(text)
    assert found["policy_version"] == guard.policy_version
    assert (found["ruleset"], found["mode"], found["environment"]) == ("tests", "enforce", "production")
    assert [(rule["id"], rule["mode"], rule["action"], rule["tools"]) for rule in found["rules"]] == [
        ("a", "observe", "block", ["*"]),
        ("b", "enforce", "ask", ["write"]),
        ("in_python", "enforce", "block", ["deploy"]),
    ]
    assert found["disabled_rules"] == ["off"]
    assert found["tools"] == {"read": {"side_effect": "read", "idempotent": False}}
    assert found["hooks"] == [{"name": "checked", "phase": "before", "tool": "*"}]
    assert found["sinks"] == ["CollectingAuditSink", "SecretSink"]
    assert (found["backend"], found["approval_backend"]) == ("MemoryBackend", "AutoApprovalBackend")


def test_every_option_of_the_constructor_is_explained_to_users() -> None:
    arguments = (Edictum.__doc__ or "").partition("Args:")[2].partition("Raises:")[0]
    assert re.findall(r"^ +(\w+): ", arguments, re.MULTILINE) == list(signature(Edictum).parameters)
