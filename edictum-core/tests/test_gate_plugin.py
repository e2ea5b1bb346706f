"""
The plugin for OpenCode, run by node as OpenCode's own runtime would.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from edictum.gate.install import install
from edictum.gate.project import Project
from gate_hosts import TIMEOUT, environment, write_rules

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None or os.name != "posix", reason="NOT TESTED: there is no node")

# Loads the plugin in each of the three ways of OpenCode and says what became of a call.
DRIVER = """
import { pathToFileURL } from "node:url"
import { readFileSync } from "node:fs"
const [file, style, call] = process.argv.slice(2)
const plugin = await import(pathToFileURL(file))
const { tool, args, directory } = JSON.parse(readFileSync(call))
const v1 = async (make) => {
  const hooks = await make({ directory, worktree: directory })
  await hooks["tool.execute.before"]({ tool, sessionID: "s", callID: "c" }, { args })
}
const v2 = async () => {
  let hook
  await plugin.default.setup({
    location: { directory },
    tool: { hook: async (name, callback) => { if (name === "execute.before") hook = callback } },
  })
  await hook({ tool, input: args, sessionID: "s" })
}
const ways = { function: () => v1(plugin.EdictumGate), module: () => v1(plugin.default.server), v2 }
try {
  await ways[style]()
  console.log(JSON.stringify({ runs: true }))
} catch (error) {
  console.log(JSON.stringify({ runs: false, why: error.message }))
}
"""
STYLES = ("function", "module", "v2")


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("OPENCODE_CONFIG_DIR", raising=False)
    return folder


@pytest.fixture
def plugin(user: Path) -> Path:
    return install("opencode", "user", Project.at(user)).path


def call(plugin: Path, user: Path, style: str = "module", tool: str = "bash", **args: Any) -> tuple[bool, str]:
    driver = user / "driver.mjs"
    driver.write_text(DRIVER)
    module = plugin.with_suffix(".mjs")  # node needs the ending to know what it is
    shutil.copy(plugin, module)
    what = user / "call.json"
    what.write_text(json.dumps({"tool": tool, "directory": str(user), **({"args": args} if args else {})}))
    assert NODE is not None
    done = subprocess.run(
        [NODE, str(driver), str(module), style, str(what)],
        capture_output=True,
        text=True,
        env=environment(user),
        timeout=TIMEOUT,
        check=True,
    )
    said = json.loads(done.stdout)
    return said["runs"], said.get("why", "")


@pytest.mark.parametrize("style", STYLES)
def test_call_runs_or_is_refused_with_its_reason(style: str, plugin: Path, user: Path) -> None:
    write_rules(user)
    assert call(plugin, user, style, command="ls") == (True, "")
    assert call(plugin, user, style, command="rm -rf /") == (False, "Not rm -rf /.")


def test_question_is_a_refusal(plugin: Path, user: Path) -> None:
    write_rules(user)
    runs, why = call(plugin, user, command="git push")
    assert (runs, "Push?" in why) == (False, True)


@pytest.mark.fault
def test_call_without_arguments_is_refused(plugin: Path, user: Path) -> None:
    write_rules(user)
    runs, why = call(plugin, user)
    assert (runs, '"args"' in why) == (False, True)


@pytest.mark.fault
def test_no_rules_is_a_refusal_that_says_what_to_do(plugin: Path, user: Path) -> None:
    runs, why = call(plugin, user, command="ls")
    assert (runs, "there are no rules" in why) == (False, True)


def program(user: Path, script: str) -> str:
    path = user / "program"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.fault
@pytest.mark.parametrize(
    "script",
    [
        "exit 0",
        "exit 1",
        "kill -9 $$",
        "echo '{\"allow\": true}'; exit 1",
        "echo '{\"allow\": true'",
        'echo \'{"allow": "yes"}\'',
        "echo '{}'",
        "echo null",
        "yes",
        "exec <&-; exit 3",
    ],
)
def test_check_that_breaks_is_a_refusal(script: str, plugin: Path, user: Path) -> None:
    text = plugin.read_text()
    start = text.index("const COMMAND = ")
    end = text.index(" // edictum-gate")
    plugin.write_text(f"{text[:start]}const COMMAND = {json.dumps([program(user, script)])}{text[end:]}")
    runs, why = call(plugin, user, command="x" * 200_000)
    assert (runs, bool(why)) == (False, True)


@pytest.mark.fault
def test_interpreter_that_is_gone_is_a_refusal(plugin: Path, user: Path) -> None:
    plugin.write_text(plugin.read_text().replace(json.dumps(sys.executable), '"/nonexistent/python"'))
    runs, why = call(plugin, user, command="ls")
    assert (runs, "ENOENT" in why) == (False, True)


def test_plugin_exports_what_every_release_of_opencode_looks_for(plugin: Path, user: Path) -> None:
    """
    1.2 calls every exported function, 1.18 wants an object with "server", 2.0 one with "id" and "setup".
    """
    module = plugin.with_suffix(".mjs")
    shutil.copy(plugin, module)
    script = (
        f"const m = await import({json.dumps(str(module))});"
        "console.log(JSON.stringify([Object.keys(m), typeof m.EdictumGate, typeof m.default, Object.keys(m.default)]))"
    )
    assert NODE is not None
    command = [NODE, "--input-type=module", "-e", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT)
    assert json.loads(done.stdout) == [["EdictumGate", "default"], "function", "object", ["id", "server", "setup"]]
