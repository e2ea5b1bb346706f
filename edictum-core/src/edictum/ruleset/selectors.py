"""
Selectors: which value of a tool call, its principal, its result or its surroundings a rule looks at.

A selector is parsed once, when a ruleset is compiled, and becomes a reader: a function of the call and,
for post rules, of the tool's result.  A reader returns None for a missing value; operators do not tell a
missing value from None either.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, TypeAlias

from edictum.objects import fields_of
from edictum.snapshot import FrozenDict
from edictum.tool_call import ToolCall

CustomSelector: TypeAlias = Callable[[ToolCall], Any]


class ToolResult:
    """
    What a tool returned, as post rules see it.
    """

    __slots__ = ("_texts", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self._texts: tuple[str, ...] | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """
        The text forms that ``output.text`` is judged on; empty for None.

        A mapping or a list has two, its ``str()`` and its compact JSON, so that a rule written for either
        one works.
        """
        if self._texts is None:
            self._texts = _text_forms(self.value)
        return self._texts

    def field(self, path: tuple[str, ...]) -> Any:
        """
        The value of ``result.<path>``.

        A mapping, dataclass or attrs instance is walked; text is ``result.output``; anything else is
        ``result.value``.
        """
        value = self.value
        if isinstance(value, Mapping):
            return walk(value, path)
        if isinstance(value, str):
            return value if path == ("output",) else None
        fields = fields_of(value)
        if fields is not None:
            return walk(fields, path)
        return value if path == ("value",) else None


Reader: TypeAlias = Callable[[ToolCall, ToolResult | None], Any]


def walk(value: Any, path: tuple[str, ...]) -> Any:
    """
    Follow a path through mappings and the declared fields of objects; None where a step is absent or neither.
    """
    for step in path:
        # Asked for its type first, because nearly every mapping here is a frozen one.
        if type(value) is not FrozenDict and not isinstance(value, Mapping):
            value = fields_of(value)
            if value is None:
                return None
        value = value.get(step)
    return value


def _text_forms(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, (bytes, bytearray)):
        return (bytes(value).decode("utf-8", "replace"),)
    text = str(value)
    if isinstance(value, (Mapping, list, tuple)) or fields_of(value) is not None:
        try:
            return (text, json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain))
        except (TypeError, ValueError, RecursionError):
            return (text,)  # not JSON, for example a tuple as key: the str() form is complete
    return (text,)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return list(value)
    fields = fields_of(value)
    return str(value) if fields is None else fields


def split(selector: str) -> tuple[str, tuple[str, ...]]:
    """
    Split a selector into its root and the path below it.
    """
    root, *path = selector.split(".")
    return root, tuple(path)


def compile_selector(
    selector: str, *, custom: Mapping[str, CustomSelector], environ: Mapping[str, str]
) -> Reader | None:
    """
    Make the reader of a selector.

    Args:
        selector: As written in the ruleset.
        custom: Registered selectors by root.
        environ: Where ``env.*`` is read, at each call.

    Returns:
        The reader, or None when no such selector exists.
    """
    root, path = split(selector)
    if selector == "environment":
        return lambda call, result: call.environment
    if selector == "tool.name":
        return lambda call, result: call.tool_name
    if selector == "output.text":
        return lambda call, result: (result.texts or (None,))[0] if result is not None else None
    if not path:
        return None
    if root == "args":
        return _args_reader(path)
    if root == "principal":
        return _principal_reader(path)
    if root == "result":
        return lambda call, result: result.field(path) if result is not None else None
    if root == "env":
        name = ".".join(path)
        return lambda call, result: coerce(environ.get(name))
    if root == "metadata":
        return lambda call, result: walk(call.metadata, path)
    function = custom.get(root)
    if function is not None:
        return lambda call, result: walk(_custom_value(root, function, call), path)
    return None


def _custom_value(root: str, function: CustomSelector, call: ToolCall) -> Any:
    value = function(call)
    if hasattr(value, "__await__"):
        if hasattr(value, "close"):
            value.close()
        raise TypeError(f"custom selector {root!r} is asynchronous; selectors are plain functions")
    return value


def _args_reader(path: tuple[str, ...]) -> Reader:
    if len(path) == 1:
        key = path[0]
        return lambda call, result: call.args.get(key)
    if len(path) == 2:
        return _pair_reader(*path)
    return lambda call, result: walk(call.args, path)


def _pair_reader(first: str, second: str) -> Reader:
    steps = (second,)

    def read(call: ToolCall, result: ToolResult | None) -> Any:
        value = call.args.get(first)
        return value.get(second) if type(value) is FrozenDict else walk(value, steps)

    return read


_PRINCIPAL_FIELDS = frozenset(("user_id", "service_id", "org_id", "role", "ticket_ref"))


def _principal_reader(path: tuple[str, ...]) -> Reader | None:
    name, *below = path
    if name == "claims" and below:
        if len(below) == 1:
            claim = below[0]
            return lambda call, result: None if call.principal is None else call.principal.claims.get(claim)
        steps = tuple(below)
        return lambda call, result: None if call.principal is None else walk(call.principal.claims, steps)
    if name in _PRINCIPAL_FIELDS and not below:
        return lambda call, result: getattr(call.principal, name, None)
    return None


def coerce(text: str | None) -> bool | int | float | str | None:
    """
    The value of an environment variable: boolean, integer, finite float, else the text.
    """
    if text is None:
        return None
    word = text.lower()
    if word in ("true", "false"):
        return word == "true"
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return text
    return number if isfinite(number) else text
