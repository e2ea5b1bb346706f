"""
What README.md says is so.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from pathlib import Path

import pytest
from consoles import EMAIL, PASSWORD
from edictum_console.settings import KNOWN, load_settings
from test_serve import call, serving

README = (Path(__file__).parents[1] / "README.md").read_text()
ROW = re.compile(r"^\| `(EDICTUM_\w+)` \|(.*?)\| (.+) \|$", re.MULTILINE)


def test_readme_lists_every_variable_once() -> None:
    assert [variable for variable, _, _ in ROW.findall(README)] == sorted(KNOWN)


@pytest.mark.parametrize("variable", KNOWN)
def test_readme_has_the_default_of(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (default,) = [default.strip() for name, default, _ in ROW.findall(README) if name == variable]
    assert default in ("", "generated") or (default[0], default[-1]) == ("`", "`")
    nothing = load_settings({})
    assert load_settings({variable: default.strip("`") if default != "generated" else ""}) == nothing
    assert (default == "generated") == (variable in ("EDICTUM_SECRET_KEY", "EDICTUM_SIGNING_KEY_SECRET"))


def test_backup_of_a_running_console_can_be_put_back(tmp_path: Path) -> None:
    admin = {"EDICTUM_ADMIN_EMAIL": EMAIL, "EDICTUM_ADMIN_PASSWORD": PASSWORD}
    old, new = tmp_path / "old", tmp_path / "new"
    new.mkdir(mode=0o700)
    with serving(old, **admin):
        with sqlite3.connect(old / "console.db") as database:
            database.execute(f"VACUUM INTO '{new / 'console.db'}'")
        database.close()
        for file in old.glob("*.key"):
            shutil.copy(file, new)
    with serving(new) as (address, written, _):
        assert "/setup#" not in written
        me, cookie = call(address, "/api/v1/auth/login", {"email": EMAIL, "password": PASSWORD})
        headers = {"Cookie": cookie, "X-CSRF-Token": me["csrf_token"]}
        text = "apiVersion: edictum/v1\nkind: Ruleset\nmetadata: {name: a}\ndefaults: {mode: enforce}\nrules:\n"
        text += "  - {id: r, type: pre, tool: t, when: {args.a: {exists: true}}, then: {action: block, message: no}}\n"
        call(address, "/api/v1/bundles", {"yaml_content": text}, **headers)
        # Signing opens what was sealed before the backup.
        assert call(address, "/api/v1/bundles/a/1/deploy", {"env": "production"}, **headers)[0]["deployment_seq"] == 1
