"""
``edictum gate check``: whatever happens, the host gets an answer that it takes for what was decided.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from edictum.cli import main
from edictum.gate.hook_command import SCRIPT, HookCommand
from edictum.gate.payload import MAX_PAYLOAD_BYTES
from gate_hosts import (
    HOSTS,
    RULES,
    TIMEOUT,
    Answer,
    check_line,
    environment,
    reaction,
    run_line,
    shell_call,
    write_rules,
)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="hooks are shell commands")

Check = Callable[..., Answer]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in [*os.environ]:
        if name.startswith(("EDICTUM", "CLAUDE", "GEMINI", "CURSOR")):
            monkeypatch.delenv(name)
    return folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def check(home: Path, project: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Check]:
    """
    The command within this process: quick, with real streams.
    """
    saved = os.dup(0)

    def run(payload: Any, *options: str) -> Answer:
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        given = project.parent / "payload"
        given.write_bytes(data)
        file = os.open(given, os.O_RDONLY)
        os.dup2(file, 0)
        os.close(file)
        capfd.readouterr()
        code = main(["gate", "check", *options])
        captured = capfd.readouterr()
        os.chdir(project)
        return Answer(code, captured.out, captured.err)

    yield run
    os.dup2(saved, 0)
    os.close(saved)


def log_lines(home: Path) -> list[dict[str, Any]]:
    files = sorted((home / ".edictum/audit").glob("wal-*"))
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


# --- every host in a real shell -------------------------------------------------------------------


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    ("command", "expected"), [("ls", "runs"), ("rm -rf /", "refuses"), ("git push", "asks"), (None, "refuses")]
)
def test_host_gets_an_answer_that_it_understands(
    host: str, command: str | None, expected: str, home: Path, project: Path
) -> None:
    write_rules(home)
    payload = b'{"tool_name": "Ba' if command is None else shell_call(host, command, str(project))
    line = check_line(host) if host == "opencode" else HookCommand.for_host(host).line
    answer = run_line(line, payload, home, project)
    if expected == "asks" and host != "claude-code":
        expected = "refuses"
    assert reaction(host, answer) == expected
    said = {"rm -rf /": "Not rm -rf /.", "git push": "Push?", None: "could not check this call"}.get(command, "")
    assert said in answer.out
    assert said in answer.err or expected == "asks"
    assert (answer.err == "") == (expected != "refuses")


@pytest.mark.parametrize("host", HOSTS)
def test_file_rules_hold_for_every_host(host: str, check: Check, home: Path, project: Path) -> None:
    write_rules(home)
    payload = {
        "claude-code": {"tool_name": "Read", "tool_input": {"file_path": "/p/.env"}},
        "cursor": {"tool_name": "Write", "tool_input": {"file_path": "/p/.env", "contents": ""}},
        "copilot": {"toolName": "view", "toolArgs": '{"path": "/p/.env"}'},
        "gemini": {"tool_name": "replace", "tool_input": {"file_path": "/p/.env", "old_string": ""}},
        "opencode": {"tool": "edit", "args": {"filePath": "/p/.env", "oldString": ""}},
    }[host]
    answer = check(payload, "--format", host)
    assert (reaction(host, answer), "Secrets." in answer.out) == ("refuses", True)


# --- what can go wrong ----------------------------------------------------------------------------


def nothing(_home: Path, _project: Path) -> None:
    """
    No rules at all.
    """


def invalid_rules(home: Path, _project: Path) -> None:
    write_rules(home, {**RULES, "kind": "Rulez"})


def rules_that_are_no_json(home: Path, _project: Path) -> None:
    write_rules(home).write_text("{")


def no_folder_for_state(home: Path, _project: Path) -> None:
    write_rules(home)
    (home / ".edictum" / "state").write_text("a file")


def broken_state(home: Path, _project: Path) -> None:
    write_rules(home)
    (home / ".edictum" / "state").mkdir()
    (home / ".edictum" / "state" / "sessions.db").write_bytes(b"no database" * 1_000)


def no_folder_for_log(home: Path, _project: Path) -> None:
    write_rules(home)
    (home / ".edictum" / "audit").write_text("a file")


def bad_session_file(home: Path, project: Path) -> None:
    write_rules(home)
    (project / ".edictum-session").write_text("{}")


TROUBLE = [
    (nothing, "there are no rules"),
    (invalid_rules, "Rulez"),
    (rules_that_are_no_json, "JSON"),
    (no_folder_for_state, "reading or writing failed"),
    (broken_state, "cannot be used for session state"),
    (no_folder_for_log, "the decision log cannot be written"),
    (bad_session_file, ".edictum-session"),
]


@pytest.mark.fault
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(("arrange", "message"), TROUBLE, ids=[arrange.__name__ for arrange, _ in TROUBLE])
def test_broken_surroundings_block_in_the_words_of_the_host(
    host: str, arrange: Callable[[Path, Path], None], message: str, check: Check, home: Path, project: Path
) -> None:
    arrange(home, project)
    payload = shell_call(host, "ls", str(project), session="")
    answer = check(payload, "--format", host)
    assert reaction(host, answer) == "refuses"
    assert message in answer.out
    assert message in answer.err


BAD_PAYLOADS = [
    (b"", "standard input is empty"),
    (b"{", "not JSON"),
    (b"[]", "not a JSON object"),
    (b"\xff", "not UTF-8"),
    (b'{"tool_name": "Bash", "tool_name": "Read"}', "a key twice"),
    (b'{"tool_name": "' + b"x" * MAX_PAYLOAD_BYTES + b'"}', "at most 10485760 are read"),
    (b"{}", "missing"),
]


@pytest.mark.fault
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(("payload", "message"), BAD_PAYLOADS, ids=[message for _, message in BAD_PAYLOADS])
def test_bad_payload_blocks_in_the_words_of_the_host(
    host: str, payload: bytes, message: str, check: Check, home: Path
) -> None:
    write_rules(home)
    answer = check(payload, "--format", host)
    assert reaction(host, answer) == "refuses"
    assert message in answer.err


@pytest.mark.security
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("name", ["a/b", "x\u202ey", "x" * 600, " Bash"])
def test_invalid_tool_name_blocks(host: str, name: str, check: Check, home: Path, project: Path) -> None:
    write_rules(home)
    payload = shell_call(host, "ls", str(project))
    payload[{"copilot": "toolName", "opencode": "tool"}.get(host, "tool_name")] = name
    assert reaction(host, check(payload, "--format", host)) == "refuses"


@pytest.mark.parametrize(
    "options",
    [
        ["--format", "vscode"],
        ["--format"],
        ["--nonsense"],
        ["--rules"],
        ["--rules", "missing.yaml"],
        ["--rules", "/"],
        ["--timeout", "0"],
        ["--timeout", "nan"],
        ["--timeout", "soon"],
        ["--session-id", "a/b"],
        ["--session-id", ""],
        ["surplus"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("host", ["claude-code", "gemini"])
def test_wrong_command_line_blocks(host: str, options: list[str], check: Check, home: Path, project: Path) -> None:
    write_rules(home)
    answer = check(shell_call(host, "ls", str(project)), "--format", host, *options)
    expected = "claude-code" if "vscode" in options else host
    assert reaction(expected, answer) == "refuses"
    assert answer.code == 2
    assert "could not check this call" in answer.err


@pytest.mark.fault
@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, MemoryError, RecursionError, SystemExit, GeneratorExit, ImportError]
)
@pytest.mark.parametrize("where", ["edictum.guard.Edictum.from_yaml", "edictum.gate.check.find_rules"])
def test_any_exception_blocks(
    error: type[BaseException], where: str, check: Check, home: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rules(home)

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(where, fail)
    answer = check(shell_call("claude-code", "ls", str(project)))
    assert (reaction("claude-code", answer), answer.code) == ("refuses", 2)
    assert answer.json["hookSpecificOutput"]["permissionDecision"] == "deny"
    assert answer.err


@pytest.mark.fault
def test_failure_while_answering_blocks_too(
    check: Check, home: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rules(home)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edictum.gate.check.Hook._write", interrupt)
    answer = check(shell_call("claude-code", "ls", str(project)))
    assert (answer.code, "blocked" in answer.err) == (2, True)


def test_observe_mode_lets_pass_and_logs(check: Check, home: Path, project: Path) -> None:
    write_rules(home, {**RULES, "defaults": {"mode": "observe"}})
    for command in ("rm -rf /", "git push", "ls"):
        answer = check(shell_call("claude-code", command, str(project)))
        assert (answer.code, answer.json, answer.err) == (0, {}, "")
    assert [(line["decision"], line["reason"]) for line in log_lines(home)] == [
        ("would_block", "Not rm -rf /."),
        ("would_ask", "Push?"),
        ("allow", None),
    ]


def test_rule_that_only_observes_lets_pass_and_logs(check: Check, home: Path, project: Path) -> None:
    rules = [{**rule, "mode": "observe"} for rule in RULES["rules"]]
    write_rules(home, {**RULES, "rules": rules})
    assert check(shell_call("gemini", "rm -rf /", str(project)), "--format", "gemini").code == 0
    assert [line["decision"] for line in log_lines(home)] == ["would_block"]


def test_json_option_prints_the_decision_and_keeps_the_exit_code(check: Check, home: Path, project: Path) -> None:
    write_rules(home)
    answer = check(shell_call("gemini", "rm -rf /", str(project)), "--format", "gemini", "--json")
    assert answer.json == {"decision": "block", "rule_id": "no-rm", "reason": "Not rm -rf /."}
    assert answer.code == 2
    assert check(shell_call("raw", "rm -rf /", str(project)), "--format", "raw").code == 1


def test_environment_reaches_the_rules(check: Check, home: Path, project: Path) -> None:
    rule = {
        "id": "staging-only",
        "type": "pre",
        "tool": "Bash",
        "when": {"environment": {"equals": "production"}},
        "then": {"action": "block", "message": "Production."},
    }
    write_rules(home, {**RULES, "rules": [rule]})
    payload = shell_call("claude-code", "ls", str(project))
    assert check(payload).code == 2
    assert check(payload, "--environment", "staging").code == 0


def test_cursor_is_answered_as_cursor_through_a_hook_for_claude_code(check: Check, home: Path, project: Path) -> None:
    write_rules(home)
    assert check(shell_call("cursor", "ls", str(project))).json == {"permission": "allow", "decision": "allow"}
    blocked = check(shell_call("cursor", "rm -rf /", str(project)))
    assert (blocked.json["permission"], blocked.code) == ("deny", 2)


def test_reason_shows_no_control_characters(check: Check, home: Path, project: Path) -> None:
    write_rules(home)
    answer = check(shell_call("claude-code", "rm -rf \x1b[2Jx", str(project)))
    assert "\x1b" not in answer.out + answer.err


def test_secret_in_a_command_reaches_neither_answer_nor_log(check: Check, home: Path, project: Path) -> None:
    write_rules(home)
    token = "ghp_" + "a1B2" * 9
    answer = check(shell_call("claude-code", f"rm -rf {token}", str(project)))
    assert answer.code == 2
    assert token not in answer.out + answer.err + json.dumps(log_lines(home))


# --- where the call happens -----------------------------------------------------------------------

SANDBOX = {
    **RULES,
    "rules": [{"id": "inside", "type": "sandbox", "tools": ["Bash", "Read"], "within": ["."], "message": "Outside."}],
}


def test_rules_start_in_the_project_and_paths_of_the_call_where_the_agent_stands(
    check: Check, home: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rules(home, SANDBOX)
    monkeypatch.setenv("CLAUDE_PROJECT_DIR", str(project))
    (project / "src").mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "notes.txt").write_text("x")
    assert check(shell_call("claude-code", "cat ./notes.txt", str(project / "src"))).code == 0
    assert check(shell_call("claude-code", "cat ../notes.txt", str(project / "src"))).code == 0
    assert check(shell_call("claude-code", "cat ../../notes.txt", str(project / "src"))).code == 2
    assert check(shell_call("claude-code", "cat ./notes.txt", str(elsewhere))).code == 2


@pytest.mark.security
def test_agent_that_moves_to_a_folder_with_other_rules_keeps_its_rules(
    check: Check, home: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_PROJECT_DIR", str(project))
    write_rules(home)
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / ".edictum").mkdir(parents=True)
    (elsewhere / ".edictum" / "rules.json").write_text(json.dumps({**RULES, "rules": RULES["rules"][2:]}))
    assert check(shell_call("claude-code", "rm -rf /", str(elsewhere))).code == 2


def test_folder_that_is_gone_blocks(check: Check, home: Path, project: Path) -> None:
    write_rules(home)
    answer = check(shell_call("claude-code", "ls", str(project / "gone")))
    assert (answer.code, "gone" in answer.err) == (2, True)


# --- as a process ---------------------------------------------------------------------------------


def start(line: str, home: Path, project: Path, **streams: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["/bin/sh", "-c", line],
        env=environment(home),
        cwd=project,
        start_new_session=True,
        **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
    )


@pytest.mark.fault
@pytest.mark.parametrize("redirection", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_stream_blocks_unless_it_is_not_needed(redirection: str, home: Path, project: Path) -> None:
    write_rules(home)
    payload = shell_call("claude-code", "ls", str(project))
    answer = run_line(f"{check_line('claude-code')} {redirection}", payload, home, project)
    assert answer.code == (0 if redirection == "2>&-" else 2)
    database = (home / ".edictum/state/sessions.db").read_bytes() if redirection == ">&-" else b"SQLite"
    assert database.startswith(b"SQLite"), "the answer went into a file that took the place of standard output"


@pytest.mark.fault
@pytest.mark.parametrize("command", ["ls", "rm -rf /"])
def test_answer_that_nobody_reads_blocks(command: str, home: Path, project: Path) -> None:
    write_rules(home)
    read_end, write_end = os.pipe()
    os.close(read_end)
    with start(check_line("claude-code"), home, project, stdout=write_end) as process:
        os.close(write_end)
        _, err = process.communicate(json.dumps(shell_call("claude-code", command, str(project))).encode(), TIMEOUT)
    assert process.returncode == 2
    assert err


@pytest.mark.fault
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs the device that is always full")
def test_answer_that_cannot_be_written_blocks(home: Path, project: Path) -> None:
    write_rules(home)
    payload = shell_call("claude-code", "ls", str(project))
    assert run_line(f"{check_line('claude-code')} > /dev/full", payload, home, project).code == 2
    assert run_line(f"{check_line('claude-code')} > /dev/full 2>&1", payload, home, project).code == 2


def test_yaml_ruleset_without_the_library_blocks(home: Path, project: Path) -> None:
    rules = home / "rules.yaml"
    rules.write_text("kind: Ruleset\n")
    code = (
        "import sys; sys.modules['ruamel'] = sys.modules['ruamel.yaml'] = None; "
        "from edictum.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    line = shlex.join([sys.executable, "-P", "-c", code, "gate", "check", "--rules", str(rules)])
    answer = run_line(line, shell_call("claude-code", "ls", str(project)), home, project)
    assert (answer.code, "edictum-core[yaml]" in answer.err) == (2, True)
    assert answer.json["hookSpecificOutput"]["permissionDecision"] == "deny"


def test_module_that_cannot_be_imported_blocks(home: Path, project: Path) -> None:
    code = (
        "import sys; sys.modules['edictum.gate.formats'] = None; "
        "from edictum.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    line = shlex.join([sys.executable, "-P", "-c", code, "gate", "check"])
    answer = run_line(line, {}, home, project)
    assert (answer.code, "blocked" in answer.err) == (2, True)


@pytest.mark.parametrize("host", HOSTS)
def test_host_that_never_ends_its_payload_is_answered_in_time(host: str, home: Path, project: Path) -> None:
    with start(check_line(host, "--timeout", "0.2"), home, project) as process:
        assert process.stdin is not None
        process.stdin.write(b'{"tool_name"')
        process.stdin.flush()
        out, err = process.stdout.read(), process.stderr.read()  # type: ignore[union-attr]
        process.wait(TIMEOUT)
    answer = Answer(process.returncode, out.decode(), err.decode())
    assert reaction(host, answer) == "refuses"
    assert "took longer" in answer.out


def test_check_that_takes_too_long_blocks(home: Path, project: Path) -> None:
    """
    The ruleset is a pipe that nobody writes to, which holds the check up for ever.
    """
    pipe = project / "rules.json"
    os.mkfifo(pipe)
    line = check_line("gemini", "--rules", str(pipe), "--timeout", "0.2")
    answer = run_line(line, shell_call("gemini", "ls", str(project)), home, project)
    assert (reaction("gemini", answer), "longer than 0.2 seconds" in answer.out) == ("refuses", True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_in_a_block(number: signal.Signals, home: Path, project: Path) -> None:
    pipe = project / "rules.json"
    os.mkfifo(pipe)
    line = "exec " + check_line("claude-code", "--rules", str(pipe))
    # Who starts the tests may have ignored the signal, and that is handed on.
    obey = partial(signal.signal, number, signal.SIG_DFL)
    with start(line, home, project, preexec_fn=obey) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(shell_call("claude-code", "ls", str(project))).encode())
        process.stdin.close()
        with pipe.open("wb"):  # opened when the check has opened the other end
            process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(2)
            if process.poll() is None:  # it came just before read() began, where Python notices none
                process.send_signal(number)
            out, err = process.stdout.read(), process.stderr.read()  # type: ignore[union-attr]
            process.wait(TIMEOUT)
    assert reaction("claude-code", Answer(process.returncode, out.decode(), err.decode())) == "refuses"
    assert process.returncode == 2
    assert b"interrupted" in err


@pytest.mark.security
def test_package_in_the_project_is_not_imported(home: Path, project: Path) -> None:
    write_rules(home)
    (project / "edictum").mkdir()
    (project / "edictum" / "__init__.py").write_text("")
    (project / "edictum" / "__main__.py").write_text("print('{}')")
    (project / "json.py").write_text("raise SystemExit(0)")
    payload = shell_call("claude-code", "rm -rf /", str(project))
    answer = run_line(HookCommand.for_host("claude-code").line, payload, home, project)
    assert (answer.code, "Not rm -rf /." in answer.err) == (2, True)


def test_check_loads_no_event_loop_and_no_command(home: Path, project: Path) -> None:
    """
    A hook runs before every call of a tool, so what it imports is waited for each time.
    """
    write_rules(home, {**RULES, "rules": [RULES["rules"][0]]})
    code = "import sys; from edictum.cli import main; main(['gate', 'check']); print(*sys.modules, file=sys.stderr)"
    line = shlex.join([sys.executable, "-P", "-c", code])
    answer = run_line(line, shell_call("claude-code", "ls", str(project)), home, project)
    loaded = set(answer.err.split())
    assert "edictum.gate.check" in loaded
    unwanted = {"asyncio", "ruamel", "subprocess", "edictum.cli.gate", "edictum.gate.install", "socket", "tempfile"}
    assert unwanted & loaded == set()


# --- the script around the check ------------------------------------------------------------------

SHELLS = [shell for shell in ("/bin/sh", "/bin/dash", "/bin/bash", "/bin/zsh") if os.path.exists(shell)]


def around(*argv: str) -> str:
    return HookCommand(argv, str(SCRIPT)).line


@pytest.mark.fault
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("host", HOSTS[:-1])
@pytest.mark.parametrize(
    "broken",
    [
        "exit 0",
        "exit 1",
        "exit 126",
        "kill -9 $$",
        "kill -SEGV $$",
        "echo '{}'; exit 1",
        "echo '{}'; kill -9 $$",
        'echo \'{"decision": "allow"\'',
        "echo Traceback; exit 1",
        "echo allowed",
        "exit 2",
        "echo '{}' >&2",
    ],
)
def test_check_that_breaks_is_a_block_for_every_host(
    broken: str, host: str, shell: str, home: Path, project: Path
) -> None:
    answer = run_line(around("/bin/sh", "-c", broken), b"{}", home, project, shell)
    assert reaction(host, answer) == "refuses"
    assert answer.code == 2
    assert answer.err


@pytest.mark.parametrize("shell", SHELLS)
def test_script_passes_answer_and_exit_code_on(shell: str, home: Path, project: Path) -> None:
    say = "cat >/dev/null; printf '%s\\n' '{\"a\": \"$HOME `x` \\\\ü%s\"}'; echo why >&2; exit "
    for code in (0, 2):
        answer = run_line(around("/bin/sh", "-c", f"{say}{code}"), b"x" * 300_000, home, project, shell)
        assert answer == Answer(code, '{"a": "$HOME `x` \\\\ü%s"}\n', "why\n")


@pytest.mark.fault
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("host", HOSTS[:-1])
def test_interpreter_that_is_gone_is_a_block(shell: str, host: str, home: Path, project: Path) -> None:
    write_rules(home)
    installed = HookCommand((sys.executable, "-P", "-m", "edictum", "gate", "check", "--format", host), str(SCRIPT))
    without_python = HookCommand(("/nonexistent/python", *installed.argv[1:]), installed.script)
    without_package = HookCommand((sys.executable, "-I", "-S", *installed.argv[2:]), installed.script)
    without_script = HookCommand(installed.argv, "/nonexistent/edictum/gate/hook.sh")
    for command in (without_python, without_package, without_script):
        answer = run_line(command.line, shell_call(host, "ls", str(project)), home, project, shell)
        assert (reaction(host, answer), answer.code) == ("refuses", 2)


@pytest.mark.fault
def test_signals_to_the_whole_group_do_not_end_the_script_without_an_answer(home: Path, project: Path) -> None:
    """
    As when somebody presses Ctrl-C while the host waits for its hook.
    """
    marker = project / "started"
    slow = f"touch {shlex.quote(str(marker))}; sleep 0.5; echo '{{}}'"
    with start(f"exec {around('/bin/sh', '-c', slow)}".replace(" || exit 2", ""), home, project) as process:
        while not marker.exists():
            time.sleep(0.01)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.killpg(process.pid, number)
        out, _ = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, out) == (0, b"{}\n")


def test_command_line_is_recognised_again() -> None:
    command = HookCommand.for_host("gemini", ["rules with space.yaml", "it's.yaml"])
    assert HookCommand.parse(command.line) == command
    assert command.rules == (os.path.abspath("rules with space.yaml"), os.path.abspath("it's.yaml"))
    for other in (
        None,
        7,
        "",
        "/bin/sh hook.sh",
        "echo 'hook.sh",
        "/bin/sh /x/hook.sh python",
        "sh edictum/gate/hook.sh x",
    ):
        assert HookCommand.parse(other) is None


def test_command_line_holds_nothing_that_a_host_would_replace(tmp_path: Path) -> None:
    """
    Gemini CLI puts environment variables, also those of a .env file in the project, into its settings.
    """
    from edictum.errors import EdictumConfigError

    assert "$" not in HookCommand.for_host("gemini").line
    with pytest.raises(EdictumConfigError, match="holds a"):
        HookCommand.for_host("gemini", [str(tmp_path / "$x.yaml")])
