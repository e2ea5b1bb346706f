"""
Rulesets and workflows shown in the documentation load as they are printed.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from edictum import Edictum, load_workflow_string
from edictum.cli import COMMANDS
from edictum.lint import CHECKS

ROOT = Path(__file__).parents[2]
SHOWN = [
    pytest.param(block, id=f"{path.name}-{number}")
    for path in sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "edictum-core" / "README.md"))
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", path.read_text(), re.DOTALL))
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
