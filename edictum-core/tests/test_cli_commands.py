"""
The commands version, validate, check, explain and schema, and how every command fails, within the process.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import pytest
from edictum import Edictum, Principal, __version__
from edictum.cli import COMMANDS, main

RULESET = """\
apiVersion: edictum/v1
kind: Ruleset
metadata: {name: office}
defaults: {mode: enforce}
tools:
  read_file: {side_effect: read}
rules:
  - id: no-secrets
    type: pre
    tool: read_file
    when: {args.path: {contains: .env}}
    then: {action: block, message: "{args.path} holds secrets."}
  - id: ask-outside
    type: pre
    tool: read_file
    when: {args.path: {starts_with: /}}
    then: {action: ask, message: "Read {args.path}?"}
  - id: seniors-deploy
    type: pre
    tool: deploy
    when:
      all:
        - environment: {equals: production}
        - not: {principal.role: {equals: senior}}
    then: {action: block, message: "Only seniors deploy."}
  - id: planned
    type: pre
    mode: observe
    tool: send_*
    when: {args.to: {exists: true}}
    then: {action: block, message: "No mail to {args.to}."}
  - id: mask-keys
    type: post
    tool: "*"
    when: {output.text: {matches: 'key-\\d+'}}
    then: {action: redact, message: "A key was masked."}
  - id: few-calls
    type: session
    limits: {max_tool_calls: 10, max_calls_per_tool: {read_file: 3}}
    then: {action: block, message: "Enough calls."}
  - id: switched-off
    type: pre
    enabled: false
    tool: read_file
    when: {args.path: {exists: true}}
    then: {action: block, message: "Off."}
"""


@pytest.fixture
def ruleset(tmp_path: Path) -> str:
    return write(tmp_path / "rules.yaml", RULESET)


def write(path: Path, content: str) -> str:
    path.write_text(content, encoding="utf-8")
    return str(path)


def text_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out.splitlines()


def json_of(capsys: pytest.CaptureFixture[str]) -> Any:
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


def error_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


# --- version, schema, help ------------------------------------------------------------------------


def test_version_json_names_package_runtime_and_platform(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "--json"]) == 0
    found = json_of(capsys)
    assert list(found) == ["name", "version", "runtime", "platform"]
    assert found["name"] == "edictum-core"
    assert found["version"] == __version__
    assert platform.python_version() in found["runtime"]


@pytest.mark.parametrize("words", [["version"], ["--version"]])
def test_version_text_is_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    (line,) = text_of(capsys)
    assert line.startswith(f"edictum-core {__version__} (")


def test_schema_prints_a_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    found = json_of(capsys)
    assert found["properties"]["kind"] == {"const": "Ruleset"}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_ends_well(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert text_of(capsys)[0].startswith(f"usage: edictum {command}")


def test_no_command_shows_the_commands_as_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    shown = "\n".join(error_of(capsys))
    assert all(command in shown for command in COMMANDS)


# --- errors of use --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["chekc"], 'error: unknown command "chekc"; did you mean "check"?'),
        (["frob"], f'error: unknown command "frob"; commands are {", ".join(COMMANDS)}'),
        (["validate"], "error: the following arguments are required: FILE; see: edictum validate --help"),
        (
            ["validate", "a", "--jsn"],
            "error: unrecognized arguments: --jsn; see: edictum --help",
        ),
        (
            ["explain", "a", "--tool", "t", "--args", "{}", "--session-calls", "-1"],
            'error: argument --session-calls: "-1" is not a whole number from 0 to 999999999; '
            "see: edictum explain --help",
        ),
    ],
)
def test_wrong_use_says_what_is_wrong(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert error_of(capsys) == [expected]


def test_wrong_use_with_json_prints_an_error_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--json"]) == 2
    assert json_of(capsys) == {
        "error": "the following arguments are required: FILE, --tool, --args; see: edictum check --help",
        "success": False,
    }


def test_unknown_command_with_escape_sequence_is_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["\x1b[2J"]) == 2
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize("command", ["validate", "check", "test", "explain", "migrate"])
def test_missing_file_suggests_the_one_that_exists(
    command: str, ruleset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = ruleset.replace("rules.yaml", "rulse.yaml")
    options = {
        "check": ["--tool", "t", "--args", "{}"],
        "explain": ["--tool", "t", "--args", "{}"],
        "test": ["--cases", missing],
    }
    assert main([command, missing, *options.get(command, [])]) == 2
    assert error_of(capsys) == [f'error: no such file: "{missing}"; did you mean "{ruleset}"?']


def test_folder_instead_of_file_is_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(tmp_path)]) == 2
    assert error_of(capsys) == [f'error: "{tmp_path}" is a folder; name a file in it']


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ('{"path": }', "--args is not JSON at line 1, column 10: Expecting value"),
        ('{"path":\n "a"', "--args is not JSON at line 2, column 5: Expecting ',' delimiter"),
        ("", "--args is not JSON at line 1, column 1: Expecting value"),
        ('["a"]', '--args must be a JSON object such as {"path": "a.txt"}, not a list'),
        ("null", '--args must be a JSON object such as {"path": "a.txt"}, not null'),
        ('{"a": 1, "a": 2}', '--args holds the key "a" twice; remove one'),
        ('{"a": NaN}', "--args holds NaN, which is not JSON; use a finite number"),
        ("[" * 100_000, "--args is nested too deeply"),
        ('{"a": ' + "[" * 200 + "]" * 200 + "}", "the arguments of the call cannot be read: "),
        ('{"a": ' + "1" * 5_000 + "}", "--args holds a number with too many digits"),
    ],
)
def test_invalid_args_name_the_place_and_not_the_value(
    given: str, expected: str, ruleset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", ruleset, "--tool", "t", "--args", given]) == 2
    (line,) = error_of(capsys)
    assert line.startswith(f"error: {expected}")
    assert len(line) < 250


def test_unexpected_error_shows_no_traceback(
    ruleset: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("no luck\x1b[2J")

    monkeypatch.setattr(Edictum, "describe", broken)
    assert main(["validate", ruleset]) == 2
    assert error_of(capsys) == [
        "error: internal error: RuntimeError: no luck\\u001b[2J",
        "  set EDICTUM_DEBUG=1 to see where it happened",
    ]
    monkeypatch.setenv("EDICTUM_DEBUG", "1")
    assert main(["validate", ruleset]) == 2
    assert error_of(capsys)[0] == "Traceback (most recent call last):"


def test_interrupt_exits_130_without_a_word(
    ruleset: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Edictum, "describe", interrupted)
    assert main(["validate", ruleset]) == 130
    assert capsys.readouterr() == ("", "")


# --- validate -------------------------------------------------------------------------------------


def test_validate_valid_file_counts_rules_by_type(ruleset: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", ruleset]) == 0
    assert text_of(capsys) == [f"{ruleset}: valid, 6 rules (4 pre, 1 post, 1 session), 1 disabled"]


def test_validate_json_has_the_published_shape(
    ruleset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = write(tmp_path / "bad.yaml", RULESET.replace("type: post", "type: pots"))
    assert main(["validate", ruleset, bad, "--json"]) == 1
    assert json_of(capsys) == {
        "files": [
            {
                "file": ruleset,
                "valid": True,
                "error": None,
                "total": 6,
                "counts": {"pre": 4, "post": 1, "session": 1, "sandbox": 0},
            },
            {
                "file": bad,
                "valid": False,
                "error": f'{bad}:33:11: rules[4].type: "type" must be one of "pre", "post", "session", "sandbox", '
                'not "pots"; did you mean "post"?',
                "total": 0,
                "counts": {"pre": 0, "post": 0, "session": 0, "sandbox": 0},
            },
        ],
        "valid": False,
    }


def test_validate_shows_every_problem_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = (
        RULESET.replace("tool: deploy", "tol: deploy").replace("limits:", "limit:").replace("mode: obs", "mode: ob")
    )
    path = write(tmp_path / "bad.yaml", broken)
    assert main(["validate", path]) == 1
    *problems, last = text_of(capsys)
    assert last == f"{path}: invalid, {len(problems)} problems"
    places = [problem.removeprefix(f"{path}:").split(": ")[:2] for problem in problems]
    assert ["20:10", "rules[2].tol"] in places
    assert ["28:11", "rules[3].mode"] in places
    assert ["39:12", "rules[5].limit"] in places
    assert any('unknown key "tol"; did you mean "tool"?' in problem for problem in problems)


def test_validate_duplicate_key_names_both_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A second ``tool:`` would silently move a rule to another tool.
    """
    path = write(tmp_path / "bad.yaml", RULESET.replace("tool: deploy\n", "tool: deploy\n    tool: nothing\n"))
    assert main(["validate", path]) == 1
    assert text_of(capsys) == [
        f'{path}:21:5: duplicate key "tool"; its first value is at line 20, column 11; remove one',
        f"{path}: invalid, 1 problem",
    ]


def test_validate_legacy_document_names_the_migration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "old.yaml", RULESET.replace("kind: Ruleset", "kind: ContractBundle"))
    assert main(["validate", path]) == 1
    problem, _ = text_of(capsys)
    assert problem.startswith(f"{path}:2:7: kind: ")
    assert "edictum migrate" in problem


def test_validate_writes_no_decision_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log.jsonl"
    path = write(tmp_path / "rules.yaml", RULESET + f"observability: {{stdout: true, file: {log}}}\n")
    assert main(["validate", path]) == 0
    assert main(["check", path, "--tool", "read_file", "--args", "{}"]) == 0
    capsys.readouterr()
    assert not log.exists()


# --- check ----------------------------------------------------------------------------------------


def test_check_blocked_json_has_the_published_shape(ruleset: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", ruleset, "--tool", "read_file", "--args", '{"path": "/a/.env"}', "--json"]) == 1
    assert json_of(capsys) == {
        "tool": "read_file",
        "args": {"path": "/a/.env"},
        "decision": "block",
        "reason": "/a/.env holds secrets.",
        "rules_evaluated": 2,
        "environment": "production",
        "rule_id": "no-secrets",
    }


def test_check_blocked_text(ruleset: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", ruleset, "--tool", "read_file", "--args", '{"path": "\\u001b[2J.env"}']) == 1
    assert text_of(capsys) == [
        "block: read_file",
        "rule: no-secrets",
        "reason: \\u001b[2J.env holds secrets.",
        "2 rules judged, environment production",
    ]


def test_check_allowed_json_has_no_rule(ruleset: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", ruleset, "--tool", "read_file", "--args", '{"path": "a"}', "--json"]) == 0
    found = json_of(capsys)
    assert (found["decision"], found["reason"], found["rule_id"]) == ("allow", None, None)


def test_check_call_that_needs_approval_is_not_fine(ruleset: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", ruleset, "--tool", "read_file", "--args", '{"path": "/etc/x"}', "--json"]) == 1
    found = json_of(capsys)
    assert (found["decision"], found["rule_id"], found["reason"]) == ("ask", "ask-outside", "Read /etc/x?")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], 1),
        (["--principal-role", "senior"], 0),
        (["--principal-role", "junior", "--principal-user", "u1", "--principal-ticket", "T-1"], 1),
        (["--environment", "staging"], 0),
    ],
)
def test_check_principal_and_environment_count(
    options: list[str], expected: int, ruleset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", ruleset, "--tool", "deploy", "--args", "{}", *options]) == expected
    capsys.readouterr()


@pytest.mark.parametrize(
    ("tool", "args", "environment"),
    [
        ("read_file", {"path": ".env"}, "production"),
        ("read_file", {"path": "/x"}, "production"),
        ("read_file", {"path": 7}, "staging"),
        ("deploy", {}, "production"),
        ("deploy", {}, "staging"),
        ("send_mail", {"to": "x"}, "production"),
        ("unknown", {}, "production"),
    ],
)
def test_check_agrees_with_the_dry_run_of_a_guard(
    tool: str, args: dict[str, Any], environment: str, ruleset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = Edictum.from_yaml(ruleset).evaluate(
        tool, args, environment=environment, principal=Principal(role="junior"), ask_as="ask"
    )
    words = ["--tool", tool, "--args", json.dumps(args), "--environment", environment, "--principal-role", "junior"]
    main(["check", ruleset, *words, "--json"])
    found = json_of(capsys)
    assert (found["decision"], found["rules_evaluated"]) == (expected.decision, expected.rules_evaluated)


def test_check_rule_in_observe_mode_is_a_remark(ruleset: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", ruleset, "--tool", "send_mail", "--args", '{"to": "x"}']) == 0
    assert 'note: rule "planned" only observes; enforced, it asks for block: No mail to x.' in text_of(capsys)


def test_check_observing_ruleset_lets_enforcing_rules_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A rule that enforces in a document that observes only gives a would-be block, as in a guard.
    """
    content = RULESET.replace("defaults: {mode: enforce}", "defaults: {mode: observe}")
    path = write(tmp_path / "rules.yaml", content.replace("id: no-secrets\n", "id: no-secrets\n    mode: enforce\n"))
    assert main(["check", path, "--tool", "read_file", "--args", '{"path": ".env"}']) == 0
    assert (
        "note: the ruleset only observes; enforced, the decision is block, by no-secrets: .env holds secrets."
        in text_of(capsys)
    )


def test_check_invalid_tool_name_is_blocked(ruleset: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", ruleset, "--tool", "../x", "--args", "{}", "--json"]) == 1
    found = json_of(capsys)
    assert (found["decision"], found["rule_id"]) == ("block", "tool_name")


def test_check_several_files_composes_them(tmp_path: Path, ruleset: str, capsys: pytest.CaptureFixture[str]) -> None:
    observing = write(tmp_path / "more.yaml", RULESET.replace("mode: enforce", "mode: observe"))
    arguments = ["--tool", "deploy", "--args", "{}", "--json"]
    alone = main(["check", ruleset, *arguments])
    json_of(capsys)
    assert (alone, main(["check", ruleset, observing, *arguments])) == (1, 0)
    json_of(capsys)


def test_check_problem_in_one_of_several_files_names_it(
    tmp_path: Path, ruleset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = write(tmp_path / "bad.yaml", RULESET.replace("tool: deploy", "tol: deploy"))
    assert main(["check", ruleset, bad, "--tool", "t", "--args", "{}"]) == 2
    assert any(line.strip().startswith(f"{bad}:") for line in error_of(capsys))
    assert main(["check", ruleset, str(tmp_path / "none.yaml"), "--tool", "t", "--args", "{}"]) == 2
    assert f'no such file: "{tmp_path / "none.yaml"}"' in error_of(capsys)[0]


def test_check_invalid_ruleset_is_no_decision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "bad.yaml", RULESET.replace("tool: deploy", "tol: deploy"))
    assert main(["check", path, "--tool", "deploy", "--args", "{}", "--json"]) == 2
    found = json_of(capsys)
    assert found["success"] is False
    assert found["error"].startswith(f"{path} cannot be used\n{path}:")


# --- explain --------------------------------------------------------------------------------------


def test_explain_shows_every_rule_then_the_decision(ruleset: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--tool", "read_file", "--args", '{"path": "/a/.env"}', "--output", "key-12 and more"]
    assert main(["explain", ruleset, *words]) == 1
    assert text_of(capsys) == [
        f"ruleset office ({ruleset}), mode enforce",
        "call of read_file, read, environment production",
        "disabled: switched-off",
        "",
        "  pre     no-secrets   fired, block: /a/.env holds secrets.",
        "  pre     ask-outside  fired, ask: Read /a/.env?",
        "  session few-calls    passed",
        "  limit   attempts with this one: 1 of 500",
        "  limit   calls before this one: 0 of 10",
        "  limit   calls of read_file before this one: 0 of 3",
        "  and if the tool ran all the same:",
        "  post    mask-keys    fired, redact: A key was masked.",
        "",
        "decision: block by no-secrets (yaml_precondition)",
        "  /a/.env holds secrets.",
    ]


def test_explain_output_is_shown_as_the_agent_sees_it(ruleset: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--tool", "read_file", "--args", "{}", "--output", "key-12 and more"]
    assert main(["explain", ruleset, *words]) == 0
    assert text_of(capsys)[-3:] == [
        "decision: redact by mask-keys (yaml_postcondition)",
        "  A key was masked.",
        "output: [REDACTED] and more",
    ]


def test_explain_weaker_effect_is_explained(ruleset: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", ruleset, "--tool", "other", "--args", "{}", "--output", "key-12"]) == 0
    assert text_of(capsys)[-3:] == [
        "decision: warn by mask-keys (yaml_postcondition)",
        "  A key was masked.",
        '  rule "mask-keys" asks for redact, but tool "other" counts as irreversible, so the output is only warned '
        'about; if the tool only reads, say so under "tools"',
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--session-calls", "9"], "decision: allow"),
        (["--session-calls", "10"], "decision: block by few-calls (yaml_session)"),
        (["--session-attempts", "499"], "decision: allow"),
        (["--session-attempts", "500"], "decision: block by max_attempts (attempt_limit)"),
        (["--session-tool-calls", "2"], "decision: allow"),
        (["--session-tool-calls", "3"], "decision: block by few-calls (operation_limit)"),
    ],
)
def test_explain_session_reaches_its_limits(
    options: list[str], expected: str, ruleset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["explain", ruleset, "--tool", "read_file", "--args", "{}", *options])
    assert expected in text_of(capsys)


def test_explain_impossible_session_is_wrong_use(ruleset: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--session-calls", "3", "--session-attempts", "2"]
    assert main(["explain", ruleset, "--tool", "read_file", "--args", "{}", *words]) == 2
    assert "at least as many attempts as calls" in error_of(capsys)[0]


def test_explain_rule_that_cannot_be_judged_shows_the_cause(ruleset: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", ruleset, "--tool", "read_file", "--args", '{"path": 7}']) == 1
    lines = text_of(capsys)
    row = next(index for index, line in enumerate(lines) if "no-secrets" in line)
    assert lines[row].startswith("  pre     no-secrets   fired, block: ")
    assert lines[row + 1].startswith("          could not be judged: ")
    assert lines[-1].startswith('  rule "no-secrets" could not be judged: ')


def test_explain_tool_without_rules_says_so(ruleset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "one.yaml", RULESET[: RULESET.index("  - id: ask-outside")])
    assert main(["explain", path, "--tool", "other", "--args", "{}"]) == 0
    assert "  no rule concerns a call of this tool" in text_of(capsys)


WORKFLOW = {
    "apiVersion": "edictum/v1",
    "kind": "Workflow",
    "metadata": {"name": "work"},
    "stages": [{"id": "read", "tools": ["Read"]}, {"id": "edit", "tools": ["Edit"]}],
}


def test_validate_takes_workflows_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(WORKFLOW))
    bad.write_text(json.dumps({**WORKFLOW, "stages": [{"id": "read", "tols": []}]}))

    assert main(["validate", str(good)]) == 0
    assert capsys.readouterr().out == f"{good}: valid workflow, 2 stages\n"
    assert main(["validate", str(good), str(bad)]) == 1
    assert "stages[0].tols: unknown key" in capsys.readouterr().out
    assert main(["validate", str(good), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["valid"] is True
    assert (found["files"][0]["total"], found["files"][0]["counts"]) == (2, {"stages": 2})
