"""
The command test: cases with expectations, and plain lists of calls.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from edictum.cli import main

RULESET: dict[str, Any] = {
    "apiVersion": "edictum/v1",
    "kind": "Ruleset",
    "metadata": {"name": "office"},
    "defaults": {"mode": "enforce"},
    "tools": {"read_file": {"side_effect": "read"}},
    "rules": [
        {
            "id": "no-secrets",
            "type": "pre",
            "tool": "read_file",
            "when": {"args.path": {"contains": ".env"}},
            "then": {"action": "block", "message": "{args.path} holds secrets.", "tags": ["secrets", "files"]},
        },
        {
            "id": "ask-push",
            "type": "pre",
            "tool": "push",
            "when": {"environment": {"equals": "production"}},
            "then": {"action": "ask", "message": "Push?"},
        },
        {
            "id": "ask-role",
            "type": "pre",
            "tool": "push",
            "when": {"not": {"principal.role": {"equals": "senior"}}},
            "then": {"action": "ask", "message": "Let a junior push?"},
        },
        {
            "id": "planned",
            "type": "pre",
            "mode": "observe",
            "tool": "send",
            "when": {"args.to": {"contains": "@"}},
            "then": {"action": "block", "message": "No mail."},
        },
        {
            "id": "mask-keys",
            "type": "post",
            "tool": "*",
            "when": {"output.text": {"matches": "key-[0-9]+"}},
            "then": {"action": "redact", "message": "A key was masked."},
        },
        {
            "id": "no-empty",
            "type": "post",
            "tool": "read_file",
            "when": {"result.size": {"equals": 0}},
            "then": {"action": "warn", "message": "The file is empty."},
        },
        {
            "id": "few-calls",
            "type": "session",
            "limits": {"max_tool_calls": 10, "max_attempts": 20, "max_calls_per_tool": {"re*": 3, "push": 2}},
            "then": {"action": "block", "message": "Enough.", "tags": ["budget"]},
        },
    ],
}


@pytest.fixture
def ruleset(tmp_path: Path) -> str:
    return write(tmp_path / "rules.json", RULESET)


def write(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def case(**changes: Any) -> dict[str, Any]:
    return {"id": "one", "tool": "read_file", "args": {"path": "a.txt"}, "expect": "allow"} | changes


def run_one(
    ruleset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], *options: str, **changes: Any
) -> dict[str, Any]:
    """
    Run one case and return its result; the exit code must agree with it.
    """
    path = write(tmp_path / "cases.json", {"cases": [case(**changes)]})
    code = main(["test", ruleset, "--cases", path, "--json", *options])
    report = json.loads(capsys.readouterr().out)
    (result,) = report["results"]
    assert (code, report["passed"], report["failed"]) == ((0, 1, 0) if result["passed"] else (1, 0, 1))
    found: dict[str, Any] = result
    return found


SECRET = {"args": {"path": ".env"}, "expect": "block"}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        SECRET,
        SECRET | {"match_contract": "no-secrets", "message_contains": "holds", "tags": ["files"]},
        {"tool": "push", "expect": "ask"},
        {"tool": "push", "expect": "ask", "match_contract": "ask-role"},
        {"tool": "push", "environment": "staging", "principal": {"role": "senior"}},
        {"tool": "push", "environment": "staging", "principal": {"user_id": "u"}, "expect": "ask"},
        {"tool": "send", "args": {"to": "a@b"}},
        {"output": "harmless"},
        {"output": "key-1", "expect": "redact", "match_contract": "mask-keys"},
        {"output": {"size": 0}, "expect": "warn", "message_contains": "empty"},
        {"output": {"size": 0, "text": "key-1"}, "expect": "redact"},
        {"tool": "unlisted", "output": "key-1", "expect": "warn", "match_contract": "mask-keys"},
        SECRET | {"output": "key-1", "match_contract": "no-secrets"},
        {"session": {"tool_calls": 9}},
        {"session": {"tool_calls": 10}, "expect": "block", "match_contract": "few-calls", "tags": ["budget"]},
        {"session": {"attempts": 19}},
        {"session": {"attempts": 20}, "expect": "block", "message_contains": "Enough."},
        {"session": {"per_tool": {"read_file": 2}}},
        {"session": {"per_tool": {"read_file": 2, "read_page": 1}}, "expect": "block", "match_contract": "few-calls"},
        {"session": {"per_tool": {"push": 9}}},
        {"tool": "push", "session": {"per_tool": {"push": 2}}, "expect": "block"},
        {"tool": "bad/name", "expect": "block", "match_contract": "tool_name"},
    ],
)
def test_case_that_holds_passes(
    changes: dict[str, Any], ruleset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_one(ruleset, tmp_path, capsys, **changes)["failures"] == []


@pytest.mark.parametrize(
    ("changes", "failure"),
    [
        ({"expect": "block"}, "expected block, got allow"),
        (SECRET | {"expect": "allow"}, 'expected allow, got block by "no-secrets": .env holds secrets.'),
        (
            SECRET | {"match_contract": "other"},
            'expected rule "other" to decide, but it was decided by "no-secrets": .env holds secrets.',
        ),
        (
            SECRET | {"message_contains": "password"},
            'expected a message with "password", got block by "no-secrets": .env holds secrets.',
        ),
        (
            SECRET | {"tags": ["files", "pii"]},
            'expected the deciding rule to have the tags "pii"; decided by "no-secrets": .env holds secrets.',
        ),
    ],
)
def test_case_that_does_not_hold_says_why(
    changes: dict[str, Any], failure: str, ruleset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_one(ruleset, tmp_path, capsys, **changes)["failures"] == [failure]


def test_case_on_a_rule_in_observe_mode_explains_the_difference(
    ruleset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run_one(ruleset, tmp_path, capsys, tool="send", args={"to": "a@b"}, expect="block")
    assert result["failures"] == ["expected block, got allow"]
    assert result["notes"] == ['rule "planned" only observes; enforced, it asks for block: No mail.']


def test_case_expecting_more_than_a_tool_allows_explains_the_difference(
    ruleset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Outside of a test the output would reach the agent, so the case must not pass.
    """
    result = run_one(ruleset, tmp_path, capsys, tool="unlisted", output="key-1", expect="redact")
    assert result["failures"] == ['expected redact, got warn by "mask-keys": A key was masked.']
    assert "counts as irreversible" in result["notes"][0]


def test_case_with_a_rule_that_cannot_be_judged_fails_although_it_blocks(
    ruleset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run_one(ruleset, tmp_path, capsys, args={"path": 7}, expect="block")
    assert result["decision"] == "block"
    (failure,) = result["failures"]
    assert failure.startswith('rule "no-secrets" could not be judged: ')


def test_environment_option_is_for_cases_without_their_own(
    ruleset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    senior = {"tool": "push", "principal": {"role": "senior"}}
    option = ("--environment", "staging")
    assert run_one(ruleset, tmp_path, capsys, *option, **senior, expect="allow")["passed"]
    assert run_one(ruleset, tmp_path, capsys, *option, **senior, expect="ask", environment="production")["passed"]


def test_text_report_lists_cases_and_failures(ruleset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(
        tmp_path / "cases.yaml",
        """\
cases:
  - id: harmless
    tool: read_file
    args: {path: a.txt}
    expect: allow
  - id: env
    tool: read_file
    args: {path: .env}
    expect: ask
""",
    )
    assert main(["test", ruleset, "--cases", path]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "ok    harmless",
        f"FAIL  env ({path}:6)",
        '      expected ask, got block by "no-secrets": .env holds secrets.',
        "1 of 2 cases passed",
    ]


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"cases": [case(expct="x")]}, 'cases[0].expct: unknown key "expct"; did you mean "expect"?'),
        ({"cases": [case(expect="deny")]}, 'cases[0].expect: "expect" must be one of '),
        ({"cases": [{"id": "a", "tool": "t"}]}, 'cases[0]: missing key "expect"'),
        ({"cases": [case(), case()]}, "cases[1].id: duplicate id; cases[0] has it already, rename one"),
        ({"cases": []}, 'cases: "cases" must not be empty'),
        ({"cases": ["x"]}, "cases[0]: item 0 must be a mapping, not text"),
        ({"case": [case()]}, 'case: unknown key "case"; did you mean "cases"?'),
        ([case()], 'the document must be a mapping with "cases", not a list'),
        ({"cases": [case(principal={"rolle": "x"})]}, 'cases[0].principal.rolle: unknown key "rolle"'),
        ({"cases": [case(session={"calls": 1})]}, 'cases[0].session.calls: unknown key "calls"'),
        ({"cases": [case(session={"attempts": -1})]}, 'cases[0].session.attempts: "attempts" must be a whole number'),
        (
            {"cases": [case(match_contract="r")]},
            'cases[0].match_contract: "match_contract" is about the rule that decides, but "allow" needs none',
        ),
        ({"cases": [case(expect="redact")]}, 'cases[0].expect: "redact" happens to an output; give "output"'),
    ],
)
def test_file_of_cases_with_a_mistake_is_wrong_use(
    document: Any, problem: str, ruleset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "cases.json", document)
    assert main(["test", ruleset, "--cases", path]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    first, *lines = captured.err.splitlines()
    assert first == f"error: {path} cannot be used"
    assert any(line.startswith(f"  {path}:1:") and problem in line for line in lines)


def test_calls_json_counts_outcomes(ruleset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls = [
        {"tool": "read_file", "args": {"path": "a"}},
        {"tool": "read_file", "args": {"path": ".env"}},
        {"tool": "push"},
    ]
    path = write(tmp_path / "calls.json", calls)
    assert main(["test", ruleset, "--calls", path, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert {key: report[key] for key in ("total", "allowed", "blocked", "asked")} == {
        "total": 3,
        "allowed": 1,
        "blocked": 1,
        "asked": 1,
    }
    assert report["results"][1] == {
        "tool": "read_file",
        "args": {"path": ".env"},
        "decision": "block",
        "reason": ".env holds secrets.",
        "rule_id": "no-secrets",
        "errors": [],
    }


def test_calls_text_numbers_the_calls(ruleset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "calls.json", [{"tool": "other"}, {"tool": "read_file", "args": {"path": ".env"}}])
    assert main(["test", ruleset, "--calls", path]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "allow 1. other",
        'block 2. read_file by "no-secrets": .env holds secrets.',
        "1 of 2 calls allowed",
    ]


def test_calls_all_allowed_is_fine(ruleset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "calls.json", [{"tool": "other"}])
    assert main(["test", ruleset, "--calls", path]) == 0
    assert capsys.readouterr().out.splitlines() == ["allow 1. other", "1 of 1 call allowed"]


def test_calls_with_an_observing_rule_that_cannot_be_judged_fail(
    ruleset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "calls.json", [{"tool": "send", "args": {"to": 7}}])
    assert main(["test", ruleset, "--calls", path]) == 1
    assert 'rule "planned" could not be judged: ' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([{"tool": "t", "expect": "allow"}], '[0].expect: unknown key "expect"'),
        ([{"args": {}}], '[0]: missing key "tool"'),
        ([{"tool": "t", "args": []}], '[0].args: "args" must be a mapping, not a list'),
        ([], "the document must not be empty"),
        ({"tool": "t"}, "the document must be a list, not a mapping"),
    ],
)
def test_file_of_calls_with_a_mistake_is_wrong_use(
    document: Any, problem: str, ruleset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "calls.json", document)
    assert main(["test", ruleset, "--calls", path]) == 2
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--cases", "a", "--calls", "b"]])
def test_cases_and_calls_exclude_each_other(words: list[str], ruleset: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", ruleset, *words]) == 2
    assert "--calls" in capsys.readouterr().err
