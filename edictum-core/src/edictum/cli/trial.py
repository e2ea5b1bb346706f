"""
Trying a call: what a guard decides about it, by the real pipeline, without counting, logging or running anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from edictum.cli.terminal import CommandError
from edictum.globs import glob_matcher
from edictum.tool_call import Principal, ToolCall, build_tool_call

if TYPE_CHECKING:
    from edictum.engine.outcome import PostDecision, PreDecision
    from edictum.engine.plan import ToolPlan
    from edictum.guard import Edictum

Outcome: TypeAlias = Literal["allow", "block", "ask", "warn", "redact"]

_SESSION_ID = "trial"


@dataclass(frozen=True, slots=True)
class SessionSoFar:
    """
    What a session has done before the call.

    Attributes:
        attempts: Calls attempted.
        tool_calls: Calls executed.
        per_tool: Calls executed, by tool name.
    """

    attempts: int = 0
    tool_calls: int = 0
    per_tool: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrialCall:
    """
    A call to try.

    Attributes:
        tool: Name of the tool.
        args: Its arguments.
        environment: Name of the environment.
        principal: On whose behalf.
        session: What happened before.
        output: What the tool would return; None leaves post rules out.
    """

    tool: str
    args: Mapping[str, Any]
    environment: str
    principal: Principal | None = None
    session: SessionSoFar = field(default_factory=SessionSoFar)
    output: Any = None


@dataclass(frozen=True, slots=True)
class Trial:
    """
    What came out.

    Attributes:
        outcome: What happens to the call or, when it is allowed and there is an output, to the output.
        judged: How many pre and post rules concern the call; what a dry run counts.
        source: Kind of check that decided, or None.
        rules: Ids of the rules or limits that decided.
        messages: What they say, one text each.
        tags: All their tags.
        notes: Rules that fired and have less effect than they ask for, and why.
        errors: Rules that could not be judged, each with the technical cause.
        output: The output as the agent would see it.
    """

    outcome: Outcome
    judged: int
    source: str | None = None
    rules: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    output: Any = None

    @property
    def rule(self) -> str | None:
        """
        The first rule that decided.
        """
        return self.rules[0] if self.rules else None

    @property
    def reason(self) -> str | None:
        """
        What it says.
        """
        return self.messages[0] if self.messages else None


def plan_of(guard: Edictum, tool: str) -> ToolPlan:
    """
    The rules and limits that concern a tool.
    """
    from edictum.pipeline import CheckPipeline

    return CheckPipeline(guard).plan(tool)


def build_call(plan: ToolPlan, call: TrialCall) -> ToolCall:
    """
    The call as rules see it; an invalid tool name is left to them.

    Raises:
        CommandError: The arguments are nested too deeply.
    """
    try:
        return build_tool_call(
            plan, call.args, _SESSION_ID, call.environment, datetime.now(UTC), call.principal, fields={}
        )
    except ValueError as error:
        raise CommandError(f"the arguments of the call cannot be read: {error}") from error


def counters(plan: ToolPlan, session: SessionSoFar) -> tuple[int, ...]:
    """
    The session's counters in the order of ``plan.counters``, without the call itself.

    The counter of a limit by glob is the sum over the tools that the glob matches.
    """
    values = []
    for name in plan.counters:
        kind, _, pattern = name.partition(":")
        if kind == "tool":
            values.append(session.per_tool.get(pattern, 0))
        elif kind == "glob":
            matches = glob_matcher(pattern)
            values.append(sum(number for tool, number in session.per_tool.items() if matches(tool)))
        else:
            values.append({"attempts": session.attempts, "execs": session.tool_calls}[kind])
    return tuple(values)


def try_call(guard: Edictum, call: TrialCall) -> Trial:
    """
    Decide about a call and, if it may run and has an output, about the output.
    """
    import asyncio

    return asyncio.run(_try(guard, call))


async def _try(guard: Edictum, call: TrialCall) -> Trial:
    from edictum.memory_storage import MemoryBackend
    from edictum.pipeline import CheckPipeline
    from edictum.session import Session

    pipeline = CheckPipeline(guard)
    plan = pipeline.plan(call.tool)
    backend = MemoryBackend()
    for name, value in zip(plan.counters, counters(plan, call.session), strict=True):
        await backend.increment(f"s:{_SESSION_ID}:{name}", value)
    tool_call = build_call(plan, call)
    before = await pipeline.pre_execute(tool_call, Session(_SESSION_ID, backend))
    trial = _judged_before(before, len(plan.pre) + len(plan.sandbox), observing=guard.mode == "observe")
    if trial.outcome != "allow" or call.output is None:
        return trial
    after = await pipeline.post_execute(tool_call, call.output, True)
    return _judged_after(trial, after, len(plan.post), call, tool_call.side_effect.value)


def _judged_before(decision: PreDecision, judged: int, *, observing: bool) -> Trial:
    errors = _errors(decision.contracts_evaluated)
    notes = _observed(decision.contracts_evaluated)
    if decision.action == "allow":
        return Trial("allow", judged, notes=notes, errors=errors)
    asking = decision.action == "pending_approval"
    outcome: Outcome = "ask" if asking else "block"
    if observing:
        note = f"the ruleset only observes; enforced, the decision is {outcome}, by {decision.decision_name}"
        return Trial("allow", judged, notes=(*notes, f"{note}: {decision.reason}"), errors=errors)
    names = decision.approval_rules if asking else (decision.decision_name or "",)
    records = [record for record in _enforcing(decision.contracts_evaluated) if record["name"] in names]
    return Trial(
        outcome,
        judged,
        decision.decision_source,
        # A limit is recorded under its own name, beside the rule that set it.
        tuple(record.get("rule_id", record["name"]) for record in records) or names,
        tuple(record["message"] for record in records) or (decision.reason or "",),
        _tags(records),
        notes,
        errors,
    )


def _judged_after(before: Trial, decision: PostDecision, judged: int, call: TrialCall, side_effect: str) -> Trial:
    judged += before.judged
    errors = (*before.errors, *_errors(decision.contracts_evaluated))
    notes = (*before.notes, *_observed(decision.contracts_evaluated))
    output = call.output if decision.redacted_response is None else decision.redacted_response
    fired = _enforcing(decision.contracts_evaluated)
    if not fired:
        return Trial("allow", judged, notes=notes, errors=errors, output=output)
    effects = {record["effective_action"] for record in fired}
    outcome: Outcome = "block" if "block" in effects else "redact" if "redact" in effects else "warn"
    records = [record for record in fired if record["effective_action"] == outcome]
    weakened = tuple(
        f'rule "{record["name"]}" asks for {record["action"]}, but tool "{call.tool}" counts as {side_effect}, so '
        'the output is only warned about; if the tool only reads, say so under "tools"'
        for record in records
        if outcome == "warn" and record["action"] != "warn"
    )
    return Trial(
        outcome,
        judged,
        "yaml_postcondition",
        tuple(record["name"] for record in records),
        tuple(record["message"] for record in records),
        _tags(records),
        (*notes, *weakened),
        errors,
        output,
    )


def _observed(records: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(
        f'rule "{record["name"]}" only observes; enforced, it asks for {record["action"]}: {record["message"]}'
        for record in records
        if not record["passed"] and record.get("observed")
    )


def _enforcing(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [record for record in records if not record["passed"] and not record.get("observed")]


def _tags(records: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    return frozenset(tag for record in records for tag in record.get("metadata", {}).get("tags", ()))


def _errors(records: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(
        f'rule "{record["name"]}" could not be judged: {record["metadata"]["error_detail"]}'
        for record in records
        if record.get("metadata", {}).get("policy_error")
    )
