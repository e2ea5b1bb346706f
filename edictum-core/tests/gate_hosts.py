"""
Coding assistants for tests: the payloads that they send, and what they make of a hook's answer.

Recorded from Claude Code 2.1.330, Copilot CLI 1.0.102, Gemini CLI 0.61.0 and OpenCode 1.18.33; for Cursor after its
documentation.  Facts that surprise: Claude Code and Gemini CLI run the tool after every exit code but 2; Gemini CLI
believes JSON on standard output whatever the exit code is, and runs the tool after exit code 2 with empty streams;
Copilot CLI refuses after every other exit code than 0.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edictum

SOURCE = str(Path(edictum.__file__).parents[1])
HOSTS = ("claude-code", "cursor", "copilot", "gemini", "opencode")
TIMEOUT = 120

RULES: dict[str, Any] = {
    "apiVersion": "edictum/v1",
    "kind": "Ruleset",
    "metadata": {"name": "gate"},
    "defaults": {"mode": "enforce"},
    "rules": [
        {
            "id": "no-rm",
            "type": "pre",
            "tool": "Bash",
            "when": {"args.command": {"contains": "rm -rf"}},
            "then": {"action": "block", "message": "Not {args.command}."},
        },
        {
            "id": "ask-push",
            "type": "pre",
            "tool": "Bash",
            "when": {"args.command": {"contains": "git push"}},
            "then": {"action": "ask", "message": "Push?"},
        },
        {
            "id": "no-secrets",
            "type": "pre",
            "tools": ["Read", "Edit", "Write"],
            "when": {"args.file_path": {"contains": ".env"}},
            "then": {"action": "block", "message": "Secrets."},
        },
    ],
}


@dataclass(frozen=True)
class Answer:
    """
    What a hook has said.
    """

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        try:
            return json.loads(self.out)
        except ValueError:
            return None


def shell_call(host: str, command: str, cwd: str, session: str = "s-1") -> dict[str, Any]:
    """
    The payload for a shell command.
    """
    args = {"command": command, "description": "d"}
    if host == "claude-code":
        return {
            "session_id": session,
            "transcript_path": f"{cwd}/t.jsonl",
            "cwd": cwd,
            "prompt_id": "3c1d6f0e-0000-4000-8000-000000000000",
            "permission_mode": "default",
            "effort": {"level": "medium"},
            "hook_event_name": "PreToolUse",
            "tool_name": "Bash",
            "tool_input": args,
            "tool_use_id": "toolu_1",
        }
    if host == "cursor":
        return {
            "conversation_id": session,
            "generation_id": "g-1",
            "model": "m",
            "hook_event_name": "preToolUse",
            "cursor_version": "2.4.0",
            "workspace_roots": [cwd],
            "user_email": None,
            "tool_name": "Shell",
            "tool_input": args,
            "tool_use_id": "t-1",
            "cwd": cwd,
        }
    if host == "copilot":
        return {"sessionId": session, "timestamp": 1795290540653, "cwd": cwd, "toolName": "bash", "toolArgs": args}
    if host == "gemini":
        return {
            "session_id": session,
            "transcript_path": f"{cwd}/t.jsonl",
            "cwd": cwd,
            "hook_event_name": "BeforeTool",
            "timestamp": "2026-11-21T19:44:12.475Z",
            "tool_name": "run_shell_command",
            "tool_input": args,
        }
    if host == "opencode":
        return {"tool": "bash", "args": args, "session_id": session, "cwd": cwd, "project": cwd}
    assert host == "raw"
    return {"tool_name": "Bash", "tool_input": args, "session_id": session, "cwd": cwd}


def reaction(host: str, answer: Answer) -> str:
    """
    What the host does after an answer: ``runs``, ``refuses`` or ``asks``.
    """
    said = answer.json if isinstance(answer.json, dict) else None
    if host == "claude-code":
        specific = (said or {}).get("hookSpecificOutput", {})
        if answer.code == 2 or specific.get("permissionDecision") == "deny":
            return "refuses"
        return "asks" if specific.get("permissionDecision") == "ask" else "runs"
    if host == "cursor":  # with "failClosed"
        allowed = answer.code == 0 and (said or {}).get("permission") == "allow"
        return "runs" if allowed else "refuses"
    if host == "copilot":
        denied = answer.code != 0 or (said or {}).get("permissionDecision") == "deny"
        return "refuses" if denied else "runs"
    if host == "gemini":
        if said is not None:
            return "refuses" if said.get("decision") in ("deny", "block") else "runs"
        return "refuses" if answer.code == 2 and answer.err else "runs"
    assert host == "opencode"  # the plugin
    return "runs" if answer.code == 0 and said == {"allow": True} else "refuses"


def write_rules(home: Path, rules: dict[str, Any] = RULES) -> Path:
    """
    Make rules the user's own.
    """
    folder = home / ".edictum" / "rules"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rules.json"
    path.write_text(json.dumps(rules), encoding="utf-8")
    return path


def environment(home: Path, **more: str) -> dict[str, str]:
    """
    The environment of a host whose user has this home.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EDICTUM", "CLAUDE", "XDG_"))}
    return {**kept, "HOME": str(home), "PYTHONPATH": SOURCE, **more}


def run_line(line: str, payload: Any, home: Path, cwd: Path, shell: str = "/bin/sh", **env: str) -> Answer:
    """
    Run a command line as a host does: a shell gets it, and the payload comes on standard input.
    """
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    done = subprocess.run(
        [shell, "-c", line], input=data, capture_output=True, env=environment(home, **env), cwd=cwd, timeout=TIMEOUT
    )
    return Answer(done.returncode, done.stdout.decode(), done.stderr.decode("utf-8", "replace"))


def check_line(host: str, *options: str) -> str:
    """
    The command line of the check alone, as somebody might write it by hand.
    """
    return shlex.join([sys.executable, "-P", "-m", "edictum", "gate", "check", "--format", host, *options])


def edictum_command(*words: str, home: Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """
    Run ``edictum`` as the user.
    """
    return subprocess.run(
        [sys.executable, "-P", "-m", "edictum", *words],
        capture_output=True,
        text=True,
        env=environment(home, **env),
        cwd=cwd,
        timeout=TIMEOUT,
        check=False,
    )
