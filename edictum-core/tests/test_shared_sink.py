"""
One log, many writers: processes, threads and event loops that write, rotate, are killed, stopped and forked.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from edictum import Edictum, EdictumDenied
from edictum.audit import AuditEvent
from edictum.chain_verification import verify
from edictum.file_lock import FileLock
from edictum.file_sink import FileAuditSink
from logs import emit, numbered, parts, records, run_script

posix_only = pytest.mark.skipif(os.name != "posix", reason="signals and fork are POSIX")

PIPES: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
LIMIT = 120  # seconds that a process may take on a busy machine

WAYS = {
    "shared": {"shared": True, "timeout": LIMIT},
    "rotating": {"max_bytes": 30_000, "backups": 2_000, "timeout": LIMIT},
    "chained": {"hash_chain": True, "timeout": LIMIT},
    "chained, rotating": {"hash_chain": True, "max_bytes": 30_000, "backups": 2_000, "timeout": LIMIT},
    "chained, fsync": {"hash_chain": True, "fsync": True, "timeout": LIMIT},
}

# Two threads with loops of their own and a sink in common, and one with a sink of its own.
WRITERS = """
import asyncio, json, sys, threading
from edictum.audit import AuditEvent
from edictum.file_sink import FileAuditSink

path, name, count, options = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
common = FileAuditSink(path, **options)
own = FileAuditSink(path, **options)
failures = []

async def write(sink, thread):
    for number in range(count):
        await sink.emit(AuditEvent(run_id=f"{name}{thread}", call_index=number, reason="x" * (number % 97) * 20))

def run(sink, thread):
    try:
        asyncio.run(write(sink, thread))
    except BaseException as error:
        failures.append(repr(error))

print("ready", flush=True)
sys.stdin.readline()
threads = [threading.Thread(target=run, args=(sink, n)) for n, sink in enumerate((common, common, own))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit("; ".join(failures) or None)
"""


def start_together(writers: list[subprocess.Popen[str]]) -> None:
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()


def whole_and_other_lines(path: Path) -> tuple[dict[str, list[int]], list[bytes]]:
    """
    The numbers that each writer has written, in the order of the log, and what is no event.
    """
    numbers: dict[str, list[int]] = defaultdict(list)
    others = []
    for part in parts(path):
        # A file that was rotated away may end within a line, whose writer was killed.
        for line in part.read_bytes().removesuffix(b"\n").split(b"\n") if part.exists() and part.stat().st_size else ():
            try:
                event = json.loads(line)
            except ValueError:
                others.append(line)
            else:
                numbers[event["run_id"]].append(event["call_index"])
    return numbers, others


@pytest.mark.slow
@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_processes_and_threads_lose_tear_and_double_no_line(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "audit.jsonl"
    count = 40 if "fsync" in options else 150
    writers = [run_script(WRITERS, path, name, count, json.dumps(options), **PIPES) for name in "abcd"]
    start_together(writers)
    for writer in writers:
        writer.communicate(timeout=LIMIT)
        assert writer.returncode == 0

    numbers, others = whole_and_other_lines(path)
    assert others == []
    assert {f"{name}{thread}": list(range(count)) for name in "abcd" for thread in range(3)} == numbers
    if "max_bytes" in options:
        assert len(parts(path)) > 10
        assert all(part.stat().st_size <= options["max_bytes"] for part in parts(path))
    if "hash_chain" in options:
        report = verify([str(path)])
        assert (report.intact, report.links, report.other_lines) == (True, 12 * count, 0)


# --- killed ---------------------------------------------------------------------------------------

# Three writers at a time, of which the oldest is killed and replaced.  Each says which events were taken.  Lines are
# long, because the system stops a write only between two pages.
KILLING = """
import asyncio, json, os, random, signal, sys, time
from edictum.audit import AuditEvent
from edictum.file_sink import FileAuditSink

path, options, kills = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
chance = random.Random(kills)

async def write(name, output):
    sink = FileAuditSink(path, **options)
    for number in range(10**9):
        await sink.emit(AuditEvent(run_id=name, call_index=number, reason="x" * (number % 7) * 50_000))
        os.write(output, b".")

def start(number):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        asyncio.run(write(f"w{number}", writing))
    os.close(writing)
    return child, reading

running = [start(number) for number in range(3)]
taken = []
while running:
    child, reading = running.pop(0)
    taken.append(len(os.read(reading, 1)))
    time.sleep(chance.random() / 50)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while more := os.read(reading, 65536):
        taken[-1] += len(more)
    if len(taken) + len(running) < kills:
        running.append(start(len(taken) + len(running)))
print(json.dumps(taken))
"""


@posix_only
@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [WAYS["shared"], WAYS["chained, rotating"] | {"max_bytes": 2_000_000}],
    ids=["shared", "chained, rotating"],
)
def test_killed_writers_leave_every_event_they_took(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "audit.jsonl"
    kills = 60
    script = run_script(KILLING, path, json.dumps(options), kills, stdout=subprocess.PIPE)
    taken = json.loads(script.communicate(timeout=LIMIT)[0])
    emit(FileAuditSink(path, **options), AuditEvent(run_id="end", call_index=0))

    numbers, others = whole_and_other_lines(path)
    assert numbers.pop("end") == [0]
    assert len(taken) == len(numbers) == kills
    for number, count in enumerate(taken):
        written = numbers[f"w{number}"]
        assert list(range(len(written))) == written
        assert count <= len(written) <= count + 1
    assert len(others) <= kills
    if "hash_chain" in options:
        report = verify([str(path)])
        assert (report.intact, report.other_lines, report.unfinished) == (True, len(others), None)


DYING = """
import asyncio, json, os, signal, sys
from edictum.audit import AuditEvent
from edictum.file_sink import FileAuditSink

path, options, function, survived = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3], int(sys.argv[4])
original = getattr(os, function)
calls = 0

def deadly(first, second):
    global calls
    calls += 1
    if calls > survived:
        if function == "write":
            original(first, second[:100])
        os.kill(os.getpid(), signal.SIGKILL)
    return original(first, second)

async def main():
    sink = FileAuditSink(path, **options)
    setattr(os, function, deadly)
    for number in range(50):
        await sink.emit(AuditEvent(run_id="dying", call_index=number))

asyncio.run(main())
"""


@posix_only
@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_writer_killed_within_a_line_that_holds_the_lock(tmp_path: Path, options: dict[str, Any]) -> None:
    """
    A sink that had the file open all the time closes the line off, and nobody waits for the dead.
    """
    path = tmp_path / "audit.jsonl"
    sink = FileAuditSink(path, **options)
    emit(sink, *numbered(0))
    dying = run_script(DYING, path, json.dumps(options), "write", 2)
    dying.communicate(timeout=LIMIT)
    assert dying.returncode == -signal.SIGKILL
    emit(sink, *numbered(1, 2))

    lines = path.read_bytes().split(b"\n")
    assert [json.loads(lines[number])["run_id"] for number in (0, 1, 2, 4, 5)] == ["", "dying", "dying", "", ""]
    assert (len(lines[3]), lines[6:]) == (100, [b""])
    if "hash_chain" in options:
        report = verify([str(path)])
        assert (report.intact, report.links) == (True, 5)
        assert [(found.line, found.message) for found in report.others] == [(4, "an unfinished or damaged line")]


@posix_only
@pytest.mark.parametrize("chained", [False, True])
@pytest.mark.parametrize("survived", range(7))
def test_writer_killed_within_a_rotation_loses_nothing(tmp_path: Path, survived: int, chained: bool) -> None:
    """
    Renaming is stopped after each possible number of steps; four files are there or come to be.
    """
    path = tmp_path / "audit.jsonl"
    options = {"max_bytes": 2_500, "backups": 9, "hash_chain": chained}
    dying = run_script(DYING, path, json.dumps(options), "replace", survived)
    dying.communicate(timeout=LIMIT)
    assert dying.returncode == -signal.SIGKILL
    before = whole_and_other_lines(path)[0]["dying"]
    emit(FileAuditSink(path, **options), *numbered(*range(7)))  # type: ignore[arg-type]

    numbers, others = whole_and_other_lines(path)
    assert before == list(range(len(before)))
    assert ({"dying": before, "": list(range(7))}, []) == (numbers, others)
    if chained:
        assert verify([str(path)]).intact


def test_rotation_after_one_that_was_stopped_deletes_no_file(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    emit(FileAuditSink(path, max_bytes=10, backups=3), *numbered(1, 2, 3, 4))
    Path(f"{path}.3").unlink()
    for number in (2, 1):  # all steps but the last one
        Path(f"{path}.{number}").rename(f"{path}.{number + 1}")
    emit(FileAuditSink(path, max_bytes=10, backups=3), *numbered(5))

    assert [record["call_index"] for part in parts(path) for record in records(part)] == [2, 3, 4, 5]


# --- forked ---------------------------------------------------------------------------------------

FORKING = """
import asyncio, json, os, sys
from edictum.audit import AuditEvent
from edictum.file_sink import FileAuditSink

sink = FileAuditSink(sys.argv[1], **json.loads(sys.argv[2]))

async def emit(name, numbers):
    for number in numbers:
        await sink.emit(AuditEvent(run_id=name, call_index=number))

asyncio.run(emit("parent", [0]))
with sink._lock:
    assert sink._turn.try_acquire()  # as if another thread were writing at the fork
    child = os.fork()
    if child:
        sink._turn.release()
name = "parent" if child else "child"
asyncio.run(emit(name, range(1, 200)))
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@posix_only
@pytest.mark.parametrize("options", [WAYS["shared"], WAYS["chained, rotating"]], ids=["shared", "chained, rotating"])
def test_fork_after_open_gives_each_process_its_own_turn(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "audit.jsonl"
    script = run_script(FORKING, path, json.dumps(options))
    script.communicate(timeout=LIMIT)
    assert script.returncode == 0

    numbers, others = whole_and_other_lines(path)
    assert ({"parent": list(range(200)), "child": list(range(1, 200))}, []) == (numbers, others)
    if "hash_chain" in options:
        assert verify([str(path)]).intact


# --- waiting for the lock -------------------------------------------------------------------------

HOLDING = """
import sys
from edictum.file_lock import FileLock
assert FileLock(sys.argv[1]).try_acquire()
print("ready", flush=True)
sys.stdin.readline()
"""


@contextmanager
def lock_of_another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    holder = run_script(HOLDING, f"{path}.lock", **PIPES)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"
    try:
        yield holder
    finally:
        holder.kill()
        holder.communicate(timeout=LIMIT)


@pytest.mark.parametrize("fsync", [False, True])
def test_wait_for_the_lock_leaves_the_event_loop_free(tmp_path: Path, fsync: bool) -> None:
    path = tmp_path / "audit.jsonl"
    sink = FileAuditSink(path, shared=True, fsync=fsync, timeout=LIMIT)

    async def main(holder: subprocess.Popen[str]) -> None:
        waiting = asyncio.create_task(sink.emit(AuditEvent(call_index=1)))
        for _ in range(100):
            await asyncio.sleep(0.001)
        assert not waiting.done()
        assert not path.exists()
        holder.kill()
        await waiting

    with lock_of_another_process(path) as holder:
        asyncio.run(main(holder))

    assert [record["call_index"] for record in records(path)] == [1]


@pytest.mark.parametrize("fsync", [False, True])
def test_lock_that_is_not_given_back_ends_in_an_error_and_the_sink_goes_on(tmp_path: Path, fsync: bool) -> None:
    path = tmp_path / "audit.jsonl"
    sink = FileAuditSink(path, shared=True, fsync=fsync, timeout=0.05)
    with (
        lock_of_another_process(path),
        pytest.raises(TimeoutError, match=r"audit\.jsonl\.lock' was locked for 0\.05 s.*larger timeout"),
    ):
        emit(sink, *numbered(1))
    emit(sink, *numbered(2))

    assert [record["call_index"] for record in records(path)] == [2]


@pytest.mark.security
def test_call_whose_event_got_no_turn_is_blocked(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    guard = Edictum(audit_sink=FileAuditSink(path, shared=True, timeout=0.05), audit_failure="block")
    ran = []
    with lock_of_another_process(path), pytest.raises(EdictumDenied):
        guard.run_sync("read", {}, lambda: ran.append(1))

    assert ran == []


def test_cancelled_wait_has_written_nothing(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    sink = FileAuditSink(path, shared=True, timeout=LIMIT)

    async def main() -> None:
        waiting = asyncio.create_task(sink.emit(AuditEvent(call_index=1)))
        await asyncio.sleep(0.02)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    with lock_of_another_process(path):
        asyncio.run(main())
    emit(sink, *numbered(2))

    assert [record["call_index"] for record in records(path)] == [2]


def test_negative_timeout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="timeout is -1; give at least 0"):
        FileAuditSink(tmp_path / "audit.jsonl", shared=True, timeout=-1)


# --- the lock itself ------------------------------------------------------------------------------


def test_lock_is_for_one_at_a_time_also_within_a_process(tmp_path: Path) -> None:
    first, second = FileLock(str(tmp_path / "lock")), FileLock(str(tmp_path / "lock"))

    assert first.try_acquire()
    assert not second.try_acquire()
    first.release()
    assert second.try_acquire()
    second.close()
    assert first.try_acquire()
    first.close()


@posix_only
@pytest.mark.security
@pytest.mark.parametrize("moved", [False, True])
def test_lock_file_that_was_removed_does_not_let_two_write(tmp_path: Path, moved: bool) -> None:
    """
    Who holds the old file and who comes later must not both believe that they have the turn.
    """
    path = tmp_path / "lock"
    old, new = FileLock(str(path)), FileLock(str(path))
    assert old.try_acquire()
    old.release()
    if moved:
        path.rename(tmp_path / "elsewhere")
    else:
        path.unlink()

    assert new.try_acquire()
    assert not old.try_acquire()
    new.close()
    assert old.try_acquire()
    old.close()


@posix_only
@pytest.mark.security
def test_lock_file_is_private_and_no_link_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    target = tmp_path / "target"
    previous = os.umask(0)
    try:
        FileLock(str(path)).try_acquire()
    finally:
        os.umask(previous)
    assert path.stat().st_mode & 0o777 == 0o600

    path.unlink()
    path.symlink_to(target)
    with pytest.raises(OSError, match="symbolic link"):
        FileLock(str(path)).try_acquire()
    assert not target.exists()


@posix_only
def test_writers_through_a_link_and_without_share_one_lock(tmp_path: Path) -> None:
    path, link = tmp_path / "audit.jsonl", tmp_path / "link.jsonl"
    link.symlink_to(path)
    sinks = [FileAuditSink(name, hash_chain=True, max_bytes=2_000, backups=20) for name in (path, link)]
    for number in range(10):
        emit(sinks[number % 2], AuditEvent(call_index=number))

    assert link.is_symlink()
    assert not Path(f"{link}.lock").exists()
    assert verify([str(path)]).links == 10
    assert verify([str(path)]).intact


@posix_only
def test_lock_needs_the_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"folder .*missing.* does not exist; create it first"):
        emit(FileAuditSink(tmp_path / "missing" / "audit.jsonl", shared=True), AuditEvent())


def test_handles_are_given_back_by_close(tmp_path: Path) -> None:
    sink = FileAuditSink(tmp_path / "audit.jsonl", shared=True)
    emit(sink, *numbered(1))
    sink.close()
    other = FileAuditSink(tmp_path / "audit.jsonl", shared=True)
    emit(other, *numbered(2))
    emit(sink, *numbered(3))

    assert [record["call_index"] for record in records(tmp_path / "audit.jsonl")] == [1, 2, 3]


def test_threads_with_sinks_of_their_own_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"

    def run(name: str) -> None:
        sink = FileAuditSink(path, hash_chain=True, timeout=LIMIT)
        emit(sink, *(AuditEvent(run_id=name, call_index=number) for number in range(100)))

    threads = [threading.Thread(target=run, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    numbers, others = whole_and_other_lines(path)
    assert ({name: list(range(100)) for name in "abc"}, []) == (numbers, others)
    assert verify([str(path)]).intact


@pytest.mark.skipif(sys.platform == "win32", reason="stands in for it")
def test_system_that_cannot_rename_open_files_closes_after_each_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edictum.file_sink._CANNOT_RENAME_OPEN_FILES", True)
    path = tmp_path / "audit.jsonl"
    sink = FileAuditSink(path, hash_chain=True, max_bytes=2_000, backups=20)
    for number in range(10):
        emit(sink, AuditEvent(call_index=number))
        links = [os.readlink(f"/dev/fd/{fd}") for fd in os.listdir("/dev/fd") if os.path.islink(f"/dev/fd/{fd}")]
        assert str(path) not in links

    assert verify([str(path)]).intact
