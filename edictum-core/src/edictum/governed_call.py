"""
One tool call under governance, from intention to outcome.

    call = guard.govern("read_file", {"path": "a.txt"})
    await call.begin()                  # raises EdictumDenied: the tool must not run
    try:
        result = read_file(path="a.txt")
    except Exception as error:
        await call.fail(error)
        raise
    outcome = await call.finish(result)  # outcome.result is what the agent may see

This is the only place where the sequence is written down.  ``run``, ``run_sync`` and every framework adapter
use it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from edictum.approval_flow import Outcome, await_decision, request_approval
from edictum.audit import AuditAction, AuditEvent
from edictum.decision_log import CallLog
from edictum.engine.decide import decide, over_limit
from edictum.engine.outcome import PostDecision, PreDecision, error_text
from edictum.engine.review import review
from edictum.errors import EdictumDenied, EdictumToolError
from edictum.findings import Finding, PostCallResult, build_findings
from edictum.pipeline import after_hooks, drive
from edictum.snapshot import EMPTY, fingerprint, unchanged
from edictum.tool_call import ToolCall, build_tool_call

if TYPE_CHECKING:
    from edictum.guard import Edictum

logger = logging.getLogger(__name__)

Stage: TypeAlias = Literal["new", "allowed", "blocked", "done"]


@dataclass(slots=True)
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

    result: Any
    tool_success: bool
    decision: PreDecision
    warnings: list[str] = field(default_factory=list)
    violations: list[Finding] = field(default_factory=list)
    output_suppressed: bool = False
    events: list[AuditEvent] = field(default_factory=list)

    def unwrap(self) -> RunResult:
        """
        The outcome itself if the tool succeeded.

        Raises:
            EdictumToolError: The tool failed.
        """
        if not self.tool_success:
            raise EdictumToolError(self.result)
        return self


class _Refusal(Exception):  # noqa: N818  internal signal
    """
    The call must not run; carries what the decision log and the agent are told.
    """

    def __init__(
        self,
        source: str,
        name: str | None,
        reason: str,
        *,
        policy_error: bool = False,
        detail: str | None = None,
        decision: PreDecision | None = None,
        action: AuditAction = AuditAction.CALL_DENIED,
        would: str = "block",
        metadata: Mapping[str, Any] = EMPTY,
    ) -> None:
        super().__init__(reason)
        self.source = source
        self.name = name
        self.reason = reason
        self.policy_error = policy_error
        self.detail = detail
        self.decision = decision
        self.action = action
        self.would = would
        self.metadata = metadata


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
        fields: dict[str, Any],
    ) -> None:
        self._guard = guard
        # Taken once: whatever a reload does meanwhile, this call is judged by one ruleset.
        self._state = guard._state
        self._tool_name = tool_name
        self._args = args
        self._fields = fields
        self._session = guard._session_for(session_id)
        self._plan = self._state.planner.plan(tool_name if isinstance(tool_name, str) else "")
        self._stage: Stage = "new"
        self._reserved = False
        self._started: float | None = None
        self._log: CallLog | None = None
        self.call: ToolCall | None = None
        self.decision = PreDecision("block")

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
                await self._decide_and_allow()
            except _Refusal as refusal:
                await self._refuse(refusal)
            except Exception as error:
                logger.exception("governing a call of tool %r failed", self._tool_name)
                await self._refuse(
                    _Refusal(
                        "internal_error",
                        None,
                        "The call could not be checked, so it is blocked. Report this to the user.",
                        policy_error=True,
                        detail=error_text(error),
                    )
                )
            self._started = self._monotonic()
        except BaseException:
            await self._give_back()
            raise
        self._stage = "allowed"
        return self.decision

    async def _decide_and_allow(self) -> None:
        call = self._build()
        log = self._open_log(call)
        plan = self._plan
        try:
            counts = await self._session.begin(plan)
        except Exception as error:
            raise self._storage_refusal(error) from error
        log.attempts = int(counts[0]) + 1
        log.executions = int(counts[1])
        decision = cast(PreDecision, await drive(decide(plan, call, counts), call, self._session))
        self.decision = decision
        if decision.observed_rules:
            await self._log_observed(decision)
        if decision.action == "block":
            raise self._refusal_of(decision)
        asked = decision.action == "pending_approval"
        if asked:
            if self._state.mode == "observe":
                raise self._refusal_of(decision)
            await self._ask(call, decision)
        await self._reserve(limited=self._state.mode == "enforce")
        self._check_args(strict=asked)
        if not asked:
            taken = await log.write(AuditAction.CALL_ALLOWED, decision=decision)
            self._require_logged(taken)
        await self._log_candidates("allow")
        self._guard._tell_allowed(call)
        # Sinks and callbacks had their chance to write to the arguments.
        self._check_args(strict=False)

    def _build(self) -> ToolCall:
        """
        Take the snapshot that everything is judged on.
        """
        guard = self._guard
        plan = self._plan
        fields = self._fields
        environment = fields.pop("environment", None) or guard.environment
        principal = fields.pop("principal", None)
        try:
            if principal is None:
                principal = guard._resolve_principal(self._tool_name, self._args)
            self.call = build_tool_call(
                self._tool_name,
                self._args,
                run_id=self._session.session_id,
                environment=environment,
                timestamp=guard._clock.now(),
                principal=principal,
                side_effect=plan.side_effect,
                idempotent=plan.idempotent,
                shell=plan.shell,
                fields=fields,
            )
        except Exception as error:
            raise _Refusal(
                "invalid_call",
                None,
                "The call could not be read, so it is blocked. Check the arguments.",
                policy_error=True,
                detail=error_text(error),
            ) from error
        return self.call

    def _open_log(self, call: ToolCall) -> CallLog:
        state = self._state
        self._log = self._guard._decision_log.open(call, state.policy_version, state.mode)
        return self._log

    def _storage_refusal(self, error: Exception) -> _Refusal:
        return _Refusal(
            "backend_error",
            "session",
            "The state of the session is not available, so the call is blocked. Try again later.",
            policy_error=True,
            detail=error_text(error),
        )

    def _refusal_of(self, decision: PreDecision) -> _Refusal:
        return _Refusal(
            decision.decision_source or "",
            decision.decision_name,
            decision.reason or "",
            policy_error=decision.policy_error,
            decision=decision,
            would="ask" if decision.action == "pending_approval" else "block",
        )

    async def _reserve(self, *, limited: bool) -> None:
        """
        Count the execution now, so that parallel calls cannot share the last place.
        """
        plan = self._plan
        try:
            result = await self._session.reserve(plan, limited=limited)
        except Exception as error:
            raise self._storage_refusal(error) from error
        self._reserved = result.ok
        if self._log is not None:
            self._log.executions = int(result.values[0])
        if result.ok:
            return
        over = over_limit(plan, (0, *result.values))
        name, text = over[:2] if over else ("max_tool_calls", "The session has reached its limit.")
        raise _Refusal("operation_limit", name, text, decision=self.decision)

    def _check_args(self, *, strict: bool) -> None:
        assert self.call is not None
        if not unchanged(self._args, cast(Any, self.call.args), strict=strict):
            raise _Refusal(
                "args_changed",
                None,
                "The arguments changed after the call was checked, so it is blocked. Make the call again.",
                decision=self.decision,
            )

    def _require_logged(self, taken: bool) -> None:
        if not taken and self._guard._audit_failure == "block" and self._state.mode == "enforce":
            raise _Refusal(
                "audit_unavailable",
                None,
                "The decision log cannot be written, so the call is blocked. Try again later.",
                decision=self.decision,
            )

    # --- approval ------------------------------------------------------------------------------

    async def _ask(self, call: ToolCall, decision: PreDecision) -> None:
        """
        Ask a person; returns when the call may go on, raises when it may not.
        """
        guard = self._guard
        log = self._log
        assert log is not None
        source, name, message = decision.decision_source or "", decision.decision_name, decision.reason or ""
        backend = guard._approval_backend
        if backend is None:
            text = f"This call needs approval, but no approval backend is set: {message}"
            raise _Refusal(source, name, text, decision=decision)
        version = self._state.policy_version
        binding: dict[str, Any] = {
            "args_fingerprint": fingerprint(call.tool_name, call.args),
            "policy_version": version,
            "call_id": call.call_id,
            "rules": list(decision.approval_rules),
        }
        facts: dict[str, Any] = {"rules": list(decision.approval_rules)}
        try:
            request = await request_approval(backend, call, decision, binding, guard.redaction.redact_args)
            facts["approval_id"] = request.approval_id
            await log.write(
                AuditAction.CALL_APPROVAL_REQUESTED,
                decision=decision, source=source, name=name, reason=message, metadata=facts,
            )  # fmt: skip
            asked_at = guard._clock.monotonic()
            outcome = await await_decision(backend, request, decision.approval_timeout)
            facts["waited_ms"] = round((guard._clock.monotonic() - asked_at) * 1000)
        except Exception as error:
            text = f"This call needs approval, and the approval could not be obtained: {message}"
            raise _Refusal(
                "approval_error", name, text, policy_error=True, detail=error_text(error),
                decision=decision, action=AuditAction.CALL_APPROVAL_DENIED, metadata=facts,
            ) from error  # fmt: skip
        facts["approver"] = outcome.approver
        facts["approval_reason"] = outcome.reason
        action = self._read_outcome(outcome, decision, facts)
        taken = await log.write(action, decision=decision, source=source, name=name, reason=message, metadata=facts)
        self._require_logged(taken)
        self._check_args(strict=True)
        if guard._state.policy_version != version:
            raise _Refusal(
                "policy_changed", name,
                "The ruleset changed while the approval was pending, so the call is blocked. Make it again.",
                decision=decision,
            )  # fmt: skip
        await self._recheck(call)

    def _read_outcome(self, outcome: Outcome, decision: PreDecision, facts: dict[str, Any]) -> AuditAction:
        source, name, message = decision.decision_source or "", decision.decision_name, decision.reason or ""
        if outcome.verdict == "granted":
            return AuditAction.CALL_APPROVAL_GRANTED
        if outcome.verdict == "timeout":
            if decision.approval_timeout_action == "allow":
                return AuditAction.CALL_APPROVAL_TIMEOUT
            raise _Refusal(
                source, name, f"Nobody answered the request for approval in time: {message}",
                decision=decision, action=AuditAction.CALL_APPROVAL_TIMEOUT, metadata=facts,
            )  # fmt: skip
        because = f" ({outcome.reason})" if outcome.reason else ""
        raise _Refusal(
            source, name, f"The approval was refused{because}: {message}",
            decision=decision, action=AuditAction.CALL_APPROVAL_DENIED, metadata=facts,
        )  # fmt: skip

    async def _recheck(self, call: ToolCall) -> None:
        """
        Judge again what may have changed while a person was thinking.
        """
        try:
            counts = await self._session.read_again(self._plan)
        except Exception as error:
            raise self._storage_refusal(error) from error
        steps = decide(self._plan, call, counts, recheck=True)
        decision = cast(PreDecision, await drive(steps, call, self._session))
        if decision.action != "allow":
            self.decision = decision
            raise self._refusal_of(decision)

    # --- refusal and observation ----------------------------------------------------------------

    async def _refuse(self, refusal: _Refusal) -> None:
        """
        Block the call; in observe mode only say that it would have been blocked.
        """
        call = self.call
        if call is None:
            call = self.call = self._unreadable_call()
        log = self._log or self._open_log(call)
        decision = self.decision
        decision.action = "pending_approval" if refusal.would == "ask" else "block"
        decision.reason = refusal.reason
        decision.decision_source = refusal.source
        decision.decision_name = refusal.name
        decision.policy_error = refusal.policy_error
        observing = self._state.mode == "observe"
        metadata = dict(refusal.metadata)
        if refusal.detail is not None:
            metadata["error_detail"] = refusal.detail
        if not observing:
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
        await self._log_candidates(refusal.would)
        if observing:
            self._guard._tell_would_block(call, refusal.reason, refusal.name)
            await self._count_unlimited()
            return
        self._guard._tell_blocked(call, refusal.reason, refusal.name)
        raise EdictumDenied(refusal.reason, refusal.source, refusal.name)

    def _unreadable_call(self) -> ToolCall:
        """
        A call without arguments, for the event of one whose arguments could not be read.
        """
        return build_tool_call(
            self._tool_name if isinstance(self._tool_name, str) else repr(self._tool_name),
            EMPTY,
            run_id=self._session.session_id,
            environment=self._guard.environment,
            timestamp=self._guard._decision_log.now(),
            principal=None,
            side_effect=self._plan.side_effect,
            idempotent=False,
            shell=False,
            fields={},
        )

    async def _count_unlimited(self) -> None:
        if self._reserved:
            return
        try:
            await self._reserve(limited=False)
        except _Refusal as error:
            # Observing never stops a call; that the state is not available is in the log already.
            logger.warning("observe mode: an execution was not counted: %s", error.detail)

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
        if not self.decision.observe_results:
            return
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
        await self._write_outcome(PostDecision(False), False, duration, "cancelled")
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
        guard = self._guard
        call = self.call
        assert call is not None
        assert self._log is not None
        steps = review(self._plan, call, value, success, guard.redaction.redact_text)
        post = cast(PostDecision, await drive(steps, call, self._session, value))
        await after_hooks(self._plan, call, value)
        await self._settle(success)
        await self._write_outcome(post, success, duration, None if success else _error_of(post, value))
        shown = value if post.redacted_response is None else post.redacted_response
        violations = build_findings(post) if not post.postconditions_passed else []
        if violations:
            shown = guard._tell_violations(PostCallResult(shown, False, violations, post.output_suppressed))
        return RunResult(
            shown,
            success,
            self.decision,
            post.warnings,
            violations,
            post.output_suppressed,
            self._log.events,
        )

    async def _settle(self, success: bool) -> None:
        if not self._reserved:
            return
        self._reserved = False
        try:
            await self._session.settle(self._plan, success)
        except Exception:
            # The execution was counted before it began, so no limit is exceeded by this.
            logger.exception("the outcome of call %s was not counted", self.call and self.call.call_id)

    async def _write_outcome(self, post: PostDecision, success: bool, duration: int, error: str | None) -> None:
        assert self._log is not None
        observed = post.observed_rules
        await self._log.write(
            AuditAction.CALL_EXECUTED if success else AuditAction.CALL_FAILED,
            contracts=post.contracts_evaluated,
            policy_error=post.policy_error,
            observed=observed[0].rule.action if observed else None,
            tool_success=success,
            postconditions_passed=post.postconditions_passed,
            duration_ms=duration,
            error=error,
            warnings=post.warnings,
        )

    def _monotonic(self) -> float | None:
        try:
            return self._guard._clock.monotonic()
        except Exception:
            logger.exception("the clock failed; durations are not known")
            return None

    def _duration_ms(self) -> int:
        now = self._monotonic()
        return 0 if now is None or self._started is None else round((now - self._started) * 1000)

    async def _give_back(self) -> None:
        """
        Return the reservation of a tool that does not start.
        """
        if not self._reserved:
            return
        self._reserved = False
        try:
            await self._session.release(self._plan)
        except Exception:
            # The place stays taken: stricter than needed, never looser.
            logger.exception("a reservation was not given back")

    def _expect(self, stage: Stage) -> None:
        if self._stage != stage:
            raise RuntimeError(f"this call is {self._stage!r}; the step needs it to be {stage!r}")


def _error_of(post: PostDecision, value: Any) -> str:
    return str(value if post.redacted_response is None else post.redacted_response)
