"""
Rulesets and workflows shown in the documentation load as they are printed, and the page on testing runs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import edictum
import pytest
from edictum import Edictum, load_workflow_string
from edictum.cli import COMMANDS, main
from edictum.lint import CHECKS

ROOT = Path(__file__).parents[2]
SOURCE = Path(edictum.__file__).parents[1]
TESTING = ROOT / "docs" / "testing.md"
SHOWN = [
    pytest.param(block, id=f"{path.name}-{number}")
    for path in sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "edictum-core" / "README.md"))
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", path.read_text(), re.DOTALL))
    if not block.startswith("# cases.yaml\n")
]


PARENT = {
    "apiVersion": "edictum/v1",
    "kind": "Ruleset",
    "metadata": {"name": "base"},
    "defaults": {"mode": "enforce"},
    "rules": [{"id": "no-secret-files", "type": "sandbox", "tool": "*", "within": ["."], "message": "stay"}],
}


@pytest.mark.parametrize("text", SHOWN)
def test_document_in_the_documentation_loads(text: str) -> None:
    if "kind: Workflow" in text:
        assert load_workflow_string(text).stages
        return
    shipped = {template.name: template.path for template in Edictum.list_templates()}
    # Without telemetry: one of them would set it up for the whole process of the tests.
    guard = Edictum.from_yaml_string(text, rulesets=shipped | {"base": PARENT}, telemetry=False)
    assert guard.describe()["rules"]


def test_table_of_templates_names_all_of_them_with_their_mode() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| (\w+) \|", (ROOT / "docs" / "templates.md").read_text(), re.MULTILINE)
    assert sorted(rows) == [
        (template.name, Edictum.from_template(template.name).mode) for template in Edictum.list_templates()
    ]


def test_every_command_and_every_check_is_documented() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    assert [command for command in COMMANDS if f"`edictum {command}" not in text] == []
    assert [check for check in CHECKS if f"`{check}`" not in text] == []


def test_documentation_shows_rulesets() -> None:
    assert len(SHOWN) >= 2


# --- the page on testing ----------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """
    The files of the page, by the names in their first lines.
    """
    for name, block in re.findall(r"```\w+\n# (\S+)\n(.*?)```", TESTING.read_text(), re.DOTALL):
        (tmp_path / name).write_text(block)
    return tmp_path


def test_cases_in_the_documentation_hold(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(folder / "rules.yaml"), "--cases", str(folder / "cases.yaml")]) == 0
    assert "4 of 4 cases passed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("runner", "file", "passed"),
    [
        (["pytest", "-q", "-p", "no:cacheprovider"], "test_rules.py", "1 passed"),
        (["pytest", "-q", "-p", "no:cacheprovider"], "test_agent.py", "2 passed"),
        (["pytest", "-q", "-p", "no:cacheprovider"], "test_my_store.py", " passed"),
        (["unittest"], "test_my_store.py", "OK"),
    ],
    ids=["rules", "agent", "store", "store-unittest"],
)
def test_tests_in_the_documentation_pass(folder: Path, runner: list[str], file: str, passed: str) -> None:
    path = folder / file
    if runner == ["unittest"]:
        text = path.read_text().replace("(StorageBackendSuite):", "(StorageBackendSuite, unittest.TestCase):")
        path.write_text(f"import unittest\n{text}")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), *filter(None, sys.path)])}
    command = [sys.executable, "-W", "error", "-m", *runner, file]
    found = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)

    assert found.returncode == 0, found.stdout + found.stderr
    assert passed in found.stdout + found.stderr
    assert "failed" not in found.stdout + found.stderr
