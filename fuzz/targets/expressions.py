"""
Rules on calls: whatever a ruleset says of a call, the slow reference evaluator says too.

Bytes choose rulesets and calls of a small alphabet, so that rules often hit; texts are free now and then.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import atheris
from edictum import Edictum, Principal
from edictum.errors import EdictumConfigError
from reference import NO_OUTPUT, Call, Data, Evaluation, evaluate

LONGEST = 1_024
SECONDS = 60

_KEYS = ["a", "b", "a.b", "output", "value", "x-y"]
_TEXTS = [
    "",
    "x",
    "xy",
    "yx",
    "X",
    "1",
    "01",
    "true",
    "TRUE",
    "1.5",
    "nan",
    "-1",
    "é",
    "e\u0301",
    "\n",
    "x\ny",
    "\ud800",
]
_NUMBERS = [0, 1, -1, 2, 1.0, 1.5, -0.0, 2**53 + 1, 10**30, 1e308]
_STRANGE = [math.nan, math.inf, b"x", b"\xff", (), ("x", 1)]
_PATTERNS = ["x", "^x", "x$", r"\d", "(?i)X", "x|1", "^$", ":1", ".", r"\bx\b", r"[^x]", r"(x)\1", "é"]
_TOOLS = ["t", "u", "T"]
_TOOL_PATTERNS = ["*", "*", "t", "t*", "?", "[tv]", "u", "[!t]"]
_BEFORE = [
    *("args.a", "args.b", "args.a.b", "args.a.b.a", "environment", "tool.name", "principal.role", "principal.user_id"),
    *("principal.claims.a", "principal.claims.a.b", "env.A", "env.B", "env.a.b", "metadata.a", "metadata.b.a"),
]
_AFTER = ["output.text", "result.a", "result.b", "result.a.b", "result.output", "result.value"]


class _Draw:
    """
    Draws parts of rulesets and calls from bytes; no bytes left means the first of each choice.
    """

    def __init__(self, data: bytes) -> None:
        self.data = atheris.FuzzedDataProvider(data)

    def one(self, choices: list[Any]) -> Any:
        return choices[self.data.ConsumeIntInRange(0, len(choices) - 1)]

    def some(self, draw: Callable[[], Any], least: int = 0) -> list[Any]:
        return [draw() for _ in range(self.data.ConsumeIntInRange(least, 3))]

    def text(self) -> str:
        if self.data.ConsumeIntInRange(0, 7) == 7:
            return self.data.ConsumeUnicodeNoSurrogates(self.data.ConsumeIntInRange(0, 6))
        return self.one(_TEXTS[:-1])

    def number(self) -> float:
        return self.one(_NUMBERS)

    def scalar(self) -> Any:
        return self.one([self.text, self.number, lambda: True, lambda: False, lambda: None])()

    def mapping(self) -> Data:
        return {key: self.scalar() for key in self.some(lambda: self.one(_KEYS))}

    def value(self) -> Any:
        """
        A value of a call: also what no ruleset can hold.
        """
        nested = [
            lambda: self.some(self.scalar),
            self.mapping,
            lambda: {"b": self.mapping()},
            lambda: tuple(self.some(self.scalar)),
        ]
        return self.one([self.scalar, self.scalar, *nested, lambda: self.one(_STRANGE), lambda: "\ud800"])()

    def operand(self) -> Any:
        return self.one([self.scalar, lambda: self.some(self.scalar), self.mapping])()

    def test(self) -> Data:
        operator = self.one(list(_OPERANDS))
        return {operator: _OPERANDS[operator](self)}

    def when(self, selectors: list[str], depth: int = 0) -> Data:
        shape = self.one(["leaf", "leaf", "all", "any", "not"]) if depth < 4 else "leaf"
        if shape == "leaf":
            return {self.one(selectors): self.test()}
        if shape == "not":
            return {"not": self.when(selectors, depth + 1)}
        return {shape: self.some(lambda: self.when(selectors, depth + 1), 1)}

    def rule(self, number: int) -> Data:
        kind = self.one(["pre", "pre", "post"])
        actions = ["block", "ask"] if kind == "pre" else ["warn", "redact", "block"]
        rule = {
            "id": f"rule-{number}",
            "type": kind,
            "tool": self.one(_TOOL_PATTERNS),
            "when": self.when(_BEFORE if kind == "pre" else _BEFORE + _AFTER),
            "then": {"action": self.one(actions), "message": f"says {number}"},
        }
        return rule | self.one([{}, {}, {"mode": "observe"}, {"mode": "enforce"}, {"enabled": False}])

    def ruleset(self) -> Data:
        return {
            "apiVersion": "edictum/v1",
            "kind": "Ruleset",
            "metadata": {"name": "fuzzed"},
            "defaults": {"mode": self.one(["enforce", "enforce", "observe"])},
            "rules": [self.rule(number) for number in range(self.data.ConsumeIntInRange(1, 3))],
        }

    def call(self) -> Call:
        principal = self.one([None, {"role": "x"}, {"role": "xy", "user_id": "1"}])
        return Call(
            tool=self.one(_TOOLS),
            args={key: self.value() for key in ("a", "b")},
            principal=None if principal is None else {**principal, "claims": self.mapping()},
            environment=self.one(["production", "x"]),
            metadata=self.mapping(),
            env={"A": self.text(), "a.b": self.text()},
            output=self.one([lambda: NO_OUTPUT, self.text, self.value, self.mapping])(),
        )


_OPERANDS: dict[str, Callable[[_Draw], Any]] = {
    "exists": lambda draw: draw.one([True, False]),
    "equals": _Draw.operand,
    "not_equals": _Draw.operand,
    "in": lambda draw: draw.some(draw.operand, 1),
    "not_in": lambda draw: draw.some(draw.operand, 1),
    "contains": _Draw.text,
    "contains_any": lambda draw: draw.some(draw.text, 1),
    "starts_with": _Draw.text,
    "ends_with": _Draw.text,
    "matches": lambda draw: draw.one(_PATTERNS),
    "matches_any": lambda draw: draw.some(lambda: draw.one(_PATTERNS), 1),
    "gt": _Draw.number,
    "gte": _Draw.number,
    "lt": _Draw.number,
    "lte": _Draw.number,
}


def target(data: bytes) -> None:
    """
    Judge one call by one ruleset and compare with the reference.
    """
    draw = _Draw(data)
    document, call = draw.ruleset(), draw.call()
    try:
        guard = Edictum.from_bundle_dict(document, env=call.env)
    except EdictumConfigError as refusal:
        assert "text must not contain NUL" in str(refusal), f"a valid ruleset is refused: {refusal}"
        return
    found = guard.evaluate(
        call.tool,
        call.args,
        output=None if call.output is NO_OUTPUT else call.output,
        principal=None if call.principal is None else Principal(**call.principal),
        environment=call.environment,
        metadata=call.metadata,
    )
    verdicts = [
        (rule.rule_id, "false" if rule.passed else "error" if rule.policy_error else "true", rule.observed)
        for rule in found.rules
    ]
    seen = Evaluation(
        found.decision, verdicts, found.block_reasons, found.warn_reasons, found.would_ask, found.policy_error
    )
    expected = evaluate(document, call)
    assert seen == expected, f"{document}\n{call}\nsaid     {seen}\nexpected {expected}"


def seeds() -> Iterator[bytes]:
    """
    Random bytes, the same ones each time: they choose, and do not mean anything.
    """
    source = random.Random(1)
    for size in (16, 64, 128, 256, 512, 1024) * 8:
        yield source.randbytes(size)


def words() -> list[str]:
    """
    None: the bytes only choose.
    """
    return []
