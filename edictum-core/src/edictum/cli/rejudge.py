"""
Deciding a recorded call again, by the pre and sandbox rules of a ruleset.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from edictum.cli.partial import BREAKS, FAILS, HOLDS, NOT_LOGGED, is_partial, judge_partial
from edictum.cli.recorded import MalformedLineError, RecordedCall, Verdict
from edictum.cli.trial import plan_of
from edictum.ruleset.selectors import split
from edictum.ruleset.syntax import Expression, Leaf, Not, PreRule
from edictum.tool_call import ToolCall, build_tool_call

if TYPE_CHECKING:
    from edictum.engine.plan import ToolPlan
    from edictum.guard import Edictum
    from edictum.ruleset.policy import CompiledRule
    from edictum.ruleset.syntax import Ruleset

Change = Literal["none", "changed", "uncertain"]

# Kinds of checks that need more than the call: what they decided cannot be decided again.
_OTHER_CHECKS = frozenset(
    (
        "attempt_limit",
        "operation_limit",
        "yaml_session",
        "session_contract",
        "hook",
        "workflow",
        "backend_error",
        "invalid_call",
        "internal_error",
        "args_changed",
        "approval_error",
        "audit_unavailable",
    )
)


_SAME_RULESET = "this very ruleset decided it; files, folders or the environment were others then"


@dataclass(frozen=True, slots=True)
class Rejudged:
    """
    What a ruleset says about a recorded call.

    Attributes:
        change: Whether that differs from what was decided.
        verdict: What happens to the call now, as far as the log tells.
        rule: The rule that blocks, asks, or would if the ruleset did not only observe; None where none fires.
        doubts: Why it is not certain, one text each.
    """

    change: Change
    verdict: Verdict
    rule: str | None
    doubts: tuple[str, ...] = ()


@dataclass(slots=True)
class _Decision:
    """
    What the rules say.

    Attributes:
        verdict: As far as the log tells.
        rule: What decides.
        doubts: What else they may say, and why.
    """

    verdict: Verdict
    rule: str | None = None
    doubts: dict[Verdict, list[str]] = field(default_factory=dict)


class Rejudge:
    """
    Decides recorded calls again.

    Args:
        guard: With the rules.
        ruleset: Their tree.
    """

    def __init__(self, guard: Edictum, ruleset: Ruleset) -> None:
        self._guard = guard
        self._version = guard.policy_version
        self._observing = guard.mode == "observe"
        self._trees = {rule.id: rule for rule in ruleset.rules if isinstance(rule, PreRule)}
        self._ids = {rule.id for rule in ruleset.rules}
        self._hidden = {rule.id for rule in self._trees.values() if _needs_what_is_not_logged(rule.when)}

    def judge(self, recorded: RecordedCall) -> Rejudged:
        """
        Decide one call again and compare.

        Raises:
            MalformedLineError: Its arguments cannot be read.
        """
        decision = self._decide(plan_of(self._guard, recorded.tool), recorded)
        # A guard that observed logged what the rules said; compared with that, it does not matter who observes now.
        observing = self._observing and not recorded.observed
        verdict: Verdict = "allow" if observing else decision.verdict
        possible = {"allow"} if observing else {decision.verdict, *decision.doubts}
        doubts = [text for texts in decision.doubts.values() for text in texts] if len(possible) > 1 else []
        change: Change = "changed"
        if self._decided_by_another_check(recorded):
            change, doubts = ("none", []) if verdict == recorded.verdict else ("uncertain", [*doubts, _other(recorded)])
        elif recorded.verdict in possible:
            change = "uncertain" if doubts else "none"
        if self._version is not None and recorded.policy_version == self._version:
            change, doubts = ("uncertain", [_SAME_RULESET]) if change == "changed" else ("none", [])
        return Rejudged(change, verdict, decision.rule, tuple(doubts))

    def _decide(self, plan: ToolPlan, recorded: RecordedCall) -> _Decision:
        call = _build(plan, recorded)
        principal = recorded.principal
        partial = is_partial(recorded.args) or (principal is not None and is_partial(principal.to_dict()))
        asking: str | None = None
        doubts: dict[Verdict, list[str]] = {}
        for rule in (*plan.pre, *plan.sandbox):
            if rule.observe:
                continue
            fires = self._fires(rule, call, partial, doubts)
            if fires and rule.action == "block":
                return _Decision("block", rule.id)
            if fires and asking is None:
                asking = rule.id
        if plan.name_problem is not None:
            return _Decision("block", "tool_name")
        if asking is None:
            return _Decision("allow", None, doubts)
        doubts.pop("ask", None)
        return _Decision("ask", asking, doubts)

    def _fires(self, rule: CompiledRule, call: ToolCall, partial: bool, doubts: dict[Verdict, list[str]]) -> bool:
        """
        Whether a rule fires; where that is not certain, no, with a doubt.
        """
        action: Verdict = "ask" if rule.action == "ask" else "block"
        tree = self._trees.get(rule.id)
        if tree is not None and (partial or rule.id in self._hidden):
            unknown: list[str] = []
            outcome = judge_partial(tree.when, call, unknown)
            if outcome & FAILS and outcome & (HOLDS | BREAKS):
                what = f"{', '.join(unknown)}, which the log does not hold in full"
                doubts.setdefault(action, []).append(f'rule "{rule.id}" depends on {what}')
            return not outcome & FAILS
        if tree is None and partial:
            what = "all arguments, and the log does not hold all of them in full"
            doubts.setdefault(action, []).append(f'rule "{rule.id}" looks at {what}')
            return False
        assert rule.condition is not None
        try:
            return rule.condition(call, None)
        except Exception:
            return True

    def _decided_by_another_check(self, recorded: RecordedCall) -> bool:
        """
        Whether something else than a rule before the call stopped it.
        """
        if recorded.verdict == "allow":
            return False
        # Rules in Python have this source; what the published package observed has it as well, of whatever type.
        python_rule = recorded.source == "precondition" and not recorded.observed and recorded.rule not in self._ids
        return python_rule or recorded.source in _OTHER_CHECKS


def _other(recorded: RecordedCall) -> str:
    return f"{recorded.rule or recorded.source} ({recorded.source}) decided it, which a replay does not judge"


def _needs_what_is_not_logged(expression: Expression) -> bool:
    if isinstance(expression, Leaf):
        return split(expression.selector)[0] in NOT_LOGGED
    items: Iterable[Expression] = (expression.item,) if isinstance(expression, Not) else expression.items
    return any(_needs_what_is_not_logged(item) for item in items)


def _build(plan: ToolPlan, recorded: RecordedCall) -> ToolCall:
    moment = datetime.now(UTC)
    try:
        return build_tool_call(
            plan, recorded.args, "replay", recorded.environment, moment, recorded.principal, fields={}
        )
    except ValueError as error:
        raise MalformedLineError(f"the arguments cannot be read: {error}") from None
