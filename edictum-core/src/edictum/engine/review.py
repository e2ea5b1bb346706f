"""
The decision about a tool's result, after the tool ran.

A post rule warns, redacts or withholds.  What a tool already changed cannot be taken back by withholding its
output, so for write and irreversible tools every action falls back to a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeAlias

from edictum.engine.decide import from_answer, gives_clue, judge
from edictum.engine.masking import Unmaskable, mask_result
from edictum.engine.outcome import Answer, Fired, PostDecision, Question
from edictum.engine.plan import ToolPlan
from edictum.ruleset.selectors import ToolResult
from edictum.ruleset.time_budget import TimeBudget
from edictum.tool_call import ToolCall

SIGN = "\u26a0\ufe0f"

ReviewSteps: TypeAlias = Generator[Question | PostDecision, Answer, None]


def review(
    plan: ToolPlan, call: ToolCall, value: Any, success: bool, mask_secrets: Callable[[str], str]
) -> PostDecision | ReviewSteps:
    """
    Judge a result.

    Args:
        plan: What concerns the tool.
        call: The call.
        value: What the tool returned, or the text of its error.
        success: Whether the tool succeeded.
        mask_secrets: Masks what looks like a secret; used by redact rules that name no pattern.

    Returns:
        The decision where no rule is broken and none has to be asked.  Else steps, which yield a :class:`Question` for
        each Python rule, to be answered with ``send``; last the :class:`PostDecision`.
    """
    if success and plan.post_looks is not None and not gives_clue(plan.post_looks, call, value):
        return plan.reviewed
    result = ToolResult(value)
    budget = TimeBudget()
    fired: Fired | None = None
    position = 0
    for rule in plan.post:
        if rule.condition is None:
            break
        fired = judge(rule, call, result, budget)
        if fired is not None:
            break
        position += 1
    else:
        if success and not plan.post_candidates:
            return plan.reviewed
    passed = [rule.passed for rule in plan.post[:position]]
    return _review(plan, call, result, success, _Findings(call, value, mask_secrets, budget, passed), fired)


def _review(
    plan: ToolPlan, call: ToolCall, result: ToolResult, success: bool, findings: _Findings, fired: Fired | None
) -> ReviewSteps:
    """
    Go on with the first rule of which there is no record, and which has ``fired`` if that is given.
    """
    budget = findings.budget
    for rule in plan.post[len(findings.records) :]:
        if fired is not None:
            pass
        elif rule.condition is not None:
            fired = judge(rule, call, result, budget)
        else:
            fired = from_answer(rule, call, result, (yield Question(rule)))
        if fired is None:
            findings.records.append(rule.passed)
        else:
            findings.add(fired)
            fired = None
    for rule in plan.post_candidates:
        if rule.condition is not None:
            fired = judge(rule, call, result, budget)
        else:
            fired = from_answer(rule, call, result, (yield Question(rule)))
        findings.records.append(rule.passed if fired is None else fired.record(observed=True))
    yield findings.close(success)


class _Findings:
    """
    What post rules found so far, and the result as they leave it.
    """

    def __init__(
        self,
        call: ToolCall,
        value: Any,
        mask_secrets: Callable[[str], str],
        budget: TimeBudget,
        records: list[Any],
    ) -> None:
        self._call = call
        self._value = value
        self._mask_secrets = mask_secrets
        self.budget = budget
        self._replaced: Any = None
        self._suppressed = False
        self._policy_error = False
        self._observed: list[Fired] = []
        self._warnings: list[str] = []
        self._broken = False
        self.records = records

    def add(self, fired: Fired) -> None:
        """
        Act on a rule that fired and record it.
        """
        if fired.rule.observe:
            self.records.append(fired.record(observed=True))
            self._observed.append(fired)
            self._warnings.append(f"{SIGN} [observe] {fired.message}")
            return
        self._broken = True
        self._policy_error = self._policy_error or fired.error is not None
        self.records.append(fired.record(observed=False, effective_action=self._apply(fired)))

    def _apply(self, fired: Fired) -> str:
        """
        Change the result as the rule asks, and say what was really done.
        """
        rule = fired.rule
        if self._call.side_effect.changes_something:
            hint = "The tool has already executed; do not repeat the call, check what it changed."
            self._warnings.append(f"{SIGN} {fired.message} {hint}")
            return "warn"
        if rule.action == "warn":
            self._warnings.append(f"{SIGN} {fired.message} Consider another call with different arguments.")
            return "warn"
        if rule.action == "redact" and not self._suppressed and self._redact(fired):
            self._warnings.append(f"{SIGN} rule {rule.id!r} redacted the output: {fired.message}")
            return "redact"
        if not self._suppressed or rule.action == "block":
            self._replaced = f"[OUTPUT SUPPRESSED] {fired.message}"
        self._suppressed = True
        self._warnings.append(f"{SIGN} rule {rule.id!r} withheld the output: {fired.message}")
        return "block"

    def _redact(self, fired: Fired) -> bool:
        """
        Mask what the rule looks for; False when that cannot be done and everything must be withheld.
        """
        if fired.error is not None:
            return False  # a rule that could not be judged cannot say what to mask
        current = self._value if self._replaced is None else self._replaced
        self.budget.rule = None  # to mask takes longer than to judge, and has all that is left for the call
        try:
            self._replaced = mask_result(current, fired.rule.redactions, self._mask_secrets, self.budget)
        except Unmaskable:
            return False
        return True

    def close(self, success: bool) -> PostDecision:
        """
        The decision.
        """
        return PostDecision(
            postconditions_passed=not self._broken,
            warnings=self._warnings,
            contracts_evaluated=self.records,
            policy_error=self._policy_error,
            redacted_response=self._replaced,
            output_suppressed=self._suppressed,
            observed_rules=tuple(self._observed),
            tool_success=success,
            clean=all(record["passed"] for record in self.records),
        )
