"""
The state of a workflow: stored, shared, reset, refused; and the programs that gates run.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import edictum
import pytest
from edictum import EdictumConfigError, MemoryBackend, Session, SqliteBackend
from edictum.workflow import ExecError, ExecPolicy, WorkflowConflictError, WorkflowRuntime, mcp_result_of
from workflows import DEVELOPMENT, EDIT, READ_TASK, REVIEW, TEST, bash, call, definition, runtime, session

SOURCE = Path(edictum.__file__).parents[1]
KEY = "workflow:work:state"


def stored(at: Session) -> dict[str, Any]:
    text = asyncio.run(at.get_value(KEY))
    assert text is not None
    data = json.loads(text)
    assert isinstance(data, dict)
    return data


def store(at: Session, **changes: Any) -> None:
    state = {"session_id": at.session_id, "active_stage": "edit", "completed_stages": ["read"], **changes}
    asyncio.run(at.set_value(KEY, json.dumps(state)))


# --- the stored form -----------------------------------------------------------------------------


def test_state_survives_in_the_shape_that_all_implementations_share() -> None:
    workflow, at = runtime(*DEVELOPMENT), session()
    reading = call("Read", path="TASK.md")

    asyncio.run(workflow.evaluate(at, call("Edit", path="x.py")))
    blocked = stored(at)
    asyncio.run(workflow.evaluate(at, reading))
    asyncio.run(workflow.record_result(at, "read", reading))

    assert blocked["blocked_reason"] == "Read TASK.md first."
    assert blocked["last_blocked_action"]["tool"] == "Edit"
    assert blocked["last_blocked_action"]["summary"] == "x.py"
    assert blocked["last_blocked_action"]["timestamp"].endswith("Z")
    after = stored(at)
    assert after["evidence"] == {"reads": ["TASK.md"], "stage_calls": {}}
    assert after["pending_approval"] == {"required": False}
    assert after["blocked_reason"] is None
    assert after["last_recorded_evidence"]["summary"] == "TASK.md"


def test_state_of_another_implementation_is_taken() -> None:
    workflow, at = runtime(*DEVELOPMENT), session()
    store(at, approvals={"review": {"status": "approved", "approver": "ann"}}, pending_approval={"required": False})

    state = asyncio.run(workflow.state(at))

    assert state.active_stage == "edit"
    assert state.approvals == {"review": "approved"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        "{}",
        '{"active_stage": 1}',
        '{"active_stage": "deploy"}',
        '{"active_stage": "edit", "completed_stages": "read"}',
        '{"active_stage": "edit", "evidence": {"reads": [1]}}',
        '{"active_stage": "edit", "evidence": {"stage_calls": {"test": "pytest"}}}',
        '{"active_stage": "edit", "approvals": {"review": true}}',
        "[" * 100_000,
    ],
)
@pytest.mark.fault
def test_state_that_cannot_be_used_is_an_error_and_stays_until_a_reset(text: str) -> None:
    workflow, at = runtime(*DEVELOPMENT), session()
    asyncio.run(at.set_value(KEY, text))

    with pytest.raises(ValueError, match="session 's'"):
        asyncio.run(workflow.evaluate(at, call("Edit")))

    assert asyncio.run(at.get_value(KEY)) == text
    asyncio.run(workflow.reset(at, "edit"))
    assert asyncio.run(workflow.evaluate(at, call("Edit"))).action == "allow"


def test_changed_definition_goes_on_begins_again_or_blocks() -> None:
    backend = MemoryBackend()
    at = session(backend=backend)
    store(at, definition=definition(*DEVELOPMENT).digest)
    changed = definition(READ_TASK, {**EDIT, "description": "changed"}, TEST)
    calling = call("Edit")

    went_on = asyncio.run(WorkflowRuntime(changed).evaluate(at, calling))
    store(at, definition=definition(*DEVELOPMENT).digest)
    began_again = asyncio.run(WorkflowRuntime(changed, on_definition_change="restart").evaluate(at, calling))
    store(at, definition=definition(*DEVELOPMENT).digest)
    with pytest.raises(ValueError, match="has changed since"):
        asyncio.run(WorkflowRuntime(changed, on_definition_change="block").evaluate(at, calling))

    assert (went_on.action, went_on.stage_id) == ("allow", "edit")
    assert (began_again.action, began_again.stage_id) == ("block", "read")


def test_evidence_that_cannot_be_kept_is_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    workflow, at = runtime(TEST), session()

    with caplog.at_level(logging.WARNING):
        for command in ("pytest\n-q", "x" * 4_097):
            asyncio.run(workflow.record_result(at, "test", bash(command)))

    assert stored(at)["evidence"]["stage_calls"] == {}
    assert len(caplog.records) == 2


def test_summary_and_evidence_hide_secrets() -> None:
    token = "ghp_" + "a1B2" * 9
    workflow, at = runtime({**TEST, "checks": []}, EDIT), session()
    made = bash(f"curl -H 'Authorization: Bearer {token}' https://example.org && pytest")

    async def go() -> list[Any]:
        said = await workflow.evaluate(at, made)
        await workflow.record_result(at, "test", made)
        blocked = await workflow.evaluate(at, call("Write"))
        return [said.records, said.audit, blocked.records, blocked.audit]

    assert token not in json.dumps(asyncio.run(go()))


# --- operators -----------------------------------------------------------------------------------


def test_reset_forgets_what_came_later_and_keeps_what_was_read() -> None:
    workflow, at = runtime(*DEVELOPMENT), session()
    store(
        at,
        active_stage="push",
        completed_stages=["read", "edit", "test", "review"],
        approvals={"review": "approved"},
        evidence={"reads": ["TASK.md"], "stage_calls": {"test": ["pytest"], "push": ["git push"]}},
        blocked_reason="no",
    )

    (event,) = asyncio.run(workflow.reset(at, "test"))
    after = asyncio.run(workflow.state(at))

    assert event["action"] == "workflow_state_updated"
    assert event["workflow"]["active_stage"] == "test"
    assert after.completed_stages == ["read", "edit"]
    assert after.approvals == {}
    assert after.evidence.reads == ["TASK.md"]
    assert after.evidence.stage_calls == {}
    assert after.blocked_reason is None
    asyncio.run(workflow.reset(at, "read"))
    assert asyncio.run(workflow.state(at)).evidence.reads == []


def test_reset_drops_results_of_tools_of_later_stages_only() -> None:
    ci = {"id": "ci", "tools": ["mcp__ci__*"]}
    workflow, at = runtime({"id": "look", "tools": ["mcp__db__*"]}, ci), session()
    store(at, active_stage="ci", evidence={"mcp_results": {"mcp__ci__status": [{"a": 1}], "mcp__db__rows": [{"b": 2}]}})

    asyncio.run(workflow.reset(at, "ci"))

    assert asyncio.run(workflow.state(at)).evidence.mcp_results == {"mcp__db__rows": [{"b": 2}]}


def test_set_stage_keeps_everything_and_asks_at_once() -> None:
    workflow, at = runtime(*DEVELOPMENT), session()
    store(at, evidence={"reads": ["TASK.md"]}, approvals={"edit": "approved"})

    (event,) = asyncio.run(workflow.set_stage(at, "review"))
    after = asyncio.run(workflow.state(at))

    assert event["workflow"]["pending_approval"] == {
        "required": True,
        "stage_id": "review",
        "message": "Look at the diff.",
    }
    assert after.evidence.reads == ["TASK.md"]
    assert after.approvals == {"edit": "approved"}


@pytest.mark.parametrize("move", ["reset", "set_stage", "record_approval"])
def test_move_to_an_unknown_stage_is_refused(move: str) -> None:
    workflow, at = runtime(*DEVELOPMENT), session()

    with pytest.raises(ValueError, match="no stage 'deploy'"):
        asyncio.run(getattr(workflow, move)(at, "deploy"))

    assert asyncio.run(at.get_value(KEY)) is None


# --- several at once -----------------------------------------------------------------------------


class Racing(MemoryBackend):
    """
    A backend whose state another process changes just before each of the first writes.
    """

    def __init__(self, races: int) -> None:
        super().__init__()
        self.races = races

    async def compare_and_set(self, key: str, expected: str | None, value: str) -> bool:
        if self.races:
            self.races -= 1
            state = json.loads(expected) if expected else json.loads(value)
            state["completed_stages"] = [*state["completed_stages"], f"other{self.races}"]
            await self.set(key, json.dumps(state))
        return await super().compare_and_set(key, expected, value)


def test_state_changed_by_another_process_is_judged_again() -> None:
    at = session(backend=Racing(2))

    said = asyncio.run(runtime(*DEVELOPMENT).evaluate(at, call("Edit")))

    assert said.action == "block"
    assert stored(at)["blocked_reason"] == "Read TASK.md first."
    assert "other0" in stored(at)["completed_stages"]


def test_state_that_never_holds_still_is_an_error() -> None:
    with pytest.raises(WorkflowConflictError):
        asyncio.run(runtime(*DEVELOPMENT).evaluate(session(backend=Racing(100)), call("Edit")))


def test_backend_without_compare_and_set_is_enough_within_a_process() -> None:
    class Plain:
        def __init__(self) -> None:
            self._inner = MemoryBackend()

        async def get(self, key: str) -> str | None:
            await asyncio.sleep(0)
            return await self._inner.get(key)

        async def set(self, key: str, value: str) -> None:
            await asyncio.sleep(0)
            await self._inner.set(key, value)

        async def delete(self, key: str) -> None:
            await self._inner.delete(key)

        async def increment(self, key: str, amount: float = 1) -> float:
            return await self._inner.increment(key, amount)

    workflow, at = runtime({"id": "work"}), session(backend=Plain())

    async def go() -> None:
        await asyncio.gather(*(workflow.record_result(at, "work", bash(f"echo {number}")) for number in range(50)))

    asyncio.run(go())

    assert len(stored(at)["evidence"]["stage_calls"]["work"]) == 50


_WRITER = """
import asyncio, sys
from edictum import Session, SqliteBackend, create_envelope
from edictum.workflow import WorkflowRuntime, load_workflow
workflow = WorkflowRuntime(load_workflow(sys.argv[1]))
session = Session("s", SqliteBackend(sys.argv[2]))
async def go():
    for number in range(20):
        call = create_envelope("Bash", {"command": f"echo {sys.argv[3]} {number}"})
        while True:
            try:
                await workflow.record_result(session, "work", call)
                break
            except RuntimeError:
                await asyncio.sleep(0.001)
asyncio.run(go())
"""


@pytest.mark.slow
def test_processes_that_share_a_session_lose_no_evidence(tmp_path: Path) -> None:
    document = {
        "apiVersion": "edictum/v1",
        "kind": "Workflow",
        "metadata": {"name": "work"},
        "stages": [{"id": "work"}],
    }
    (tmp_path / "workflow.json").write_text(json.dumps(document))
    path = str(tmp_path / "state.db")
    environ = {**os.environ, "PYTHONPATH": str(SOURCE)}

    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path / "workflow.json"), path, name], env=environ)
        for name in ("a", "b", "c")
    ]

    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    backend = SqliteBackend(path)
    calls = stored(Session("s", backend))["evidence"]["stage_calls"]["work"]
    backend.close()
    assert sorted(calls) == sorted(f"echo {name} {number}" for name in "abc" for number in range(20))


# --- programs ------------------------------------------------------------------------------------


def gated_by(program: str, **options: Any) -> WorkflowRuntime:
    stage = {"id": "run", "tools": ["Bash"], "exit": [{"condition": program, "message": "not yet"}]}
    return runtime(stage, EDIT, exec_evaluator_enabled=True, **options)


def python(code: str) -> str:
    quoted = code.replace("\\", "\\\\").replace('"', '\\"')
    return f"{sys.executable} -c '{quoted}'"


def test_programs_run_only_where_that_is_allowed() -> None:
    stage = {"id": "run", "exit": [{"condition": 'exec("true")'}]}

    with pytest.raises(ValueError, match="exec_evaluator_enabled"):
        runtime(stage)
    with pytest.raises(ValueError, match="may not run 'true'"):
        runtime(stage, exec_evaluator_enabled=True, exec_policy=ExecPolicy(executables=["make"]))


@pytest.mark.parametrize(("code", "wanted", "opens"), [(0, 0, True), (1, 0, False), (3, 3, True), (0, 3, False)])
def test_program_opens_a_gate_by_its_exit_code(code: int, wanted: int, opens: bool) -> None:
    workflow = gated_by(f'exec("{python(f"print(12345); raise SystemExit({code})")}", exit_code={wanted})')

    said = asyncio.run(workflow.evaluate(session(), call("Edit")))

    assert (said.action == "allow") is opens
    evidence = next(record for record in said.records if record["metadata"]["gate_kind"] == "exit")
    assert evidence["metadata"]["gate_evidence"].startswith(f"exit_code={code} output=12345")


@pytest.mark.security
def test_program_sees_no_variables_but_those_allowed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECRET_KEY", "hidden")
    monkeypatch.setenv("BUILD", "seen")
    show = python("import os; print(os.environ.get(chr(83)+'ECRET_KEY'), os.environ.get('BUILD'), os.getcwd())")
    show = show.replace("'ECRET_KEY'", '\\"ECRET_KEY\\"').replace("'BUILD'", '\\"BUILD\\"')
    workflow = gated_by(f'exec("{show}")', exec_policy=ExecPolicy(env=["PATH", "BUILD"], cwd=str(tmp_path)))

    said = asyncio.run(workflow.evaluate(session(), call("Edit")))

    assert f"None seen {tmp_path}" in said.records[1]["metadata"]["gate_evidence"]


@pytest.mark.fault
def test_program_that_is_missing_or_too_slow_is_an_error() -> None:
    with pytest.raises(ExecError, match="could not be started"):
        asyncio.run(gated_by('exec("no-such-program-anywhere")').evaluate(session(), call("Edit")))
    began = time.monotonic()
    with pytest.raises(ExecError, match="more than 1 seconds"):
        asyncio.run(gated_by('exec("sleep 60", timeout=1)').evaluate(session(), call("Edit")))
    assert time.monotonic() - began < 30


@pytest.mark.fault
@pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX")
def test_program_is_ended_with_what_it_started(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = tmp_path / "slow.sh"
    script.write_text(f"(sleep 3; echo late > {mark}) &\nsleep 60\n")

    with pytest.raises(ExecError):
        asyncio.run(gated_by(f'exec("sh {script}", timeout=1)').evaluate(session(), call("Edit")))

    time.sleep(3)
    assert not mark.exists()


def test_program_whose_child_keeps_the_output_open_does_not_hold_up_the_gate(tmp_path: Path) -> None:
    script = tmp_path / "daemon.sh"
    script.write_text("sleep 20 &\necho done\n")
    began = time.monotonic()

    said = asyncio.run(gated_by(f'exec("sh {script}")').evaluate(session(), call("Edit")))

    assert said.action == "allow"
    assert time.monotonic() - began < 15


# --- options -------------------------------------------------------------------------------------


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="on_definition_change"):
        runtime(EDIT, on_definition_change="ignore")
    with pytest.raises(ValueError, match="after_completion"):
        runtime(EDIT, after_completion="warn")
    with pytest.raises(EdictumConfigError, match="invalid workflow"):
        runtime({**REVIEW, "approval": {}})


@pytest.mark.parametrize(
    ("tool", "result", "kept"),
    [
        ("mcp__ci__status", {"state": "green"}, {"state": "green"}),
        ("mcp__ci__status", '{"state": "green"}', {"state": "green"}),
        ("mcp__ci__status", "green", None),
        ("mcp__ci__status", '["green"]', None),
        ("mcp__ci__status", '{"x": "' + "y" * 70_000 + '"}', None),
        ("mcp__ci__status", "[" * 60_000, None),
        ("Bash", {"state": "green"}, None),
    ],
)
def test_result_of_an_mcp_tool_is_a_map_or_its_json(tool: str, result: object, kept: object) -> None:
    assert mcp_result_of(call(tool), result) == kept
