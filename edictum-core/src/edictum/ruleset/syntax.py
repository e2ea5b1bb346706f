"""
The tree of a ruleset: what a valid document says, before anything is compiled.

Every value here is frozen and complete: defaults are filled in, synonyms are resolved, a rule's mode
is its effective mode.  ``reader`` is the only module that builds these values from documents,
``policy`` the only one that turns them into something that can be evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from edictum.tools import SideEffect

API_VERSION = "edictum/v1"
KIND = "Ruleset"

Mode: TypeAlias = Literal["enforce", "observe"]
TimeoutAction: TypeAlias = Literal["block", "allow"]


@dataclass(frozen=True, slots=True)
class Leaf:
    """
    ``{selector: {operator: operand}}``; ``path`` is where it stands, for errors at compile time.
    """

    selector: str
    operator: str
    operand: Any
    path: str = ""


@dataclass(frozen=True, slots=True)
class All:
    """
    True when every item is.
    """

    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """
    True when one item is.
    """

    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """
    True when the item is not.
    """

    item: Expression


Expression: TypeAlias = Leaf | All | AnyOf | Not


@dataclass(frozen=True, slots=True)
class RuleHead:
    """
    What all rules have.

    Attributes:
        id: Unique in the document.
        mode: Effective mode: the rule's own, else the document's default.
        message: Text for the agent, 1..500 characters; pre and post messages may hold placeholders.
        tags: Free labels, copied to the decision.
        metadata: Free map, copied to the decision.
        path: Where the rule stands, for example ``rules[3]``.
    """

    id: str
    mode: Mode
    message: str
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    path: str = ""


@dataclass(frozen=True, slots=True)
class PreRule(RuleHead):
    """
    Judged before the tool runs.  ``timeout`` is in seconds and applies to ``ask``.
    """

    tools: tuple[str, ...] = ("*",)
    when: Expression = All(())
    action: Literal["block", "ask"] = "block"
    timeout: int = 300
    timeout_action: TimeoutAction = "block"


@dataclass(frozen=True, slots=True)
class PostRule(RuleHead):
    """
    Judged after the tool ran, with its result.
    """

    tools: tuple[str, ...] = ("*",)
    when: Expression = All(())
    action: Literal["warn", "redact", "block"] = "warn"


@dataclass(frozen=True, slots=True)
class SessionRule(RuleHead):
    """
    Limits on one session; at least one is set.  Keys of ``max_calls_per_tool`` may be globs.
    """

    max_tool_calls: int | None = None
    max_attempts: int | None = None
    max_calls_per_tool: Mapping[str, int] = field(default_factory=dict)


Rule: TypeAlias = PreRule | PostRule | SessionRule


@dataclass(frozen=True, slots=True)
class ToolDef:
    """
    How dangerous a tool is.
    """

    side_effect: SideEffect
    idempotent: bool = False


@dataclass(frozen=True, slots=True)
class Observability:
    """
    Where decision-log events go besides memory.

    ``stdout`` is None when the document does not say.  ``otel`` is the validated map as written.
    """

    stdout: bool | None = None
    file: str | None = None
    otel: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Ruleset:
    """
    One valid document.  Disabled rules are not in ``rules``; ``disabled`` names them.
    """

    name: str
    mode: Mode
    rules: tuple[Rule, ...]
    description: str | None = None
    tools: Mapping[str, ToolDef] = field(default_factory=dict)
    observability: Observability = field(default_factory=Observability)
    observe_alongside: bool = False
    disabled: tuple[str, ...] = ()
