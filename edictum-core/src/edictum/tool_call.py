"""
A tool call as rules see it: :class:`ToolCall`, and the :class:`Principal` on whose behalf it is made.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from shlex import join as shell_join
from typing import Any, NamedTuple, Protocol

from edictum.clock import as_datetime
from edictum.snapshot import EMPTY, FrozenDict, Notes, freeze_args, thaw
from edictum.tools import BashClassifier, SideEffect, ToolRegistry

MAX_TOOL_NAME = 512

# Tools of coding agents whose path argument is lifted to ``file_path``; part of the published format.
FILE_TOOLS = frozenset(("Read", "Glob", "Grep", "Write", "Edit"))
FILE_PATH_KEYS = ("file_path", "filePath", "path")

# Control characters, path separators, bidirectional and zero-width controls, lone surrogates.
_BAD_NAME = re.compile("[\x00-\x1f\x7f-\x9f/\\\\\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Principal:
    """
    On whose behalf a tool is called.

    Attributes:
        user_id: Id of a person.
        service_id: Id of a service.
        org_id: Id of an organisation.
        role: Role name.
        ticket_ref: Reference to the ticket that authorises the work.
        claims: Anything else; copied and read-only.
    """

    user_id: str | None = None
    service_id: str | None = None
    org_id: str | None = None
    role: str | None = None
    ticket_ref: str | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "claims", freeze_args(self.claims, Notes()))

    def to_dict(self) -> dict[str, Any]:
        """
        All six fields as plain data.
        """
        return {
            "user_id": self.user_id,
            "service_id": self.service_id,
            "org_id": self.org_id,
            "role": self.role,
            "ticket_ref": self.ticket_ref,
            "claims": thaw(self.claims),
        }


@dataclass(frozen=True, slots=True)
class ToolCall:
    """
    One intended tool call, frozen.

    Attributes:
        tool_name: Name of the tool.
        args: Read-only copy of the arguments; :meth:`to_dict` gives a copy to change.
        call_id: Unique id of the call.
        run_id: The session id when the call goes through a guard.
        call_index: Position in the run, where the caller counts.
        parent_call_id: The call during which this one was made.
        side_effect: How dangerous the tool is.
        idempotent: Whether running it twice equals running it once.
        environment: Name of the environment, for example ``production``.
        timestamp: When the call was made, UTC.
        caller: Who made it, for example an agent's name.
        tool_use_id: Id that the model or framework gave to the call.
        principal: On whose behalf.
        bash_command: The command of a shell tool.
        file_path: The path of a file tool.
        metadata: Read-only map about the call, for ``metadata.*`` selectors.
        notes: What about this call could not be taken at face value.

    Raises:
        ValueError: The tool name is empty, too long, or holds characters no tool name has.
    """

    tool_name: str
    args: Mapping[str, Any] = field(default_factory=dict)
    call_id: str = field(default_factory=lambda: new_call_id())
    run_id: str = ""
    call_index: int = 0
    parent_call_id: str | None = None
    side_effect: SideEffect = SideEffect.IRREVERSIBLE
    idempotent: bool = False
    environment: str = "production"
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))
    caller: str = ""
    tool_use_id: str | None = None
    principal: Principal | None = None
    bash_command: str | None = None
    file_path: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        problem = name_problem(self.tool_name)
        if problem is not None:
            raise ValueError(f"Invalid tool_name: {problem}")
        notes = Notes()
        object.__setattr__(self, "args", freeze_args(self.args, notes))
        object.__setattr__(self, "metadata", freeze_args(self.metadata, notes))
        if notes:
            object.__setattr__(self, "notes", (*self.notes, *notes))

    def to_dict(self) -> dict[str, Any]:
        """
        The call as plain data that may be changed.
        """
        data = {name: getattr(self, name) for name in self.__slots__}
        data["args"] = thaw(self.args)
        data["metadata"] = thaw(self.metadata)
        data["side_effect"] = self.side_effect.value
        data["timestamp"] = self.timestamp.isoformat()
        data["principal"] = self.principal.to_dict() if self.principal else None
        data["notes"] = list(self.notes)
        return data


class _Timestamp:
    """
    Makes the datetime of :attr:`ToolCall.timestamp` when somebody asks for it; see :func:`edictum.clock.quick_now`.
    """

    def __init__(self, slot: Any) -> None:
        self._slot = slot

    def __get__(self, call: ToolCall | None, owner: type[ToolCall]) -> Any:
        return self if call is None else as_datetime(self._slot.__get__(call, owner))

    def __set__(self, call: ToolCall, moment: datetime | float) -> None:
        self._slot.__set__(call, moment)


ToolCall.timestamp = _Timestamp(ToolCall.timestamp)  # type: ignore[assignment, misc]


class _Draft:
    """
    A :class:`ToolCall` while it is written.

    A frozen dataclass pays about 2 microseconds to set its own fields.  Guards make a call per tool call,
    so they fill this twin of the same layout and then freeze it by assigning the class.
    """

    __slots__ = ToolCall.__slots__
    tool_name: str
    args: FrozenDict
    call_id: str
    run_id: str
    call_index: int
    parent_call_id: str | None
    side_effect: SideEffect
    idempotent: bool
    environment: str
    timestamp: datetime | float
    caller: str
    tool_use_id: str | None
    principal: Principal | None
    bash_command: str | None
    file_path: str | None
    metadata: FrozenDict
    notes: tuple[str, ...]


_new_draft: Callable[[type[_Draft]], _Draft] = object.__new__


# Keywords that callers may give beside name and arguments, and that are taken as they are.
_PLAIN_FIELDS = frozenset(
    (
        "bash_command",
        "call_id",
        "call_index",
        "caller",
        "environment",
        "file_path",
        "parent_call_id",
        "timestamp",
        "tool_use_id",
    )
)


class ToolFacts(Protocol):
    """
    What is known about a tool before it is called.
    """

    @property
    def tool_name(self) -> str:
        """
        Its name.
        """

    @property
    def side_effect(self) -> SideEffect:
        """
        How dangerous it is.
        """

    @property
    def idempotent(self) -> bool:
        """
        Whether running it twice equals running it once.
        """

    @property
    def shell(self) -> bool:
        """
        Whether its command is classified.
        """


class _RegistryFacts(NamedTuple):
    tool_name: str
    side_effect: SideEffect
    idempotent: bool
    shell: bool


def build_tool_call(
    tool: ToolFacts,
    args: Mapping[str, Any],
    run_id: str,
    environment: str,
    timestamp: datetime | float,
    principal: Principal | None,
    fields: Mapping[str, Any],
) -> ToolCall:
    """
    Build the call of a guard without checking the tool name.

    The caller looks the tool up once and decides what an invalid name means.

    Args:
        tool: What is known about the tool.
        args: The caller's arguments.
        run_id: Session id.
        environment: Name of the environment.
        timestamp: When the call is made; seconds are since 1970.
        principal: On whose behalf.
        fields: Other fields of :class:`ToolCall`; None counts as not given.

    Raises:
        TypeError: An unknown field, or arguments that are not a mapping.
        ValueError: Arguments nested too deeply.
    """
    if type(args) is not dict and not isinstance(args, Mapping):
        raise TypeError(f"arguments of a tool call are a mapping, not {type(args).__name__}")
    if principal is not None and not isinstance(principal, Principal):
        raise TypeError(f"a principal is a Principal, not {type(principal).__name__}")
    notes = Notes()
    draft = _new_draft(_Draft)
    draft.tool_name = tool_name = tool.tool_name
    draft.args = frozen = freeze_args(args, notes)
    draft.call_id = new_call_id()
    draft.run_id = run_id
    draft.call_index = 0
    draft.parent_call_id = None
    draft.side_effect = tool.side_effect
    draft.idempotent = tool.idempotent
    draft.environment = environment
    draft.timestamp = timestamp
    draft.caller = ""
    draft.tool_use_id = None
    draft.principal = principal
    draft.bash_command = None
    draft.file_path = None
    draft.metadata = EMPTY
    draft.notes = ()
    if tool.shell:
        _read_command(draft, frozen.get("command"), notes)
    elif tool_name in FILE_TOOLS:
        draft.file_path = _first_path(frozen)
    if fields:
        for name, value in fields.items():
            if name == "metadata":
                draft.metadata = freeze_args(value or {}, notes)
            elif name not in _PLAIN_FIELDS:
                raise TypeError(f"a tool call has no field {name!r}")
            elif value is not None:
                setattr(draft, name, value)
    if notes:
        draft.notes = tuple(notes)
    draft.__class__ = ToolCall  # type: ignore[assignment]
    return draft  # type: ignore[return-value]


def create_envelope(
    tool_name: str,
    tool_input: Mapping[str, Any],
    *,
    run_id: str = "",
    call_index: int = 0,
    registry: ToolRegistry | None = None,
    **fields: Any,
) -> ToolCall:
    """
    Build a :class:`ToolCall` the way a guard does, and check its name.

    Args:
        tool_name: Name of the tool.
        tool_input: Its arguments; copied.
        run_id: Session id.
        call_index: Position in the run.
        registry: Where to look up the side effect; without one every tool is irreversible.
        **fields: Other fields of :class:`ToolCall`.

    Raises:
        ValueError: The tool name is invalid, or the arguments are nested too deeply.
        TypeError: An unknown field.
    """
    problem = name_problem(tool_name)
    if problem is not None:
        raise ValueError(f"Invalid tool_name: {problem}")
    registry = registry or ToolRegistry()
    side_effect, idempotent = registry.classify(tool_name, tool_input)
    tool = _RegistryFacts(
        tool_name,
        SideEffect(fields.pop("side_effect", side_effect)),
        fields.pop("idempotent", idempotent),
        registry.is_shell(tool_name),
    )
    fields["call_index"] = call_index
    principal = fields.pop("principal", None)
    return build_tool_call(tool, tool_input, run_id, "production", datetime.now(UTC), principal, fields)


create_tool_call = create_envelope


def name_problem(tool_name: object) -> str | None:
    """
    What is wrong with a tool name, or None.
    """
    if not isinstance(tool_name, str):
        return f"a tool name is text, not {type(tool_name).__name__}"
    if not tool_name.strip():
        return "the name is empty"
    if len(tool_name) > MAX_TOOL_NAME:
        return f"the name is longer than {MAX_TOOL_NAME} characters"
    if tool_name != tool_name.strip():
        return f"{tool_name!r} starts or ends with a blank"
    if _BAD_NAME.search(tool_name):
        return f"{tool_name!a} holds a control character, a path separator or an invisible character"
    return None


def _read_command(draft: _Draft, command: Any, notes: list[str]) -> None:
    if isinstance(command, str):
        draft.bash_command = command
    elif isinstance(command, (list, tuple)) and all(isinstance(word, str) for word in command):
        draft.bash_command = shell_join(command)
    elif command is not None:
        notes.append(f"the command is {type(command).__name__}, not text; the call counts as irreversible")
        draft.side_effect = SideEffect.IRREVERSIBLE
        return
    draft.side_effect = BashClassifier.classify(draft.bash_command or "")


def _first_path(args: Mapping[str, Any]) -> str | None:
    for key in FILE_PATH_KEYS:
        value = args.get(key)
        if isinstance(value, str) and value:
            return value
    return None


class _IdSource:
    """
    Ids in the form of version 4 UUIDs: a random start for the process, then a counter in the last group.

    Drawing every id from the system's randomness would cost more than judging the call.  A fork draws a new
    start, so that parent and child never share an id.
    """

    __slots__ = ("_count", "_start")

    def __init__(self) -> None:
        self._begin()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        digits = os.urandom(16).hex()
        variant = "89ab"[int(digits[16], 16) & 3]
        self._start = f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-"
        # Between 2**44 and 2**47: always twelve digits, which spares the formatting, and room for 2**47 ids.
        self._count = itertools.count(int(digits[20:], 16) >> 1 | 1 << 44)

    def draw(self) -> str:
        return self._start + hex(next(self._count))[2:]


new_call_id: Callable[[], str] = _IdSource().draw
