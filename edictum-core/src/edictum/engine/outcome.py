"""
The values that go into and come out of a decision.

Nobody changes them once they are made; they are not frozen because a frozen dataclass takes microseconds to
make.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from edictum.hooks import HookRegistration
from edictum.ruleset.policy import CompiledRule
from edictum.snapshot import EMPTY

if TYPE_CHECKING:
    from edictum.ruleset.syntax import TimeoutAction

PreAction: TypeAlias = Literal["allow", "block", "pending_approval"]


@dataclass(slots=True)
class PreDecision:
    """
    What is decided about a call before the tool runs.

    Attributes:
        action: ``allow``, ``block`` or ``pending_approval``.
        reason: Text for the agent; None when allowed.
        decision_source: Kind of check that decided.
        decision_name: Rule, hook or limit that decided.
        hooks_evaluated: One record for each hook that was asked.
        contracts_evaluated: One record for each rule that was judged.
        observed: Whether a rule in observe mode fired.
        policy_error: Whether the deciding rule could not be judged and counts as broken.
        observe_results: Records of the candidate rules of an observe-alongside layer.
        approval_timeout: Seconds an approval may take.
        approval_timeout_action: What happens when nobody answered.
        approval_message: Text for the person who decides.
        approval_rules: All rules that ask, in declared order.
        observed_rules: The rules in observe mode that fired.
        clean: Whether the records hold nothing from the call, so that they may be shared.
        workflow: Snapshot of the workflow that the session is in, or None.
        workflow_stage_id: The stage that judged the call.
        workflow_involved: Whether a workflow was asked.
        workflow_events: What happened to the workflow on the way, in order.
    """

    action: PreAction
    reason: str | None = None
    decision_source: str | None = None
    decision_name: str | None = None
    hooks_evaluated: Sequence[Any] = ()
    contracts_evaluated: Sequence[Any] = ()
    observed: bool = False
    policy_error: bool = False
    observe_results: Sequence[Any] = ()
    approval_timeout: int = 300
    approval_timeout_action: TimeoutAction = "block"
    approval_message: str | None = None
    approval_rules: tuple[str, ...] = ()
    observed_rules: tuple[Fired, ...] = ()
    clean: bool = False
    workflow: Mapping[str, Any] | None = None
    workflow_stage_id: str | None = None
    workflow_involved: bool = False
    workflow_events: Sequence[Any] = ()


@dataclass(slots=True)
class PostDecision:
    """
    What is decided about a tool's result.

    Attributes:
        postconditions_passed: False if any enforcing post rule fired, also when it only warned.
        warnings: Texts for the agent.
        contracts_evaluated: One record for each rule that was judged.
        policy_error: Whether an enforcing rule could not be judged.
        redacted_response: What replaces the result; None when the result stays.
        output_suppressed: Whether the result is withheld altogether.
        observed_rules: The rules in observe mode that fired.
        tool_success: Whether the tool succeeded.
        clean: Whether the records hold nothing from the call, so that they may be shared.
    """

    postconditions_passed: bool = True
    warnings: Sequence[str] = ()
    contracts_evaluated: Sequence[Any] = ()
    policy_error: bool = False
    redacted_response: Any = None
    output_suppressed: bool = False
    observed_rules: tuple[Fired, ...] = ()
    tool_success: bool = True
    clean: bool = False


@dataclass(slots=True)
class Question:
    """
    Something that only the driver can find out, because it calls foreign code.
    """

    subject: CompiledRule | HookRegistration


@dataclass(slots=True)
class Answer:
    """
    What foreign code said.

    Attributes:
        passed: Whether the call may go on.
        message: Text of a refusal.
        metadata: What a Python rule adds to the decision.
        error: Why the code could not be asked; the call does not pass then.
    """

    passed: bool
    message: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    error: str | None = None


@dataclass(slots=True)
class Fired:
    """
    A rule that did not let the call pass.

    Attributes:
        rule: The rule.
        message: Its message, filled in.
        error: Why it could not be judged; None when it was.
        metadata: What a Python rule added.
    """

    rule: CompiledRule
    message: str
    error: str | None = None
    metadata: Mapping[str, Any] | None = None

    def record(self, *, observed: bool, effective_action: str | None = None) -> dict[str, Any]:
        """
        The entry of ``contracts_evaluated``.
        """
        rule = self.rule
        metadata: dict[str, Any] = rule.facts
        if self.metadata:
            metadata = {**metadata, **self.metadata}
        if self.error is not None:
            metadata = {**metadata, "policy_error": True, "error_detail": self.error}
        record: dict[str, Any] = {
            "name": rule.id,
            "type": rule.kind,
            "passed": False,
            "message": self.message,
            "action": rule.action,
            "metadata": metadata,
        }
        if effective_action is not None:
            record["effective_action"] = effective_action
        if observed:
            record["observed"] = True
        return record


def error_text(error: BaseException) -> str:
    """
    A technical cause in one line, for the decision log and never for the agent.
    """
    return f"{type(error).__name__}: {error}"
