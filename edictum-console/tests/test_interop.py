"""
A published client that nobody here wrote, against a console that runs; ``nox -s interop`` brings the client.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from consoles import EMAIL, PASSWORD
from test_rulesets import STRICTER, TEXT
from test_serve import SECRETS, serving

PUBLISHED = os.environ.get("EDICTUM_PUBLISHED_PYTHON", "")

pytestmark = pytest.mark.skipif(not PUBLISHED, reason="nox -s interop runs it, with the published client")

RULESET = (
    TEXT
    + """\
  - id: ask-deletes
    type: pre
    tool: delete_records
    when:
      args.table: {exists: true}
    then:
      action: ask
      message: needs a human
      timeout: 30
      timeout_action: block
  - id: enough
    type: session
    limits: {max_tool_calls: 4}
    then:
      action: block
      message: enough
"""
)

SEEN = """\
read_file a.txt done
read_file .env blocked: not this file
delete_records drafts done
delete_records users blocked: not those
read_file a.txt done
read_file a.txt done
read_file a.txt blocked: enough
"""


class Operator:
    """
    A person at the console, by HTTP.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self.headers = {"Content-Type": "application/json"}
        with self._open("POST", "/api/v1/auth/login", {"email": EMAIL, "password": PASSWORD}) as answer:
            self.headers["X-CSRF-Token"] = json.load(answer)["csrf_token"]
            self.headers["Cookie"] = answer.headers["Set-Cookie"].split(";")[0]

    def _open(self, method: str, path: str, body: Any) -> Any:
        data = None if body is None else json.dumps(body).encode()
        return urlopen(Request(self._address + path, data, self.headers, method=method), timeout=30)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        with self._open(method, path, body) as answer:
            return json.load(answer)

    def decide_until(self, stop: threading.Event) -> None:
        """
        Approve what concerns drafts, deny all else.
        """
        while not stop.wait(0.1):
            for asked in self.call("GET", "/api/v1/approvals?status=pending"):
                approved = asked["tool_args"] == {"table": "drafts"}
                reason = None if approved else "not those"
                self.call("PUT", f"/api/v1/approvals/{asked['id']}", {"approved": approved, "reason": reason})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["embedded", "replicated"])
def test_published_client_starts_signed_and_is_governed(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    with serving(tmp_path, **variables_of(request, kind)) as (address, _, _):
        ana = Operator(address)
        key = ana.call("POST", "/api/v1/keys", {"env": "production"})["key"]
        ana.call("POST", "/api/v1/bundles", {"yaml_content": RULESET})
        ana.call("POST", "/api/v1/bundles/docs-rules/1/deploy", {"env": "production"})
        (signing,) = ana.call("GET", "/api/v1/settings/signing-keys")["signing_keys"]
        stop = threading.Event()
        deciding = threading.Thread(target=ana.decide_until, args=(stop,))
        deciding.start()
        try:
            client = Path(__file__).with_name("published_client.py")
            command = [PUBLISHED, str(client), address, key, signing["public_key"]]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        finally:
            stop.set()
            deciding.join()
        assert (done.stdout, done.returncode) == (SEEN, 0), done.stderr


def variables_of(request: pytest.FixtureRequest, kind: str) -> dict[str, str]:
    variables = {"EDICTUM_ADMIN_EMAIL": EMAIL, "EDICTUM_ADMIN_PASSWORD": PASSWORD, **SECRETS}
    if kind == "replicated":
        variables["EDICTUM_DATABASE_URL"] = request.getfixturevalue("postgres").new_database()
        variables["EDICTUM_REDIS_URL"] = request.getfixturevalue("redis_server").url
    return variables


class Agent:
    """
    A published client that stays connected.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def says(self) -> str:
        """
        The next line that it prints.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            _, errors = self._process.communicate(timeout=30)
            pytest.fail(f"the agent ended: {errors}")
        return line.strip()

    def ends(self) -> None:
        """
        Wait until it has ended well.
        """
        assert self._process.wait(60) == 0


@contextmanager
def connected(address: str, key: str, public_key: str, agent_id: str, name: str, *paths: str) -> Iterator[Agent]:
    client = Path(__file__).with_name("published_stream_client.py")
    command = [PUBLISHED, str(client), address, key, public_key, agent_id, name, *paths]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield Agent(process)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["embedded", "replicated"])
def test_published_client_follows_deployments_and_a_rotation(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    with serving(tmp_path, **variables_of(request, kind)) as (address, _, _):
        ana = Operator(address)
        key = ana.call("POST", "/api/v1/keys", {"env": "production"})["key"]
        third = STRICTER.replace(".pem", ".crt")
        for text in (TEXT, STRICTER, third):
            ana.call("POST", "/api/v1/bundles", {"yaml_content": text})
        deploy = "/api/v1/bundles/docs-rules/{}/deploy"
        ana.call("POST", deploy.format(1), {"env": "production"})
        (signing,) = ana.call("GET", "/api/v1/settings/signing-keys")["signing_keys"]
        with connected(address, key, signing["public_key"], "bot", "docs-rules", "a.pem", "a.crt", ".env") as agent:
            assert [agent.says(), agent.says()] == ["started", "a.pem done"]
            ana.call("POST", deploy.format(2), {"env": "production"})
            assert agent.says() == "a.pem blocked: not this file"
            assert agent.says() == "a.crt done"
            # It knows the old key only, and goes on following.
            rotated = ana.call("POST", "/api/v1/settings/rotate-signing-key", {})
            assert rotated["public_key"] != signing["public_key"]
            ana.call("POST", deploy.format(3), {"env": "production"})
            assert agent.says() == "a.crt blocked: not this file"
            assert agent.says() == ".env blocked: not this file"
            agent.ends()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["embedded", "replicated"])
def test_published_client_starts_by_assignment_and_follows_it(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    with serving(tmp_path, **variables_of(request, kind)) as (address, _, _):
        ana = Operator(address)
        key = ana.call("POST", "/api/v1/keys", {"env": "production"})["key"]
        for text in (TEXT, STRICTER.replace("docs-rules", "strict-rules")):
            uploaded = ana.call("POST", "/api/v1/bundles", {"yaml_content": text})
            ana.call("POST", f"/api/v1/bundles/{uploaded['name']}/1/deploy", {"env": "production"})
        rule = {"env": "production", "pattern": "b*", "tag_match": {"team": "docs"}, "bundle_name": "docs-rules"}
        made = ana.call("POST", "/api/v1/assignment-rules", rule)
        (signing,) = ana.call("GET", "/api/v1/settings/signing-keys")["signing_keys"]
        with connected(address, key, signing["public_key"], "bot", "-", "a.pem", ".env") as agent:
            assert [agent.says(), agent.says()] == ["started", "a.pem done"]
            (seen,) = ana.call("GET", "/api/v1/agents/status")["agents"]
            assert (seen["agent_id"], seen["desired_name"], seen["source"]) == ("bot", "docs-rules", "rule")
            ana.call("PATCH", f"/api/v1/assignment-rules/{made['id']}", {"bundle_name": "strict-rules"})
            assert agent.says() == "a.pem blocked: not this file"
            assert agent.says() == ".env blocked: not this file"
            agent.ends()
