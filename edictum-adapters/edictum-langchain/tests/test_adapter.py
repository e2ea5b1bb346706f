"""
Ways to put the guard in, and what it is told about a run.
"""

from __future__ import annotations

from typing import Any

import pytest
from agents import Model, actions, agent_of, both_entries, call, events_of, guard_of, rule, start
from edictum import EdictumConfigError, Principal, SelfTestError
from edictum_langchain import EdictumMiddleware, LangChainAdapter
from langchain.agents.middleware import AgentMiddleware
from langchain.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

NO_SECRETS = rule("block", when={"args.path": {"contains": "secret"}})


@tool
def read(path: str) -> str:
    """Read a file."""
    return f"text of {path}"


@tool(return_direct=True)
def look(path: str) -> str:
    """Show a file to the user."""
    return f"text of {path}"


# --- the ways in -------------------------------------------------------------------------------------


def test_middleware_and_node_arguments_have_both_call_forms() -> None:
    adapter = LangChainAdapter(guard_of())
    for name in ("wrap_tool_call", "awrap_tool_call"):
        assert name in vars(EdictumMiddleware)
    assert set(adapter.tool_node_kwargs()) == {"wrap_tool_call", "awrap_tool_call"}


@both_entries
def test_single_wrapper_of_a_tool_node_governs_its_entry(entry: str) -> None:
    guard = guard_of(NO_SECRETS)
    adapter = LangChainAdapter(guard)
    wrapper: dict[str, Any] = (
        {"wrap_tool_call": adapter.as_tool_wrapper()}
        if entry == "invoke"
        else {"awrap_tool_call": adapter.as_async_tool_wrapper()}
    )
    graph = StateGraph(MessagesState).add_node("tools", ToolNode([read], **wrapper)).add_edge(START, "tools").compile()
    request = {"role": "assistant", "content": "", "tool_calls": [call(1, "read", path="secret")]}
    state = start(graph, entry, {"messages": [request]})
    assert state["messages"][-1].status == "error"
    assert actions(guard) == ["call_denied"]


def test_middleware_takes_a_guard_with_options_or_an_adapter() -> None:
    guard = guard_of()
    adapter = LangChainAdapter(guard)
    assert adapter.as_middleware().adapter is adapter
    assert EdictumMiddleware(guard, session_id="mine").adapter.session_id == "mine"
    with pytest.raises(EdictumConfigError, match="options"):
        EdictumMiddleware(adapter, session_id="mine")
    with pytest.raises(EdictumConfigError, match="guard"):
        EdictumMiddleware("rules.yaml")  # type: ignore[arg-type]


def test_self_test_passes_for_every_way_in() -> None:
    guard = guard_of()
    EdictumMiddleware(guard).self_test()
    LangChainAdapter(guard).self_test()
    assert events_of(guard) == []


class Deaf(LangChainAdapter):
    def _wrap(self, request: Any, handler: Any, warn: Any = None) -> Any:
        return handler(request)


def test_self_test_of_an_adapter_that_is_not_asked_raises() -> None:
    with pytest.raises(SelfTestError, match="a forbidden call ran"):
        Deaf(guard_of()).self_test()


# --- a blocked tool that would end the run -----------------------------------------------------------


class Counting(AgentMiddleware[Any, Any, Any]):
    def __init__(self) -> None:
        super().__init__()
        self.turns = 0

    def before_model(self, state: Any, runtime: Any) -> None:
        self.turns += 1

    async def abefore_model(self, state: Any, runtime: Any) -> None:
        self.turns += 1


@both_entries
@pytest.mark.parametrize("hooks", [False, True])
def test_blocked_tool_that_returns_directly_leaves_the_model_another_turn(entry: str, hooks: bool) -> None:
    model = Model([call(1, "look", path="secret")], [call(2, "look", path="notes")])
    guard = guard_of(NO_SECRETS)
    chain = [Counting(), guard] if hooks else [guard]
    state = start(agent_of(model, [look], *chain), entry)
    assert state["messages"][-1].content == "text of notes"
    assert len(model.requests) == 2
    assert model.results[0].status == "error"


@both_entries
@pytest.mark.parametrize("hooks", [False, True])
def test_blocked_tool_that_returns_directly_beside_others_gives_one_turn(entry: str, hooks: bool) -> None:
    model = Model([call(1, "look", path="secret"), call(2, "read", path="a"), call(3, "look", path="secret")])
    chain = [Counting(), guard_of(NO_SECRETS)] if hooks else [guard_of(NO_SECRETS)]
    start(agent_of(model, [look, read], *chain), entry)
    assert len(model.requests) == 2
    assert [message.status for message in model.results] == ["error", "success", "error"]


@both_entries
def test_blocked_wrapped_tool_that_returns_directly_leaves_the_model_another_turn_under_middleware(entry: str) -> None:
    model = Model([call(1, "look", path="secret")], [call(2, "look", path="notes")])
    adapter = LangChainAdapter(guard_of(NO_SECRETS))
    state = start(agent_of(model, adapter.wrap_tools([look]), adapter.as_middleware()), entry)
    assert state["messages"][-1].content == "text of notes"


# --- what programs read of a blocked call ------------------------------------------------------------


def test_message_of_a_blocked_call_says_for_programs_what_blocked_it() -> None:
    model = Model([call(1, "read", path="secret")])
    start(agent_of(model, [read], guard_of(NO_SECRETS)))
    (message,) = model.results
    assert (message.name, message.tool_call_id) == ("read", "call_1")
    assert message.response_metadata["edictum"] == {"blocked_by": "rule", "retry_may_help": False}


# --- who calls, and where ----------------------------------------------------------------------------


@both_entries
def test_calls_of_an_agent_inside_a_tool_name_the_call_that_they_are_part_of(entry: str) -> None:
    guard = guard_of(NO_SECRETS)
    inner = agent_of(Model([call(5, "read", path="a"), call(6, "read", path="secret")]), [read], guard, name="helper")

    @tool
    def delegate(task: str) -> str:
        """Hand over to the helper."""
        return str(inner.invoke({"messages": [("user", task)]})["messages"][-1].content)

    model = Model([call(1, "delegate", task="read"), call(2, "read", path="b")])
    start(agent_of(model, [delegate, read], guard, name="boss"), entry)
    found = {(event.call_id, event.parent_call_id, (event.metadata or {})["caller"]) for event in events_of(guard)}
    assert found == {
        ("call_1", None, "boss"),
        ("call_2", None, "boss"),
        ("call_5", "call_1", "helper"),
        ("call_6", "call_1", "helper"),
    }


@both_entries
def test_calls_without_a_thread_share_the_session_of_the_adapter(entry: str) -> None:
    guard = guard_of()
    middleware = EdictumMiddleware(guard)
    agent = agent_of(Model([call(1, "read", path="a")]), [read], middleware)
    given = {"messages": [("user", "go")]}
    if entry == "invoke":
        agent.invoke(given)
    else:
        start(agent, "ainvoke", thread="")
    assert {event.session_id for event in events_of(guard)} == {middleware.adapter.session_id}


def test_principal_set_later_counts_for_everything_made_of_the_adapter() -> None:
    guard = guard_of()
    adapter = LangChainAdapter(guard, principal=Principal(user_id="ann"))
    middleware = adapter.as_middleware(on_postcondition_warn=lambda result, violations: result)
    adapter.set_principal(Principal(user_id="bob"))
    start(agent_of(Model([call(1, "read", path="a")]), [read], middleware))
    assert {(event.principal or {})["user_id"] for event in events_of(guard)} == {"bob"}


@both_entries
@pytest.mark.parametrize("wrapped", [False, True])
def test_resolvers_see_context_store_and_configuration(entry: str, wrapped: bool) -> None:
    from langgraph.store.memory import InMemoryStore

    seen: list[Any] = []
    turns: list[int] = []

    def resolve(tool_name: str, args: Any, context: Any) -> Principal:
        seen.append((tool_name, dict(args), context.config["configurable"]["thread_id"], type(context.store)))
        turns.append(len(context.state.get("messages", ())))
        return Principal(user_id=context.context["user"])

    guard = guard_of()
    adapter = LangChainAdapter(
        guard, principal_resolver=resolve, session_resolver=lambda runtime: f"of-{runtime.context['user']}"
    )
    tools, chain = (adapter.wrap_tools([read]), []) if wrapped else ([read], [adapter.as_middleware()])
    agent = agent_of(Model([call(1, "read", path="a")]), tools, *chain, context_schema=dict, store=InMemoryStore())
    start(agent, entry, thread="thread-3", context={"user": "ann"})
    assert seen == [("read", {"path": "a"}, "thread-3", InMemoryStore)]
    assert turns == [0 if wrapped else 2]  # LangGraph shows the state to middleware only
    assert {event.session_id for event in events_of(guard)} == {"of-ann"}
