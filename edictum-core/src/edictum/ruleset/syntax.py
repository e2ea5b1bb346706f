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
        locked: Whether a later layer that makes it weaker is an error.
    """

    id: str
    mode: Mode
    message: str
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    path: str = ""
    locked: bool = False


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


@dataclass(frozen=True, slots=True)
class SandboxRule(RuleHead):
    """
    Allow-lists of places, commands and hosts; what a call names outside of them makes the rule fire.

    Attributes:
        tools: Names and globs of the tools it concerns.
        within: Roots that a call may touch.
        read_within: More roots for calls that only read.
        write_within: More roots for calls that write.
        not_within: Roots inside them that stay closed.
        base: Where relative paths start; None for the directory of the process.
        commands: Commands that may run; None for every one.
        not_commands: Commands that may not; they win.
        domains: Hosts that may be reached; None for every one.
        not_domains: Hosts that may not; they win.
        outside: What happens to a call outside.
        timeout: Seconds an approval may take.
        timeout_action: What happens when nobody answered.
        allow_pipelines: Whether ``|`` may connect admitted commands.
        path_dirs: Where programs of a plain name are found; None for the usual directories.
        strict_interpreters: Whether commands that run other code are outside.
        require_match: Whether a call that names no path at all is outside.
        schemes: Schemes that a URL may have; None for every one.
        allow_userinfo: Whether a URL may hold a user name.
        block_private: Whether private addresses are outside unless they are named.
    """

    tools: tuple[str, ...] = ("*",)
    within: tuple[str, ...] = ()
    read_within: tuple[str, ...] = ()
    write_within: tuple[str, ...] = ()
    not_within: tuple[str, ...] = ()
    base: str | None = None
    commands: tuple[str, ...] | None = None
    not_commands: tuple[str, ...] = ()
    domains: tuple[str, ...] | None = None
    not_domains: tuple[str, ...] = ()
    outside: Literal["block", "ask"] = "block"
    timeout: int = 300
    timeout_action: TimeoutAction = "block"
    allow_pipelines: bool = False
    path_dirs: tuple[str, ...] | None = None
    strict_interpreters: bool = False
    require_match: bool = False
    schemes: tuple[str, ...] | None = None
    allow_userinfo: bool = False
    block_private: bool = False


Rule: TypeAlias = PreRule | PostRule | SessionRule | SandboxRule


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
