"""
The command diff, and the composition that validate shows, within the process.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from edictum.cli import main

BASE = """\
apiVersion: edictum/v1
kind: Ruleset
metadata: {name: base}
defaults: {mode: enforce}
rules:
  - id: no-secrets
    type: pre
    tool: read_file
    when: {args.path: {contains: .env}}
    then: {action: block, message: "No."}
  - id: few-calls
    type: session
    limits: {max_tool_calls: 10}
    then: {action: block, message: "Enough."}
"""
TEAM = """\
apiVersion: edictum/v1
kind: Ruleset
metadata: {name: team}
defaults: {mode: enforce}
rules:
  - id: no-secrets
    type: pre
    tool: read_file
    when: {args.path: {contains: .pem}}
    then: {action: block, message: "No."}
  - id: no-push
    type: pre
    tool: bash
    when: {args.command: {starts_with: git push}}
    then: {action: ask, message: "Push?"}
"""
CANDIDATE = TEAM.replace("name: team", "name: candidate") + "observe_alongside: true\n"


@pytest.fixture
def base(tmp_path: Path) -> str:
    return write(tmp_path / "base.yaml", BASE)


@pytest.fixture
def team(tmp_path: Path) -> str:
    return write(tmp_path / "team.yaml", TEAM)


@pytest.fixture
def candidate(tmp_path: Path) -> str:
    return write(tmp_path / "candidate.yaml", CANDIDATE)


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


# --- two files -----------------------------------------------------------------------------------


def test_diff_same_file_is_no_change(base: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", base, base]) == 0
    assert text_of(capsys) == [
        "= no-secrets (pre)",
        "= few-calls (session)",
        "0 added, 0 removed, 0 changed, 2 unchanged",
    ]


def test_diff_text_says_what_changed(base: str, team: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", base, team]) == 1
    assert text_of(capsys) == [
        "+ no-push (pre)",
        "- few-calls (session)",
        "~ no-secrets (pre)",
        '    when.args.path.contains: ".env" -> ".pem"',
        '~ metadata.name: "base" -> "team"',
        "1 added, 1 removed, 1 changed, 0 unchanged, 1 setting changed",
    ]


def test_diff_json_has_the_published_shape(base: str, team: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", base, team, "--json"]) == 1
    assert json_of(capsys) == {
        "added": [{"id": "no-push", "type": "pre"}],
        "removed": [{"id": "few-calls", "type": "session"}],
        "changed": [
            {
                "id": "no-secrets",
                "type": "pre",
                "changes": [{"path": "when.args.path.contains", "old": ".env", "new": ".pem"}],
            }
        ],
        "unchanged": [],
        "settings": [{"path": "metadata.name", "old": "base", "new": "team"}],
        "moved": [],
        "has_changes": True,
    }


def test_diff_yaml_and_json_of_one_document_do_not_differ(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = [
        {
            "then": {"message": "No.", "action": "block"},
            "when": {"args.path": {"contains": ".env"}},
            "tools": ["read_file"],
            "type": "pre",
            "id": "no-secrets",
        },
        {
            "id": "few-calls",
            "type": "session",
            "limits": {"max_tool_calls": 10},
            "then": {"action": "block", "message": "Enough."},
        },
    ]
    head = {
        "kind": "Ruleset",
        "apiVersion": "edictum/v1",
        "defaults": {"mode": "enforce"},
        "metadata": {"name": "base"},
    }
    other = write(tmp_path / "other.json", json.dumps({**head, "rules": rules}))
    assert main(["diff", base, other, "--json"]) == 0
    assert json_of(capsys)["has_changes"] is False


def test_diff_default_mode_alone_is_a_change(base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write(tmp_path / "other.yaml", BASE.replace("mode: enforce", "mode: observe"))
    assert main(["diff", base, other]) == 1
    shown = text_of(capsys)
    assert '~ defaults.mode: "enforce" -> "observe"' in shown
    assert '    mode: "enforce" -> "observe"' in shown


def test_diff_inherited_rules_count(base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A child without a rule of its own means what its parent means.
    """
    head = BASE.split("rules:")[0]
    child = write(tmp_path / "child.yaml", head + "extends: base\n")
    assert main(["diff", base, child]) == 0
    capsys.readouterr()
    write(tmp_path / "base.yaml", BASE.replace(".env", ".pem"))
    before = write(tmp_path / "before.yaml", BASE)
    assert main(["diff", before, child]) == 1
    assert '    when.args.path.contains: ".env" -> ".pem"' in text_of(capsys)


def test_diff_shows_no_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A ruleset can hold one as an operand: by its look, by the name of the argument, inside an added condition.
    """
    token = "ghp_" + "a1B2" * 9
    files = []
    for number, secret in enumerate([token, token.replace("a", "b")]):
        rule = BASE.replace("{args.path: {contains: .env}}", f"{{args.path: {{contains: {secret}}}}}")
        more = rule.replace("few-calls", f"calls-{number}").replace("limits: {max_tool_calls: 10}", "limits: {}")
        more = more.split("  - id: calls")[0] + (
            "  - id: by-name\n    type: pre\n    tool: login\n"
            f"    when: {{any: [{{args.password: {{equals: hunter-{number}}}}}, "
            f"{{args.n{number}: {{exists: true}}}}, {{args.x: {{equals: 'x'}}}}]}}\n"
            "    then: {action: block, message: m}\n"
        )
        files.append(write(tmp_path / f"{number}.yaml", more))
    for options in ([], ["--json"]):
        assert main(["diff", *files, *options]) == 1
        shown = "\n".join(text_of(capsys))
        assert "hunter" not in shown
        assert "ghp_" not in shown
        assert "[REDACTED]" in shown
        assert "args.n1" in shown


def test_diff_long_value_is_shortened(base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write(tmp_path / "other.yaml", BASE.replace('message: "No."', f'message: "{"no " * 160}"'))
    assert main(["diff", base, other]) == 1
    (line,) = (line for line in text_of(capsys) if "then.message" in line)
    assert line.endswith("...")
    assert len(line) < 300


def test_diff_control_characters_are_written_out(base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write(tmp_path / "other.yaml", BASE.replace('"No."', '"\\e[2J\\u202e"'))
    assert main(["diff", base, other]) == 1
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_diff_one_file_is_wrong_use(base: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", base]) == 2
    assert capsys.readouterr().err == "error: there is nothing to compare; name at least two files\n"


@pytest.mark.parametrize("more", [[], ["third"]])
def test_diff_invalid_file_is_named_with_the_place(
    more: list[str], base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = write(tmp_path / "bad.yaml", BASE.replace("type: session", "type: sesion"))
    assert main(["diff", base, bad, *([base] if more else [])]) == 2
    error, place = capsys.readouterr().err.splitlines()
    assert error == f"error: {bad} cannot be used"
    assert place.startswith(f"  {bad}:12:11: rules[1].type: ")


def test_diff_problem_of_a_parent_names_the_parent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parent = write(tmp_path / "base.yaml", BASE.replace("type: session", "type: sesion"))
    child = write(tmp_path / "child.yaml", BASE.split("rules:")[0] + "extends: base\n")
    assert main(["diff", child, child]) == 2
    assert capsys.readouterr().err.splitlines()[1].startswith(f"  {parent}:12:11: rules[1].type: ")


# --- layers --------------------------------------------------------------------------------------


def test_diff_three_layers_shows_the_composition(
    base: str, team: str, candidate: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diff", base, team, candidate]) == 1
    assert text_of(capsys) == [
        f"~ no-secrets: that of {base} is replaced by that of {team}",
        f"! no-secrets: weaker by {team}: its condition may fire for fewer calls",
        f"+ no-push: added by {team}",
        f"o no-secrets: that of {candidate} only observes, beside that of {team}",
        f"o no-push: that of {candidate} only observes, beside that of {team}",
        "3 layers: the later ones change the first",
    ]
    assert main(["diff", base, team, candidate, "--json"]) == 1
    found = json_of(capsys)
    assert found["has_changes"] is True
    assert found["composed"]["overrides"] == [{"rule_id": "no-secrets", "overridden_by": team, "original_source": base}]


def test_diff_three_equal_layers_change_nothing(base: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", base, base, base]) == 0
    assert text_of(capsys)[-1] == "3 layers: no change"


def test_diff_layers_see_settings_that_no_report_lists(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write(tmp_path / "other.yaml", BASE + "observability: {stdout: true}\n")
    assert main(["diff", base, base, other]) == 1
    assert text_of(capsys)[-1] == "3 layers: the later ones change the first"


def test_validate_several_files_shows_how_they_compose(
    base: str, team: str, candidate: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", base, team, candidate, "--json"]) == 0
    assert json_of(capsys)["composed"] == {
        "overrides": [{"rule_id": "no-secrets", "overridden_by": team, "original_source": base}],
        "observes": [
            {"rule_id": "no-secrets", "enforced_source": team, "observed_source": candidate},
            {"rule_id": "no-push", "enforced_source": team, "observed_source": candidate},
        ],
        "added": [{"rule_id": "no-push", "added_by": team}],
        "tools": [],
        "weakened": [{"rule_id": "no-secrets", "weakened_by": team, "how": "its condition may fire for fewer calls"}],
        "disabled": [],
        "modes": [],
    }
    assert main(["validate", base, team]) == 0
    assert text_of(capsys)[2:] == [
        "composed in this order:",
        f"  ~ no-secrets: that of {base} is replaced by that of {team}",
        f"  ! no-secrets: weaker by {team}: its condition may fire for fewer calls",
        f"  + no-push: added by {team}",
    ]


def test_validate_invalid_file_is_left_out_of_the_composition(
    base: str, team: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = write(tmp_path / "bad.yaml", BASE.replace("type: pre", "type: per"))
    assert main(["validate", base, bad, team, "--json"]) == 1
    found = json_of(capsys)
    assert found["valid"] is False
    assert found["composed"]["overrides"][0]["overridden_by"] == team


def test_validate_files_that_cannot_be_composed_are_not_fine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, rule = BASE.split("  - id: few-calls")[0].split("  - id: no-secrets")
    files = [
        write(tmp_path / f"{half}.yaml", head + "".join(f"  - id: r{half}-{n}{rule}" for n in range(1_001)))
        for half in (1, 2)
    ]
    assert main(["validate", *files]) == 1
    captured = capsys.readouterr()
    assert "each file is valid, but they cannot be composed" in captured.err
    assert "2002 items" in captured.err


def test_layers_that_weaken_a_locked_rule_are_refused(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    locked = write(tmp_path / "locked.yaml", BASE.replace("type: pre", "type: pre\n    locked: true", 1))
    silent = write(tmp_path / "silent.yaml", BASE.replace("mode: enforce", "mode: observe", 1))
    for command in (["validate", locked, silent], ["diff", locked, silent, silent], ["check", locked, silent]):
        options = ["--tool", "x", "--args", "{}"] if command[0] == "check" else []
        assert main([*command, *options]) in (1, 2)
        assert "is locked" in capsys.readouterr().err
