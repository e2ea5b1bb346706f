"""
A ruleset replaced while calls are on their way: each call is judged by one ruleset from start to end.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import pytest
from backends import PlainBackend
from edictum import AuditEvent, Edictum, EdictumConfigError, EdictumDenied, OperationLimits
from edictum.testing.running import in_threads
from guards import post, pre, ruleset


def versioned(letter: str) -> dict[str, Any]:
    """
    A ruleset that blocks odd numbers; its letter can be read off every decision.
    """
    return ruleset(
        pre(f"{letter}-never", when={"args.number": {"lt": 0}}),
        pre(f"{letter}-odd", when={"args.number": {"gt": 0}}, message=f"{letter} blocks"),
        post(f"{letter}-post", when={"output.text": {"contains": "done"}}),
    )


@pytest.mark.parametrize("threads", [False, True], ids=["tasks", "threads"])
def test_reload_during_1000_calls_never_mixes_two_rulesets(threads: bool) -> None:
    limits = OperationLimits(max_attempts=10_000, max_tool_calls=10_000)
    guard = Edictum.from_bundle_dict(versioned("a"), backend=PlainBackend(yields=True), limits=limits)
    versions = {Edictum.from_bundle_dict(versioned(letter)).policy_version: letter for letter in "ab"}
    reasons: dict[str, str] = {}

    async def one(number: int, session_id: str) -> None:
        call = guard.govern("read", {"number": number % 2}, session_id=session_id)
        try:
            await call.begin()
        except EdictumDenied as denied:
            reasons[call.call.call_id] = denied.reason
            return
        await asyncio.sleep(0)
        await call.finish("done")

    async def worker(session_id: str, number: int, *, reloads: bool) -> None:
        """
        Calls one after the other; the worker that reloads sees both rulesets for certain.
        """
        for at in range(number):
            if reloads:
                await guard.reload(versioned("ba"[at % 2]))
            await one(at // 2, session_id)

    async def workers(number: int) -> None:
        await asyncio.gather(*(worker(f"s{at}", 20, reloads=at == 0) for at in range(number)))

    if threads:
        in_threads(5, lambda: asyncio.run(workers(10)))
    else:
        asyncio.run(workers(50))

    calls: dict[str, list[AuditEvent]] = defaultdict(list)
    for event in guard.local_sink.events:
        calls[event.call_id].append(event)
    assert len(calls) == 1_000
    assert {"a", "b"} == {versions[event.policy_version] for (event, *_) in calls.values()}
    for call_id, events in calls.items():
        (version,) = {event.policy_version for event in events}
        letter = versions[version]
        rules = {record["name"][0] for event in events for record in event.contracts_evaluated}
        assert {letter} == rules
        if call_id in reasons:
            assert [str(event.action) for event in events] == ["call_denied"]
            assert f"{letter} blocks" == reasons[call_id] == events[0].reason
        else:
            assert [str(event.action) for event in events] == ["call_allowed", "call_executed"]


def test_reload_while_a_tool_runs_judges_its_result_by_the_old_ruleset() -> None:
    guard = Edictum.from_bundle_dict(versioned("a"))
    old = guard.policy_version

    async def tool(number: int) -> str:
        await guard.reload(versioned("b"))
        return "done"

    asyncio.run(guard.run("read", {"number": 0}, tool))

    assert {old} == {event.policy_version for event in guard.local_sink.events}
    assert [record["name"] for record in guard.local_sink.last().contracts_evaluated] == ["a-post"]
    assert old != guard.policy_version


def test_reload_before_a_call_begins_leaves_it_to_the_old_ruleset() -> None:
    guard = Edictum.from_bundle_dict(versioned("a"))
    old = guard.policy_version

    async def main() -> str:
        call = guard.govern("read", {"number": 1})
        await guard.reload(versioned("b"))
        with pytest.raises(EdictumDenied) as caught:
            await call.begin()
        return caught.value.reason

    assert asyncio.run(main()) == "a blocks"
    assert old == guard.local_sink.last().policy_version


def test_reload_of_a_broken_ruleset_during_calls_changes_nothing() -> None:
    guard = Edictum.from_bundle_dict(versioned("a"), backend=PlainBackend(yields=True))

    async def main() -> tuple[Any, ...]:
        calls = (attempt_number(guard, number % 2) for number in range(40))
        return tuple(await asyncio.gather(guard.reload({"kind": "Nonsense"}), *calls, return_exceptions=True))

    failed, *allowed = asyncio.run(main())
    assert isinstance(failed, EdictumConfigError)
    assert allowed == [True, False] * 20


async def attempt_number(guard: Edictum, number: int) -> bool:
    try:
        await guard.run("read", {"number": number}, lambda number: "done")
    except EdictumDenied:
        return False
    return True
