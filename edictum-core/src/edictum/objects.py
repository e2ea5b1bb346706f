"""
What objects hold, for rules: the declared fields of dataclasses, attrs classes and pydantic models.

Other objects keep their values to themselves; rules see their text only.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from edictum.snapshot import ReadOnlyProxy

_NO_OBJECTS = (str, int, float, bytes, type(None), list, tuple, dict, set, frozenset)


def fields_of(value: Any) -> dict[str, Any] | None:
    """
    The fields of an object by name; None for anything without declared fields.
    """
    if type(value) in _NO_OBJECTS or isinstance(value, type):
        return None
    if type(value) is ReadOnlyProxy:
        value = object.__getattribute__(value, "_target")
    if dataclasses.is_dataclass(value):
        return {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    attributes = getattr(type(value), "__attrs_attrs__", None)
    if attributes is not None:
        return {item.name: getattr(value, item.name) for item in attributes}
    names = model_fields(value)
    return {name: getattr(value, name) for name in names} if names else None


def model_fields(value: Any) -> list[str]:
    """
    The names of a pydantic model's fields, which is known by what it can do; nothing for other objects.
    """
    declared = getattr(type(value), "model_fields", None)
    if not isinstance(declared, dict) or not hasattr(value, "model_copy"):
        return []
    return [*declared, *(getattr(value, "model_extra", None) or {})]
