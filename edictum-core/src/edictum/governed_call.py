"""
One tool call under governance, from intention to outcome.

    call = guard.govern("read_file", {"path": "a.txt"})
    await call.begin()                  # raises EdictumDenied: the tool must not run
    try:
        result = read_file(path="a.txt")
    except Exception as error:
        raise await call.fail(error) from error
    outcome = await call.finish(result)  # outcome.result is what the agent may see

This is the only place where the sequence is written down, as two generators: one for the way to the tool, one
for the way back.  They yield what has to be awaited, a storage backend that answers over a network for
example.  The methods of :class:`GovernedCall` await on the running loop, those of
:class:`~edictum.sync_call.SyncCall` on edictum's background loop; with nothing to await both run straight through.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from edictum.approval import ApprovalPaused
from edictum.approval_flow import obtain_approval
from edictum.audit import AuditAction, AuditEvent
from edictum.decision_log import CallLog
from edictum.engine.decide import decide, observe, over_limit
from edictum.engine.outcome import PostDecision, PreDecision, Question
from edictum.engine.review import review
from edictum.errors import EdictumDenied, EdictumToolError
from edictum.findings import Finding, PostCallResult, build_findings
from edictum.pipeline import after_hooks, answer, drive, settled
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
from edictum.session import Batches
from edictum.snapshot import EMPTY, unchanged
from edictum.storage import Batch, NoRoom
from edictum.tool_call import Principal, ToolCall, build_tool_call
from edictum.workflow_step import MAX_APPROVALS, WorkflowStep

if TYPE_CHECKING:
    from edictum.guard import Edictum
    from edictum.workflow import WorkflowRuntime

logger = logging.getLogger(__name__)

Stage: TypeAlias = Literal["new", "blocked", "allowed", "done"]
Steps: TypeAlias = Generator[Awaitable[Any], Any, None]
PrincipalSource: TypeAlias = Callable[[], Principal | None]


class RunResult:
    """
    Outcome of a call whose tool ran.

    Attributes:
        result: What the agent may see: the tool's result, redacted or withheld where a rule asks for it.
        tool_success: Whether the tool succeeded.
        decision: The decision that let it run.
        warnings: Texts for the agent.
        violations: Post rules that were broken.
        output_suppressed: Whether the result is withheld.
    """

    __slots__ = ("_log", "decision", "output_suppressed", "result", "tool_success", "violations", "warnings")

    def __init__(
        self,
        result: Any,
        tool_success: bool,
        decision: PreDecision,
        warnings: Sequence[str],
        violations: Sequence[Finding],
        output_suppressed: bool,
        log: CallLog,
    ) -> None:
        self.result = result
        self.tool_success = tool_success
        self.decision = decision
        self.warnings = warnings
        self.violations = violations
        self.output_suppressed = output_suppressed
        self._log = log

    @property
    def events(self) -> list[AuditEvent]:
        """
        The decision-log events of the call, in order.
        """
        return self._log.events

    def unwrap(self) -> Any:
        """
        The result of a tool that succeeded.

        Raises:
            EdictumToolError: The tool failed.
        """
        if not self.tool_success:
            raise EdictumToolError(self.result)
        return self.result

    def __repr__(self) -> str:
        return f"RunResult(tool_success={self.tool_success}, decision={self.decision.action!r})"


class GovernedCall:
    """
    One call: :meth:`begin`, then exactly one of :meth:`finish`, :meth:`fail`, :meth:`reuse` and :meth:`abandon`.

    Made by :meth:`Edictum.govern`.  Not tied to an event loop: the steps may run on different ones.

    Attributes:
        call: The frozen call; available after :meth:`begin`, also when it was blocked.
        decision: The decision; available after :meth:`begin`.
        on_postcondition_warn: Set it before the end to have it called instead of the guard's.
    """

    __slots__ = (
        "_args",
        "_batches",
        "_fields",
        "_guard",
        "_log",
        "_plan",
        "_post",
        "_principal",
        "_reserved",
        "_session",
        "_shown",
        "_stage",
        "_started",
        "_state",
        "_success",
        "_tool_name",
        "_violations",
        "_workflow",
        "call",
        "decision",
        "on_postcondition_warn",
    )

    call: ToolCall
    decision: PreDecision
    on_postcondition_warn: Callable[[Any, list[Any]], Any]
    _log: CallLog
    _batches: Batches
    _success: bool
    _post: PostDecision
    _violations: Sequence[Finding]
    _shown: Any

    def __init__(
        self,
        guard: Edictum,
        tool_name: str,
        args: Mapping[str, Any],
        session_id: str | None,
        principal: Principal | PrincipalSource | None,
        fields: Mapping[str, Any],
    ) -> None:
        self._guard = guard
        # Taken once: whatever a reload does meanwhile, this call is judged by one ruleset.
        self._state = state = guard._state
        self._tool_name = tool_name
        self._args = args
        self._principal = principal
        self._fields = fields
        self._session = guard._session_for(session_id)
        self._plan = state.planner.plan(tool_name)
        self._stage: Stage = "new"
        self._reserved = False
        self._started: float | None = None
        self._workflow: WorkflowStep | None = None

    @property
    def outcome(self) -> RunResult:
        """
        The outcome; available after :meth:`finish`, :meth:`fail` and :meth:`reuse`.
        """
        post = self._post
        return RunResult(
            self._shown,
            self._success,
            self.decision,
            post.warnings,
            self._violations,
            post.output_suppressed,
            self._log,
        )

    # --- for asynchronous callers ---------------------------------------------------------------

    async def run(self, tool: Callable[..., Any], *, in_thread: bool = False) -> Any:
        """
        Take a tool through all steps.

        Args:
            tool: Called with the arguments as keywords; may be asynchronous.
            in_thread: Run a synchronous tool in a worker thread.

        Returns:
            What the agent may see of the tool's result.

        Raises:
            EdictumDenied: The tool must not run.
            EdictumToolError: The tool failed; what it raised is the cause.
        """
        # Without coroutines for begin and finish: nearly always there is nothing to await in them.
        steps = self._way_to_tool()
        step = next(steps, None)
        if step is not None:
            await _walk(steps, step)
        try:
            if in_thread:
                import asyncio

                result = await settled(await asyncio.to_thread(tool, **self._args))
            else:
                result = tool(**self._args)
                if hasattr(result, "__await__"):
                    result = await result
        except Exception as error:
            raise await self.fail(error) from error
        except BaseException as error:
            await self.fail(error)
            raise
        steps = self._way_back(result, None)
        step = next(steps, None)
        if step is not None:
            await _walk(steps, step)
        if not self._success:
            raise EdictumToolError(self._shown)
        return self._shown

    async def begin(self) -> PreDecision:
        """
        Decide whether the tool may run.

        Returns:
            The decision.  In observe mode it may say ``block``; the tool runs all the same.

        Raises:
            EdictumDenied: The tool must not run.
            RuntimeError: The call has begun before.
        """
        steps = self._way_to_tool()
        step = next(steps, None)
        if step is not None:
            await _walk(steps, step)
        return self.decision

    async def finish(self, result: Any, *, failed: bool = False) -> RunResult:
        """
        Judge what the tool returned.

        Args:
            result: What the tool returned.
            failed: Whether the caller knows that this is a failure; else the guard looks at the result.

        Returns:
            The outcome; ``tool_success`` is false when the result means failure.

        Raises:
            RuntimeError: The call was not allowed, or has ended before.
        """
        steps = self._way_back(result, None, failed)
        step = next(steps, None)
        if step is not None:
            await _walk(steps, step)
        return self.outcome

    async def fail(self, error: BaseException) -> EdictumToolError:
        """
        Record that the tool raised.

        Returns:
            The error to raise from ``error``; its text is redacted like a result.

        Raises:
            RuntimeError: The call was not allowed, or has ended before.
        """
        steps = self._way_back(None, error)
        step = next(steps, None)
        if step is not None:
            await _walk(steps, step)
        return EdictumToolError(self._shown)

    async def reuse(self, result: Any) -> RunResult:
        """
        Judge a result that was there before, in a cache for example: the tool does not run for this call.

        Its place under the limits is given back, and the decision log has no outcome of it.

        Returns:
            The outcome; its result is what the agent may see.

        Raises:
            RuntimeError: The call was not allowed, or has ended before.
        """
        steps = self._way_past_tool(result)
        step = next(steps, None)
        if step is not None:
            await _walk(steps, step)
        return self.outcome

    async def abandon(self) -> None:
        """
        Say that an allowed tool was never started; its place under the limits is given back.
        """
        steps = self._way_out()
        step = next(steps, None)
        if step is not None:
            await _walk(steps, step)

    # --- the way to the tool --------------------------------------------------------------------

    def _way_to_tool(self) -> Steps:
        if self._stage != "new":
            raise self._misused("new")
        self._stage = "blocked"
        try:
            try:
                refusal = yield from self._pass_all_checks()
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

    def _pass_all_checks(self) -> Generator[Awaitable[Any], Any, Refusal | None]:
        """
        The way of a call that may run.

        Returns:
            Why it must not run; None when it may.

        Raises:
            Refusal: Likewise, from a step further down.
        """
        guard, state, plan, session = self._guard, self._state, self._plan, self._session
        call = self._build()
        self._log = log = self._open_log()
        self._batches = batches = session.batches(plan)
        store = session.immediate
        try:
            if store is not None:
                counts = store.reserve_now(batches.attempt)
            else:
                counts = (yield session.store.reserve(batches.attempt.changes)).values
        except Exception as error:
            raise by_storage(error) from error
        log.attempts = counts[0]
        log.executions = counts[1]
        decision: Any = decide(plan, call, counts)
        if type(decision) is not PreDecision:
            steps, decision = decision, next(decision)
            while type(decision) is Question:
                decision = steps.send((yield answer(decision.subject, call, session, None)))
            next(steps, None)  # to its end: dropping a generator halfway costs as much as the decision
        self.decision = decision
        asked = False
        if decision is not plan.passed or plan.candidates:
            if plan.candidates:
                yield from self._judge_candidates(counts)
                decision = self.decision
            if decision.observed_rules:
                yield from self._log_observed(decision)
            asked = decision.action == "pending_approval"
            if decision.action == "block" or (asked and state.mode == "observe"):
                return by_decision(decision)
        workflow = guard._workflow_runtime
        if workflow is not None:
            yield self._enter_workflow(workflow, call)
        if asked:
            yield self._ask(call, decision)
        if workflow is not None:
            yield self._pass_approvals(call)
            decision = self.decision
        pending = self._reserve()
        if pending is not None:
            yield pending
        if not unchanged(self._args, call.args, strict=asked):
            return by_changed_args(decision)
        foreign = asked or bool(decision.observe_results)
        if not asked or workflow is not None:
            pending = log.allowed(decision)
            if pending is not None:
                foreign = True
                taken = yield pending
                if not taken and guard._audit_failure == "block" and state.mode == "enforce":
                    return by_unwritten_log(decision)
        if decision.observe_results:
            yield from self._log_candidates("allow")
        if guard._on_allow is not None:
            guard._tell_allowed(call)
            foreign = True
        # Sinks and callbacks had their chance to write to the arguments.
        if foreign and not unchanged(self._args, call.args, strict=False):
            return by_changed_args(decision)
        return None

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
                guard._clock.now(),
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

    def _reserve(self) -> Awaitable[Any] | None:
        """
        Count the execution before the tool runs, so that parallel calls cannot share the last place.

        Returns:
            What must be awaited for it; None when it is done.
        """
        batch = self._batches.execution if self._state.mode == "enforce" else self._batches.unlimited
        store = self._session.immediate
        if store is None:
            return self._reserve_later(batch)
        try:
            values = store.reserve_now(batch)
        except NoRoom as full:
            raise self._over(full.values) from None
        except Exception as error:
            raise by_storage(error) from error
        self._reserved = True
        self._log.executions = values[0]
        return None

    async def _reserve_later(self, batch: Batch) -> None:
        try:
            result = await self._session.store.reserve(batch.changes)
        except Exception as error:
            raise by_storage(error) from error
        if not result.ok:
            raise self._over(result.values)
        self._reserved = True
        self._log.executions = result.values[0]

    def _over(self, values: Sequence[float]) -> Refusal:
        self._log.executions = values[0]
        over = over_limit(self._plan, (0, *values))
        name, text = over[:2] if over else ("max_tool_calls", "The session has reached its limit.")
        return Refusal("operation_limit", name, text, decision=self.decision)

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

    # --- the way back ---------------------------------------------------------------------------

    def _way_back(self, value: Any, error: BaseException | None, failed: bool = False) -> Steps:
        if self._stage != "allowed":
            raise self._misused("allowed")
        self._stage = "done"
        guard, plan = self._guard, self._plan
        now = guard._monotonic()
        duration = 0 if now is None or self._started is None else round((now - self._started) * 1000)
        success = error is None and not failed and guard._succeeded(self._tool_name, value)
        post = plan.reviewed
        recorded: list[dict[str, Any]] = []
        interrupted = error is not None and not isinstance(error, Exception)
        try:
            if interrupted:
                # A cancelled or interrupted tool gets no further code of others run on its behalf.
                value, post = "cancelled", PostDecision(tool_success=False)
            elif plan.post or plan.post_candidates or not success:
                value = value if error is None else _text(error)
                post = yield from self._review(value, success)
            if plan.after and not interrupted:
                yield after_hooks(plan, self.call, value)
            if self._workflow is not None and success:
                recorded = yield self._workflow.record(value)
            if self._reserved:
                pending = self._settle(success)
                if pending is not None:
                    yield pending
        except GeneratorExit:
            raise
        except BaseException:
            # The caller is cancelled here, but the tool has run: that is counted and logged all the same.
            if self._reserved:
                pending = self._settle(success)
                if pending is not None:
                    yield pending
            ended = self._log.ended(PostDecision(tool_success=success), duration, None if success else _text(value))
            if ended is not None:
                yield ended
            raise
        shown = value if post.redacted_response is None else post.redacted_response
        ended = self._log.ended(post, duration, None if success else _text(shown))
        if ended is not None:
            yield ended
        if recorded and self._workflow is not None:
            yield self._workflow.close(recorded)
        self._conclude(shown, success, post)

    def _review(self, value: Any, success: bool) -> Generator[Awaitable[Any], Any, PostDecision]:
        """
        Ask the post rules about a result.
        """
        reviews = review(self._plan, self.call, value, success, self._guard.redaction.redact_whole)
        post: Any = next(reviews)
        while type(post) is Question:
            post = reviews.send((yield answer(post.subject, self.call, self._session, value)))
        next(reviews, None)
        found: PostDecision = post
        return found

    def _conclude(self, shown: Any, success: bool, post: PostDecision) -> None:
        violations: Sequence[Finding] = ()
        if not post.postconditions_passed:
            violations = build_findings(post)
            found = PostCallResult(shown, False, list(violations), post.output_suppressed)
            shown = self._guard._tell_violations(found, getattr(self, "on_postcondition_warn", None))
        self._success, self._post, self._violations, self._shown = success, post, violations, shown

    def _way_past_tool(self, value: Any) -> Steps:
        yield from self._way_out()
        success = self._guard._succeeded(self._tool_name, value)
        post = yield from self._review(value, success)
        shown = value if post.redacted_response is None else post.redacted_response
        self._conclude(shown, success, post)

    def _way_out(self) -> Steps:
        if self._stage != "allowed":
            raise self._misused("allowed")
        self._stage = "done"
        yield self._give_back()

    def _settle(self, success: bool) -> Awaitable[Any] | None:
        """
        Keep the reservation for good.

        Returns:
            What must be awaited for it; None when it is done.
        """
        self._reserved = False
        session = self._session
        if session.immediate is None:
            return self._settle_later(success)
        try:
            session.immediate.settle_now(self._batches.execution, session.failures, success)
        except Exception:
            self._not_settled()
        return None

    async def _settle_later(self, success: bool) -> None:
        session = self._session
        try:
            await session.store.settle(self._batches.execution.changes, session.failures, success)
        except Exception:
            self._not_settled()

    def _not_settled(self) -> None:
        # The execution was counted before it began, so no limit is exceeded by this.
        logger.exception("the outcome of a call of tool %r was not counted", self._tool_name)

    async def _give_back(self) -> None:
        """
        Return the reservation of a tool that does not start.
        """
        self._reserved = False
        try:
            await self._session.store.release(self._batches.execution.changes)
        except Exception:
            # The place stays taken: stricter than needed, never looser.
            logger.exception("the reservation of a call of tool %r was not given back", self._tool_name)

    def _misused(self, needed: Stage) -> RuntimeError:
        return RuntimeError(f"this call is {self._stage!r}; the step needs it to be {needed!r}")


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:
        return f"{type(value).__name__} without text"


async def _walk(steps: Steps, step: Awaitable[Any]) -> None:
    while True:
        try:
            value = await step
        except BaseException as error:
            following = resumed(steps.throw, error)
        else:
            following = resumed(steps.send, value)
        if following is None:
            return
        step = following


def resumed(resume: Callable[[Any], Awaitable[Any]], value: Any) -> Awaitable[Any] | None:
    """
    What is to be awaited next; None at the end.
    """
    try:
        return resume(value)
    except StopIteration:
        return None
