"""
The sink for a file in one process and in several: it loses and tears no line, whatever happens to the writer.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from edictum.audit import AuditEvent
from edictum.redaction import RedactionPolicy
from edictum.sinks import FileAuditSink
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import emit, numbered, records, run_script

posix_only = pytest.mark.skipif(os.name != "posix", reason="file modes, signals and fork are POSIX")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")


# --- one process -------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["direct", "fsync"])
def fsync(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_file_sink_appends_one_line_per_event(tmp_path: Path, fsync: bool) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text('{"call_index": 0}\n')
    events = numbered(1, 2)

    sink = FileAuditSink(path, fsync=fsync)
    emit(sink, *events)
    sink.close()

    assert [{"call_index": 0}, *(event.to_dict() for event in events)] == records(path)
    assert path.read_bytes().count(b"\n") == 3


def test_file_sink_line_is_on_file_when_emit_returns(tmp_path: Path, fsync: bool) -> None:
    """
    Nothing is held back in a buffer that a crash would lose.
    """
    sink = FileAuditSink(tmp_path / "audit.jsonl", fsync=fsync)

    async def main() -> list[int]:
        lines = []
        for event in numbered(1, 2, 3):
            await sink.emit(event)
            lines.append(len(records(tmp_path / "audit.jsonl")))
        return lines

    assert asyncio.run(main()) == [1, 2, 3]


def test_file_sink_with_a_policy_redacts(tmp_path: Path) -> None:
    sink = FileAuditSink(tmp_path / "audit.jsonl", RedactionPolicy())

    emit(sink, AuditEvent(tool_args={"password": "hunter2", "path": "a.txt"}))

    assert "hunter2" not in (tmp_path / "audit.jsonl").read_text()
    assert [record["tool_args"]["path"] for record in records(tmp_path / "audit.jsonl")] == ["a.txt"]


def test_file_sink_relative_path_is_fixed_at_creation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sink = FileAuditSink("audit.jsonl")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    emit(sink, AuditEvent())

    assert str(tmp_path / "audit.jsonl") == sink.path
    assert len(records(tmp_path / "audit.jsonl")) == 1


def test_file_sink_missing_folder_is_named_and_works_once_it_exists(tmp_path: Path) -> None:
    sink = FileAuditSink(tmp_path / "missing" / "audit.jsonl", max_bytes=1000)

    with pytest.raises(FileNotFoundError, match=r"folder .*missing.* does not exist"):
        emit(sink, AuditEvent())
    (tmp_path / "missing").mkdir()
    emit(sink, AuditEvent())

    assert len(records(tmp_path / "missing" / "audit.jsonl")) == 1


def test_file_sink_event_after_close_opens_the_file_again(tmp_path: Path) -> None:
    sink = FileAuditSink(tmp_path / "audit.jsonl")
    emit(sink, *numbered(1))
    sink.close()
    emit(sink, *numbered(2))
    asyncio.run(sink.aclose())
    sink.close()

    assert [record["call_index"] for record in records(tmp_path / "audit.jsonl")] == [1, 2]


@posix_only
def test_file_sink_dropped_without_close_gives_its_handles_back(tmp_path: Path) -> None:
    gc.collect()  # what earlier tests left behind holds handles too
    before = os.listdir("/dev/fd")
    for _ in range(3):
        emit(FileAuditSink(tmp_path / "audit.jsonl", max_bytes=100_000), AuditEvent())

    assert len(before) == len(os.listdir("/dev/fd"))


@pytest.mark.parametrize("options", [{"max_bytes": 0}, {"backups": 0}])
def test_file_sink_senseless_limits_are_refused(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))} is 0"):
        FileAuditSink(tmp_path / "audit.jsonl", **options)  # type: ignore[arg-type]


@posix_only
def test_file_sink_moved_file_is_replaced_by_a_new_one(tmp_path: Path) -> None:
    """
    The way that log rotation by another program works.
    """
    path, moved = tmp_path / "audit.jsonl", tmp_path / "moved.jsonl"
    sink = FileAuditSink(path)
    emit(sink, *numbered(1))
    path.rename(moved)
    emit(sink, *numbered(2))
    path.unlink()
    emit(sink, *numbered(3))

    assert [record["call_index"] for record in records(moved)] == [1]
    assert [record["call_index"] for record in records(path)] == [3]


@posix_only
def test_file_sink_file_replaced_by_another_process_is_noticed(tmp_path: Path) -> None:
    path, moved = tmp_path / "audit.jsonl", tmp_path / "moved.jsonl"
    sink = FileAuditSink(path)
    emit(sink, *numbered(1))
    path.rename(moved)
    emit(FileAuditSink(path), *numbered(2))
    emit(sink, *numbered(3))

    assert [record["call_index"] for record in records(moved)] == [1]
    assert [record["call_index"] for record in records(path)] == [2, 3]


@posix_only
def test_file_sink_new_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    sink = FileAuditSink(tmp_path / "audit.jsonl", max_bytes=10)
    previous = os.umask(0)
    try:
        emit(sink, *numbered(1, 2))
    finally:
        os.umask(previous)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert dict.fromkeys(["audit.jsonl", "audit.jsonl.1", "audit.jsonl.lock"], 0o600) == modes


@posix_only
@pytest.mark.parametrize(
    ("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True), (0o604, True), (0o660, True)]
)
def test_file_sink_existing_file_keeps_its_mode_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warned: bool
) -> None:
    path = tmp_path / "audit.jsonl"
    path.touch()
    path.chmod(mode)

    emit(FileAuditSink(path), *numbered(1, 2))

    assert mode == stat.S_IMODE(path.stat().st_mode)
    assert int(warned) == sum("restrict it with chmod" in message for message in caplog.messages)


@pytest.mark.parametrize("before", ['{"call_index": 1}', '{"call_ind'])
def test_file_sink_after_an_unfinished_line_starts_a_new_one(tmp_path: Path, before: str) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text(before)
    event = AuditEvent(call_index=2)

    emit(FileAuditSink(path), event)

    assert [before, event.to_json()] == path.read_text().splitlines()


# --- rotation ----------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 3000), min_size=1, max_size=12),
    st.integers(1, 4000),
    st.integers(1, 3),
    st.booleans(),
)
def test_file_sink_rotation_keeps_the_newest_lines_in_order(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], max_bytes: int, backups: int, reopen: bool
) -> None:
    folder = tmp_path_factory.mktemp("rotation")
    path = folder / "audit.jsonl"
    sink = FileAuditSink(path, max_bytes=max_bytes, backups=backups)
    for number, size in enumerate(sizes):
        emit(sink, AuditEvent(call_index=number, reason="x" * size))
        if reopen:
            sink.close()
    sink.close()

    oldest_first = [Path(f"{path}.{number}") for number in range(backups, 0, -1)]
    files = [file for file in [*oldest_first, path] if file.exists()]
    kept = [records(file) for file in files]
    numbers = [record["call_index"] for file in kept for record in file]
    assert list(range(len(sizes)))[-len(numbers) :] == numbers
    assert all(file.stat().st_size <= max_bytes or len(records(file)) == 1 for file in files)
    assert {*files, Path(f"{path}.lock")} == set(folder.iterdir())
    if len(files) <= backups:
        assert len(sizes) == len(numbers)


APPEND_SCRIPT = """
import asyncio, sys
from edictum.audit import AuditEvent
from edictum.sinks import FileAuditSink

path, name, count, max_bytes = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
sink = FileAuditSink(path, max_bytes=max_bytes or None, backups=200)

async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(count):
        await sink.emit(AuditEvent(run_id=name, call_index=number, reason="x" * (number % 97) * 20))

asyncio.run(main())
"""


@pytest.mark.parametrize("max_bytes", [0, 20_000], ids=["one file", "rotating"])
def test_file_sink_two_processes_lose_and_tear_no_line(tmp_path: Path, max_bytes: int) -> None:
    path = tmp_path / "audit.jsonl"
    count = 500
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    writers = [run_script(APPEND_SCRIPT, path, name, count, max_bytes, **pipes) for name in "ab"]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.communicate("go\n", timeout=60)
        assert writer.returncode == 0

    rotated = sorted(tmp_path.glob("audit.jsonl.[0-9]*"), key=lambda file: -int(file.suffix[1:]))
    files = [*rotated, path]
    lines = [record for file in files for record in records(file)]
    for name in "ab":
        assert list(range(count)) == [line["call_index"] for line in lines if line["run_id"] == name]
    assert 2 * count == len(lines)
    if max_bytes:
        assert len(rotated) > 5
        assert all(file.stat().st_size <= max_bytes for file in files)


# --- trouble -----------------------------------------------------------------------


@posix_only
def test_file_sink_killed_writer_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    writer = run_script(APPEND_SCRIPT, path, "a", 10**9, 0, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert writer.stdin is not None
    writer.stdin.write("go\n")
    writer.stdin.flush()
    while not path.exists() or path.stat().st_size < 50_000:
        assert writer.poll() is None
    writer.send_signal(signal.SIGKILL)
    writer.communicate(timeout=60)
    event = AuditEvent(run_id="b")
    emit(FileAuditSink(path), event)

    whole, unfinished = [], []
    for line in path.read_text().splitlines():
        try:
            whole.append(json.loads(line))
        except ValueError:
            unfinished.append(line)
    assert event.to_dict() == whole.pop()
    assert list(range(len(whole))) == [record["call_index"] for record in whole]
    # The kernel may stop a write between two pages when it kills the writer.
    assert len(unfinished) <= 1


@linux_only
def test_file_sink_full_disk_raises_to_the_caller(fsync: bool) -> None:
    with pytest.raises(OSError, match="No space left"):
        emit(FileAuditSink("/dev/full", fsync=fsync), AuditEvent())


LIMIT_SCRIPT = """
import asyncio, resource, sys
from edictum.audit import AuditEvent
from edictum.sinks import FileAuditSink

sink = FileAuditSink(sys.argv[1], max_bytes=int(sys.argv[2]) or None)

async def emit(number):
    await sink.emit(AuditEvent(call_index=number))

unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
asyncio.run(emit(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (len(AuditEvent().to_json()) + 100, unlimited[1]))
for number in (2, 3):
    try:
        asyncio.run(emit(number))
    except OSError as error:
        print(error.strerror, flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
asyncio.run(emit(4))
"""


@posix_only
@pytest.mark.parametrize("max_bytes", [0, 100_000])
def test_file_sink_half_written_line_raises_and_the_next_is_whole(tmp_path: Path, max_bytes: int) -> None:
    path = tmp_path / "audit.jsonl"
    script = run_script(LIMIT_SCRIPT, path, max_bytes, stdout=subprocess.PIPE)
    output, _ = script.communicate(timeout=60)

    assert (script.returncode, output.splitlines()) == (0, ["File too large"] * 2)
    first, half, last = path.read_text().splitlines()
    assert [json.loads(first)["call_index"], json.loads(last)["call_index"]] == [1, 4]
    assert half.startswith('{"schema_version":')


@posix_only
def test_file_sink_failed_event_does_not_break_the_sink(tmp_path: Path) -> None:
    """
    The path is a folder first; once that is gone the same sink records.
    """
    path = tmp_path / "audit.jsonl"
    path.mkdir()
    sink = FileAuditSink(path)

    with pytest.raises(IsADirectoryError):
        emit(sink, *numbered(1))
    path.rmdir()
    emit(sink, *numbered(2))

    assert [record["call_index"] for record in records(path)] == [2]


FORK_SCRIPT = """
import asyncio, os, sys
from edictum.audit import AuditEvent
from edictum.sinks import FileAuditSink

sink = FileAuditSink(sys.argv[1], max_bytes=5_000, backups=200)

async def emit(name, numbers):
    for number in numbers:
        await sink.emit(AuditEvent(run_id=name, call_index=number))

asyncio.run(emit("parent", [0]))
with sink._lock:  # as if another thread were writing at the fork
    child = os.fork()
name = "parent" if child else "child"
asyncio.run(emit(name, range(1, 200)))
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@posix_only
def test_file_sink_forked_child_records_beside_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    script = run_script(FORK_SCRIPT, path)
    script.communicate(timeout=60)

    lines = [record for file in tmp_path.glob("audit.jsonl*") for record in records(file)]
    found = sorted((line["run_id"], line["call_index"]) for line in lines)
    assert script.returncode == 0
    assert [("child", n) for n in range(1, 200)] + [("parent", n) for n in range(200)] == found
