"""
Masking parts of a tool's result.

The result keeps its type: mappings, lists, tuples, dataclasses and pydantic models are masked leaf by leaf.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from edictum.objects import model_fields
from edictum.redaction import REDACTED
from edictum.ruleset.policy import Replace
from edictum.ruleset.selectors import ToolResult
from edictum.ruleset.time_budget import TimeBudget
from edictum.snapshot import MAX_DEPTH


class Unmaskable(Exception):  # noqa: N818  internal signal, never leaves the engine
    """
    The result cannot be masked completely, so it must be withheld.
    """


def mask_result(
    value: Any,
    replacements: Sequence[Replace],
    mask_secrets: Callable[[str], str],
    budget: TimeBudget | None = None,
) -> Any:
    """
    Mask everything that the replacements find.

    Args:
        value: The result.
        replacements: Functions of a text, the mask and the budget; none means to mask what looks like a secret.
        mask_secrets: See above.
        budget: How long the replacements may take; without one a budget of their own.

    Returns:
        The masked result.  Where masking text by text does not suffice, because a pattern matches across values or
        inside an object, the masked text of the whole result is returned instead.

    Raises:
        Unmaskable: A text is too long for a pattern, the time is spent, or the result is nested too deeply.
    """
    budget = budget or TimeBudget()

    def mask(text: str) -> str:
        if not replacements:
            return mask_secrets(text)
        for replace in replacements:
            text = replace(text, REDACTED, budget)
        return text

    try:
        try:
            masked = _mask(value, mask, 0)[0]
        except _KeysCollideError:
            masked = value
        if isinstance(masked, (str, bytes, bytearray)):
            return masked
        # What stands in objects, or reaches across several values, shows only in the text of the whole.
        for text in ToolResult(masked).texts:
            # Between the masks that are there already, because a pattern may match the mask itself.
            whole = REDACTED.join(mask(part) for part in text.split(REDACTED))
            if whole != text:
                return whole
        return masked
    except Exception as error:
        raise Unmaskable(str(error)) from error


class _KeysCollideError(Exception):
    """
    Two keys look the same when masked.
    """


def _mask(value: Any, mask: Callable[[str], str], depth: int) -> tuple[Any, bool]:
    if depth > MAX_DEPTH:
        raise ValueError("the result is nested too deeply")
    depth += 1
    if isinstance(value, str):
        masked = mask(value)
        return masked, masked != value
    if isinstance(value, (bytes, bytearray)):
        text = bytes(value).decode("utf-8", "surrogateescape")
        masked = mask(text)
        return (masked.encode("utf-8", "surrogateescape"), True) if masked != text else (value, False)
    if isinstance(value, dict):
        pairs = [(_mask(key, mask, depth), _mask(item, mask, depth)) for key, item in value.items()]
        if not any(key[1] or item[1] for key, item in pairs):
            return value, False
        plain_dict = {key[0]: item[0] for key, item in pairs}
        if len(plain_dict) < len(pairs):
            raise _KeysCollideError
        return plain_dict, True
    if isinstance(value, (list, tuple)):
        items = [_mask(item, mask, depth) for item in value]
        if not any(changed for _, changed in items):
            return value, False
        plain = [item for item, _ in items]
        if isinstance(value, list):
            return plain, True
        return (type(value)(*plain) if hasattr(value, "_fields") else tuple(plain)), True
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {item.name: _mask(getattr(value, item.name), mask, depth) for item in dataclasses.fields(value)}
        changes = {name: item for name, (item, changed) in fields.items() if changed}
        return (dataclasses.replace(value, **changes), True) if changes else (value, False)
    names = model_fields(value)
    if names:
        fields = {name: _mask(getattr(value, name), mask, depth) for name in names}
        changes = {name: item for name, (item, changed) in fields.items() if changed}
        return (value.model_copy(update=changes), True) if changes else (value, False)
    return value, False
