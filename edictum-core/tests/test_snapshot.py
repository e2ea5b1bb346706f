"""
Read-only copies of arguments, and fingerprints of them.
"""

from __future__ import annotations

import copy
import json
import pickle
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest
from edictum.snapshot import FrozenDict, FrozenList, Notes, fingerprint, freeze, freeze_args, thaw, unchanged
from hypothesis import given
from hypothesis import strategies as st

ATOMS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(-2, 2), st.text("ab1", max_size=2), st.binary(max_size=2)
)
KEYS = st.one_of(st.text("ab1", max_size=2), st.integers(-3, 3), st.booleans(), st.tuples(st.integers(0, 2)))
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(KEYS, inner, max_size=3),
        st.frozensets(ATOMS, max_size=3),
    ),
    max_leaves=6,
)
JSON_VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
ARGS = st.dictionaries(st.text("abc", max_size=2), VALUES, max_size=3)


def frozen(args: Any) -> FrozenDict:
    notes = Notes()
    result = freeze_args(args, notes)
    assert notes == []
    return result


# --- copies ---------------------------------------------------------------------------------------


def same_types(original: Any, copied: Any) -> bool:
    """
    Whether the copy reads like the original at every level.
    """
    if isinstance(original, dict):
        pairs = zip(original.items(), copied.items(), strict=True)
        return isinstance(copied, dict) and all(
            same_types(left[0], right[0]) and same_types(left[1], right[1]) for left, right in pairs
        )
    if isinstance(original, (list, tuple)):
        return isinstance(copied, type(original)) and all(map(same_types, original, copied))
    return type(original) is type(copied)


@pytest.mark.property
@given(ARGS)
def test_freeze_keeps_values_and_types(args: dict[str, Any]) -> None:
    found = frozen(args)

    assert args == found
    assert same_types(args, found)


def test_freeze_of_a_small_thing_that_unfolds_to_a_huge_one_is_refused() -> None:
    deep: Any = [0]
    for _ in range(60):
        deep = [deep, deep]
    wide: Any = {"x": [0] * 1_000}
    for _ in range(5):
        wide = {"x": [wide] * 1_000}

    for value in (deep, wide, (deep,), {"a": wide}):
        with pytest.raises(ValueError, match="more than 1000000 values"):
            freeze_args({"value": value}, Notes())


def test_freeze_takes_as_many_values_as_fit_into_a_large_call() -> None:
    assert len(freeze_args({"rows": [[number] for number in range(300_000)]}, Notes())["rows"]) == 300_000


@pytest.mark.property
@given(ARGS)
def test_thaw_undoes_freeze(args: dict[str, Any]) -> None:
    plain = thaw(frozen(args))

    assert args == plain
    assert type(plain) is dict
    assert same_types(args, plain)


@pytest.mark.property
@given(st.dictionaries(st.text(max_size=3), JSON_VALUES, max_size=3))
def test_freeze_is_written_as_the_same_json(args: dict[str, Any]) -> None:
    assert json.dumps(args) == json.dumps(frozen(args))


def test_freeze_reads_mappings_that_are_no_dict() -> None:
    found = frozen(MappingProxyType({"o": OrderedDict(a=1), "d": defaultdict(list, b=[2])}))

    assert found == {"o": {"a": 1}, "d": {"b": [2]}}
    assert [FrozenDict] * 2 == [type(value) for value in found.values()]
    with pytest.raises(KeyError):
        found["d"]["missing"]


def test_freeze_copies_objects() -> None:
    class Point:
        def __init__(self) -> None:
            self.at = [1]

    point = Point()
    found = frozen({"point": point})["point"]
    point.at.append(2)

    assert (Point, [1]) == (type(found), found.at)


def test_freeze_takes_a_frozen_value_as_it_is() -> None:
    value = frozen({"a": [1]})

    assert frozen({"x": value})["x"] is value


def test_freeze_cycle_is_refused() -> None:
    value: list[Any] = []
    value.append(value)

    with pytest.raises(ValueError, match="refer to themselves"):
        freeze(value, Notes())


DICT_CHANGES: dict[str, Callable[[Any], object]] = {
    "setitem": lambda d: d.__setitem__("a", 2),
    "delitem": lambda d: d.__delitem__("a"),
    "ior": lambda d: d.__ior__({"a": 2}),
    "clear": lambda d: d.clear(),
    "pop": lambda d: d.pop("a"),
    "pop default": lambda d: d.pop("z", None),
    "popitem": lambda d: d.popitem(),
    "setdefault": lambda d: d.setdefault("z", 1),
    "update": lambda d: d.update(a=2),
    "attribute": lambda d: setattr(d, "x", 1),
}
LIST_CHANGES: dict[str, Callable[[Any], object]] = {
    "setitem": lambda v: v.__setitem__(0, 2),
    "setitem slice": lambda v: v.__setitem__(slice(0, 1), [2]),
    "delitem": lambda v: v.__delitem__(0),
    "iadd": lambda v: v.__iadd__([2]),
    "imul": lambda v: v.__imul__(2),
    "append": lambda v: v.append(2),
    "clear": lambda v: v.clear(),
    "extend": lambda v: v.extend([2]),
    "insert": lambda v: v.insert(0, 2),
    "pop": lambda v: v.pop(),
    "remove": lambda v: v.remove(1),
    "reverse": lambda v: v.reverse(),
    "sort": lambda v: v.sort(),
    "attribute": lambda v: setattr(v, "x", 1),
}


@pytest.mark.parametrize("change", DICT_CHANGES.values(), ids=DICT_CHANGES)
def test_frozen_dict_refuses_every_change(change: Callable[[Any], object]) -> None:
    found = frozen({"inner": {"a": 1}})["inner"]

    with pytest.raises((TypeError, AttributeError)):
        change(found)
    assert found == {"a": 1}


@pytest.mark.parametrize("change", LIST_CHANGES.values(), ids=LIST_CHANGES)
def test_frozen_list_refuses_every_change(change: Callable[[Any], object]) -> None:
    found = frozen({"inner": [1]})["inner"]

    with pytest.raises((TypeError, AttributeError)):
        change(found)
    assert found == [1]


@pytest.mark.parametrize(("frozen_type", "base"), [(FrozenDict, dict), (FrozenList, list)])
def test_frozen_types_replace_every_method_that_changes(frozen_type: type, base: type) -> None:
    """
    A method that a later Python adds must not stay open: all public methods are either known to read or replaced.
    """
    reading = {"copy", "fromkeys", "get", "items", "keys", "values", "count", "index"}
    methods = {name for name in dir(base) if not name.startswith("_")} | {
        name for name in dir(base) if name in ("__setitem__", "__delitem__", "__ior__", "__iadd__", "__imul__")
    }

    assert methods - reading == {name for name in methods if name in vars(frozen_type)}


def test_frozen_copies_are_the_same_and_pickles_are_equal() -> None:
    found = frozen({"a": [1, {"b": (2,)}]})

    assert copy.copy(found) is found
    assert copy.deepcopy(found) is found
    assert copy.deepcopy(found["a"]) is found["a"] is copy.copy(found["a"])
    revived = pickle.loads(pickle.dumps(found))
    assert found == revived
    assert (FrozenDict, FrozenList) == (type(revived), type(revived["a"]))


# --- fingerprints ---------------------------------------------------------------------------------


def strict(value: Any) -> Any:
    """
    A value as a fingerprint should see it: with types, maps without order, tuples as lists.
    """
    if isinstance(value, dict):
        return ("map", frozenset((strict(key), strict(item)) for key, item in value.items()))
    if isinstance(value, (list, tuple)):
        return ("list", tuple(map(strict, value)))
    if isinstance(value, (set, frozenset)):
        return ("set", frozenset(map(strict, value)))
    return (type(value).__name__, repr(value))


@pytest.mark.property
@given(ARGS, ARGS)
def test_fingerprint_tells_exactly_what_differs_apart(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert (strict(left) == strict(right)) == (fingerprint("t", left) == fingerprint("t", right))


@pytest.mark.property
@given(ARGS)
def test_fingerprint_of_the_copy_is_that_of_the_original(args: dict[str, Any]) -> None:
    assert fingerprint("t", args) == fingerprint("t", frozen(args)) == fingerprint("t", copy.deepcopy(args))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (1, True),
        (1, 1.0),
        (1, "1"),
        (0.0, -0.0),
        (None, "None"),
        ("a", b"a"),
        ({"a": 1}, {"a": "1"}),
        ({1: "a"}, {"1": "a"}),
        ([1, 2], [2, 1]),
        ([1, 2], {1, 2}),
        ([[1], 2], [1, [2]]),
        (["ab", "c"], ["a", "bc"]),
        ([], {}),
        ([], None),
    ],
)
def test_fingerprint_of_different_types_or_shapes_differs(left: Any, right: Any) -> None:
    assert fingerprint("t", {"x": left}) != fingerprint("t", {"x": right})


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}),
        ({"a": [1, 2]}, {"a": (1, 2)}),
        ({"a": {1, 2}}, {"a": frozenset((2, 1))}),
        ({"a": b"x"}, {"a": bytearray(b"x")}),
        ({"a": float("nan")}, {"a": float("nan")}),
        ({"a": "\ud800"}, {"a": "\ud800"}),
    ],
)
def test_fingerprint_of_equal_content_is_equal(left: Any, right: Any) -> None:
    assert fingerprint("t", left) == fingerprint("t", right)


def test_fingerprint_counts_the_tool_name() -> None:
    found = {fingerprint("a", {}), fingerprint("b", {}), fingerprint("a", {"b": 1})}

    assert len(found) == 3
    assert {64} == {len(text) for text in found}


def test_fingerprint_of_an_object_follows_its_attributes() -> None:
    class Box:
        def __init__(self, content: Any) -> None:
            self.content = content

    class Crate(Box):
        pass

    prints = [fingerprint("t", {"x": thing}) for thing in (Box(1), Box(1), Box(True), Crate(1))]

    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


# --- comparison -----------------------------------------------------------------------------------


class Wary:
    """
    Compares by nothing: an object whose ``==`` raises.
    """

    def __init__(self, content: int) -> None:
        self.content = content

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("value", [1, [1, {"a": (2,)}], {3}, float("nan"), Wary(1), bytearray(b"a"), object()])
def test_unchanged_args_are_recognised(value: Any, strict: bool) -> None:
    live = {"value": value}

    assert unchanged(live, frozen(live), strict=strict)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        lambda args: args["list"].append(2),
        lambda args: args["map"].update(b=1),
        lambda args: args.update(new=None),
        lambda args: args.pop("list"),
        lambda args: args["map"].update(a="1"),
        lambda args: setattr(args["object"], "content", 2),
        lambda args: args["buffer"].append(1),
    ],
)
def test_changed_args_are_recognised(change: Callable[[Any], object], strict: bool) -> None:
    live: dict[str, Any] = {"list": [1], "map": {"a": 1}, "object": Wary(1), "buffer": bytearray(b"a")}
    found = frozen(live)

    change(live)

    assert not unchanged(live, found, strict=strict)


def test_changed_type_is_recognised_when_strict() -> None:
    found = frozen({"x": 1})

    assert not unchanged({"x": True}, found, strict=True)
    assert not unchanged({"x": 1.0}, found, strict=True)


def test_unchanged_mapping_that_is_no_dict_is_recognised() -> None:
    live = {"value": MappingProxyType({"a": 1})}

    assert unchanged(live, freeze_args(live, Notes()), strict=True)
