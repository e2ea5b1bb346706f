"""
Whether the hooks that are installed still block.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edictum.errors import EdictumConfigError
from edictum.gate.formats import HOSTS, Host, Verdict
from edictum.gate.hook_command import HookCommand
from edictum.gate.install import installed
from edictum.gate.project import Project, find_rules
from edictum.gate.settings import SCOPES, SETTINGS, Scope

SELF_TEST_SECONDS = 60

_NO_CALL = b"{}"  # every host's reader refuses it


@dataclass(frozen=True, slots=True)
class HookReport:
    """
    What was found out about one installed hook, or about a file that cannot be read.

    Attributes:
        host: Name of the host.
        scope: Whose settings it is in.
        path: The file.
        argv: The check that it runs; empty when there is none.
        rules: The rulesets that hold here.
        blocks: Whether a call that must be blocked was blocked; None when that could not be tried.
        problems: What is wrong.
        notes: What the user should know.
    """

    host: str
    scope: Scope
    path: Path
    argv: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    blocks: bool | None = None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def report(project: Project, environ: Mapping[str, str]) -> list[HookReport]:
    """
    Look at the hooks of all hosts, the user's and the project's, and try each.
    """
    reports: list[HookReport] = []
    for name in SETTINGS:
        seen: set[Path] = set()  # the project may be the user's home
        for scope in SCOPES:
            place = SETTINGS[name].place(scope, project)
            if place not in seen:
                seen.add(place)
                reports += _look_at(name, scope, place, project, environ)
        if sum(bool(found.argv) for found in reports if found.host == name) > 1:
            twice = "the hook is installed in both places, so each call is checked and counted twice"
            reports[-1] = replace(reports[-1], notes=(*reports[-1].notes, twice))
    return reports


def _look_at(name: str, scope: Scope, place: Path, project: Project, environ: Mapping[str, str]) -> list[HookReport]:
    try:
        _, hooks = installed(name, scope, project)
    except (EdictumConfigError, OSError) as error:
        return [HookReport(name, scope, place, problems=(str(error),))]
    several = ["it is installed more than once; install it again"] if len(hooks) > 1 else []
    reports = []
    for hook in hooks:
        rules, wrong, notes = _look_at_rules(project, hook.command.rules, environ)
        blocks, failure = try_hook(HOSTS[name], hook.command, project.folder)
        problems = (*hook.problems, *several, *wrong, *([failure] if failure else []))
        reports.append(HookReport(name, scope, place, hook.command.argv, rules, blocks, problems, notes))
    return reports


def try_hook(host: Host, command: HookCommand, folder: Path) -> tuple[bool, str | None]:
    """
    Run a hook as its host does, with a payload that names no call.

    Args:
        host: The host.
        command: What is installed.
        folder: Where to run it.

    Returns:
        Whether the host would take the answer for a block, and what is wrong all the same, or None.
    """
    line = ["/bin/sh", "-c", command.line] if command.script is not None else list(command.argv)
    try:
        done = subprocess.run(
            line, input=_NO_CALL, capture_output=True, timeout=SELF_TEST_SECONDS, cwd=folder, check=False
        )
    except OSError as error:  # the plugin for OpenCode takes that for a block
        return True, f'every call is blocked: "{command.argv[0]}" cannot be run ({error.strerror}); install it again'
    except subprocess.TimeoutExpired:
        return False, f"it took longer than {SELF_TEST_SECONDS} seconds"
    if done.returncode == host.failure_code and _is_block(host, done.stdout):
        return True, None
    said = done.stderr.decode("utf-8", "replace").strip().replace("\n", "; ") or "no message"
    if done.returncode == 2:
        return True, f"every call is blocked, because the check cannot run: {said}; install it again"
    return False, f"it does not block (exit code {done.returncode}): {said}; install it again"


def _is_block(host: Host, answer: bytes) -> bool:
    try:
        said = json.loads(answer)
    except ValueError:
        return False
    return isinstance(said, dict) and said.keys() == host.answer(Verdict("block", "x")).keys()


def _look_at_rules(
    project: Project, pinned: Sequence[str], environ: Mapping[str, str]
) -> tuple[tuple[str, ...], list[str], tuple[str, ...]]:
    """
    The rulesets that hold, what is wrong with them, and what in them has no effect.
    """
    from edictum.guard import Edictum

    rules: list[str] = []
    try:
        rules = find_rules(project, pinned, environ)
        described = Edictum.from_yaml(*rules, audit_sink=[], telemetry=False).describe()
    except (EdictumConfigError, OSError) as error:
        return tuple(rules), [f"every call is blocked: {error}"], ()
    notes: list[str] = []
    after = sum(rule["type"] == "postcondition" for rule in described["rules"])
    if after:
        what = "1 post rule has" if after == 1 else f"{after} post rules have"
        notes.append(f"{what} no effect, because hooks run before the tool")
    if described["mode"] == "observe":
        notes.append("the rules only observe: nothing is blocked")
    return tuple(rules), [], tuple(notes)
