"""
The engine without a guard: plans made from plain data, and a driver that answers its questions from a script.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from call_strategies import ruleset
from edictum import (
    Decision,
    HookDecision,
    HookRegistration,
    OperationLimits,
    PreDecision,
    ToolRegistry,
    create_tool_call,
)
from edictum.engine.decide import decide
from edictum.engine.outcome import Answer, Question
from edictum.engine.plan import Planner, ToolPlan
from edictum.redaction import RedactionPolicy
from edictum.ruleset.compiler import compile_ruleset
from edictum.ruleset.document import from_mapping
from edictum.ruleset.expressions import Names
from edictum.ruleset.policy import CompiledRule, compile_python_rule
from edictum.ruleset.reader import read_ruleset

FIRES = {"args.a": {"equals": 1}}
PASSES = {"args.a": {"equals": 2}}
FAILS = {"args.a": {"contains": "x"}}
CALL = create_tool_call("tool", {"a": 1})
FRESH = (1, 0, 0)


def compiled(*rules: dict[str, Any]) -> list[CompiledRule]:
    tree = read_ruleset(from_mapping(ruleset(*rules)))
    return list(compile_ruleset(tree, Names(), RedactionPolicy(detect_secret_values=False), version=None).rules)


def python_rule(kind: Callable[..., Any], name: str, **marks: Any) -> CompiledRule:
    def function(*facts: Any) -> Decision:
        raise AssertionError("the engine never calls foreign code itself")

    function.__name__ = name
    marked = kind(function)
    for mark, value in marks.items():
        setattr(marked, f"_edictum_{mark}", value)
    return compile_python_rule(marked)


def before(name: str) -> HookRegistration:
    def callback(call: Any) -> HookDecision:
        raise AssertionError("the engine never calls foreign code itself")

    callback.__name__ = name
    return HookRegistration("before", "*", callback)


def plan(
    *rules: CompiledRule,
    hooks: Sequence[HookRegistration] = (),
    limits: OperationLimits | None = None,
    tool: str = "tool",
    strict_names: bool = True,
) -> ToolPlan:
    return Planner(rules, hooks, ToolRegistry(), limits, strict_names=strict_names).plan(tool)


class Asked:
    """
    Drives the engine with answers by name and notes what it asked; a name without an answer passes.
    """

    def __init__(self, **answers: Answer) -> None:
        self.answers = answers
        self.names: list[str] = []

    def drive(self, steps: Iterator[Any] | PreDecision) -> Any:
        if isinstance(steps, PreDecision):
            return steps
        step = next(steps)
        while isinstance(step, Question):
            subject = step.subject
            name = subject.id if isinstance(subject, CompiledRule) else subject.name
            self.names.append(name)
            step = steps.send(self.answers.get(name, Answer(True)))  # type: ignore[attr-defined]
        assert list(steps) == [], "the engine goes on after its decision"
        return step


def decided(
    made: ToolPlan, counts: Sequence[float] = FRESH, *, recheck: bool = False, **answers: Answer
) -> PreDecision:
    decision = Asked(**answers).drive(decide(made, CALL, counts, recheck=recheck))
    assert isinstance(decision, PreDecision)
    return decision
