"""
What a ruleset means, worked out slowly and literally from its plain data.

Nothing is imported from the package and nothing is compiled or remembered: each function says one sentence of the
rules for people in code.  Tests compare the package with it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

Data = dict[str, Any]

TRUE, FALSE, ERROR = "true", "false", "error"
NO_OUTPUT = object()
LONGEST_SEARCHED_TEXT = 1_000_000


@dataclass(frozen=True)
class Call:
    """
    One tool call; ``principal`` is a map of its fields, ``output`` what the tool returns.
    """

    tool: str
    args: Data = field(default_factory=dict)
    principal: Data | None = None
    environment: str = "production"
    metadata: Data = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    output: Any = NO_OUTPUT


# --- expressions ---------------------------------------------------------------------------------


def verdict(when: Data, call: Call) -> str:
    """
    ``true``, ``false`` or ``error``.
    """
    ((key, inner),) = when.items()
    if key == "all":
        for item in inner:
            found = verdict(item, call)
            if found != TRUE:
                return found
        return TRUE
    if key == "any":
        for item in inner:
            found = verdict(item, call)
            if found != FALSE:
                return found
        return FALSE
    if key == "not":
        return {TRUE: FALSE, FALSE: TRUE, ERROR: ERROR}[verdict(inner, call)]
    ((operator, operand),) = inner.items()
    return leaf_verdict(key, operator, operand, call)


def leaf_verdict(selector: str, operator: str, operand: Any, call: Call) -> str:
    value = select(selector, call)
    if operator == "exists":
        return TRUE if (value is not None) == operand else FALSE
    if value is None:
        return FALSE
    if selector == "output.text":
        return first_match(operator, texts_of(call.output), operand)
    if selector.startswith("env."):
        raw = call.env[selector.removeprefix("env.")]
        if operator in ("equals", "in"):
            return first_match(operator, [raw, value], operand)
        if operator in ("not_equals", "not_in"):
            either = first_match(operator.removeprefix("not_"), [raw, value], operand)
            return FALSE if either == TRUE else TRUE
    return operator_verdict(operator, value, operand)


def first_match(operator: str, values: Iterable[Any], operand: Any) -> str:
    for value in values:
        found = operator_verdict(operator, value, operand)
        if found != FALSE:
            return found
    return FALSE


def operator_verdict(operator: str, value: Any, operand: Any) -> str:
    """
    One operator on a value that is there.
    """
    if operator in EQUALITY:
        return TRUE if EQUALITY[operator](value, operand) else FALSE
    if operator in TEXT:
        if not isinstance(value, str):
            return ERROR
        if operator.startswith("matches") and len(value) > LONGEST_SEARCHED_TEXT:
            return ERROR
        return TRUE if TEXT[operator](value, operand) else FALSE
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        return ERROR
    return TRUE if NUMERIC[operator](value, operand) else FALSE


def alike(left: Any, right: Any) -> bool:
    return bool(with_type(left) == with_type(right))


def with_type(value: Any) -> Any:
    """
    The value with its kind beside it, so that ``==`` tells ``True`` from ``1`` at every depth.
    """
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, (int, float)):
        return ("number", value)
    if isinstance(value, (list, tuple)):
        return ("list", [with_type(item) for item in value])
    if isinstance(value, Mapping):
        return ("map", {key: with_type(item) for key, item in value.items()})
    return ("other", value)


EQUALITY: dict[str, Callable[[Any, Any], bool]] = {
    "equals": alike,
    "not_equals": lambda value, operand: not alike(value, operand),
    "in": lambda value, operand: any(alike(value, item) for item in operand),
    "not_in": lambda value, operand: not any(alike(value, item) for item in operand),
}
TEXT: dict[str, Callable[[str, Any], bool]] = {
    "contains": lambda value, operand: operand in value,
    "contains_any": lambda value, operand: any(item in value for item in operand),
    "starts_with": lambda value, operand: value.startswith(operand),
    "ends_with": lambda value, operand: value.endswith(operand),
    "matches": lambda value, operand: re.search(operand, value) is not None,
    "matches_any": lambda value, operand: any(re.search(item, value) for item in operand),
}
NUMERIC: dict[str, Callable[[float, float], bool]] = {
    "gt": lambda value, operand: value > operand,
    "gte": lambda value, operand: value >= operand,
    "lt": lambda value, operand: value < operand,
    "lte": lambda value, operand: value <= operand,
}


# --- selectors -----------------------------------------------------------------------------------


def select(selector: str, call: Call) -> Any:
    """
    The value that a selector names; None when it is missing.
    """
    root, _, rest = selector.partition(".")
    path = rest.split(".")
    if selector == "environment":
        return call.environment
    if selector == "tool.name":
        return call.tool
    if root in ("args", "metadata", "principal"):
        return step_down(getattr(call, root), path)
    if root == "env":
        return coerced(call.env.get(rest))
    if selector == "output.text":
        return texts_of(call.output)[0] if call.output is not None else None
    assert root == "result", selector
    return result_field(call.output, path)


def step_down(value: Any, path: list[str]) -> Any:
    for step in path:
        if not isinstance(value, Mapping) or step not in value:
            return None
        value = value[step]
    return value


def result_field(output: Any, path: list[str]) -> Any:
    if isinstance(output, Mapping):
        return step_down(output, path)
    if isinstance(output, str):
        return output if path == ["output"] else None
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        fields = {item.name: getattr(output, item.name) for item in dataclasses.fields(output)}
        return step_down(fields, path)
    return output if path == ["value"] else None


def texts_of(output: Any) -> list[str]:
    if isinstance(output, (bytes, bytearray)):
        return [output.decode("utf-8", "replace")]
    if isinstance(output, (dict, list, tuple)):
        return [str(output), json.dumps(output, ensure_ascii=False, separators=(",", ":"), default=str)]
    return [str(output)]


def coerced(text: str | None) -> Any:
    if text is None:
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if math.isfinite(number) else text
    return text


# --- rules ---------------------------------------------------------------------------------------


def concerning(ruleset: Data, kind: str, tool: str) -> list[Data]:
    """
    The enabled rules of one type that concern a tool, in document order.
    """
    found = []
    for rule in ruleset["rules"]:
        if rule["type"] == kind and rule.get("enabled", True):
            patterns = rule.get("tools") or [rule.get("tool", "*")]
            if any(fnmatchcase(tool, pattern) for pattern in patterns):
                found.append(rule)
    return found


def observed(ruleset: Data, rule: Data) -> bool:
    return bool(rule.get("mode", ruleset["defaults"]["mode"]) == "observe")


@dataclass
class Evaluation:
    """
    What a dry run says; ``rules`` has (id, verdict, whether it is only observed) for each rule.
    """

    decision: str
    rules: list[tuple[str, str, bool]]
    block_reasons: list[str]
    warn_reasons: list[str]
    would_ask: bool
    policy_error: bool


def evaluate(ruleset: Data, call: Call) -> Evaluation:
    """
    Judge every pre rule, and every post rule when there is an output.
    """
    post = [] if call.output is NO_OUTPUT or call.output is None else concerning(ruleset, "post", call.tool)
    judged = [(rule, verdict(rule["when"], call)) for rule in [*concerning(ruleset, "pre", call.tool), *post]]
    counted = [(rule, found) for rule, found in judged if found != FALSE and not observed(ruleset, rule)]
    before = [rule["then"] for rule, _ in counted if rule["type"] == "pre"]
    after = [rule["then"] for rule, _ in counted if rule["type"] == "post"]
    return Evaluation(
        decision="block" if before else "warn" if after else "allow",
        rules=[(rule["id"], found, observed(ruleset, rule)) for rule, found in judged],
        block_reasons=[then["message"] for then in before],
        warn_reasons=[then["message"] for then in after],
        would_ask=bool(before) and all(then["action"] == "ask" for then in before),
        policy_error=any(found == ERROR for _, found in counted),
    )
