"""
The command migrate: the words change, everything else in the file stays.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from edictum import Edictum
from edictum.cli import main

OLD = """\
# Rules of the office.
apiVersion: edictum/v1
kind: "ContractBundle"   # older word
metadata:   {name: office}
defaults:
    mode: shadow

contracts:
    # first
    - id: no-deny   # "deny" in an id or a message is not a word of the vocabulary
      type: pre
      tool: 'read_file'
      when: {args.path: {contains: "deny"}}
      then:
          effect: 'deny'
          message: "deny, contracts, effect: all stay. Grüße"
    - {id: ask, type: pre, tool: x, when: {args.a: {exists: true}},
       then: {effect: approve, message: ok, timeout_effect: deny}}
"""

NEW = """\
# Rules of the office.
apiVersion: edictum/v1
kind: "Ruleset"   # older word
metadata:   {name: office}
defaults:
    mode: observe

rules:
    # first
    - id: no-deny   # "deny" in an id or a message is not a word of the vocabulary
      type: pre
      tool: 'read_file'
      when: {args.path: {contains: "deny"}}
      then:
          action: 'block'
          message: "deny, contracts, effect: all stay. Grüße"
    - {id: ask, type: pre, tool: x, when: {args.a: {exists: true}},
       then: {action: ask, message: ok, timeout_action: block}}
"""

CHANGES = {
    "contracts: contracts -> rules",
    "kind: ContractBundle -> Ruleset",
    "defaults.mode: shadow -> observe",
    "contracts[0].then.effect: effect -> action",
    "contracts[0].then.effect: deny -> block",
    "contracts[1].then.effect: effect -> action",
    "contracts[1].then.effect: approve -> ask",
    "contracts[1].then.timeout_effect: deny -> block",
    "contracts[1].then.timeout_effect: timeout_effect -> timeout_action",
}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_bytes(OLD.encode())
    return path


def test_migrate_prints_the_document_and_lists_the_changes(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", str(old)]) == 0
    captured = capsys.readouterr()
    assert captured.out == NEW
    *changes, last = captured.err.splitlines()
    assert set(changes) == CHANGES
    assert last == f"{old}: {len(CHANGES)} changes"
    assert old.read_bytes() == OLD.encode()


def test_migrated_document_is_a_valid_ruleset(old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "new.yaml"
    assert main(["migrate", str(old), "--output", str(target)]) == 0
    assert capsys.readouterr().err == ""
    assert target.read_bytes() == NEW.encode()
    assert [rule["action"] for rule in Edictum.from_yaml(target).describe()["rules"]] == ["block", "ask"]


def test_migrate_in_place_keeps_the_original_and_the_permissions(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old.chmod(0o640)
    assert main(["migrate", str(old), "--in-place"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"{old}: {len(CHANGES)} changes, written to {old}, original kept as {old}.bak"
    assert old.read_bytes() == NEW.encode()
    assert Path(f"{old}.bak").read_bytes() == OLD.encode()
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    assert sorted(os.listdir(old.parent)) == ["rules.yaml", "rules.yaml.bak"]


def test_migrate_in_place_twice_changes_nothing_more(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", str(old), "--in-place"]) == 0
    assert main(["migrate", str(old), "--in-place"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{old}: nothing to change"
    assert Path(f"{old}.bak").read_bytes() == OLD.encode()


def test_migrate_in_place_never_overwrites_a_backup(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backup = Path(f"{old}.bak")
    backup.write_text("precious")
    assert main(["migrate", str(old), "--in-place"]) == 2
    assert capsys.readouterr().err == f'error: the backup "{backup}" exists already; move it away first\n'
    assert (backup.read_text(), old.read_bytes()) == ("precious", OLD.encode())


def test_migrate_in_place_through_a_link_changes_the_file_behind_it(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link = old.with_name("link.yaml")
    link.symlink_to(old)
    assert main(["migrate", str(link), "--in-place"]) == 0
    capsys.readouterr()
    assert link.is_symlink()
    assert old.read_bytes() == NEW.encode()


def test_migrate_output_onto_the_file_itself_is_refused(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", str(old), "--output", str(old)]) == 2
    assert "use --in-place" in capsys.readouterr().err
    assert old.read_bytes() == OLD.encode()


def test_migrate_output_into_a_missing_folder_is_wrong_use(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["migrate", str(old), "--output", str(tmp_path / "none" / "new.yaml")]) == 2
    assert capsys.readouterr().err.startswith("error: cannot write ")


@pytest.mark.parametrize("ending", ["\r\n", "\n"])
@pytest.mark.parametrize("lead", ["", "\ufeff"])
def test_migrate_keeps_line_endings_and_byte_order_mark(
    ending: str, lead: str, old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old.write_bytes((lead + OLD).replace("\n", ending).encode())
    assert main(["migrate", str(old), "--in-place"]) == 0
    capsys.readouterr()
    assert old.read_bytes() == (lead + NEW).replace("\n", ending).encode()


def test_migrate_json_document_keeps_its_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """{ "apiVersion": "edictum/v1", "kind": "ContractBundle",
  "metadata": {"name": "a"},   "defaults": {"mode": "enforce"},
\t"contracts": [{"id": "deny", "type": "pre", "tool": "deny\\u00e9\\"x", "when": {"args.n": {"gt": -1.5e3}},
    "then": {"effect": "deny", "message": "contracts {args.n}"}}]}
"""
    path = tmp_path / "rules.json"
    path.write_text(text)
    assert main(["migrate", str(path)]) == 0
    expected = text.replace('"ContractBundle"', '"Ruleset"').replace('"contracts":', '"rules":')
    assert capsys.readouterr().out == expected.replace('"effect": "deny"', '"action": "block"')


def test_migrate_json_report_lists_changes(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", str(old), "--json"]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert {"path": "kind", "old": "ContractBundle", "new": "Ruleset"} in report.pop("changes")
    assert report == {
        "file": str(old),
        "changed": True,
        "output": None,
        "backup": None,
        "document": NEW,
        "problems": [],
    }


def test_migrate_current_document_is_printed_unchanged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(NEW, encoding="utf-8")
    assert main(["migrate", str(path)]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (NEW, f"{path}: nothing to change\n")


def test_migrate_document_in_both_vocabularies_is_refused(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old.write_text(OLD + "rules: []\n", encoding="utf-8")
    assert main(["migrate", str(old), "--in-place", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["success"] is False
    assert 'both "contracts" and "rules" are given' in report["error"]
    assert os.listdir(old.parent) == ["rules.yaml"]


def test_migrate_document_that_stays_invalid_is_written_and_reported(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old.write_text(OLD.replace("type: pre\n", "type: pree\n"), encoding="utf-8")
    assert main(["migrate", str(old), "--in-place"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"{old}: still invalid, 1 problem"
    assert lines[-2].startswith(f"{old}:11:13: rules[0].type: ")
    assert "contracts:" not in old.read_text(encoding="utf-8")


def test_migrate_document_that_would_lose_a_key_is_left_to_a_person(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Both synonyms at once: dropping one would mean to guess what a comment beside it belongs to.
    """
    old.write_text(OLD.replace("timeout_effect: deny", "timeout_effect: deny, timeout_action: deny"), encoding="utf-8")
    before = old.read_bytes()
    assert main(["migrate", str(old), "--in-place"]) == 1
    error = capsys.readouterr().err
    assert "change these words by hand" in error
    assert "timeout_effect -> timeout_action" in error
    assert old.read_bytes() == before
    assert os.listdir(old.parent) == ["rules.yaml"]
