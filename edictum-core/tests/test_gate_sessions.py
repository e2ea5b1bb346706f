"""
What hook processes share: limits, and the local decision log.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import sqlite3
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from edictum import Edictum, EdictumDenied, RedactionPolicy
from edictum.gate.formats import Verdict
from edictum.gate.log import record
from edictum.gate.project import home
from edictum.gate.sessions import HookSessions, run_at_once
from gate_hosts import RULES, TIMEOUT, check_line, environment, shell_call, write_rules

pytestmark = pytest.mark.skipif(os.name != "posix", reason="hooks are shell commands")

LIMITED = {
    **RULES,
    "rules": [
        {
            "id": "few",
            "type": "session",
            "limits": {"max_tool_calls": 3, "max_attempts": 100},
            "then": {"action": "block", "message": "Enough."},
        }
    ],
}


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


def start(host: str, command: str, user: Path, session: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        ["/bin/sh", "-c", check_line(host)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(user),
        cwd=user,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(shell_call(host, command, str(user), session)).encode())
    process.stdin.close()
    return process


def codes(*processes: subprocess.Popen[bytes]) -> list[int]:
    return sorted(process.wait(TIMEOUT) for process in processes)


def counters(user: Path, session: str) -> dict[str, int]:
    guard = Edictum(backend=HookSessions(user / ".edictum/state/sessions.db"))
    return run_at_once(guard.session(session).counters("Bash"))


def test_parallel_hook_processes_share_a_limit_exactly(user: Path) -> None:
    write_rules(user, LIMITED)
    assert codes(*(start("claude-code", "ls", user, "s") for _ in range(8))) == [0] * 3 + [2] * 5
    assert counters(user, "s") == {"attempts": 8, "execs": 3, "tool:Bash": 3}
    decisions = [line["decision"] for line in log_lines(user)]
    assert sorted(decisions) == ["allow"] * 3 + ["block"] * 5


def test_sessions_and_hosts_count_for_themselves_unless_they_share_an_id(user: Path) -> None:
    write_rules(user, LIMITED)
    hosts = ("claude-code", "cursor", "gemini", "copilot")
    assert codes(*(start(host, "ls", user, f"s-{host}") for host in hosts)) == [0] * 4
    assert codes(*(start(host, "ls", user, "shared") for host in hosts)) == [0, 0, 0, 2]


def test_blocked_call_counts_as_attempted_and_asked_one_as_executed(user: Path) -> None:
    write_rules(user)
    for command in ("rm -rf /", "git push", "ls"):
        codes(start("claude-code", command, user, "s"))
    assert counters(user, "s") == {"attempts": 3, "execs": 2, "tool:Bash": 2}
    codes(start("gemini", "git push", user, "s"))  # where nobody can be asked
    assert counters(user, "s") == {"attempts": 4, "execs": 2, "tool:Bash": 2}


# --- the store ------------------------------------------------------------------------------------


def reserve_all(path: str, limit: int, results: Any) -> None:
    guard = Edictum(backend=HookSessions(path), limits=limits(limit))
    allowed = 0
    for _ in range(25):
        try:
            run_at_once(guard.govern("tool", {}, session_id="s").begin())
            allowed += 1
        except EdictumDenied:
            pass
    results.put(allowed)


def limits(number: int) -> Any:
    from edictum import OperationLimits

    return OperationLimits(max_attempts=10_000, max_tool_calls=number)


def test_store_holds_a_limit_across_processes(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    path = str(tmp_path / "sessions.db")
    processes = [context.Process(target=reserve_all, args=(path, 40, results)) for _ in range(4)]
    for process in processes:
        process.start()
    total = sum(results.get(timeout=TIMEOUT) for _ in processes)
    for process in processes:
        process.join(TIMEOUT)
    assert total == 40


def test_store_waits_for_another_process_without_an_event_loop(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    sessions = HookSessions(path)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.2, other.execute, ["COMMIT"])
    timer.start()
    assert run_at_once(sessions.increment("s:a:attempts")) == 1
    timer.join()
    other.close()


def test_store_gives_up_when_another_process_keeps_it_locked(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    sessions = HookSessions(path, patience=0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TimeoutError, match="locked"):
        run_at_once(sessions.increment("s:a:attempts"))
    other.close()


def test_old_sessions_are_forgotten_though_their_calls_never_ended(tmp_path: Path) -> None:
    sessions = HookSessions(tmp_path / "sessions.db")
    for name in ("old", "new"):
        run_at_once(Edictum(backend=sessions).govern("t", {}, session_id=name).begin())
    with sqlite3.connect(tmp_path / "sessions.db") as database:
        database.execute("UPDATE sessions SET used = used - 31 * 86400 WHERE id = 'old'")
    database.close()
    assert sessions.forget_old() == 1
    assert run_at_once(sessions.get("s:new:execs")) == "1"
    assert run_at_once(sessions.get("s:old:execs")) is None


def test_first_hook_of_a_day_forgets_old_sessions(user: Path) -> None:
    write_rules(user)
    codes(start("claude-code", "ls", user, "old"))
    with sqlite3.connect(user / ".edictum/state/sessions.db") as database:
        database.execute("UPDATE sessions SET used = 0")
    database.close()
    codes(start("claude-code", "ls", user, "new"))
    assert counters(user, "old")["attempts"] == 1
    for path in (user / ".edictum/audit").iterdir():
        path.unlink()
    codes(start("claude-code", "ls", user, "new"))
    assert (counters(user, "old")["attempts"], counters(user, "new")["attempts"]) == (0, 2)


def test_step_that_has_to_wait_is_an_error_not_a_guess() -> None:
    class Never:
        def __await__(self) -> Iterator[None]:
            yield

    async def waits() -> None:
        await Never()

    with pytest.raises(RuntimeError, match="event loop"):
        run_at_once(waits())


# --- the log --------------------------------------------------------------------------------------


def log_lines(user: Path) -> list[dict[str, Any]]:
    files = sorted((user / ".edictum/audit").glob("wal-*"))
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def log_file(user: Path) -> Path:
    (path,) = (user / ".edictum/audit").iterdir()
    return path


def write(reason: str = "", tool: str = "Bash") -> bool:
    return record("gemini", tool, Verdict("block" if reason else "allow", reason), RedactionPolicy())


def test_line_has_the_published_fields(user: Path) -> None:
    write("Because.")
    (line,) = log_lines(user)
    assert list(line) == ["timestamp", "tool_name", "decision", "assistant", "user", "reason"]
    assert (line["tool_name"], line["decision"], line["assistant"]) == ("Bash", "block", "gemini")
    assert (line["reason"], bool(line["user"])) == ("Because.", True)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", line["timestamp"])
    assert re.fullmatch(r"wal-\d{8}\.jsonl", log_file(user).name)


def test_log_is_private(user: Path) -> None:
    write()
    assert stat.S_IMODE(log_file(user).stat().st_mode) == 0o600
    assert stat.S_IMODE((home() / "audit").stat().st_mode) == 0o700
    log_file(user).chmod(0o644)
    write()
    assert stat.S_IMODE(log_file(user).stat().st_mode) == 0o600


def test_log_says_when_a_day_begins(user: Path) -> None:
    assert (write(), write()) == (True, False)


def test_line_after_a_torn_one_stands_by_itself(user: Path) -> None:
    write()
    with log_file(user).open("ab") as file:
        file.write(b'{"timestamp": "20')
    write("Because.")
    lines = log_file(user).read_text().splitlines()
    assert len(lines) == 3
    assert json.loads(lines[2])["reason"] == "Because."


@pytest.mark.security
def test_texts_of_others_stay_on_their_line_and_keep_no_secret(user: Path) -> None:
    token = "ghp_" + "a1B2" * 9
    write(f'no\n{{"decision": "allow"}}\u2028\x1b[2J {token} {"x" * 5_000}', f"t\n{token}")
    text = log_file(user).read_text()
    assert (text.count("\n"), token in text, "\x1b" in text, "\u2028" in text) == (1, False, False, False)
    assert len(text) < 3_000


@pytest.mark.security
def test_log_is_not_led_elsewhere_by_a_link(user: Path) -> None:
    write()
    path = log_file(user)
    victim = user / "victim"
    victim.write_text("mine")
    path.unlink()
    path.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"):
        write()
    assert victim.read_text() == "mine"


def append_many(number: int) -> None:
    for at in range(50):
        write(f"{number}-{at} " + "x" * 900)


def test_lines_of_parallel_processes_never_mix(user: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=append_many, args=(number,)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(TIMEOUT)
    reasons = {line["reason"].split()[0] for line in log_lines(user)}
    assert reasons == {f"{number}-{at}" for number in range(4) for at in range(50)}


def test_process_that_is_killed_while_it_writes_costs_at_most_its_own_line(user: Path) -> None:
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=append_many, args=(1,))
    process.start()
    while not (user / ".edictum/audit").exists() or not log_lines_so_far(user):
        time.sleep(0.001)
    process.kill()
    process.join(TIMEOUT)
    write("after")
    assert json.loads(log_file(user).read_text().splitlines()[-1])["reason"] == "after"


def log_lines_so_far(user: Path) -> bool:
    return any(path.stat().st_size for path in (user / ".edictum/audit").iterdir())
