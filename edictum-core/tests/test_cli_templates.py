"""
``edictum templates``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from edictum import Edictum
from edictum.cli import main

NAMES = [template.name for template in Edictum.list_templates()]


def test_list_names_every_template_with_mode_and_description(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["templates"]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    assert {line.split()[1] for line in lines} == {"enforce", "observe"}
    assert all(len(line.split()) > 5 for line in lines)
    assert main(["templates", "list"]) == 0
    assert capsys.readouterr().out == printed


def test_list_as_json_has_the_path(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["templates", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["templates"]
    assert [template["name"] for template in found] == NAMES
    assert all(Path(template["path"]).is_file() and template["description"] for template in found)


@pytest.mark.parametrize("name", NAMES)
def test_show_prints_the_file_exactly(name: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    template = next(template for template in Edictum.list_templates() if template.name == name)
    assert template.cases is not None
    assert main(["templates", "show", name]) == 0
    assert capsysbinary.readouterr().out == template.path.read_bytes()
    assert main(["templates", "show", name, "--cases"]) == 0
    assert capsysbinary.readouterr().out == template.cases.read_bytes()


def test_copy_of_a_template_passes_the_copy_of_its_cases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for target, words in (("rules.yaml", ()), ("cases.yaml", ("--cases",))):
        main(["templates", "show", "file-agent", *words])
        Path(target).write_text(capsys.readouterr().out)
    assert main(["test", "rules.yaml", "--cases", "cases.yaml"]) == 0


def test_show_needs_no_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "ruamel.yaml", None)
    assert main(["templates", "show", "file-agent"]) == 0
    assert "kind: Ruleset" in capsys.readouterr().out
    assert main(["templates"]) == 2
    assert "pip install edictum-core[yaml]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show"], "needs the name of a template"),
        (["show", "file-agnet"], "file-agent, "),
        (["show", "../file-agent"], "there is no template"),
        (["show", "file-agent", "--json"], "--json is for the list"),
        (["list", "file-agent"], "templates show NAME"),
        (["list", "--cases"], "templates show NAME"),
        (["print"], "invalid choice"),
    ],
)
def test_wrong_use_is_said(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["templates", *words]) == 2
    captured = capsys.readouterr()
    assert said in captured.err + captured.out
