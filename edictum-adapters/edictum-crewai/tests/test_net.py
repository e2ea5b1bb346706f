"""
The net: who is in it, for how long, what it knows of a call, and what others can do to it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from typing import Any

import pytest
from crewai.hooks import (
    clear_all_tool_call_hooks,
    get_after_tool_call_hooks,
    get_before_tool_call_hooks,
    register_after_tool_call_hook,
    register_before_tool_call_hook,
    unregister_after_tool_call_hook,
    unregister_before_tool_call_hook,
)
from crewai.hooks.tool_hooks import ToolCallHookContext
from crews import (
    REASON,
    SECRET,
    actions,
    agent_of,
    ask,
    both_paths,
    both_ways,
    crew_of,
    events_of,
    forbidden,
    guard_of,
    mask,
    modern,
    no_secrets,
    older,
    play,
    raising,
    reader,
    rule,
    script_of,
    under,
)
from edictum import Principal, SelfTestError
from edictum.testing import AutoApprovalBackend
from edictum_crewai import CrewAIAdapter
from edictum_crewai._framework import MODERN_HOOKS
from edictum_crewai._net import REWRITTEN, WITHHELD, _passages
from edictum_crewai.scripted import ScriptedLLM, use


def hooks() -> tuple[list[Any], list[Any]]:
    return get_before_tool_call_hooks(), get_after_tool_call_hooks()


@pytest.fixture
def other_hooks() -> Iterator[Callable[..., None]]:
    """
    Registers hooks of somebody else.
    """
    befores: list[Any] = []
    afters: list[Any] = []

    def add(before: Any = None, after: Any = None) -> None:
        if before is not None:
            register_before_tool_call_hook(before)
            befores.append(before)
        if after is not None:
            register_after_tool_call_hook(after)
            afters.append(after)

    yield add
    for hook in befores:
        unregister_before_tool_call_hook(hook)
    for hook in afters:
        unregister_after_tool_call_hook(hook)


# --- registration ---------------------------------------------------------------------------------


def test_register_holds_until_the_last_handle_is_released() -> None:
    adapter = CrewAIAdapter(guard_of())
    first, second = adapter.register(), adapter.register()
    assert [len(each) for each in hooks()] == [1, 1]
    first.unregister()
    first.unregister()
    assert [len(each) for each in hooks()] == [1, 1]
    second.unregister()
    assert hooks() == ([], [])


def test_register_as_a_context_manager_releases_after_an_error() -> None:
    adapter = CrewAIAdapter(guard_of())
    with pytest.raises(RuntimeError), adapter.register():
        raise RuntimeError
    assert hooks() == ([], [])


def test_unregister_leaves_the_hooks_of_others(other_hooks: Callable[..., None]) -> None:
    other_hooks(before=print, after=repr)
    CrewAIAdapter(guard_of()).register().unregister()
    assert hooks() == ([print], [repr])


def test_unregister_after_all_hooks_were_cleared_is_harmless() -> None:
    handle = CrewAIAdapter(guard_of()).register()
    clear_all_tool_call_hooks()
    handle.unregister()
    assert hooks() == ([], [])


def test_nothing_is_governed_after_unregister() -> None:
    ran: list[str] = []
    guard = guard_of(no_secrets())
    CrewAIAdapter(guard).register().unregister()
    crew_of(script_of("secret.txt"), reader(ran)).kickoff()
    assert ran == ["secret.txt"]
    assert actions(guard) == []


@both_ways
def test_call_is_decided_once_however_many_nets_it_passes(way: str) -> None:
    guard = guard_of(mask())
    adapter = CrewAIAdapter(guard)
    given, net = under(adapter, way, reader([]))
    with net, adapter.register(), adapter.register(), adapter.scope(), adapter.scope():
        crew_of(script_of("a.txt"), *given).kickoff()
    assert actions(guard) == ["call_allowed", "call_executed"]


# --- scopes ---------------------------------------------------------------------------------------


def test_scope_governs_what_is_started_inside_and_leaves_nothing() -> None:
    ran: list[str] = []
    guard = guard_of(no_secrets())
    adapter = CrewAIAdapter(guard)
    with adapter.scope():
        crew_of(script_of("secret.txt"), reader(ran)).kickoff()
    assert ran == []
    crew_of(script_of("secret.txt"), reader(ran)).kickoff()
    assert ran == ["secret.txt"]
    assert hooks() == ([], [])


def test_scope_is_closed_after_an_error() -> None:
    adapter = CrewAIAdapter(guard_of(no_secrets()))
    with pytest.raises(RuntimeError), adapter.scope():
        raise RuntimeError
    ran: list[str] = []
    crew_of(script_of("secret.txt"), reader(ran)).kickoff()
    assert ran == ["secret.txt"]


def test_scope_inside_a_scope_keeps_the_outer_one_in_force() -> None:
    ran: list[str] = []
    outer, inner = guard_of(no_secrets()), guard_of(forbidden("write_file"))
    with CrewAIAdapter(outer).scope(), CrewAIAdapter(inner).scope():
        crew_of(script_of("secret.txt", "a.txt"), reader(ran)).kickoff()
    assert ran == ["a.txt"]
    assert actions(outer) == ["call_denied", "call_allowed", "call_executed"]
    assert "call_executed" in actions(inner)


@modern
def test_scope_reaches_batches_in_threads() -> None:
    ran: list[str] = []
    meeting = threading.Barrier(2)

    def body(path: str) -> str:
        meeting.wait(20)
        return "text"

    guard = guard_of(no_secrets())
    llm = ScriptedLLM.of(
        [use("read_file", path=path) for path in ("a.txt", "b.txt")], [use("read_file", path="secret")]
    )
    with CrewAIAdapter(guard).scope():
        crew_of(llm, reader(ran, body)).kickoff()
    assert sorted(ran) == ["a.txt", "b.txt"]
    assert actions(guard).count("call_executed") == 2


@pytest.mark.parametrize("way", ["wrapped", pytest.param("net", marks=modern)])
def test_crews_with_different_guards_in_one_process_do_not_see_each_other(way: str) -> None:
    meeting = threading.Barrier(2)

    def body(path: str) -> str:
        meeting.wait(20)
        return "text"

    def run(guard: Any, path: str) -> None:
        adapter = CrewAIAdapter(guard)
        tool = reader([], body)
        if way == "wrapped":
            crew_of(script_of(path), *adapter.wrap_tools([tool])).kickoff()
        else:
            with adapter.scope():
                crew_of(script_of(path), tool).kickoff()

    guards = guard_of(no_secrets()), guard_of(forbidden("write_file"))
    with ThreadPoolExecutor(2) as pool:
        for work in [
            pool.submit(run, guard, path) for guard, path in zip(guards, ("a.txt", "secret.txt"), strict=True)
        ]:
            work.result(60)
    for guard, path in zip(guards, ("a.txt", "secret.txt"), strict=True):
        assert [(str(event.action), event.tool_args["path"]) for event in events_of(guard)] == [
            ("call_allowed", path),
            ("call_executed", path),
        ]


def test_wrapped_tool_of_one_guard_is_not_caught_in_the_net_of_another() -> None:
    ran: list[str] = []
    mine, theirs = guard_of(), guard_of(no_secrets())
    with CrewAIAdapter(theirs).register():
        crew_of(script_of("secret.txt"), *CrewAIAdapter(mine).wrap_tools([reader(ran)])).kickoff()
    assert ran == ["secret.txt"]
    assert actions(mine) == ["call_allowed", "call_executed"]
    assert actions(theirs) == []


# --- what is known of a call ----------------------------------------------------------------------


@both_paths
@both_ways
def test_events_say_whose_call_it_is_and_rules_can_ask(way: str, native: bool) -> None:
    guard = guard_of(rule("not-the-reader", "*", {"metadata.crewai.agent_role": {"equals": "reader"}}))
    adapter = CrewAIAdapter(guard)
    given, net = under(adapter, way, reader([]))
    crew = crew_of(script_of("a.txt", native=native), *given)
    with net, adapter.register():
        crew.kickoff()
    (event,) = events_of(guard)
    assert str(event.action) == "call_denied"
    assert event.session_id == str(crew.id)
    assert event.metadata["caller"] == "reader"


@both_ways
def test_resolvers_see_the_context_of_crewai(way: str) -> None:
    seen: list[Any] = []

    def principal(tool_name: str, args: Any, context: Any) -> Principal:
        seen.append(context)
        return Principal(user_id=context.agent.role, claims={"crew": context.crew.name})

    guard = guard_of()
    adapter = CrewAIAdapter(
        guard, principal_resolver=principal, session_resolver=lambda context: f"session of {context.crew.name}"
    )
    given, net = under(adapter, way, reader([]))
    with net, adapter.register():
        crew_of(script_of("a.txt"), *given, name="librarians").kickoff()
    assert all(isinstance(context, ToolCallHookContext) for context in seen)
    for event in events_of(guard):
        assert event.session_id == "session of librarians"
        assert event.principal is not None
        assert (event.principal["user_id"], event.principal["claims"]) == ("reader", {"crew": "librarians"})


def test_wrapped_tool_without_a_net_has_no_context_and_the_session_of_the_adapter() -> None:
    seen: list[Any] = []
    guard = guard_of()
    adapter = CrewAIAdapter(guard, session_resolver=lambda context: seen.append(context))
    crew_of(script_of("a.txt"), *adapter.wrap_tools([reader([])])).kickoff()
    assert seen == [None]
    assert {event.session_id for event in events_of(guard)} == {adapter.session_id}


def test_tool_that_calls_a_wrapped_one_is_not_taken_for_it() -> None:
    contexts: list[Any] = []
    guard = guard_of()
    adapter = CrewAIAdapter(guard, session_resolver=lambda context: contexts.append(context))
    (inner,) = adapter.wrap_tools([reader([])])
    outer = reader([], lambda path: inner.run(path="inner.txt"))
    outer.name = "Outer"
    with adapter.register():
        crew_of(ScriptedLLM.of([use("outer", path="a.txt")]), outer).kickoff()
    assert [context is None for context in contexts] == [False, True]
    assert [(str(event.action), event.tool_name) for event in events_of(guard)] == [
        ("call_allowed", "outer"),
        ("call_allowed", "read_file"),
        ("call_executed", "read_file"),
        ("call_executed", "outer"),
    ]


def test_arguments_are_judged_as_a_plain_tool_gets_them() -> None:
    ran: list[Any] = []
    from crewai.tools import tool

    @tool("read_file")
    def read_file(path: str = "secret.txt", lines: int = 1) -> str:
        """
        Read a file.
        """
        ran.append((path, lines))
        return "text"

    guard = guard_of(no_secrets(), rule("few-lines", "read_file", {"args.lines": {"gt": 100}}))
    llm = ScriptedLLM.of(
        [use("read_file")], [use("read_file", path="a.txt", lines="500")], [use("read_file", path="a.txt", lines="5")]
    )
    play(CrewAIAdapter(guard), "net", llm, read_file)
    assert ran == [("a.txt", 5)]
    assert [event.decision_name for event in events_of(guard)[:2]] == ["no-secrets", "few-lines"]


def test_agent_without_a_crew_is_in_the_net() -> None:
    ran: list[str] = []
    guard = guard_of(no_secrets())
    llm = script_of("secret.txt", "a.txt")
    with CrewAIAdapter(guard).register():
        agent_of(llm, reader(ran)).kickoff("go")
    assert ran == ["a.txt"]
    assert REASON in llm.results()[0]


# --- what others can do ---------------------------------------------------------------------------


@both_paths
def test_hook_behind_the_net_that_rewrites_arguments_is_seen(native: bool, other_hooks: Callable[..., None]) -> None:
    def rewrite(context: Any) -> None:
        context.tool_input["path"] = "secret.txt"

    guard = guard_of(no_secrets())
    adapter = CrewAIAdapter(guard)
    llm = script_of("a.txt", native=native)
    with adapter.register():
        other_hooks(before=rewrite)
        with pytest.raises(SelfTestError, match=r"the hook .*rewrite runs after the decision"):
            adapter.self_test()
        crew_of(llm, reader([], SECRET)).kickoff()
    assert actions(guard) == ["call_allowed", "call_failed"]
    assert llm.results() == [REWRITTEN]
    assert SECRET not in llm.saw()


def test_hook_behind_the_net_that_changes_nothing_does_no_harm(other_hooks: Callable[..., None]) -> None:
    seen: list[str] = []
    guard = guard_of()
    llm = script_of("a.txt")
    with CrewAIAdapter(guard).register():
        other_hooks(before=lambda context: seen.append(context.tool_name))
        crew_of(llm, reader([])).kickoff()
    assert seen == ["read_file"]
    assert llm.results() == ["text of a.txt"]
    assert actions(guard) == ["call_allowed", "call_executed"]


@pytest.mark.parametrize("lines", [5, "5"], ids=["as they are", "converted"])
def test_arguments_that_change_while_somebody_is_asked_do_not_run(lines: object) -> None:
    from crewai.tools import tool

    ran: list[str] = []
    args = {"path": "a.txt", "lines": lines}

    @tool("read_file")
    def read_file(path: str, lines: int) -> str:
        """
        Read a file.
        """
        ran.append(path)
        return "text"

    async def meanwhile() -> None:
        args["path"] = "other.txt"

    desk = AutoApprovalBackend("approved", meanwhile=meanwhile)
    asked = use("read_file")
    asked["function"]["arguments"] = args
    llm = ScriptedLLM.of([asked])
    play(CrewAIAdapter(guard_of(ask(), approval_backend=desk)), "net", llm, read_file)
    assert len(desk.requests) == 1
    assert ran == []
    assert "changed" in llm.results()[0]


@both_paths
def test_call_that_another_hook_blocks_is_no_parent_of_later_calls(
    native: bool, other_hooks: Callable[..., None]
) -> None:
    guard = guard_of()
    adapter = CrewAIAdapter(guard)
    with adapter.register():
        other_hooks(before=lambda context: False)
        crew_of(script_of("a.txt", native=native), reader([])).kickoff()
    (tool,) = adapter.wrap_tools([reader([])])
    tool.run(path="b.txt")
    assert [event.parent_call_id for event in events_of(guard)] == [None, None, None]


@both_paths
def test_hook_that_blocks_what_the_guard_allowed_leaves_no_outcome(
    native: bool, other_hooks: Callable[..., None]
) -> None:
    ran: list[str] = []
    guard = guard_of()
    with CrewAIAdapter(guard).register():
        other_hooks(before=lambda context: False)
        crew_of(script_of("a.txt", native=native), reader(ran)).kickoff()
    assert ran == []
    assert actions(guard) == ["call_allowed"]


def test_hook_before_the_net_that_blocks_leaves_no_decision(other_hooks: Callable[..., None]) -> None:
    guard = guard_of()
    llm = script_of("a.txt")
    other_hooks(before=lambda context: False)
    with CrewAIAdapter(guard).register():
        crew_of(llm, reader([])).kickoff()
    assert actions(guard) == []
    assert "blocked by hook" in llm.results()[0]


@modern
def test_hook_that_raises_does_not_open_the_net(other_hooks: Callable[..., None]) -> None:
    ran: list[str] = []
    llm = script_of("secret.txt", "a.txt")
    other_hooks(before=raising, after=raising)
    with CrewAIAdapter(guard_of(no_secrets(), mask())).register():
        crew_of(llm, reader(ran, SECRET)).kickoff()
    assert ran == ["a.txt"]
    assert REASON in llm.results()[0]
    assert SECRET not in llm.saw()


@older
@both_paths
def test_call_that_passed_the_net_because_another_hook_raised_is_withheld(
    native: bool, other_hooks: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    llm = script_of("a.txt", native=native)
    other_hooks(before=raising)
    with CrewAIAdapter(guard_of()).register():
        crew_of(llm, reader([], SECRET)).kickoff()
    assert llm.results() == [WITHHELD]
    assert "ran undecided" in caplog.text


def test_self_test_notices_that_the_hooks_are_gone() -> None:
    ran: list[str] = []
    guard = guard_of(no_secrets())
    adapter = CrewAIAdapter(guard)
    with adapter.register():
        adapter.self_test()
        clear_all_tool_call_hooks()
        with pytest.raises(SelfTestError, match=r"call register\(\) after it"):
            adapter.self_test()
        crew_of(script_of("secret.txt"), *adapter.wrap_tools([reader(ran)])).kickoff()
    assert ran == []  # wrapped tools need no hook


def test_self_test_leaves_nothing_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    guard = guard_of()
    adapter = CrewAIAdapter(guard, session_resolver=raising, principal_resolver=raising)
    adapter.self_test()
    assert actions(guard) == []
    assert hooks() == ([], [])
    assert capfd.readouterr().out == ""


def test_self_test_works_inside_a_running_event_loop() -> None:
    async def main() -> None:
        CrewAIAdapter(guard_of()).self_test()

    asyncio.run(main())


def test_self_test_does_not_disturb_crews_that_run_meanwhile() -> None:
    guard = guard_of()
    adapter = CrewAIAdapter(guard)
    llm = script_of("a.txt")

    def body(path: str) -> str:
        adapter.self_test()
        return "text"

    with adapter.register():
        crew_of(llm, reader([], body)).kickoff()
    assert llm.results() == ["text"]
    assert actions(guard) == ["call_allowed", "call_executed"]


@pytest.mark.parametrize("part", ["call_of", "before"])
def test_self_test_fails_where_nothing_is_in_the_way(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from edictum_crewai import _net, _tools

    if part == "before":
        monkeypatch.setattr(_net.Net, "before", lambda self, context: None)
    else:
        monkeypatch.setattr(_tools.GovernedTool, "_run", lambda self, **args: self._inner._run(**args))
    with pytest.raises(SelfTestError, match="a forbidden call ran"):
        CrewAIAdapter(guard_of()).self_test()


def test_release_with_scopes_is_known_as_one() -> None:
    import crewai.hooks

    assert hasattr(crewai.hooks, "dispatch") is MODERN_HOOKS


def test_context_that_outlives_a_call_does_not_keep_it() -> None:
    """
    For example of a thread that the tool has started.
    """
    kept: list[Context] = []

    def read(path: str) -> str:
        kept.append(copy_context())
        return path

    adapter = CrewAIAdapter(guard_of())
    with adapter.register():
        crew_of(script_of("a.txt"), reader([], read)).kickoff()
    (context,) = kept
    assert [passage.call for passage in context[_passages]] == [None]
