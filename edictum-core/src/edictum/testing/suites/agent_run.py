"""
A run of an agent as :class:`~edictum.testing.AdapterSuite` describes it, for any framework.

The suite writes down what the model says and which tools there are; a driver plays that in its framework::

    def drive(self, adapter, entry, run):
        agent = Agent(
            model=lambda messages: run.script.turn(results_in(messages)),
            tools=[make_tool(tool.name, tool.parameters, tool) for tool in run.tools],
            hooks=[adapter.as_hook()] if adapter else [],
        )
        agent.run("go", thread=run.session, context={"user": run.user})

Nothing here is a framework's: scripts and tools note by themselves what reached them.
"""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edictum.approval import ApprovalRequest
from edictum.audit import AuditEvent
from edictum.memory_storage import MemoryBackend
from edictum.testing.approval import AutoApprovalBackend

FINAL_ANSWER = "done"


@dataclass(frozen=True, slots=True)
class Entry:
    """
    A way to run an agent in a framework.

    Attributes:
        name: Name of the method, for example ``ainvoke``; it is shown with each test.
        asynchronous: Whether it is awaited.
    """

    name: str
    asynchronous: bool = False

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class ModelCall:
    """
    A tool call that the scripted model asks for.

    Attributes:
        id: The id that the model gives it.
        tool: Name of the tool.
        args: The arguments; a text is sent as it is, and is not the JSON of an object.
    """

    id: str
    tool: str
    args: Mapping[str, Any] | str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """
    The result of a tool call in a request to the model.

    Attributes:
        id: Of the call; where a framework tells the model none, the driver takes it from the order.
        text: All that the model sees of it.
    """

    id: str
    text: str


class Script:
    """
    A model that says what is written down.  Safe for several threads.

    Args:
        turns: For each request the tool calls to ask for; after the last one the answer is :data:`FINAL_ANSWER`.
    """

    def __init__(self, *turns: Sequence[ModelCall]) -> None:
        self._turns = turns
        self._lock = threading.Lock()
        self.requests: list[list[ToolResult]] = []

    def turn(self, results: Iterable[ToolResult]) -> Sequence[ModelCall]:
        """
        The tool calls to ask for next; without any the model gives its final answer.

        Args:
            results: All results of tools in the request, oldest first.
        """
        with self._lock:
            self.requests.append(list(results))
            number = len(self.requests)
        return self._turns[number - 1] if number <= len(self._turns) else ()


class Tool:
    """
    A tool that notes its calls.

    Args:
        name: Its name.
        result: What it returns or raises, or a function of its arguments.
        parameters: Names and types of the arguments, all required.
        agent: A run of another agent, in whose place this tool stands; the driver runs it for each call.
    """

    def __init__(
        self,
        name: str,
        result: Any = "text",
        *,
        parameters: Mapping[str, type] | None = None,
        agent: AgentRun | None = None,
    ) -> None:
        self.name = name
        self.parameters = parameters if parameters is not None else {"path": str}
        self.agent = agent
        self.calls: list[dict[str, Any]] = []
        self._result = result

    def __call__(self, **args: Any) -> Any:
        """
        The body for synchronous tools.
        """
        self.calls.append(copy.deepcopy(args))
        result = self._result(**args) if callable(self._result) else self._result
        if isinstance(result, BaseException):
            raise result
        return result

    async def awaited(self, **args: Any) -> Any:
        """
        The body for asynchronous tools: what waits in it does not hold up the event loop.
        """
        return await asyncio.to_thread(self, **args)


@dataclass
class AgentRun:
    """
    What a driver plays.

    Attributes:
        script: The model.
        tools: The tools of the agent.
        session: Given to the framework as the id of the conversation.
        user: Put where programs put their own facts about a run; :meth:`AdapterSuite.user` finds it there again.
        agent: Name of the agent.
        rewrite: Called with the arguments of each call by another hook of the framework, which goes on with what it
            returns; as near to the tool as a program can place one beside a guard that is placed as documented.
        streamed: The driver adds the text of whatever the entry, or an event of the framework, shows to the program
            besides: everything that the adapter claims to cover.
    """

    script: Script
    tools: Sequence[Tool] = ()
    session: str = "session-1"
    user: str = "ann"
    agent: str = "researcher"
    rewrite: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    streamed: list[str] = field(default_factory=list)

    @property
    def executed(self) -> list[tuple[str, dict[str, Any]]]:
        """
        Which bodies ran with which arguments, also those of agents inside.
        """
        found = [(tool.name, args) for tool in self.tools for args in tool.calls]
        return found + [call for tool in self.tools if tool.agent is not None for call in tool.agent.executed]


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What came of a run.

    Attributes:
        executed: Which bodies ran with which arguments.
        results: Results of tools in the last request to the model.
        events: The decision log.
        streamed: What the program was shown besides.
        error: What the run raised.
    """

    executed: list[tuple[str, dict[str, Any]]]
    results: list[ToolResult]
    events: list[AuditEvent]
    streamed: str
    error: Exception | None

    @property
    def actions(self) -> list[str]:
        """
        What the decision log reports, in order.
        """
        return [str(event.action) for event in self.events]

    def said(self, call_id: str) -> str:
        """
        What the model was told about a call.
        """
        return "\n".join(result.text for result in self.results if result.id == call_id)


class Desk(AutoApprovalBackend):
    """
    Where requests for approval wait until the test answers them.
    """

    def __init__(self) -> None:
        super().__init__("pending")
        self._request_made = threading.Event()

    async def request_approval(self, *args: Any, **facts: Any) -> ApprovalRequest:
        """
        See :class:`~edictum.ApprovalBackend`.
        """
        request = await super().request_approval(*args, **facts)
        self._request_made.set()
        return request

    def wait_for_request(self, seconds: float) -> None:
        """
        Wait until something is asked.

        Raises:
            AssertionError: Nothing is.
        """
        if not self._request_made.wait(seconds):
            raise AssertionError("the call asked for no approval")

    def approve(self) -> None:
        """
        Say yes to everything that waits.
        """
        for request in list(self.requests):
            self.answer(request.approval_id, "approved")


class LoopBoundStore(MemoryBackend):
    """
    A store that belongs to the event loop that used it first, as connections to a server do.
    """

    def __init__(self) -> None:
        super().__init__()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def reserve(self, *args: Any) -> Any:
        """
        See :class:`~edictum.ReservingBackend`.
        """
        await self._step()
        return await super().reserve(*args)

    async def settle(self, *args: Any) -> Any:
        """
        See :class:`~edictum.ReservingBackend`.
        """
        await self._step()
        return await super().settle(*args)

    async def _step(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        if self._loop is not loop:
            raise RuntimeError("the store belongs to another event loop")
        await asyncio.sleep(0)
