"""
Read-only copies of what a tool is called with, and fingerprints of them.

A decision is taken on the copy, so nothing that happens meanwhile can change what was judged.  The copy
keeps types (an integer key stays an integer, a tuple a tuple) and reads like the original: it is made of
``dict`` and ``list`` subclasses that refuse to be changed.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NoReturn

MAX_DEPTH = 100
MAX_VALUES = 1_000_000  # in nested mappings and lists, each as often as it is reached

_ATOMS = frozenset((str, int, float, bool, type(None), bytes, complex))


class FrozenDict(dict[Any, Any]):
    """
    A ``dict`` that cannot be changed.
    """

    __slots__ = ()

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("this is the read-only copy that rules are judged on; use thaw() for a copy to change")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (dict(self),))

    def __copy__(self) -> FrozenDict:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenDict:
        return self


class FrozenList(list[Any]):
    """
    A ``list`` that cannot be changed.
    """

    __slots__ = ()

    _refuse = FrozenDict._refuse
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (list(self),))

    def __copy__(self) -> FrozenList:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenList:
        return self


class ReadOnlyProxy:
    """
    Stands for an argument that could not be copied; attributes can be read, not set.
    """

    __slots__ = ("_target",)

    def __init__(self, target: Any) -> None:
        object.__setattr__(self, "_target", target)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_target"), name)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise TypeError("this argument could not be copied and is read-only here")

    def __str__(self) -> str:
        return str(object.__getattribute__(self, "_target"))

    def __repr__(self) -> str:
        return repr(object.__getattribute__(self, "_target"))


EMPTY = FrozenDict()


class Notes(list[str]):
    """
    What could not be taken at face value while a call was copied, and how many more values may be copied.

    A list that holds another one many times, which holds a third one many times, is small and its copy is not.
    """

    _room = MAX_VALUES

    def spend(self, values: int) -> None:
        """
        Count the values of a nested mapping or list.

        Raises:
            ValueError: They are too many.
        """
        self._room -= values + 1
        if self._room < 0:
            raise ValueError(f"arguments hold more than {MAX_VALUES} values")


def freeze_args(args: Mapping[Any, Any], notes: Notes, depth: int = 1) -> FrozenDict:
    """
    Copy the arguments of a call.

    Args:
        args: The caller's arguments.
        notes: Receives a sentence for each argument that could not be copied.
        depth: How many mappings and lists there are around them, these included.

    Raises:
        ValueError: Nested deeper than :data:`MAX_DEPTH`, cyclic, or with more than :data:`MAX_VALUES` values.
    """
    # Copied at once, then mended where a value is not plain: few are not.
    frozen = FrozenDict(args)
    for key, value in frozen.items():
        kind = type(value)
        if kind in _ATOMS:
            continue
        # The key exists, so the loop goes on undisturbed.
        if kind is dict and depth <= MAX_DEPTH:
            notes.spend(len(value))
            _set(frozen, key, freeze_args(value, notes, depth + 1))
        else:
            _set(frozen, key, freeze(value, notes, depth))
    return frozen


_set = dict.__setitem__


def freeze(value: Any, notes: Notes, depth: int = 1) -> Any:
    """
    Copy one value; see :func:`freeze_args`.
    """
    kind = type(value)
    if kind in _ATOMS or kind is FrozenDict or kind is FrozenList:
        return value
    # Subclasses of plain values are judged as what they hold.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__index__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if depth > MAX_DEPTH:
        raise ValueError(f"arguments are nested deeper than {MAX_DEPTH} levels or refer to themselves")
    depth += 1
    if isinstance(value, (Mapping, list, tuple, set, frozenset)):
        notes.spend(len(value))
    if isinstance(value, Mapping):
        return freeze_args(value, notes, depth)
    if isinstance(value, list):
        return FrozenList([item if type(item) in _ATOMS else freeze(item, notes, depth) for item in value])
    if kind is tuple:
        return tuple(freeze(item, notes, depth) for item in value)
    if kind is set or kind is frozenset:
        return frozenset(freeze(item, notes, depth) for item in value)
    if kind is bytearray:
        return bytes(value)
    try:
        return copy.deepcopy(value)
    except Exception as error:
        notes.append(f"an argument of type {kind.__name__} cannot be copied ({type(error).__name__}); it is shared")
        return ReadOnlyProxy(value)


def thaw(value: Any) -> Any:
    """
    Turn a read-only copy into plain, changeable dicts and lists.
    """
    if isinstance(value, dict):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, list):
        return [thaw(item) for item in value]
    if type(value) is tuple:
        return tuple(thaw(item) for item in value)
    return value


def unchanged(live: Mapping[str, Any], frozen: Mapping[str, Any], *, strict: bool) -> bool:
    """
    Whether the caller's arguments still equal the copy that was judged.

    Args:
        live: The caller's arguments now.
        frozen: The copy.
        strict: Tell ``1``, ``1.0`` and ``True`` apart; used after a wait, when others had time to write.
    """
    if not strict:
        try:
            if live == frozen:
                return True
        except Exception:
            pass
    return fingerprint("", live) == fingerprint("", frozen)


def fingerprint(tool_name: str, args: Mapping[str, Any]) -> str:
    """
    Name one exact action: SHA-256 over the tool name and the arguments with their types.

    Mappings count without order, sequences with it; lists and tuples are the same.  An object counts by its
    type and attributes, or by its ``repr`` when that does not contain a memory address.

    Returns:
        64 lower-case hexadecimal digits.
    """
    from hashlib import sha256  # only approvals need it

    digest = sha256()
    digest.update(_encode(tool_name, 0))
    digest.update(_encode(args, 0))
    return digest.hexdigest()


def _encode(value: Any, depth: int) -> bytes:
    if depth > MAX_DEPTH:
        raise ValueError(f"arguments are nested deeper than {MAX_DEPTH} levels or refer to themselves")
    depth += 1
    if value is None or isinstance(value, (bool, int, float, complex)):
        return _chunk(type(value).__name__, repr(value).encode())
    if isinstance(value, str):
        return _chunk("str", value.encode("utf-8", "surrogatepass"))
    if isinstance(value, (bytes, bytearray)):
        return _chunk("bytes", bytes(value))
    if isinstance(value, Mapping):
        items = sorted(_encode(key, depth) + _encode(item, depth) for key, item in value.items())
        return _chunk("map", b"".join(items))
    if isinstance(value, (list, tuple)):
        return _chunk("list", b"".join(_encode(item, depth) for item in value))
    if isinstance(value, (set, frozenset)):
        return _chunk("set", b"".join(sorted(_encode(item, depth) for item in value)))
    if isinstance(value, ReadOnlyProxy):
        value = object.__getattribute__(value, "_target")
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    attributes = getattr(value, "__dict__", None)
    if attributes:
        return _chunk(kind, _encode(attributes, depth))
    text = repr(value)
    return _chunk(kind, b"" if " at 0x" in text else text.encode("utf-8", "surrogatepass"))


def _chunk(kind: str, body: bytes) -> bytes:
    return b"%s:%d:%s;" % (kind.encode(), len(body), body)
