"""
A governed call for synchronous callers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edictum.call_state import Steps
from edictum.engine.outcome import PreDecision
from edictum.errors import EdictumToolError
from edictum.governed_call import GovernedCall, RunResult, resumed
from edictum.pipeline import settled
from edictum.portal import WAITS_FOR_ITSELF, on_background_loop, run_in_background


class SyncCall(GovernedCall):
    """
    The steps of :class:`GovernedCall` also without ``await``.

    What must be awaited is awaited on edictum's background loop.
    """

    __slots__ = ()

    def run_sync(self, tool: Callable[..., Any]) -> Any:
        """
        See :meth:`GovernedCall.run`.
        """
        self.begin_sync()
        try:
            result = tool(**self._args)
            if hasattr(result, "__await__"):
                result = run_in_background(settled(result))
        except Exception as error:
            raise self.fail_sync(error) from error
        except BaseException as error:
            self.fail_sync(error)
            raise
        return self.finish_sync(result).unwrap()

    def begin_sync(self) -> PreDecision:
        """
        See :meth:`GovernedCall.begin`.
        """
        _walk_sync(self._way_to_tool)
        return self.decision

    def finish_sync(self, result: Any, *, failed: bool = False) -> RunResult:
        """
        See :meth:`GovernedCall.finish`.
        """
        _walk_sync(self._way_back, result, None, failed)
        return self.outcome

    def fail_sync(self, error: BaseException) -> EdictumToolError:
        """
        See :meth:`GovernedCall.fail`.
        """
        _walk_sync(self._way_back, None, error)
        return EdictumToolError(self._shown)

    def reuse_sync(self, result: Any) -> RunResult:
        """
        See :meth:`GovernedCall.reuse`.
        """
        _walk_sync(self._way_past_tool, result)
        return self.outcome

    def abandon_sync(self) -> None:
        """
        See :meth:`GovernedCall.abandon`.
        """
        _walk_sync(self._way_out)


def _walk_sync(way: Callable[..., Steps | None], *facts: Any) -> None:
    if on_background_loop():
        raise RuntimeError(WAITS_FOR_ITSELF)
    steps = way(*facts)
    step = None if steps is None else next(steps, None)
    while steps is not None and step is not None:
        try:
            value = run_in_background(settled(step))
        except BaseException as error:
            step = resumed(steps.throw, error)
        else:
            step = resumed(steps.send, value)
