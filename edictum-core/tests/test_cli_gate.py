"""
The commands ``edictum gate install``, ``uninstall`` and ``status``.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from edictum.cli import main
from edictum.gate.hook_command import SCRIPT
from edictum.gate.settings import SETTINGS
from gate_hosts import HOSTS, RULES, edictum_command, write_rules

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="hooks are installed where there is /bin/sh")


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in ("CLAUDE_CONFIG_DIR", "COPILOT_HOME", "XDG_CONFIG_HOME", "OPENCODE_CONFIG_DIR", "EDICTUM_RULES"):
        monkeypatch.delenv(name, raising=False)
    project = tmp_path / "project"
    (project / ".git").mkdir(parents=True)
    monkeypatch.chdir(project)
    return folder


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out.splitlines()


def status(capsys: pytest.CaptureFixture[str], expected: int) -> dict[str, Any]:
    assert main(["gate", "status", "--json"]) == expected
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    return data


@pytest.mark.parametrize("host", HOSTS)
def test_install_and_uninstall_say_what_they_did(host: str, user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = write_rules(user)
    assert main(["gate", "install", host]) == 0
    said = lines(capsys)
    assert said[0].startswith(f"{host}: the hook is installed: {user}")
    assert f"rules here: {rules}" in said
    assert main(["gate", "install", host]) == 0
    assert "installed already" in lines(capsys)[0]
    assert main(["gate", "uninstall", host]) == 0
    first, backup, second = lines(capsys)
    assert "the file is as it was before" in first
    assert Path(backup.removeprefix("backup: ")).is_file()
    assert "there is no hook" in second


def test_install_without_rules_warns_that_everything_is_blocked(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gate", "install", "gemini"]) == 0
    assert any("every call is blocked until there are rules" in line for line in lines(capsys))


def test_install_with_rules_that_cannot_be_used_installs_nothing(
    user: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps({**RULES, "kind": "Rulez"}))
    assert main(["gate", "install", "gemini", "--rules", str(bad)]) == 2
    assert "Rulez" in capsys.readouterr().err
    assert main(["gate", "install", "gemini", "--rules", str(tmp_path / "missing.json")]) == 2
    assert "no such file" in capsys.readouterr().err
    assert not (user / ".gemini").exists()


def test_install_into_a_file_that_cannot_be_read_says_so(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (user / ".gemini").mkdir()
    (user / ".gemini" / "settings.json").write_text("{")
    assert main(["gate", "install", "gemini"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {user / '.gemini' / 'settings.json'} cannot be edited: line 1")


@pytest.mark.parametrize("words", [[], ["install"], ["install", "vim"], ["uninstall"], ["nonsense"]])
def test_wrong_use_is_an_error(words: list[str], user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gate", *words]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_help_of_the_check_is_help(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gate", "check", "--help"]) == 0
    assert "--session-id" in capsys.readouterr().out


# --- status ---------------------------------------------------------------------------------------


def test_status_tries_every_hook_that_is_installed(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = write_rules(user)
    assert status(capsys, 0)["not_installed"] == list(SETTINGS)
    for host in HOSTS:
        main(["gate", "install", host])
    capsys.readouterr()
    reported = status(capsys, 0)
    assert reported["not_installed"] == []
    assert [(hook["assistant"], hook["scope"]) for hook in reported["hooks"]] == [(host, "user") for host in HOSTS]
    for hook in reported["hooks"]:
        assert (hook["blocks"], hook["problems"], hook["rules"]) == (True, [], [str(rules)])
    assert main(["gate", "status"]) == 0
    assert lines(capsys)[-1].startswith("5 hooks, none with problems")


@pytest.mark.parametrize("host", ["claude-code", "opencode"])
def test_status_finds_that_the_interpreter_is_gone(host: str, user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rules(user)
    main(["gate", "install", host])
    path = SETTINGS[host].place("user", None)  # type: ignore[arg-type]
    path.write_text(path.read_text().replace(sys.executable, "/nonexistent/python"))
    capsys.readouterr()
    (hook,) = status(capsys, 1)["hooks"]
    (problem,) = hook["problems"]
    assert hook["blocks"] is True
    assert "every call is blocked" in problem
    assert "install it again" in problem


def test_status_finds_a_hook_that_does_not_block(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rules(user)
    main(["gate", "install", "gemini"])
    script = user / "edictum" / "gate" / "hook.sh"  # as it might be in another version
    script.parent.mkdir(parents=True)
    script.write_text("echo '{}'\n")
    path = user / ".gemini" / "settings.json"
    path.write_text(path.read_text().replace(str(SCRIPT), str(script)))
    capsys.readouterr()
    (hook,) = status(capsys, 1)["hooks"]
    assert hook["blocks"] is False
    assert "does not block" in hook["problems"][0]


def test_status_finds_rules_that_cannot_be_used(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = write_rules(user)
    main(["gate", "install", "gemini", "--rules", str(rules)])
    rules.unlink()
    capsys.readouterr()
    (hook,) = status(capsys, 1)["hooks"]
    assert (hook["blocks"], hook["rules"]) == (True, [str(rules)])
    assert "every call is blocked" in hook["problems"][0]


def test_status_says_what_in_the_rules_has_no_effect(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    post = {
        "id": "mask",
        "type": "post",
        "tool": "*",
        "when": {"output.text": {"contains": "x"}},
        "then": {"action": "warn", "message": "m"},
    }
    write_rules(user, {**RULES, "defaults": {"mode": "observe"}, "rules": [*RULES["rules"], post]})
    main(["gate", "install", "gemini"])
    capsys.readouterr()
    (hook,) = status(capsys, 0)["hooks"]
    assert hook["notes"] == [
        "1 post rule has no effect, because hooks run before the tool",
        "the rules only observe: nothing is blocked",
    ]


def test_status_shows_a_file_that_cannot_be_read(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (user / ".cursor").mkdir()
    (user / ".cursor" / "hooks.json").write_text("{")
    assert main(["gate", "status"]) == 1
    assert any("cannot be edited: line 1" in line for line in lines(capsys))


def test_status_says_that_a_call_is_counted_twice(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rules(user)
    for scope in ("user", "project"):
        main(["gate", "install", "gemini", "--scope", scope])
    capsys.readouterr()
    reported = status(capsys, 0)["hooks"]
    assert [hook["scope"] for hook in reported] == ["user", "project"]
    assert "each call is checked and counted twice" in reported[1]["notes"][0]


def test_status_in_the_home_folder_shows_a_hook_once(
    user: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rules(user)
    monkeypatch.chdir(user)
    main(["gate", "install", "gemini"])
    capsys.readouterr()
    assert len(status(capsys, 0)["hooks"]) == 1


def test_command_as_a_user_runs_it(user: Path) -> None:
    write_rules(user)
    done = edictum_command("gate", "install", "copilot", home=user, cwd=user)
    assert (done.returncode, done.stderr) == (0, "")
    done = edictum_command("gate", "status", home=user, cwd=user)
    assert (done.returncode, done.stderr) == (0, "")
    assert "copilot, user: blocks" in done.stdout
    shutil.rmtree(user / ".copilot")
    done = edictum_command("gate", "status", home=user, cwd=user)
    assert "copilot, user" not in done.stdout
