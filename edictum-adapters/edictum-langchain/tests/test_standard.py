"""
The tests that every adapter passes, on every way into LangChain and LangGraph.
"""

from __future__ import annotations

from driving import ENTRIES, MiddlewareSuite, ToolNodeSuite, WrappedToolsSuite


class TestMiddleware(MiddlewareSuite):
    pass


class TestMiddlewareWithPlainTools(MiddlewareSuite):
    """
    Tools without a coroutine, which asynchronous entries run in threads.
    """

    entries = tuple(entry for entry in ENTRIES if entry.asynchronous)
    awaited_tools = False


class TestToolNode(ToolNodeSuite):
    pass


class TestWrappedTools(WrappedToolsSuite):
    pass
