"""
Rule messages with placeholders such as ``{args.path}``.

Values come from a model or a tool and are shown to people and models, so each is made safe: a secret is
withheld, control characters are escaped, long text is cut.  Text that came from a value is never expanded
again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from edictum.redaction import REDACTED, RedactionPolicy
from edictum.ruleset.expressions import Names
from edictum.ruleset.selectors import Reader, ToolResult, split
from edictum.text import escape_controls, shorten
from edictum.tool_call import ToolCall

MAX_VALUE = 200
MAX_MESSAGE = 500
MAX_FILLED = 64

_PLACEHOLDER = re.compile(r"\{([^}]+)\}")

Message: TypeAlias = Callable[[ToolCall, ToolResult | None], str]


def compile_message(message: str, names: Names, redaction: RedactionPolicy) -> Message:
    """
    Make the function that fills in a message.

    Args:
        message: As written in the ruleset.
        names: What placeholders may refer to; an unknown one stays as written.
        redaction: Says which values must not be shown, by their name or by what they look like.

    Returns:
        A function of the call and the tool's result; the text has at most :data:`MAX_MESSAGE` characters.
    """
    parts: list[str | tuple[str, Reader]] = []
    selectors: set[str] = set()
    end = 0
    for token in _PLACEHOLDER.finditer(message):
        reader = names.reader(token[1])
        if reader is not None and any(redaction.is_sensitive_key(step) for step in split(token[1])[1]):
            reader = _withheld(reader)
        if reader is not None:
            selectors.add(token[1])
            parts += [message[end : token.start()], (token[0], reader)]
            end = token.end()
    parts.append(message[end:])
    if len(parts) == 1:
        return lambda call, result: message

    def fill(call: ToolCall, result: ToolResult | None) -> str:
        texts = [part if isinstance(part, str) else _value(*part, call, result) for part in parts]
        return shorten("".join(texts), MAX_MESSAGE)

    def _value(token: str, reader: Reader, call: ToolCall, result: ToolResult | None) -> str:
        value = reader(call, result)
        if value is None:
            return token
        text = str(value)
        if redaction.looks_secret(text):
            return REDACTED
        if isinstance(value, (dict, list, tuple)):  # values may be secret by the names inside
            text = str(redaction.redact_args(value))
        return shorten(escape_controls(text), MAX_VALUE)

    return _once_per_tool(fill) if selectors == {"tool.name"} else fill


def _once_per_tool(fill: Message) -> Message:
    """
    A message that depends on the name of the tool only; names come from a model, so few are remembered.
    """
    filled: dict[str, str] = {}

    def message(call: ToolCall, result: ToolResult | None) -> str:
        text = filled.get(call.tool_name)
        if text is None:
            if len(filled) >= MAX_FILLED:
                filled.clear()
            filled[call.tool_name] = text = fill(call, result)
        return text

    return message


def _withheld(reader: Reader) -> Reader:
    return lambda call, result: None if reader(call, result) is None else REDACTED
