"""
The decision before a tool runs.

:func:`decide` is the only place that knows the order of checks:

1. attempts of the session against their limit
2. before-hooks; the first refusal decides
3. pre rules, in declared order
4. session rules, in declared order
5. the tool's name
6. executions of the session, then of the tool, against their limits

The first block decides.  A rule that asks does not end the search: an approval is requested only when
nothing blocks.  Rules in observe mode are recorded and never decide.  Whatever cannot be judged counts as
broken.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeAlias

from edictum.engine.outcome import Answer, Fired, PreDecision, Question, error_text
from edictum.engine.plan import Limit, ToolPlan
from edictum.ruleset.policy import CompiledRule
from edictum.ruleset.selectors import ToolResult
from edictum.ruleset.syntax import TimeoutAction
from edictum.tool_call import ToolCall

Steps: TypeAlias = Generator[Question | PreDecision, Answer, None]
_Inner: TypeAlias = Generator[Question, Answer, PreDecision]


def decide(plan: ToolPlan, call: ToolCall, counts: Sequence[float], *, recheck: bool = False) -> Steps:
    """
    Decide about one call.

    Args:
        plan: What concerns the tool.
        call: The call.
        counts: Session counters in the order of ``plan.counters``; attempts do not count this call.
        recheck: After an approval: only what may have changed during the wait (limits and session rules).

    Yields:
        A :class:`Question` for each hook and Python rule, to be answered with ``send``; last the
        :class:`PreDecision`.
    """
    decision = yield from _enforced(plan, call, counts, recheck)
    if plan.candidates and not recheck:
        yield from _observe(plan, call, counts, decision)
    yield decision


def _enforced(plan: ToolPlan, call: ToolCall, counts: Sequence[float], recheck: bool) -> _Inner:
    decision = PreDecision("allow")
    records = decision.contracts_evaluated
    limit = plan.limits.max_attempts
    if counts[0] >= limit.number:
        return _limited(decision, "attempt_limit", "max_attempts", _attempts_text(counts[0], limit), limit)
    asking: list[Fired] = []
    if not recheck:
        for hook in plan.before:
            answer = yield Question(hook)
            if answer.passed:
                decision.hooks_evaluated.append({"name": hook.name, "result": "allow", "reason": None})
                continue
            reason = answer.message or f"hook {hook.name!r} blocked the call"
            record = {"name": hook.name, "result": "block", "reason": reason}
            if answer.error is not None:
                record["error_detail"] = answer.error
            decision.hooks_evaluated.append(record)
            return _blocked(decision, reason, "hook", hook.name, answer.error is not None)
        for rule in plan.pre:
            condition = rule.condition
            if condition is None:
                fired = _from_answer(rule, call, None, (yield Question(rule)))
            else:
                # Written out rather than called: this loop is most of the time of a decision.
                try:
                    if not condition(call, None):
                        records.append(rule.passed)
                        continue
                    fired = Fired(rule, rule.message(call, None))
                except Exception as error:
                    fired = unjudged(rule, call, None, error)
            if fired is None:
                records.append(rule.passed)
            elif _decides(decision, fired, asking):
                return _by_rule(decision, fired)
    for rule in plan.session:
        if rule.limits is None:
            fired = _from_answer(rule, call, None, (yield Question(rule)))
        else:
            fired = judge_limits(rule, counts)
        if fired is None:
            records.append(rule.passed)
        elif _decides(decision, fired, asking):
            return _by_rule(decision, fired)
    if plan.name_problem is not None:
        return _blocked(
            decision,
            f"the tool name is not valid: {plan.name_problem}; call a tool by its exact name",
            "invalid_tool_name",
            "tool_name",
            False,
        )
    over = over_limit(plan, counts)
    if over is not None:
        return _limited(decision, "operation_limit", *over)
    if asking:
        _pending(decision, asking)
    return decision


def _decides(decision: PreDecision, fired: Fired, asking: list[Fired]) -> bool:
    """
    Record a rule that fired, and say whether it ends the search.
    """
    rule = fired.rule
    decision.contracts_evaluated.append(fired.record(observed=rule.observe))
    if rule.observe:
        decision.observed = True
        decision.observed_rules.append(fired)
        return False
    if rule.action == "ask":
        asking.append(fired)
        return False
    return True


def _blocked(decision: PreDecision, reason: str, source: str, name: str, policy_error: bool) -> PreDecision:
    decision.action = "block"
    decision.reason = reason
    decision.decision_source = source
    decision.decision_name = name
    decision.policy_error = policy_error
    return decision


def _by_rule(decision: PreDecision, fired: Fired) -> PreDecision:
    return _blocked(decision, fired.message, fired.rule.source, fired.rule.id, fired.error is not None)


def _limited(decision: PreDecision, source: str, name: str, text: str, limit: Limit) -> PreDecision:
    record: dict[str, object] = {
        "name": name,
        "type": "session_contract",
        "passed": False,
        "message": text,
        "action": "block",
    }
    if limit.rule is not None:
        record["rule_id"] = limit.rule.id
        record["metadata"] = {"tags": list(limit.rule.tags), **limit.rule.metadata}
    decision.contracts_evaluated.append(record)
    return _blocked(decision, text, source, name, False)


def _pending(decision: PreDecision, asking: list[Fired]) -> None:
    first = asking[0]
    decision.action = "pending_approval"
    decision.reason = decision.approval_message = first.message
    decision.decision_source = first.rule.source
    decision.decision_name = first.rule.id
    decision.policy_error = first.error is not None
    decision.approval_timeout = min(fired.rule.timeout for fired in asking)
    every_allows = all(fired.rule.timeout_action == "allow" for fired in asking)
    action: TimeoutAction = "allow" if every_allows else "block"
    decision.approval_timeout_action = action
    decision.approval_rules = tuple(fired.rule.id for fired in asking)


def _observe(
    plan: ToolPlan, call: ToolCall, counts: Sequence[float], decision: PreDecision
) -> Generator[Question, Answer, None]:
    for rule in plan.candidates:
        if rule.limits is not None:
            fired = judge_limits(rule, counts)
        elif rule.condition is not None:
            fired = judge(rule, call, None)
        else:
            fired = _from_answer(rule, call, None, (yield Question(rule)))
        decision.observe_results.append(
            {
                "name": rule.id,
                "type": rule.kind,
                "passed": fired is None,
                "message": None if fired is None else fired.message,
                "source": rule.source,
                "action": rule.action,
                "policy_error": fired is not None and fired.error is not None,
            }
        )


def judge(rule: CompiledRule, call: ToolCall, result: ToolResult | None) -> Fired | None:
    """
    Judge a rule that has a condition.

    Returns:
        None when it lets the call pass.  A condition that raises does not.
    """
    assert rule.condition is not None
    try:
        if not rule.condition(call, result):
            return None
        return Fired(rule, rule.message(call, result))
    except Exception as error:
        return unjudged(rule, call, result, error)


def unjudged(rule: CompiledRule, call: ToolCall, result: ToolResult | None, error: Exception) -> Fired:
    """
    A rule that raised: it counts as broken, with its own message for the agent.
    """
    try:
        message = rule.message(call, result)
    except Exception:
        # The message reads the same value that broke the rule, so it is shown without it.
        message = f"rule {rule.id!r} could not be judged, so the call is held back"
    return Fired(rule, message, error_text(error))


def _from_answer(rule: CompiledRule, call: ToolCall, result: ToolResult | None, answer: Answer) -> Fired | None:
    if answer.passed:
        return None
    message = answer.message if answer.message is not None else rule.message(call, result)
    return Fired(rule, message, answer.error, answer.metadata)


from_answer = _from_answer


def judge_limits(rule: CompiledRule, counts: Sequence[float]) -> Fired | None:
    """
    Judge a session rule by its own numbers against attempts and executions.
    """
    limits = rule.limits
    assert limits is not None
    attempts = limits.max_attempts is not None and counts[0] >= limits.max_attempts
    calls = limits.max_tool_calls is not None and counts[1] >= limits.max_tool_calls
    if attempts or calls:
        return Fired(rule, rule.message(_NO_CALL, None))
    return None


def over_limit(plan: ToolPlan, counts: Sequence[float]) -> tuple[str, str, Limit] | None:
    """
    The first execution limit that leaves no room for one more call.

    Returns:
        Name of the decision, text for the agent, and the limit; None when there is room.
    """
    limit = plan.limits.max_tool_calls
    if counts[1] >= limit.number:
        return "max_tool_calls", _calls_text(counts[1], limit), limit
    for tool_limit in plan.tool_limits:
        count = counts[tool_limit.counter]
        if count >= tool_limit.limit.number:
            name = f"max_calls_per_tool:{plan.tool_name}"
            return name, _tool_text(plan.tool_name, count, tool_limit.limit), tool_limit.limit
    return None


# The texts address the agent.  A rule's own message comes first; the figures follow.


def _attempts_text(count: float, limit: Limit) -> str:
    figures = f"attempt limit: {count:g} of {limit.number}"
    if limit.rule is not None:
        return f"{limit.rule.message(_NO_CALL, None)} ({figures}; do not retry)"
    return f"The session has reached its {figures}. Do not retry; tell the user what is done and what is left."


def _calls_text(count: float, limit: Limit) -> str:
    figures = f"limit on tool calls: {count:g} of {limit.number}"
    if limit.rule is not None:
        return f"{limit.rule.message(_NO_CALL, None)} ({figures})"
    return f"The session has reached its {figures}. Finish with what you have and report to the user."


def _tool_text(tool_name: str, count: float, limit: Limit) -> str:
    figures = f"{tool_name}: {count:g} of {limit.number}"
    if limit.rule is not None:
        message = limit.rule.message(_NO_CALL, None)
        if tool_name in message and "limit" in message:
            return message
        return f"{message} (limit for {figures})"
    return f"The session has reached its limit for {figures} calls. Use another tool or report to the user."


_NO_CALL = ToolCall("session")
