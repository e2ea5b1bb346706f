"""
Putting the hook into the settings of an assistant, and taking it out again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from edictum.errors import EdictumConfigError
from edictum.gate import files
from edictum.gate.hook_command import HookCommand
from edictum.gate.project import Project
from edictum.gate.settings import SETTINGS, Installed, Scope, Settings
from edictum.gate.settings_text import SettingsProblem

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Change:
    """
    What was done to a file.

    Attributes:
        path: The file.
        done: What happened; ``restored`` means that it is again what it was before the hook was installed.
        backup: The copy of what was there before, or None.
    """

    path: Path
    done: Literal["installed", "updated", "unchanged", "removed", "restored", "absent"]
    backup: Path | None = None


def install(host: str, scope: Scope, project: Project, rules: Sequence[str] = ()) -> Change:
    """
    Put the hook into a host's settings, or bring it up to date.

    Args:
        host: Name of the host.
        scope: ``user`` for all projects, ``project`` for one.
        project: Which one.
        rules: Rulesets to pin; otherwise they are looked for at each call.

    Raises:
        EdictumConfigError: The settings cannot be edited; nothing was written.
        OSError: Likewise.
    """
    if os.name != "posix":
        raise EdictumConfigError("hooks can be installed on Linux and macOS only")
    command = HookCommand.for_host(host, rules)
    path, before, known = _look(host, scope, project)
    after = _editing(path, lambda: SETTINGS[host].with_hook(before, command))
    if after == before:
        return Change(path, "unchanged")
    return Change(path, "updated" if known else "installed", files.change(path, before, after))


def uninstall(host: str, scope: Scope, project: Project) -> Change:
    """
    Take the hook out of a host's settings; when nothing else has changed since, every byte is as it was before.

    Raises:
        EdictumConfigError: The settings cannot be edited; nothing was written.
        OSError: Likewise.
    """
    settings = SETTINGS[host]
    path, before, known = _look(host, scope, project)
    if before is None or not known:
        return Change(path, "absent")
    for original in (*(backup.read_bytes() for backup in files.backups(path)), None):
        if _becomes(settings, original, known[0].command, before):
            return Change(path, "restored", files.change(path, before, original))
    after = _editing(path, lambda: settings.without_hook(before))
    return Change(path, "removed", files.change(path, before, after))


def installed(host: str, scope: Scope, project: Project) -> tuple[Path, list[Installed]]:
    """
    The file of a host's settings, and our hooks in it.

    Raises:
        EdictumConfigError: The settings cannot be read.
        OSError: Likewise.
    """
    path, _, known = _look(host, scope, project)
    return path, known


def _look(host: str, scope: Scope, project: Project) -> tuple[Path, bytes | None, list[Installed]]:
    path = SETTINGS[host].place(scope, project)
    data = files.read(path)
    blank = data is None or not data.strip()
    return path, data, [] if data is None or blank else _editing(path, lambda: SETTINGS[host].find(data))


def _becomes(settings: Settings, original: bytes | None, command: HookCommand, now: bytes) -> bool:
    """
    Whether installing the command into some content gives what is there now.
    """
    try:
        if original and original.strip() and settings.find(original):
            return False
        return settings.with_hook(original, command) == now
    except SettingsProblem:
        return False


def _editing(path: Path, step: Callable[[], T]) -> T:
    try:
        return step()
    except SettingsProblem as problem:
        raise EdictumConfigError(f"{path} cannot be edited: {problem}. Nothing was written.") from None
