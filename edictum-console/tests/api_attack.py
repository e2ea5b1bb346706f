"""
Generated requests against a console process, by its own OpenAPI document: no 5xx, and only answers that it documents.

Run it by ``nox -s api``.  It begins as an administrator for the routes of people, and goes on with an API key for those
of agents; the time is divided between the two.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from consoles import EMAIL, PASSWORD
from replicas import Replica
from test_interop import Operator
from test_rulesets import STRICTER, TEXT
from test_serve import SECRETS

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)

# What never ends, and what ends the login that all other requests need.
_LEFT_OUT = (
    "/api/v1/stream",
    "/api/v1/stream/dashboard",
    "/v1/stream",
    "/api/v1/auth/logout",
    "/api/v1/auth/logout-all",
    "/api/v1/auth/password",
)
_SCOPES = ["agent", "events:read", "approvals:decide", "deploy", "admin:read"]


def main() -> int:
    """
    Attack, and return how it went: 0 if nothing was found.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="how long it takes (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="repeats a run")
    arguments = parser.parse_args()
    variables = {"EDICTUM_ADMIN_EMAIL": EMAIL, "EDICTUM_ADMIN_PASSWORD": PASSWORD, **SECRETS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        console = Replica(folder / "data", variables)
        console.start()
        try:
            ana = Operator(console.address)
            key = prepared(ana)
            document = folder / "openapi.json"
            document.write_text(json.dumps(ana.call("GET", "/docs/openapi.json")))
            person = [f"{name}: {value}" for name, value in ana.headers.items() if name in ("Cookie", "X-CSRF-Token")]
            agent = [f"Authorization: Bearer {key}"]
            codes = [
                attack(document, console.address, headers, paths, arguments.seconds // 2, arguments.seed)
                for headers, paths in ((person, "^/(api|metrics)"), (agent, "^/v1/"))
            ]
        finally:
            console.kill()
        errors = [line for line in console.log.read_text().splitlines(keepends=True) if not line.startswith("20")]
        sys.stderr.writelines(errors)  # the traces of what the console did not expect
    return max(codes)


def prepared(ana: Operator) -> str:
    """
    Put something there that requests can find, and return an API key.
    """
    for text in (TEXT, STRICTER):
        ana.call("POST", "/api/v1/bundles", {"yaml_content": text})
    ana.call("POST", "/api/v1/bundles/docs-rules/1/deploy", {"env": "production"})
    made: dict[str, Any] = ana.call("POST", "/api/v1/keys", {"env": "production", "scopes": _SCOPES})
    return str(made["key"])


def attack(document: Path, address: str, headers: list[str], paths: str, seconds: int, seed: int | None) -> int:
    """
    Send generated requests for some time.
    """
    words = [str(Path(sys.executable).with_name("schemathesis")), "run", str(document), "--url", address]
    words += ["--max-time", str(seconds), "--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing"]
    words += ["--include-path-regex", paths, "--continue-on-failure", "--request-timeout", "40", "--no-color"]
    words += ["--warnings", "off", "--generation-database", "none", "--suppress-health-check", "all"]
    words += [part for path in _LEFT_OUT for part in ("--exclude-path", path)]
    words += [part for header in headers for part in ("--header", header)]
    words += [] if seed is None else ["--seed", str(seed)]
    return subprocess.run(words, cwd=document.parent, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
