"""
The table of hosts: how the payload of each is read, how the answer is written, and by which exit code it counts.

Rules are written once for all assistants, so tools get the names that Claude Code has for them (``Bash``, ``Read``,
``Write``, ``Edit``, ...), and the path of a file tool is always ``args.file_path``.

Why these exit codes.  Claude Code, Cursor and Gemini CLI block on exit code 2 and take any other failure for a
broken hook, after which the tool runs.  Copilot CLI blocks on every failure.  So 2 blocks everywhere, also where
the JSON on standard output is not understood, and JSON and exit code always say the same.  Gemini CLI takes an
exit code 2 without a word on standard error for no answer, so the reason goes there too.  The plugin for OpenCode
is our own and lets a tool run only after exit code 0 and ``"allow": true``; ``raw`` is for programs, which tell a
decision (1) from a failure (2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from edictum.gate.payload import Unreadable, parse_object
from edictum.tool_call import FILE_TOOLS

Payload: TypeAlias = Mapping[str, Any]

# Arguments that name the file of a file tool, in the words of one host or another.
_PATH_KEYS = ("file_path", "filePath", "path", "absolute_path", "target_file")
# Claude Code asks the person in these modes.  In the others (auto, dontAsk, bypassPermissions) some releases take
# "ask" for "allow".
_ASKING_MODES = frozenset(("default", "acceptEdits", "plan"))


@dataclass(frozen=True, slots=True)
class HookCall:
    """
    The call that a payload is about, in the words of rulesets.

    Attributes:
        tool_name: Name of the tool, mapped.
        args: Its arguments, with the path of a file tool under ``file_path``.
        native_name: Name of the tool as the host calls it.
        session_id: The host's session, or None.
        cwd: Where the agent stands, or None.
        project: The folder the agent was started for, or None.
        cannot_ask: Why the host cannot ask its user about this call; None when it can.
    """

    tool_name: str
    args: dict[str, Any]
    native_name: str
    session_id: str | None = None
    cwd: str | None = None
    project: str | None = None
    cannot_ask: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    What is answered.

    Attributes:
        decision: ``allow``, ``block``, or ``ask`` when the host shall ask its user.
        reason: Text for the agent; empty when it is allowed.
        rule_id: The rule or limit that decided, or None.
        failed: Whether the call could not be checked, which is why it is blocked.
        observed: What observe mode let pass: ``block``, ``ask`` or None.
    """

    decision: Literal["allow", "block", "ask"]
    reason: str = ""
    rule_id: str | None = None
    failed: bool = False
    observed: Literal["block", "ask"] | None = None


@dataclass(frozen=True, slots=True)
class Host:
    """
    One row of the table.

    Attributes:
        name: What ``--format`` calls it.
        title: What people call it.
        read: Payload to call; raises :class:`~edictum.gate.payload.Unreadable`.
        answer: Verdict to the JSON for standard output.
        block_code: Exit code of a blocked call.
        failure_code: Exit code of a call that could not be checked.
        asks: Whether the host asks its user when the answer is ``ask``.
        project_variable: Environment variable in which the host names the project's folder.
    """

    name: str
    title: str
    read: Callable[[Payload], HookCall]
    answer: Callable[[Verdict], dict[str, Any]]
    block_code: int = 2
    failure_code: int = 2
    asks: bool = False
    project_variable: str | None = None

    def exit_code(self, verdict: Verdict) -> int:
        """
        The exit code that goes with a verdict.
        """
        if verdict.decision == "allow" or (verdict.decision == "ask" and self.asks):
            return 0
        return self.failure_code if verdict.failed else self.block_code


def host_of(host: Host, payload: Payload) -> Host:
    """
    The host that really sent a payload: Cursor also runs the hooks that were installed for Claude Code.
    """
    if host.name == "claude-code" and ("cursor_version" in payload or "workspace_roots" in payload):
        return HOSTS["cursor"]
    return host


# --- reading ------------------------------------------------------------------------------------


def _text(payload: Payload, key: str) -> str | None:
    value = payload.get(key)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise Unreadable(f'"{key}" in the payload is not text')
    return value


def _name(payload: Payload, key: str) -> str:
    name = payload.get(key)
    if not isinstance(name, str) or not name.strip():
        raise Unreadable(f'"{key}" in the payload is missing, empty or not text')
    return name


def _args(payload: Payload, key: str) -> dict[str, Any]:
    """
    The arguments: an object, or the JSON text of one.
    """
    if key not in payload:
        # Not the same as no arguments: a host that renamed the key would be checked for nothing.
        raise Unreadable(f'the payload has no "{key}", so the arguments of the call are not known')
    args = payload[key]
    if isinstance(args, str):
        return parse_object(args, f'"{key}"')
    if args is None:
        return {}
    if not isinstance(args, dict):
        raise Unreadable(f'"{key}" in the payload is not an object')
    return args


def _expect_event(payload: Payload, *events: str) -> None:
    event = _text(payload, "hook_event_name")
    if event is not None and event not in events:
        raise Unreadable(f"the hook runs on another event than {' or '.join(events)}; install it again")


def _call(name: str, args: dict[str, Any], names: Mapping[str, str], **facts: str | None) -> HookCall:
    tool_name = names.get(name, name)
    return HookCall(tool_name, _with_file_path(tool_name, args), name, **facts)


def _with_file_path(tool_name: str, args: dict[str, Any]) -> dict[str, Any]:
    """
    The path of a file tool under ``file_path``, beside the key that the host knows it by.

    Raises:
        Unreadable: Two keys name different files, of which the tool takes the one that no rule may have seen.
    """
    if tool_name not in FILE_TOOLS:
        return args
    found = [args[key] for key in _PATH_KEYS if args.get(key) not in (None, "")]
    if any(path != found[0] for path in found):
        raise Unreadable("the arguments of the call name two different files")
    return {**args, "file_path": found[0]} if found and not args.get("file_path") else args


def _read_claude_code(payload: Payload) -> HookCall:
    _expect_event(payload, "PreToolUse")
    return _call(
        _name(payload, "tool_name"),
        _args(payload, "tool_input"),
        {},
        session_id=_text(payload, "session_id"),
        cwd=_text(payload, "cwd"),
        cannot_ask=_why_claude_code_cannot_ask(payload),
    )


def _why_claude_code_cannot_ask(payload: Payload) -> str | None:
    # Releases before 2.1.160 let an allow rule of the user win over "ask".  All that send this key do not.
    if not _text(payload, "prompt_id"):
        return "Claude Code of this release does not always ask for hooks; update it"
    mode = payload.get("permission_mode")
    return None if mode in _ASKING_MODES else "Claude Code asks nobody in this permission mode"


def _read_cursor(payload: Payload) -> HookCall:
    event = _text(payload, "hook_event_name")
    roots = payload.get("workspace_roots")
    facts = {
        "session_id": _text(payload, "conversation_id") or _text(payload, "session_id"),
        "cwd": _text(payload, "cwd"),
        "project": roots[0] if isinstance(roots, list) and roots and isinstance(roots[0], str) else None,
        "cannot_ask": "Cursor does not ask for hooks",
    }
    if event in _CURSOR_EVENTS:
        name, key = _CURSOR_EVENTS[event]
        return _call(name, {key: _name(payload, key)}, _CURSOR_TOOLS, **facts)
    _expect_event(payload, "preToolUse", "PreToolUse", "beforeMCPExecution")
    return _call(_name(payload, "tool_name"), _args(payload, "tool_input"), _CURSOR_TOOLS, **facts)


def _read_copilot(payload: Payload) -> HookCall:
    # Older releases took "ask" for no answer, and a payload does not say which release sent it.
    cannot_ask = "not every release of Copilot CLI asks for hooks"
    if "toolName" not in payload and "tool_name" in payload:  # for hooks under the name "PreToolUse"
        _expect_event(payload, "PreToolUse")
        name, args, session = "tool_name", "tool_input", "session_id"
    else:
        name, args, session = "toolName", "toolArgs", "sessionId"
    return _call(
        _name(payload, name),
        _args(payload, args),
        _COPILOT_TOOLS,
        session_id=_text(payload, session),
        cwd=_text(payload, "cwd"),
        cannot_ask=cannot_ask,
    )


def _read_gemini(payload: Payload) -> HookCall:
    _expect_event(payload, "BeforeTool")
    return _call(
        _name(payload, "tool_name"),
        _args(payload, "tool_input"),
        _GEMINI_TOOLS,
        session_id=_text(payload, "session_id"),
        cwd=_text(payload, "cwd"),
        cannot_ask="Gemini CLI does not ask for hooks",
    )


def _read_opencode(payload: Payload) -> HookCall:
    return _call(
        _name(payload, "tool"),
        _args(payload, "args"),
        _OPENCODE_TOOLS,
        session_id=_text(payload, "session_id"),
        cwd=_text(payload, "cwd"),
        project=_text(payload, "project"),
        cannot_ask="OpenCode does not ask for plugins",
    )


def _read_raw(payload: Payload) -> HookCall:
    return _call(
        _name(payload, "tool_name"),
        _args(payload, "tool_input"),
        {},
        session_id=_text(payload, "session_id"),
        cwd=_text(payload, "cwd"),
        cannot_ask="nobody can be asked here",
    )


# Events for one tool each, whose argument stands in the payload itself.
_CURSOR_EVENTS = {"beforeShellExecution": ("Shell", "command"), "beforeReadFile": ("Read", "file_path")}
_CURSOR_TOOLS = {"Shell": "Bash", "StrReplace": "Edit", "ApplyPatch": "Edit", "TabRead": "Read", "TabWrite": "Write"}
_COPILOT_TOOLS = {
    "bash": "Bash",
    "powershell": "Bash",
    "view": "Read",
    "create": "Write",
    "edit": "Edit",
    "str_replace_editor": "Edit",
    "apply_patch": "Edit",
    "glob": "Glob",
    "grep": "Grep",
    "rg": "Grep",
    "web_fetch": "WebFetch",
    "web_search": "WebSearch",
}
_GEMINI_TOOLS = {
    "shell": "Bash",
    "run_shell_command": "Bash",
    "read_file": "Read",
    "write_file": "Write",
    "edit_file": "Edit",
    "replace": "Edit",
    "replace_in_file": "Edit",
    "glob": "Glob",
    "list_files": "Glob",
    "list_directory": "Glob",
    "grep": "Grep",
    "grep_search": "Grep",
    "search_files": "Grep",
    "search_file_content": "Grep",
    "web_fetch": "WebFetch",
    "web_search": "WebSearch",
    "google_web_search": "WebSearch",
}
_OPENCODE_TOOLS = {
    "bash": "Bash",
    "shell": "Bash",
    "read": "Read",
    "write": "Write",
    "edit": "Edit",
    "multiedit": "Edit",
    "patch": "Edit",
    "apply_patch": "Edit",
    "glob": "Glob",
    "list": "Glob",
    "grep": "Grep",
    "webfetch": "WebFetch",
    "browser": "WebFetch",
    "websearch": "WebSearch",
}


# --- answering ----------------------------------------------------------------------------------


def _answer_claude_code(verdict: Verdict) -> dict[str, Any]:
    # Never "allow": it would skip the user's own permission prompt.
    if verdict.decision == "allow":
        return {}
    return {
        "hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": "deny" if verdict.decision == "block" else "ask",
            "permissionDecisionReason": verdict.reason,
        }
    }


def _answer_cursor(verdict: Verdict) -> dict[str, Any]:
    # An allowed call needs a word too: with "failClosed" Cursor takes silence for a failure.  "decision" is what
    # the first releases with this event read, "permission" what all others do.
    if verdict.decision == "allow":
        return {"permission": "allow", "decision": "allow"}
    reason = verdict.reason
    return {
        "permission": "deny",
        "decision": "deny",
        "reason": reason,
        "user_message": reason,
        "agent_message": reason,
    }


def _answer_copilot(verdict: Verdict) -> dict[str, Any]:
    if verdict.decision == "allow":
        return {}
    return {"permissionDecision": "deny", "permissionDecisionReason": verdict.reason}


def _answer_gemini(verdict: Verdict) -> dict[str, Any]:
    if verdict.decision == "allow":
        return {}
    return {"decision": "block", "reason": verdict.reason}


def _answer_opencode(verdict: Verdict) -> dict[str, Any]:
    if verdict.decision == "allow":
        return {"allow": True}
    return {"allow": False, "reason": verdict.reason}


def answer_raw(verdict: Verdict) -> dict[str, Any]:
    """
    The answer for programs, also printed by ``--json``.
    """
    if verdict.decision == "allow":
        return {"decision": "allow"}
    return {"decision": verdict.decision, "rule_id": verdict.rule_id, "reason": verdict.reason}


_ROWS: Sequence[Host] = (
    Host(
        "claude-code",
        "Claude Code",
        _read_claude_code,
        _answer_claude_code,
        asks=True,
        project_variable="CLAUDE_PROJECT_DIR",
    ),
    Host("cursor", "Cursor", _read_cursor, _answer_cursor, project_variable="CURSOR_PROJECT_DIR"),
    Host("copilot", "Copilot CLI", _read_copilot, _answer_copilot),
    Host("gemini", "Gemini CLI", _read_gemini, _answer_gemini, project_variable="GEMINI_PROJECT_DIR"),
    Host("opencode", "OpenCode", _read_opencode, _answer_opencode, block_code=1),
    Host("raw", "programs", _read_raw, answer_raw, block_code=1),
)
HOSTS: Mapping[str, Host] = {host.name: host for host in _ROWS}
# Whose block is understood by exit code alone; for failures before the host is known.
DEFAULT_HOST = HOSTS["claude-code"]
