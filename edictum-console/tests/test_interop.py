"""
A published client that nobody here wrote, against a console that runs; ``nox -s interop`` brings the client.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from consoles import EMAIL, PASSWORD
from test_rulesets import TEXT
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
        self._headers = {"Content-Type": "application/json"}
        with self._open("POST", "/api/v1/auth/login", {"email": EMAIL, "password": PASSWORD}) as answer:
            self._headers["X-CSRF-Token"] = json.load(answer)["csrf_token"]
            self._headers["Cookie"] = answer.headers["Set-Cookie"].split(";")[0]

    def _open(self, method: str, path: str, body: Any) -> Any:
        data = None if body is None else json.dumps(body).encode()
        return urlopen(Request(self._address + path, data, self._headers, method=method), timeout=30)

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
    variables = {"EDICTUM_ADMIN_EMAIL": EMAIL, "EDICTUM_ADMIN_PASSWORD": PASSWORD, **SECRETS}
    if kind == "replicated":
        variables["EDICTUM_DATABASE_URL"] = request.getfixturevalue("postgres").new_database()
        variables["EDICTUM_REDIS_URL"] = request.getfixturevalue("redis_server").url
    with serving(tmp_path, **variables) as (address, _, _):
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
