"""
Events on disk: whatever happens to the process, what was written and not sent yet is there for the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from edictum import EdictumConfigError
from edictum_client import spool as module
from edictum_client.spool import Spool
from hypothesis import given
from hypothesis import strategies as st

PLENTY = 1024**3
EVENTS = [b"event %d" % number for number in range(20)]


def fill(folder: Path, lines: list[bytes], max_bytes: int = PLENTY) -> Spool:
    spool = Spool(folder, max_bytes)
    for line in lines:
        spool.append(line)
    return spool


def left_in(folder: Path) -> list[bytes]:
    """
    What the next process finds; afterwards it is gone.
    """
    spool = Spool(folder, PLENTY)
    found = spool.read(len(spool))
    spool.done(len(found))
    spool.close()
    return found


def only(folder: Path, suffix: str) -> Path:
    (path,) = folder.glob(f"*{suffix}")
    return path


# --- what it promises, against a plain list -------------------------------------------------------

LINES = st.binary(min_size=1, max_size=30).map(lambda raw: raw.replace(b"\n", b" "))
STEPS = st.one_of(
    st.tuples(st.just("append"), st.lists(LINES, min_size=1, max_size=4)),
    st.tuples(st.just("read"), st.integers(0, 8)),
    st.tuples(st.just("done"), st.integers(0, 8)),
    st.tuples(st.just("drop_oldest"), st.none()),
    st.tuples(st.just("take_over"), st.none()),
)


class Model:
    """
    A spool, and the list that it has to be the same as.

    Attributes:
        history: All events that were ever written.
        first: The place of the oldest one that waits.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spool = Spool(folder, PLENTY)
        self.history: list[bytes] = []
        self.first = 0

    @property
    def waiting(self) -> list[bytes]:
        return self.history[self.first :]

    def append(self, lines: list[bytes]) -> None:
        for line in lines:
            self.history.append(b"%d %s" % (len(self.history), line))
            self.spool.append(self.history[-1])

    def read(self, count: int) -> None:
        assert self.spool.read(count) == self.waiting[:count]

    def done(self, count: int) -> None:
        count = min(count, len(self.waiting))
        self.spool.done(count)
        self.first += count

    def drop_oldest(self, _: None) -> None:
        lost = self.spool.drop_oldest()
        assert bool(lost) == bool(self.waiting)
        self.first += lost

    def take_over(self, _: None) -> None:
        self.spool.close()
        self.spool = Spool(self.folder, PLENTY)

    def check(self) -> None:
        assert len(self.spool) == len(self.waiting)
        assert self.spool.read(len(self.waiting) + 1) == self.waiting


@contextlib.contextmanager
def small_segments() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "SEGMENT_BYTES", 60)
        yield


@pytest.mark.property
@given(st.lists(STEPS, max_size=25))
def test_spool_any_steps_equals_a_list(steps: list[tuple[str, Any]]) -> None:
    with small_segments(), tempfile.TemporaryDirectory() as name:
        model = Model(Path(name))
        for step, argument in steps:
            getattr(model, step)(argument)
            model.check()
        model.spool.close()
        assert left_in(Path(name)) == model.waiting
        assert list(Path(name).iterdir()) == []  # what was sent leaves nothing behind


class Moments:
    """
    What the folder holds before each system call, and in the middle of each that writes a line.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.seen: list[dict[str, bytes]] = []

    def note(self) -> None:
        now = {path.name: path.read_bytes() for path in self._folder.iterdir()}
        if not self.seen or self.seen[-1] != now:
            self.seen.append(now)

    def before(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **options: Any) -> Any:
            self.note()
            return call(*arguments, **options)

        return noted

    def write(self, descriptor: int, data: bytes) -> int:
        self.note()
        written = os.write(descriptor, data[: len(data) // 2])
        self.note()
        return written + os.write(descriptor, data[len(data) // 2 :])


@contextlib.contextmanager
def observed(folder: Path) -> Iterator[Moments]:
    """
    Look at the folder between any two system calls that change something.
    """
    moments = Moments(folder)
    watched = {name: moments.before(getattr(os, name)) for name in ("open", "close", "ftruncate", "pwrite", "pread")}
    ours = SimpleNamespace(**{**vars(os), **watched, "write": moments.write})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "os", ours)
        patched.setattr(Path, "unlink", moments.before(Path.unlink))
        yield moments
    moments.note()


@pytest.mark.property
@pytest.mark.fault
@given(st.lists(STEPS, min_size=1, max_size=12))
def test_spool_killed_between_any_two_system_calls_keeps_what_waits(steps: list[tuple[str, Any]]) -> None:
    with small_segments(), tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as elsewhere:
        model = Model(Path(name))
        for index, (step, argument) in enumerate(steps):
            begun = len(model.history)
            with observed(Path(name)) as moments:
                getattr(model, step)(argument)
            for number, files in enumerate(moments.seen):
                copy = Path(elsewhere) / f"{index}-{number}"
                copy.mkdir()
                for file, content in files.items():
                    (copy / file).write_bytes(content)
                found = left_in(copy)
                # All that waits after the step is there, in order and once; of what was written in this step, only what
                # was written completely; and of what was sent, at most what the console was told of last.
                start = model.history.index(found[0]) if found else model.first
                end = start + len(found)
                assert found == model.history[start:end]
                assert start <= model.first
                assert max(begun, start) <= end
        model.spool.close()


# --- what others leave ----------------------------------------------------------------------------


def test_spool_closed_with_events_the_next_one_goes_on_after_what_was_sent(tmp_path: Path) -> None:
    spool = fill(tmp_path, EVENTS)
    spool.done(7)
    spool.close()

    assert left_in(tmp_path) == EVENTS[7:]


def test_spool_segments_of_one_moment_are_taken_over_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 1)  # each event has a segment of its own
    spool = fill(tmp_path, EVENTS)
    spool.close()
    for path in tmp_path.iterdir():
        os.utime(path, (1, 1))  # as copying a folder leaves it

    assert left_in(tmp_path) == EVENTS


def test_spool_last_line_torn_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path, EVENTS).close()
    segment = only(tmp_path, ".events")
    segment.write_bytes(segment.read_bytes()[:-3])

    assert left_in(tmp_path) == EVENTS[:-1]
    assert "incomplete" in caplog.text


@pytest.mark.parametrize(
    "progress",
    [None, b"", b"000", b"9" * 20, b"-0000000000000000001", b"\xff\x00", b"0" * 19 + b"3", b"9" * 5000],
    ids=["missing", "empty", "torn", "too large", "negative", "no number", "amid a line", "no end"],
)
def test_spool_progress_unusable_sends_everything_again(tmp_path: Path, progress: bytes | None) -> None:
    spool = fill(tmp_path, EVENTS)
    spool.done(5)
    spool.close()
    path = only(tmp_path, ".sent")
    if progress is None:
        path.unlink()
    else:
        path.write_bytes(progress)

    assert left_in(tmp_path) == EVENTS


def test_spool_of_a_living_process_is_not_taken_over(tmp_path: Path) -> None:
    owner = fill(tmp_path, EVENTS)
    other = Spool(tmp_path, PLENTY)

    assert len(other) == 0
    other.close()
    assert owner.read(100) == EVENTS
    owner.close()


PROCESS = """
import os, sys
from pathlib import Path
from edictum_client.spool import Spool

spool = Spool(Path(sys.argv[1]), 1 << 30)
for number in range(20):
    spool.append(b"event %d" % number)
spool.done(3)
{more}
print("ready", os.getpid(), flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def process(folder: Path, more: str = "") -> Iterator[subprocess.Popen[str]]:
    """
    Another process that has written events, and told of three of them that the console has them.
    """
    command = [sys.executable, "-c", PROCESS.format(more=more), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            assert running.stdout.readline().startswith("ready")
            yield running
        finally:
            running.kill()


@pytest.mark.fault
def test_spool_of_another_process_is_taken_over_when_that_is_killed(tmp_path: Path) -> None:
    with process(tmp_path) as other:
        before = Spool(tmp_path, PLENTY)
        assert len(before) == 0
        before.close()
        other.kill()
        other.wait()

    assert left_in(tmp_path) == EVENTS[3:]


@pytest.mark.fault
def test_spool_whose_process_was_forked_and_killed_is_taken_over_while_the_child_lives(tmp_path: Path) -> None:
    # The child lives as long as its standard input is open.
    fork = """
reading, writing = os.pipe()
if os.fork() == 0:
    os.write(writing, b"!")
    sys.stdin.read()
    os._exit(0)
os.read(reading, 1)
"""
    with process(tmp_path, fork) as other:
        other.kill()
        other.wait()

        assert left_in(tmp_path) == EVENTS[3:]


def test_spool_file_removed_by_a_process_that_starts_before_it_is_locked_begins_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, late = fcntl.flock, iter([True])

    def flock(descriptor: int, operation: int) -> None:
        if next(late, False):
            Spool(tmp_path, PLENTY).close()  # finds an empty file that nobody has locked
        lock(descriptor, operation)

    monkeypatch.setattr(module, "fcntl", SimpleNamespace(**{**vars(fcntl), "flock": flock}))
    spool = fill(tmp_path, EVENTS)
    spool.close()

    assert left_in(tmp_path) == EVENTS


SWARM = """
import os, signal, sys
from pathlib import Path
from edictum_client.spool import Spool

folder, sent, me = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
for life in range(25):
    child = os.fork()
    if child == 0:
        spool = Spool(folder, 1 << 30)
        for number in range(3):
            spool.append(f"{me}-{life}-{number}".encode())
        count = len(spool) - 2
        found = spool.read(count)
        console = os.open(sent, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(console, b"".join(line + b"\\n" for line in found))
        spool.done(count)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
"""


@pytest.mark.fault
def test_spool_many_processes_that_are_killed_share_a_folder_each_event_is_sent_once(tmp_path: Path) -> None:
    folder, sent = tmp_path / "spool", tmp_path / "sent"
    command = [sys.executable, "-c", SWARM, str(folder), str(sent)]
    swarm = [subprocess.Popen([*command, str(number)]) for number in range(4)]
    assert [each.wait(120) for each in swarm] == [0, 0, 0, 0]

    found = sent.read_bytes().split() + left_in(folder)
    assert sorted(found) == sorted(
        f"{me}-{life}-{n}".encode() for me in range(4) for life in range(25) for n in range(3)
    )


# --- limits, and disks that fail ------------------------------------------------------------------


def test_spool_full_has_room_again_after_some_were_sent(tmp_path: Path) -> None:
    spool = fill(tmp_path, EVENTS[:2], max_bytes=len(b"event 0\nevent 1\n"))
    assert spool.full

    spool.done(1)

    assert not spool.full
    spool.close()


def test_spool_full_has_room_again_after_the_oldest_were_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 40)
    spool = fill(tmp_path, EVENTS[:6], max_bytes=48)
    assert spool.full

    lost = spool.drop_oldest()

    assert lost == 5  # a segment
    assert not spool.full
    assert spool.read(10) == EVENTS[5:6]
    spool.close()


def test_spool_full_after_a_segment_was_sent_gives_events_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 8)
    spool = fill(tmp_path, EVENTS[:1], max_bytes=8)
    spool.done(1)
    spool.append(EVENTS[1])
    assert spool.full

    assert spool.drop_oldest() == 1
    assert not spool.full
    spool.close()


def test_spool_more_done_than_waits_is_an_error(tmp_path: Path) -> None:
    spool = fill(tmp_path, EVENTS[:1])

    with pytest.raises(ValueError, match="more events were sent than waited"):
        spool.done(2)
    spool.close()


@pytest.mark.security
def test_spool_folder_and_files_are_for_this_user_alone(tmp_path: Path) -> None:
    spool = fill(tmp_path / "deep" / "spool", EVENTS[:2])
    spool.done(1)

    folder = tmp_path / "deep" / "spool"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    spool.close()


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_spool_folder_that_is_none_is_a_config_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(EdictumConfigError, match=r"spool_dir .* cannot be used"):
        Spool(tmp_path / place, PLENTY)


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """
    Let the disk be full where a file is so large.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.fault
@pytest.mark.parametrize("room", [20, 24])  # in the middle of a line, and at its end
def test_spool_disk_full_refuses_the_event_and_keeps_the_others(tmp_path: Path, room: int) -> None:
    spool = Spool(tmp_path, PLENTY)
    refused = []
    with largest_file(room):
        for line in EVENTS[:5]:
            try:
                spool.append(line)
            except OSError:
                refused.append(line)
    spool.append(b"later")

    kept = [line for line in EVENTS[:5] if line not in refused]
    assert 0 < len(kept) < 5
    assert spool.read(10) == [*kept, b"later"]
    spool.close()
    assert left_in(tmp_path) == [*kept, b"later"]


@pytest.mark.fault
def test_spool_disk_full_forgets_what_was_sent_in_this_process_at_least(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = fill(tmp_path, EVENTS)
    with largest_file(0):
        spool.done(4)  # cannot be noted

    assert spool.read(100) == EVENTS[4:]
    assert "is sent again after a restart" in caplog.text
    spool.done(1)
    spool.close()
    assert left_in(tmp_path) == EVENTS[5:]


def test_spool_files_of_others_in_the_folder_stay(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("mine")
    fill(tmp_path, EVENTS).close()
    left_in(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["README"]
