"""
Parts with one fault each, and whether a suite notices it.

A mutant is a class that is made without arguments, marked with the tests that must fail on it.
"""

from __future__ import annotations

import threading
import unittest
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import pytest
from edictum.testing.suites.suite import Suite

T = TypeVar("T", bound=type)


class Mutants:
    """
    The mutants for one suite.

    Args:
        suite: A subclass of the suite that makes ``self.part()``.
    """

    def __init__(self, suite: type[Suite[Any]]) -> None:
        self._suite = suite
        self.cases: list[Any] = []
        self.caught: set[str] = set()

    def caught_by(self, *tests: str) -> Callable[[T], T]:
        """
        Mark a mutant with the tests that must fail on it.
        """

        def mark(part: T) -> T:
            patience = getattr(part, "patience", self._suite.patience)
            suite = type(f"Suite{part.__name__}", (self._suite,), {"part": part, "patience": patience})
            for test in tests:
                self.caught.add(f"test_{test}")
                self.cases.append(pytest.param(suite, f"test_{test}", id=f"{part.__name__}-{test}"))
            return part

        return mark

    def suite_for(self, part: type) -> Suite[Any]:
        """
        The suite for a part without a fault, which gets all the time that a busy machine may need.
        """
        suite: Suite[Any] = type("Suite", (self._suite,), {"part": part, "patience": Suite.patience})()
        return suite

    def tests(self) -> set[str]:
        """
        All tests of the suite.
        """
        return {name for name in dir(self._suite) if name.startswith("test_")} - {"test_suite_is_run_as_it_is"}


class Crossing:
    """
    Where three threads wait for each other before all go on, so that a race is lost nearly each time.

    Three, because the limits in the suite are no multiples of it.
    """

    def __init__(self) -> None:
        self._barrier = threading.Barrier(3)

    def meet(self) -> None:
        """
        Wait for two other threads, but not for long: there may be no others left.
        """
        with suppress(threading.BrokenBarrierError):
            self._barrier.wait(0.5)
        if self._barrier.broken:
            self._barrier.reset()


def is_caught(suite: type[Suite[Any]], test: str) -> bool:
    """
    Whether a test of a suite fails.  Mutants that lose races have ``rounds``: a busy machine can let one be won.
    """
    part: Any = getattr(suite, "part", None)
    return any(failure(suite(), test) is not None for _ in range(getattr(part, "rounds", 1)))


def failure(suite: Suite[Any], test: str) -> Exception | None:
    """
    What a test of a suite raises; a test that is skipped proves nothing and counts as passed.
    """
    try:
        getattr(suite, test)()
    except unittest.SkipTest:
        return None
    except Exception as error:
        return error
    return None
