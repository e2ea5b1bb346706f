"""
Reading the files of ``edictum test``: cases with expectations, and plain lists of calls.

    cases:
      - id: reads-no-secrets
        tool: read_file
        args: {path: .env}
        expect: block
        match_contract: no-secret-files

Both kinds are held to the rules of every document, so an unknown or duplicate key is an error with its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from edictum.cli.inputs import problem_lines, reading
from edictum.cli.terminal import CommandError
from edictum.cli.trial import Outcome, SessionSoFar, TrialCall
from edictum.errors import EdictumConfigError
from edictum.ruleset.problems import Path, Problems
from edictum.tool_call import Principal

if TYPE_CHECKING:
    from edictum.ruleset.document import Document

_OUTCOMES = ("allow", "block", "ask", "warn", "redact")
_OUTPUT_OUTCOMES = ("warn", "redact")
_ABOUT_RULE = frozenset(("match_contract", "message_contains", "tags"))
_CASE_KEYS = _ABOUT_RULE.union(("id", "tool", "args", "expect", "principal", "environment", "session", "output"))
_CALL_KEYS = frozenset(("tool", "args"))
_PRINCIPAL_KEYS = frozenset(("user_id", "service_id", "org_id", "role", "ticket_ref", "claims"))
_SESSION_KEYS = frozenset(("tool_calls", "attempts", "per_tool"))
_MAX_CALLS = 10_000


@dataclass(frozen=True, slots=True)
class Case:
    """
    One call and what is expected of it.

    Attributes:
        id: Unique in its file.
        call: The call.
        expect: The expected outcome.
        rule: Rule that must be among those that decide, or None.
        message_contains: Text that one of their messages must contain, or None.
        tags: Tags that they must have.
        place: Where the case stands, ``file:line``.
    """

    id: str
    call: TrialCall
    expect: Outcome
    rule: str | None
    message_contains: str | None
    tags: frozenset[str]
    place: str


def read_cases(path: str, environment: str) -> list[Case]:
    """
    Read a file of cases.

    Args:
        path: The file, YAML or JSON.
        environment: Of the cases that name none.

    Raises:
        CommandError: The file cannot be read, or something in it is wrong.
    """
    document = _read(path)
    problems = Problems(document)
    data = document.data
    items: Any = []
    if type(data) is dict:
        problems.keys(data, (), frozenset(("cases",)), ("cases",))
        items = data.get("cases", [])
    else:
        problems.wrong_type((), 'a mapping with "cases"', data)
    reader = _CaseReader(problems, path, environment, document)
    found = [
        reader.case(item, ("cases", index))
        for index, item in _mappings(problems, items, ("cases",))
    ]  # fmt: skip
    _raise_if_any(problems, path)
    return found


def read_calls(path: str, environment: str) -> list[TrialCall]:
    """
    Read a list of calls.

    Args:
        path: The file, a list of ``{"tool", "args"}``.
        environment: Of all calls.

    Raises:
        CommandError: The file cannot be read, or something in it is wrong.
    """
    document = _read(path)
    problems = Problems(document)
    calls = []
    for index, item in _mappings(problems, document.data, ()):
        problems.keys(item, (index,), _CALL_KEYS, ("tool",))
        tool, args = problems.text(item, "tool", (index,)), problems.mapping(item, "args", (index,))
        calls.append(TrialCall(tool, args or {}, environment))
    _raise_if_any(problems, path)
    return calls


def _read(path: str) -> Document:
    from edictum.ruleset.document import read_file

    with reading(path):
        try:
            return read_file(path)
        except EdictumConfigError as error:
            raise CommandError(f"{path} cannot be used", *problem_lines([path], error)) from error


def _raise_if_any(problems: Problems, path: str) -> None:
    if problems:
        raise CommandError(f"{path} cannot be used", *problem_lines([path], problems.as_error()))


def _mappings(problems: Problems, items: Any, path: Path) -> list[tuple[int, dict[str, Any]]]:
    """
    The mappings of a list with their positions; whatever else is in it is a problem.
    """
    if not problems.items(items, path, longest=_MAX_CALLS):
        return []
    for index, item in enumerate(items):
        if type(item) is not dict:
            problems.wrong_type((*path, index), "a mapping", item)
    return [(index, item) for index, item in enumerate(items) if type(item) is dict]


class _CaseReader:
    def __init__(self, problems: Problems, file: str, environment: str, document: Document) -> None:
        self._problems = problems
        self._file = file
        self._environment = environment
        self._document = document
        self._first_use: dict[str, Path] = {}

    def case(self, item: dict[str, Any], path: Path) -> Case:
        problems = self._problems
        problems.keys(item, path, _CASE_KEYS, ("id", "tool", "expect"))
        expect = cast(Outcome, problems.choice(item, "expect", path, _OUTCOMES, default="allow"))
        self._refuse_contradictions(item, path, expect)
        call = TrialCall(
            tool=problems.text(item, "tool", path, shortest=0),
            args=problems.mapping(item, "args", path) or {},
            environment=problems.text(item, "environment", path, default=self._environment),
            principal=self._principal(item, path),
            session=self._session(item, path),
            output=item.get("output"),
        )
        line, _ = self._document.locate(path)
        return Case(
            id=self._id(item, path),
            call=call,
            expect=expect,
            rule=problems.text(item, "match_contract", path) or None,
            message_contains=problems.text(item, "message_contains", path) or None,
            tags=frozenset(problems.texts(item, "tags", path)),
            place=self._file if line is None else f"{self._file}:{line}",
        )

    def _id(self, item: Mapping[str, Any], path: Path) -> str:
        case_id = self._problems.text(item, "id", path)
        first = self._first_use.setdefault(case_id, path)
        if case_id and first != path:
            self._problems.add((*path, "id"), f"duplicate id; cases[{first[1]}] has it already, rename one")
        return case_id

    def _refuse_contradictions(self, item: Mapping[str, Any], path: Path, expect: Outcome) -> None:
        """
        Note expectations that no outcome could meet.
        """
        if expect == "allow":
            for key in sorted(_ABOUT_RULE & item.keys()):
                self._problems.add((*path, key), f'"{key}" is about the rule that decides, but "allow" needs none')
        if expect in _OUTPUT_OUTCOMES and item.get("output") is None:
            self._problems.add((*path, "expect"), f'"{expect}" happens to an output; give "output"')

    def _principal(self, item: Mapping[str, Any], path: Path) -> Principal | None:
        problems = self._problems
        principal = problems.mapping(item, "principal", path)
        if principal is None:
            return None
        path = (*path, "principal")
        problems.keys(principal, path, _PRINCIPAL_KEYS)
        names = _PRINCIPAL_KEYS - {"claims"}
        fields = {name: problems.text(principal, name, path) for name in sorted(names) if name in principal}
        return Principal(**fields, claims=problems.mapping(principal, "claims", path) or {})

    def _session(self, item: Mapping[str, Any], path: Path) -> SessionSoFar:
        """
        The state of the session; what is not given follows from what is.
        """
        problems = self._problems
        session = problems.mapping(item, "session", path)
        if session is None:
            return SessionSoFar()
        path = (*path, "session")
        problems.keys(session, path, _SESSION_KEYS)
        per_tool = problems.mapping(session, "per_tool", path) or {}
        counts = {tool: self._number(per_tool, tool, (*path, "per_tool"), 0) for tool in per_tool}
        tool_calls = self._number(session, "tool_calls", path, sum(counts.values()))
        return SessionSoFar(self._number(session, "attempts", path, tool_calls), tool_calls, counts)

    def _number(self, holder: Mapping[str, Any], key: str, path: Path, default: int) -> int:
        value = holder.get(key, default)
        if type(value) is int and value >= 0:
            return value
        self._problems.add((*path, key), f'"{key}" must be a whole number, 0 or more')
        return 0
