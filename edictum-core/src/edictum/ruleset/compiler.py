"""
From the tree of a ruleset to a compiled policy.

Imported when a ruleset is loaded, not with the package: a program that only needs the names of edictum does not
wait for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from edictum.errors import ConfigProblem, EdictumConfigError
from edictum.redaction import RedactionPolicy
from edictum.ruleset.clues import clues_of
from edictum.ruleset.composition import CANDIDATE
from edictum.ruleset.expressions import Names, compile_expression
from edictum.ruleset.messages import compile_message
from edictum.ruleset.patterns import admit
from edictum.ruleset.policy import YAML_SOURCES, CompiledRule, Kind, Policy, Replace
from edictum.ruleset.selectors import split
from edictum.ruleset.syntax import Expression, Leaf, Not, PostRule, PreRule, Rule, Ruleset, SandboxRule, SessionRule
from edictum.sandbox.check import Sandbox
from edictum.snapshot import FrozenList


def compile_ruleset(
    ruleset: Ruleset,
    names: Names,
    redaction: RedactionPolicy,
    *,
    version: str | None,
    source: str | None = None,
) -> Policy:
    """
    Compile a validated ruleset.

    Args:
        ruleset: The tree.
        names: Custom operators and selectors, and the environment.
        redaction: Says which values messages must not show.
        version: Identity of the document, see :class:`Policy`.
        source: File name, for :meth:`Edictum.describe`.

    Raises:
        EdictumConfigError: An operator or selector is not registered, or a sandbox lists what cannot be read.
    """
    rules: list[CompiledRule] = []
    problems: list[ConfigProblem] = []
    for rule in ruleset.rules:
        try:
            rules.append(_compile_rule(rule, names, redaction))
        except EdictumConfigError as error:
            problems += error.errors
    if problems:
        raise EdictumConfigError.from_problems(problems)
    return Policy(
        name=ruleset.name,
        version=version,
        mode=ruleset.mode,
        rules=tuple(rules),
        tools=ruleset.tools,
        observability=ruleset.observability,
        source=source,
        disabled=ruleset.disabled,
    )


def _compile_rule(rule: Rule, names: Names, redaction: RedactionPolicy) -> CompiledRule:
    tags = FrozenList(rule.tags)
    observe = rule.mode == "observe"
    if isinstance(rule, SessionRule):
        text = rule.message
        return CompiledRule(
            id=rule.id,
            kind="session_contract",
            source=YAML_SOURCES["session_contract"],
            action="block",
            observe=observe,
            candidate=rule.id.endswith(CANDIDATE),
            message=lambda call, result: text,
            limits=rule,
            tags=tags,
            metadata=rule.metadata,
        )
    if isinstance(rule, SandboxRule):
        return _compile_sandbox(rule, names, redaction)
    kind: Kind = "precondition" if isinstance(rule, PreRule) else "postcondition"
    asking = rule if isinstance(rule, PreRule) else PreRule("", "enforce", "")
    return CompiledRule(
        id=rule.id,
        kind=kind,
        source=YAML_SOURCES[kind],
        action=rule.action,
        observe=observe,
        candidate=rule.id.endswith(CANDIDATE),
        tools=rule.tools,
        condition=compile_expression(rule.when, names),
        foreign=_is_foreign(rule.when, names),
        clues=clues_of(rule.when),
        message=compile_message(rule.message, names, redaction),
        timeout=asking.timeout,
        timeout_action=asking.timeout_action,
        redactions=_redactions(rule),
        tags=tags,
        metadata=rule.metadata,
    )


def _is_foreign(expression: Expression, names: Names) -> bool:
    if isinstance(expression, Leaf):
        return expression.operator in names.operators or split(expression.selector)[0] in names.selectors
    items = (expression.item,) if isinstance(expression, Not) else expression.items
    return any(_is_foreign(item, names) for item in items)


def _compile_sandbox(rule: SandboxRule, names: Names, redaction: RedactionPolicy) -> CompiledRule:
    try:
        sandbox = Sandbox(rule, names.environ)
    except ValueError as error:
        raise EdictumConfigError.from_problems([ConfigProblem(rule.path, str(error))]) from error
    return CompiledRule(
        id=rule.id,
        kind="sandbox",
        source=YAML_SOURCES["sandbox"],
        action=rule.outside,
        observe=rule.mode == "observe",
        candidate=rule.id.endswith(CANDIDATE),
        tools=rule.tools,
        condition=sandbox.outside,
        foreign=True,
        detail=sandbox.why,
        remark=sandbox.remark if sandbox.may_run_code else None,
        message=compile_message(rule.message, names, redaction),
        timeout=rule.timeout,
        timeout_action=rule.timeout_action,
    )


def _redactions(rule: PreRule | PostRule) -> tuple[Replace, ...]:
    if rule.action != "redact":
        return ()
    return tuple(_replacements(rule.when))


_LITERAL = frozenset(("equals", "contains", "starts_with", "ends_with"))


def _replacements(expression: Expression, positive: bool = True) -> Iterator[Replace]:
    # Only what a rule looks for is masked: a leaf under ``not`` describes what it tolerates.
    if isinstance(expression, Not):
        yield from _replacements(expression.item, not positive)
    elif not isinstance(expression, Leaf):
        for item in expression.items:
            yield from _replacements(item, positive)
    elif positive and split(expression.selector)[0] in ("output", "result"):
        operand = expression.operand
        if expression.operator == "matches":
            yield admit(operand).replace
        elif expression.operator == "matches_any":
            yield from (admit(source).replace for source in operand)
        elif expression.operator in _LITERAL and isinstance(operand, str) and operand:
            yield _literal(operand)
        elif expression.operator in ("contains_any", "in"):
            yield from (_literal(text) for text in operand if isinstance(text, str) and text)


def _literal(operand: str) -> Replace:
    return lambda text, mask, budget: text.replace(operand, mask)
