"""
The command, as a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from consoles import EMAIL, PASSWORD
from edictum_console.db.postgres import PostgresDatabase
from servers import free_port

SECRETS = {"EDICTUM_SECRET_KEY": "s" * 32, "EDICTUM_SIGNING_KEY_SECRET": "ab" * 32}


@contextmanager
def started(
    tmp_path: Path, *arguments: str, command: str = "serve", **variables: str
) -> Iterator[subprocess.Popen[str]]:
    """
    Run ``serve``, or another command, whatever becomes of it.
    """
    words = [sys.executable, "-m", "edictum_console", command, *arguments]
    words += ["--port", "0"] if command == "serve" else []
    environment = {"EDICTUM_DATA_DIR": str(tmp_path), "PATH": "/usr/bin", **variables}
    process = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], pattern: str) -> tuple[str, re.Match[str]]:
    """
    What it writes until something, and that.
    """
    assert process.stderr is not None
    written = ""
    for line in process.stderr:
        written += line
        found = re.search(pattern, line)
        if found:
            return written, found
    pytest.fail(f"it ended before it wrote {pattern!r}: {written}")


@contextmanager
def serving(tmp_path: Path, *arguments: str, **variables: str) -> Iterator[tuple[str, str, subprocess.Popen[str]]]:
    """
    Run ``serve``, wait until it listens, and yield its address, what it wrote until then, and the process.
    """
    with started(tmp_path, *arguments, **variables) as process:
        written, found = read_until(process, r"listens on (http://\S+)")
        yield found[1], written, process


def call(address: str, path: str, body: Any = None, **headers: str) -> tuple[Any, str]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data, {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response), response.headers.get("Set-Cookie", "").split(";")[0]


def refusal(address: str, path: str, body: Any = None, **headers: str) -> int:
    """
    The status with which a request is refused.
    """
    with pytest.raises(urllib.error.HTTPError) as refused:
        call(address, path, body, **headers)
    refused.value.close()
    return refused.value.code


def test_serve_without_configuration_prints_the_set_up_link_and_keeps_its_data(tmp_path: Path) -> None:
    with serving(tmp_path) as (address, written, process):
        assert str(tmp_path) in written
        token = written.partition("/setup#")[2].split()[0]
        call(address, "/api/v1/setup", {"token": token, "email": EMAIL, "password": PASSWORD})
        _, cookie = call(address, "/api/v1/auth/login", {"email": EMAIL, "password": PASSWORD})
        headers = {"Cookie": cookie, "X-Requested-With": "test"}
        key = call(address, "/api/v1/keys", {"env": "production"}, **headers)[0]["key"]
        agent = {"Authorization": f"Bearer {key}"}
        assert call(address, "/v1/sessions/s:a:attempts/increment", {"amount": 1}, **agent)[0]["value"] == 1
        asked, _ = call(address, "/v1/approvals", {"tool_name": "t", "message": "m"}, **agent)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    for count in (2, 3):
        with serving(tmp_path) as (address, written, process):
            assert "/setup#" not in written
            assert call(address, "/api/v1/auth/me", Cookie=cookie)[0]["email"] == EMAIL
            assert call(address, "/v1/sessions/s:a:attempts/increment", {"amount": 1}, **agent)[0]["value"] == count
            assert call(address, f"/v1/approvals/{asked['id']}", **agent)[0]["status"] == "pending"
            process.kill()
            process.wait(20)


@pytest.mark.security
@pytest.mark.parametrize("kind", ["embedded", "replicated"])
def test_log_at_its_loudest_shows_no_secret(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    variables = {
        **SECRETS,
        "EDICTUM_LOG_LEVEL": "DEBUG",
        "EDICTUM_ADMIN_EMAIL": EMAIL,
        "EDICTUM_ADMIN_PASSWORD": PASSWORD,
    }
    if kind == "replicated":
        variables["EDICTUM_DATABASE_URL"] = request.getfixturevalue("postgres").new_database()
        variables["EDICTUM_REDIS_URL"] = request.getfixturevalue("redis_server").url
    canary = "canary-in-a-body"
    with serving(tmp_path, **variables) as (address, written, process):
        me, cookie = call(address, "/api/v1/auth/login", {"email": EMAIL, "password": PASSWORD})
        headers = {"Cookie": cookie, "X-CSRF-Token": me["csrf_token"]}
        key = call(address, "/api/v1/keys", {"env": "production", "label": canary}, **headers)[0]["key"]
        link = call(address, "/api/v1/users", {"email": "bo@example.com", "role": "viewer"}, **headers)[0]["reset_link"]
        agent = {"Authorization": f"Bearer {key}"}
        call(address, "/v1/sessions/ops", {"ops": [{"op": "put", "key": "k", "value": canary}]}, **agent)
        call(address, "/v1/approvals", {"tool_name": "t", "message": canary, "tool_args": {"a": canary}}, **agent)
        for path, body in [
            ("/api/v1/auth/login", {"email": EMAIL, "password": canary}),
            ("/v1/sessions/ops", [canary]),
        ]:
            refusal(address, path, body, **agent)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        written += process.stderr.read()
    secrets = [PASSWORD, canary, key, key[-32:], cookie.partition("=")[2], me["csrf_token"], link.partition("#")[2]]
    assert [secret for secret in [*secrets, *SECRETS.values()] if secret in written] == []
    assert "edictum_console" in written


def answered(address: str) -> Counter[str]:
    """
    How many POST requests ``/metrics`` counts with each status.
    """
    with urllib.request.urlopen(f"{address}/metrics", timeout=20) as response:
        found = re.findall(r'edictum_requests_total\{.*method="POST",status="(\d+)"\} (\d+)', response.read().decode())
    counts: Counter[str] = Counter()
    for status, count in found:
        counts[status] += int(count)
    return counts


def test_sender_that_goes_away_in_the_middle_of_a_body_is_no_failure_of_the_console(tmp_path: Path) -> None:
    variables = {"EDICTUM_ADMIN_EMAIL": EMAIL, "EDICTUM_ADMIN_PASSWORD": PASSWORD, "EDICTUM_LOG_LEVEL": "DEBUG"}
    with serving(tmp_path, **variables) as (address, written, process):
        me, cookie = call(address, "/api/v1/auth/login", {"email": EMAIL, "password": PASSWORD})
        person = {"Cookie": cookie, "X-CSRF-Token": me["csrf_token"]}
        key = call(address, "/api/v1/keys", {"env": "production"}, **person)[0]["key"]
        agent = {"Authorization": f"Bearer {key}"}
        broken: list[tuple[str, dict[str, str]]] = [
            ("/v1/approvals", agent),
            ("/v1/events", agent),
            ("/v1/sessions/ops", agent),
            ("/v1/sessions/n/increment", {**agent, "Idempotency-Key": "1"}),
            ("/api/v1/users", person),
        ]
        before = answered(address)
        for path, credentials in broken:
            headers = {"Host": "x", "Content-Type": "application/json", "Content-Length": "100", **credentials}
            lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", '{"a": ']
            with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as connection:
                connection.sendall("\r\n".join(lines).encode())
        while (after := answered(address) - before).total() < len(broken):
            assert process.poll() is None
        assert Counter({"499": len(broken)}) == after
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        written += process.stderr.read()
    assert written.count("went away before its body was read") == len(broken)
    assert [word for word in ("Traceback", "ERROR", "WARNING") if word in written] == []


def test_log_in_json_has_one_object_on_each_line(tmp_path: Path) -> None:
    with serving(tmp_path, EDICTUM_LOG_FORMAT="json") as (address, written, process):
        call(address, "/api/v1/health")
        for path in ("/api/v1/nothing/secret?secret=1", "/api/v1/auth/me?secret=1"):
            refusal(address, path)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        lines = [json.loads(line) for line in (written + process.stderr.read()).splitlines()]
    assert {"time", "level", "logger", "message"} <= set.intersection(*(set(line) for line in lines))
    requests = [line for line in lines if line["logger"] == "edictum_console.requests"]
    assert [(line["route"], line["status"]) for line in requests] == [(None, 404), ("/api/v1/auth/me", 401)]
    assert "secret" not in str(requests)


def refused(tmp_path: Path, *arguments: str, **variables: str) -> str:
    """
    Run ``serve``, which does not start, and return what it says.
    """
    done = subprocess.run(
        [sys.executable, "-m", "edictum_console", "serve", "--port", "0", *arguments],
        env={"EDICTUM_DATA_DIR": str(tmp_path), "PATH": "/usr/bin", **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_serve_on_the_data_of_another_console_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path):
        assert "another console uses" in refused(tmp_path)


def test_serve_that_cannot_start_says_what_to_do(tmp_path: Path) -> None:
    assert "EDICTUM_LOG_LEVEL has an unknown value" in refused(tmp_path, EDICTUM_LOG_LEVEL="LOUD")
    away = f"redis://127.0.0.1:{free_port()}/0"
    assert "EDICTUM_REDIS_URL: Redis cannot be used" in refused(tmp_path, EDICTUM_REDIS_URL=away)
    assert "run: edictum-console migrate" in refused(tmp_path / "new", EDICTUM_AUTO_MIGRATE="false")
    assert "choose another --host or --port" in refused(tmp_path, "--host", "203.0.113.1")


def test_second_console_on_postgres_without_redis_is_refused(postgres: Any, redis_server: Any, tmp_path: Path) -> None:
    variables = {"EDICTUM_DATABASE_URL": postgres.new_database(), **SECRETS}
    with serving(tmp_path, **variables):
        assert "EDICTUM_REDIS_URL is needed" in refused(tmp_path, **variables)
        assert "without EDICTUM_REDIS_URL" in refused(tmp_path, EDICTUM_REDIS_URL=redis_server.url, **variables)
    shared = {"EDICTUM_REDIS_URL": redis_server.url, **variables}
    with serving(tmp_path, **shared) as (_, written, _), serving(tmp_path, **shared) as (address, _, _):
        token = written.partition("/setup#")[2].split()[0]  # of one replica, used at the other
        call(address, "/api/v1/setup", {"token": token, "email": EMAIL, "password": PASSWORD})
        assert "EDICTUM_REDIS_URL is needed" in refused(tmp_path, **variables)


def ended(process: subprocess.Popen[str], number: signal.Signals) -> str:
    """
    Tell a process to stop that does not serve yet, and return what it wrote since.
    """
    process.send_signal(number)
    _, written = process.communicate(timeout=20)
    assert process.returncode == 128 + number, written
    assert "Traceback" not in written
    return written


@pytest.mark.parametrize(
    ("variable", "number"), [("EDICTUM_DATABASE_URL", signal.SIGTERM), ("EDICTUM_REDIS_URL", signal.SIGINT)]
)
def test_serve_told_to_stop_while_it_connects_ends(tmp_path: Path, variable: str, number: signal.Signals) -> None:
    scheme = "redis" if "REDIS" in variable else "postgresql"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/0"
        with started(tmp_path, **{variable: url}, **SECRETS) as process:
            silent.settimeout(60)
            connection, _ = silent.accept()
            with connection:
                ended(process, number)


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_command_told_to_stop_while_it_waits_for_others_to_migrate_ends(
    postgres: Any, tmp_path: Path, command: str
) -> None:
    url = postgres.new_database()
    redis = {"EDICTUM_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}

    async def check() -> None:
        database = PostgresDatabase(url)
        await database.open()
        async with database.transaction():
            await database.lock("migrations")
            with started(tmp_path, command=command, EDICTUM_DATABASE_URL=url, **redis, **SECRETS) as process:
                waiting = (
                    "SELECT count(*) AS number FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
                    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                )
                while not (await database.fetch(waiting))[0]["number"]:
                    assert process.poll() is None
                await asyncio.to_thread(ended, process, signal.SIGTERM)
            assert not (await database.fetch(waiting))[0]["number"]
        assert "tenants" not in await database.table_names()
        await database.close()

    asyncio.run(check())


def test_serve_told_to_stop_while_it_makes_the_demo_ends_and_leaves_the_data_to_others(tmp_path: Path) -> None:
    with started(tmp_path, "--demo") as process:
        read_until(process, "the demo is being made")
        ended(process, signal.SIGTERM)
    assert "was not finished" in refused(tmp_path)  # and not: another console uses it
