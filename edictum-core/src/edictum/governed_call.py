"""
One tool call under governance, from intention to outcome.

    call = guard.govern("read_file", {"path": "a.txt"})
    await call.begin()                  # raises EdictumDenied: the tool must not run
    try:
        result = read_file(path="a.txt")
    except Exception as error:
        raise await call.fail(error) from error
    outcome = await call.finish(result)  # outcome.result is what the agent may see

This is the only place where the sequence is written down.  ``run``, ``run_sync`` and every framework adapter
use it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from edictum.approval_flow import obtain_approval
from edictum.audit import AuditAction, AuditEvent
from edictum.decision_log import CallLog
from edictum.engine.decide import decide, observe, over_limit
from edictum.engine.outcome import PostDecision, PreDecision, Question
from edictum.engine.review import review
from edictum.errors import EdictumDenied, EdictumToolError
from edictum.findings import Finding, PostCallResult, build_findings
from edictum.pipeline import after_hooks, drive
from edictum.refusal import (
    Refusal,
    by_changed_args,
    by_decision,
    by_internal_error,
    by_storage,
    by_unreadable_call,
    by_unwritten_log,
)
from edictum.snapshot import EMPTY, unchanged
from edictum.storage import ReserveResult
from edictum.tool_call import ToolCall, build_tool_call

if TYPE_CHECKING:
    from edictum.guard import Edictum

logger = logging.getLogger(__name__)

Stage: TypeAlias = Literal["new", "blocked", "allowed", "done"]


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
        events: The decision-log events of the call.
    """

    __slots__ = ("decision", "events", "output_suppressed", "result", "tool_success", "violations", "warnings")

    def __init__(
        self,
        result: Any,
        tool_success: bool,
        decision: PreDecision,
        warnings: Sequence[str],
        violations: Sequence[Finding],
        output_suppressed: bool,
        events: list[AuditEvent],
    ) -> None:
        self.result = result
        self.tool_success = tool_success
        self.decision = decision
        self.warnings = warnings
        self.violations = violations
        self.output_suppressed = output_suppressed
        self.events = events

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
    One call: :meth:`begin`, then exactly one of :meth:`finish`, :meth:`fail` and :meth:`abandon`.

    Made by :meth:`Edictum.govern`.  Not tied to an event loop: the steps may run on different ones.

    Attributes:
        call: The frozen call; available after :meth:`begin`, also when it was blocked.
        decision: The decision; available after :meth:`begin`.
    """

    __slots__ = (
        "_args",
        "_fields",
        "_guard",
        "_log",
        "_plan",
        "_reserved",
        "_session",
        "_stage",
        "_started",
        "_state",
        "_tool_name",
        "call",
        "decision",
    )

    def __init__(
        self,
        guard: Edictum,
        tool_name: str,
        args: Mapping[str, Any],
        session_id: str | None,
        fields: Mapping[str, Any],
    ) -> None:
        self._guard = guard
        # Taken once: whatever a reload does meanwhile, this call is judged by one ruleset.
        self._state = state = guard._state
        self._tool_name = tool_name
        self._args = args
        self._fields = fields
        self._session = guard._session_for(session_id)
        self._plan = state.planner.plan(tool_name)
        self._stage: Stage = "new"
        self._reserved = False
        self._started: float | None = None
        self._log: CallLog | None = None
        self.call: ToolCall | None = None
        self.decision: PreDecision = self._plan.passed

    # --- before the tool ------------------------------------------------------------------------

    async def begin(self) -> PreDecision:
        """
        Decide whether the tool may run.

        Returns:
            The decision.  In observe mode it may say ``block``; the tool runs all the same.

        Raises:
            EdictumDenied: The tool must not run.
            RuntimeError: The call has begun before.
        """
        self._expect("new")
        self._stage = "blocked"
        try:
            try:
                await self._pass_all_checks()
            except Refusal as refusal:
                await self._refuse(refusal)
            except Exception as error:
                logger.exception("governing a call of tool %r failed", self._tool_name)
                await self._refuse(by_internal_error(error))
        except BaseException:
            if self._reserved:
                await self._give_back()
            raise
        self._stage = "allowed"
        self._started = self._monotonic()
        return self.decision

    async def _pass_all_checks(self) -> None:
        """
        The way of a call that may run; every other end is a :class:`Refusal`.
        """
        guard, state, plan, session = self._guard, self._state, self._plan, self._session
        call = self._build()
        self._log = log = CallLog(guard._decision_log, call, state.policy_version, state.mode)
        try:
            counts = session.begin(plan)
            if type(counts) is not tuple:
                counts = await counts  # type: ignore[misc]
        except Exception as error:
            raise by_storage(error) from error
        log.attempts = int(counts[0])
        log.executions = int(counts[1])
        steps = decide(plan, call, counts)
        step = next(steps)
        if type(step) is Question:
            step = cast(PreDecision, await drive(steps, step, call, session))
        self.decision = decision = cast(PreDecision, step)
        if plan.candidates:
            observations = observe(plan, call, counts)
            found = cast(list[Any], await drive(observations, next(observations), call, session))
            self.decision = decision = replace(decision, observe_results=found)
        if decision.observed_rules:
            await self._log_observed(decision)
        if decision.action == "block":
            raise by_decision(decision)
        asked = decision.action == "pending_approval"
        if asked:
            await self._ask(call, decision)
        await self._reserve() if session.waits else self._reserve_now()
        if not unchanged(self._args, call.args, strict=asked):
            raise by_changed_args(decision)
        if not asked:
            taken = log.allowed(decision)
            if taken is None:
                taken = await log.flush()
            if not taken and guard._audit_failure == "block" and state.mode == "enforce":
                raise by_unwritten_log(decision)
        if decision.observe_results:
            await self._log_candidates("allow")
        if guard._on_allow is not None:
            guard._tell_allowed(call)
        # Sinks and callbacks had their chance to write to the arguments.
        if not unchanged(self._args, call.args, strict=False):
            raise by_changed_args(decision)

    def _build(self) -> ToolCall:
        """
        Take the snapshot that everything is judged on.
        """
        guard = self._guard
        fields = self._fields
        try:
            principal = fields.get("principal") if fields else None
            if principal is None:
                principal = guard._resolve_principal(self._tool_name, self._args)
            self.call = build_tool_call(
                self._plan,
                self._args,
                self._session.session_id,
                guard.environment,
                guard._clock.now(),
                principal,
                fields,
            )
        except Exception as error:
            raise by_unreadable_call(error) from error
        return self.call

    def _reserve_now(self) -> None:
        """
        Count the execution now, so that parallel calls cannot share the last place.
        """
        try:
            result = self._session.reserve(self._plan, limited=self._state.mode == "enforce")
        except Exception as error:
            raise by_storage(error) from error
        self._take(cast(ReserveResult, result))

    async def _reserve(self) -> None:
        try:
            result = await cast(Any, self._session.reserve(self._plan, limited=self._state.mode == "enforce"))
        except Exception as error:
            raise by_storage(error) from error
        self._take(result)

    def _take(self, result: ReserveResult) -> None:
        assert self._log is not None
        self._log.executions = int(result.values[0])
        if result.ok:
            self._reserved = True
            return
        over = over_limit(self._plan, (0, *result.values))
        name, text = over[:2] if over else ("max_tool_calls", "The session has reached its limit.")
        raise Refusal("operation_limit", name, text, decision=self.decision)

    async def _ask(self, call: ToolCall, decision: PreDecision) -> None:
        """
        Ask a person, then judge again what may have changed while the person was thinking.
        """
        if self._state.mode == "observe":
            raise by_decision(decision)
        assert self._log is not None
        await obtain_approval(self._guard, self._log, call, decision, self._state.policy_version)
        if not unchanged(self._args, call.args, strict=True):
            raise by_changed_args(decision)
        try:
            counts = await self._session.read_again(self._plan)
        except Exception as error:
            raise by_storage(error) from error
        steps = decide(self._plan, call, counts, recheck=True)
        again = cast(PreDecision, await drive(steps, next(steps), call, self._session))
        if again.action != "allow":
            raise by_decision(again)

    # --- refusal and observation ----------------------------------------------------------------

    async def _refuse(self, refusal: Refusal) -> None:
        """
        Block the call; in observe mode only say that it would have been blocked.
        """
        state = self._state
        call = self.call
        if call is None:
            call = self.call = self._unreadable_call()
        log = self._log
        if log is None:
            log = self._log = CallLog(self._guard._decision_log, call, state.policy_version, state.mode)
        self.decision = replace(
            self.decision,
            action="pending_approval" if refusal.would == "ask" else "block",
            reason=refusal.reason,
            decision_source=refusal.source,
            decision_name=refusal.name,
            policy_error=refusal.policy_error,
        )
        observing = state.mode == "observe"
        metadata = dict(refusal.metadata)
        if refusal.detail is not None:
            metadata["error_detail"] = refusal.detail
        if self._reserved and not observing:
            await self._give_back()
        await log.write(
            AuditAction.CALL_WOULD_DENY if observing else refusal.action,
            decision=refusal.decision,
            source=refusal.source,
            name=refusal.name,
            reason=refusal.reason,
            policy_error=refusal.policy_error,
            observed=refusal.would if observing else None,
            metadata=metadata,
        )
        if self.decision.observe_results:
            await self._log_candidates(refusal.would)
        if not observing:
            self._guard._tell_blocked(call, refusal.reason, refusal.name)
            raise EdictumDenied(refusal.reason, refusal.source, refusal.name)
        self._guard._tell_would_block(call, refusal.reason, refusal.name)
        if not self._reserved:
            try:
                await self._reserve() if self._session.waits else self._reserve_now()
            except Refusal as error:
                # Observing never stops a call; the log has said already what is wrong.
                logger.warning("observe mode: an execution was not counted: %s", error.detail)

    def _unreadable_call(self) -> ToolCall:
        """
        A call without arguments, for the event of one whose arguments could not be read.
        """
        guard = self._guard
        return build_tool_call(
            self._plan,
            EMPTY,
            self._session.session_id,
            guard.environment,
            guard._decision_log.now(),
            None,
            EMPTY,
        )

    async def _log_observed(self, decision: PreDecision) -> None:
        assert self._log is not None
        assert self.call is not None
        for fired in decision.observed_rules:
            await self._log.write(
                AuditAction.CALL_WOULD_DENY,
                decision=decision,
                source=fired.rule.source,
                name=fired.rule.id,
                reason=fired.message,
                policy_error=fired.error is not None,
                observed=fired.rule.action,
            )
            self._guard._tell_would_block(self.call, fired.message, fired.rule.id)

    async def _log_candidates(self, enforced: str) -> None:
        """
        One event for each candidate rule, beside the real decision.
        """
        assert self._log is not None
        assert self.call is not None
        for record in self.decision.observe_results:
            passed = record["passed"]
            await self._log.write(
                AuditAction.CALL_ALLOWED if passed else AuditAction.CALL_WOULD_DENY,
                source=record["source"],
                name=record["name"],
                reason=record["message"],
                policy_error=record["policy_error"],
                observed="allow" if passed else record["action"],
                contracts=[record],
                metadata={"enforced_action": enforced},
            )
            if not passed:
                self._guard._tell_would_block(self.call, record["message"], record["name"])

    # --- after the tool -------------------------------------------------------------------------

    async def finish(self, result: Any) -> RunResult:
        """
        Judge what the tool returned.

        Returns:
            The outcome; ``tool_success`` is false when the result means failure.

        Raises:
            RuntimeError: The call was not allowed, or has ended before.
        """
        self._expect("allowed")
        duration = self._duration_ms()
        return await self._conclude(result, self._guard._succeeded(self._tool_name, result), duration)

    async def fail(self, error: BaseException) -> EdictumToolError:
        """
        Record that the tool raised.

        Returns:
            The error to raise from ``error``; its text is redacted like a result.

        Raises:
            RuntimeError: The call was not allowed, or has ended before.
        """
        self._expect("allowed")
        duration = self._duration_ms()
        if isinstance(error, Exception):
            return EdictumToolError((await self._conclude(str(error), False, duration)).result)
        # A cancelled or interrupted tool gets no further code of others run on its behalf.
        self._stage = "done"
        await self._settle(False)
        await self._log_end(PostDecision(tool_success=False), duration, "cancelled")
        return EdictumToolError("cancelled")

    async def abandon(self) -> None:
        """
        Say that an allowed tool was never started; its place under the limits is given back.
        """
        self._expect("allowed")
        self._stage = "done"
        await self._give_back()

    async def _conclude(self, value: Any, success: bool, duration: int) -> RunResult:
        self._stage = "done"
        guard, plan, call, log = self._guard, self._plan, self.call, self._log
        assert call is not None
        assert log is not None
        steps = review(plan, call, value, success, guard.redaction.redact_text)
        step = next(steps)
        if type(step) is Question:
            step = cast(PostDecision, await drive(steps, step, call, self._session, value))
        post = cast(PostDecision, step)
        if plan.after:
            await after_hooks(plan, call, value)
        await self._settle(success)
        shown = value if post.redacted_response is None else post.redacted_response
        await self._log_end(post, duration, None if success else str(shown))
        if post.postconditions_passed:
            return RunResult(shown, success, self.decision, post.warnings, (), False, log.events)
        violations = build_findings(post)
        shown = guard._tell_violations(PostCallResult(shown, False, violations, post.output_suppressed))
        return RunResult(
            shown, success, self.decision, post.warnings, violations, post.output_suppressed, log.events
        )

    async def _log_end(self, post: PostDecision, duration: int, error: str | None) -> None:
        assert self._log is not None
        if self._log.ended(post, duration, error) is None:
            await self._log.flush()

    async def _settle(self, success: bool) -> None:
        if not self._reserved:
            return
        self._reserved = False
        try:
            done = self._session.settle(self._plan, success)
            if done is not None:
                await done
        except Exception:
            # The execution was counted before it began, so no limit is exceeded by this.
            logger.exception("the outcome of a call of tool %r was not counted", self._tool_name)

    async def _give_back(self) -> None:
        """
        Return the reservation of a tool that does not start.
        """
        self._reserved = False
        try:
            await self._session.release(self._plan)
        except Exception:
            # The place stays taken: stricter than needed, never looser.
            logger.exception("the reservation of a call of tool %r was not given back", self._tool_name)

    def _monotonic(self) -> float | None:
        try:
            return self._guard._clock.monotonic()
        except Exception:
            logger.exception("the clock failed; durations are not known")
            return None

    def _duration_ms(self) -> int:
        now = self._monotonic()
        return 0 if now is None or self._started is None else round((now - self._started) * 1000)

    def _expect(self, stage: Stage) -> None:
        if self._stage != stage:
            raise RuntimeError(f"this call is {self._stage!r}; the step needs it to be {stage!r}")
