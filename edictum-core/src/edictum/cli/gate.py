"""
``edictum gate``.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from edictum.cli.inputs import load_guard
from edictum.cli.terminal import CommandError, counted, say, say_json
from edictum.errors import EdictumConfigError
from edictum.gate.check import add_options
from edictum.gate.formats import HOSTS
from edictum.gate.install import install, uninstall
from edictum.gate.project import Project, find_rules, home
from edictum.gate.settings import SCOPES, SETTINGS

if TYPE_CHECKING:
    from edictum.gate.install import Change
    from edictum.gate.status import HookReport

_DONE = {
    "installed": "the hook is installed",
    "updated": "the hook is up to date again",
    "unchanged": "the hook is installed already",
    "removed": "the hook is removed",
    "restored": "the hook is removed, the file is as it was before",
    "absent": "there is no hook",
}
_HINTS = {
    ("copilot", "project"): "Copilot CLI runs hooks of projects only in folders that you trust",
    ("gemini", "project"): "Gemini CLI runs hooks of projects only in folders that you trust",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """
    Add the actions and their options.
    """
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    check = actions.add_parser("check", help="check the call on standard input; what a hook runs", allow_abbrev=False)
    add_options(check)
    check.epilog = "Exit codes are those that the assistant understands: 0 go on, 2 blocked (1 with raw, opencode)."
    put = actions.add_parser("install", help="make an assistant ask before each tool call", allow_abbrev=False)
    _add_place(put)
    put.add_argument("--rules", nargs="+", default=[], metavar="FILE", help="rulesets for this hook, and no others")
    _add_place(actions.add_parser("uninstall", help="take the hook out again", allow_abbrev=False), everywhere=True)
    status = actions.add_parser("status", help="show which hooks are installed and try them", allow_abbrev=False)
    status.add_argument("--json", action="store_true", help="print JSON")
    status.epilog = "Exit code 1 means that something is wrong with a hook."


def _add_place(parser: argparse.ArgumentParser, *, everywhere: bool = False) -> None:
    parser.add_argument("assistant", choices=list(SETTINGS), help=", ".join(SETTINGS))
    default = "both" if everywhere else SCOPES[0]
    parser.add_argument(
        "--scope",
        choices=SCOPES,
        default=None if everywhere else default,
        help=f"settings of the user or of this project; default: {default}",
    )


def run(arguments: argparse.Namespace) -> int:
    """
    Do what was asked for.
    """
    project = Project.at(os.getcwd())
    try:
        if arguments.action == "install":
            return _install(arguments, project)
        if arguments.action == "uninstall":
            return _uninstall(arguments, project)
    except EdictumConfigError as error:
        raise CommandError(str(error)) from None
    return _status(project, as_json=arguments.json)


def _install(arguments: argparse.Namespace, project: Project) -> int:
    rules, missing = arguments.rules, None
    try:
        rules = find_rules(project, rules, os.environ)
    except EdictumConfigError as error:
        missing = str(error)
    if missing is None:
        load_guard(*rules)  # a ruleset that cannot be read would block every call
    _show(arguments.assistant, install(arguments.assistant, arguments.scope, project, arguments.rules))
    hint = _HINTS.get((arguments.assistant, arguments.scope))
    if hint is not None:
        say(f"note: {hint}")
    if missing is not None:
        say(f"note: every call is blocked until there are rules; {missing}")
    else:
        say(f"rules{'' if arguments.rules else ' here'}: {', '.join(rules)}")
    say(f"{HOSTS[arguments.assistant].title} reads its settings when it starts; restart it")
    return 0


def _uninstall(arguments: argparse.Namespace, project: Project) -> int:
    scopes = SCOPES if arguments.scope is None else (arguments.scope,)
    for scope in scopes:
        _show(arguments.assistant, uninstall(arguments.assistant, scope, project))
    return 0


def _show(assistant: str, change: Change) -> None:
    say(f"{assistant}: {_DONE[change.done]}: {change.path}")
    if change.backup is not None:
        say(f"backup: {change.backup}")


def _status(project: Project, *, as_json: bool) -> int:
    from edictum.gate.status import report

    reports = report(project, os.environ)
    absent = [name for name in SETTINGS if all(report.host != name for report in reports)]
    if as_json:
        say_json({"hooks": [_published(report) for report in reports], "not_installed": absent, "home": str(home())})
    else:
        for found in reports:
            _show_report(found)
        if absent:
            say(f"not installed: {', '.join(absent)}")
        wrong = sum(bool(found.problems) for found in reports)
        say(f"{counted(len(reports), 'hook')}, {wrong or 'none'} with problems; decision log: {home() / 'audit'}")
    return 1 if any(found.problems for found in reports) else 0


def _show_report(found: HookReport) -> None:
    verdict = "does not work as it should" if found.problems else "blocks"
    say(f"{found.host}, {found.scope}: {verdict}: {found.path}")
    if found.argv:
        say(f"  command: {' '.join(found.argv)}")
    if found.rules:
        say(f"  rules: {', '.join(found.rules)}")
    for problem in found.problems:
        say(f"  problem: {problem}")
    for remark in found.notes:
        say(f"  note: {remark}")


def _published(found: HookReport) -> dict[str, Any]:
    return {
        "assistant": found.host,
        "scope": found.scope,
        "file": str(found.path),
        "command": list(found.argv),
        "rules": list(found.rules),
        "blocks": found.blocks,
        "problems": list(found.problems),
        "notes": list(found.notes),
    }
