"""
Tool calls: the frozen snapshot of a call, its id, and what a guard does with one that cannot be read.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import edictum
import pytest
from edictum import (
    Edictum,
    EdictumDenied,
    Principal,
    SideEffect,
    ToolCall,
    ToolRegistry,
    create_tool_call,
)
from edictum.tool_call import new_call_id
from guards import actions

SOURCE = Path(edictum.__file__).parents[1]


def cyclic() -> dict[str, Any]:
    args: dict[str, Any] = {}
    args["self"] = args
    return args


def nested(depth: int) -> dict[str, Any]:
    value: Any = "leaf"
    for _ in range(depth):
        value = [value]
    return {"value": value}


class Uncopyable:
    """
    Like a lock or a connection: it refuses to be copied.
    """

    label = "shared"

    def __deepcopy__(self, memo: object) -> object:
        raise TypeError("no copies")


# --- the snapshot ---------------------------------------------------------------------------------


def test_tool_call_defaults_are_the_strictest() -> None:
    call = ToolCall("read")

    assert (call.side_effect, call.idempotent) == (SideEffect.IRREVERSIBLE, False)
    assert (call.environment, call.run_id, call.call_index, call.caller) == ("production", "", 0, "")
    assert call.timestamp.utcoffset() == datetime.now(UTC).utcoffset()
    assert call.notes == ()


def test_tool_call_args_keep_their_types() -> None:
    args = {"map": {1: "a", (2, 3): None}, "tuple": (1, [2]), "set": {1, 2}, "bytes": b"\xff", "list": [1.5, True]}

    call = create_tool_call("read", args)

    assert args == call.args
    assert {1, (2, 3)} == set(call.args["map"])
    assert [tuple, frozenset, bytes] == [type(call.args[name]) for name in ("tuple", "set", "bytes")]
    assert isinstance(call.args["list"], list)


def test_tool_call_args_do_not_follow_the_original() -> None:
    args: dict[str, Any] = {"list": [1], "map": {"inner": {"x": 1}}, "buffer": bytearray(b"ab")}
    call = create_tool_call("read", args, metadata={"m": [1]})

    args["list"].append(2)
    args["map"]["inner"]["x"] = 2
    args["buffer"][0] = 0
    args["new"] = 1

    assert call.args == {"list": [1], "map": {"inner": {"x": 1}}, "buffer": b"ab"}


@pytest.mark.parametrize("field", ["tool_name", "args", "call_id", "side_effect", "principal"])
def test_tool_call_fields_cannot_be_set(field: str) -> None:
    with pytest.raises(AttributeError):
        setattr(create_tool_call("read", {}), field, None)


def test_tool_call_made_by_a_guard_cannot_be_set() -> None:
    """
    Guards build calls by another way than the constructor.
    """
    seen: list[ToolCall] = []
    guard = Edictum(on_allow=seen.append)
    asyncio.run(guard.run("read", {"a": [1]}, lambda a: a))

    with pytest.raises(AttributeError):
        seen[0].tool_name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        seen[0].args["a"] = 2  # type: ignore[index]
    assert type(seen[0]) is ToolCall


def test_tool_call_to_dict_is_a_copy_to_change() -> None:
    call = create_tool_call("read", {"a": [1]}, metadata={"m": {"n": 1}}, principal=Principal("u", claims={"c": [1]}))

    data = call.to_dict()
    data["args"]["a"].append(2)
    data["metadata"]["m"]["n"] = 2
    data["principal"]["claims"]["c"].append(2)

    assert call.args == {"a": [1]}
    assert call.metadata == {"m": {"n": 1}}
    assert call.principal is not None
    assert call.principal.claims == {"c": [1]}
    assert ("read", "irreversible", call.timestamp.isoformat()) == (
        data["tool_name"],
        data["side_effect"],
        data["timestamp"],
    )


def test_principal_claims_are_copied_and_read_only() -> None:
    claims = {"roles": ["dev"]}
    principal = Principal(claims=claims)

    claims["roles"].append("admin")

    assert principal.claims == {"roles": ["dev"]}
    with pytest.raises(TypeError):
        principal.claims["roles"].append("admin")


def test_tool_call_uncopyable_argument_is_noted_and_readable() -> None:
    thing = Uncopyable()

    call = create_tool_call("read", {"thing": thing})

    assert call.args["thing"].label == "shared"
    assert len(call.notes) == 1
    assert "Uncopyable" in call.notes[0]
    with pytest.raises(TypeError):
        call.args["thing"].label = "changed"


def test_run_uncopyable_argument_is_noted_in_the_event_and_reaches_the_tool() -> None:
    thing = Uncopyable()
    guard = Edictum()

    assert thing is asyncio.run(guard.run("read", {"thing": thing}, lambda thing: thing))
    metadata = guard.local_sink.events[0].metadata
    assert metadata is not None
    assert "Uncopyable" in metadata["notes"][0]


@pytest.mark.parametrize("args", [cyclic(), nested(101)], ids=["cyclic", "too deep"])
def test_tool_call_bottomless_args_are_refused(args: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="nested deeper than 100"):
        create_tool_call("read", args)


def test_tool_call_args_of_the_greatest_depth_are_taken() -> None:
    assert nested(100) == create_tool_call("read", nested(100)).args


@pytest.mark.parametrize("args", [cyclic(), nested(101), ["no", "map"], None], ids=["cyclic", "deep", "list", "None"])
def test_run_unreadable_args_are_a_block_with_an_event(args: Any) -> None:
    ran: list[object] = []
    guard = Edictum()

    with pytest.raises(EdictumDenied) as caught:
        asyncio.run(guard.run("read", args, ran.append))

    assert caught.value.decision_source == "invalid_call"
    event = guard.local_sink.last()
    assert (event.action, event.decision_source, event.policy_error) == ("call_denied", "invalid_call", True)
    assert ran == []


def test_run_unreadable_args_in_observe_mode_are_logged_and_passed_on() -> None:
    guard = Edictum(mode="observe")
    args = nested(150)

    assert args["value"] is asyncio.run(guard.run("read", args, lambda value: value))
    assert actions(guard) == ["call_would_deny", "call_executed"]


# --- fields read from arguments -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "args", "command", "side_effect"),
    [
        ("Bash", {"command": "ls -la"}, "ls -la", SideEffect.READ),
        ("Bash", {"command": "rm x"}, "rm x", SideEffect.IRREVERSIBLE),
        ("Bash", {"command": ["cat", "a b"]}, "cat 'a b'", SideEffect.READ),
        ("Bash", {"command": ("rm", "-r", "x")}, "rm -r x", SideEffect.IRREVERSIBLE),
        ("Bash", {}, None, SideEffect.READ),
        ("bash", {"command": "ls"}, None, SideEffect.IRREVERSIBLE),
    ],
)
def test_tool_call_shell_command_is_read_and_judged(
    tool: str, args: dict[str, Any], command: str | None, side_effect: SideEffect
) -> None:
    call = create_tool_call(tool, args)

    assert (command, side_effect) == (call.bash_command, call.side_effect)


@pytest.mark.parametrize("command", [5, {"a": 1}, ["ls", 5], b"ls"])
def test_tool_call_shell_command_that_is_no_text_counts_as_irreversible(command: Any) -> None:
    registry = ToolRegistry()
    registry.register("Bash", SideEffect.PURE)

    call = create_tool_call("Bash", {"command": command}, registry=registry)

    assert (call.bash_command, call.side_effect) == (None, SideEffect.IRREVERSIBLE)
    assert len(call.notes) == 1


def test_tool_call_shell_classifier_wins_over_the_registry() -> None:
    registry = ToolRegistry()
    registry.register("Bash", SideEffect.PURE)
    registry.register("sh", SideEffect.READ, shell=True)

    found = [create_tool_call(name, {"command": "rm x"}, registry=registry).side_effect for name in ("Bash", "sh")]

    assert found == [SideEffect.IRREVERSIBLE] * 2


@pytest.mark.parametrize("tool", ["Read", "Glob", "Grep", "Write", "Edit"])
@pytest.mark.parametrize(
    ("args", "path"),
    [
        ({"file_path": "a", "filePath": "b", "path": "c"}, "a"),
        ({"filePath": "b", "path": "c"}, "b"),
        ({"path": "c"}, "c"),
        ({"file_path": "", "path": "c"}, "c"),
        ({"file_path": 5}, None),
        ({}, None),
    ],
)
def test_tool_call_file_path_is_the_first_of_three_keys(tool: str, args: dict[str, Any], path: str | None) -> None:
    assert path == create_tool_call(tool, args).file_path


def test_tool_call_file_path_of_another_tool_stays_empty() -> None:
    assert create_tool_call("read", {"path": "c"}).file_path is None


def test_create_tool_call_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="no field 'colour'"):
        create_tool_call("read", {}, colour="red")


def test_run_unknown_field_is_a_block_with_an_event() -> None:
    guard = Edictum()

    with pytest.raises(EdictumDenied):
        asyncio.run(guard.run("read", {}, lambda: 1, colour="red"))
    assert actions(guard) == ["call_denied"]


def test_run_takes_over_the_fields_of_the_caller() -> None:
    seen: list[ToolCall] = []
    guard = Edictum(on_allow=seen.append, principal=Principal("static"))
    asyncio.run(
        guard.run(
            "read", {}, lambda: 1,
            session_id="s", environment="staging", principal=Principal("u"), metadata={"k": [1]},
            parent_call_id="p", tool_use_id="t", caller="agent", call_index=3,
        )
    )  # fmt: skip

    call = seen[0]
    assert ("s", "staging", Principal("u"), {"k": [1]}) == (
        call.run_id,
        call.environment,
        call.principal,
        call.metadata,
    )
    assert (call.parent_call_id, call.tool_use_id, call.caller, call.call_index) == ("p", "t", "agent", 3)


# --- ids ------------------------------------------------------------------------------------------


def test_call_ids_are_unique_version_4_uuids() -> None:
    ids = [new_call_id() for _ in range(100_000)]

    assert len(ids) == len(set(ids))
    sample = [uuid.UUID(call_id) for call_id in ids[::50]]
    assert {(4, uuid.RFC_4122)} == {(found.version, found.variant) for found in sample}
    assert ids[::50] == [str(found) for found in sample]


def test_call_ids_drawn_by_threads_are_unique() -> None:
    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.extend([new_call_id() for _ in range(5_000)])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(ids) == len(set(ids)) == 40_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_call_ids_of_a_forked_child_are_its_own() -> None:
    script = """
import os
from edictum.tool_call import new_call_id
new_call_id()  # more ids are drawn than are used: both processes could go on with the rest
read, write = os.pipe()
child = os.fork()
ids = [new_call_id() for _ in range(500)]
if not child:
    os.write(write, "\\n".join(ids).encode())
    os._exit(0)
os.close(write)
with os.fdopen(read) as pipe:
    others = pipe.read().split()
os.waitpid(child, 0)
print(len(others), len(set(ids) & set(others)))
"""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    found = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)

    assert found.stdout.split() == ["500", "0"]
