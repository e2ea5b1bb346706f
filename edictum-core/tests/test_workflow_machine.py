"""
What a call means in a workflow: the matrix of checks, gates and boundaries, and the invariants of every walk.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from edictum import Session, ToolCall
from edictum.workflow import WorkflowEvaluation, WorkflowRuntime
from hypothesis import given
from hypothesis import strategies as st
from workflows import DEVELOPMENT, EDIT, PUSH, READ_TASK, TEST, bash, call, runtime, session


def play(workflow: WorkflowRuntime, at: Session, *calls: ToolCall) -> list[WorkflowEvaluation]:
    """
    Make calls whose tools all succeed.
    """

    async def go() -> list[WorkflowEvaluation]:
        answers = []
        for made in calls:
            said = await workflow.evaluate(at, made)
            answers.append(said)
            if said.action == "allow":
                await workflow.record_result(at, said.stage_id, made)
        return answers

    return asyncio.run(go())


def state(workflow: WorkflowRuntime, at: Session) -> dict[str, Any]:
    return asyncio.run(workflow.state(at)).to_dict()


def test_a_whole_workflow_from_its_first_stage_to_its_last() -> None:
    workflow, at = runtime(*DEVELOPMENT), session()

    said = play(
        workflow,
        at,
        call("Edit", path="a.py"),
        call("Read", path="TASK.md"),
        call("Edit", path="a.py"),
        bash("pytest"),
        bash("git push origin x"),
    )

    assert [answer.action for answer in said] == ["block", "allow", "allow", "allow", "pending_approval"]
    assert said[0].reason == "Read TASK.md first."
    assert said[4].reason == "Look at the diff."
    asyncio.run(workflow.record_approval(at, "review"))
    (pushed,) = play(workflow, at, bash("git push origin x"))
    assert pushed.action == "allow"
    assert state(workflow, at)["completed_stages"] == ["read", "edit", "test", "review"]
    assert state(workflow, at)["active_stage"] == "push"  # a last stage without gates stays


def test_failing_check_and_closed_exit_are_both_named() -> None:
    workflow, at = runtime({**TEST, "checks": [*TEST["checks"], PUSH["checks"][1]]}, EDIT), session()

    (matches,) = play(workflow, at, bash("git push origin x"))
    (avoids,) = play(runtime({**TEST, "checks": [PUSH["checks"][1]]}, EDIT), session(), bash("cat main"))

    assert matches.reason == "Run pytest. Also: Only pytest."
    assert avoids.reason == "Not to main. Also: Run pytest."


def test_check_of_an_open_stage_yields_to_a_stage_that_claims_the_command() -> None:
    open_stage = {"id": "open", "checks": [{"command_not_matches": "^git", "message": "Not here."}]}

    (claimed,) = play(runtime(open_stage, PUSH), session(), bash("git push origin x"))
    (not_claimed,) = play(runtime(open_stage, {**PUSH, "checks": PUSH["checks"][1:]}), session(), bash("git push x"))
    (wrong,) = play(runtime(open_stage, PUSH), session(), bash("git push origin main"))

    assert (claimed.action, claimed.stage_id) == ("allow", "push")
    assert (not_claimed.action, not_claimed.reason) == ("block", "Not here.")
    assert (wrong.action, wrong.reason) == ("block", "Not here.")


def test_check_failure_never_advances_where_the_stage_says_so() -> None:
    open_stage = {
        "id": "open",
        "checks": [{"command_not_matches": "^git", "message": "Not here."}],
        "advance_on_check_failure": "never",
    }

    (said,) = play(runtime(open_stage, PUSH), session(), bash("git push origin x"))

    assert (said.action, said.stage_id) == ("block", "open")


def test_open_stages_are_left_together_or_not_at_all() -> None:
    stages = [{"id": name, "tools": [name.capitalize()]} for name in ("one", "two", "three")]
    workflow, at = runtime(*stages), session()

    through, not_anywhere = play(workflow, at, call("Three"), call("Four"))

    assert (through.action, through.stage_id) == ("allow", "three")
    assert [event["workflow"]["stage_id"] for event in through.events] == ["one", "two"]
    assert not_anywhere.action == "block"
    workflow, at = runtime(*stages), session()
    (lost,) = play(workflow, at, call("Four"))
    assert (lost.action, lost.stage_id, lost.events) == ("block", "one", [])
    assert state(workflow, at)["active_stage"] == "one"


def test_hundreds_of_open_stages_take_one_step_each() -> None:
    stages = [{"id": f"s{number}", "tools": [f"T{number}"]} for number in range(500)]

    (said,) = play(runtime(*stages), session(), call("T499"))

    assert (said.action, len(said.events)) == ("allow", 499)


def test_stage_with_a_glob_is_not_left_by_itself() -> None:
    (said,) = play(runtime({"id": "any", "tools": ["mcp__*"]}, EDIT), session(), call("Edit"))

    assert (said.action, said.reason) == ("block", "Tool is not allowed in this workflow stage")


def test_terminal_stage_blocks_once_its_exit_is_met_and_keeps_the_session_there() -> None:
    done = {"id": "done", "terminal": True}
    workflow, at = runtime(EDIT, done), session()

    edited, after = play(workflow, at, call("Edit"), call("Write"))

    assert edited.action == "allow"
    assert after.action == "block"
    assert "workflow complete" in (after.reason or "")
    assert state(workflow, at)["active_stage"] == "done"
    closing = {**READ_TASK, "id": "close", "terminal": True}
    workflow, at = runtime(closing), session()
    first, second = play(workflow, at, call("Read", path="TASK.md"), call("Read", path="TASK.md"))
    assert (first.action, second.action) == ("allow", "block")


def test_last_stage_with_a_gate_completes_the_workflow_when_it_opens() -> None:
    workflow, at = runtime(READ_TASK), session()
    reading = call("Read", path="TASK.md")

    async def go() -> list[dict[str, Any]]:
        said = await workflow.evaluate(at, reading)
        return await workflow.record_result(at, said.stage_id, reading)

    (event,) = asyncio.run(go())

    assert event["action"] == "workflow_completed"
    assert state(workflow, at)["active_stage"] == ""
    assert play(workflow, at, call("Anything"))[0].action == "allow"


def test_completed_workflow_blocks_where_that_is_asked_for() -> None:
    workflow, at = runtime(READ_TASK, after_completion="block"), session()

    _, after = play(workflow, at, call("Read", path="TASK.md"), call("Read", path="TASK.md"))

    assert after.action == "block"


@pytest.mark.parametrize("path", ["TASK.md", "./TASK.md", "docs/../TASK.md", ".//TASK.md", "/srv/TASK.md"])
def test_file_is_read_under_any_name_that_means_it(path: str) -> None:
    said = play(runtime(READ_TASK, EDIT, workspace="/srv"), session(), call("Read", path=path), call("Edit"))

    assert said[1].action == "allow"


@pytest.mark.parametrize("path", ["task.md", "x/TASK.md", "../TASK.md", "/TASK.md", "TASK.md.txt", ""])
def test_another_file_does_not_count(path: str) -> None:
    said = play(runtime(READ_TASK, EDIT, workspace="/srv"), session(), call("Read", path=path), call("Edit"))

    assert said[1].action == "block"


@pytest.mark.parametrize(
    ("tool", "opens"), [("Write", False), ("Grep", False), ("mcp__fs__read", True), ("Read", True)]
)
def test_only_tools_that_read_count_as_reading(tool: str, opens: bool) -> None:
    stage = {**READ_TASK, "tools": [tool], "reads_from": ["mcp__fs__*"]}

    said = play(runtime(stage, EDIT), session(), call(tool, path="TASK.md"), call("Edit"))

    assert (said[1].action == "allow") is opens


def test_checks_see_every_command_of_a_line() -> None:
    workflow, at = runtime(PUSH), session()

    said = play(workflow, at, bash("git push origin x; git push origin main"), bash("git push origin x && curl evil"))

    assert [answer.reason for answer in said] == ["Not to main.", "Only git push."]


@pytest.mark.security
@pytest.mark.parametrize(
    "args",
    [
        {"command": "git push origin main"},
        {"cmd": "cd x && git push origin main"},
        {"script": "git push origin main"},
        {"command": ["git", "push", "origin", "main"]},
        {"command": {"run": "git push"}},
        {"command": "ls", "cmd": "git push origin main"},
        {"command": 7},
    ],
)
def test_checks_see_commands_of_tools_that_are_not_declared_to_be_shells(args: dict[str, Any]) -> None:
    stage = {"id": "work", "checks": [{"command_not_matches": "^git push", "message": "No pushing."}]}

    (said,) = play(runtime(stage), session(), call("run_terminal", **args))

    assert (said.action, said.reason) == ("block", "No pushing.")
    assert play(runtime(stage), session(), call("run_terminal", command="ls"))[0].action == "allow"


def test_only_declared_shells_leave_evidence_of_commands() -> None:
    workflow, at = runtime({**TEST, "tools": ["note"], "checks": []}, EDIT), session()

    said = play(workflow, at, call("note", command="pytest"), call("Edit"))

    assert [answer.action for answer in said] == ["allow", "block"]


def test_recorded_line_with_a_second_command_does_not_open_a_gate() -> None:
    stage = {**TEST, "checks": []}

    said = play(runtime(stage, EDIT), session(), bash("true || pytest"), call("Edit"), bash("pytest"), call("Edit"))

    assert [answer.action for answer in said] == ["allow", "block", "allow", "allow"]


def test_negative_gate_fails_closed_when_commands_were_dropped() -> None:
    gate = {"condition": 'command_not_matches("main")', "message": "Not to main."}
    workflow, at = runtime({"id": "work", "tools": ["Bash"], "exit": [gate]}, EDIT), session()

    async def go() -> WorkflowEvaluation:
        for number in range(1_001):
            await workflow.record_result(at, "work", bash(f"echo {number}"))
        return await workflow.evaluate(at, call("Edit"))

    said = asyncio.run(go())

    assert (said.action, said.reason) == ("block", "Not to main.")
    assert said.records[-1]["metadata"]["gate_evidence"] == "more commands than can be recorded"


def test_gate_on_an_mcp_result_wants_the_value() -> None:
    gate = {"condition": 'mcp_result_matches("mcp__ci__status", "state", "green")', "message": "Wait for CI."}
    workflow, at = runtime({"id": "ci", "tools": ["mcp__ci__status"], "exit": [gate]}, EDIT), session()
    asking = call("mcp__ci__status")

    async def go(result: object) -> str:
        await workflow.record_result(at, "ci", asking, mcp_result=result)
        return (await workflow.evaluate(at, call("Edit"))).action

    assert asyncio.run(go({"state": "red"})) == "block"
    assert asyncio.run(go({"other": "green"})) == "block"
    assert asyncio.run(go("green")) == "block"
    assert asyncio.run(go({"state": "green", "more": None})) == "allow"


def test_entry_gate_of_the_next_stage_holds_the_session_back() -> None:
    entry = {"condition": 'file_read("CHECKLIST.md")'}
    workflow, at = runtime({"id": "a", "tools": ["Read"]}, {**EDIT, "entry": [entry]}), session()

    said = play(workflow, at, call("Edit"), call("Read", path="CHECKLIST.md"), call("Edit"))

    assert [answer.action for answer in said] == ["block", "allow", "allow"]
    assert "CHECKLIST.md" in (said[0].reason or "")


# --- every walk ----------------------------------------------------------------------------------

_TOOLS = ["Read", "Edit", "Bash", "mcp__ci__status"]
_COMMANDS = ["pytest", "git push origin x", "git push origin main", "ls; pytest"]
_PATTERNS = ["^pytest$", "^git push", "main", "^ls"]


@st.composite
def _stages(draw: st.DrawFn) -> list[dict[str, Any]]:
    names = [f"s{number}" for number in range(draw(st.integers(1, 5)))]
    gates = st.lists(
        st.sampled_from(
            [
                {"condition": 'file_read("a")', "message": "read a"},
                {"condition": 'command_matches("^pytest$")', "message": "run pytest"},
                {"condition": 'command_not_matches("main")', "message": "not main"},
                {"condition": "approval()", "message": "approve"},
                *({"condition": f'stage_complete("{name}")'} for name in names),
            ]
        ),
        max_size=2,
    )
    checks = st.lists(
        st.builds(
            lambda key, pattern: {key: pattern, "message": f"{key} {pattern}"},
            st.sampled_from(["command_matches", "command_not_matches"]),
            st.sampled_from(_PATTERNS),
        ),
        max_size=2,
    )
    stages = []
    for name in names:
        stage: dict[str, Any] = {"id": name, "exit": draw(gates), "entry": draw(gates), "checks": draw(checks)}
        stage["tools"] = draw(st.lists(st.sampled_from([*_TOOLS, "mcp__*"]), max_size=2))
        stage["terminal"] = draw(st.booleans()) and draw(st.booleans())
        if draw(st.booleans()):
            stage["approval"] = {"message": "ok?"}
        stages.append(stage)
    return stages


_CALLS = st.one_of(
    st.sampled_from(_COMMANDS).map(bash),
    st.sampled_from(["a", "b"]).map(lambda path: call("Read", path=path)),
    st.sampled_from(_TOOLS[1:2] + _TOOLS[3:]).map(call),
)


@given(_stages(), st.lists(st.tuples(_CALLS, st.booleans(), st.booleans()), max_size=8))
@pytest.mark.property
def test_every_walk_keeps_to_the_order_and_says_what_it_did(
    stages: list[dict[str, Any]], steps: list[tuple[ToolCall, bool, bool]]
) -> None:
    workflow, at = runtime(*stages), session()
    order = [stage["id"] for stage in stages] + [""]

    async def go() -> None:
        for made, succeeds, approves in steps:
            before = await workflow.state(at)
            said = await workflow.evaluate(at, made)
            after = await workflow.state(at)
            assert order.index(after.active_stage) >= order.index(before.active_stage)
            assert len(said.events) == order.index(after.active_stage) - order.index(before.active_stage)
            assert after.completed_stages == order[: order.index(after.active_stage)]
            assert (said.action == "allow") == (after.blocked_reason is None and not after.pending_approval["required"])
            if said.action == "block":
                assert said.reason
                assert after.blocked_reason == said.reason
            if said.action == "pending_approval":
                assert after.pending_approval["stage_id"] == said.stage_id == after.active_stage
                if approves:
                    await workflow.record_approval(at, said.stage_id)
            # The same call again comes to the same end: nothing but evidence and approvals moves a session.
            if said.action == "block":
                again = await workflow.evaluate(at, made)
                assert (again.action, again.reason, again.events) == (said.action, said.reason, [])
            if said.action == "allow" and succeeds:
                await workflow.record_result(at, said.stage_id, made)

    asyncio.run(go())
