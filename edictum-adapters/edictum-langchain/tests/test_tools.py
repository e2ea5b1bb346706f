"""
All kinds of tools, and what their bodies and rules get to see.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from agents import SECRET, Model, actions, agent_of, both_entries, call, events_of, guard_of, rule, start
from edictum import EdictumConfigError
from edictum.testing import AutoApprovalBackend
from edictum_langchain import EdictumMiddleware, LangChainAdapter
from langchain.agents.middleware import AgentMiddleware, ToolRetryMiddleware
from langchain.tools import InjectedState, InjectedToolCallId, ToolRuntime, tool
from langchain_core.callbacks import CallbackManagerForToolRun
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool, Tool, ToolException
from langgraph.types import Command
from pydantic import BaseModel

NO_SECRETS = rule("block", when={"args.path": {"contains": "secret"}})


class Place(BaseModel):
    path: str


def reading(results: dict[str, Any] | None = None) -> Any:
    @tool
    def read(path: str) -> Any:
        """Read a file."""
        return (results or {}).get(path, f"text of {path}")

    return read


# --- what bodies are given ---------------------------------------------------------------------------


@both_entries
def test_tool_gets_what_langchain_injects_and_rules_see_what_the_model_said(entry: str) -> None:
    seen: dict[str, Any] = {}

    @tool
    def read(
        path: str,
        state: Annotated[dict[str, Any], InjectedState],
        call_id: Annotated[str, InjectedToolCallId],
        runtime: ToolRuntime[Any, Any],
        config: RunnableConfig,
        lines: int = 10,
    ) -> str:
        """Read a file."""
        thread = config["configurable"]["thread_id"]
        seen.update(messages=len(state["messages"]), call_id=call_id, thread=thread, runtime=runtime.tool_call_id)
        return "text"

    guard = guard_of()
    start(agent_of(Model([call(1, "read", path="a")]), [read], guard), entry)
    assert seen == {"messages": 2, "call_id": "call_1", "thread": "t", "runtime": "call_1"}
    assert [event.tool_args for event in events_of(guard)] == [{"path": "a", "lines": 10}] * 2


def test_tool_with_a_model_as_argument_is_judged_by_its_fields_and_gets_the_model() -> None:
    got: list[Any] = []

    @tool
    def read(places: list[Place], one: Place) -> str:
        """Read files."""
        got.append((places, one))
        return "text"

    guard = guard_of(rule("block", when={"args.one.path": {"contains": "secret"}}))
    model = Model(*([call(1, "read", places=[{"path": "a"}], one={"path": path})] for path in ("secret", "b")))
    start(agent_of(model, [read], guard))
    assert got == [([Place(path="a")], Place(path="b"))]
    assert events_of(guard)[1].tool_args == {"places": [{"path": "a"}], "one": {"path": "b"}}


class OwnTool(BaseTool):
    name: str = "read"
    description: str = "Read a file."
    used: int = 0

    def _run(self, path: str, run_manager: CallbackManagerForToolRun | None = None) -> str:
        assert run_manager is not None
        self.used += 1
        return f"text of {path}"


@both_entries
def test_tool_of_an_own_class_keeps_its_state_and_its_run_manager(entry: str) -> None:
    own = OwnTool()
    guard = guard_of(NO_SECRETS)
    model = Model([call(1, "read", path="a")], [call(2, "read", path="secret")])
    start(agent_of(model, [own], guard), entry)
    assert own.used == 1
    assert [message.status for message in model.results] == ["success", "error"]


@both_entries
def test_tool_with_one_unnamed_argument_is_judged_by_it(entry: str) -> None:
    ran: list[str] = []
    find = Tool("find", lambda text: ran.append(text) or "found", "Find.")
    guard = guard_of(rule("block", when={"args.tool_input": {"contains": "secret"}}))
    model = Model([call(1, "find", __arg1="secret")], [call(2, "find", __arg1="plan")])
    start(agent_of(model, [find], guard), entry)
    assert ran == ["plan"]


def test_argument_with_a_name_of_langchains_own_is_judged() -> None:
    schema = {"title": "read", "type": "object", "properties": {"callbacks": {"type": "string"}}}
    ran: list[Any] = []
    read = StructuredTool.from_function(
        lambda **args: ran.append(args), name="read", description="Read.", args_schema=schema
    )
    guard = guard_of(rule("block", when={"args.callbacks": {"contains": "secret"}}))
    start(agent_of(Model([call(1, "read", callbacks="secret")]), [read], guard))
    assert ran == []
    assert actions(guard) == ["call_denied"]


def test_tool_with_a_json_schema_is_judged() -> None:
    schema = {"title": "read", "type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
    read = StructuredTool.from_function(
        lambda **args: f"text of {args['path']}", name="read", description="Read.", args_schema=schema
    )
    model = Model([call(1, "read", path="secret")], [call(2, "read", path="a")])
    start(agent_of(model, [read], guard_of(NO_SECRETS)))
    assert [message.status for message in model.results] == ["error", "success"]


@both_entries
def test_arguments_that_change_while_somebody_is_asked_do_not_run(entry: str) -> None:
    ran: list[Any] = []
    schema = {"title": "read", "type": "object", "properties": {"paths": {"type": "array"}}}
    read = StructuredTool.from_function(
        lambda **given: ran.append(given), name="read", description="Read.", args_schema=schema
    )
    asked = call(1, "read", paths=["a"])

    async def meanwhile() -> None:
        asked["args"]["paths"].append("secret")

    model = Model([asked])
    guard = guard_of(rule("ask"), approval_backend=AutoApprovalBackend("approved", meanwhile=meanwhile))
    start(agent_of(model, [read], guard), entry)
    assert ran == []
    assert events_of(guard)[-1].decision_source == "args_changed"


# --- what becomes of results -------------------------------------------------------------------------


def paired(content: Any, artifact: Any) -> Any:
    @tool(response_format="content_and_artifact")
    def read(path: str) -> Any:
        """Read a file."""
        return content, artifact

    return read


@both_entries
def test_artifact_is_redacted_with_the_content(entry: str) -> None:
    read = paired(f"it is {SECRET}", {"raw": [SECRET, 7]})
    model = Model([call(1, "read", path="a")])
    start(agent_of(model, [read], guard_of(rule("redact"))), entry)
    (message,) = model.results
    assert (message.content, message.artifact) == ("it is [REDACTED]", {"raw": ["[REDACTED]", 7]})


def test_artifact_is_withheld_with_the_content_and_there_is_none_for_a_blocked_call() -> None:
    read = paired("text", {"raw": SECRET})
    for action, status in (("withhold", "success"), ("block", "error")):
        model = Model([call(1, "read", path="a")])
        start(agent_of(model, [read], guard_of(rule(action))))
        (message,) = model.results
        assert message.artifact is None
        assert "the rule says so" in str(message.content)
        assert message.status == status


def commanding(as_list: bool) -> Any:
    @tool
    def read(path: str, call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Read a file."""
        message = ToolMessage(f"it is {SECRET}", tool_call_id=call_id, artifact={"raw": SECRET})
        return [message] if as_list else Command(update={"messages": [message]})

    return read


@both_entries
@pytest.mark.parametrize("as_list", [True, False])
def test_command_and_list_results_are_redacted(entry: str, as_list: bool) -> None:
    model = Model([call(1, "read", path="a")])
    state = start(agent_of(model, [commanding(as_list)], guard_of(rule("redact"))), entry)
    (message,) = model.results
    assert (message.content, message.artifact) == ("it is [REDACTED]", {"raw": "[REDACTED]"})
    assert SECRET not in str(state)


@pytest.mark.parametrize("as_list", [True, False])
def test_command_and_list_results_are_withheld(as_list: bool) -> None:
    model = Model([call(1, "read", path="a")])
    state = start(agent_of(model, [commanding(as_list)], guard_of(rule("withhold"))))
    assert "the rule says so" in str(model.results[0].content)
    assert SECRET not in str(state)


@pytest.mark.parametrize("place", ["middleware", "wrapped"])
def test_callbacks_do_not_see_the_raw_result(place: str) -> None:
    guard = guard_of(rule("redact"))
    tools, chain = [reading({"a": f"it is {SECRET}"})], [guard]
    if place == "wrapped":
        tools, chain = LangChainAdapter(guard).wrap_tools(tools), []

    async def events() -> list[Any]:
        agent = agent_of(Model([call(1, "read", path="a")]), tools, *chain)
        given = {"messages": [("user", "go")]}
        return [event async for event in agent.astream_events(given, version="v2")]

    found = asyncio.run(events())
    (end,) = [event for event in found if event["event"] == "on_tool_end"]
    assert end["data"]["output"].content == "it is [REDACTED]"
    assert SECRET not in str(found)


def named(result: Any, violations: list[Any]) -> str:
    return f"{violations[0].rule_id}: {result}"


def test_warn_callback_gives_the_result_to_show() -> None:
    for make in (
        lambda guard: EdictumMiddleware(guard, on_postcondition_warn=named),
        lambda guard: LangChainAdapter(guard, on_postcondition_warn=str).as_middleware(on_postcondition_warn=named),
        lambda guard: wrapping(**LangChainAdapter(guard).tool_node_kwargs(named)),
        lambda guard: wrapping(LangChainAdapter(guard).as_tool_wrapper(on_postcondition_warn=named)),
    ):
        model = Model([call(1, "read", path="a")])
        start(agent_of(model, [reading({"a": SECRET})], make(guard_of(rule("warn")))))
        assert model.results[0].content == f"rule: {SECRET}"


def wrapping(wrap_tool_call: Callable[..., Any], awrap_tool_call: Any = None) -> AgentMiddleware[Any, Any, Any]:
    """
    Middleware made of a wrapper.
    """

    class Wrapping(AgentMiddleware[Any, Any, Any]):
        def wrap_tool_call(self, request: Any, handler: Callable[..., Any]) -> Any:
            return wrap_tool_call(request, handler)

    return Wrapping()


# --- failures ----------------------------------------------------------------------------------------


@both_entries
@pytest.mark.parametrize("kind", ["message", "list", "command"])
def test_error_message_as_result_counts_as_failed_and_is_redacted(entry: str, kind: str) -> None:
    @tool
    def read(path: str, call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Read a file."""
        message = ToolMessage("no", tool_call_id=call_id, status="error", artifact=SECRET)
        return {"message": message, "list": [message], "command": Command(update={"messages": [message]})}[kind]

    guard = guard_of(rule("redact"))
    model = Model([call(1, "read", path="a")])
    start(agent_of(model, [read], guard), entry)
    assert actions(guard) == ["call_allowed", "call_failed"]
    (message,) = model.results
    assert (message.content, message.status, message.artifact) == ("no", "error", "[REDACTED]")


@both_entries
def test_tool_exception_counts_as_failed_and_is_handled_as_ever_with_its_text_redacted(entry: str) -> None:
    def fail(path: str) -> str:
        raise ToolException(f"no file {path}")

    read = StructuredTool.from_function(fail, name="read", description="Read.", handle_tool_error=True)
    guard = guard_of(rule("redact"))
    model = Model([call(1, "read", path="a")], [call(2, "read", path=SECRET)])
    start(agent_of(model, [read], guard), entry)
    assert actions(guard) == ["call_allowed", "call_failed"] * 2
    assert [(message.content, message.status) for message in model.results] == [
        ("no file a", "error"),
        ("no file [REDACTED]", "error"),
    ]


def test_other_exception_with_a_secret_is_raised_with_its_text_redacted() -> None:
    @tool
    def read(path: str) -> str:
        """Read a file."""
        raise OSError(f"no {SECRET}")

    with pytest.raises(Exception, match="REDACTED") as raised:
        start(agent_of(Model([call(1, "read", path="a")]), [read], guard_of(rule("redact"))))
    assert SECRET not in repr(raised.value)
    assert raised.value.__cause__ is None


# --- tools that decide for themselves how they are called --------------------------------------------


class Invoked(OwnTool):
    def invoke(self, given: Any, config: Any = None, **options: Any) -> Any:
        self.used += 1
        return ToolMessage(f"it is {SECRET}", tool_call_id=given["id"], artifact=SECRET)

    async def ainvoke(self, given: Any, config: Any = None, **options: Any) -> Any:
        return self.invoke(given, config)


@both_entries
def test_tool_with_its_own_invoke_is_governed_around_it(entry: str) -> None:
    own = Invoked()
    model = Model([call(1, "read", path="secret")], [call(2, "read", path="a")])
    guard = guard_of(NO_SECRETS, rule("redact", rule_id="mask"))
    start(agent_of(model, [own], guard), entry)
    assert own.used == 1
    assert actions(guard) == ["call_denied", "call_allowed", "call_executed"]
    assert [message.status for message in model.results] == ["error", "success"]
    assert SECRET not in str(model.results)


def test_tool_with_its_own_invoke_cannot_be_wrapped() -> None:
    with pytest.raises(EdictumConfigError, match="invoke"):
        LangChainAdapter(guard_of()).wrap_tools([Invoked()])


class Supplying(AgentMiddleware[Any, Any, Any]):
    """
    Supplies a tool that the agent does not know.
    """

    def __init__(self, supplied: BaseTool) -> None:
        super().__init__()
        self.supplied = supplied

    def wrap_tool_call(self, request: Any, handler: Callable[..., Any]) -> Any:
        return handler(request.override(tool=self.supplied))

    async def awrap_tool_call(self, request: Any, handler: Callable[..., Any]) -> Any:
        return await handler(request.override(tool=self.supplied))


@both_entries
def test_tool_that_later_middleware_supplies_is_governed(entry: str) -> None:
    ran: list[str] = []

    @tool
    def late(path: str) -> str:
        """Read a file."""
        ran.append(path)
        return f"it is {SECRET}"

    guard = guard_of(NO_SECRETS, rule("warn", rule_id="mask"))
    model = Model([call(1, "late", path="secret")], [call(2, "late", path="a")])
    start(agent_of(model, [reading()], guard, Supplying(late)), entry)
    assert ran == ["a"]
    assert actions(guard) == ["call_denied", "call_allowed", "call_executed"]


# --- once for each time ------------------------------------------------------------------------------


@both_entries
def test_wrapped_tool_under_middleware_is_decided_once(entry: str) -> None:
    guard = guard_of()
    adapter = LangChainAdapter(guard)
    model = Model([call(1, "read", path="a")])
    start(agent_of(model, adapter.wrap_tools(adapter.wrap_tools([reading()])), adapter.as_middleware()), entry)
    assert actions(guard) == ["call_allowed", "call_executed"]


def test_wrapped_tool_under_the_middleware_of_another_guard_is_decided_by_both() -> None:
    inner, outer = guard_of(), guard_of(NO_SECRETS)
    tools = LangChainAdapter(inner).wrap_tools([reading()])
    model = Model([call(1, "read", path="secret")], [call(2, "read", path="a")])
    start(agent_of(model, tools, outer))
    assert actions(outer) == ["call_denied", "call_allowed", "call_executed"]
    assert [(str(event.action), event.call_id) for event in events_of(inner)] == [
        ("call_allowed", "call_2"),
        ("call_executed", "call_2"),
    ]


@pytest.mark.parametrize("last", [True, False])
def test_each_retry_is_decided(last: bool) -> None:
    tries: list[str] = []

    @tool
    def read(path: str) -> str:
        """Read a file."""
        tries.append(path)
        if len(tries) < 3:
            raise OSError("busy")
        return "text"

    guard = guard_of()
    retries = ToolRetryMiddleware(max_retries=5, initial_delay=0, jitter=False)
    chain = [retries, guard] if last else [guard, retries]
    model = Model([call(1, "read", path="a")])
    start(agent_of(model, [read], *chain))
    assert actions(guard) == ["call_allowed", "call_failed"] * 2 + ["call_allowed", "call_executed"]
    assert model.results[0].content == "text"


@pytest.mark.parametrize("entry", ["invoke", "run", "ainvoke", "arun"])
def test_wrapped_tool_is_governed_without_an_agent(entry: str) -> None:
    guard = guard_of(NO_SECRETS, rule("redact", rule_id="mask"))
    (read,) = LangChainAdapter(guard).wrap_tools([reading({"a": f"it is {SECRET}"})])

    def use(given: dict[str, Any]) -> Any:
        found = getattr(read, entry)(given)
        return asyncio.run(found) if entry.startswith("a") else found

    assert use({"path": "a"}) == "it is [REDACTED]"
    assert "the rule says so" in use({"path": "secret"})
    assert actions(guard) == ["call_allowed", "call_executed", "call_denied"]


def test_wrapped_function_becomes_a_tool_that_looks_the_same() -> None:
    def read(path: str) -> str:
        """Read a file."""
        return path

    (wrapped,) = LangChainAdapter(guard_of()).wrap_tools([read])
    plain = tool(read)
    assert (wrapped.name, wrapped.description, wrapped.args) == (plain.name, plain.description, plain.args)
    assert wrapped.model_dump().keys() == plain.model_dump().keys()
    assert isinstance(wrapped, StructuredTool)
