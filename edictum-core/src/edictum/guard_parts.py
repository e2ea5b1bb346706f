"""
What a guard is made of, and what it tells the program it guards.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from edictum.approval import ApprovalBackend
from edictum.audit import AuditSink
from edictum.clock import Clock, SystemClock, careful_monotonic, quick_now
from edictum.decision_log import DecisionLog
from edictum.engine.plan import Planner
from edictum.errors import EdictumConfigError
from edictum.findings import PostCallResult
from edictum.hooks import HookRegistration
from edictum.limits import OperationLimits
from edictum.memory_storage import MemoryBackend
from edictum.options import checked_telemetry, make_names, one_of, own_tools, with_local
from edictum.redaction import RedactionPolicy
from edictum.ruleset.policy import CompiledRule, Policy, compile_python_rule
from edictum.ruleset.vocabulary import MAX_RULES
from edictum.session import Session
from edictum.sinks import CollectingAuditSink
from edictum.storage import StorageBackend
from edictum.tool_call import Principal, ToolCall, new_call_id
from edictum.tools import ToolRegistry

if TYPE_CHECKING:
    from edictum.loading import Rulesets
    from edictum.ruleset.operators import CustomOperator
    from edictum.ruleset.selectors import CustomSelector
    from edictum.ruleset.syntax import Mode
    from edictum.telemetry import GovernanceTelemetry
    from edictum.workflow import WorkflowRuntime

logger = logging.getLogger(__name__)

MAX_SESSIONS_HELD = 1_024
_FAILURES = ("error:", "fatal:")  # how the text of a failed tool begins

PrincipalResolver = Callable[[str, Mapping[str, Any]], Principal | None]


class Closeable(Protocol):
    """
    What a guard holds and ends with it.
    """

    async def close(self) -> None:
        """
        End it.
        """


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


class GuardParts:
    """
    The parts of a guard, as its governed calls use them.

    The arguments are those of :class:`~edictum.guard.Edictum`, where they are explained.
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
        self._now = quick_now(self._clock)
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
        self._connection: Closeable | None = None
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
