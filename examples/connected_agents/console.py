"""
A console in a process of its own, and what a person does there by its HTTP API.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

EMAIL, PASSWORD = "ana@example.com", "correct horse battery"


class Console:
    """
    The process, and its administrator.

    Args:
        folder: Where its data lies.
        variables: Variables of its environment.

    Attributes:
        address: Where it listens; the same after each start.
    """

    def __init__(self, folder: Path, variables: dict[str, str] | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self._port}"
        self._variables = {
            "EDICTUM_DATA_DIR": str(folder / "console"),
            "EDICTUM_ADMIN_EMAIL": EMAIL,
            "EDICTUM_ADMIN_PASSWORD": PASSWORD,
            "EDICTUM_DRAIN_SECONDS": "1",
            **(variables or {}),
        }
        self._process: subprocess.Popen[str] | None = None
        self._headers: dict[str, str] = {}
        self._readers: dict[str, str] = {}

    # --- the process ----------------------------------------------------------------------------

    def start(self) -> None:
        """
        Start it and wait until it listens.
        """
        python = os.environ.get("EDICTUM_CONSOLE_PYTHON", sys.executable)  # of another release
        command = [python, "-m", "edictum_console", "serve", "--port", str(self._port)]
        environment = {**os.environ, **self._variables}
        self._process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        said = ""
        for line in self._process.stderr:
            said += line
            if re.search(r"listens on http://\S+", line):
                break
        else:
            raise RuntimeError(f"the console does not start: {said}")
        # What it says later goes nowhere, but must be read, or it would wait for room.
        self._reader = subprocess.Popen(["cat"], stdin=self._process.stderr, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        """
        End it at once, in the middle of whatever it does.
        """
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """
        Ask it to end, and wait.
        """
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """
        Let it do nothing any more, with all connections open.
        """
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """
        Let it go on.
        """
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        process.wait(30)
        assert process.stderr is not None
        process.stderr.close()
        self._reader.wait(30)

    # --- a person -------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Any = None, *, also: tuple[int, ...] = ()) -> Any:
        """
        Make a request as the administrator; it succeeds, or answers one of the other statuses.
        """
        if not self._headers:
            self._sign_in()
        try:
            return self._open(method, path, body)[0]
        except HTTPError as error:
            with error:
                text = error.read().decode()
            if error.code == 401:
                self._headers = {}
                return self.call(method, path, body, also=also)
            if error.code in also:
                return json.loads(text)
            raise RuntimeError(f"{method} {path}: {error.code} {text}") from None

    def _sign_in(self) -> None:
        body, headers = self._open("POST", "/api/v1/auth/login", {"email": EMAIL, "password": PASSWORD})
        self._headers = {"X-CSRF-Token": body["csrf_token"], "Cookie": headers["Set-Cookie"].split(";")[0]}

    def _open(self, method: str, path: str, body: Any) -> tuple[Any, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **self._headers}
        with urlopen(Request(self.address + path, data, headers, method=method), timeout=30) as answer:
            return json.load(answer), answer.headers

    def key(self, env: str = "production", **others: Any) -> str:
        """
        Make an API key for agents.
        """
        made = self.call("POST", "/api/v1/keys", {"env": env, "label": "example", **others})
        return str(made["key"])

    def deploy(self, content: str, env: str = "production") -> dict[str, Any]:
        """
        Upload a ruleset and deploy it; the console signs it.
        """
        version = self.call("POST", "/api/v1/bundles", {"yaml_content": content})
        path = f"/api/v1/bundles/{version['name']}/{version['version']}/deploy"
        found: dict[str, Any] = self.call("POST", path, {"env": env})
        return found

    def public_key(self) -> str:
        """
        The key that rulesets are signed with.
        """
        keys = self.call("GET", "/api/v1/settings/signing-keys")["signing_keys"]
        return next(str(key["public_key"]) for key in keys if key["state"] == "active")

    def pending(self) -> list[dict[str, Any]]:
        """
        Requests for approval that wait.
        """
        found: Any = self.call("GET", "/api/v1/approvals?status=pending")
        waiting: list[dict[str, Any]] = found if isinstance(found, list) else found["approvals"]
        return waiting

    def decide(self, approval_id: str, approved: bool, reason: str = "") -> None:
        """
        Decide one of them.
        """
        self.call("PUT", f"/api/v1/approvals/{approval_id}", {"approved": approved, "reason": reason})

    def events(self, env: str = "production", **query: Any) -> list[dict[str, Any]]:
        """
        All events of the decision log that fit, oldest first.
        """
        if env not in self._readers:
            self._readers[env] = self.key(env, scopes=["events:read"])
        headers = {"Authorization": f"Bearer {self._readers[env]}"}
        found: list[dict[str, Any]] = []
        cursor = ""
        words = "".join(f"&{name}={value}" for name, value in query.items())
        while True:
            request = Request(f"{self.address}/v1/events?limit=1000{words}{cursor}", headers=headers)
            with urlopen(request, timeout=30) as answer:
                page = json.load(answer)
            found += page["events"]
            if not page["next_cursor"]:
                return found[::-1]
            cursor = f"&cursor={page['next_cursor']}"

    def agent(self, agent_id: str) -> dict[str, Any]:
        """
        What the console knows of an agent.
        """
        found: dict[str, Any] = self.call("GET", f"/api/v1/agents/{agent_id}")
        return found
