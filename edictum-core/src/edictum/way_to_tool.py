"""
The way of one tool call from intention to the tool: the only place where this sequence is written down.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edictum.approval import ApprovalPaused
from edictum.approval_flow import obtain_approval
from edictum.audit import AuditAction
from edictum.call_state import CallState, PrincipalSource, Steps
from edictum.decision_log import CallLog
from edictum.engine.decide import decide, nothing_fires, observe
from edictum.engine.outcome import PreDecision, Question
from edictum.errors import EdictumDenied
from edictum.pipeline import answer, drive
from edictum.refusal import (
    Refusal,
    by_changed_args,
    by_decision,
    by_internal_error,
    by_storage,
    by_unknown_caller,
    by_unreadable_call,
    by_unwritten_log,
)
from edictum.ruleset.time_budget import TimeBudget
from edictum.snapshot import EMPTY, unchanged
from edictum.storage import NoRoom
from edictum.tool_call import Principal, ToolCall, build_tool_call
from edictum.workflow_step import MAX_APPROVALS, WorkflowStep

if TYPE_CHECKING:
    from edictum.workflow import WorkflowRuntime


logger = logging.getLogger(__name__)


class WayToTool(CallState):
    """
    A call whose tool may be run once :meth:`_way_to_tool` has been walked without an error.
    """

    __slots__ = ()

    def _way_to_tool(self) -> Steps | None:
        """
        Go to the tool, nearly always without anything to wait for.

        Returns:
            What is left of the way, to be walked; None where the tool may run.

        Raises:
            RuntimeError: The call has begun before.
        """
        if self._stage != "new":
            raise self._misused("new")
        self._stage = "blocked"
        guard = self._guard
        try:
            call = self._build()
            self._log = self._open_log()
            self._batches = self._session.known.get(self._plan) or self._session.batches(self._plan)
            budget = TimeBudget() if self._plan.unclear else None
            passed = self._pass_at_once(call, budget)
            if passed is not True or guard._on_allow is not None or guard._decision_log.collect is None:
                return self._long_way(passed, budget)
            if not unchanged(self._args, call.args, strict=False):
                raise by_changed_args(self.decision)
            self._log.allowed(self.decision)
        except BaseException as error:
            return self._long_way(failure=error)
        self._stage = "allowed"
        self._started = guard._monotonic()
        return None

    def _long_way(
        self,
        passed: bool | Awaitable[bool] = False,
        budget: TimeBudget | None = None,
        failure: BaseException | None = None,
    ) -> Steps:
        """
        The rest of the way where somebody is asked or told, or the call is blocked.

        Args:
            passed: What :meth:`_pass_at_once` returned.
            budget: The time that conditions may still take.
            failure: What went wrong up to here.
        """
        try:
            try:
                if failure is not None:
                    raise failure
                if type(passed) is not bool:
                    passed = yield passed
                refusal = None if passed else (yield from self._pass_one_by_one(self.call, budget))
                if refusal is None:
                    refusal = yield from self._tell_allowed(self.call)
            except Refusal as raised:
                refusal = raised
            except Exception as error:
                logger.exception("governing a call of tool %r failed", self._tool_name)
                refusal = by_internal_error(error)
            denied = None if refusal is None else (yield from self._refuse(refusal))
        except BaseException:
            if self._reserved:
                yield self._give_back()
            raise
        if denied is not None:
            raise denied
        self._stage = "allowed"
        self._started = self._guard._monotonic()

    def _pass_at_once(self, call: ToolCall, budget: TimeBudget | None) -> bool | Awaitable[bool]:
        """
        The way of nearly every call: nothing stops it but limits, so attempt and execution are counted in one step.

        Returns:
            Whether the call may run, or what must be awaited to know it; otherwise nothing was counted, and all checks
            are to be made one by one.
        """
        plan, store = self._plan, self._session.immediate
        if not plan.plain or self._guard._workflow_runtime is not None or self._state.mode != "enforce":
            return False
        if not plan.only_limits and not nothing_fires(plan, call, budget):
            return False
        if store is None:
            return self._pass_at_once_later()
        try:
            counts = store.reserve_now(self._batches.both)
        except NoRoom:
            return False
        except Exception as error:
            raise by_storage(error) from error
        self._reserved = True
        self.decision, log = plan.passed, self._log
        log.attempts, log.executions = counts[0], counts[1]
        return True

    async def _pass_at_once_later(self) -> bool:
        try:
            result = await self._session.store.reserve(self._batches.both.changes)
        except Exception as error:
            raise by_storage(error) from error
        if result.ok:
            self._reserved = True
            self.decision = self._plan.passed
            self._log.attempts, self._log.executions = result.values[:2]
        return result.ok

    def _pass_one_by_one(
        self, call: ToolCall, budget: TimeBudget | None
    ) -> Generator[Awaitable[Any], Any, Refusal | None]:
        """
        The checks in their order, up to the reservation of the execution.

        Returns:
            Why the call must not run; None when it may.

        Raises:
            Refusal: Likewise, from a step further down.
        """
        plan, session, log = self._plan, self._session, self._log
        batch = self._batches.attempt
        try:
            if session.immediate is not None:
                counts = session.immediate.reserve_now(batch)
            else:
                counts = (yield session.store.reserve(batch.changes)).values
        except Exception as error:
            raise by_storage(error) from error
        log.attempts = counts[0]
        log.executions = counts[1]
        decision: Any = decide(plan, call, counts, budget=budget)
        if type(decision) is not PreDecision:
            steps, decision = decision, next(decision)
            while type(decision) is Question:
                decision = steps.send((yield answer(decision.subject, call, session, None)))
            next(steps, None)  # to its end: dropping a generator halfway costs as much as the decision
        self.decision = decision
        if decision is not plan.passed or plan.candidates:
            if plan.candidates:
                yield from self._judge_candidates(counts)
                decision = self.decision
            if decision.observed_rules:
                yield from self._log_observed(decision)
            self._asked = decision.action == "pending_approval"
            if decision.action == "block" or (self._asked and self._state.mode == "observe"):
                return by_decision(decision)
        workflow = self._guard._workflow_runtime
        if workflow is not None:
            yield self._enter_workflow(workflow, call)
        if self._asked:
            yield self._ask(call, decision)
        if workflow is not None:
            yield self._pass_approvals(call)
        pending = self._reserve()
        if pending is not None:
            yield pending
        return None

    def _log_allowed(self, call: ToolCall) -> Awaitable[bool] | None:
        """
        Write that the call may run.

        Returns:
            What must be awaited for it; None when there is nothing to wait for.

        Raises:
            Refusal: The arguments are no longer those that were judged.
        """
        if not unchanged(self._args, call.args, strict=self._asked):
            raise by_changed_args(self.decision)
        if self._asked and self._workflow is None:
            return None  # the answer of the person who was asked is in the log
        return self._log.allowed(self.decision)

    def _tell_allowed(self, call: ToolCall) -> Generator[Awaitable[Any], Any, Refusal | None]:
        """
        Write that the call may run, and let others know.
        """
        guard, decision = self._guard, self.decision
        pending = self._log_allowed(call)
        if pending is not None:
            taken = yield pending
            if not taken and guard._audit_failure == "block" and self._state.mode == "enforce":
                return by_unwritten_log(decision)
        if decision.observe_results:
            yield from self._log_candidates("allow")
        if guard._on_allow is not None:
            guard._tell_allowed(call)
        # All of them had their chance to write to the arguments.
        return None if unchanged(self._args, call.args, strict=False) else by_changed_args(decision)

    def _build(self) -> ToolCall:
        """
        Take the snapshot that everything is judged on.
        """
        guard, principal = self._guard, self._principal
        if principal is not None and not isinstance(principal, Principal):
            principal = self._asked_for(principal)
        try:
            if self._principal is None:
                principal = guard._principal
                if guard._principal_resolver is not None:
                    principal = guard._resolve_principal(self._tool_name, self._args)
            self.call = build_tool_call(
                self._plan,
                self._args,
                self._session.session_id,
                guard.environment,
                guard._now(),
                principal,
                self._fields,
            )
        except Exception as error:
            raise by_unreadable_call(error) from error
        return self.call

    def _asked_for(self, source: PrincipalSource) -> Principal | None:
        try:
            principal = source()
            if principal is not None and not isinstance(principal, Principal):
                raise TypeError(f"a principal is a Principal, not {type(principal).__name__}")
        except Exception as error:
            raise by_unknown_caller(error) from error
        return principal

    def _open_log(self) -> CallLog:
        guard, state = self._guard, self._state
        return CallLog(guard._decision_log, self.call, state.policy_version, state.mode)

    async def _ask(self, call: ToolCall, decision: PreDecision) -> None:
        """
        Ask a person, then judge again what may have changed while the person was thinking.
        """
        await self._obtain_approval(call, decision)
        await self._judge_again(call, decision)

    async def _obtain_approval(self, call: ToolCall, decision: PreDecision) -> dict[str, Any]:
        try:
            return await obtain_approval(self._guard, self._log, call, decision, self._state.policy_version)
        except ApprovalPaused:
            # The call is made again when the answer is there, and counts then.
            try:
                await self._session.store.release(self._batches.attempt.changes)
            except Exception:
                logger.exception("the attempt of a paused call of tool %r was not given back", self._tool_name)
            raise

    async def _judge_again(self, call: ToolCall, decision: PreDecision) -> None:
        if not unchanged(self._args, call.args, strict=True):
            raise by_changed_args(decision)
        try:
            counts = (await self._session.store.reserve(self._batches.again.changes)).values
        except Exception as error:
            raise by_storage(error) from error
        # Attempts that others made meanwhile are not this call's.
        again: Any = decide(self._plan, call, (self._log.attempts, *counts[1:]), recheck=True)
        if type(again) is not PreDecision:
            again = await drive(again, next(again), call, self._session)
        if again.action != "allow":
            raise by_decision(again)
        if self._workflow is not None:
            self.decision = await self._workflow.judge()

    # --- the workflow ---------------------------------------------------------------------------

    async def _enter_workflow(self, runtime: WorkflowRuntime, call: ToolCall) -> None:
        """
        Ask the workflow before any person is asked: what it blocks needs nobody's approval.
        """
        step = WorkflowStep(runtime, self._session, call, self._log, self.decision)
        decision = await step.judge()
        if step.evaluation.action != "allow" and self._state.mode == "observe":
            raise by_decision(decision)
        self._workflow, self.decision = step, decision

    async def _pass_approvals(self, call: ToolCall) -> None:
        """
        Ask a person at each boundary between stages that wants one, until the workflow takes the call.
        """
        step = self._workflow
        assert step is not None
        for _ in range(MAX_APPROVALS):
            if step.evaluation.action == "allow":
                return
            asked = self.decision
            facts = await self._obtain_approval(call, asked)
            await step.approve(facts)
            await self._judge_again(call, asked)
        raise RuntimeError(f"the workflow asked for more than {MAX_APPROVALS} approvals for one call")

    # --- refusal and observation ----------------------------------------------------------------

    def _refuse(self, refusal: Refusal) -> Generator[Awaitable[Any], Any, EdictumDenied | None]:
        """
        Block the call; in observe mode only say that it would have been blocked.

        Returns:
            What to raise; None in observe mode.
        """
        guard, state = self._guard, self._state
        if not hasattr(self, "call"):
            self.call = self._unreadable_call()
        if not hasattr(self, "_log"):
            self._log = self._open_log()
        if not hasattr(self, "decision"):
            self.decision = self._plan.passed
        observing = state.mode == "observe"
        if self._reserved and not observing:
            yield self._give_back()
        metadata = refusal.metadata
        if refusal.detail is not None:
            metadata = {**metadata, "error_detail": refusal.detail}
        pending = self._log.write(
            AuditAction.CALL_WOULD_DENY if observing else refusal.action,
            decision=refusal.decision,
            source=refusal.source,
            name=refusal.name,
            reason=refusal.reason,
            policy_error=refusal.policy_error,
            observed=refusal.would if observing else None,
            metadata=metadata,
        )
        if pending is not None:
            yield pending
        if self.decision.observe_results:
            yield from self._log_candidates(refusal.would)
        if refusal.decision is not self.decision or self.decision.action == "allow":
            self.decision = replace(
                self.decision,
                action="pending_approval" if refusal.would == "ask" else "block",
                reason=refusal.reason,
                decision_source=refusal.source,
                decision_name=refusal.name,
                policy_error=refusal.policy_error,
            )
        if not observing:
            if guard._on_deny is not None:
                guard._tell_blocked(self.call, refusal.reason, refusal.name)
            return EdictumDenied(refusal.reason, refusal.source, refusal.name, refusal.action)
        guard._tell_would_block(self.call, refusal.reason, refusal.name)
        if not self._reserved and hasattr(self, "_batches"):
            try:
                pending = self._reserve()
                if pending is not None:
                    yield pending
            except Refusal as error:
                # Observing never stops a call; the log has said already what is wrong.
                logger.warning("observe mode: an execution was not counted: %s", error.detail)
        return None

    def _unreadable_call(self) -> ToolCall:
        """
        A call without arguments, for the event of one whose arguments could not be read.
        """
        guard = self._guard
        moment = guard._decision_log.now()
        return build_tool_call(self._plan, EMPTY, self._session.session_id, guard.environment, moment, None, EMPTY)

    def _judge_candidates(self, counts: Sequence[float]) -> Steps:
        observations = observe(self._plan, self.call, counts)
        found: Any = next(observations)
        while type(found) is Question:
            found = observations.send((yield answer(found.subject, self.call, self._session, None)))
        self.decision = replace(self.decision, observe_results=found)

    def _log_observed(self, decision: PreDecision) -> Steps:
        for fired in decision.observed_rules:
            pending = self._log.write(
                AuditAction.CALL_WOULD_DENY,
                decision=decision,
                source=fired.rule.source,
                name=fired.rule.id,
                reason=fired.message,
                policy_error=fired.error is not None,
                observed=fired.rule.action,
            )
            if pending is not None:
                yield pending
            self._guard._tell_would_block(self.call, fired.message, fired.rule.id)

    def _log_candidates(self, enforced: str) -> Steps:
        """
        One event for each candidate rule, beside the real decision.
        """
        for record in self.decision.observe_results:
            passed = record["passed"]
            pending = self._log.write(
                AuditAction.CALL_ALLOWED if passed else AuditAction.CALL_WOULD_DENY,
                source=record["source"],
                name=record["name"],
                reason=record["message"],
                policy_error=record["policy_error"],
                observed="allow" if passed else record["action"],
                contracts=[record],
                metadata={"enforced_action": enforced},
            )
            if pending is not None:
                yield pending
            if not passed:
                self._guard._tell_would_block(self.call, record["message"], record["name"])
