"""
The table of hosts: payloads become calls, verdicts become answers.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from edictum.gate.formats import HOSTS, Verdict, host_of
from edictum.gate.payload import MAX_PAYLOAD_BYTES, Unreadable, parse_object
from gate_hosts import HOSTS as ASSISTANTS
from gate_hosts import Answer, reaction, shell_call
from hypothesis import given
from hypothesis import strategies as st

BLOCK = Verdict("block", "Because.", "rule-1")
FAILED = Verdict("block", "Broken.", failed=True)


def read(host: str, **payload: Any) -> Any:
    return HOSTS[host].read(payload)


# --- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [*ASSISTANTS, "raw"])
def test_shell_command_is_bash_for_every_host(host: str) -> None:
    call = HOSTS[host].read(shell_call(host, "ls -l", "/srv", "abc"))
    assert (call.tool_name, call.args["command"]) == ("Bash", "ls -l")
    assert (call.session_id, call.cwd) == ("abc", "/srv")


NAMES = [
    *(("cursor", name, mapped) for name, mapped in [("Shell", "Bash"), ("Read", "Read"), ("MCP:list", "MCP:list")]),
    *(
        ("copilot", name, mapped)
        for name, mapped in [("bash", "Bash"), ("edit", "Edit"), ("view", "Read"), ("create", "Write"), ("x", "x")]
    ),
    *(
        ("gemini", name, mapped)
        for name, mapped in [
            ("shell", "Bash"), ("run_shell_command", "Bash"), ("write_file", "Write"), ("read_file", "Read"),
            ("edit_file", "Edit"), ("replace_in_file", "Edit"), ("replace", "Edit"), ("glob", "Glob"),
            ("list_files", "Glob"), ("grep", "Grep"), ("search_files", "Grep"), ("web_fetch", "WebFetch"),
            ("web_search", "WebSearch"),
        ]
    ),
    *(
        ("opencode", name, mapped)
        for name, mapped in [
            ("bash", "Bash"), ("shell", "Bash"), ("read", "Read"), ("write", "Write"), ("patch", "Edit"),
            ("glob", "Glob"), ("grep", "Grep"), ("browser", "WebFetch"), ("edit", "Edit"),
        ]
    ),
    ("claude-code", "mcp__files__read", "mcp__files__read"),
    ("raw", "shell", "shell"),
]  # fmt: skip
KEYS = {"copilot": ("toolName", "toolArgs"), "opencode": ("tool", "args")}


@pytest.mark.parametrize(("host", "name", "mapped"), NAMES)
def test_tool_names_are_those_of_claude_code(host: str, name: str, mapped: str) -> None:
    name_key, args_key = KEYS.get(host, ("tool_name", "tool_input"))
    call = read(host, **{name_key: name, args_key: {}})
    assert (call.tool_name, call.native_name) == (mapped, name)


@pytest.mark.parametrize(
    ("host", "name", "key"),
    [
        ("copilot", "view", "path"),
        ("copilot", "create", "path"),
        ("gemini", "read_file", "absolute_path"),
        ("gemini", "write_file", "file_path"),
        ("opencode", "read", "filePath"),
        ("cursor", "Read", "target_file"),
        ("claude-code", "Grep", "path"),
    ],
)
def test_path_of_a_file_tool_is_always_file_path(host: str, name: str, key: str) -> None:
    name_key, args_key = KEYS.get(host, ("tool_name", "tool_input"))
    args = read(host, **{name_key: name, args_key: {key: "/etc/passwd"}}).args
    assert (args["file_path"], args[key]) == ("/etc/passwd", "/etc/passwd")


@pytest.mark.security
@pytest.mark.parametrize("decoy", ["file_path", "filePath", "target_file"])
def test_second_path_beside_the_real_one_is_refused(decoy: str) -> None:
    """
    A rule would see the harmless one, the tool opens the other.
    """
    with pytest.raises(Unreadable, match="two different files"):
        read("copilot", toolName="view", toolArgs={"path": "/etc/passwd", decoy: "notes.txt"})


def test_path_of_another_tool_stays_as_it_is() -> None:
    args = {"path": "a", "file_path": "b"}
    assert read("raw", tool_name="mcp__x", tool_input=args).args == args


@pytest.mark.parametrize("text", ['{"command": "ls"}', '{ "command" : "ls" }'])
def test_arguments_may_come_as_json_text(text: str) -> None:
    assert read("copilot", toolName="bash", toolArgs=text).args == {"command": "ls"}
    assert read("cursor", tool_name="MCP:x", tool_input=text).args == {"command": "ls"}


@pytest.mark.parametrize("host", [*ASSISTANTS, "raw"])
@pytest.mark.parametrize("wrong", ["missing", "", "  ", None, 7, ["Bash"]])
def test_payload_without_a_tool_name_is_refused(host: str, wrong: Any) -> None:
    payload = shell_call(host, "ls", "/srv")
    key, _ = KEYS.get(host, ("tool_name", "tool_input"))
    payload.pop(key)
    if wrong != "missing":
        payload[key] = wrong
    with pytest.raises(Unreadable, match=key):
        HOSTS[host].read(payload)


@pytest.mark.security
@pytest.mark.parametrize("host", [*ASSISTANTS, "raw"])
@pytest.mark.parametrize("wrong", ["missing", "text", "", 7, ["ls"], '{"a":1,"a":2}', '["ls"]'])
def test_payload_without_arguments_is_refused(host: str, wrong: Any) -> None:
    """
    A host that renames the key would otherwise have its calls judged as calls without arguments.
    """
    payload = shell_call(host, "ls", "/srv")
    _, key = KEYS.get(host, ("tool_name", "tool_input"))
    payload.pop(key)
    if wrong != "missing":
        payload[key] = wrong
    with pytest.raises(Unreadable, match=key):
        HOSTS[host].read(payload)


@pytest.mark.parametrize("host", ["claude-code", "cursor", "gemini"])
def test_hook_on_another_event_is_refused(host: str) -> None:
    payload = {**shell_call(host, "ls", "/srv"), "hook_event_name": "PostToolUse"}
    with pytest.raises(Unreadable, match="another event"):
        HOSTS[host].read(payload)


@pytest.mark.parametrize("key", ["session_id", "cwd"])
def test_fact_of_the_wrong_type_is_refused(key: str) -> None:
    with pytest.raises(Unreadable, match=key):
        HOSTS["claude-code"].read({**shell_call("claude-code", "ls", "/srv"), key: 7})


def test_cursor_has_events_for_single_tools() -> None:
    shell = read("cursor", hook_event_name="beforeShellExecution", command="ls", cwd="/w", workspace_roots=["/p"])
    assert (shell.tool_name, shell.args, shell.cwd, shell.project) == ("Bash", {"command": "ls"}, "/w", "/p")
    file = read("cursor", hook_event_name="beforeReadFile", file_path="/x", content="secret")
    assert (file.tool_name, file.args) == ("Read", {"file_path": "/x"})
    tool = read("cursor", hook_event_name="beforeMCPExecution", tool_name="q", tool_input='{"a": 1}', command="npx")
    assert (tool.tool_name, tool.args) == ("q", {"a": 1})
    with pytest.raises(Unreadable, match="command"):
        read("cursor", hook_event_name="beforeShellExecution", cwd="/w")


def test_copilot_may_send_the_names_of_vs_code() -> None:
    call = read("copilot", hook_event_name="PreToolUse", session_id="s", tool_name="Bash", tool_input={"command": "x"})
    assert (call.tool_name, call.session_id) == ("Bash", "s")


def test_cursor_that_runs_a_hook_for_claude_code_is_recognised() -> None:
    for sign in ({"cursor_version": "2.4"}, {"workspace_roots": ["/p"]}):
        assert host_of(HOSTS["claude-code"], sign).name == "cursor"
    assert host_of(HOSTS["claude-code"], shell_call("claude-code", "ls", "/w")).name == "claude-code"
    assert host_of(HOSTS["gemini"], {"cursor_version": "2.4"}).name == "gemini"


# --- asking ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "asks"),
    [
        ({}, True),
        ({"permission_mode": "acceptEdits"}, True),
        ({"permission_mode": "plan"}, True),
        ({"permission_mode": "auto"}, False),
        ({"permission_mode": "dontAsk"}, False),
        ({"permission_mode": "bypassPermissions"}, False),
        ({"permission_mode": "somethingNew"}, False),
        ({"permission_mode": None}, False),
        ({"prompt_id": None}, False),  # 2.1.77 and earlier, which run the tool when an allow rule of the user matches
    ],
)
def test_claude_code_is_asked_to_ask_only_when_it_does(change: dict[str, Any], asks: bool) -> None:
    call = HOSTS["claude-code"].read({**shell_call("claude-code", "ls", "/w"), **change})
    assert (call.cannot_ask is None) == asks


@pytest.mark.parametrize("host", ["cursor", "copilot", "gemini", "opencode", "raw"])
def test_other_hosts_are_never_asked_to_ask(host: str) -> None:
    assert HOSTS[host].read(shell_call(host, "ls", "/w")).cannot_ask
    assert HOSTS[host].exit_code(Verdict("ask", "?")) != 0


# --- answering ------------------------------------------------------------------------------------


def answered(host: str, verdict: Verdict) -> Answer:
    table = HOSTS[host]
    code = table.exit_code(verdict)
    return Answer(code, json.dumps(table.answer(verdict)), verdict.reason if code else "")


@pytest.mark.parametrize("host", ASSISTANTS)
def test_answers_mean_to_the_host_what_was_decided(host: str) -> None:
    assert reaction(host, answered(host, Verdict("allow"))) == "runs"
    assert reaction(host, answered(host, BLOCK)) == "refuses"
    assert reaction(host, answered(host, FAILED)) == "refuses"
    asked = reaction(host, answered(host, Verdict("ask", "Sure?")))
    assert asked == ("asks" if host == "claude-code" else "refuses")


@pytest.mark.parametrize("host", ASSISTANTS)
def test_either_half_of_a_block_is_enough(host: str) -> None:
    """
    Standard output may be lost, and an exit code may be: what remains still blocks.
    """
    whole = answered(host, BLOCK)
    assert reaction(host, Answer(whole.code, "", whole.err)) == "refuses"
    assert reaction(host, Answer(0, whole.out, "")) == "refuses"


ANSWERS = {
    "claude-code": (
        {},
        {
            "hookSpecificOutput": {
                "hookEventName": "PreToolUse",
                "permissionDecision": "deny",
                "permissionDecisionReason": "Because.",
            }
        },
        2,
        2,
    ),
    "cursor": (
        {"permission": "allow", "decision": "allow"},
        {
            "permission": "deny",
            "decision": "deny",
            "reason": "Because.",
            "user_message": "Because.",
            "agent_message": "Because.",
        },
        2,
        2,
    ),
    "copilot": ({}, {"permissionDecision": "deny", "permissionDecisionReason": "Because."}, 2, 2),
    "gemini": ({}, {"decision": "block", "reason": "Because."}, 2, 2),
    "opencode": ({"allow": True}, {"allow": False, "reason": "Because."}, 1, 2),
    "raw": ({"decision": "allow"}, {"decision": "block", "rule_id": "rule-1", "reason": "Because."}, 1, 2),
}


@pytest.mark.parametrize("host", ANSWERS)
def test_wire_format(host: str) -> None:
    allowed, blocked, block_code, failure_code = ANSWERS[host]
    table = HOSTS[host]
    assert (table.answer(Verdict("allow")), table.exit_code(Verdict("allow"))) == (allowed, 0)
    assert (table.answer(BLOCK), table.exit_code(BLOCK)) == (blocked, block_code)
    assert table.exit_code(FAILED) == failure_code


def test_claude_code_is_never_told_to_allow() -> None:
    """
    "allow" would skip the user's own permission prompt.
    """
    assert "allow" not in json.dumps(
        [HOSTS["claude-code"].answer(Verdict("allow")), HOSTS["claude-code"].answer(BLOCK)]
    )


# --- the payload itself ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1, "a": 2}', "a key twice"),
        (b'{"a": {"b": 1, "b": 1}}', "a key twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b"[1]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"a": 1} {}', "not JSON at line 1, column 10"),
        (b"", "not JSON"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8 at byte 0"),
        (b'{"a": ' + b"[" * 200_000 + b"}", "nested too deeply"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "too many digits"),
    ],
)
def test_payload_that_readers_could_take_differently_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(Unreadable, match=message):
        parse_object(data)


def test_payload_may_begin_with_a_byte_order_mark() -> None:
    assert parse_object(b'\xef\xbb\xbf{"a": "\xc3\xbc"}') == {"a": "ü"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
PAYLOAD_KEYS = [
    "tool_name", "tool_input", "toolName", "toolArgs", "tool", "args", "session_id", "sessionId", "conversation_id",
    "cwd", "project", "command", "file_path", "hook_event_name", "permission_mode", "prompt_id", "workspace_roots",
    "cursor_version",
]  # fmt: skip


@pytest.mark.property
@given(
    st.sampled_from(sorted(HOSTS)),
    st.dictionaries(st.sampled_from(PAYLOAD_KEYS), JSON | st.sampled_from(["Bash", "preToolUse", "{}"]), max_size=8),
)
def test_any_payload_is_read_or_refused(host: str, payload: dict[str, Any]) -> None:
    try:
        call = host_of(HOSTS[host], payload).read(payload)
    except Unreadable:
        return
    assert call.tool_name.strip()
    assert type(call.args) is dict
    for fact in (call.session_id, call.cwd, call.project, call.cannot_ask):
        assert fact is None or (type(fact) is str and fact)


@pytest.mark.property
@given(st.binary(max_size=40))
def test_any_bytes_are_an_object_or_refused(data: bytes) -> None:
    with suppress(Unreadable):
        assert type(parse_object(data)) is dict


def test_limit_of_a_payload_is_10_mb() -> None:
    assert MAX_PAYLOAD_BYTES == 10 * 1024 * 1024
