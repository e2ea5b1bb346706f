"""
Cutting an event that is too large, the longest texts first, so that what remains says most.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from edictum_console.domains.events.screening import shortened

LARGEST_EVENT = 256 * 1024

_SHORTEST = 200
_NOTE = "[too large to keep]"


def fitted(details: dict[str, Any], reason: str | None) -> tuple[str, str | None]:
    """
    Return an event's details as JSON, and its reason, small enough.

    Args:
        details: The fields; parts of them are changed.
        reason: Why it was decided so.
    """
    whole: dict[str, Any] = {"reason": reason, "details": details, "truncated": True}
    excess = len(msgspec.json.encode(whole)) - LARGEST_EVENT
    texts = sorted(_texts(whole), key=lambda found: len(found[2]), reverse=True)
    for container, key, text in texts:
        if excess <= 0 or len(text) <= _SHORTEST:
            break
        # As long as may be, but in one step: a character can take up to six bytes, and less is left than needed.
        container[key] = shortened(text, max(_SHORTEST, len(text) - excess))
        excess -= len(msgspec.json.encode(text)) - len(msgspec.json.encode(container[key]))
    fields: dict[str, Any] = whole["details"]
    sizes = {name: len(msgspec.json.encode(value)) for name, value in fields.items()}
    for name in sorted(sizes, key=lambda name: sizes[name], reverse=True):
        if excess <= 0:
            break
        fields[name] = _NOTE
        excess -= sizes[name] - len(_NOTE) - 2
    if excess > 0:  # the names alone are too large
        fields = {}
    return msgspec.json.encode({**fields, "truncated": True}).decode(), whole["reason"]


def _texts(value: Any) -> Iterator[tuple[Any, Any, str]]:
    """
    All texts in a value that is no text, each with its place.
    """
    level = [value]
    while level:
        container = level.pop()
        for key, inner in container.items() if isinstance(container, dict) else enumerate(container):
            if isinstance(inner, str):
                yield container, key, inner
            elif isinstance(inner, dict | list):
                level.append(inner)
