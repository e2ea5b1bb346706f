"""
What is in force in a guard, as data for people and programs; see :meth:`Edictum.describe`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edictum.engine.plan import Limit
from edictum.ruleset.policy import CompiledRule

if TYPE_CHECKING:
    from edictum.guard import Edictum
    from edictum.workflow import WorkflowDefinition


def describe_guard(guard: Edictum) -> dict[str, Any]:
    """
    The description, JSON-ready and without secrets.
    """
    state = guard._state
    limits = state.planner.limits
    workflow = guard._workflow_runtime
    per_tool = {tool: _describe_limit(limit) for tool, limit in limits.per_tool.items()}
    return {
        "ruleset": state.policy.name,
        "policy_version": state.policy_version,
        "mode": state.mode,
        "environment": guard.environment,
        "sources": list(guard._sources),
        "rules": [_describe_rule(rule) for rule in state.rules],
        "disabled_rules": list(state.policy.disabled),
        "limits": {
            "max_attempts": _describe_limit(limits.max_attempts),
            "max_tool_calls": _describe_limit(limits.max_tool_calls),
            "max_calls_per_tool": per_tool,
        },
        "tools": {
            name: {"side_effect": side_effect.value, "idempotent": idempotent}
            for name, (side_effect, idempotent) in state.registry.names().items()
        },
        "hooks": [{"name": hook.name, "phase": hook.phase, "tool": hook.tool} for hook in guard._hooks],
        "sinks": [type(sink).__name__ for sink in getattr(guard.audit_sink, "sinks", [guard.audit_sink])],
        "backend": type(guard.backend).__name__,
        "workflow": None if workflow is None else _describe_workflow(workflow.definition),
        "approval_backend": type(guard._approval_backend).__name__ if guard._approval_backend else None,
    }


def _describe_workflow(definition: WorkflowDefinition) -> dict[str, Any]:
    return {
        "name": definition.metadata.name,
        "version": definition.metadata.version,
        "digest": definition.digest,
        "stages": [stage.id for stage in definition.stages],
    }


def _describe_limit(limit: Limit) -> dict[str, Any]:
    return {"number": limit.number, "rule": limit.rule.id if limit.rule is not None else None}


def _describe_rule(rule: CompiledRule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "type": rule.kind,
        "tools": list(rule.tools),
        "mode": "observe" if rule.observe else "enforce",
        "action": rule.action,
        "candidate": rule.candidate,
        "source": rule.source,
        "tags": list(rule.tags),
    }
