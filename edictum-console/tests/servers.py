"""
Real servers for tests: Postgres and Redis, started by the test session on any machine.

Postgres comes from Debian's package, which is installed where it is missing and may be; it is started as a user without
privileges, because it refuses root.  ``EDICTUM_TEST_POSTGRES`` names a running one instead.  Redis likewise.
Each test process starts its own, on a free port of the loopback interface, in a folder that goes away with it.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

_PATIENCE_SECONDS = 60


class MissingServerError(Exception):
    """
    A server is not on this machine and cannot be installed.
    """


def free_port() -> int:
    """
    A port that nothing listens on.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_program(name: str, package: str, folders: str = "") -> str:
    """
    Find a program, installing its Debian package if need be.

    Raises:
        MissingServerError: It is not there and cannot be installed.
    """
    found = _find(name, folders)
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        # One process installs, the others wait.
        with open(Path(tempfile.gettempdir()) / "edictum-console-tests-install.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = _find(name, folders)
            if found is None:
                _install(package)
                found = _find(name, folders)
    if found is None:
        raise MissingServerError(f"{name} is needed: install the package {package}, for example by apt-get install")
    return found


def _find(name: str, folders: str) -> str | None:
    places = sorted(Path("/").glob(folders), reverse=True) if folders else []
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", *map(str, places)])
    return shutil.which(name, path=path)


def _install(package: str) -> None:
    # A policy of its own, because the package would start a server that nobody asked for.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    install = ["apt-get", "install", "-q", "-y", "--no-install-recommends", package]
    if subprocess.run(install, env=environment, capture_output=True, check=False).returncode:
        subprocess.run(["apt-get", "update", "-q"], env=environment, capture_output=True, check=False)
        subprocess.run(install, env=environment, capture_output=True, check=False)


class Server:
    """
    A process that can be killed and started again with the same data, on the same port.
    """

    def __init__(self, command: list[str], port: int, user: str | None, stop_signal: signal.Signals) -> None:
        self.port = port
        self._command = command
        self._user = user
        self._stop_signal = stop_signal
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, ready: Callable[[], bool]) -> None:
        """
        Start it and return when it answers.
        """
        self._process = subprocess.Popen(
            self._command, user=self._user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.wait_for(self._process, ready, self._command[0])

    @staticmethod
    def wait_for(process: subprocess.Popen[bytes], ready: Callable[[], bool], name: str) -> None:
        """
        Return when a process answers.

        Raises:
            MissingServerError: It ended, or does not answer.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not ready():
            if process.poll() is not None:
                raise MissingServerError(f"{name} ended with code {process.returncode}")
            if time.monotonic() > deadline:
                process.kill()
                process.wait(_PATIENCE_SECONDS)
                raise MissingServerError(f"{name} does not answer")
            time.sleep(0.02)

    def stop(self) -> None:
        """
        End it in order.
        """
        self._end(self._stop_signal)

    def kill(self) -> None:
        """
        End it as a crash would.
        """
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(_PATIENCE_SECONDS)
            self._process = None


class Postgres:
    """
    A Postgres server with empty databases on demand.

    Args:
        folder: Where its data is kept.
        options: Settings other than those for tests, which lose data with the machine.
    """

    def __init__(self, folder: Path, options: Mapping[str, str] | None = None) -> None:
        self._made = 0
        self._external = os.environ.get("EDICTUM_TEST_POSTGRES")
        if self._external:
            self._psql = find_program("psql", "postgresql-client")
            return
        folders = "usr/lib/postgresql/*/bin"
        initdb = find_program("initdb", "postgresql", folders)
        self._postgres = find_program("postgres", "postgresql", folders)
        self._psql = find_program("psql", "postgresql-client", folders)
        user = _unprivileged(folder)
        data = folder / "data"
        words = ["-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
        subprocess.run([initdb, *words], user=user, cwd="/", check=True, capture_output=True)
        port = free_port()
        fixed = {"listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
        used = {"fsync": "off", "shared_buffers": "32MB", **(options or {}), **fixed}
        settings = [word for name, value in used.items() for word in ("-c", f"{name}={value}")]
        command = [self._postgres, "-D", str(data), "-p", str(port), *settings]
        self.server = Server(command, port, user, signal.SIGINT)
        self.start()

    def start(self) -> None:
        """
        Start it, again.
        """
        self.server.start(lambda: self._run("SELECT 1").returncode == 0)

    def new_database(self) -> str:
        """
        Make an empty database and return its URL.
        """
        self._made += 1
        name = f"test_{os.getpid()}_{self._made}"
        done = self._run(f"CREATE DATABASE {name}")
        if done.returncode:
            raise MissingServerError(done.stderr.decode())
        base, _, _ = self._url("").rpartition("/")
        return f"{base}/{name}"

    def close(self) -> None:
        """
        Stop it.
        """
        if not self._external:
            self.server.stop()

    def _url(self, name: str) -> str:
        return self._external or f"postgresql://postgres@127.0.0.1:{self.server.port}/{name}"

    def _run(self, statement: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [self._psql, "-qAt", "-d", self._url("postgres"), "-c", statement], capture_output=True, check=False
        )


class Redis:
    """
    A Redis server that keeps its data when it is killed.
    """

    def __init__(self, folder: Path) -> None:
        program = find_program("redis-server", "redis-server")
        self.port = free_port()
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
        options += ["--appendonly", "yes", "--appendfsync", "always"]
        self.server = Server([program, *options], self.port, None, signal.SIGTERM)
        self.start()

    @property
    def url(self) -> str:
        """
        Where it listens.
        """
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """
        Start it, again.
        """
        self.server.start(self._answers)

    def kill(self) -> None:
        """
        End it as a crash would.
        """
        self.server.kill()

    def flush(self) -> None:
        """
        Forget everything.
        """
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(b"FLUSHALL\r\n")
            assert connection.recv(16) == b"+OK\r\n"

    def set(self, name: str, value: str) -> None:
        """
        Change a setting.
        """
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(f"CONFIG SET {name} {value}\r\n".encode())
            assert connection.recv(16) == b"+OK\r\n"

    def close(self) -> None:
        """
        Stop it.
        """
        self.server.stop()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def _unprivileged(folder: Path) -> str | None:
    """
    The user that runs what refuses root, and who gets the folder; None when this is no root.
    """
    if os.geteuid() != 0:
        return None
    user = pwd.getpwnam("nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return user.pw_name
