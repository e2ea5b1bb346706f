"""
Editing JSON as text: what is inserted or removed changes, every other byte stays.

Comments and trailing commas are understood, because some hosts allow them.  A document that means different things
to different readers (a key twice) is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, TypeAlias

Path: TypeAlias = Sequence[str | int]

_MAX_DEPTH = 100

_GAP = re.compile(r"(?:[ \t\r\n]+|//[^\r\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_PLAIN = re.compile(r"[^\s,\]}/\"]+")
_INDENT = re.compile(r"[ \t]*")


class SettingsProblem(ValueError):  # noqa: N818  the text is for people
    """
    The text cannot be edited; says why and where.
    """


@dataclass(frozen=True, slots=True)
class Value:
    """
    A value in the text.

    Attributes:
        kind: ``object``, ``array`` or ``plain``.
        start: Offset of its first character.
        end: Offset after its last character.
        members: What is in it, in order.
    """

    kind: Literal["object", "array", "plain"]
    start: int
    end: int
    members: tuple[Member, ...] = ()

    def member(self, key: str | int) -> Member | None:
        """
        The member of an object with a key, or of an array at an index.
        """
        if isinstance(key, int):
            return self.members[key] if key < len(self.members) else None
        return next((member for member in self.members if member.key == key), None)


@dataclass(frozen=True, slots=True)
class Member:
    """
    An entry of an object or array: its key if it has one, its value, and the offset where it starts.
    """

    start: int
    key: str | None
    value: Value
    end: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "end", self.value.end)


# --- reading ------------------------------------------------------------------------------------


def parse(text: str) -> Value:
    """
    Find out where the values of a document stand.

    Raises:
        SettingsProblem: It is not JSON, not even with comments and trailing commas, or holds a key twice.
    """
    return _Reader(text).document()


def find(text: str, path: Path) -> Value | None:
    """
    The value that keys and indexes from the root lead to; None when there is none.

    Raises:
        SettingsProblem: The text cannot be read.
    """
    value = parse(text)
    for key in path:
        member = value.member(key)
        if member is None:
            return None
        value = member.value
    return value


def data_of(text: str, value: Value) -> Any:
    """
    What a value means.
    """
    if value.kind == "object":
        return {member.key: data_of(text, member.value) for member in value.members}
    if value.kind == "array":
        return [data_of(text, member.value) for member in value.members]
    return json.loads(text[value.start : value.end])


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 1 if text.startswith("\ufeff") else 0

    def document(self) -> Value:
        self._gap()
        value = self._value(0)
        self._gap()
        if self._at < len(self._text):
            self._refuse("there is more text after the document")
        return value

    def _value(self, depth: int) -> Value:
        if depth > _MAX_DEPTH:
            self._refuse("the document is nested too deeply")
        start, first = self._at, self._text[self._at : self._at + 1]
        if first in ("{", "["):
            self._at += 1
            members = self._members(first, depth)
            return Value("object" if first == "{" else "array", start, self._at, members)
        found = _STRING.match(self._text, start) if first == '"' else _PLAIN.match(self._text, start)
        try:
            if found is None:
                raise ValueError
            json.loads(found[0])
        except ValueError:
            self._refuse("a value is expected here")
        self._at = found.end()
        return Value("plain", start, self._at)

    def _members(self, opening: str, depth: int) -> tuple[Member, ...]:
        closing = "}" if opening == "{" else "]"
        members: list[Member] = []
        keys: set[str] = set()
        while True:
            self._gap()
            if self._take(closing):
                return tuple(members)
            start, key = self._at, None
            if opening == "{":
                key = self._key()
                if key in keys:
                    self._refuse(f"the key {json.dumps(key)} stands here a second time; remove one")
                keys.add(key)
            members.append(Member(start, key, self._value(depth + 1)))
            self._gap()
            if not self._take(",") and self._text[self._at : self._at + 1] != closing:
                self._refuse(f'"," or "{closing}" is expected here')

    def _key(self) -> str:
        found = _STRING.match(self._text, self._at)
        if found is None:
            self._refuse("a key in double quotes is expected here")
        try:
            key: str = json.loads(found[0])
        except ValueError:
            self._refuse("this key is not valid")
        self._at = found.end()
        self._gap()
        if not self._take(":"):
            self._refuse('":" is expected here')
        self._gap()
        return key

    def _gap(self) -> None:
        found = _GAP.match(self._text, self._at)
        assert found is not None  # it also matches nothing
        self._at = found.end()

    def _take(self, mark: str) -> bool:
        if self._text.startswith(mark, self._at):
            self._at += 1
            return True
        return False

    def _refuse(self, message: str) -> NoReturn:
        before = self._text[: self._at]
        line = before.count("\n") + 1
        column = self._at - (before.rfind("\n") + 1) + 1
        raise SettingsProblem(f"line {line}, column {column}: {message}")


# --- inserting ----------------------------------------------------------------------------------


def append(text: str, path: Path, element: Any) -> str:
    """
    Put an element at the end of an array; the array and the objects on the way are made where they are missing.

    Args:
        text: A document whose root is an object.
        path: Keys from the root to the array, no indexes.
        element: What to insert.

    Raises:
        SettingsProblem: The text cannot be read, or something else stands on the way.
    """
    for depth, key in enumerate(path):
        container = find(text, path[:depth])
        assert container is not None  # each step was found before the next one is taken
        _expect(container, "object", path[:depth])
        if container.member(key) is None:
            made: Any = [element]
            for name in reversed(path[depth + 1 :]):
                made = {name: made}
            return _insert(text, container, made, str(key))
    array = find(text, path)
    assert array is not None
    _expect(array, "array", path)
    return _insert(text, array, element)


def set_member(text: str, key: str, data: Any) -> str:
    """
    Add a member to the root object, unless there is one with that key.

    Raises:
        SettingsProblem: The text cannot be read, or its root is no object.
    """
    root = parse(text)
    _expect(root, "object", ())
    return text if root.member(key) else _insert(text, root, data, key)


def replace(text: str, value: Value, data: Any) -> str:
    """
    Put something else in the place of a value.
    """
    return text[: value.start] + _written(text, data, _indent_at(text, value.start)) + text[value.end :]


def _expect(value: Value, kind: str, path: Path) -> None:
    if value.kind != kind:
        where = f'"{".".join(map(str, path))}"' if path else "the document"
        raise SettingsProblem(f"{where} is not an {kind}; correct it first")


def _insert(text: str, container: Value, data: Any, key: str | None = None) -> str:
    name = "" if key is None else f"{json.dumps(key)}: "
    newline = _newline(text)
    if container.members:
        last = container.members[-1]
        between = text[container.start + 1 : container.members[0].start]
        if "\n" in between or "\r" in between:
            indent = _indent_at(text, container.members[0].start)
            added = f",{newline}{indent}{name}{_written(text, data, indent)}"
        else:
            added = f", {name}{json.dumps(data, ensure_ascii=False)}"
        return text[: last.end] + added + text[last.end :]
    outer = _indent_at(text, container.start)
    indent = outer + _unit(text)
    inner = text[container.start + 1 : container.end - 1]
    rest = f"{newline}{outer}" if not inner.strip() else inner
    added = f"{newline}{indent}{name}{_written(text, data, indent)}"
    return text[: container.start + 1] + added + rest + text[container.end - 1 :]


def _written(text: str, data: Any, indent: str) -> str:
    lines = json.dumps(data, indent=_unit(text), ensure_ascii=False).split("\n")
    return f"{_newline(text)}{indent}".join(lines)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _unit(text: str) -> str:
    """
    By how much the document indents: what its first indented line has.
    """
    found = re.search(r"\n([ \t]+)\S", text)
    return found[1] if found else "  "


def _indent_at(text: str, offset: int) -> str:
    start = max(text.rfind("\n", 0, offset), text.rfind("\r", 0, offset)) + 1
    found = _INDENT.match(text, start)
    return found[0] if found else ""


# --- removing -----------------------------------------------------------------------------------


def remove(text: str, path: Path) -> str:
    """
    Take a value out of the object or array around it, and then the containers on the way that have become empty.

    Args:
        text: A document.
        path: Keys and indexes from the root to the value, at least one.

    Raises:
        SettingsProblem: The text cannot be read, or there is no such value.
    """
    *around, last = path
    container = find(text, around)
    member = container.member(last) if container is not None else None
    if container is None or member is None:
        raise SettingsProblem(f'there is no "{".".join(map(str, path))}"')
    text = _without(text, container, container.members.index(member))
    emptied = find(text, around)
    if emptied is None or not around or text[emptied.start + 1 : emptied.end - 1].strip():
        return text  # the root stays, and what still holds something, if only a comment
    return remove(text, around)


def _without(text: str, container: Value, index: int) -> str:
    """
    Remove a member with its comma and the space before it; comments beside it stay.
    """
    members = container.members
    begin = members[index - 1].end if index else container.start + 1
    end = members[index + 1].start if index + 1 < len(members) else container.end - 1
    before, after = text[begin : members[index].start], text[members[index].end : end]
    if index:  # the comma before it goes
        before = _without_comma(before)
    else:  # the comma after it goes, if there is one
        after = _without_comma(after)
    if not before.strip():
        # The space before the first of several members stays for the next one.
        keep = before if index == 0 and len(members) > 1 else ""
        return text[:begin] + keep + (after.lstrip() if index == 0 else after) + text[end:]
    return text[:begin] + before + after + text[end:]


def _without_comma(gap: str) -> str:
    at = _comma_in(gap)
    return gap if at < 0 else gap[:at] + gap[at + 1 :]


def _comma_in(gap: str) -> int:
    """
    Where the comma stands in what lies between two members, outside comments; -1 when there is none.
    """
    found = _GAP.match(gap)
    at = found.end() if found else 0
    return at if gap[at : at + 1] == "," else -1
