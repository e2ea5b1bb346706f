"""
A console process, and what is asked of it and of the machine; shared by the benchmarks of the console.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen

EMAIL, PASSWORD = "bench@example.com", "correct horse battery"


class Operator:
    """
    A person at the console.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._headers = {"Content-Type": "application/json"}
        with self._open("POST", "/api/v1/auth/login", {"email": EMAIL, "password": PASSWORD}) as answer:
            self._headers["X-CSRF-Token"] = json.load(answer)["csrf_token"]
            self._headers["Cookie"] = answer.headers["Set-Cookie"].split(";")[0]

    def _open(self, method: str, path: str, body: Any) -> Any:
        data = None if body is None else json.dumps(body).encode()
        return urlopen(Request(self._address + path, data, self._headers, method=method), timeout=60)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """
        Send a request that succeeds.
        """
        with self._open(method, path, body) as answer:
            return json.load(answer)


@contextmanager
def console(variables: Mapping[str, str]) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """
    Run a console of its own folder, and yield its address.
    """
    with tempfile.TemporaryDirectory() as folder:
        own = {
            "EDICTUM_DATA_DIR": folder,
            "EDICTUM_ADMIN_EMAIL": EMAIL,
            "EDICTUM_ADMIN_PASSWORD": PASSWORD,
            "EDICTUM_DRAIN_SECONDS": "2",
        }
        command = [sys.executable, "-m", "edictum_console", "serve", "--port", "0"]
        environment = {**os.environ, **own, **variables}
        with (
            subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process,
            ThreadPoolExecutor(1) as reader,
        ):
            assert process.stderr is not None
            try:
                address = _address(process.stderr)
                # What it says later must be read, too, or it would wait for room.
                reader.submit(deque, process.stderr, 0)
                yield address, process
            finally:
                process.terminate()


def _address(log: Iterable[str]) -> str:
    said = ""
    for line in log:
        said += line
        if found := re.search(r"listens on (http://\S+)", line):
            return found[1]
    raise SystemExit(f"the console does not start:\n{said}")


def memory(process: subprocess.Popen[str]) -> int:
    """
    The resident memory of a process, in bytes.
    """
    with open(f"/proc/{process.pid}/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def processor_seconds(process: subprocess.Popen[str]) -> float:
    """
    How long a process kept a processor busy.
    """
    with open(f"/proc/{process.pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
