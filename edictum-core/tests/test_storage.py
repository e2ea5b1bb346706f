"""
Storage backends: one in memory, any third-party one with reservations added, and a naive model of both agree.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Coroutine
from typing import Any

import pytest
from backends import PlainBackend
from edictum import (
    Edictum,
    EdictumDenied,
    MemoryBackend,
    OperationLimits,
    ReserveResult,
    ReservingBackend,
    StorageBackend,
)
from edictum.storage import Change, immediate, reserving
from edictum.testing import AutoApprovalBackend
from edictum.testing.running import at_once
from edictum.testing.suites.storage_model import StorageModel
from guards import ask, granted, guard_of, run
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

SESSIONS = ("a", "b")
NAMES = ("attempts", "execs", "tool:t")
KEYS = [f"s:{session}:{name}" for session in SESSIONS for name in NAMES]
OWN_KEYS = [*KEYS, "s:a:note", "free"]  # those that a caller may set and delete


@st.composite
def reservations(draw: st.DrawFn) -> list[Change]:
    session = draw(st.sampled_from(SESSIONS))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    if draw(st.booleans()):
        return [(f"s:{session}:{name}", 0, None) for name in names]  # only reads
    limits = st.none() | st.integers(0, 4)
    return [(f"s:{session}:{name}", draw(st.integers(1, 2)), draw(limits)) for name in names]


class Agreement(RuleBasedStateMachine):
    """
    The same steps on two backends and the model; what is returned and what raises is equal at each step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.model = StorageModel()
        self.memory = MemoryBackend()
        self.plain = PlainBackend()
        self.backends: list[ReservingBackend] = [reserving(self.memory), reserving(self.plain)]
        self.open: list[list[Change]] = []

    def agree(self, expected: Any, steps: list[Coroutine[Any, Any, Any]]) -> None:
        assert [expected, expected] == [at_once(step) for step in steps]

    def fails(self, steps: list[Coroutine[Any, Any, Any]]) -> None:
        for step in steps:
            with pytest.raises(ValueError):  # noqa: PT011  the wording is the backend's own
                at_once(step)

    @property
    def held(self) -> set[str]:
        """
        Keys that a running call will settle or release; nobody sets them meanwhile.
        """
        return {key for changes in self.open for key, _, _ in changes}

    @rule(key=st.sampled_from(OWN_KEYS), value=st.sampled_from(["0", "3", "12", "text", ""]))
    def set_a_value(self, key: str, value: str) -> None:
        if key in self.held:
            return
        self.model.data[key] = value
        self.agree(None, [backend.set(key, value) for backend in self.backends])

    @rule(key=st.sampled_from(OWN_KEYS))
    def delete_a_value(self, key: str) -> None:
        if key in self.held:
            return
        self.model.data.pop(key, None)
        self.agree(None, [backend.delete(key) for backend in self.backends])

    @rule(key=st.sampled_from(OWN_KEYS), amount=st.integers(0, 3))
    def increment_a_counter(self, key: str, amount: int) -> None:
        steps = [backend.increment(key, amount) for backend in self.backends]
        if self.model.is_countable(key):
            self.agree(self.model.add(key, amount), steps)
        else:
            self.fails(steps)

    @rule(changes=reservations())
    def reserve_a_place(self, changes: list[Change]) -> None:
        steps = [backend.reserve(changes) for backend in self.backends]
        if not self.model.is_countable(*(key for key, _, _ in changes)):
            self.fails(steps)
            return
        expected = self.model.reserve(changes)
        for step in steps:
            result = at_once(step)
            assert expected == (result.ok, result.values, result.failed_key)
        if expected[0]:
            self.open.append(changes)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def release_a_place(self, data: st.DataObject) -> None:
        changes = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        self.model.release(changes)
        self.agree(None, [backend.release(changes) for backend in self.backends])

    @precondition(lambda self: self.open)
    @rule(data=st.data(), success=st.booleans())
    def settle_a_place(self, data: st.DataObject, success: bool) -> None:
        changes = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        failures = f"s:{changes[0][0].split(':')[1]}:consec_fail"
        self.model.settle(failures, success)
        self.agree(None, [backend.settle(changes, failures, success) for backend in self.backends])

    @invariant()
    def all_hold_the_same(self) -> None:
        keys = [*OWN_KEYS, "s:a:consec_fail", "s:b:consec_fail", "s:c:none"]
        expected = {key: self.model.data.get(key) for key in keys}
        assert expected == at_once(self.memory.batch_get(keys))
        for backend in self.backends:
            assert expected == {key: at_once(backend.get(key)) for key in keys}


Agreement.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
test_storage_backends_agree_with_a_model = pytest.mark.property(Agreement.TestCase)


# --- third-party backends -------------------------------------------------------------------------


class Tripling(MemoryBackend):
    """
    A subclass with an increment of its own, as tests of users have.
    """

    async def increment(self, key: str, amount: float = 1) -> float:
        return await super().increment(key, 3 * amount)


class OwnReserve(PlainBackend):
    """
    One that can reserve.
    """

    async def reserve(self, changes: Any) -> ReserveResult:
        return ReserveResult(False, tuple(0 for _ in changes), changes[0][0])

    async def release(self, changes: Any) -> None:
        raise NotImplementedError

    async def settle(self, changes: Any, failures: str, success: bool) -> None:
        raise NotImplementedError


def test_reserving_takes_a_backend_that_can_reserve_as_it_is() -> None:
    memory, own = MemoryBackend(), OwnReserve()

    assert reserving(memory) is memory is immediate(memory)
    assert reserving(own) is own
    assert immediate(own) is None


def test_reserving_adds_to_a_plain_backend_once() -> None:
    backend = PlainBackend()

    wrapped = reserving(backend)

    assert reserving(backend) is wrapped
    assert isinstance(wrapped, ReservingBackend)
    assert isinstance(backend, StorageBackend)
    assert not isinstance(backend, ReservingBackend)


def test_reserving_uses_the_increment_of_a_subclass() -> None:
    guard = Edictum(backend=Tripling(), limits=OperationLimits(max_tool_calls=3))

    assert run(guard) == "done"
    with pytest.raises(EdictumDenied) as caught:
        run(guard)

    assert caught.value.decision_source == "operation_limit"
    assert immediate(reserving(Tripling())) is None


def test_reserving_refusal_changes_nothing() -> None:
    backend = PlainBackend()
    changes: list[Change] = [("s:a:execs", 1, None), ("s:a:tool:t", 1, 0)]

    result = at_once(reserving(backend).reserve(changes))

    assert (result.ok, result.failed_key, result.values) == (False, "s:a:tool:t", (0, 0))
    assert backend.data == {}


def test_reserving_serves_a_backend_that_has_no_hash() -> None:
    class Unhashable(PlainBackend):
        __hash__ = None  # type: ignore[assignment]

    guard = Edictum(backend=Unhashable(), limits=OperationLimits(max_tool_calls=1))

    assert run(guard) == "done"
    with pytest.raises(EdictumDenied):
        run(guard)


def test_reserving_keeps_equal_backends_apart() -> None:
    class Equal(PlainBackend):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Equal)

        def __hash__(self) -> int:
            return 1

    first, second = Equal(), Equal()
    at_once(reserving(first).increment("s:a:attempts"))

    assert at_once(reserving(second).get("s:a:attempts")) is None


def test_reserving_lets_a_backend_go() -> None:
    backend = PlainBackend()
    reserving(backend)
    gone = weakref.ref(backend)
    del backend
    gc.collect()

    assert gone() is None


def test_reserved_place_of_a_call_blocked_later_is_given_back() -> None:
    """
    The arguments change while a person is asked, after which the place must be free for another call.
    """
    args: dict[str, Any] = {"x": 1}

    async def meanwhile() -> None:
        args["x"] = 2

    guard = guard_of(
        ask(when={"args.x": {"exists": True}}),
        approval_backend=AutoApprovalBackend(granted(), meanwhile=meanwhile),
        limits=OperationLimits(max_tool_calls=1),
    )
    with pytest.raises(EdictumDenied):
        run(guard, args=args)

    assert run(guard) == "done"
