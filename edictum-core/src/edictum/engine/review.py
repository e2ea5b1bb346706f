"""
The decision about a tool's result, after the tool ran.

A post rule warns, redacts or withholds.  What a tool already changed cannot be taken back by withholding its
output, so for write and irreversible tools every action falls back to a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeAlias

from edictum.engine.decide import from_answer, judge
from edictum.engine.masking import Unmaskable, mask_result
from edictum.engine.outcome import Answer, Fired, PostDecision, Question
from edictum.engine.plan import ToolPlan
from edictum.ruleset.selectors import ToolResult
from edictum.tool_call import ToolCall

SIGN = "\u26a0\ufe0f"

ReviewSteps: TypeAlias = Generator[Question | PostDecision, Answer, None]


def review(
    plan: ToolPlan, call: ToolCall, value: Any, success: bool, mask_secrets: Callable[[str], str]
) -> ReviewSteps:
    """
    Judge a result.

    Args:
        plan: What concerns the tool.
        call: The call.
        value: What the tool returned, or the text of its error.
        success: Whether the tool succeeded.
        mask_secrets: Masks what looks like a secret; used by redact rules that name no pattern.

    Yields:
        A :class:`Question` for each Python rule, to be answered with ``send``; last the
        :class:`PostDecision`.
    """
    decision = PostDecision(success)
    result = ToolResult(value)
    for rule in plan.post:
        if rule.condition is None:
            fired = from_answer(rule, call, result, (yield Question(rule)))
        else:
            fired = judge(rule, call, result)
        if fired is None:
            decision.contracts_evaluated.append(rule.passed)
        elif rule.observe:
            decision.contracts_evaluated.append(fired.record(observed=True))
            decision.observed_rules.append(fired)
            decision.warnings.append(f"{SIGN} [observe] {fired.message}")
        else:
            decision.postconditions_passed = False
            decision.policy_error = decision.policy_error or fired.error is not None
            effect = _apply(decision, fired, call, value, mask_secrets)
            decision.contracts_evaluated.append(fired.record(observed=False, effective_action=effect))
    for rule in plan.post_candidates:
        if rule.condition is None:
            fired = from_answer(rule, call, result, (yield Question(rule)))
        else:
            fired = judge(rule, call, result)
        record = rule.passed if fired is None else fired.record(observed=True)
        decision.contracts_evaluated.append(record)
    yield decision


def _apply(decision: PostDecision, fired: Fired, call: ToolCall, value: Any, mask_secrets: Callable[[str], str]) -> str:
    """
    Act on a rule that fired.

    Returns:
        The effect it really had: ``warn``, ``redact`` or ``block``.
    """
    rule = fired.rule
    action = rule.action
    if call.side_effect.changes_something:
        hint = "The tool has already executed; do not repeat the call, check what it changed."
        decision.warnings.append(f"{SIGN} {fired.message} {hint}")
        return "warn"
    if action == "redact":
        if decision.output_suppressed:
            return "block"
        # A rule that could not be judged cannot say what to mask, so everything is withheld.
        if fired.error is None:
            current = value if decision.redacted_response is None else decision.redacted_response
            try:
                decision.redacted_response = mask_result(current, rule.redactions, mask_secrets)
            except Unmaskable:
                pass
            else:
                decision.warnings.append(f"{SIGN} rule {rule.id!r} redacted the output: {fired.message}")
                return "redact"
    if action in ("redact", "block"):
        decision.redacted_response = f"[OUTPUT SUPPRESSED] {fired.message}"
        decision.output_suppressed = True
        decision.warnings.append(f"{SIGN} rule {rule.id!r} withheld the output: {fired.message}")
        return "block"
    decision.warnings.append(f"{SIGN} {fired.message} Consider another call with different arguments.")
    return "warn"
