"""
One call from LangChain's side: what a blocked call, a failure, a pause and a masked result look like there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from edictum import ApprovalPaused, EdictumDenied, EdictumToolError
from edictum.adapter import refusal_text, retry_may_help
from edictum.governed_call import GovernedCall
from edictum.sync_call import SyncCall
from langchain_core.messages import ToolMessage
from langchain_core.tools import ToolException
from langgraph.errors import GraphBubbleUp, GraphInterrupt
from langgraph.types import Command

outer_call: ContextVar[str | None] = ContextVar("edictum_call", default=None)
"""
The call whose body is running: agents inside it make theirs on its behalf.
"""

BLOCKED = "edictum"
"""
Key in ``response_metadata`` of the message that stands in place of the result of a blocked call.
"""


@dataclass(frozen=True, slots=True)
class Shape:
    """
    How a result must look to be taken for one.

    Attributes:
        tool_name: Name of the tool.
        tool_call_id: Id of the call; None when the tool is called with plain arguments, for a plain result.
        paired: Whether the tool returns content and artifact.
    """

    tool_name: str
    tool_call_id: str | None
    paired: bool = False

    def refusal(self, denied: EdictumDenied) -> Any:
        """
        The result of a blocked call.
        """
        text = refusal_text(denied)
        if self.tool_call_id is None:
            return self.text(text)
        facts = {"blocked_by": denied.decision_name, "retry_may_help": retry_may_help(denied)}
        message = ToolMessage(
            text,
            name=self.tool_name,
            tool_call_id=self.tool_call_id,
            status="error",
            response_metadata={BLOCKED: facts},
        )
        return self.text(message)

    def text(self, content: Any) -> Any:
        """
        Content without an artifact.
        """
        return (content, None) if self.paired else content

    def result(self, shown: Any) -> Any:
        """
        A result as the guard leaves it, which is one text where it withholds the original.
        """
        pair = isinstance(shown, tuple) and len(shown) == 2
        return shown if pair or not self.paired or not isinstance(shown, str) else (shown, None)


def through(call: SyncCall, body: Callable[[], Any], shape: Shape) -> Any:
    """
    Take a call through all steps.

    Returns:
        What takes the place of the tool's result.
    """
    try:
        call.begin_sync()
    except EdictumDenied as denied:
        return shape.refusal(denied)
    except ApprovalPaused as paused:
        raise _pause(paused) from None
    try:
        with _inside(call):
            result = body()
    except GraphInterrupt:
        call.abandon_sync()  # the tool asks for something; it is called again with the answer
        raise
    except GraphBubbleUp:
        call.finish_sync(None)  # the tool hands over to another part of the graph
        raise
    except BaseException as error:
        call.fail_sync(error)
        _raise_redacted(call, error)
        raise
    return shape.result(call.finish_sync(result, failed=_reports_failure(result)).result)


async def through_awaited(call: SyncCall, body: Callable[[], Awaitable[Any]], shape: Shape) -> Any:
    """
    :func:`through` for asynchronous entries.
    """
    try:
        await call.begin()
    except EdictumDenied as denied:
        return shape.refusal(denied)
    except ApprovalPaused as paused:
        raise _pause(paused) from None
    try:
        with _inside(call):
            result = await body()
    except GraphInterrupt:
        await call.abandon()
        raise
    except GraphBubbleUp:
        await call.finish(None)
        raise
    except BaseException as error:
        await call.fail(error)
        _raise_redacted(call, error)
        raise
    return shape.result((await call.finish(result, failed=_reports_failure(result))).result)


@contextmanager
def _inside(call: GovernedCall) -> Iterator[None]:
    token = outer_call.set(call.call.call_id)
    try:
        yield
    finally:
        outer_call.reset(token)


def _pause(paused: ApprovalPaused) -> BaseException:
    # LangGraph waits for its own exception, which the approval backend passes on.
    return paused.__cause__ if isinstance(paused.__cause__, GraphBubbleUp) else paused


def _reports_failure(result: Any) -> bool:
    """
    Whether a tool reports its failure with a message instead of an exception.
    """
    if isinstance(result, Command):
        result = result.update.get("messages", ()) if isinstance(result.update, dict) else result.update
    if isinstance(result, list):
        return any(_reports_failure(each) for each in result)
    return isinstance(result, ToolMessage) and result.status == "error"


def _raise_redacted(call: GovernedCall, error: BaseException) -> None:
    """
    Raise in place of an error whose text a rule masks; others stay as they are.
    """
    shown = call.outcome.result
    if not call.outcome.violations or shown == str(error) or not isinstance(error, Exception):
        return
    kind = ToolException if isinstance(error, ToolException) else EdictumToolError
    raise kind(str(shown)) from None
