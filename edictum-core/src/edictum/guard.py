"""
:class:`Edictum`, the guard that users hold.
"""

from __future__ import annotations

import logging
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

from edictum.approval import ApprovalBackend
from edictum.audit import AuditSink
from edictum.call_state import PrincipalSource
from edictum.clock import Clock, SystemClock, careful_monotonic
from edictum.decision_log import DecisionLog
from edictum.engine.plan import Planner
from edictum.errors import EdictumConfigError
from edictum.evaluation import EvaluationResult, RuleResult, evaluate_call
from edictum.findings import PostCallResult
from edictum.governed_call import RunResult
from edictum.guard_session import GuardSession
from edictum.hooks import HookRegistration
from edictum.limits import OperationLimits
from edictum.options import (
    checked_telemetry,
    make_names,
    one_of,
    own_tools,
    reading_options,
    with_local,
    with_workflow,
)
from edictum.pipeline import settled
from edictum.redaction import RedactionPolicy
from edictum.ruleset.policy import CompiledRule, Policy, compile_python_rule
from edictum.ruleset.vocabulary import MAX_RULES
from edictum.session import Session
from edictum.sinks import CollectingAuditSink
from edictum.storage import MemoryBackend, StorageBackend
from edictum.sync_call import SyncCall
from edictum.tool_call import Principal, ToolCall, new_call_id
from edictum.tools import ToolRegistry

if TYPE_CHECKING:
    from edictum.loading import Rulesets
    from edictum.ruleset.composition import CompositionReport
    from edictum.ruleset.operators import CustomOperator
    from edictum.ruleset.selectors import CustomSelector
    from edictum.ruleset.syntax import Mode
    from edictum.telemetry import GovernanceTelemetry
    from edictum.template_files import TemplateDirs, TemplateInfo
    from edictum.workflow import WorkflowRuntime

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_SESSIONS_HELD = 1_024
_FAILURES = ("error:", "fatal:")  # how the text of a failed tool begins

PrincipalResolver = Callable[[str, Mapping[str, Any]], Principal | None]


@dataclass(frozen=True, slots=True)
class GuardState:
    """
    Everything that a reload replaces, swapped as one reference.

    Attributes:
        policy: The compiled ruleset.
        rules: Its rules and those written in Python.
        planner: Plans by tool name.
        mode: ``enforce`` or ``observe``.
        policy_version: Identity of the ruleset on every event.
        registry: What is known about tools.
    """

    policy: Policy
    rules: tuple[CompiledRule, ...]
    planner: Planner
    mode: Mode
    policy_version: str | None
    registry: ToolRegistry


class Edictum:
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

    def __init__(
        self,
        *,
        environment: str = "production",
        mode: Mode | None = None,
        limits: OperationLimits | None = None,
        tools: Mapping[str, Mapping[str, Any]] | None = None,
        rules: Iterable[Callable[..., Any]] | None = None,
        hooks: Iterable[HookRegistration] | None = None,
        audit_sink: AuditSink | Sequence[AuditSink] | None = None,
        redaction: RedactionPolicy | None = None,
        backend: StorageBackend | None = None,
        policy_version: str | None = None,
        on_block: Callable[[ToolCall, str, str | None], object] | None = None,
        on_allow: Callable[[ToolCall], object] | None = None,
        on_would_block: Callable[[ToolCall, str, str | None], object] | None = None,
        on_postcondition_warn: Callable[[Any, list[Any]], Any] | None = None,
        on_deny: Callable[[ToolCall, str, str | None], object] | None = None,
        success_check: Callable[[str, Any], bool] | None = None,
        principal: Principal | None = None,
        principal_resolver: PrincipalResolver | None = None,
        approval_backend: ApprovalBackend | None = None,
        custom_operators: Mapping[str, CustomOperator] | None = None,
        custom_selectors: Mapping[str, CustomSelector] | None = None,
        env: Mapping[str, str] | None = None,
        audit_failure: Literal["log", "block"] = "log",
        name_policy: Literal["strict", "lenient"] = "strict",
        clock: Clock | None = None,
        workflow_runtime: WorkflowRuntime | None = None,
        telemetry: GovernanceTelemetry | Literal[False] | None = None,
        policy: Policy | None = None,
    ) -> None:
        one_of("mode", mode, (None, "enforce", "observe"))
        one_of("audit_failure", audit_failure, ("log", "block"))
        one_of("name_policy", name_policy, ("strict", "lenient"))
        hooks = tuple(hooks or ())
        if limits is not None and not isinstance(limits, OperationLimits):
            raise EdictumConfigError("limits is an OperationLimits")
        if not all(isinstance(hook, HookRegistration) for hook in hooks):
            raise EdictumConfigError("hooks is a list of HookRegistration")
        if on_deny is not None and on_block is not None:
            raise EdictumConfigError("on_deny is a synonym of on_block; give on_block only")
        self.environment = environment
        self.redaction = redaction if redaction is not None else RedactionPolicy()
        self.backend: StorageBackend = backend if backend is not None else MemoryBackend()
        self.local_sink = CollectingAuditSink()
        self.audit_sink: AuditSink = with_local(self.local_sink, audit_sink)
        self._names = make_names(custom_operators, custom_selectors, env)
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._monotonic = careful_monotonic(self._clock)
        self._decision_log = DecisionLog(self.audit_sink, self.redaction, self._clock)
        self._session_id = new_call_id()
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._on_deny = on_block if on_block is not None else on_deny
        self._on_allow = on_allow
        self._on_would_block = on_would_block
        self._on_postcondition_warn = on_postcondition_warn
        self._success_check = success_check
        self._principal = principal
        self._principal_resolver = principal_resolver
        self._approval_backend = approval_backend
        self._workflow_runtime = workflow_runtime
        self._audit_failure = audit_failure
        self._telemetry = checked_telemetry(telemetry)
        # What a reload needs to reproduce the guard.
        self._mode_override = mode
        self._own_limits = limits
        self._own_tools = own_tools(tools)
        self._python_rules = tuple(compile_python_rule(rule) for rule in rules or ())
        self._hooks = hooks
        self._strict_names = name_policy == "strict"
        self._sources: tuple[str, ...] = ()
        self._legacy: Literal["reject", "upgrade"] = "reject"
        self._rulesets: Rulesets = {}
        self._reloadable = True
        self._max_rules = MAX_RULES
        self._state = self._make_state(policy if policy is not None else Policy(), policy_version)

    # --- state ----------------------------------------------------------------------------------

    def _make_state(self, policy: Policy, policy_version: str | None = None) -> GuardState:
        registry = ToolRegistry()
        for name, tool in policy.tools.items():
            registry.register(name, tool.side_effect, tool.idempotent)
        for name, (side_effect, idempotent, shell) in self._own_tools.items():
            registry.register(name, side_effect, idempotent, shell=shell)
        rules = (*policy.rules, *self._python_rules)
        return GuardState(
            policy=policy,
            rules=rules,
            planner=self._make_planner(rules, registry),
            mode=self._mode_override or policy.mode,
            policy_version=policy_version if policy_version is not None else policy.version,
            registry=registry,
        )

    def _make_planner(self, rules: tuple[CompiledRule, ...], registry: ToolRegistry) -> Planner:
        return Planner(rules, self._hooks, registry, self._own_limits, strict_names=self._strict_names)

    @property
    def mode(self) -> Mode:
        """
        ``enforce`` or ``observe``; can be set.
        """
        return self._state.mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        one_of("mode", mode, ("enforce", "observe"))
        self._mode_override = mode
        self._state = replace(self._state, mode=mode)

    @property
    def limits(self) -> OperationLimits:
        """
        The limits in force; setting them keeps what the ruleset tightens.
        """
        return self._state.planner.limits.numbers()

    @limits.setter
    def limits(self, limits: OperationLimits) -> None:
        self._own_limits = limits
        self._state = replace(self._state, planner=self._make_planner(self._state.rules, self._state.registry))

    @property
    def policy_version(self) -> str | None:
        """
        Identity of the rules on every event; can be set.
        """
        return self._state.policy_version

    @policy_version.setter
    def policy_version(self, version: str | None) -> None:
        self._state = replace(self._state, policy_version=version)

    @property
    def tool_registry(self) -> ToolRegistry:
        """
        What is known about tools.
        """
        return self._state.registry

    def set_principal(self, principal: Principal | None) -> None:
        """
        Set on whose behalf later calls are made.
        """
        self._principal = principal

    def _resolve_principal(self, tool_name: str, args: Mapping[str, Any]) -> Principal | None:
        if self._principal_resolver is None:
            return self._principal
        principal = self._principal_resolver(tool_name, args)
        if principal is not None and not isinstance(principal, Principal):
            raise TypeError(f"a principal resolver returns a Principal, not {type(principal).__name__}")
        return principal

    def _session_for(self, session_id: str | None) -> Session:
        if session_id is None:
            session_id = self._session_id
        session = self._sessions.get(session_id)
        if session is None or session.backend is not self.backend:
            session = Session(session_id, self.backend)
            if len(self._sessions) >= MAX_SESSIONS_HELD:
                self._sessions.popitem(last=False)
            self._sessions[session_id] = session
        return session

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

    # --- reload and end -------------------------------------------------------------------------

    async def reload(self, content: str | bytes | Mapping[str, Any], *layers: str | bytes | Mapping[str, Any]) -> None:
        """
        Replace the ruleset; everything else the guard was made with stays.

        The document is read and compiled in a worker thread and then swapped in as a whole.  Calls that have
        begun end under the ruleset they began with.

        Args:
            content: The document.
            *layers: More documents, composed with it as :meth:`from_yaml` composes files.

        Raises:
            EdictumConfigError: A document is invalid; the ruleset in force stays.
        """
        import asyncio

        from edictum import loading

        if not self._reloadable:
            raise EdictumConfigError(
                "a guard made by from_multiple cannot be reloaded; reload its parts and merge them again"
            )
        contents = (content, *layers)
        policy, _ = await asyncio.to_thread(
            loading.load_contents,
            contents,
            self._names,
            self.redaction,
            self._legacy,
            None,
            self._max_rules,
            self._rulesets,
        )
        self._state = self._make_state(policy)

    async def reload_from_disk(self) -> None:
        """
        Read the files of :meth:`from_yaml` again and replace the ruleset with them.

        Raises:
            EdictumConfigError: The guard was not made from files, or one is invalid.
            FileNotFoundError: A file is gone.
        """
        import asyncio

        from edictum import loading

        if not self._sources:
            raise EdictumConfigError("this guard was not made by from_yaml, so there is no file to read again")
        policy, _ = await asyncio.to_thread(
            loading.load_files, self._sources, self._names, self.redaction, self._legacy, self._rulesets
        )
        self._state = self._make_state(policy)

    async def close(self) -> None:
        """
        Close sinks that hold resources.
        """
        for sink in getattr(self.audit_sink, "sinks", [self.audit_sink]):
            close = getattr(sink, "aclose", None) or getattr(sink, "close", None)
            if close is not None:
                await settled(close())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    # --- callbacks: exactly once, never raising --------------------------------------------------

    def _tell_blocked(self, call: ToolCall, reason: str, name: str | None) -> None:
        _tell(self._on_deny, call, reason, name)

    def _tell_would_block(self, call: ToolCall, reason: str, name: str | None) -> None:
        _tell(self._on_would_block, call, reason, name)

    def _tell_allowed(self, call: ToolCall) -> None:
        _tell(self._on_allow, call)

    def _tell_violations(self, found: PostCallResult, instead: Callable[[Any, list[Any]], Any] | None = None) -> Any:
        callback = instead or self._on_postcondition_warn
        if callback is None:
            return found.result
        try:
            return callback(found.result, found.violations)
        except Exception:
            logger.exception("callback on_postcondition_warn failed; the result stays as the rules left it")
            return found.result

    def _succeeded(self, tool_name: str, result: Any) -> bool:
        try:
            if self._success_check is not None:
                return bool(self._success_check(tool_name, result))
            if type(result) is str:
                return not result[:7].lower().startswith(_FAILURES)
            return looks_successful(result)
        except Exception:
            logger.exception("whether tool %r succeeded cannot be told; the call counts as failed", tool_name)
            return False

    # --- factories ------------------------------------------------------------------------------

    @overload
    @classmethod
    def from_yaml(
        cls,
        *paths: str | PathLike[str],
        legacy: Literal["reject", "upgrade"] = "reject",
        rulesets: Rulesets | None = None,
        return_report: Literal[False] = False,
        **options: Any,
    ) -> Self: ...

    @overload
    @classmethod
    def from_yaml(
        cls,
        *paths: str | PathLike[str],
        legacy: Literal["reject", "upgrade"] = "reject",
        rulesets: Rulesets | None = None,
        return_report: Literal[True],
        **options: Any,
    ) -> tuple[Self, CompositionReport]: ...

    @classmethod
    def from_yaml(
        cls,
        *paths: str | PathLike[str],
        legacy: Literal["reject", "upgrade"] = "reject",
        rulesets: Rulesets | None = None,
        return_report: bool = False,
        **options: Any,
    ) -> Self | tuple[Self, CompositionReport]:
        """
        Make a guard from ruleset files, YAML or JSON.

        Several files are layers: a later one replaces the default mode, tools and rules of the same id, and adds its
        other rules; one with ``observe_alongside: true`` is only measured beside the others.

        Args:
            *paths: The files.
            legacy: ``upgrade`` accepts the older vocabulary (``contracts``, ``effect``).
            rulesets: What the files may extend, by name: a file, the text of a document, or parsed data.  A parent
                that is not named here is looked for beside the file.
            return_report: Return also what the layers did to each other.
            **options: Options of the constructor.  Instead of ``workflow_runtime`` it may be ``workflow_path`` or
                ``workflow_content``, the document of a workflow, and ``workflow_exec_evaluator_enabled=True`` where
                that runs programs.

        Raises:
            EdictumConfigError: A file is invalid, or none was given.
            FileNotFoundError: A file does not exist.
        """
        from edictum import loading

        if not paths:
            raise EdictumConfigError("from_yaml needs the path of a ruleset")
        names, redaction = reading_options(options)
        policy, report = loading.load_files(paths, names, redaction, legacy, rulesets or {})
        guard = cls._from_policy(policy, options | {"redaction": redaction}, legacy, rulesets)
        guard._sources = tuple(str(path) for path in paths)
        return (guard, report) if return_report else guard

    @classmethod
    def from_yaml_string(
        cls,
        content: str | bytes,
        *,
        legacy: Literal["reject", "upgrade"] = "reject",
        rulesets: Rulesets | None = None,
        **options: Any,
    ) -> Self:
        """
        Make a guard from the text of a ruleset, YAML or JSON; see :meth:`from_yaml`.
        """
        from edictum import loading

        names, redaction = reading_options(options)
        policy, _ = loading.load_contents([content], names, redaction, legacy, rulesets=rulesets or {})
        return cls._from_policy(policy, options | {"redaction": redaction}, legacy, rulesets)

    @classmethod
    def from_bundle_dict(
        cls,
        bundle: Mapping[str, Any],
        policy_version: str | None = None,
        *,
        legacy: Literal["reject", "upgrade"] = "reject",
        max_rules: int = MAX_RULES,
        rulesets: Rulesets | None = None,
        **options: Any,
    ) -> Self:
        """
        Make a guard from a ruleset that is already parsed; see :meth:`from_yaml`.

        Args:
            bundle: The document.
            policy_version: Its identity; None takes the SHA-256 of its canonical JSON.
            legacy: See :meth:`from_yaml`.
            max_rules: How many rules the document may have, for rulesets made by a program.
            rulesets: See :meth:`from_yaml`.
            **options: Options of the constructor.
        """
        from edictum import loading

        names, redaction = reading_options(options)
        policy, _ = loading.load_contents([bundle], names, redaction, legacy, policy_version, max_rules, rulesets or {})
        guard = cls._from_policy(policy, options | {"redaction": redaction}, legacy, rulesets)
        guard._max_rules = max_rules
        return guard

    @classmethod
    def from_template(cls, name: str, *, template_dirs: TemplateDirs | None = None, **options: Any) -> Self:
        """
        Make a guard from a template: a shipped ruleset, or one in a folder of your own.

        Args:
            name: Name of the template, for example ``file-agent``; see :meth:`list_templates`.
            template_dirs: Folders that are searched before the shipped templates, the first one first.
            **options: Options of :meth:`from_yaml`.

        Raises:
            EdictumConfigError: There is no such template, or it is invalid.
        """
        from edictum.template_files import find_template

        return cls.from_yaml(find_template(name, template_dirs).path, return_report=False, **options)

    @staticmethod
    def list_templates(template_dirs: TemplateDirs | None = None) -> list[TemplateInfo]:
        """
        The templates that :meth:`from_template` finds; see :func:`edictum.template_files.list_templates`.
        """
        from edictum.template_files import list_templates

        return list_templates(template_dirs)

    @classmethod
    def from_multiple(cls, guards: Sequence[Edictum], *, merge: Literal["first", "strictest"] = "first") -> Self:
        """
        Merge the rules of several guards into one.

        A rule id that occurs twice counts once, from the first guard that has it.  All configuration comes
        from the first guard; hooks and principal are not carried over.

        Args:
            guards: At least one.
            merge: ``strictest`` takes the smallest limits, the more dangerous class of each tool, and a
                policy version that names all of them.

        Raises:
            EdictumConfigError: No guard was given.
        """
        from edictum.merging import merge_guards

        one_of("merge", merge, ("first", "strictest"))
        return merge_guards(cls, guards, strictest=merge == "strictest")

    @classmethod
    def _from_policy(
        cls,
        policy: Policy,
        options: dict[str, Any],
        legacy: Literal["reject", "upgrade"],
        rulesets: Rulesets | None,
    ) -> Self:
        from edictum import loading

        if options.get("audit_sink") is None:
            options["audit_sink"] = loading.sinks_of(policy.observability, options["redaction"])
        guard = cls(**with_workflow(options), policy=policy)
        if guard._telemetry is not False:
            loading.start_telemetry(policy.observability)
        guard._legacy = legacy
        guard._rulesets = dict(rulesets or {})
        return guard


def looks_successful(result: Any) -> bool:
    """
    The built-in test of a tool's result.

    Failure is a mapping with a truthy ``is_error``, or text that begins with ``error:`` or ``fatal:`` in any
    case.
    """
    if isinstance(result, str):
        return not result[:7].lower().startswith(_FAILURES)
    if isinstance(result, Mapping):
        return not result.get("is_error")
    return True


def _tell(callback: Callable[..., object] | None, *facts: Any) -> None:
    if callback is None:
        return
    try:
        callback(*facts)
    except Exception:
        logger.exception("callback %r failed; the decision stands", getattr(callback, "__name__", callback))
