"""
Rulesets, tools, callbacks and approvals for tests of guards.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from edictum import (
    ApprovalDecision,
    ApprovalStatus,
    AuditEvent,
    Edictum,
    EdictumDenied,
    ToolCall,
)

ALWAYS: dict[str, Any] = {"tool.name": {"exists": True}}
READ: dict[str, Any] = {"read": {"side_effect": "read"}}
CANNOT_BE_JUDGED: dict[str, Any] = {"args.path": {"gt": 1}}
"""A comparison with a number; a text makes it fail."""


def pre(rule_id: str = "no-read", **fields: Any) -> dict[str, Any]:
    """
    A pre rule that blocks every call, unless the fields say otherwise.
    """
    return _rule("pre", rule_id, {"tool": "*", "when": ALWAYS}, {"action": "block"}, fields)


def ask(rule_id: str = "ask-first", **fields: Any) -> dict[str, Any]:
    """
    A pre rule that asks a person about every call.
    """
    return pre(rule_id, **{"action": "ask", "message": "may it run?", **fields})


def post(rule_id: str = "bad-output", **fields: Any) -> dict[str, Any]:
    """
    A post rule that warns when the output holds the word ``hunter2``.
    """
    when = {"output.text": {"contains": "hunter2"}}
    return _rule("post", rule_id, {"tool": "*", "when": when}, {"action": "warn"}, fields)


def session_rule(rule_id: str = "few-calls", **fields: Any) -> dict[str, Any]:
    """
    A session rule; without other limits it allows one call.
    """
    return _rule("session", rule_id, {"limits": {"max_tool_calls": 1}}, {"action": "block"}, fields)


def _rule(
    kind: str, rule_id: str, body: Mapping[str, Any], then: Mapping[str, Any], fields: Mapping[str, Any]
) -> dict[str, Any]:
    own = ("tool", "tools", "when", "limits", "mode", "enabled")
    rule = {"id": rule_id, "type": kind, **body, **{key: value for key, value in fields.items() if key in own}}
    message = {"message": f"{rule_id} says no"}
    rule["then"] = {**then, **message, **{key: value for key, value in fields.items() if key not in own}}
    return rule


def ruleset(*rules: dict[str, Any], mode: str = "enforce", **top: Any) -> dict[str, Any]:
    """
    A ruleset of these rules; without any it holds one that concerns no tool.
    """
    idle = pre("idle", tool="no-such-tool")
    return {
        "apiVersion": "edictum/v1",
        "kind": "Ruleset",
        "metadata": {"name": "tests"},
        "defaults": {"mode": mode},
        "rules": list(rules) or [idle],
        **top,
    }


def text_of(*rules: dict[str, Any], **top: Any) -> str:
    """
    The same as JSON text.
    """
    return json.dumps(ruleset(*rules, **top))


def guard_of(*rules: dict[str, Any], defaults_mode: str = "enforce", **options: Any) -> Edictum:
    """
    A guard with these rules, to which the tool ``read`` is known to only read.
    """
    return Edictum.from_bundle_dict(ruleset(*rules, mode=defaults_mode, tools=READ), **options)


class Tool:
    """
    A tool that notes its calls.

    Args:
        result: What it returns, or an exception that it raises.
    """

    def __init__(self, result: Any = "done") -> None:
        self._result = result
        self.calls: list[dict[str, Any]] = []

    def __call__(self, **args: Any) -> Any:
        self.calls.append(args)
        if isinstance(self._result, BaseException):
            raise self._result
        return self._result


class AsyncTool(Tool):
    """
    The same as a coroutine function.
    """

    async def __call__(self, **args: Any) -> Any:
        await asyncio.sleep(0)
        return super().__call__(**args)


class Callbacks:
    """
    Notes what a guard tells its callbacks; give :attr:`options` to the guard.
    """

    def __init__(self) -> None:
        self.blocked: list[tuple[str, str, str | None]] = []
        self.allowed: list[str] = []
        self.would_block: list[tuple[str, str, str | None]] = []
        self.options: dict[str, Any] = {
            "on_block": self._on_block,
            "on_allow": self._on_allow,
            "on_would_block": self._on_would_block,
        }

    @property
    def counts(self) -> tuple[int, int, int]:
        """
        How often each was called: block, allow, would-block.
        """
        return len(self.blocked), len(self.allowed), len(self.would_block)

    def _on_block(self, call: ToolCall, reason: str, name: str | None) -> None:
        self.blocked.append((call.tool_name, reason, name))

    def _on_allow(self, call: ToolCall) -> None:
        self.allowed.append(call.tool_name)

    def _on_would_block(self, call: ToolCall, reason: str, name: str | None) -> None:
        self.would_block.append((call.tool_name, reason, name))


def granted(approver: str = "ann", reason: str | None = None) -> ApprovalDecision:
    """
    A yes.
    """
    return ApprovalDecision(True, approver, reason, ApprovalStatus.APPROVED)


def denied(approver: str = "ann", reason: str | None = None) -> ApprovalDecision:
    """
    A no.
    """
    return ApprovalDecision(False, approver, reason, ApprovalStatus.DENIED)


def unanswered(*, approved: bool = False) -> ApprovalDecision:
    """
    Nobody answered in time.
    """
    return ApprovalDecision(approved, status=ApprovalStatus.TIMEOUT)


def run(
    guard: Edictum,
    tool: Callable[..., Any] | None = None,
    args: dict[str, Any] | None = None,
    name: str = "read",
    **fields: Any,
) -> Any:
    """
    ``guard.run`` of one call on a loop of its own.
    """
    return asyncio.run(guard.run(name, {} if args is None else args, tool or Tool(), **fields))


def denial(
    guard: Edictum, tool: Tool | None = None, args: dict[str, Any] | None = None, **fields: Any
) -> EdictumDenied:
    """
    The error of a call that must be blocked; its tool must not run.
    """
    tool = tool or Tool()
    with pytest.raises(EdictumDenied) as raised:
        run(guard, tool, args, **fields)
    assert tool.calls == []
    return raised.value


def events_of(guard: Edictum) -> list[AuditEvent]:
    """
    What the decision log of a guard holds.
    """
    return guard.local_sink.events


def trace(guard: Edictum) -> list[tuple[str, str, str | None, str | None]]:
    """
    Action, mode, source and name of each event of a guard.
    """
    return [(str(event.action), event.mode, event.decision_source, event.decision_name) for event in events_of(guard)]


def actions(guard: Edictum) -> list[str]:
    """
    The action of each event of a guard.
    """
    return [str(event.action) for event in events_of(guard)]
