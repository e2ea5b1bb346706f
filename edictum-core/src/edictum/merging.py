"""
Merging several guards into one; see :meth:`Edictum.from_multiple`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from edictum.errors import EdictumConfigError
from edictum.limits import OperationLimits
from edictum.ruleset.policy import CompiledRule
from edictum.sinks import CompositeSink
from edictum.tools import SideEffect

if TYPE_CHECKING:
    from edictum.guard_parts import GuardParts

    G = TypeVar("G", bound=GuardParts)

logger = logging.getLogger(__name__)

_DANGER = (SideEffect.PURE, SideEffect.READ, SideEffect.WRITE, SideEffect.IRREVERSIBLE)


def merge_guards(cls: type[G], guards: Sequence[GuardParts], *, strictest: bool) -> G:
    """
    Build the merged guard.

    Raises:
        EdictumConfigError: No guard was given.
    """
    if not guards:
        raise EdictumConfigError("from_multiple needs at least one guard")
    first = guards[0]
    states = [guard._state for guard in guards]
    policy = replace(
        states[0].policy,
        rules=_unique([rule for state in states for rule in state.rules]),
        tools={},
    )
    sinks = first.audit_sink.sinks[1:] if isinstance(first.audit_sink, CompositeSink) else None
    merged = cls(
        environment=first.environment,
        mode=first.mode,
        tools=_tools_of(guards if strictest else guards[:1]),
        limits=_smallest([guard.limits for guard in guards]) if strictest else first._own_limits,
        audit_sink=sinks,
        redaction=first.redaction,
        backend=first.backend,
        on_block=first._on_deny,
        on_allow=first._on_allow,
        on_would_block=first._on_would_block,
        on_postcondition_warn=first._on_postcondition_warn,
        success_check=first._success_check,
        approval_backend=first._approval_backend,
        audit_failure=first._audit_failure,
        name_policy="strict" if first._strict_names else "lenient",
        clock=first._clock,
        workflow_runtime=first._workflow_runtime,
        telemetry=first._telemetry,
        policy=policy,
        policy_version=_joint_version(states) if strictest else states[0].policy_version,
    )
    merged._reloadable = False
    return merged


def _unique(rules: list[CompiledRule]) -> tuple[CompiledRule, ...]:
    # A rule and its candidate of the same id are two different things.
    # Rules in Python are told apart as functions, because two functions may share a name.
    kept: dict[object, CompiledRule] = {}
    for rule in rules:
        key = rule.function if rule.function is not None else (rule.id, rule.candidate)
        if key in kept:
            logger.warning("from_multiple: rule %r occurs twice; the first one counts", rule.id)
        else:
            kept[key] = rule
    return tuple(kept.values())


def _tools_of(guards: Sequence[GuardParts]) -> dict[str, dict[str, Any]]:
    """
    All tools, each in its most dangerous class, as the constructor takes them.
    """
    tools: dict[str, dict[str, Any]] = {}
    for guard in guards:
        registry = guard.tool_registry
        for name, (side_effect, idempotent) in registry.names().items():
            known = tools.get(name)
            if known is not None:
                side_effect = max(side_effect, known["side_effect"], key=_DANGER.index)
                idempotent = idempotent and known["idempotent"]
            shell = name in registry.shell_names() or (known is not None and known["shell"])
            tools[name] = {"side_effect": side_effect, "idempotent": idempotent, "shell": shell}
    return tools


def _smallest(limits: list[OperationLimits]) -> OperationLimits:
    per_tool: dict[str, int] = {}
    for item in limits:
        for tool, number in item.max_calls_per_tool.items():
            per_tool[tool] = min(number, per_tool.get(tool, number))
    return OperationLimits(
        min(item.max_attempts for item in limits), min(item.max_tool_calls for item in limits), per_tool
    )


def _joint_version(states: Sequence[object]) -> str:
    versions = ":".join(str(getattr(state, "policy_version", None)) for state in states)
    return hashlib.sha256(versions.encode()).hexdigest()
