"""
``edictum gate install`` and ``uninstall``: the settings of others are changed in one place, and restored.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edictum import EdictumConfigError
from edictum.gate import files
from edictum.gate.hook_command import HookCommand
from edictum.gate.install import install, installed, uninstall
from edictum.gate.project import Project
from edictum.gate.settings import SCOPES, SETTINGS
from edictum.gate.settings_text import data_of, parse
from gate_hosts import HOSTS, TIMEOUT

pytestmark = pytest.mark.skipif(os.name != "posix", reason="hooks are installed where there is /bin/sh")

WITH_SETTINGS = HOSTS[:-1]  # OpenCode has a plugin of its own
LISTS = {"claude-code": "PreToolUse", "cursor": "preToolUse", "copilot": "preToolUse", "gemini": "BeforeTool"}


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in ("CLAUDE_CONFIG_DIR", "COPILOT_HOME", "XDG_CONFIG_HOME", "OPENCODE_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "project" / ".git").mkdir(parents=True)
    return Project.at(tmp_path / "project")


def put(host: str, project: Project, content: str | bytes) -> Path:
    path = SETTINGS[host].place("user", project)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def data(path: Path) -> Any:
    text = path.read_text()
    return data_of(text, parse(text))


# --- what is written ------------------------------------------------------------------------------

PLACES = {
    "claude-code": (".claude/settings.json", ".claude/settings.local.json"),
    "cursor": (".cursor/hooks.json", ".cursor/hooks.json"),
    "copilot": (".copilot/hooks/edictum.json", ".github/hooks/edictum.json"),
    "gemini": (".gemini/settings.json", ".gemini/settings.json"),
    "opencode": (".config/opencode/plugins/edictum.js", ".opencode/plugins/edictum.js"),
}


@pytest.mark.parametrize("host", HOSTS)
def test_hook_goes_where_the_host_looks(host: str, user: Path, project: Project) -> None:
    at_user, at_project = PLACES[host]
    assert install(host, "user", project).path == user / at_user
    assert install(host, "project", project).path == project.root / at_project
    for scope in SCOPES:
        path, hooks = installed(host, scope, project)
        assert path.exists()
        assert [hook.command.argv[-2:] for hook in hooks] == [("--format", host)]


def test_folders_that_hosts_let_users_move_are_followed(
    tmp_path: Path, user: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CLAUDE_CONFIG_DIR", "COPILOT_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    assert install("claude-code", "user", project).path == tmp_path / "CLAUDE_CONFIG_DIR/settings.json"
    assert install("copilot", "user", project).path == tmp_path / "COPILOT_HOME/hooks/edictum.json"
    assert install("opencode", "user", project).path == tmp_path / "XDG_CONFIG_HOME/opencode/plugins/edictum.js"


ENTRIES = {
    "claude-code": lambda line: {
        "hooks": {
            "PreToolUse": [
                {
                    "matcher": "*",
                    "hooks": [{"type": "command", "command": line, "timeout": 60, "onFailure": "block"}],
                }
            ]
        }
    },
    "cursor": lambda line: {"version": 1, "hooks": {"preToolUse": [{"command": line, "failClosed": True}]}},
    "copilot": lambda line: {
        "version": 1,
        "hooks": {"preToolUse": [{"type": "command", "bash": line, "timeoutSec": 60}]},
    },
    "gemini": lambda line: {
        "hooks": {
            "BeforeTool": [
                {
                    "matcher": "*",
                    "hooks": [{"name": "edictum-gate", "type": "command", "command": line, "timeout": 60_000}],
                }
            ]
        }
    },
}


@pytest.mark.parametrize("host", WITH_SETTINGS)
def test_settings_say_what_the_host_documents(host: str, user: Path, project: Project) -> None:
    path = install(host, "user", project).path
    assert json.loads(path.read_text()) == ENTRIES[host](HookCommand.for_host(host).line)


def test_rules_are_pinned_with_their_absolute_path(
    user: Path, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    install("gemini", "user", project, ["my rules.yaml"])
    _, (hook,) = installed("gemini", "user", project)
    assert hook.command.rules == (str(tmp_path / "my rules.yaml"),)


# --- there and back -------------------------------------------------------------------------------

FOREIGN = [
    "{}",
    "{}\n",
    "{ }",
    "",
    " \n",
    '{"hooks": {}}',
    '{\n  "model": "x",\n  "env": {"A": "ü"}\n}\n',
    '{"model":"x"}',
    '{\r\n\t"model": "x",\r\n\t"hooks": {\r\n\t\t"Stop": []\r\n\t}\r\n}\r\n',
    '// mine\n{\n  "model": "x", // why\n  /* old */\n}\n',
    '\ufeff{"hooks": {"LIST": []}}',
    '{"hooks": {"LIST": [\n  {"matcher": "Bash", "command": "echo", "bash": "echo", "hooks": [{"command": "a"}]}\n]}}',
    '{"version": 1, "hooks": {"LIST": [{"command": "x"}, {"command": "y"}]}, "z": [1, 2]}',
]


@pytest.mark.parametrize("host", WITH_SETTINGS)
@pytest.mark.parametrize("content", FOREIGN)
def test_uninstalling_restores_every_byte(host: str, content: str, user: Path, project: Project) -> None:
    content = content.replace("LIST", LISTS[host])
    path = put(host, project, content)
    assert install(host, "user", project).done == "installed"
    assert path.read_bytes() != content.encode()
    assert uninstall(host, "user", project).done == "restored"
    assert path.read_bytes() == content.encode()
    assert uninstall(host, "user", project).done == "absent"


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("scope", SCOPES)
def test_file_that_was_not_there_is_gone_again(host: str, scope: Any, user: Path, project: Project) -> None:
    assert uninstall(host, scope, project).done == "absent"
    path = install(host, scope, project).path
    assert uninstall(host, scope, project).done == "restored"
    assert not path.exists()


@pytest.mark.parametrize("host", HOSTS)
def test_installing_again_changes_nothing(host: str, user: Path, project: Project) -> None:
    path = install(host, "user", project).path
    before = path.read_bytes()
    change = install(host, "user", project)
    assert (change.done, change.backup, path.read_bytes()) == ("unchanged", None, before)


@pytest.mark.parametrize("host", HOSTS)
def test_installing_again_with_other_rules_updates_the_hook(host: str, user: Path, project: Project) -> None:
    install(host, "user", project)
    assert install(host, "user", project, ["/r.yaml"]).done == "updated"
    path, (hook,) = installed(host, "user", project)
    assert hook.command.rules == ("/r.yaml",)
    assert uninstall(host, "user", project).done in ("restored", "removed")
    assert not path.exists() or "hook.sh" not in path.read_text()


@pytest.mark.parametrize("host", WITH_SETTINGS)
def test_what_was_added_after_the_hook_stays_when_it_goes(host: str, user: Path, project: Project) -> None:
    key = LISTS[host]
    path = put(host, project, '{"model": "x"}')
    install(host, "user", project)
    changed = data(path)
    changed["hooks"][key].append({"command": "other", "hooks": [{"command": "other"}]})
    changed["later"] = True
    path.write_text(json.dumps(changed, indent=4))
    assert uninstall(host, "user", project).done == "removed"
    del changed["hooks"][key][0]
    assert data(path) == changed


@pytest.mark.parametrize("host", ["claude-code", "gemini"])
def test_hook_of_others_in_the_same_group_stays(host: str, user: Path, project: Project) -> None:
    path = install(host, "user", project).path
    changed = data(path)
    group = changed["hooks"][LISTS[host]][0]
    group["hooks"].insert(0, {"type": "command", "command": "mine"})
    path.write_text(json.dumps(changed))
    assert install(host, "user", project).done == "unchanged"
    uninstall(host, "user", project)
    del group["hooks"][1]
    assert data(path) == changed


def test_hook_that_was_narrowed_runs_for_all_tools_again(user: Path, project: Project) -> None:
    path = install("claude-code", "user", project).path
    path.write_text(path.read_text().replace('"matcher": "*"', '"matcher": "Bash"'))
    _, (hook,) = installed("claude-code", "user", project)
    assert hook.problems == ("it runs only for tools that match 'Bash'",)
    assert install("claude-code", "user", project).done == "updated"
    _, (hook,) = installed("claude-code", "user", project)
    assert hook.problems == ()


def test_hook_that_is_there_twice_is_there_once_again(user: Path, project: Project) -> None:
    path = install("cursor", "user", project).path
    twice = data(path)
    twice["hooks"]["preToolUse"] *= 2
    path.write_text(json.dumps(twice))
    assert install("cursor", "user", project).done == "updated"
    assert len(installed("cursor", "user", project)[1]) == 1


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("host", WITH_SETTINGS)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "line 1"),
        (b"[]", "around"),
        (b'{"hooks": []}', "around"),
        (b'{"hooks": {"LIST": {}}}', "is not an array"),
        (b'{"a": 1, "a": 2}', "a second time"),
        (b"\xff\xfe", "not UTF-8"),
        (b"hooks: []", "a value is expected"),
    ],
)
def test_file_that_cannot_be_read_is_left_alone(
    host: str, content: bytes, message: str, user: Path, project: Project
) -> None:
    content = content.replace(b"LIST", LISTS[host].encode())
    path = put(host, project, content)
    for step in (install, uninstall):
        with pytest.raises(EdictumConfigError, match=message) as caught:
            step(host, "user", project)
        assert str(path) in str(caught.value)
        assert "Nothing was written" in str(caught.value)
    assert path.read_bytes() == content
    assert not (user / ".edictum" / "backups").exists()


def test_plugin_of_another_origin_is_left_alone(user: Path, project: Project) -> None:
    path = put("opencode", project, "export const Other = async () => ({})\n")
    with pytest.raises(EdictumConfigError, match="another origin"):
        install("opencode", "user", project)
    assert uninstall("opencode", "user", project).done == "absent"
    assert path.read_text() == "export const Other = async () => ({})\n"


def test_folder_in_the_place_of_the_file_is_an_error(user: Path, project: Project) -> None:
    SETTINGS["gemini"].place("user", project).mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        install("gemini", "user", project)


def test_device_in_the_place_of_the_file_is_an_error(user: Path, project: Project) -> None:
    path = SETTINGS["gemini"].place("user", project)
    path.parent.mkdir(parents=True)
    path.symlink_to("/dev/null")
    with pytest.raises(EdictumConfigError, match="not an ordinary file"):
        install("gemini", "user", project)


# --- the file -------------------------------------------------------------------------------------


def test_each_change_has_a_backup_with_the_bytes_from_before(user: Path, project: Project) -> None:
    path = put("gemini", project, '{"a": 1}')
    first = install("gemini", "user", project)
    between = path.read_bytes()
    second = uninstall("gemini", "user", project)
    assert first.backup is not None
    assert second.backup is not None
    assert (first.backup.read_bytes(), second.backup.read_bytes()) == (b'{"a": 1}', between)
    for backup in (first.backup, second.backup):
        assert backup.parent == user / ".edictum" / "backups"
        assert stat.S_IMODE(backup.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664])
def test_file_keeps_its_mode(mode: int, user: Path, project: Project) -> None:
    path = put("gemini", project, "{}")
    path.chmod(mode)
    install("gemini", "user", project)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_link_is_followed_and_stays_a_link(user: Path, project: Project, tmp_path: Path) -> None:
    target = tmp_path / "dotfiles" / "settings.json"
    target.parent.mkdir()
    target.write_text('{"a": 1}')
    path = SETTINGS["gemini"].place("user", project)
    path.parent.mkdir()
    path.symlink_to(target)
    install("gemini", "user", project)
    assert path.is_symlink()
    assert "hook.sh" in target.read_text()
    uninstall("gemini", "user", project)
    assert (path.is_symlink(), target.read_text()) == (True, '{"a": 1}')
    assert [file.name for file in target.parent.iterdir()] == ["settings.json"]


def test_link_to_nothing_gets_its_target(user: Path, project: Project, tmp_path: Path) -> None:
    path = SETTINGS["gemini"].place("user", project)
    path.parent.mkdir()
    path.symlink_to(tmp_path / "dotfiles" / "settings.json")
    install("gemini", "user", project)
    assert "hook.sh" in (tmp_path / "dotfiles" / "settings.json").read_text()
    uninstall("gemini", "user", project)
    assert path.is_symlink()
    assert not path.exists()


def test_change_by_another_program_meanwhile_is_not_overwritten(user: Path, tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text("new")
    for before in (b"old", None):
        with pytest.raises(EdictumConfigError, match="changed by another program"):
            files.change(path, before, b"mine")
    with pytest.raises(EdictumConfigError, match="changed by another program"):
        files.change(path, b"old", None)
    assert path.read_text() == "new"
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["settings.json"]


@pytest.mark.fault
def test_write_that_fails_leaves_the_old_file_and_nothing_else(
    user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "settings.json"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.change(path, None, b"mine")
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["settings.json"]
    assert path.read_text() == "old"


def test_leftovers_of_a_killed_process_are_removed(user: Path, tmp_path: Path) -> None:
    (tmp_path / ".edictum-0123456789abcdef.tmp").write_text("half")
    files.change(tmp_path / "settings.json", None, b"mine")
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["settings.json"]


def change_for_ever(path: Path, contents: tuple[bytes, bytes], started: Any) -> None:
    before = contents[0]
    while True:
        after = contents[1] if before == contents[0] else contents[0]
        files.change(path, before, after)
        before = after
        started.set()


@pytest.mark.fault
def test_process_that_is_killed_in_the_middle_leaves_the_old_or_the_new_file(user: Path, tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    contents = (b"old " * 50_000, b"new " * 60_000)
    context = multiprocessing.get_context("spawn")
    delays = random.Random(7)
    seen = set()
    for _ in range(6):
        path.write_bytes(contents[0])
        started = context.Event()
        process = context.Process(target=change_for_ever, args=(path, contents, started))
        process.start()
        assert started.wait(TIMEOUT)
        time.sleep(delays.uniform(0, 0.03))
        process.kill()
        process.join(TIMEOUT)
        assert path.read_bytes() in contents
        seen.add(path.read_bytes())
    files.change(path, path.read_bytes(), b"whole")
    assert not list(tmp_path.glob(".edictum-*.tmp"))


# --- switches of the hosts ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "change", "problem"),
    [
        ("claude-code", lambda d: d.update(disableAllHooks=True), '"disableAllHooks" switches it off'),
        ("copilot", lambda d: d.update(disableAllHooks=True), '"disableAllHooks" switches it off'),
        ("gemini", lambda d: d.update(hooksConfig={"enabled": False}), '"hooksConfig.enabled" switches it off'),
        (
            "gemini",
            lambda d: d.update(hooksConfig={"disabled": ["edictum-gate"]}),
            '"hooksConfig.disabled" switches it off',
        ),
        ("gemini", lambda d: d["hooks"].update(disabled=["edictum-gate"]), '"hooks.disabled" switches it off'),
    ],
)
def test_setting_that_switches_hooks_off_is_seen(
    host: str, change: Callable[[Any], None], problem: str, user: Path, project: Project
) -> None:
    path = install(host, "user", project).path
    settings = data(path)
    change(settings)
    path.write_text(json.dumps(settings))
    _, (hook,) = installed(host, "user", project)
    assert hook.problems == (problem,)
