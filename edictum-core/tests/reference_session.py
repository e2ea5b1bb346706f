"""
What happens to calls in a session, worked out slowly and literally, on top of :mod:`reference`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from reference import FALSE, Call, Data, concerning, observed, verdict


@dataclass(frozen=True)
class Options:
    """
    How the guard is made; ``approval`` is the answer of every person, None when nobody can be asked.
    """

    mode: str | None = None
    limits: Data | None = None
    approval: str | None = None


@dataclass
class Outcome:
    """
    What happens to one call: whether the tool runs, who decided, and the events with the names on them.
    """

    executed: bool
    source: str | None = None
    name: str | None = None
    events: list[tuple[str, str | None]] = field(default_factory=list)
    asked: tuple[str, ...] = ()
    timeout: tuple[int, str] | None = None


class Session:
    """
    A guard and one session of it.
    """

    def __init__(self, ruleset: Data, options: Options) -> None:
        self.ruleset = ruleset
        self.options = options
        self.attempts = 0
        self.executions: list[str] = []

    def run(self, call: Call) -> Outcome:
        """
        Decide about a call, ask if need be, run the tool, count.
        """
        outcome = self._decide(call)
        self.attempts += 1
        if outcome.executed:
            outcome.events.append(("call_executed", None))
            self.executions.append(call.tool)
        return outcome

    def _decide(self, call: Call) -> Outcome:
        observing = (self.options.mode or self.ruleset["defaults"]["mode"]) == "observe"
        muted, block, asking = self._look_for_block(call)
        events: list[tuple[str, str | None]] = [("call_would_deny", rule_id) for rule_id in muted]
        if block is not None:
            source, name = block
            events.append(("call_would_deny" if observing else "call_denied", name))
            return Outcome(observing, source, name, events)
        if not asking:
            return Outcome(True, events=[*events, ("call_allowed", None)])
        name = asking[0]["id"]
        outcome = Outcome(True, "yaml_precondition", name, events)
        if observing:
            events.append(("call_would_deny", name))
            return outcome
        if self.options.approval is None:
            events.append(("call_denied", name))
            outcome.executed = False
            return outcome
        rules = [rule["then"] for rule in asking]
        patient = all(timeout_action(then) == "allow" for then in rules)
        outcome.asked = tuple(rule["id"] for rule in asking)
        outcome.timeout = (min(then.get("timeout", 300) for then in rules), "allow" if patient else "block")
        answer = {"approved": "granted", "denied": "denied", "timeout": "timeout"}[self.options.approval]
        events += [("call_approval_requested", name), (f"call_approval_{answer}", name)]
        outcome.executed = answer == "granted" or (answer == "timeout" and patient)
        return outcome

    def _look_for_block(self, call: Call) -> tuple[list[str], tuple[str, str] | None, list[Data]]:
        """
        The observed rules that fire, the first block with its source and name, and the rules that ask.
        """
        muted: list[str] = []
        asking: list[Data] = []
        if self.attempts >= self._number("max_attempts", 500):
            return muted, ("attempt_limit", "max_attempts"), asking
        for rule in concerning(self.ruleset, "pre", call.tool):
            if verdict(rule["when"], call) == FALSE:
                continue
            if observed(self.ruleset, rule):
                muted.append(rule["id"])
            elif rule["then"]["action"] == "ask":
                asking.append(rule)
            else:
                return muted, ("yaml_precondition", rule["id"]), asking
        for rule in concerning(self.ruleset, "session", call.tool):
            limits = rule["limits"]
            over = len(self.executions) >= limits.get("max_tool_calls", math.inf)
            over = over or self.attempts >= limits.get("max_attempts", math.inf)
            if observed(self.ruleset, rule):
                if over or self._over_tool_limit(limits, call.tool):
                    muted.append(rule["id"])
            elif over:
                return muted, ("yaml_session", rule["id"]), asking
        if len(self.executions) >= self._number("max_tool_calls", 200):
            return muted, ("operation_limit", "max_tool_calls"), asking
        if any(self._over_tool_limit(limits, call.tool) for limits in self._all_limits()):
            return muted, ("operation_limit", f"max_calls_per_tool:{call.tool}"), asking
        return muted, None, asking

    def _over_tool_limit(self, limits: Data, tool: str) -> bool:
        """
        Whether the executions of all tools under a pattern that concerns this tool have reached its number.
        """
        return any(
            fnmatchcase(tool, pattern) and sum(fnmatchcase(done, pattern) for done in self.executions) >= number
            for pattern, number in limits.get("max_calls_per_tool", {}).items()
        )

    def _all_limits(self) -> list[Data]:
        rules = [rule for rule in self.ruleset["rules"] if rule["type"] == "session" and rule.get("enabled", True)]
        enforced = [rule["limits"] for rule in rules if not observed(self.ruleset, rule)]
        return ([self.options.limits] if self.options.limits is not None else []) + enforced

    def _number(self, name: str, default: int) -> int:
        """
        The strictest number that anybody gives; the default only when nobody does.
        """
        return min((limits[name] for limits in self._all_limits() if name in limits), default=default)


def timeout_action(then: Data) -> str:
    return str(then.get("timeout_action", then.get("timeout_effect", "block")))
