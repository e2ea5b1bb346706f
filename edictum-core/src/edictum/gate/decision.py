"""
The decision about one call, made by a guard like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from edictum.approval import ApprovalDecision, ApprovalRequest, ApprovalStatus
from edictum.errors import EdictumConfigError, EdictumDenied
from edictum.gate.formats import HookCall, Host, Verdict
from edictum.gate.project import private_folder
from edictum.gate.sessions import HookSessions, run_at_once
from edictum.guard import Edictum
from edictum.redaction import RedactionPolicy

# Sources of blocks that say nothing about the call itself.
_FAILURES = ("internal_error", "invalid_call", "backend_error", "approval_error")


class Decider:
    """
    A guard for one call.

    Args:
        rules: Ruleset files.
        environment: Name of the environment.
        host: Who asks.
        call: The call.

    Raises:
        EdictumConfigError: A ruleset cannot be used.
        OSError: The session state cannot be opened.
    """

    def __init__(self, rules: Sequence[str], environment: str, host: Host, call: HookCall) -> None:
        self._host = host
        self._call = call
        self._approval = HostApproval(host.name, call.cannot_ask)
        self._sessions = HookSessions(private_folder("state") / "sessions.db")
        try:
            self._guard = Edictum.from_yaml(
                *rules,
                environment=environment,
                backend=self._sessions,
                # Standard output belongs to the host, the hook writes its own log, and an exporter that cannot reach
                # its collector would hold up the end of the process until the host runs the tool all the same.
                audit_sink=[],
                telemetry=False,
                approval_backend=self._approval,
            )
        except FileNotFoundError as error:
            raise EdictumConfigError(f'there is no ruleset "{error.filename}"') from None

    @property
    def redaction(self) -> RedactionPolicy:
        """
        What counts as secret.
        """
        return self._guard.redaction

    def decide(self, session_id: str) -> Verdict:
        """
        Take the call to the point where its tool would run.

        It counts as attempted and, when it may run, as executed: the tool runs elsewhere, and no hook says how it
        ended.
        """
        guard, call = self._guard, self._call
        governed = guard.govern(
            call.tool_name,
            call.args,
            session_id=session_id,
            metadata={"assistant": self._host.name, "native_tool": call.native_name},
        )
        try:
            # Only an approval needs an event loop, which takes longer to import than all of the gate.
            if any(rule["action"] == "ask" for rule in guard.describe()["rules"]):
                import asyncio

                decision = asyncio.run(governed.begin())
            else:
                decision = run_at_once(governed.begin())
        except EdictumDenied as denied:
            failed = denied.decision_source in _FAILURES
            return Verdict("block", self._approval.refusal or denied.reason, denied.decision_name, failed=failed)
        asks = decision.action == "pending_approval"
        if decision.action != "allow" and guard.mode == "observe":
            return _observed(decision.reason or "", decision.decision_name, asks)
        if asks and call.cannot_ask is None:
            return Verdict("ask", self._approval.question or "", decision.decision_name)
        if decision.action != "allow":
            return Verdict("block", decision.reason or "", decision.decision_name, failed=True)
        for fired in decision.observed_rules:
            return _observed(fired.message, fired.rule.id, fired.rule.action == "ask")
        return Verdict("allow")

    def close(self, *, forget_old: bool) -> None:
        """
        Let go of the session state; now and then also of the sessions that nobody uses any more.
        """
        if forget_old:
            self._sessions.forget_old()
        self._sessions.close()


def _observed(reason: str, rule_id: str | None, asks: bool) -> Verdict:
    observed: Literal["ask", "block"] = "ask" if asks else "block"
    return Verdict("allow", reason, rule_id, observed=observed)


class HostApproval:
    """
    Leaves the question to the host: a call goes on as approved when the host will ask its user, else as refused.

    Args:
        host: Name of the host.
        cannot_ask: Why it cannot ask; None when it can.

    Attributes:
        question: What a person would be asked; None as long as no rule wants that.
    """

    def __init__(self, host: str, cannot_ask: str | None) -> None:
        self._host = host
        self._cannot_ask = cannot_ask
        self.question: str | None = None

    @property
    def refusal(self) -> str | None:
        """
        Text for the agent when a person should be asked and cannot be.
        """
        if self.question is None or self._cannot_ask is None:
            return None
        return f"This call needs the approval of a person, but {self._cannot_ask}: {self.question}"

    async def request_approval(
        self, tool_name: str, tool_args: dict[str, Any], message: str, **_facts: Any
    ) -> ApprovalRequest:
        """
        Note the question.
        """
        self.question = message
        return ApprovalRequest(self._host, tool_name, tool_args, message, 0)

    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> ApprovalDecision:
        """
        Say whether the host will ask.
        """
        if self._cannot_ask is None:
            return ApprovalDecision(True, self._host, status=ApprovalStatus.APPROVED)
        return ApprovalDecision(False, None, self._cannot_ask, ApprovalStatus.DENIED)
