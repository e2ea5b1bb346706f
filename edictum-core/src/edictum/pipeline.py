"""
The driver of the engine: it awaits the foreign code that the engine asks about.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from edictum.engine.decide import decide
from edictum.engine.outcome import Answer, PostDecision, PreDecision, Question, error_text
from edictum.engine.plan import ToolPlan
from edictum.engine.review import review
from edictum.hooks import HookDecision, HookRegistration, HookResult
from edictum.rules import Decision
from edictum.ruleset.policy import CompiledRule
from edictum.session import Session
from edictum.snapshot import EMPTY
from edictum.tool_call import ToolCall

if TYPE_CHECKING:
    from edictum.guard_parts import GuardParts
    from edictum.workflow import WorkflowEvaluation, WorkflowRuntime

logger = logging.getLogger(__name__)

WORKFLOW = "workflow"
WORKFLOW_FAILED = "The workflow of this session could not be checked, so the call is blocked. Report this to the user."

_PASSED = Answer(True)


async def drive(
    steps: Generator[Any, Answer, None], step: Any, call: ToolCall, session: Session | None, value: Any = None
) -> Any:
    """
    Run the engine to its decision.

    Args:
        steps: The engine.
        step: What it yielded first.
        call: The call that is judged.
        session: Given to Python rules on the session.
        value: The tool's result, given to Python post rules.
    """
    while type(step) is Question:
        step = steps.send(await answer(step.subject, call, session, value))
    return step


async def answer(
    subject: CompiledRule | HookRegistration, call: ToolCall, session: Session | None, value: Any
) -> Answer:
    """
    Ask a hook or a Python rule; one that fails does not let the call pass.

    Args:
        subject: The hook or rule.
        call: The call that is judged.
        session: Given to rules on the session.
        value: The tool's result, given to post rules.
    """
    try:
        if subject.when is not None and not subject.when(call):
            return _PASSED
        if isinstance(subject, HookRegistration):
            return _from_hook(await settled(subject.callback(call)))
        assert subject.function is not None
        if subject.kind == "session_contract":
            return from_decision(await settled(subject.function(session)))
        if subject.kind == "postcondition":
            return from_decision(await settled(subject.function(call, value)))
        return from_decision(await settled(subject.function(call)))
    except Exception as error:
        return Answer(False, error=error_text(error))


async def settled(value: Any) -> Any:
    """
    The value itself, or what awaiting it gives.
    """
    return await value if hasattr(value, "__await__") else value


def from_decision(decision: object) -> Answer:
    """
    Read the answer of a Python rule.

    Raises:
        TypeError: It is not a :class:`~edictum.rules.Decision`.
    """
    if not isinstance(decision, Decision):
        raise TypeError(f"a rule returns a Decision, not {type(decision).__name__}")
    if decision.passed is True:
        return _PASSED
    return Answer(False, decision.message or "the rule is broken", decision.metadata or EMPTY)


def _from_hook(decision: object) -> Answer:
    if not isinstance(decision, HookDecision):
        raise TypeError(f"a before-hook returns a HookDecision, not {type(decision).__name__}")
    if decision.result is HookResult.ALLOW:
        return _PASSED
    return Answer(False, decision.reason)


class CheckPipeline:
    """
    The checks of a guard without the act: nothing is counted, logged or executed.

    Args:
        guard: Whose rules are used.  They are taken when the pipeline is made, so that a call is judged by
            one ruleset from start to end.
    """

    def __init__(self, guard: GuardParts) -> None:
        self._state = guard._state
        self._workflow = guard._workflow_runtime
        self._mask_secrets: Callable[[str], str] = guard.redaction.redact_whole

    def plan(self, tool_name: str) -> ToolPlan:
        """
        What concerns a tool.
        """
        return self._state.planner.plan(tool_name)

    async def pre_execute(self, tool_call: ToolCall, session: Session) -> PreDecision:
        """
        Decide about a call on the session's counters as they are stored.

        With a workflow, a call that begins a later stage moves the session there.
        """
        plan = self.plan(tool_call.tool_name)
        attempts, *others = (await session.store.reserve(session.batches(plan).again.changes)).values
        decision = decide(plan, tool_call, (attempts + 1, *others))
        if not isinstance(decision, PreDecision):
            decision = cast(PreDecision, await drive(decision, next(decision), tool_call, session))
        if self._workflow is None or decision.action == "block":
            return decision
        try:
            return (await ask_workflow(self._workflow, session, tool_call, decision))[0]
        except Exception:
            logger.exception("workflow %r could not be asked", self._workflow.definition.metadata.name)
            return replace(
                decision, action="block", reason=WORKFLOW_FAILED, decision_source=WORKFLOW,
                decision_name="workflow_error", policy_error=True, workflow_involved=True,
            )  # fmt: skip

    async def post_execute(self, tool_call: ToolCall, tool_response: Any, tool_success: bool) -> PostDecision:
        """
        Decide about a tool's result, then tell the after-hooks.
        """
        plan = self.plan(tool_call.tool_name)
        decision = review(plan, tool_call, tool_response, tool_success, self._mask_secrets)
        if not isinstance(decision, PostDecision):
            decision = cast(PostDecision, await drive(decision, next(decision), tool_call, None, tool_response))
        await after_hooks(plan, tool_call, tool_response)
        return decision


async def ask_workflow(
    runtime: WorkflowRuntime, session: Session, call: ToolCall, decision: PreDecision
) -> tuple[PreDecision, WorkflowEvaluation]:
    """
    Ask a workflow about a call that the rules do not block.

    Args:
        runtime: The workflow; it moves the session forward where the call begins a later stage.
        session: The session that the call belongs to.
        call: The call.
        decision: What the rules decided.

    Returns:
        The decision with the workflow's gates added, and the workflow's own answer.
    """
    evaluation = await runtime.evaluate(session, call)
    decision = replace(
        decision,
        contracts_evaluated=[*decision.contracts_evaluated, *evaluation.records],
        clean=False,
        workflow=evaluation.audit,
        workflow_stage_id=evaluation.stage_id,
        workflow_involved=True,
        workflow_events=evaluation.events,
    )
    if evaluation.action != "allow":
        decision = replace(
            decision,
            action=evaluation.action,
            reason=evaluation.reason,
            decision_source=WORKFLOW,
            decision_name=evaluation.stage_id or None,
            policy_error=False,
            approval_message=evaluation.reason,
            approval_rules=(),
        )
    return decision, evaluation


async def after_hooks(plan: ToolPlan, call: ToolCall, value: Any) -> None:
    """
    Tell the after-hooks; what they raise is logged, because the tool has already run.
    """
    for hook in plan.after:
        try:
            if hook.when is None or hook.when(call):
                await settled(hook.callback(call, value))
        except Exception:
            logger.exception("after-hook %r failed", hook.name)
