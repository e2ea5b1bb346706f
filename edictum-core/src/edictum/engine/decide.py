"""
The decision before a tool runs.

:func:`decide` is the only place that knows the order of checks:

1. attempts of the session against their limit
2. before-hooks; the first refusal decides
3. pre rules, in declared order
4. sandbox rules, in declared order
5. session rules, in declared order
6. the tool's name
7. executions of the session, then of the tool, against their limits

The first block decides.  A rule that asks does not end the search: an approval is requested only when
nothing blocks.  Rules in observe mode are recorded and never decide.  Whatever cannot be judged counts as
broken.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from edictum.engine.outcome import Answer, Fired, PreAction, PreDecision, Question, error_text
from edictum.engine.plan import Limit, Look, ToolPlan
from edictum.ruleset.policy import MAX_CLUE_CHARS, CompiledRule
from edictum.ruleset.selectors import ToolResult
from edictum.ruleset.time_budget import TimeBudget
from edictum.snapshot import FrozenDict
from edictum.tool_call import ToolCall

Steps: TypeAlias = Generator[Question | PreDecision, Answer, None]
Observations: TypeAlias = Generator[Question | list[dict[str, Any]], Answer, None]


class _Trace:
    """
    What has been found so far; made when there is something to say.

    Attributes:
        rules: The rules that are judged.
        hooks: Records of the hooks that were asked.
        fired: Records of the rules that fired.
        observed: Those of them that are only observed.
        asking: Those that ask.
        over: Records of limits that leave no room.
    """

    __slots__ = ("asking", "fired", "hooks", "observed", "over", "rules")

    def __init__(self, rules: tuple[CompiledRule, ...] = ()) -> None:
        self.rules = rules
        self.hooks: list[Any] = []
        self.fired: dict[CompiledRule, dict[str, Any]] = {}
        self.observed: list[Fired] = []
        self.asking: list[Fired] = []
        self.over: list[Any] = []

    def decides(self, fired: Fired) -> bool:
        """
        Record a rule that fired, and say whether it ends the search.
        """
        rule = fired.rule
        self.fired[rule] = fired.record(observed=rule.observe)
        if rule.observe:
            self.observed.append(fired)
        elif rule.action == "ask":
            self.asking.append(fired)
        else:
            return True
        return False

    def remark(self, plan: ToolPlan, call: ToolCall) -> None:
        """
        Note what rules that let the call pass have to say about it.
        """
        for rule in plan.remarking:
            if rule in self.rules and rule not in self.fired and rule.remark is not None:
                said = rule.remark(call)
                if said is not None:
                    self.fired[rule] = {**rule.passed, "metadata": {"warning": said}}

    def close(
        self,
        action: PreAction,
        reason: str | None = None,
        source: str | None = None,
        name: str | None = None,
        policy_error: bool = False,
    ) -> PreDecision:
        """
        The decision.
        """
        records: list[Any] = [rule.passed for rule in self.rules]
        for rule, record in self.fired.items():
            records[self.rules.index(rule)] = record
        decision = PreDecision(action, reason, source, name, self.hooks, records + self.over)
        decision.policy_error = policy_error
        if self.observed:
            decision.observed = True
            decision.observed_rules = tuple(self.observed)
        return decision

    def blocked_by(self, fired: Fired) -> PreDecision:
        """
        The decision of a rule.
        """
        rule = fired.rule
        self.rules = self.rules[: self.rules.index(rule) + 1]
        return self.close("block", fired.message, rule.source, rule.id, fired.error is not None)

    def blocked_by_limit(self, source: str, name: str, text: str, limit: Limit) -> PreDecision:
        """
        The decision of a limit.
        """
        record: dict[str, Any] = {
            "name": name,
            "type": "session_contract",
            "passed": False,
            "message": text,
            "action": "block",
        }
        if limit.rule is not None:
            record["rule_id"] = limit.rule.id
            record["metadata"] = {"tags": list(limit.rule.tags), **limit.rule.metadata}
        self.over.append(record)
        return self.close("block", text, source, name)

    def pending(self) -> PreDecision:
        """
        The decision to ask a person: one request for all rules that ask, in the words of the first.
        """
        first = self.asking[0]
        rules = [fired.rule for fired in self.asking]
        asked = self.close("pending_approval", first.message, first.rule.source, first.rule.id, first.error is not None)
        return replace(
            asked,
            approval_message=first.message,
            approval_timeout=min(rule.timeout for rule in rules),
            approval_timeout_action="allow" if all(rule.timeout_action == "allow" for rule in rules) else "block",
            approval_rules=tuple(rule.id for rule in rules),
        )


def nothing_fires(plan: ToolPlan, call: ToolCall, budget: TimeBudget | None) -> bool:
    """
    Whether certainly no condition holds for a call.

    Args:
        plan: What concerns the tool.
        call: The call.
        budget: The time for the conditions; :func:`decide` has what is left of it.  None where there are only clues.

    Returns:
        True where :func:`decide` would find no rule with a condition that fires.  False says nothing.
    """
    if gives_clue(plan.looks, call, None):
        return False
    try:
        for rule in plan.unclear:
            condition = rule.condition
            if budget is None or condition is None:
                return False
            budget.rule = rule
            if condition(call, None, budget):
                return False
    except Exception:
        return False  # what fails here fails again when it is judged, and is named in the decision then
    return True


def gives_clue(looks: Iterable[Look], call: ToolCall, value: Any) -> bool:
    """
    Whether a call, or what the tool returned, gives any of the clues that are looked for.
    """
    try:
        for read, fields in looks:
            part = value if read is None else read(call, None)
            if part is None:
                continue
            for key, whole, texts in fields:
                if key is None:
                    found = part
                elif type(part) is FrozenDict:
                    found = part.get(key)
                    if found is None:
                        continue
                else:
                    return True
                if type(found) is not str or (whole and found in whole) or len(found) > MAX_CLUE_CHARS:
                    return True
                for text in texts:
                    if text in found:
                        return True
    except Exception:
        return True  # the rules are judged, and say what is wrong
    return False


def decide(
    plan: ToolPlan,
    call: ToolCall,
    counts: Sequence[float],
    *,
    recheck: bool = False,
    budget: TimeBudget | None = None,
) -> PreDecision | Steps:
    """
    Decide about one call.

    Args:
        plan: What concerns the tool.
        call: The call.
        counts: Session counters in the order of ``plan.counters``; attempts include this call.
        recheck: After an approval: only what may have changed during the wait (limits and session rules).
        budget: The time that conditions may take; None for all that a call is given.

    Returns:
        The decision where only limits concern the tool and leave room: most calls of most agents.  Else steps, which
        yield a :class:`Question` for each hook and Python rule, to be answered with ``send``; last the
        :class:`PreDecision`.
    """
    if plan.only_limits and counts[0] <= plan.max_attempts and counts[1] < plan.max_tool_calls:
        return plan.passed
    return _check(plan, call, counts, recheck, budget or TimeBudget())


def _check(plan: ToolPlan, call: ToolCall, counts: Sequence[float], recheck: bool, budget: TimeBudget) -> Steps:
    trace: _Trace | None = None
    if counts[0] > plan.max_attempts:
        limit = plan.limits.max_attempts
        yield _Trace().blocked_by_limit("attempt_limit", "max_attempts", _attempts_text(counts[0] - 1, limit), limit)
        return
    if plan.before and not recheck:
        trace = _Trace()
        for hook in plan.before:
            answer = yield Question(hook)
            record: dict[str, Any] = {"name": hook.name, "result": "allow", "reason": None}
            trace.hooks.append(record)
            if not answer.passed:
                reason = answer.message or f"hook {hook.name!r} blocked the call"
                record |= {"result": "block", "reason": reason}
                if answer.error is not None:
                    record["error_detail"] = answer.error
                yield trace.close("block", reason, "hook", hook.name, answer.error is not None)
                return
    # Pre rules and session rules differ only in how they are judged.  The loop is written out, without a
    # function per rule, because it is most of the time of a decision.
    rules = plan.session if recheck else plan.rules
    if trace is not None:
        trace.rules = rules
    roomy = counts[1] < plan.max_tool_calls  # no limit in force is reached: each rule's own are as wide or wider
    for rule in rules:
        fired: Fired | None
        condition = rule.condition
        if condition is not None:
            budget.rule = rule
            try:
                if not condition(call, None, budget):
                    continue
                fired = Fired(rule, rule.message(call, None), None, _detail(rule, call))
            except Exception as error:
                fired = unjudged(rule, call, None, error)
        elif rule.limits is not None:
            if roomy and not rule.observe:
                continue
            fired = judge_limits(rule, plan, counts)
        else:
            fired = from_answer(rule, call, None, (yield Question(rule)))
        if fired is None:
            continue
        if trace is None:
            trace = _Trace(rules)
        if trace.decides(fired):
            yield trace.blocked_by(fired)
            return
    if plan.name_problem is not None:
        text = f"the tool name is not valid: {plan.name_problem}; call a tool by its exact name"
        yield (trace or _Trace(rules)).close("block", text, "invalid_tool_name", "tool_name")
        return
    over = over_limit(plan, counts) if plan.tool_limits or not roomy else None
    if plan.remarking:
        trace = trace or _Trace(rules)
        trace.remark(plan, call)
    if over is not None:
        yield (trace or _Trace(rules)).blocked_by_limit("operation_limit", *over)
    elif trace is None:
        yield plan.passed
    else:
        yield trace.pending() if trace.asking else trace.close("allow")


def observe(plan: ToolPlan, call: ToolCall, counts: Sequence[float]) -> Observations:
    """
    Judge the candidate rules of a tool, which never decide.

    Yields:
        A :class:`Question` for each Python rule; last the list of records for
        :attr:`PreDecision.observe_results`.
    """
    records = []
    budget = TimeBudget()
    for rule in plan.candidates:
        if rule.limits is not None:
            fired = judge_limits(rule, plan, counts)
        elif rule.condition is not None:
            fired = judge(rule, call, None, budget)
        else:
            fired = from_answer(rule, call, None, (yield Question(rule)))
        records.append(
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
    yield records


def judge(
    rule: CompiledRule, call: ToolCall, result: ToolResult | None, budget: TimeBudget | None = None
) -> Fired | None:
    """
    Judge a rule that has a condition.

    Args:
        rule: The rule.
        call: The call.
        result: What the tool returned; None before it ran.
        budget: The time for all rules of one decision; without one the rule is judged as if it were the only one.

    Returns:
        None when it lets the call pass.  A condition that raises does not.
    """
    assert rule.condition is not None
    budget = budget or TimeBudget()
    budget.rule = rule
    try:
        if not rule.condition(call, result, budget):
            return None
        return Fired(rule, rule.message(call, result), None, _detail(rule, call))
    except Exception as error:
        return unjudged(rule, call, result, error)


def _detail(rule: CompiledRule, call: ToolCall) -> Mapping[str, Any] | None:
    return None if rule.detail is None else {"outside": rule.detail(call)}


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


def from_answer(rule: CompiledRule, call: ToolCall, result: ToolResult | None, answer: Answer) -> Fired | None:
    """
    Read what a Python rule said.
    """
    if answer.passed:
        return None
    message = answer.message if answer.message is not None else rule.message(call, result)
    return Fired(rule, message, answer.error, answer.metadata)


def judge_limits(rule: CompiledRule, plan: ToolPlan, counts: Sequence[float]) -> Fired | None:
    """
    Judge a session rule by its own numbers against attempts and executions.

    Its limits on single tools are judged here only for a rule that is observed; those in force are part of
    the plan and come last, see :func:`over_limit`.
    """
    limits = rule.limits
    assert limits is not None
    over = limits.max_attempts is not None and counts[0] > limits.max_attempts
    over = over or (limits.max_tool_calls is not None and counts[1] >= limits.max_tool_calls)
    if rule.observe or rule.candidate:
        over = over or any(
            counts[plan.counter_of[tool]] >= number
            for tool, number in limits.max_calls_per_tool.items()
            if tool in plan.counter_of
        )
    return Fired(rule, limits.message) if over else None


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
    if limit.message is not None:
        return f"{limit.message} ({figures}; do not retry)"
    return f"The session has reached its {figures}. Do not retry; tell the user what is done and what is left."


def _calls_text(count: float, limit: Limit) -> str:
    figures = f"limit on tool calls: {count:g} of {limit.number}"
    if limit.message is not None:
        return f"{limit.message} ({figures})"
    return f"The session has reached its {figures}. Finish with what you have and report to the user."


def _tool_text(tool_name: str, count: float, limit: Limit) -> str:
    figures = f"{tool_name}: {count:g} of {limit.number}"
    if limit.message is None:
        return f"The session has reached its limit for {figures} calls. Use another tool or report to the user."
    if tool_name in limit.message and "limit" in limit.message:
        return limit.message
    return f"{limit.message} (limit for {figures})"
