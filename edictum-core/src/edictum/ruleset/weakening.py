"""
Whether a rule became weaker in a later layer or in a ruleset that extends another.

A change counts as weaker unless it is certain that the new rule fires whenever the old one did, and then does at least
as much.  What cannot be told is therefore weaker.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass

from edictum.globs import glob_matcher, is_glob
from edictum.ruleset.coverage import Coverage, covers_tools, simplify
from edictum.ruleset.syntax import (
    PostRule,
    PreRule,
    Rule,
    Ruleset,
    SandboxRule,
    SessionRule,
)
from edictum.tools import SideEffect

_STRENGTH = {"warn": 0, "redact": 1, "ask": 1, "block": 2}
_HELD_BACK = (SideEffect.PURE, SideEffect.READ)
_BARS = ("strict_interpreters", "require_match", "block_private")  # switches that close something
_DOORS = ("allow_pipelines", "allow_userinfo")  # and those that open something


@dataclass(frozen=True, slots=True)
class Weakening:
    """
    A rule that became weaker.

    Attributes:
        rule_id: The rule.
        weakened_by: Label of the layer, or name of the ruleset, that did it.
        how: What changed, in words.
        locked: Whether the rule was locked, so that this is an error.
    """

    rule_id: str
    weakened_by: str
    how: str
    locked: bool = False


def find_weakenings(before: Ruleset, after: Ruleset, label: str, locked: Set[str]) -> Iterator[Weakening]:
    """
    Compare what was in force before a layer with what is in force after it.

    Args:
        before: The ruleset without the layer.
        after: The ruleset with it.
        label: What to call the layer.
        locked: Ids of the rules that must not become weaker.
    """
    now = {rule.id: rule for rule in after.rules}
    for old in before.rules:
        new = now.get(old.id)
        hows = ["it is disabled"] if new is None else [*_weaker(old, new), *_weaker_tools(old, before, after)]
        for how in hows:
            yield Weakening(old.id, label, how, old.id in locked)


def _weaker(old: Rule, new: Rule) -> Iterator[str]:
    if old.mode == "enforce" and new.mode == "observe":
        yield "it only observes"
    if isinstance(old, PreRule) and isinstance(new, PreRule):
        yield from _weaker_scope(old, new)
        yield from _weaker_action(old.action, new.action)
        yield from _weaker_answer(new.action == "ask", old.timeout_action, new.timeout_action)
    elif isinstance(old, PostRule) and isinstance(new, PostRule):
        yield from _weaker_scope(old, new)
        yield from _weaker_action(old.action, new.action)
    elif isinstance(old, SessionRule) and isinstance(new, SessionRule):
        yield from _weaker_limits(old, new)
    elif isinstance(old, SandboxRule) and isinstance(new, SandboxRule):
        yield from _weaker_tool_patterns(old.tools, new.tools)
        yield from _weaker_sandbox(old, new)
        yield from _weaker_action(old.outside, new.outside)
        yield from _weaker_answer(new.outside == "ask", old.timeout_action, new.timeout_action)
    else:
        yield "it is a rule of another type"


def _weaker_scope(old: PreRule | PostRule, new: PreRule | PostRule) -> Iterator[str]:
    yield from _weaker_tool_patterns(old.tools, new.tools)
    if not Coverage().covers(simplify(new.when, new.tools), simplify(old.when, old.tools)):
        yield "its condition may fire for fewer calls"


def _weaker_tool_patterns(old: tuple[str, ...], new: tuple[str, ...]) -> Iterator[str]:
    for pattern in old:
        if not covers_tools(new, [pattern]):
            yield f"it no longer concerns the tool {pattern!r}"


def _weaker_action(old: str, new: str) -> Iterator[str]:
    if _STRENGTH[new] < _STRENGTH[old]:
        yield f"its action is {new} instead of {old}"


def _weaker_answer(asks: bool, old: str, new: str) -> Iterator[str]:
    if asks and old == "block" and new == "allow":
        yield "it allows the call when nobody answers"


def _weaker_limits(old: SessionRule, new: SessionRule) -> Iterator[str]:
    pairs: list[tuple[str, int | None, int | None]] = [
        ("max_tool_calls", old.max_tool_calls, new.max_tool_calls),
        ("max_attempts", old.max_attempts, new.max_attempts),
    ]
    for tool, number in old.max_calls_per_tool.items():
        pairs.append((f"max_calls_per_tool.{tool}", number, new.max_calls_per_tool.get(tool)))
    for name, before, after in pairs:
        if before is not None and after is None:
            yield f"its limit {name} is gone"
        elif before is not None and after is not None and after > before:
            yield f"its limit {name} is {after} instead of {before}"


def _weaker_sandbox(old: SandboxRule, new: SandboxRule) -> Iterator[str]:
    old_roots = {"within": set(old.within)}
    old_roots |= {name: {*old.within, *getattr(old, name)} for name in ("read_within", "write_within")}
    if any((old.within, old.read_within, old.write_within)):
        if not any((new.within, new.read_within, new.write_within)):
            yield "it no longer limits paths"
        for name, roots in old_roots.items():
            for root in sorted({*getattr(new, name)} - roots):
                yield f"{name} also holds {root!r}"
    for name in ("commands", "domains", "schemes", "path_dirs"):
        before, after = getattr(old, name), getattr(new, name)
        if before is not None and after is None:
            yield f"it no longer limits {name}"
        elif before is not None:
            for entry in sorted({*after} - {*before}):
                yield f"{name} also holds {entry!r}"
        elif name == "path_dirs" and after is not None:
            yield "path_dirs holds other folders than the usual ones"
    for name in ("not_within", "not_commands", "not_domains"):
        for entry in sorted({*getattr(old, name)} - {*getattr(new, name)}):
            yield f"{name} no longer holds {entry!r}"
    for name in _BARS:
        if getattr(old, name) and not getattr(new, name):
            yield f"{name} is off"
    for name in _DOORS:
        if getattr(new, name) and not getattr(old, name):
            yield f"{name} is on"
    if old.base != new.base:
        yield "relative paths start at another folder"


def _weaker_tools(old: Rule, before: Ruleset, after: Ruleset) -> Iterator[str]:
    """
    Say where a tool's new class means that a post rule can no longer hold its result back.
    """
    if not isinstance(old, PostRule) or old.action == "warn":
        return
    for tool, definition in before.tools.items():
        now = after.tools.get(tool)
        if now is None or definition.side_effect not in _HELD_BACK or now.side_effect in _HELD_BACK:
            continue
        if any(glob_matcher(pattern)(tool) or is_glob(tool) for pattern in old.tools):
            yield f"the tool {tool!r} is {now.side_effect.value}, so its result is only warned about"
