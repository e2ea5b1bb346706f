"""
Tool names: which are refused, and what a guard does with a call of such a name.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from edictum import Edictum, EdictumDenied, ToolCall, create_envelope, create_tool_call
from guards import actions, ask, guard_of, pre

INVALID_NAMES = {
    "empty": "",
    "blank": " ",
    "leading blank": " read",
    "trailing newline": "read\n",
    "NUL": "re\x00ad",
    "escape": "re\x1bad",
    "DEL": "re\x7fad",
    "C1 control": "re\x9bad",
    "slash": "a/b",
    "backslash": "a\\b",
    "bidi override": "re\u202ead",
    "bidi isolate": "re\u2066ad",
    "right-to-left mark": "re\u200fad",
    "arabic letter mark": "re\u061cad",
    "zero-width space": "re\u200bad",
    "word joiner": "re\u2060ad",
    "byte order mark": "\ufeffread",
    "line separator": "re\u2028ad",
    "surrogate": "re\ud800ad",
    "513 characters": "a" * 513,
}
each_invalid_name = pytest.mark.parametrize("name", INVALID_NAMES.values(), ids=INVALID_NAMES)

VALID_NAMES = ["a", "a" * 512, "mcp__server-1.tool:x", "Lies_Dateï", "日本", "read file", "a*b"]


@each_invalid_name
@pytest.mark.parametrize("make", [ToolCall, lambda name: create_envelope(name, {})], ids=["class", "factory"])
def test_tool_call_invalid_name_is_refused(make: Any, name: str) -> None:
    with pytest.raises(ValueError, match="Invalid tool_name: "):
        make(name)


@pytest.mark.parametrize("name", VALID_NAMES)
def test_tool_call_unusual_name_is_taken(name: str) -> None:
    assert name == create_tool_call(name, {}).tool_name == ToolCall(name).tool_name


@each_invalid_name
def test_run_invalid_name_is_a_block_with_an_event(name: str) -> None:
    guard = Edictum()

    with pytest.raises(EdictumDenied) as caught:
        asyncio.run(guard.run(name, {}, lambda: 1))

    assert caught.value.decision_source == "invalid_tool_name"
    event = guard.local_sink.last()
    assert ("call_denied", "invalid_tool_name", name) == (event.action, event.decision_source, event.tool_name)
    event.to_json().encode("utf-8")


@pytest.mark.parametrize("name_policy", ["strict", "lenient"])
def test_run_invalid_name_is_blocked_by_a_rule_first(name_policy: str) -> None:
    rule = pre("no-env", tool="read*", when={"args.path": {"contains": ".env"}})
    guard = guard_of(rule, name_policy=name_policy)

    with pytest.raises(EdictumDenied) as caught:
        asyncio.run(guard.run("read/../x", {"path": "/.env"}, lambda path: path))

    assert (caught.value.decision_source, caught.value.decision_name) == ("yaml_precondition", "no-env")


@each_invalid_name
def test_run_invalid_name_with_lenient_policy_passes(name: str) -> None:
    guard = Edictum(name_policy="lenient")

    assert asyncio.run(guard.run(name, {}, lambda: 1)) == 1
    assert actions(guard) == ["call_allowed", "call_executed"]


def test_run_invalid_name_is_blocked_before_anyone_is_asked() -> None:
    with pytest.raises(EdictumDenied) as caught:
        asyncio.run(guard_of(ask()).run("a/b", {}, lambda: 1))

    assert caught.value.decision_source == "invalid_tool_name"
