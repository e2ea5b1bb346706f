"""
Dry runs: what the rules say about a call, without session, hooks, limits or any effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from edictum.engine.decide import from_answer, judge
from edictum.engine.outcome import Answer, Fired, error_text
from edictum.engine.plan import ToolPlan
from edictum.pipeline import from_decision
from edictum.ruleset.policy import CompiledRule
from edictum.ruleset.selectors import ToolResult
from edictum.ruleset.time_budget import TimeBudget
from edictum.snapshot import EMPTY
from edictum.tool_call import Principal, ToolCall, build_tool_call


class RuleResult:
    """
    What one rule says.

    Attributes:
        rule_id: The rule.
        rule_type: ``precondition``, ``sandbox`` or ``postcondition``.
        passed: Whether it lets the call pass.
        message: Its message when it does not.
        tags: Its labels.
        observed: Whether it is in observe mode; such a rule never counts.
        action: What it asks for: ``block``, ``ask``, ``warn`` or ``redact``.
        policy_error: Whether it could not be judged.
    """

    __slots__ = ("action", "message", "observed", "passed", "policy_error", "rule_id", "rule_type", "tags")

    def __init__(
        self,
        *,
        rule_id: str | None = None,
        rule_type: str | None = None,
        passed: bool,
        message: str | None = None,
        tags: Iterable[str] = (),
        observed: bool = False,
        action: str = "warn",
        policy_error: bool = False,
        contract_id: str | None = None,
        contract_type: str | None = None,
    ) -> None:
        self.rule_id = rule_id if rule_id is not None else (contract_id or "")
        self.rule_type = rule_type if rule_type is not None else (contract_type or "")
        self.passed = passed
        self.message = message
        self.tags = tags if isinstance(tags, list) else list(tags)
        self.observed = observed
        self.action = action
        self.policy_error = policy_error

    @property
    def contract_id(self) -> str:
        """
        Older name of :attr:`rule_id`.
        """
        return self.rule_id

    @property
    def contract_type(self) -> str:
        """
        Older name of :attr:`rule_type`.
        """
        return self.rule_type

    def to_dict(self) -> dict[str, Any]:
        """
        All attributes as plain data.
        """
        return {name: getattr(self, name) for name in self.__slots__}

    def __repr__(self) -> str:
        return f"RuleResult(rule_id={self.rule_id!r}, passed={self.passed}, action={self.action!r})"


class EvaluationResult:
    """
    What all rules say together.

    Attributes:
        decision: ``block``, ``warn`` or ``allow``; ``ask`` only if the caller wanted to tell it apart.
        tool_name: The tool.
        block_reasons: Messages of rules that block or ask.
        warn_reasons: Messages of post rules.
        would_ask: Whether nothing blocks and a person would be asked.
        policy_error: Whether an enforcing rule could not be judged.
    """

    __slots__ = (
        "_fired", "_judged", "_rules", "block_reasons", "decision", "policy_error", "tool_name", "warn_reasons",
        "would_ask",
    )  # fmt: skip

    def __init__(
        self,
        *,
        decision: str,
        tool_name: str,
        rules: list[RuleResult] | None = None,
        block_reasons: list[str] | None = None,
        warn_reasons: list[str] | None = None,
        would_ask: bool = False,
        policy_error: bool = False,
    ) -> None:
        self.decision = decision
        self.tool_name = tool_name
        self.block_reasons = block_reasons if block_reasons is not None else []
        self.warn_reasons = warn_reasons if warn_reasons is not None else []
        self.would_ask = would_ask
        self.policy_error = policy_error
        self._rules = rules
        self._judged: tuple[CompiledRule, ...] = ()
        self._fired: dict[CompiledRule, Fired] = {}

    @property
    def rules(self) -> list[RuleResult]:
        """
        What each rule says, in the order in which they were judged.
        """
        # Made when somebody asks: most callers only want the decision, and these are most of the work.
        if self._rules is None:
            self._rules = [_rule_result(rule, self._fired.get(rule)) for rule in self._judged]
        return self._rules

    @property
    def rules_evaluated(self) -> int:
        """
        How many rules were judged.
        """
        return len(self.rules)

    def to_dict(self) -> dict[str, Any]:
        """
        All attributes as plain data.
        """
        return {
            "block_reasons": self.block_reasons,
            "decision": self.decision,
            "policy_error": self.policy_error,
            "rules": [rule.to_dict() for rule in self.rules],
            "tool_name": self.tool_name,
            "warn_reasons": self.warn_reasons,
            "would_ask": self.would_ask,
            "rules_evaluated": self.rules_evaluated,
        }

    def __repr__(self) -> str:
        return f"EvaluationResult(decision={self.decision!r}, tool_name={self.tool_name!r})"


def evaluate_call(
    plan: ToolPlan,
    args: Mapping[str, Any],
    *,
    principal: Principal | None,
    environment: str,
    timestamp: datetime,
    output: Any,
    metadata: Mapping[str, Any] | None,
    ask_as: Literal["block", "ask"],
) -> EvaluationResult:
    """
    Judge every pre and sandbox rule and, if there is an output, every post rule; see :meth:`Edictum.evaluate`.
    """
    fields = {"metadata": metadata} if metadata else EMPTY
    call = build_tool_call(plan, args, "", environment, timestamp, principal, fields)
    evaluation = EvaluationResult(decision="allow", tool_name=plan.tool_name)
    evaluation._judged = before = (*plan.pre, *plan.sandbox)
    blocked = asked = False
    budget = TimeBudget()
    for rule in before:
        fired = judge(rule, call, None, budget) if rule.condition is not None else _ask(rule, call, None)
        if fired is not None and _count(evaluation, fired):
            evaluation.block_reasons.append(fired.message)
            asked = asked or rule.action == "ask"
            blocked = blocked or rule.action == "block"
    if output is not None:
        evaluation._judged += plan.post
        result = ToolResult(output)
        budget = TimeBudget()
        for rule in plan.post:
            fired = judge(rule, call, result, budget) if rule.condition is not None else _ask(rule, call, result)
            if fired is not None and _count(evaluation, fired):
                evaluation.warn_reasons.append(fired.message)
    evaluation.would_ask = asked and not blocked
    if blocked:
        evaluation.decision = "block"
    elif asked:
        evaluation.decision = ask_as
    elif evaluation.warn_reasons:
        evaluation.decision = "warn"
    return evaluation


def _count(evaluation: EvaluationResult, fired: Fired) -> bool:
    """
    Note a rule that fired, and say whether it counts.
    """
    evaluation._fired[fired.rule] = fired
    if fired.rule.observe:
        return False
    evaluation.policy_error = evaluation.policy_error or fired.error is not None
    return True


def _ask(rule: CompiledRule, call: ToolCall, result: ToolResult | None) -> Fired | None:
    return from_answer(rule, call, result, _ask_function(rule, call, result))


def _rule_result(rule: CompiledRule, fired: Fired | None) -> RuleResult:
    return RuleResult(
        rule_id=rule.id,
        rule_type=rule.kind,
        passed=fired is None,
        message=None if fired is None else fired.message,
        tags=rule.tags,
        observed=rule.observe,
        action=rule.action,
        policy_error=fired is not None and fired.error is not None,
    )


def _ask_function(rule: CompiledRule, call: ToolCall, result: ToolResult | None) -> Answer:
    """
    Ask a Python rule, which must not be asynchronous here.
    """
    assert rule.function is not None
    try:
        if rule.when is not None and not rule.when(call):
            return Answer(True)
        decision = rule.function(call) if result is None else rule.function(call, result.value)
        if hasattr(decision, "__await__"):
            if hasattr(decision, "close"):
                decision.close()
            raise TypeError("an asynchronous rule cannot be judged in a dry run")
        return from_decision(decision)
    except Exception as error:
        return Answer(False, error=error_text(error))
