"""
One tool call under governance, from intention to outcome.

    call = guard.govern("read_file", {"path": "a.txt"})
    await call.begin()                  # raises EdictumDenied: the tool must not run
    try:
        result = read_file(path="a.txt")
    except Exception as error:
        raise await call.fail(error) from error
    outcome = await call.finish(result)  # outcome.result is what the agent may see

The sequence itself is in :mod:`edictum.way_to_tool` and :mod:`edictum.way_back`.  What it has to wait for is awaited by
the methods of :class:`GovernedCall` on the running loop, by those of :class:`~edictum.sync_call.SyncCall` on
edictum's background loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from edictum.audit import AuditEvent
from edictum.call_state import Steps
from edictum.decision_log import CallLog
from edictum.engine.outcome import PreDecision
from edictum.errors import EdictumToolError
from edictum.findings import Finding
from edictum.pipeline import settled
from edictum.way_back import WayBack
from edictum.way_to_tool import WayToTool


class RunResult:
    """
    Outcome of a call whose tool ran.

    Attributes:
        result: What the agent may see: the tool's result, redacted or withheld where a rule asks for it.
        tool_success: Whether the tool succeeded.
        decision: The decision that let it run.
        warnings: Texts for the agent.
        violations: Post rules that were broken.
        output_suppressed: Whether the result is withheld.
    """

    __slots__ = ("_log", "decision", "output_suppressed", "result", "tool_success", "violations", "warnings")

    def __init__(
        self,
        result: Any,
        tool_success: bool,
        decision: PreDecision,
        warnings: Sequence[str],
        violations: Sequence[Finding],
        output_suppressed: bool,
        log: CallLog,
    ) -> None:
        self.result = result
        self.tool_success = tool_success
        self.decision = decision
        self.warnings = warnings
        self.violations = violations
        self.output_suppressed = output_suppressed
        self._log = log

    @property
    def events(self) -> list[AuditEvent]:
        """
        The decision-log events of the call, in order.
        """
        return self._log.events

    def unwrap(self) -> Any:
        """
        The result of a tool that succeeded.

        Raises:
            EdictumToolError: The tool failed.
        """
        if not self.tool_success:
            raise EdictumToolError(self.result)
        return self.result

    def __repr__(self) -> str:
        return f"RunResult(tool_success={self.tool_success}, decision={self.decision.action!r})"


class GovernedCall(WayToTool, WayBack):
    """
    One call: :meth:`begin`, then exactly one of :meth:`finish`, :meth:`fail`, :meth:`reuse` and :meth:`abandon`.

    Made by :meth:`Edictum.govern`.  Not tied to an event loop: the steps may run on different ones.

    Attributes:
        call: The frozen call; available after :meth:`begin`, also when it was blocked.
        decision: The decision; available after :meth:`begin`.
        on_postcondition_warn: Set it before the end to have it called instead of the guard's.
    """

    __slots__ = ()

    @property
    def outcome(self) -> RunResult:
        """
        The outcome; available after :meth:`finish`, :meth:`fail` and :meth:`reuse`.
        """
        post = self._post
        return RunResult(
            self._shown,
            self._success,
            self.decision,
            post.warnings,
            self._violations,
            post.output_suppressed,
            self._log,
        )

    async def run(self, tool: Callable[..., Any], *, in_thread: bool = False) -> Any:
        """
        Take a tool through all steps.

        Args:
            tool: Called with the arguments as keywords; may be asynchronous.
            in_thread: Run a synchronous tool in a worker thread.

        Returns:
            What the agent may see of the tool's result.

        Raises:
            EdictumDenied: The tool must not run.
            EdictumToolError: The tool failed; what it raised is the cause.
        """
        # Without coroutines for begin and finish: nearly always there is nothing to await in them.
        steps = self._way_to_tool()
        if steps is not None:
            await _walk(steps)
        try:
            if in_thread:
                import asyncio

                result = await settled(await asyncio.to_thread(tool, **self._args))
            else:
                result = tool(**self._args)
                if hasattr(result, "__await__"):
                    result = await result
        except Exception as error:
            raise await self.fail(error) from error
        except BaseException as error:
            await self.fail(error)
            raise
        steps = self._way_back(result, None)
        if steps is not None:
            await _walk(steps)
        if not self._success:
            raise EdictumToolError(self._shown)
        return self._shown

    async def begin(self) -> PreDecision:
        """
        Decide whether the tool may run.

        Returns:
            The decision.  In observe mode it may say ``block``; the tool runs all the same.

        Raises:
            EdictumDenied: The tool must not run.
            RuntimeError: The call has begun before.
        """
        steps = self._way_to_tool()
        if steps is not None:
            await _walk(steps)
        return self.decision

    async def finish(self, result: Any, *, failed: bool = False) -> RunResult:
        """
        Judge what the tool returned.

        Args:
            result: What the tool returned.
            failed: Whether the caller knows that this is a failure; else the guard looks at the result.

        Returns:
            The outcome; ``tool_success`` is false when the result means failure.

        Raises:
            RuntimeError: The call was not allowed, or has ended before.
        """
        steps = self._way_back(result, None, failed)
        if steps is not None:
            await _walk(steps)
        return self.outcome

    async def fail(self, error: BaseException) -> EdictumToolError:
        """
        Record that the tool raised.

        Returns:
            The error to raise from ``error``; its text is redacted like a result.

        Raises:
            RuntimeError: The call was not allowed, or has ended before.
        """
        steps = self._way_back(None, error)
        if steps is not None:
            await _walk(steps)
        return EdictumToolError(self._shown)

    async def reuse(self, result: Any) -> RunResult:
        """
        Judge a result that was there before, in a cache for example: the tool does not run for this call.

        Its place under the limits is given back, and the decision log has no outcome of it.

        Returns:
            The outcome; its result is what the agent may see.

        Raises:
            RuntimeError: The call was not allowed, or has ended before.
        """
        await _walk(self._way_past_tool(result))
        return self.outcome

    async def abandon(self) -> None:
        """
        Say that an allowed tool was never started; its place under the limits is given back.
        """
        await _walk(self._way_out())


async def _walk(steps: Steps) -> None:
    step = next(steps, None)
    while step is not None:
        try:
            value = await step
        except BaseException as error:
            step = resumed(steps.throw, error)
        else:
            step = resumed(steps.send, value)


def resumed(resume: Callable[[Any], Awaitable[Any]], value: Any) -> Awaitable[Any] | None:
    """
    What is to be awaited next; None at the end.
    """
    try:
        return resume(value)
    except StopIteration:
        return None
