"""
A compiled ruleset: every rule ready to be judged, nothing left to parse, look up or compile.

Rules of a YAML document and rules written in Python become the same :class:`CompiledRule`, so that the
engine knows one kind of rule only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from edictum.errors import EdictumConfigError
from edictum.globs import glob_matcher, is_glob
from edictum.snapshot import EMPTY, FrozenDict, FrozenList
from edictum.tool_call import ToolCall

if TYPE_CHECKING:
    from edictum.ruleset.expressions import Condition
    from edictum.ruleset.messages import Message
    from edictum.ruleset.selectors import Reader
    from edictum.ruleset.syntax import Mode, Observability, SessionRule, TimeoutAction, ToolDef
    from edictum.ruleset.time_budget import TimeBudget

Kind: TypeAlias = Literal["precondition", "postcondition", "sandbox", "session_contract"]
Action: TypeAlias = Literal["block", "ask", "warn", "redact"]
Replace: TypeAlias = Callable[[str, str, "TimeBudget | None"], str]

# No more than what every pattern searches, because a rule fires on a text that is too long for its pattern.
MAX_CLUE_CHARS = 5_000

YAML_SOURCES: dict[Kind, str] = {
    "precondition": "yaml_precondition",
    "postcondition": "yaml_postcondition",
    "sandbox": "yaml_sandbox",
    "session_contract": "yaml_session",
}


class Clue(NamedTuple):
    """
    Without which a leaf of an expression returns False and does not raise.

    A call without the field gives no clue.  One where the field holds a text of at most
    :data:`MAX_CLUE_CHARS` characters gives it if the text is one of ``whole`` or
    contains one of ``parts``.  Anything else in the field is a clue in any case.

    Attributes:
        selector: The field.
        read: Its reader; None for what the tool returned.
        whole: Texts.
        parts: Likewise.
    """

    selector: str
    read: Reader | None
    whole: frozenset[str]
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class CompiledRule:
    """
    One rule, ready to be judged.

    Exactly one of ``condition``, ``function`` and ``limits`` is set.

    Attributes:
        id: Rule id, or the function's name.
        kind: The published word for the type of rule.
        source: ``decision_source`` of its decisions.
        action: What it asks for when it fires.
        observe: Recorded only, never acted on.
        candidate: Judged beside the real decision to measure a planned ruleset.
        tools: Names and globs of the tools it concerns.
        message: Fills in the message.
        condition: When it fires.
        foreign: Whether the condition asks code of the user's own or the file system, which may say something else
            when they are asked again.
        clues: A call that gives none of them is one for which the condition returns False and does not raise; None
            where nothing like that is known.
        detail: What made it fire, for the decision log; asked after it has fired.
        remark: What is noteworthy about a call that it lets pass, for the decision log; None for most rules.
        function: The Python function that judges instead.
        when: Further condition of a Python rule.
        limits: The numbers of a session rule.
        timeout: Seconds an approval may take.
        timeout_action: What happens when nobody answered.
        redactions: What a redact rule masks: functions of text, mask and time budget.
        tags: Labels for the decision.
        metadata: Free map for the decision.
        passed: The record of the rule in the decision log when it does not fire; shared, read-only.
        facts: The metadata of its decisions: tags and metadata; shared, read-only.
    """

    id: str
    kind: Kind
    source: str
    action: Action
    message: Message
    observe: bool = False
    candidate: bool = False
    tools: tuple[str, ...] = ("*",)
    condition: Condition | None = None
    foreign: bool = False
    clues: tuple[Clue, ...] | None = None
    detail: Callable[[ToolCall], str | None] | None = None
    remark: Callable[[ToolCall], str | None] | None = None
    function: Callable[..., Any] | None = None
    when: Callable[[ToolCall], bool] | None = None
    limits: SessionRule | None = None
    timeout: int = 300
    timeout_action: TimeoutAction = "block"
    redactions: tuple[Replace, ...] = ()
    tags: FrozenList = field(default_factory=FrozenList)
    metadata: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    passed: FrozenDict = field(init=False)
    facts: FrozenDict = field(init=False)

    def __post_init__(self) -> None:
        record = {
            "name": self.id,
            "type": self.kind,
            "passed": True,
            "message": None,
            "action": self.action,
        }
        if self.observe or self.candidate:
            record["observed"] = True
        object.__setattr__(self, "passed", FrozenDict(record))
        object.__setattr__(self, "facts", FrozenDict({"tags": self.tags, **self.metadata}))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Policy:
    """
    A compiled ruleset.

    Attributes:
        name: Name of the ruleset; empty for a guard without one.
        version: SHA-256 of the document's bytes, or None.
        mode: The document's default mode.
        rules: All enabled rules in document order.
        tools: What the document says about tools.
        observability: Where its events go.
        source: File it was read from, or None.
        disabled: Ids of rules that are switched off.
    """

    name: str = ""
    version: str | None = None
    mode: Mode = "enforce"
    rules: tuple[CompiledRule, ...] = ()
    tools: Mapping[str, ToolDef] = field(default_factory=dict)
    observability: Observability | None = None
    source: str | None = None
    disabled: tuple[str, ...] = ()


def compile_python_rule(function: Callable[..., Any]) -> CompiledRule:
    """
    Turn a function marked by the decorators of :mod:`edictum.rules` into a rule.

    Raises:
        EdictumConfigError: The function is not marked, or its marks make no sense.
    """
    kind = getattr(function, "_edictum_type", None)
    name = str(getattr(function, "_edictum_id", None) or getattr(function, "__name__", type(function).__name__))
    if kind not in YAML_SOURCES or kind == "sandbox":
        raise EdictumConfigError(
            f"rules: {name!r} is not a rule; decorate it with @precondition, @postcondition or @session_contract"
        )
    tools = getattr(function, "_edictum_tools", None) or (getattr(function, "_edictum_tool", None) or "*",)
    action: Any = getattr(function, "_edictum_effect", None) or ("warn" if kind == "postcondition" else "block")
    allowed = {"postcondition": ("warn", "redact", "block"), "precondition": ("block", "ask")}.get(kind, ("block",))
    if action not in allowed:
        raise EdictumConfigError(f"rules: {name!r} has effect {action!r}; a {kind} has {' or '.join(allowed)}")
    mode = getattr(function, "_edictum_mode", None) or "enforce"
    if mode not in ("enforce", "observe"):
        raise EdictumConfigError(f"rules: {name!r} has mode {mode!r}; it is 'enforce' or 'observe'")
    return CompiledRule(
        id=name,
        kind=kind,
        source=str(getattr(function, "_edictum_source", None) or kind),
        action=action,
        message=lambda call, result: f"rule {name!r} could not be judged, so it counts as broken",
        observe=mode == "observe",
        candidate=bool(getattr(function, "_edictum_observe", False)),
        tools=tuple(tools),
        function=function,
        when=getattr(function, "_edictum_when", None),
        timeout=int(getattr(function, "_edictum_timeout", None) or 300),
        timeout_action=getattr(function, "_edictum_timeout_action", None) or "block",
        redactions=tuple(_pattern(item) for item in getattr(function, "_edictum_redact_patterns", None) or ()),
    )


def _pattern(item: str | re.Pattern[str]) -> Replace:
    if isinstance(item, str):
        from edictum.ruleset.patterns import admit

        return admit(item).replace
    return lambda text, mask, budget: item.sub(lambda _: mask, text)


class RuleTable:
    """
    Rules by tool name, in declared order.

    Rules with exact names cost nothing to calls of other tools: only rules with globs are tried.
    """

    __slots__ = ("_exact", "_globs", "rules")

    def __init__(self, rules: Iterable[CompiledRule]) -> None:
        self.rules = tuple(rules)
        self._exact: dict[str, list[tuple[int, CompiledRule]]] = {}
        self._globs: list[tuple[int, CompiledRule]] = []
        for position, rule in enumerate(self.rules):
            if any(is_glob(tool) for tool in rule.tools):
                self._globs.append((position, rule))
            else:
                for tool in dict.fromkeys(rule.tools):
                    self._exact.setdefault(tool, []).append((position, rule))

    def concerning(self, tool_name: str) -> tuple[CompiledRule, ...]:
        """
        The rules for one tool, in declared order.
        """
        found = list(self._exact.get(tool_name, ()))
        found += [
            (position, rule)
            for position, rule in self._globs
            if any(glob_matcher(tool)(tool_name) for tool in rule.tools)
        ]
        found.sort(key=lambda item: item[0])
        return tuple(rule for _, rule in found)
