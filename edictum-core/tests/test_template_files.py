"""
Finding templates by name, in folders of the user's and among those that are shipped, and making guards from them.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from pathlib import Path
from typing import Any

import edictum
import pytest
from edictum import CollectingAuditSink, Edictum, EdictumConfigError, EdictumDenied
from edictum.template_files import TemplateInfo, find_template, list_templates

RULESET = """\
apiVersion: edictum/v1
kind: Ruleset
metadata: {name: %s}
defaults: {mode: enforce}
rules:
  - id: no-path
    type: pre
    tool: "*"
    when: {args.path: {exists: true}}
    then: {action: block, message: "Blocked by %s."}
"""


def write(folder: Path, name: str, text: str | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text if text is not None else RULESET % ("own", name))
    return path


def reason(guard: Edictum) -> str:
    with pytest.raises(EdictumDenied) as denied:
        guard.run_sync("read_file", {"path": "a"}, lambda path: "text")
    return denied.value.reason


# --- listing -------------------------------------------------------------------------------------


def test_shipped_templates_are_listed_by_name() -> None:
    found = Edictum.list_templates()
    names = [template.name for template in found]
    assert names == sorted(names)
    assert {"file-agent", "research-agent", "devops-agent", "nanobot-agent", "coding-assistant-base"} <= set(names)
    assert all(template.builtin and template.path.is_file() for template in found)


def test_template_info_is_exported_from_the_root() -> None:
    assert edictum.TemplateInfo is TemplateInfo
    assert type(Edictum.list_templates()[0]) is TemplateInfo


def test_cases_are_no_templates_of_their_own() -> None:
    assert not [template.name for template in Edictum.list_templates() if "cases" in template.name]
    assert all(template.cases is not None for template in Edictum.list_templates())


def test_own_templates_come_first_and_hide_shipped_ones(tmp_path: Path) -> None:
    write(tmp_path / "a", "file-agent.yaml")
    write(tmp_path / "a", "zebra.yml")
    write(tmp_path / "b", "zebra.yaml")
    write(tmp_path / "b", "ant.json", "{}")
    found = list_templates([tmp_path / "a", str(tmp_path / "b")])
    assert [template.name for template in found[:3]] == ["file-agent", "zebra", "ant"]
    assert [template.path for template in found[:2]] == [
        tmp_path / "a" / "file-agent.yaml",
        tmp_path / "a" / "zebra.yml",
    ]
    assert [template.builtin for template in found[:4]] == [False, False, False, True]
    assert len({template.name for template in found}) == len(found)


def test_other_files_folders_and_hidden_files_are_no_templates(tmp_path: Path) -> None:
    for name in ("notes.txt", ".hidden.yaml", "x.cases.yaml", "x.yaml~", "README"):
        write(tmp_path, name)
    (tmp_path / "folder.yaml").mkdir()
    write(tmp_path, "x.yaml")
    assert [template.name for template in list_templates([tmp_path]) if not template.builtin] == ["x"]


def test_yaml_wins_over_other_endings_of_one_folder(tmp_path: Path) -> None:
    for ending in ("json", "yml", "yaml"):
        write(tmp_path, f"x.{ending}")
    assert find_template("x", [tmp_path]).path == tmp_path / "x.yaml"


def test_cases_beside_an_own_template_are_found(tmp_path: Path) -> None:
    write(tmp_path, "x.yaml")
    write(tmp_path, "y.yaml")
    cases = write(tmp_path, "x.cases.yml", "cases: []\n")
    assert find_template("x", [tmp_path]).cases == cases
    assert find_template("y", [tmp_path]).cases is None


# --- what is refused -----------------------------------------------------------------------------


def test_unknown_name_is_an_error_that_lists_the_known_ones(tmp_path: Path) -> None:
    write(tmp_path, "mine.yaml")
    with pytest.raises(EdictumConfigError, match=r'no template "file-agnet".* file-agent, .*mine') as refused:
        Edictum.from_template("file-agnet", template_dirs=[tmp_path])
    assert "from_yaml" in str(refused.value)


@pytest.mark.security
@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../secret",
        "sub/secret",
        "sub\\secret",
        "./file-agent",
        "file-agent.yaml",
        "file-agent.cases",
        "FILE-AGENT",
        "file-agent\0",
        "file-agent\n",
        " file-agent",
        "*",
        "x" * 5_000,
    ],
)
def test_name_is_never_a_path(name: str, tmp_path: Path) -> None:
    write(tmp_path, "secret.yaml")
    write(tmp_path / "dirs" / "sub", "secret.yaml")
    with pytest.raises(EdictumConfigError, match="there is no template"):
        Edictum.from_template(name, template_dirs=[tmp_path / "dirs"])


@pytest.mark.security
def test_absolute_path_is_no_name(tmp_path: Path) -> None:
    path = write(tmp_path, "secret.yaml")
    for name in (str(path), str(path.with_suffix(""))):
        with pytest.raises(EdictumConfigError, match="there is no template"):
            Edictum.from_template(name, template_dirs=[tmp_path / ".."])


@pytest.mark.parametrize("name", [None, 7, b"file-agent", Path("file-agent")])
def test_name_that_is_not_text_is_no_template(name: Any) -> None:
    with pytest.raises(EdictumConfigError, match="there is no template"):
        Edictum.from_template(name)


def test_folder_that_is_not_there_is_an_error_and_not_passed_over(tmp_path: Path) -> None:
    """
    Otherwise a misspelled folder would mean the shipped template of the same name, with other rules.
    """
    with pytest.raises(EdictumConfigError, match=r"templates cannot be read from .*nowhere.*[Nn]o such file"):
        Edictum.from_template("file-agent", template_dirs=[tmp_path / "nowhere"])


def test_file_in_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EdictumConfigError, match="templates cannot be read from"):
        list_templates([write(tmp_path, "x.yaml")])


def test_folder_with_a_control_character_is_an_error() -> None:
    with pytest.raises(EdictumConfigError, match="templates cannot be read from"):
        list_templates(["a\0b"])


@pytest.mark.parametrize("folders", ["templates", Path("templates"), b"templates"])
def test_folder_that_is_not_in_a_list_is_an_error(folders: Any) -> None:
    with pytest.raises(EdictumConfigError, match="a list of folders"):
        list_templates(folders)


def test_invalid_template_is_an_error_with_its_place(tmp_path: Path) -> None:
    write(tmp_path, "x.yaml", "rules: 3\n")
    with pytest.raises(EdictumConfigError, match=r"x\.yaml"):
        Edictum.from_template("x", template_dirs=[tmp_path])


def test_missing_extra_is_the_usual_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ruamel.yaml", None)
    with pytest.raises(EdictumConfigError, match=r"pip install edictum-core\[yaml\]"):
        Edictum.from_template("file-agent")
    assert Edictum.list_templates()


# --- guards --------------------------------------------------------------------------------------


def test_earlier_folder_wins_over_later_and_shipped_ones(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        write(folder, "file-agent.yaml", RULESET % (folder.name, folder.name))
    assert reason(Edictum.from_template("file-agent", template_dirs=[first, second])) == "Blocked by a."
    assert reason(Edictum.from_template("file-agent", template_dirs=[second, first])) == "Blocked by b."


def test_json_template_needs_no_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ruamel.yaml", None)
    write(
        tmp_path,
        "x.json",
        '{"apiVersion": "edictum/v1", "kind": "Ruleset", "metadata": {"name": "x"}, "defaults": {"mode": "enforce"},'
        ' "rules": [{"id": "a", "type": "session", "limits": {"max_attempts": 1},'
        ' "then": {"action": "block", "message": "m"}}]}',
    )
    assert Edictum.from_template("x", template_dirs=[tmp_path]).limits.max_attempts == 1


def test_identity_is_that_of_the_file() -> None:
    template = find_template("file-agent")
    guard = Edictum.from_template("file-agent")
    assert guard.policy_version == hashlib.sha256(template.path.read_bytes()).hexdigest()
    assert guard.describe()["sources"] == [str(template.path)]


def test_options_are_those_of_other_factories() -> None:
    sink = CollectingAuditSink()
    guard = Edictum.from_template(
        "file-agent", mode="observe", environment="staging", audit_sink=sink, tools={"x": {"side_effect": "read"}}
    )
    assert guard.run_sync("read_file", {"path": ".env"}, lambda path: "text") == "text"
    assert (guard.mode, guard.environment) == ("observe", "staging")
    assert sink.events[0].action == "call_would_deny"
    assert "x" in guard.describe()["tools"]


def test_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError):
        Edictum.from_template("file-agent", template_dir=["x"])


def test_template_may_extend_another_one_of_its_folder(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", RULESET % ("base", "base"))
    write(
        tmp_path,
        "child.yaml",
        "apiVersion: edictum/v1\nkind: Ruleset\nmetadata: {name: child}\ndefaults: {mode: enforce}\nextends: base\n",
    )
    assert reason(Edictum.from_template("child", template_dirs=[tmp_path])) == "Blocked by base."


def test_own_file_may_extend_a_shipped_template(tmp_path: Path) -> None:
    child = write(
        tmp_path,
        "rules.yaml",
        "apiVersion: edictum/v1\nkind: Ruleset\nmetadata: {name: mine}\ndefaults: {mode: enforce}\n"
        "extends: research-agent\nrules:\n  - id: session-limits\n    override: true\n    type: session\n"
        "    limits: {max_tool_calls: 10}\n    then: {action: block, message: Enough.}\n",
    )
    shipped = {template.name: template.path for template in Edictum.list_templates()}
    guard = Edictum.from_yaml(child, rulesets=shipped)
    assert guard.limits.max_tool_calls == 10
    assert guard.evaluate("read_file", {"path": ".env"}).decision == "block"


def test_guard_reads_its_template_again_from_disk(tmp_path: Path) -> None:
    path = write(tmp_path, "x.yaml", RULESET % ("x", "the first"))
    guard = Edictum.from_template("x", template_dirs=[tmp_path])
    path.write_text(RULESET % ("x", "the second"))
    asyncio.run(guard.reload_from_disk())
    assert reason(guard) == "Blocked by the second."


def test_subclass_makes_its_own_kind() -> None:
    class Guard(Edictum):
        pass

    assert type(Guard.from_template("file-agent")) is Guard
