"""
Replacing the ruleset of a living guard.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest
from edictum import (
    Decision,
    Edictum,
    EdictumConfigError,
    EdictumDenied,
    OperationLimits,
    SideEffect,
    precondition,
)
from guards import Tool, actions, denial, events_of, guard_of, pre, ruleset, run, text_of

LONG = {"args.path": {"longer_than": 3}}
OPERATORS = {"longer_than": lambda value, operand: len(value) > operand}


def test_reload_reproduces_the_factory() -> None:
    own = {"read": {"side_effect": "pure"}}
    guard = Edictum.from_bundle_dict(
        ruleset(tools={"read": {"side_effect": "write"}, "stale": {"side_effect": "read"}}),
        tools=own,
        custom_operators=OPERATORS,
        environment="staging",
        limits=OperationLimits(max_tool_calls=9),
    )
    before = guard.policy_version
    new = ruleset(pre(when=LONG), mode="observe", tools={"read": {"side_effect": "write"}})
    new["rules"][0]["mode"] = "enforce"
    asyncio.run(guard.reload(new))
    assert guard.tool_registry.classify("read")[0] is SideEffect.PURE
    assert guard.tool_registry.classify("stale")[0] is SideEffect.IRREVERSIBLE
    assert (guard.mode, guard.environment, guard.limits.max_tool_calls) == ("observe", "staging", 9)
    run(guard, args={"path": "abcd"})
    assert actions(guard) == ["call_would_deny", "call_executed"]
    assert {event.policy_version for event in events_of(guard)} == {guard.policy_version} != {before}


def test_reload_keeps_a_mode_that_was_chosen() -> None:
    chosen, switched = guard_of(mode="enforce"), guard_of()
    switched.mode = "enforce"
    for guard in (chosen, switched):
        asyncio.run(guard.reload(ruleset(mode="observe")))
        assert guard.mode == "enforce"


def test_reload_keeps_python_rules_hooks_and_sessions() -> None:
    @precondition("write")
    def in_python(call: Any) -> Decision:
        return Decision.fail("python")

    guard = guard_of(rules=[in_python], limits=OperationLimits(max_tool_calls=2))
    run(guard)
    asyncio.run(guard.reload(text_of()))
    assert denial(guard, name="write").decision_name == "in_python"
    run(guard)
    assert denial(guard).decision_name == "max_tool_calls"


@pytest.mark.fault
@pytest.mark.parametrize(
    "content",
    ["{", "[]", {"kind": "Ruleset"}, text_of(pre(when=LONG)), text_of(pre(when={"args.path": {"matches": "("}}))],
)
def test_reload_that_fails_keeps_the_rules_in_force(content: Any) -> None:
    guard = guard_of(pre())
    described = guard.describe()
    with pytest.raises(EdictumConfigError):
        asyncio.run(guard.reload(content))
    assert guard.describe() == described
    assert denial(guard).decision_name == "no-read"


def test_reload_from_disk_reads_the_file_again(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    path.write_text(text_of(pre("old")))
    guard = Edictum.from_yaml(path)
    assert guard.describe()["sources"] == [str(path)]
    path.write_text(text_of(pre("new")))
    asyncio.run(guard.reload_from_disk())
    assert denial(guard).decision_name == "new"
    path.unlink()
    with pytest.raises(FileNotFoundError):
        asyncio.run(guard.reload_from_disk())
    assert denial(guard).decision_name == "new"


def test_reload_from_disk_without_a_file_is_an_error() -> None:
    with pytest.raises(EdictumConfigError, match="from_yaml"):
        asyncio.run(guard_of().reload_from_disk())


def test_reload_while_calls_run_lets_each_see_one_ruleset_only() -> None:
    async def main() -> set[tuple[str, str]]:
        many = OperationLimits(max_attempts=10**9)
        guard = Edictum.from_bundle_dict(ruleset(pre("a"), pre("b", tool="other")), "v1", limits=many)
        seen = set()
        documents = [text_of(pre("c")), text_of(pre("d"))]
        versions = {hashlib.sha256(text.encode()).hexdigest(): name for text, name in zip(documents, "cd", strict=True)}
        versions["v1"] = "a"

        async def reload() -> None:
            for text in documents * 5:
                await guard.reload(text)

        async def call() -> None:
            with pytest.raises(EdictumDenied) as raised:
                await guard.run("read", {}, Tool())
            seen.add((str(raised.value.decision_name), versions[str(events_of(guard)[-1].policy_version)]))

        task = asyncio.create_task(reload())
        while not task.done():
            await call()
            await asyncio.sleep(0)
        await task
        await call()
        return seen

    seen = asyncio.run(main())
    assert ("d", "d") in seen
    assert all(rule == version for rule, version in seen)
