"""
Where each host keeps its hooks, and how one of ours is found there, added and taken out.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from edictum.gate import settings_text
from edictum.gate.formats import HOSTS
from edictum.gate.hook_command import HookCommand
from edictum.gate.project import Project
from edictum.gate.settings_text import SettingsProblem

Scope: TypeAlias = Literal["user", "project"]
SCOPES: Sequence[Scope] = ("user", "project")

# How long hosts wait, in seconds: well beyond the deadline of the check, because Copilot and Gemini CLI take a
# hook that is too slow for one that has no objection.
HOST_TIMEOUT = 60

GEMINI_NAME = "edictum-gate"

_ALL_TOOLS = (None, "", "*")
_PLUGIN = Path(__file__).with_name("opencode_plugin.js")
_PLUGIN_COMMAND = re.compile(r"^const COMMAND = (\[.*\]) // edictum-gate$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Installed:
    """
    A hook of ours that was found.

    Attributes:
        command: What it runs.
        problems: What in the same file keeps it from running for every call.
    """

    command: HookCommand
    problems: tuple[str, ...] = ()


class Settings(Protocol):
    """
    How one host keeps its hooks.  All methods raise :class:`SettingsProblem` for what they cannot read.
    """

    def place(self, scope: Scope, project: Project) -> Path:
        """
        The file.
        """

    def find(self, data: bytes) -> list[Installed]:
        """
        Our hooks in its content.
        """

    def with_hook(self, data: bytes | None, command: HookCommand) -> bytes:
        """
        Its content with our hook, exactly once and as it shall be now; None stands for no file.
        """

    def without_hook(self, data: bytes) -> bytes | None:
        """
        Its content without our hooks; None when no file shall remain.
        """


@dataclass(frozen=True, slots=True)
class _Found:
    place: int
    inner: int | None
    alone: bool
    matcher: Any
    hook: Mapping[str, Any]
    command: HookCommand


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """
    A JSON document with a list of hooks, or of groups of hooks.

    Attributes:
        folder: The user's folder for the host.
        at_user: The file in it.
        at_project: The file in a project.
        path: Keys from the root of the document to the list.
        entry: Command line to an element of the list.
        inner: Key of the hooks in a group; None when the list holds the hooks themselves.
        line: Key of the command line in a hook.
        version: Whether the document says ``"version": 1``.
        switches: Settings that switch hooks off: keys from the root, and the value that does.
    """

    folder: Callable[[], Path]
    at_user: str
    at_project: str
    path: tuple[str, ...]
    entry: Callable[[str], dict[str, Any]]
    inner: str | None = None
    line: str = "command"
    version: bool = False
    switches: Sequence[tuple[tuple[str, ...], Any]] = ()

    def place(self, scope: Scope, project: Project) -> Path:
        """
        See :class:`Settings`.
        """
        return self.folder() / self.at_user if scope == "user" else project.root / self.at_project

    def find(self, data: bytes) -> list[Installed]:
        """
        See :class:`Settings`.
        """
        text = _decoded(data)
        off = tuple(
            f'"{".".join(path)}" switches it off'
            for path, value in self.switches
            if (place := settings_text.find(text, path)) is not None and _has(settings_text.data_of(text, place), value)
        )
        return [
            Installed(
                found.command,
                off if found.matcher in _ALL_TOOLS else (f"it runs only for tools that match {found.matcher!r}", *off),
            )
            for found in self._found(text)
        ]

    def with_hook(self, data: bytes | None, command: HookCommand) -> bytes:
        """
        See :class:`Settings`.
        """
        text = _decoded(data or b"")
        if not text.strip("\ufeff \t\r\n"):
            text = "{}\n"
        entry = self.entry(command.line)
        hook = entry if self.inner is None else entry[self.inner][0]
        found = self._found(text)
        if len(found) == 1 and found[0].hook == hook and found[0].matcher in _ALL_TOOLS:
            return text.encode()
        if len(found) == 1 and found[0].alone:
            # In its place, because hooks run in order.
            element = settings_text.find(text, (*self.path, found[0].place))
            assert element is not None
            return settings_text.replace(text, element, entry).encode()
        if self.version:
            text = settings_text.set_member(text, "version", 1)
        return settings_text.append(self._cleared(text), self.path, entry).encode()

    def without_hook(self, data: bytes) -> bytes | None:
        """
        See :class:`Settings`.
        """
        return self._cleared(_decoded(data)).encode()

    def _cleared(self, text: str) -> str:
        while found := self._found(text):
            last = found[-1]
            inner = () if self.inner is None or last.inner is None or last.alone else (self.inner, last.inner)
            text = settings_text.remove(text, (*self.path, last.place, *inner))
        return text

    def _found(self, text: str) -> list[_Found]:
        found = []
        for place, element in enumerate(self._elements(text)):
            hooks = list(self._hooks(element))
            for inner, hook in hooks:
                command = HookCommand.parse(hook.get(self.line))
                if command is not None:
                    found.append(_Found(place, inner, len(hooks) == 1, element.get("matcher"), hook, command))
        return found

    def _elements(self, text: str) -> list[Any]:
        data = settings_text.data_of(text, settings_text.parse(text))
        for key in self.path:
            if not isinstance(data, dict):
                raise SettingsProblem(f'an object is expected around "{key}"; correct it first')
            if key not in data:
                return []
            data = data[key]
        if not isinstance(data, list):
            raise SettingsProblem(f'"{".".join(self.path)}" is not an array; correct it first')
        return data

    def _hooks(self, element: Any) -> Iterator[tuple[int | None, Mapping[str, Any]]]:
        if not isinstance(element, dict):
            return
        if self.inner is None:
            yield None, element
        elif isinstance(element.get(self.inner), list):
            yield from ((at, hook) for at, hook in enumerate(element[self.inner]) if isinstance(hook, dict))


@dataclass(frozen=True, slots=True)
class PluginFile:
    """
    A plugin for OpenCode, which is a file of its own.

    Attributes:
        folder: The user's folder for the host.
        at_user: The file in it.
        at_project: The file in a project.
    """

    folder: Callable[[], Path]
    at_user: str
    at_project: str

    def place(self, scope: Scope, project: Project) -> Path:
        """
        See :class:`Settings`.
        """
        return self.folder() / self.at_user if scope == "user" else project.root / self.at_project

    def find(self, data: bytes) -> list[Installed]:
        """
        See :class:`Settings`.
        """
        found = _PLUGIN_COMMAND.search(_decoded(data))
        try:
            argv = json.loads(found[1]) if found is not None else []
        except ValueError:
            return []
        return [Installed(HookCommand(tuple(map(str, argv))))] if argv else []

    def with_hook(self, data: bytes | None, command: HookCommand) -> bytes:
        """
        See :class:`Settings`.
        """
        if data is not None and not self.find(data):
            raise SettingsProblem("this is a plugin of another origin; rename it first")
        line = f"const COMMAND = {json.dumps(list(command.argv))} // edictum-gate"
        return _PLUGIN_COMMAND.sub(lambda _: line, _PLUGIN.read_text(encoding="utf-8"), count=1).encode()

    def without_hook(self, data: bytes) -> bytes | None:
        """
        See :class:`Settings`.
        """
        return None if self.find(data) else data


def _has(data: Any, value: Any) -> bool:
    return value in data if isinstance(data, list) else bool(data == value)


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SettingsProblem(f"byte {error.start} is not UTF-8; save it in that encoding") from None


# --- the table ----------------------------------------------------------------------------------


def _folder(default: str, variable: str | None = None) -> Callable[[], Path]:
    def folder() -> Path:
        named = os.environ.get(variable) if variable else None
        return Path(os.path.expanduser(named or default))

    return folder


def _opencode_folder() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(os.environ.get("OPENCODE_CONFIG_DIR") or os.path.join(base, "opencode"))


def _claude_entry(line: str) -> dict[str, Any]:
    # "onFailure": releases from 2.1.295 on block when the hook cannot be started or is too slow; others ignore it.
    hook = {"type": "command", "command": line, "timeout": HOST_TIMEOUT, "onFailure": "block"}
    return {"matcher": "*", "hooks": [hook]}


def _cursor_entry(line: str) -> dict[str, Any]:
    return {"command": line, "failClosed": True}


def _copilot_entry(line: str) -> dict[str, Any]:
    return {"type": "command", "bash": line, "timeoutSec": HOST_TIMEOUT}


def _gemini_entry(line: str) -> dict[str, Any]:
    hook = {"name": GEMINI_NAME, "type": "command", "command": line, "timeout": HOST_TIMEOUT * 1_000}
    return {"matcher": "*", "hooks": [hook]}


SETTINGS: Mapping[str, Settings] = {
    "claude-code": SettingsFile(
        _folder("~/.claude", "CLAUDE_CONFIG_DIR"),
        "settings.json",
        ".claude/settings.local.json",  # the one that is not shared, because the command holds paths of this machine
        ("hooks", "PreToolUse"),
        _claude_entry,
        inner="hooks",
        switches=[(("disableAllHooks",), True)],
    ),
    "cursor": SettingsFile(
        _folder("~/.cursor"),
        "hooks.json",
        ".cursor/hooks.json",
        ("hooks", "preToolUse"),
        _cursor_entry,
        version=True,
    ),
    "copilot": SettingsFile(
        _folder("~/.copilot", "COPILOT_HOME"),
        "hooks/edictum.json",
        ".github/hooks/edictum.json",
        ("hooks", "preToolUse"),
        _copilot_entry,
        line="bash",
        version=True,
        switches=[(("disableAllHooks",), True)],
    ),
    "gemini": SettingsFile(
        _folder("~/.gemini"),
        "settings.json",
        ".gemini/settings.json",
        ("hooks", "BeforeTool"),
        _gemini_entry,
        inner="hooks",
        switches=[
            (("hooksConfig", "enabled"), False),
            (("hooksConfig", "disabled"), GEMINI_NAME),
            (("hooks", "enabled"), False),
            (("hooks", "disabled"), GEMINI_NAME),
            (("tools", "enableHooks"), False),
        ],
    ),
    "opencode": PluginFile(_opencode_folder, "plugins/edictum.js", ".opencode/plugins/edictum.js"),
}
assert set(SETTINGS) == set(HOSTS) - {"raw"}
