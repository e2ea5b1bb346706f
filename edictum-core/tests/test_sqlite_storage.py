"""
The storage backend in a SQLite file: the same as the one in memory, shared by processes that may die at any moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import edictum.sqlite_storage as sqlite_storage
import pytest
import test_concurrency
import test_session
import test_storage
from edictum import Edictum, EdictumConfigError, EdictumDenied, OperationLimits, StorageBackend
from edictum.sqlite_storage import SqliteBackend
from edictum.storage import Change, immediate, reserving
from edictum.testing.running import at_once, in_threads
from guards import guard_of, run, session_rule
from hypothesis import settings

posix_only = pytest.mark.skipif(os.name != "posix", reason="file modes, signals and fork are POSIX")

SOURCE = Path(sqlite_storage.__file__).parents[1]
PLACE: list[Change] = [("s:a:execs", 1, 300), ("s:a:tool:t", 1, None)]
FAILURES = "s:a:consec_fail"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def backend(path: Path) -> Iterator[SqliteBackend]:
    backend = SqliteBackend(path)
    yield backend
    backend.close()


@pytest.fixture
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], SqliteBackend]]:
    """
    Makes backends that wait for the disk if the parameter says so.
    """
    made: list[SqliteBackend] = []

    def make() -> SqliteBackend:
        made.append(SqliteBackend(tmp_path / f"{len(made)}.db", fsync=getattr(request, "param", False)))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


@contextlib.contextmanager
def another_program(path: Path, *statements: str) -> Iterator[sqlite3.Connection]:
    """
    A connection of somebody else, after these statements.
    """
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)
        yield db


def live(path: Path) -> dict[str, int]:
    with another_program(path) as db:
        return dict(db.execute("SELECT id, live FROM sessions"))


def age(path: Path, seconds: float, session_id: str) -> None:
    with another_program(path) as db:
        db.execute("UPDATE sessions SET used = used - ? WHERE id = ?", (seconds, session_id))


def start(script: str, *args: object) -> subprocess.Popen[str]:
    """
    A process that runs the script after ``go`` has come in.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), *sys.path])}
    script = f"import asyncio, os, sys\nfrom edictum.sqlite_storage import SqliteBackend\ninput()\n{script}"
    command = [sys.executable, "-W", "ignore", "-c", script, *map(str, args)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, text=True, stdin=pipe, stdout=pipe)


def results(*processes: subprocess.Popen[str]) -> list[list[str]]:
    """
    What processes print that begin together; all must end well.
    """
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return outputs


# --- the same as in memory ------------------------------------------------------------------------


class Agreement(test_storage.Agreement):
    """
    The machine that compares backends with a model, with one more backend.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.sqlite = SqliteBackend(Path(self.folder.name, "state.db"))
        self.backends.append(reserving(self.sqlite))

    def agree(self, expected: Any, steps: list[Coroutine[Any, Any, Any]]) -> None:
        assert [expected] * 3 == [at_once(step) for step in steps]

    def teardown(self) -> None:
        self.sqlite.close()
        self.folder.cleanup()


Agreement.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
test_sqlite_agrees_with_the_model_of_other_backends = pytest.mark.property(Agreement.TestCase)


def shared(module: ModuleType) -> pytest.MarkDecorator:
    """
    The tests of a module that need nothing but a backend.
    """
    tests = [test for name, test in vars(module).items() if name.startswith("test_")]
    tests = [test for test in tests if list(inspect.signature(test).parameters) == ["make"]]
    assert len(tests) >= 5
    return pytest.mark.parametrize("test", tests, ids=lambda test: test.__name__)


both_ways = pytest.mark.parametrize("make", [False, True], ids=["plain", "fsync"], indirect=True)


@shared(test_session)
def test_sqlite_passes_session_test(make: Callable[[], StorageBackend], test: Any) -> None:
    test(make)


@both_ways
@shared(test_concurrency)
def test_sqlite_passes_concurrency_test(make: Callable[[], StorageBackend], test: Any) -> None:
    test(make)


@both_ways
def test_sqlite_limit_of_10_under_100_parallel_calls_runs_exactly_10(make: Callable[[], StorageBackend]) -> None:
    limits = OperationLimits(max_tool_calls=10)
    test_concurrency.test_limit_of_10_under_100_parallel_calls_runs_exactly_10(make, limits)


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [([1], "1"), ([0.5, 0.5], "1"), ([0.25], "0.25"), ([1e15], "1000000000000000"), ([-2], "-2"), ([0], "0")],
)
def test_sqlite_counter_reads_as_text(backend: SqliteBackend, amounts: list[float], expected: str) -> None:
    for amount in amounts:
        at_once(backend.increment("s:a:cost", amount))

    assert expected == at_once(backend.get("s:a:cost"))


@pytest.mark.parametrize(("text", "expected"), [("5", 6), ("2.5", 3.5), (" 7 ", 8), ("-1", 0)])
@pytest.mark.parametrize("counted", [0, 3])
def test_sqlite_numeric_text_is_counted_on(backend: SqliteBackend, text: str, expected: float, counted: int) -> None:
    if counted:
        at_once(backend.increment("s:a:execs", counted))
    at_once(backend.set("s:a:execs", text))

    assert at_once(backend.get("s:a:execs")) == (f"{expected - 1:g}" if counted else text)
    assert expected == at_once(backend.increment("s:a:execs"))


@pytest.mark.parametrize("text", ["many", "", "nan", "007 is not a number", "a\x00b", "ünïcode"])
def test_sqlite_text_is_returned_as_it_is_and_not_counted_on(backend: SqliteBackend, text: str) -> None:
    at_once(backend.increment("s:a:execs"))
    at_once(backend.set("s:a:execs", text))

    assert at_once(backend.get("s:a:execs")) == text
    for step in (backend.increment("s:a:execs"), backend.reserve(PLACE), backend.release(PLACE)):
        with pytest.raises(ValueError, match=r"'s:a:execs' is not a number"):
            at_once(step)
    with pytest.raises(ValueError, match=r"'s:a:execs' is not a number"):
        at_once(backend.settle(PLACE, "s:a:execs", False))
    assert at_once(backend.batch_get(["s:a:execs", "s:a:tool:t"])) == {"s:a:execs": text, "s:a:tool:t": None}


def test_sqlite_takes_any_key(backend: SqliteBackend) -> None:
    for number, key in enumerate(["s:x", "free", "", "s::x", "s:a:it's", "S:A:X", "s:a:x"]):
        at_once(backend.set(key, str(number)))

    assert [at_once(backend.get(key)) for key in ("s:x", "free", "", "s::x", "s:a:it's", "S:A:X", "s:a:x")] == [
        "0", "1", "2", "3", "4", "5", "6",
    ]  # fmt: skip


def test_sqlite_counter_too_large_for_the_file_raises_and_stays(backend: SqliteBackend) -> None:
    at_once(backend.increment("s:a:execs", 2**63 - 1))

    with pytest.raises(OverflowError):
        at_once(backend.increment("s:a:execs"))
    assert at_once(backend.get("s:a:execs")) == str(2**63 - 1)


def test_sqlite_refusal_names_the_key_and_changes_nothing(backend: SqliteBackend, path: Path) -> None:
    at_once(backend.increment("s:a:tool:t", 2))

    result = at_once(backend.reserve([("s:a:execs", 1, None), ("s:a:tool:t", 1, 2)]))

    assert (result.ok, result.failed_key, result.values) == (False, "s:a:tool:t", (0, 2))
    assert at_once(backend.get("s:a:execs")) is None
    assert live(path) == {"a": 0}


def test_sqlite_attempt_that_is_given_back_leaves_running_calls_counted(backend: SqliteBackend, path: Path) -> None:
    running, attempt = [("s:a:execs", 1, 5)], [("s:a:attempts", 1, None)]
    at_once(backend.reserve(running))
    at_once(backend.reserve(attempt))

    at_once(backend.release(attempt))

    assert live(path) == {"a": 1}


def test_sqlite_reservation_over_sessions_is_refused(backend: SqliteBackend) -> None:
    with pytest.raises(ValueError, match="one session"):
        at_once(backend.reserve([("s:a:x", 1, None), ("s:b:x", 1, None)]))


def test_sqlite_release_stops_at_zero(backend: SqliteBackend) -> None:
    at_once(backend.release(PLACE))

    assert at_once(backend.get("s:a:execs")) == "0"


def test_sqlite_reserves_by_itself_but_never_without_waiting(backend: SqliteBackend) -> None:
    assert reserving(backend) is backend
    assert immediate(backend) is None


# --- several processes ----------------------------------------------------------------------------

COUNT = """
async def main():
    backend = SqliteBackend(sys.argv[1], timeout=30)
    for _ in range(200):
        await backend.increment("s:a:attempts")
        place = [("s:a:execs", 1, 300), ("s:a:tool:t", 1, None)]
        if (await backend.reserve(place)).ok:
            print("ran")
            await backend.settle(place, "s:a:consec_fail", False)

asyncio.run(main())
"""


def test_sqlite_limit_over_processes_runs_exactly_that_many(path: Path) -> None:
    """
    They also make the file together.
    """
    found = results(*(start(COUNT, path) for _ in range(4)))

    assert sum(map(len, found)) == 300
    with contextlib.closing(SqliteBackend(path)) as backend:
        keys = ["s:a:attempts", "s:a:execs", "s:a:tool:t", FAILURES]
        assert list(at_once(backend.batch_get(keys)).values()) == ["800", "300", "300", "300"]
    assert live(path) == {"a": 0}


def test_sqlite_file_that_another_process_fills_meanwhile_is_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_empty, others = sqlite_storage._is_empty, [SqliteBackend]

    def look(db: sqlite3.Connection, name: str) -> bool:
        found = is_empty(db, name)
        if others:
            with contextlib.closing(others.pop()(path)) as other:
                at_once(other.increment("s:a:execs"))
        return found

    monkeypatch.setattr(sqlite_storage, "_is_empty", look)
    with contextlib.closing(SqliteBackend(path)) as backend:
        assert at_once(backend.increment("s:a:execs")) == 2


GUARD = """
from edictum import Edictum, EdictumDenied

rule = {"id": "few", "type": "session", "limits": {"max_tool_calls": 25}, "then": {"action": "block", "message": "no"}}
rules = {"apiVersion": "edictum/v1", "kind": "Ruleset", "metadata": {"name": "t"}, "defaults": {"mode": "enforce"}}
guard = Edictum.from_bundle_dict({**rules, "rules": [rule]}, backend=SqliteBackend(sys.argv[1], timeout=30))
for number in range(40):
    try:
        if number % 2:
            guard.run_sync("read", {}, print, session_id="shared")
        else:
            asyncio.run(guard.run("read", {}, print, session_id="shared"))
        print("ran")
    except EdictumDenied as denied:
        assert denied.decision_source != "backend_error", denied
"""


def test_sqlite_guards_in_two_processes_share_their_limit(path: Path) -> None:
    found = results(*(start(GUARD, path) for _ in range(2)))

    assert sum(map(len, found)) == 25
    with contextlib.closing(SqliteBackend(path)) as backend:
        assert at_once(backend.get("s:shared:attempts")) == "80"


RESERVE = """
async def main():
    backend = SqliteBackend(sys.argv[1])
    while (await backend.reserve([("s:a:execs", 1, 10**6), ("s:a:tool:t", 1, None)])).ok:
        os.write(1, b"ok\\n")

asyncio.run(main())
"""


@posix_only
def test_sqlite_killed_process_leaves_every_place_that_it_confirmed(path: Path) -> None:
    before = 0
    for lines in (1, 7, 50, 200, 333):
        process = start(RESERVE, path)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        confirmed = sum(process.stdout.readline() == "ok\n" for _ in range(lines))
        process.send_signal(signal.SIGKILL)
        confirmed += process.stdout.read().count("ok\n")  # communicate() would miss what readline() read ahead
        process.wait(60)
        process.stdin.close()
        process.stdout.close()

        with contextlib.closing(SqliteBackend(path)) as backend:
            found = [int(text or 0) for text in at_once(backend.batch_get(["s:a:execs", "s:a:tool:t"])).values()]
            assert found[0] in (before + confirmed, before + confirmed + 1)
            assert found[1] == found[0] == live(path)["a"]
            assert not at_once(backend.reserve([("s:a:execs", 1, found[0])])).ok
            assert at_once(backend.reserve([("s:a:execs", 1, found[0] + 1), ("s:a:tool:t", 1, None)])).ok
            before = found[0] + 1
        with another_program(path) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


DIE = """
import signal
import edictum.sqlite_storage

edictum.sqlite_storage._touch = lambda *facts: os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(SqliteBackend(sys.argv[1]).reserve([("s:a:execs", 1, 300), ("s:a:tool:t", 1, None)]))
"""


@posix_only
def test_sqlite_process_killed_within_a_step_leaves_no_half_of_it_and_no_lock(
    backend: SqliteBackend, path: Path
) -> None:
    at_once(backend.reserve(PLACE))
    process = start(DIE, path)
    process.communicate("go\n", timeout=60)

    assert process.returncode == -signal.SIGKILL
    assert at_once(backend.reserve(PLACE)).values == (2, 2)


# --- threads and event loops ----------------------------------------------------------------------


@both_ways
def test_sqlite_threads_and_two_backends_of_one_file_lose_nothing(make: Callable[[], SqliteBackend]) -> None:
    first = make()
    second = SqliteBackend(first.path, timeout=30)

    async def work() -> int:
        found = 0
        for backend in (first, second) * 10:
            await backend.increment("s:a:attempts")
            found += (await backend.reserve([("s:a:execs", 1, 50)])).ok
        return found

    assert sum(in_threads(8, lambda: asyncio.run(work()))) == 50
    assert asyncio.run(first.get("s:a:attempts")) == "160" == asyncio.run(second.get("s:a:attempts"))
    second.close()


def test_sqlite_fsync_waits_for_the_disk(make: Callable[[], SqliteBackend], path: Path) -> None:
    with contextlib.closing(SqliteBackend(path, fsync=True)) as waiting:
        levels = [backend._connection().execute("PRAGMA synchronous").fetchone() for backend in (make(), waiting)]

    assert levels == [(1,), (2,)]


# --- a locked file --------------------------------------------------------------------------------


def test_sqlite_wait_for_a_lock_lets_the_loop_go_on(backend: SqliteBackend, path: Path) -> None:
    async def main() -> float:
        with another_program(path, "BEGIN IMMEDIATE") as db:
            step = asyncio.create_task(backend.increment("s:a:execs"))
            for _ in range(10):
                await asyncio.sleep(0)
            assert not step.done()
            assert await backend.get("s:a:execs") is None  # reading waits for nobody
            assert (await backend.reserve([("s:a:execs", 0, None)])).values == (0,)
            db.execute("COMMIT")
            return await step

    assert asyncio.run(main()) == 1


def test_sqlite_cancelled_wait_changes_nothing(backend: SqliteBackend, path: Path) -> None:
    async def main() -> None:
        with another_program(path, "BEGIN IMMEDIATE"):
            step = asyncio.create_task(backend.reserve(PLACE))
            await asyncio.sleep(0)
            step.cancel()
            with pytest.raises(asyncio.CancelledError):
                await step

    asyncio.run(main())
    assert at_once(backend.get("s:a:execs")) is None


@pytest.mark.parametrize("fsync", [False, True])
@pytest.mark.parametrize("timeout", [0, 0.02])
def test_sqlite_lock_held_too_long_raises_and_blocks_the_call(path: Path, timeout: float, fsync: bool) -> None:
    with contextlib.closing(SqliteBackend(path, timeout=timeout, fsync=fsync)) as backend:
        guard = Edictum(backend=backend)
        with another_program(path, "BEGIN IMMEDIATE"):
            with pytest.raises(TimeoutError, match=r"state.db' was locked for 0\S* s; end the program"):
                asyncio.run(backend.increment("s:a:execs"))
            with pytest.raises(EdictumDenied) as caught:
                run(guard)
        assert caught.value.decision_source == "backend_error"
        assert run(guard) == "done"


def test_sqlite_file_locked_when_opened_raises(path: Path) -> None:
    with another_program(path, "BEGIN EXCLUSIVE"), pytest.raises(TimeoutError, match="was locked for"):
        SqliteBackend(path, timeout=0.02)


def test_sqlite_file_locked_when_opened_is_waited_for(path: Path) -> None:
    locked, tried = threading.Event(), threading.Event()

    def lock() -> None:
        with another_program(path, "BEGIN EXCLUSIVE"):
            locked.set()
            tried.wait(60)

    class Waiting(SqliteBackend):
        def _pause_after(self, *facts: Any) -> float:
            tried.set()
            return super()._pause_after(*facts)

    thread = threading.Thread(target=lock)
    thread.start()
    locked.wait(60)
    with contextlib.closing(Waiting(path, timeout=30)) as backend:
        assert at_once(backend.increment("s:a:execs")) == 1
    assert tried.is_set()
    thread.join()


# --- the file -------------------------------------------------------------------------------------


@posix_only
def test_sqlite_files_are_private_whatever_the_umask(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mask = os.umask(0)
    try:
        backend = SqliteBackend(path)
        at_once(backend.increment("s:a:execs"))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(mask)
    backend.close()

    assert modes == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}
    assert caplog.records == []


@posix_only
@pytest.mark.parametrize(("mode", "warns"), [(0o600, False), (0o640, False), (0o660, True), (0o644, True)])
def test_sqlite_file_of_others_warns_and_keeps_its_mode(
    path: Path, caplog: pytest.LogCaptureFixture, mode: int, warns: bool
) -> None:
    path.touch()
    path.chmod(mode)
    with caplog.at_level(logging.WARNING, "edictum.sqlite_storage"), contextlib.closing(SqliteBackend(path)):
        pass

    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert [f"mode {mode:04o}" in record.getMessage() for record in caplog.records] == [True] * warns


def test_sqlite_state_is_there_after_closing(backend: SqliteBackend, path: Path) -> None:
    at_once(backend.set("s:a:note", "text"))
    asyncio.run(backend.aclose())

    assert [file.name for file in path.parent.iterdir()] == ["state.db"]
    assert at_once(backend.get("s:a:note")) == "text"
    backend.close()
    backend.close()
    with contextlib.closing(SqliteBackend(str(path))) as other:
        assert at_once(other.get("s:a:note")) == "text"
        assert other.path == str(path)


def test_sqlite_path_with_strange_characters_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "a b%20?mode=ro#c&ü.db"
    with contextlib.closing(SqliteBackend(path)) as backend:
        at_once(backend.set("s:a:x", "1"))

    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("path", [":memory:", ""])
def test_sqlite_without_a_file_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="MemoryBackend"):
        SqliteBackend(path)


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_sqlite_timeout_below_zero_is_refused(path: Path, timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        SqliteBackend(path, timeout=timeout)
    assert not path.exists()


def test_sqlite_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"the folder '.*none' .* does not exist; create it"):
        SqliteBackend(tmp_path / "none" / "state.db")


@pytest.mark.parametrize("content", [b"hello", b"hello " * 5000, b"SQLite format 3\x00" + b"\xff" * 9000])
def test_sqlite_file_that_is_no_database_is_refused_and_kept(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    with pytest.raises(EdictumConfigError, match=r"state.db' cannot be used for session state: .*; restore the file"):
        SqliteBackend(path)
    assert path.read_bytes() == content


def test_sqlite_path_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdictumConfigError, match="cannot be used for session state: unable to open"):
        SqliteBackend(tmp_path)


@pytest.mark.parametrize("statement", ["CREATE TABLE mine (x)", "PRAGMA user_version = 1", "PRAGMA application_id = 7"])
def test_sqlite_database_of_another_program_is_refused_and_kept(path: Path, statement: str) -> None:
    with another_program(path, statement):
        pass
    content = path.read_bytes()

    with pytest.raises(EdictumConfigError, match=r"state.db' is a database of another program"):
        SqliteBackend(path)
    assert path.read_bytes() == content


def test_sqlite_newer_schema_is_refused(backend: SqliteBackend, path: Path) -> None:
    backend.close()
    with another_program(path, "PRAGMA user_version = 2"):
        pass

    with pytest.raises(EdictumConfigError, match=r"state.db' has schema 2 of a newer edictum, .* upgrade"):
        SqliteBackend(path)
    with pytest.raises(EdictumDenied):
        run(Edictum(backend=backend))


def test_sqlite_file_deleted_or_replaced_blocks_every_call(path: Path) -> None:
    with contextlib.closing(SqliteBackend(path)) as backend:
        guard = guard_of(session_rule(), backend=backend)
        assert run(guard, session_id="a") == "done"
        for file in path.parent.iterdir():
            file.unlink()

        with pytest.raises(FileNotFoundError):
            at_once(backend.get("s:a:execs"))
        with contextlib.closing(SqliteBackend(path)), pytest.raises(OSError, match=r"state.db' was replaced"):
            at_once(backend.get("s:a:execs"))
        with pytest.raises(EdictumDenied) as caught:
            run(guard, session_id="a")
    assert caught.value.decision_source == "backend_error"


def test_sqlite_file_deleted_while_closed_is_not_made_again(backend: SqliteBackend, path: Path) -> None:
    backend.close()
    path.unlink()

    with pytest.raises(EdictumConfigError, match="unable to open"):
        at_once(backend.get("s:a:execs"))
    assert not path.exists()


def test_sqlite_error_of_the_database_blocks_the_call(backend: SqliteBackend, path: Path) -> None:
    with another_program(path, "DROP TABLE entries"):
        pass

    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        at_once(backend.get("s:a:execs"))
    with pytest.raises(EdictumDenied) as caught:
        run(Edictum(backend=backend))
    assert caught.value.decision_source == "backend_error"


FULL = """
import resource, sqlite3

backend = SqliteBackend(sys.argv[1])
asyncio.run(backend.increment("s:a:execs"))
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(sys.argv[1] + "-wal") + 5000, unlimited[1]))
done = 1
try:
    for done in range(1, 100):
        asyncio.run(backend.increment("s:a:execs"))
except sqlite3.OperationalError:
    print(done)
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
print(int(asyncio.run(backend.increment("s:a:execs"))))
"""


@posix_only
def test_sqlite_full_disk_raises_and_the_next_step_works(path: Path) -> None:
    ((counted, after),) = results(start(FULL, path))

    assert 1 <= int(counted) < 99
    assert int(after) == int(counted) + 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, sqlite3.OperationalError])
def test_sqlite_step_that_is_interrupted_leaves_nothing(
    backend: SqliteBackend, path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def interrupt(*facts: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_storage, "_touch", interrupt)
        with pytest.raises(error):
            at_once(backend.reserve(PLACE))

    with another_program(path, "BEGIN IMMEDIATE"):
        pass
    backend._connection().execute("BEGIN IMMEDIATE")  # as if the interrupt had hit the rollback
    assert at_once(backend.reserve(PLACE)).values == (1, 1)


# --- old sessions ---------------------------------------------------------------------------------


def test_sqlite_purge_removes_old_sessions_without_running_calls(
    backend: SqliteBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_storage, "SESSIONS_AT_ONCE", 2)
    names = ["old-1", "old-2", "young", "old-3", "running", "old-4"]
    for name in names:
        at_once(backend.reserve([(f"s:{name}:execs", 1, 5)]))
        if name != "running":
            at_once(backend.settle([(f"s:{name}:execs", 1, 5)], f"s:{name}:consec_fail", True))
        if name != "young":
            age(path, 100, name)
    at_once(backend.set("free", "text"))

    async def purge(seconds: float, **options: bool) -> int:
        return await backend.purge(seconds, **options)

    assert [asyncio.run(purge(seconds)) for seconds in (1000, 50, 50)] == [0, 4, 0]
    found = at_once(backend.batch_get([f"s:{name}:execs" for name in names]))
    assert list(found.values()) == [None, None, "1", None, "1", None]
    assert asyncio.run(purge(50, unfinished=True)) == 1
    assert asyncio.run(purge(1000, unfinished=True)) == 0
    assert set(live(path)) == {"young", ""}


def test_sqlite_purge_needs_an_age(backend: SqliteBackend) -> None:
    with pytest.raises(ValueError, match="older_than_seconds"):
        at_once(backend.purge(-1))


@pytest.mark.parametrize("mode", ["enforce", "observe"])
@pytest.mark.parametrize("end", ["finish", "fail", "abandon"])
def test_sqlite_session_of_a_guard_is_live_while_its_call_runs(path: Path, end: str, mode: Any) -> None:
    async def main(backend: SqliteBackend) -> list[int]:
        call = Edictum(backend=backend, mode=mode).govern("read", {}, session_id="a")
        await call.begin()
        found = [live(path)["a"]]
        await {"finish": lambda: call.finish(1), "fail": lambda: call.fail(OSError()), "abandon": call.abandon}[end]()
        return [*found, live(path)["a"]]

    with contextlib.closing(SqliteBackend(path)) as backend:
        assert asyncio.run(main(backend)) == [1, 0]


def test_sqlite_forgets_one_session(backend: SqliteBackend, path: Path) -> None:
    at_once(backend.reserve(PLACE))
    at_once(backend.set("s:a b:note", "kept"))
    at_once(backend.forget("a"))
    at_once(backend.forget("never seen"))

    assert at_once(backend.get("s:a:execs")) is None
    assert at_once(backend.get("s:a b:note")) == "kept"
    assert live(path) == {"a b": 0}


# --- forks ----------------------------------------------------------------------------------------

FORK = """
import threading
from edictum.sqlite_storage import SqliteBackend

backend = SqliteBackend(sys.argv[1], timeout=30)
number = 0

def count(times):
    for _ in range(times):
        asyncio.run(backend.increment("s:a:execs"))

count(1)
busy = threading.Thread(target=count, args=(200,))  # steps are under way at most forks
busy.start()
children = []
for _ in range(5):
    child = os.fork()
    if not child:
        for work in (count, lambda times: SqliteBackend(sys.argv[1]).close()):
            thread = threading.Thread(target=work, args=(20,))
            thread.start()
            thread.join()
        os._exit(0)
    children.append(child)
count(20)
busy.join()
print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


@posix_only
def test_sqlite_forked_children_count_beside_their_parent(path: Path) -> None:
    assert results(start(FORK, path)) == [["0"] * 5]

    with contextlib.closing(SqliteBackend(path)) as backend:
        assert at_once(backend.get("s:a:execs")) == str(1 + 200 + 5 * 20 + 20)


OUTLIVE = """
backend = SqliteBackend(sys.argv[1])
asyncio.run(backend.increment("s:a:execs"))
to_child, of_parent = os.pipe()
to_parent, of_child = os.pipe()
if os.fork():
    os.read(to_parent, 1)
    backend.close()
    os.write(of_parent, b"x")
    os.wait()
else:
    asyncio.run(backend.increment("s:a:execs"))
    os.write(of_child, b"x")
    os.read(to_child, 1)
    asyncio.run(backend.increment("s:a:execs"))  # is lost if the parent took the child's log away
    os.kill(os.getpid(), 9)
"""


@posix_only
def test_sqlite_forked_child_loses_nothing_when_its_parent_closes(path: Path) -> None:
    results(start(OUTLIVE, path))

    with contextlib.closing(SqliteBackend(path)) as backend:
        assert at_once(backend.get("s:a:execs")) == "3"


HIDDEN = """
import ctypes

backend = SqliteBackend(sys.argv[1])
asyncio.run(backend.increment("s:a:execs"))
if ctypes.PyDLL(None).fork():
    os.wait()
    print(int(asyncio.run(backend.increment("s:a:execs"))))
else:
    for _ in range(2):
        try:
            asyncio.run(backend.increment("s:a:execs"))
        except OSError as error:
            print("refused", flush=True)
        backend.close()
    os._exit(0)
"""


@posix_only
def test_sqlite_fork_that_python_does_not_see_is_refused_in_the_child(path: Path) -> None:
    assert results(start(HIDDEN, path)) == [["refused", "refused", "2"]]
