"""
Which rules hold for a call and which session counts it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from edictum import EdictumConfigError
from edictum.gate.formats import HOSTS, HookCall
from edictum.gate.project import Project, find_rules, home, project_of, session_of

CALL = HookCall("Bash", {}, "Bash")


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / ".git").mkdir(parents=True)
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (folder / "a" / "b").mkdir(parents=True)
    return folder


def touch(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    return str(path)


# --- rules ----------------------------------------------------------------------------------------


def test_rules_are_looked_for_from_near_to_far(user: Path, repository: Path) -> None:
    project = Project.at(repository / "a" / "b")
    own = [touch(user / ".edictum/rules/b.yaml"), touch(user / ".edictum/rules/a.json")]
    assert find_rules(project, [], {}) == sorted(own)
    at_root = touch(repository / ".edictum/rules.yaml")
    assert find_rules(project, [], {}) == [at_root]
    nearer = touch(repository / "a/.edictum/rules.json")
    assert find_rules(project, [], {}) == [nearer]
    variable = {"EDICTUM_RULES": f"/x.yaml{os.pathsep}/y.yaml"}
    assert find_rules(project, [], variable) == ["/x.yaml", "/y.yaml"]
    assert find_rules(project, ["/z.yaml"], variable) == ["/z.yaml"]


@pytest.mark.security
def test_rules_above_the_repository_are_not_looked_at(user: Path, repository: Path, tmp_path: Path) -> None:
    touch(tmp_path / ".edictum/rules.yaml")
    with pytest.raises(EdictumConfigError, match="there are no rules"):
        find_rules(Project.at(repository / "a"), [], {})


@pytest.mark.security
def test_outside_of_a_repository_only_the_folder_itself_counts(user: Path, tmp_path: Path) -> None:
    touch(tmp_path / ".edictum/rules.yaml")
    folder = tmp_path / "loose"
    folder.mkdir()
    with pytest.raises(EdictumConfigError, match="there are no rules"):
        find_rules(Project.at(folder), [], {})
    mine = touch(folder / ".edictum/rules.yaml")
    assert find_rules(Project.at(folder), [], {}) == [mine]


def test_missing_rules_say_what_to_do(user: Path, repository: Path) -> None:
    with pytest.raises(EdictumConfigError) as caught:
        find_rules(Project.at(repository), [], {"EDICTUM_RULES": ""})
    text = str(caught.value)
    assert str(repository / ".edictum/rules.yaml") in text
    assert str(user / ".edictum/rules/rules.yaml") in text
    assert "--rules" in text


def test_other_files_among_the_own_rules_are_left_alone(user: Path, repository: Path) -> None:
    for name in ("notes.txt", ".hidden.yaml", "old.yaml.bak"):
        touch(user / ".edictum/rules" / name)
    mine = touch(user / ".edictum/rules/mine.yml")
    assert find_rules(Project.at(repository), [], {}) == [mine]


def test_rules_of_the_project_that_cannot_be_used_are_not_skipped(user: Path, repository: Path) -> None:
    touch(user / ".edictum/rules/own.yaml")
    (repository / ".edictum/rules.yaml").mkdir(parents=True)
    assert find_rules(Project.at(repository), [], {}) == [str(repository / ".edictum/rules.yaml")]


# --- project --------------------------------------------------------------------------------------


def test_project_is_what_the_host_names_and_else_the_folder_of_the_process(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named = {"CLAUDE_PROJECT_DIR": str(repository / "a")}
    moved = HookCall("Bash", {}, "Bash", cwd="/")
    assert project_of(HOSTS["claude-code"], moved, named).folder == repository / "a"
    assert project_of(HOSTS["claude-code"], moved, {}).folder == tmp_path
    opened = HookCall("Bash", {}, "Bash", project=str(repository))
    assert project_of(HOSTS["cursor"], opened, {}).folder == repository
    assert project_of(HOSTS["cursor"], opened, named).folder == repository


def test_links_do_not_make_another_project(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(repository)
    assert Project.at(tmp_path / "link" / "a") == Project.at(repository / "a")


def test_home_is_the_users(user: Path) -> None:
    assert home() == user / ".edictum"


# --- session --------------------------------------------------------------------------------------


def test_session_is_taken_from_near_to_far(repository: Path) -> None:
    project = Project.at(repository / "a" / "b")
    by_branch = session_of(project, None, CALL)
    assert by_branch == session_of(Project.at(repository), None, CALL)
    (repository / ".edictum-session").write_text(json.dumps({"session_id": "from-file"}))
    assert session_of(project, None, CALL) == "from-file"
    (repository / "a" / ".edictum-session").write_text(json.dumps({"session_id": "nearer"}))
    assert session_of(project, None, CALL) == "nearer"
    hosted = HookCall("Bash", {}, "Bash", session_id="hosted")
    assert session_of(project, None, hosted) == "hosted"
    assert session_of(project, "given", hosted) == "given"


def to_other_branch(repository: Path) -> None:
    (repository / ".git" / "HEAD").write_text("ref: refs/heads/other\n")


def to_worktree(repository: Path) -> None:
    (repository / "elsewhere").mkdir()
    (repository / "elsewhere" / "HEAD").write_text("ref: refs/heads/third\n")
    for file in (repository / ".git").iterdir():
        file.unlink()
    (repository / ".git").rmdir()
    (repository / ".git").write_text("gitdir: elsewhere\n")


@pytest.mark.parametrize("change", [to_other_branch, to_worktree])
def test_another_branch_is_another_session(repository: Path, change: Callable[[Path], None]) -> None:
    before = session_of(Project.at(repository), None, CALL)
    change(repository)
    assert session_of(Project.at(repository), None, CALL) != before


def test_folders_without_a_repository_have_sessions_of_their_own(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
    ids = {session_of(Project.at(tmp_path / name), None, CALL) for name in ("x", "y")}
    assert len(ids) == 2


@pytest.mark.parametrize("hosted", ["a/b", "a:b", "x" * 300, "line\nbreak", "\ud800"])
def test_id_that_storage_cannot_take_is_replaced_by_one_of_its_own(hosted: str, repository: Path) -> None:
    first, again, other = (
        session_of(Project.at(repository), None, HookCall("Bash", {}, "Bash", session_id=text))
        for text in (hosted, hosted, hosted + "2")
    )
    assert first == again != other
    assert hosted not in first


@pytest.mark.parametrize("given", ["", "a/b", "x" * 300])
def test_session_on_the_command_line_that_is_not_valid_is_an_error(given: str, repository: Path) -> None:
    with pytest.raises(EdictumConfigError, match="--session-id"):
        session_of(Project.at(repository), given, CALL)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"session_id": 7}', '{"session_id": ""}', "\xff"])
def test_session_file_that_cannot_be_used_is_an_error(content: str, repository: Path) -> None:
    (repository / ".edictum-session").write_bytes(content.encode("latin-1"))
    with pytest.raises(EdictumConfigError, match=r"\.edictum-session cannot be used"):
        session_of(Project.at(repository), None, CALL)
