"""
The suite for adapters, on adapters without a fault.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from edictum import Adapter, Edictum
from tiny_framework import Event, TinyAdapter, TinySuite


class TestTinyAdapter(TinySuite):
    pass


class LetsGoInAMoment(TinyAdapter):
    """
    A thread of the framework that ends a little after the run.
    """

    def begun(self, event: Event) -> Any:
        call = super().begun(event)
        threading.Timer(0.2, lambda _: None, (call,)).start()
        return call


class Unclosed:
    """
    What a framework left open: nothing but a collection ends it, with a complaint.
    """

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        raise ResourceWarning("unclosed")


class LeavesThingsOpen(TinyAdapter):
    def around(self, event: Event, tool: Callable[..., Any]) -> Any:
        for _ in range(10):
            Unclosed()
        return super().around(event, tool)


def passes(part: type[TinyAdapter]) -> None:
    class Suite(TinySuite):
        def adapter(self, guard: Edictum, **options: Any) -> Adapter:
            return part(guard, **options)

    Suite().test_nothing_is_kept_after_the_end(Suite.entries[0])


def test_call_that_a_thread_lets_go_in_a_moment_is_not_kept() -> None:
    passes(LetsGoInAMoment)


def test_call_in_the_frames_of_a_complaint_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Garbage is collected all the time, and who is told of each complaint keeps where it came up, as pytest does.
    """
    frames: list[Any] = []
    before = gc.get_threshold()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "unraisablehook", lambda report: frames.append(report.exc_traceback))
        gc.set_threshold(1)
        try:
            passes(LeavesThingsOpen)
        finally:
            gc.set_threshold(*before)
            assert frames
            frames.clear()
            gc.collect()
