"""
Looking once more for secrets, which agents should have taken out and older ones may not have.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from edictum.credentials import may_hide
from edictum.redaction import RedactionPolicy

_POLICY = RedactionPolicy()

# Names under which no secret stands; they come from agents, so their number and length are bounded.
_PLAIN_NAMES: set[str] = set()
_MOST_NAMES = 4096
_LONGEST_NAME = 32

# Deeper than this, the policy of the core looks, which knows where to stop.
_DEEPEST = 16


def screened(details: dict[str, Any], reason: str | None) -> tuple[str, str | None, bool]:
    """
    Take secrets out of an event's details, in place.

    Nearly every event has none: one search of its JSON says so, in which no sign of a secret is escaped.

    Args:
        details: The fields that hold what tools were given and returned.
        reason: Why it was decided so.

    Returns:
        The details as JSON, the reason, and whether anything was taken out.
    """
    text = msgspec.json.encode(details).decode()
    quiet = may_hide(text) is None
    if nothing_hidden(details, quiet) and not (reason is not None and hides(reason)):
        return text, reason, False
    shown = {name: _POLICY.redact_tree(value) for name, value in details.items()}
    shown_reason = None if reason is None else _POLICY.redact_text(reason)
    changed = shown != details or shown_reason != reason
    details.clear()
    details.update(shown)
    return msgspec.json.encode(details).decode(), shown_reason, changed


def shortened(text: str, length: int) -> str:
    """
    Shorten a text so that no part of a secret is left at its end.
    """
    return _POLICY.redact_text(text, length)


def hides(text: str) -> bool:
    """
    Whether there is a secret in a text.
    """
    return may_hide(text) is not None and _POLICY.looks_secret(text)


def nothing_hidden(value: dict[str, Any] | Iterable[Any], quiet: bool, depth: int = 0) -> bool:
    """
    Whether a value has no name that says that a secret stands under it, and no text with one.

    Args:
        value: An object, or several values.
        quiet: Whether it is known that no text in it has one.
        depth: In how many others it lies.

    Returns:
        False also where it is nested so deeply that this does not look.
    """
    if type(value) is dict:
        if not value.keys() <= _PLAIN_NAMES and not _remember_plain(value):
            return False
        value = value.values()
    for inner in value:
        kind = type(inner)
        if kind is dict or kind is list:
            if inner and (depth == _DEEPEST or not nothing_hidden(inner, quiet, depth + 1)):
                return False
        elif kind is str and not quiet and hides(inner):
            return False
    return True


def _remember_plain(names: Iterable[str]) -> bool:
    """
    Whether none of the names says that a secret stands under it.
    """
    if any(map(_POLICY.is_sensitive_key, names)):
        return False
    if len(_PLAIN_NAMES) > _MOST_NAMES:
        _PLAIN_NAMES.clear()
    _PLAIN_NAMES.update(name for name in names if len(name) <= _LONGEST_NAME)
    return True
