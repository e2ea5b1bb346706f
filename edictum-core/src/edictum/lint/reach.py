"""
Rules and limits that others leave nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterable

from edictum.limits import OperationLimits
from edictum.lint.report import Findings
from edictum.lint.subject import LintedRule, Subject
from edictum.ruleset.comparison import effect_key
from edictum.ruleset.coverage import covers_tools
from edictum.ruleset.problems import Path, quote
from edictum.ruleset.syntax import PostRule, PreRule, SandboxRule, SessionRule


def check_reach(subject: Subject, findings: Findings) -> None:
    """
    Find the rules of a file that never decide, and the limits that are never reached.
    """
    if not subject.ruleset.observe_alongside:  # candidates are all judged, whatever the others say
        _check_rules(subject, findings)
        _check_limits(subject, findings)


# --- rules ----------------------------------------------------------------------------------------


def _check_rules(subject: Subject, findings: Findings) -> None:
    blocking: list[LintedRule] = []
    first: dict[str, LintedRule] = {}
    everything = [rule for rule in subject.rules if rule.blocks and rule.node.kind == "true"]
    for linted in subject.rules:
        rule = linted.rule
        twin = first.setdefault(effect_key(rule), linted)
        if isinstance(rule, PreRule):
            before = _covering(subject, blocking, linted)
            if linted.path is not None:
                _report(subject, findings, linted, twin, before)
            if linted.blocks and before is None:
                blocking.append(linted)
        elif linted.path is not None:
            before = None
            # In a ruleset that observes, a tool runs whatever the rules before it say.
            if isinstance(rule, SandboxRule) or (isinstance(rule, PostRule) and subject.ruleset.mode == "enforce"):
                before = _before_all(everything, linted)
            _report(subject, findings, linted, twin, before)


def _covering(subject: Subject, blocking: Iterable[LintedRule], linted: LintedRule) -> LintedRule | None:
    """
    A blocking rule that fires for every call for which a rule fires.
    """
    assert isinstance(linted.rule, PreRule)
    for other in blocking:
        assert isinstance(other.rule, PreRule)
        if subject.coverage.exhausted:
            break
        if covers_tools(other.rule.tools, linted.rule.tools) and subject.coverage.covers(other.node, linted.node):
            return other
    return None


def _before_all(everything: Iterable[LintedRule], linted: LintedRule) -> LintedRule | None:
    """
    A rule that blocks every call of the tools of a sandbox or post rule.
    """
    assert isinstance(linted.rule, SandboxRule | PostRule)
    for other in everything:
        if isinstance(other.rule, PreRule) and covers_tools(other.rule.tools, linted.rule.tools):
            return other
    return None


def _report(
    subject: Subject, findings: Findings, linted: LintedRule, twin: LintedRule, before: LintedRule | None
) -> None:
    rule = linted.rule
    assert linted.path is not None
    path = (*linted.path, "id")
    if before is not None:
        what = "every call" if before.node.kind == "true" else "whatever it fires for"
        message = f"{quote(rule.id)} never decides: {_named(findings, before)} blocks {what} before"
        findings.add("unreachable-rule", path, message, rule=rule.id)
    elif twin is not linted:
        message = f"{quote(rule.id)} does the same as {_named(findings, twin)}"
        findings.add("duplicate-rule", path, message, rule=rule.id)
    elif isinstance(rule, PreRule) and rule.action == "ask" and rule.mode == "enforce":
        later = [other for other in subject.rules[subject.rules.index(linted) + 1 :] if other.blocks]
        winner = _covering(subject, later, linted)
        if winner is not None:
            message = f"{quote(rule.id)} never asks: {_named(findings, winner)} blocks whatever it fires for"
            findings.add("ask-never-asked", path, message, rule=rule.id)


def _named(findings: Findings, linted: LintedRule) -> str:
    line = findings.line_of(linted.path) if linted.path is not None else None
    where = " (inherited)" if linted.path is None else f" (line {line})" if line is not None else ""
    return f"{quote(linted.rule.id)}{where}"


# --- limits ---------------------------------------------------------------------------------------


def _check_limits(subject: Subject, findings: Findings) -> None:
    """
    Compare every limit in force with those that end the session before it.
    """
    limits = _Lowest(subject.rules)
    for linted in subject.rules:
        rule = linted.rule
        if linted.path is None or not isinstance(rule, SessionRule) or rule.mode != "enforce":
            continue
        numbers = {"max_attempts": rule.max_attempts, "max_tool_calls": rule.max_tool_calls}
        checked: list[tuple[Path, int]] = [((name,), number) for name, number in numbers.items() if number is not None]
        checked += [(("max_calls_per_tool", tool), number) for tool, number in rule.max_calls_per_tool.items()]
        for place, number in checked:
            lower = limits.below(str(place[-1]), number, per_tool=len(place) > 1)
            if lower is not None:
                text, certain = lower
                findings.add(
                    "limit-never-reached",
                    (*linted.path, "limits", *place),
                    f"{number} is never reached: {text}",
                    rule=rule.id,
                    severity="warning" if certain else "note",
                )


class _Lowest:
    """
    The lowest numbers that the rules set, and the rules that set them.
    """

    def __init__(self, rules: Iterable[LintedRule]) -> None:
        self._numbers: dict[str, tuple[int, str]] = {}
        self._per_tool: dict[str, tuple[int, str]] = {}
        for linted in rules:
            rule = linted.rule
            if isinstance(rule, SessionRule) and rule.mode == "enforce":
                for name, number in (("max_attempts", rule.max_attempts), ("max_tool_calls", rule.max_tool_calls)):
                    _lower(self._numbers, name, number, rule.id)
                for tool, number in rule.max_calls_per_tool.items():
                    _lower(self._per_tool, tool, number, rule.id)

    def below(self, name: str, number: int, *, per_tool: bool) -> tuple[str, bool] | None:
        """
        A limit that is reached before another one, in words, and whether that is certain.

        Defaults are not: the program may set limits of its own.
        """
        same, by = (self._per_tool if per_tool else self._numbers)[name]
        if same < number:
            return f"{quote(by)} allows {same}", True
        default = OperationLimits()
        defaults = {"max_tool_calls": default.max_tool_calls, "max_attempts": default.max_attempts}
        # Every call is an attempt, and every call of one tool is a call.
        widers = list(defaults) if per_tool else ["max_attempts"] if name == "max_tool_calls" else []
        for wider in widers:
            if wider in self._numbers and self._numbers[wider][0] < number:
                lower, by = self._numbers[wider]
                return f"{quote(by)} has {wider} {lower}", True
            if wider not in self._numbers and defaults[wider] < number:
                return f"{wider} is {defaults[wider]} where nothing else is set", False
        return None


def _lower(numbers: dict[str, tuple[int, str]], name: str, number: int | None, rule_id: str) -> None:
    if number is not None and (name not in numbers or number < numbers[name][0]):
        numbers[name] = (number, rule_id)
