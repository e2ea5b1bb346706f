"""
Workflow documents and the conditions of gates: what is accepted, and what a refusal says.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from edictum import EdictumConfigError
from edictum.workflow import (
    WorkflowDefinition,
    WorkflowGate,
    WorkflowMetadata,
    WorkflowStage,
    load_workflow,
    load_workflow_string,
)
from edictum.workflow.conditions import BadCondition, parse_condition
from workflows import DEVELOPMENT, EDIT, definition, document

TEXT = """\
apiVersion: edictum/v1
kind: Workflow
metadata: {name: release, version: "2"}
stages:
  - id: build
    tools: [Bash]
    exit:
      - condition: command_matches("^make\\\\b")
        message: Build first.
  - id: publish
    approval: {message: Publish it?}
"""


def test_definition_from_yaml_holds_what_was_written() -> None:
    read = load_workflow_string(TEXT)

    assert read.metadata.name == "release"
    assert read.metadata.version == "2"
    assert [stage.id for stage in read.stages] == ["build", "publish"]
    assert read.stages[0].exit == (WorkflowGate('command_matches("^make\\\\b")', "Build first."),)
    assert read.stage_by_id("publish").approval is not None
    assert read.stage_index("publish") == 1


def test_definition_from_file_and_from_json_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "workflow.json"
    path.write_text(json.dumps(document(*DEVELOPMENT)))

    assert load_workflow(path) == definition(*DEVELOPMENT)
    assert load_workflow(path).digest == definition(*DEVELOPMENT).digest


def test_definition_digest_changes_with_any_word() -> None:
    changed = definition({**EDIT, "tools": ["Write"]})

    assert changed.digest != definition(EDIT).digest


def test_definition_of_unknown_stage_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="its stages are read, edit"):
        definition(*DEVELOPMENT).stage_by_id("deploy")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"apiVersion": "edictum/v2"}, ["apiVersion", "edictum/v1"]),
        ({"kind": "Ruleset"}, ["kind", "Workflow"]),
        ({"metadata": {"name": "Not A Name"}}, ["metadata.name", "lower-case"]),
        ({"metadata": {}}, ["metadata", '"name"']),
        ({"stages": []}, ["stages", "at least one"]),
        ({"stages": "x"}, ["stages", "a list"]),
        ({"stages": [1]}, ["stages[0]", "a mapping"]),
        ({"stages": [{}]}, ["stages[0]", '"id"']),
        ({"stages": [EDIT, EDIT]}, ["stages[1].id", "twice"]),
        ({"stages": [{**EDIT, "toolz": []}]}, ["stages[0].toolz", "unknown key", "tools"]),
        ({"stages": [{**EDIT, "tools": ["a/b"]}]}, ["stages[0].tools[0]", "tool name"]),
        ({"stages": [{**EDIT, "terminal": "yes"}]}, ["stages[0].terminal", "true or false"]),
        ({"stages": [{**EDIT, "approval": {}}]}, ["stages[0].approval", "message"]),
        ({"stages": [{**EDIT, "checks": [{"message": "m"}]}]}, ["checks[0]", "exactly one"]),
        ({"stages": [{**EDIT, "checks": [{"command_matches": "x"}]}]}, ["checks[0]", "message"]),
        (
            {"stages": [{**EDIT, "checks": [{"message": "m", "command_matches": "a", "command_not_matches": "b"}]}]},
            ["checks[0]", "exactly one"],
        ),
        ({"stages": [{**EDIT, "checks": [{"message": "m", "command_matches": "("}]}]}, ["command_matches", "compile"]),
        ({"stages": [{**EDIT, "entry": [{"condition": "", "message": "m"}]}]}, ["entry[0].condition", "empty"]),
        ({"stages": [{**EDIT, "exit": [{"condition": 'stage_complete("edti")'}]}]}, ["exit[0].condition", "edti"]),
        ({"stages": [{**EDIT, "advance_on_check_failure": "sometimes"}]}, ["advance_on_check_failure", "never"]),
    ],
)
def test_definition_refuses_and_says_where(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(EdictumConfigError) as caught:
        load_workflow_string(json.dumps({**document(EDIT), **change}))

    assert str(caught.value).startswith("invalid workflow: ")
    for word in words:
        assert word in str(caught.value)
    assert all(problem.line is not None for problem in caught.value.errors)


def test_definition_problems_are_all_reported_at_once() -> None:
    stages = [{**EDIT, "exit": [{"condition": "nonsense"}]}, {**EDIT, "tools": [" "]}]

    with pytest.raises(EdictumConfigError) as caught:
        load_workflow_string(json.dumps(document(*stages)))

    assert [problem.path for problem in caught.value.errors] == [
        "stages[0].exit[0].condition",
        "stages[1].id",
        "stages[1].tools[0]",
    ]


def test_definition_of_two_documents_is_refused() -> None:
    with pytest.raises(EdictumConfigError, match=r"invalid workflow: .*document"):
        load_workflow_string(TEXT + "---\n" + TEXT)


def test_definition_made_in_python_is_checked_too() -> None:
    made = WorkflowDefinition(WorkflowMetadata("x"), (WorkflowStage("a", exit=(WorkflowGate("nonsense"),)),))

    with pytest.raises(EdictumConfigError, match=r"invalid workflow: stages\[0\].exit\[0\].condition"):
        made.validate()


# --- conditions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "args"),
    [
        ('stage_complete("a")', "stage_complete", ("a",)),
        (' file_read( "x y.md" ) ', "file_read", ("x y.md",)),
        ("approval()", "approval", ()),
        ('approval("a")', "approval", ("a",)),
        (r'command_matches("^git\\s+push")', "command_matches", (r"^git\s+push",)),
        (r'command_not_matches("say \"hi\"")', "command_not_matches", ('say "hi"',)),
        ('mcp_result_matches("t", "f","v")', "mcp_result_matches", ("t", "f", "v")),
    ],
)
def test_condition_is_read(text: str, kind: str, args: tuple[str, ...]) -> None:
    condition = parse_condition(text)

    assert (condition.kind, condition.args) == (kind, args)


def test_condition_exec_takes_exit_code_and_timeout() -> None:
    condition = parse_condition("exec(\"make 'all of it'\", exit_code=3, timeout=7)")

    assert condition.argv == ("make", "all of it")
    assert (condition.exit_code, condition.timeout) == (3, 7)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "true",
        "file_read",
        "file_read()",
        'file_read("a", "b")',
        "file_read('a')",
        'file_read("a") and approval()',
        'file_read("a"x)',
        'file_read("")',
        'file_read("a\tb")',
        r'file_read("\x41")',
        'aproval("x")',
        'approval("a", "b")',
        'command_matches("(a")',
        'mcp_result_matches("t", "f")',
        'mcp_result_matches("t" "f" "v")',
        'exec("")',
        'exec("a \'b")',
        'exec("a", exit_code=256)',
        'exec("a", timeout=0)',
        'exec("a", exit_code=1, exit_code=2)',
        'exec(exit_code=1, "a")',
        'file_read("a", exit_code=1)',
    ],
)
def test_condition_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadCondition):
        parse_condition(text)


def test_condition_with_a_misspelt_name_gets_a_hint() -> None:
    with pytest.raises(BadCondition, match='did you mean "file_read"'):
        parse_condition('file_raed("x")')
