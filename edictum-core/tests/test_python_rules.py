"""
Rules written in Python, and the one that ships with edictum.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from edictum import (
    Decision,
    Edictum,
    EdictumConfigError,
    EdictumDenied,
    EdictumToolError,
    Session,
    ToolCall,
    deny_sensitive_reads,
    postcondition,
    precondition,
    session_contract,
)
from guards import READ, Tool, actions, events_of, guard_of, pre, run, trace


def short_path(call: ToolCall) -> Decision:
    path = call.args.get("path", "")
    return Decision.pass_() if len(path) < 5 else Decision.fail(f"{path} is too long", length=len(path))


async def short_path_async(call: ToolCall) -> Decision:
    await asyncio.sleep(0)
    return short_path(call)


@pytest.mark.parametrize("function", [short_path, short_path_async])
def test_python_pre_rule_decides(function: Any) -> None:
    guard = Edictum(rules=[precondition("re?d")(function)])
    assert run(guard, args={"path": "a"}) == "done"
    assert run(guard, args={"path": "a long one"}, name="write") == "done"
    with pytest.raises(EdictumDenied, match="a long one is too long") as raised:
        run(guard, args={"path": "a long one"})
    assert (raised.value.decision_source, raised.value.decision_name) == ("precondition", function.__name__)
    (record,) = events_of(guard)[-1].contracts_evaluated
    assert record["metadata"]["length"] == 10


def test_python_rule_sees_a_call_that_it_cannot_change() -> None:
    tool = Tool()

    @precondition("*")
    def meddle(call: ToolCall) -> Decision:
        call.args["path"] = "b"  # type: ignore[index]
        return Decision.pass_()

    with pytest.raises(EdictumDenied) as raised:
        run(Edictum(rules=[meddle]), tool, {"path": "a"})
    assert raised.value.decision_name == "meddle"
    assert tool.calls == []


def raises(call: ToolCall) -> Decision:
    raise KeyError("the password is swordfish")


async def raises_async(call: ToolCall) -> Decision:
    raise KeyError("the password is swordfish")


@pytest.mark.fault
@pytest.mark.parametrize(
    "function",
    [
        raises,
        raises_async,
        lambda call: True,
        lambda call: None,
        lambda call: (True, None),
        lambda: Decision.pass_(),
        lambda call: Decision(1),  # type: ignore[arg-type]
        lambda call: Decision("yes"),  # type: ignore[arg-type]
    ],
)
def test_python_rule_that_gives_no_answer_blocks(function: Any) -> None:
    function.__name__ = "strange"
    guard = Edictum(rules=[precondition("*")(function)])
    tool = Tool()
    with pytest.raises(EdictumDenied) as raised:
        run(guard, tool)
    assert tool.calls == []
    assert "swordfish" not in raised.value.reason
    assert trace(guard) == [("call_denied", "enforce", "precondition", "strange")]


def test_python_rule_that_raises_is_a_policy_error_with_its_cause_in_the_log() -> None:
    guard = Edictum(rules=[precondition("*")(raises)])
    with pytest.raises(EdictumDenied):
        run(guard)
    (event,) = events_of(guard)
    assert event.policy_error is True
    assert event.contracts_evaluated[0]["metadata"]["error_detail"].startswith("KeyError")


@pytest.mark.parametrize(
    ("when", "blocked"),
    [(lambda call: call.args["path"] == "a", True), (lambda call: False, False), (lambda call: call.args["x"], True)],
    ids=["true", "false", "raises"],
)
def test_python_rule_when_says_whether_it_is_asked(when: Any, blocked: bool) -> None:
    @precondition("*", when=when)
    def never(call: ToolCall) -> Decision:
        return Decision.fail("never")

    guard = Edictum(rules=[never])
    if blocked:
        with pytest.raises(EdictumDenied):
            run(guard, args={"path": "a"})
    else:
        assert run(guard, args={"path": "a"}) == "done"


def test_python_rule_message_is_cut_at_500_characters() -> None:
    with pytest.raises(EdictumDenied) as raised:
        run(Edictum(rules=[precondition("*")(lambda call: Decision.fail("x" * 600))]))
    assert len(raised.value.reason) == 500


def test_python_rules_follow_those_of_the_ruleset() -> None:
    @precondition("*")
    def in_python(call: ToolCall) -> Decision:
        return Decision.fail("python")

    with pytest.raises(EdictumDenied, match="no-read"):
        run(guard_of(pre(), rules=[in_python]))
    with pytest.raises(EdictumDenied, match="python"):
        run(guard_of(pre(tool="other"), rules=[in_python]))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_python_post_rule_judges_the_result(asynchronous: bool) -> None:
    seen: list[tuple[str, Any]] = []

    def judge(call: ToolCall, result: Any) -> Decision:
        seen.append((call.tool_name, result))
        return Decision.fail("hm", field="body") if result == "bad" else Decision.pass_()

    async def judge_async(call: ToolCall, result: Any) -> Decision:
        return judge(call, result)

    guard = Edictum(rules=[postcondition("read")(judge_async if asynchronous else judge)], tools=READ)
    assert asyncio.run(guard.run_detailed("read", {}, Tool("good"))).violations in ([], ())
    outcome = asyncio.run(guard.run_detailed("read", {}, Tool("bad")))
    assert outcome.result == "bad"
    assert [(found.message, found.field) for found in outcome.violations] == [("hm", "body")]
    assert seen == [("read", "good"), ("read", "bad")]


@pytest.mark.parametrize(
    ("effect", "patterns", "shown"),
    [
        ("warn", None, "pw hunter2"),
        ("redact", ["hunter[0-9]"], "pw [REDACTED]"),
        ("block", None, "[OUTPUT SUPPRESSED] hm"),
    ],
)
def test_python_post_rule_effect_is_applied(effect: str, patterns: Any, shown: str) -> None:
    @postcondition("*")
    def judge(call: ToolCall, result: Any) -> Decision:
        return Decision.fail("hm")

    judge._edictum_effect = effect  # type: ignore[attr-defined]
    judge._edictum_redact_patterns = patterns  # type: ignore[attr-defined]
    assert run(Edictum(rules=[judge], tools=READ), Tool("pw hunter2")) == shown


@pytest.mark.fault
@pytest.mark.parametrize("effect", ["redact", "block"])
def test_python_post_rule_that_raises_withholds_the_output(effect: str) -> None:
    @postcondition("*")
    def judge(call: ToolCall, result: Any) -> Decision:
        raise LookupError("judge")

    judge._edictum_effect = effect  # type: ignore[attr-defined]
    outcome = asyncio.run(Edictum(rules=[judge], tools=READ).run_detailed("read", {}, Tool("pw hunter2")))
    assert outcome.output_suppressed is True
    assert "hunter2" not in outcome.result


@pytest.mark.parametrize("asynchronous", [False, True])
def test_session_contract_judges_the_session(asynchronous: bool) -> None:
    @session_contract
    async def few_failures(session: Session) -> Decision:
        failures = await session.consecutive_failures()
        return Decision.pass_() if failures < 1 else Decision.fail("stop after a failure")

    @session_contract
    def own_session(session: Session) -> Decision:
        return Decision.pass_() if session.session_id == "s1" else Decision.fail("only s1")

    guard = Edictum(rules=[few_failures if asynchronous else own_session])
    if asynchronous:
        with pytest.raises(EdictumToolError, match="error: x"):
            run(guard, Tool("error: x"), session_id="s1")
        blocked_in = "s1"
    else:
        run(guard, session_id="s1")
        blocked_in = "s2"
    with pytest.raises(EdictumDenied) as raised:
        run(guard, session_id=blocked_in)
    assert raised.value.decision_source == "session_contract"
    assert actions(guard)[-1] == "call_denied"


@pytest.mark.fault
def test_session_contract_that_raises_blocks() -> None:
    @session_contract
    def broken(session: Session) -> Decision:
        raise LookupError("x")

    with pytest.raises(EdictumDenied) as raised:
        run(Edictum(rules=[broken]))
    assert raised.value.decision_name == "broken"


@pytest.mark.parametrize(
    ("attribute", "value", "word"),
    [
        ("_edictum_type", "unknown", "decorate"),
        ("_edictum_effect", "redact", "effect"),
        ("_edictum_mode", "watch", "mode"),
    ],
)
def test_python_rule_with_wrong_marks_is_refused(attribute: str, value: str, word: str) -> None:
    @precondition("*")
    def marked(call: ToolCall) -> Decision:
        return Decision.pass_()

    setattr(marked, attribute, value)
    with pytest.raises(EdictumConfigError, match=word) as raised:
        Edictum(rules=[marked])
    assert "'marked'" in str(raised.value)


def test_python_rule_without_a_decorator_is_refused() -> None:
    def unmarked(call: ToolCall) -> Decision:
        return Decision.pass_()

    with pytest.raises(EdictumConfigError, match="'unmarked' is not a rule"):
        Edictum(rules=[unmarked])


# --- deny_sensitive_reads ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "args", "blocked"),
    [
        ("Read", {"file_path": "/home/me/.ssh/id_ed25519"}, True),
        ("Read", {"path": "/srv/app/.env"}, True),
        ("Write", {"filePath": "/home/ann/.aws/credentials"}, True),
        ("Read", {"file_path": "/home/me/notes.txt"}, False),
        ("Bash", {"command": "cat /run/../var/run/secrets/token"}, True),
        ("Bash", {"command": " printenv "}, True),
        ("Bash", {"command": "env | sort"}, True),
        ("Bash", {"command": "environment-check"}, False),
        ("Bash", {"command": "ls"}, False),
    ],
)
def test_deny_sensitive_reads_blocks_credentials(tool: str, args: dict[str, Any], blocked: bool) -> None:
    guard = Edictum(rules=[deny_sensitive_reads()])
    if blocked:
        with pytest.raises(EdictumDenied) as raised:
            run(guard, args=args, name=tool)
        assert raised.value.decision_name == "deny_sensitive_reads"
    else:
        assert run(guard, args=args, name=tool) == "done"


def test_deny_sensitive_reads_takes_other_paths_and_commands() -> None:
    guard = Edictum(rules=[deny_sensitive_reads(["/vault/"], ["history"])])
    assert run(guard, args={"path": "/srv/.env"}, name="Read") == "done"
    for tool, args in (("Read", {"path": "/vault/x"}), ("Bash", {"command": "history 5"})):
        with pytest.raises(EdictumDenied):
            run(guard, args=args, name=tool)
