"""
:class:`Edictum`, the guard that users hold.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Self

from edictum.call_state import PrincipalSource
from edictum.evaluation import EvaluationResult, RuleResult, evaluate_call
from edictum.governed_call import RunResult
from edictum.guard_factories import GuardFactories
from edictum.guard_session import GuardSession
from edictum.hooks import HookRegistration
from edictum.pipeline import settled
from edictum.ruleset.policy import CompiledRule
from edictum.sync_call import SyncCall
from edictum.tool_call import Principal, ToolCall, new_call_id


class Edictum(GuardFactories):
    """
    Decides about tool calls and runs those that are allowed.

    Usually made by a factory, for example :meth:`from_yaml`.  Safe to use from several threads and event
    loops.

    Args:
        environment: Name of the environment, for rules and the decision log.
        mode: ``enforce`` blocks, ``observe`` only records; None follows the ruleset, or enforces.
        limits: Limits of a session; a ruleset can only tighten them.
        tools: Name or glob to ``{"side_effect": ..., "idempotent": ...}``; wins over the ruleset.
        rules: Python rules, marked by the decorators of :mod:`edictum.rules`.
        hooks: Functions called before and after tools.
        audit_sink: Where decision-log events go besides memory: one sink or several.
        redaction: What counts as secret.
        backend: Where session state is kept; memory by default.
        policy_version: Identity of the rules on every event.
        on_block: ``on_block(call, reason, name)`` for each blocked call.
        on_allow: ``on_allow(call)`` for each allowed call.
        on_would_block: ``on_would_block(call, reason, name)`` for what observe mode lets pass.
        on_postcondition_warn: ``on_postcondition_warn(result, violations)`` gives the result to show instead.
        on_deny: Deprecated synonym of ``on_block``.
        success_check: ``success_check(tool_name, result)`` instead of the built-in test for failure.
        principal: On whose behalf calls are made.
        principal_resolver: ``resolver(tool_name, args)``, asked for each call; wins over ``principal``.
        approval_backend: Asks people.
        custom_operators: Operators for expressions: ``operator(value, operand)``.
        custom_selectors: Selectors for expressions by root: ``selector(call)``.
        env: Mapping that ``env.*`` reads instead of the process environment.
        audit_failure: ``block`` makes an allowed call that cannot be logged a blocked one.
        name_policy: ``lenient`` lets a call with an invalid tool name pass if no rule blocks it.
        clock: Source of time.
        workflow_runtime: Stages that the work of a session goes through.
        telemetry: Where OpenTelemetry spans and measurements go.  None: to the SDK providers of the process as soon as
            it has installed any.  A :class:`~edictum.telemetry.GovernanceTelemetry` chooses providers, span names and
            whether arguments are shown.  False: nowhere.
        policy: A compiled ruleset; factories pass it.

    Raises:
        EdictumConfigError: An option makes no sense.
    """

    # --- running tools --------------------------------------------------------------------------

    def _new_call(
        self,
        tool_name: str,
        args: Mapping[str, Any],
        session_id: str | None,
        principal: Principal | PrincipalSource | None,
        fields: Mapping[str, Any],
    ) -> SyncCall:
        # Asked for each call, because the process may install its providers at any time.
        if "opentelemetry.sdk" in sys.modules or self._telemetry:
            from edictum.traced_call import traced_call

            return traced_call(self, tool_name, args, session_id, principal, fields)
        return SyncCall(self, tool_name, args, session_id, principal, fields)

    def govern(
        self,
        tool_name: str,
        args: Mapping[str, Any],
        *,
        session_id: str | None = None,
        principal: Principal | PrincipalSource | None = None,
        **call_fields: Any,
    ) -> SyncCall:
        """
        Make the object that takes one call through all steps; for adapters and for tools called elsewhere.

        Args:
            tool_name: Name of the tool.
            args: Its arguments.
            session_id: Session that counts the call; None means the guard's own.
            principal: On whose behalf, or a function that tells it when the call begins; one that raises blocks the
                call.  None means the guard's own.
            **call_fields: ``environment``, ``metadata`` and other fields of
                :class:`~edictum.tool_call.ToolCall`.

        Raises:
            ValueError: The session id is not valid.
        """
        return self._new_call(tool_name, args, session_id, principal, call_fields)

    async def run(
        self,
        tool_name: str,
        args: Mapping[str, Any],
        tool_callable: Callable[..., Any],
        *,
        session_id: str | None = None,
        run_in_thread: bool = False,
        principal: Principal | None = None,
        **call_fields: Any,
    ) -> Any:
        """
        Decide about a call and, if it is allowed, make it.

        A synchronous tool runs on the event loop and holds it up, unless ``run_in_thread`` is set.

        Args:
            tool_name: Name of the tool.
            args: Its arguments, passed as keywords.
            tool_callable: The tool; may be asynchronous.
            session_id: Session that counts the call; None means the guard's own.
            run_in_thread: Run a synchronous tool in a worker thread.
            principal: On whose behalf; None means the guard's own.
            **call_fields: See :meth:`govern`.

        Returns:
            The tool's result, redacted or withheld where a rule asks for it.

        Raises:
            EdictumDenied: The call was blocked.
            EdictumToolError: The tool failed; its exception is the cause.
            ValueError: The session id is not valid.
        """
        call = self._new_call(tool_name, args, session_id, principal, call_fields)
        return await call.run(tool_callable, in_thread=run_in_thread)

    async def run_detailed(
        self,
        tool_name: str,
        args: Mapping[str, Any],
        tool_callable: Callable[..., Any],
        *,
        session_id: str | None = None,
        run_in_thread: bool = False,
        principal: Principal | None = None,
        **call_fields: Any,
    ) -> RunResult:
        """
        Like :meth:`run`, but returns everything that is known about the call.

        Raises:
            EdictumDenied: The call was blocked.
            EdictumToolError: The tool failed.
        """
        call = self._new_call(tool_name, args, session_id, principal, call_fields)
        await call.run(tool_callable, in_thread=run_in_thread)
        return call.outcome

    def run_sync(
        self,
        tool_name: str,
        args: Mapping[str, Any],
        tool_callable: Callable[..., Any],
        *,
        session_id: str | None = None,
        principal: Principal | None = None,
        **call_fields: Any,
    ) -> Any:
        """
        Like :meth:`run`, for synchronous code; also inside a running event loop.

        A synchronous tool runs in the calling thread, an asynchronous one on edictum's background loop.
        """
        return self._new_call(tool_name, args, session_id, principal, call_fields).run_sync(tool_callable)

    def session(self, session_id: str | None = None) -> GuardSession:
        """
        A session of its own: ``run`` without naming it each time, and its counters.

        Args:
            session_id: Its id; None makes a new one.
        """
        return GuardSession(self, session_id if session_id is not None else new_call_id())

    # --- dry runs -------------------------------------------------------------------------------

    def evaluate(
        self,
        tool_name: str,
        args: Mapping[str, Any],
        *,
        principal: Principal | None = None,
        output: Any = None,
        environment: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        ask_as: Literal["block", "ask"] = "block",
    ) -> EvaluationResult:
        """
        Say what all rules mean for a call, without session, limits, hooks, events or any effect.

        Args:
            tool_name: Name of the tool.
            args: Its arguments.
            principal: On whose behalf.
            output: A result to judge with post rules; None judges none.
            environment: Instead of the guard's.
            metadata: For ``metadata.*`` selectors.
            ask_as: ``ask`` reports a call that needs approval as ``ask`` instead of ``block``.
        """
        return evaluate_call(
            self._state.planner.plan(tool_name),
            args,
            principal=principal,
            environment=environment if environment is not None else self.environment,
            timestamp=self._clock.now(),
            output=output,
            metadata=metadata,
            ask_as=ask_as,
        )

    def evaluate_batch(self, calls: Iterable[Mapping[str, Any]]) -> list[EvaluationResult]:
        """
        Evaluate several calls given as data.

        Args:
            calls: Maps with ``tool``, and optionally ``args``, ``principal`` (map of its fields), ``output``
                (a map is judged as its JSON text) and ``environment``.

        Returns:
            One result for each; a call that cannot be read gives a blocking one with ``policy_error``.
        """
        return [self._evaluate_item(item) for item in calls]

    def _evaluate_item(self, item: Mapping[str, Any]) -> EvaluationResult:
        import json

        tool = item.get("tool") if isinstance(item, Mapping) else None
        try:
            if not isinstance(tool, str):
                raise ValueError('a call is a map with "tool", a text')
            principal = item.get("principal")
            output = item.get("output")
            return self.evaluate(
                tool,
                item.get("args") or {},
                principal=Principal(**principal) if isinstance(principal, Mapping) else principal,
                output=json.dumps(output) if isinstance(output, Mapping) else output,
                environment=item.get("environment"),
            )
        except Exception as error:
            reason = f"the call cannot be evaluated: {error}"
            failed = RuleResult(
                rule_id="call", rule_type="precondition", passed=False, message=reason, action="block",
                policy_error=True,
            )  # fmt: skip
            return EvaluationResult(
                decision="block", tool_name=str(tool or ""), rules=[failed], block_reasons=[reason],
                policy_error=True,
            )  # fmt: skip

    # --- what applies ---------------------------------------------------------------------------

    def get_hooks(self, phase: str, call: ToolCall) -> list[HookRegistration]:
        """
        Hooks that concern a call.
        """
        plan = self._state.planner.plan(call.tool_name)
        hooks = plan.before if phase == "before" else plan.after
        return [hook for hook in hooks if hook.when is None or hook.when(call)]

    def get_preconditions(self, call: ToolCall) -> list[CompiledRule]:
        """
        Pre rules that concern a call.
        """
        return list(self._state.planner.plan(call.tool_name).pre)

    def get_postconditions(self, call: ToolCall) -> list[CompiledRule]:
        """
        Post rules that concern a call.
        """
        return list(self._state.planner.plan(call.tool_name).post)

    def get_sandbox_contracts(self, call: ToolCall) -> list[CompiledRule]:
        """
        Sandbox rules that concern a call.
        """
        return list(self._state.planner.plan(call.tool_name).sandbox)

    def get_session_contracts(self) -> list[CompiledRule]:
        """
        Session rules.
        """
        return [rule for rule in self._state.planner.session if not rule.candidate]

    def get_observe_preconditions(self, call: ToolCall) -> list[CompiledRule]:
        """
        Candidate pre rules that concern a call.
        """
        rules = self._state.planner.plan(call.tool_name).candidates
        return [rule for rule in rules if rule.kind == "precondition"]

    def get_observe_postconditions(self, call: ToolCall) -> list[CompiledRule]:
        """
        Candidate post rules that concern a call.
        """
        return list(self._state.planner.plan(call.tool_name).post_candidates)

    def get_observe_sandbox_contracts(self, call: ToolCall) -> list[CompiledRule]:
        """
        Candidate sandbox rules that concern a call.
        """
        rules = self._state.planner.plan(call.tool_name).candidates
        return [rule for rule in rules if rule.kind == "sandbox"]

    def get_observe_session_contracts(self) -> list[CompiledRule]:
        """
        Candidate session rules.
        """
        return [rule for rule in self._state.planner.session if rule.candidate]

    def describe(self) -> dict[str, Any]:
        """
        What is in force, as JSON-ready data without secrets.
        """
        from edictum.description import describe_guard

        return describe_guard(self)

    # --- the end --------------------------------------------------------------------------------

    async def close(self) -> None:
        """
        Close sinks that hold resources, and the connection with a console after what waits was sent.
        """
        if self._connection is not None:
            await self._connection.close()
        for sink in getattr(self.audit_sink, "sinks", [self.audit_sink]):
            close = getattr(sink, "aclose", None) or getattr(sink, "close", None)
            if close is not None:
                await settled(close())

    def close_sync(self) -> None:
        """
        :meth:`close` for synchronous code.
        """
        from edictum.portal import run_in_background

        run_in_background(self.close())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()
