"""
What an operator does on the command line.
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from consoles import EMAIL, PASSWORD, Console, Session, running
from edictum_console.cli import main
from edictum_console.db.opening import database_of
from edictum_console.domains.tenants.repository import TenantRepository
from edictum_console.ids import new_id
from edictum_console.settings import load_settings
from servers import free_port
from test_rulesets import STRICTER, TEXT
from test_serve import SECRETS, call, refusal, serving
from test_stream_process import connected

OTHER = "another long password"


@attrs.frozen
class Done:
    """
    What became of a command.
    """

    code: int
    out: str
    err: str


@attrs.frozen
class Machine:
    """
    The machine of a console, which is described by variables of the environment.
    """

    variables: dict[str, str]
    _monkeypatch: pytest.MonkeyPatch
    _capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: str, stdin: str = "") -> Done:
        """
        Run a command in this process.
        """
        self._capsys.readouterr()
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = main(arguments)
        return Done(code, *self._capsys.readouterr())

    def must(self, *arguments: str, stdin: str = "") -> str:
        """
        Run a command that succeeds, and return what it prints, without the line feed.
        """
        done = self.run(*arguments, stdin=stdin)
        assert done.code == 0, done
        return done.out.removesuffix("\n")

    def refused(self, *arguments: str, stdin: str = "") -> str:
        """
        Run a command that fails, and return what it says, which is one line.
        """
        done = self.run(*arguments, stdin=stdin)
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("edictum-console: ")
        assert done.err.count("\n") == 1
        return done.err.strip()

    def console(self, check: Callable[[Console], Awaitable[Any]]) -> Any:
        """
        Run a function with a console that serves meanwhile.
        """

        async def main() -> Any:
            async with running(load_settings(self.variables)) as console:
                return await check(console)

        return asyncio.run(main())

    def add_tenant(self, name: str) -> None:
        """
        Add a tenant beside the one that set-up made.
        """

        async def main() -> None:
            database = database_of(load_settings(self.variables))
            await database.open()
            await TenantRepository(database).add(new_id(), name)
            await database.close()

        asyncio.run(main())


@pytest.fixture(params=["embedded", "replicated"])
def empty_machine(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Machine]:
    """
    A machine on which nothing was done yet.
    """
    variables = {"EDICTUM_DATA_DIR": str(tmp_path / "data"), "EDICTUM_BASE_URL": "http://console.test"}
    if request.param == "replicated":
        redis = request.getfixturevalue("redis_server")
        redis.flush()
        variables |= {**SECRETS, "EDICTUM_REDIS_URL": redis.url}
        variables["EDICTUM_DATABASE_URL"] = request.getfixturevalue("postgres").new_database()
    for name in [name for name in os.environ if name.startswith("EDICTUM_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    logger = logging.getLogger("edictum_console")
    level = logger.level
    yield Machine(variables, monkeypatch, capsys)
    logger.setLevel(level)


@pytest.fixture
def machine(empty_machine: Machine) -> Machine:
    """
    A machine with an administrator.
    """
    empty_machine.must("migrate")
    empty_machine.must("admin", "create", EMAIL, "--password-stdin", stdin=f"{PASSWORD}\n")
    return empty_machine


@pytest.fixture
def ruleset(tmp_path: Path) -> Path:
    """
    A file with a ruleset.
    """
    file = tmp_path / "docs.yaml"
    file.write_text(TEXT)
    return file


async def entries(console: Console) -> list[tuple[str, str, str, str]]:
    """
    What the administrators' log says, oldest first.
    """
    log = await (await console.sign_in()).must("GET", "/api/v1/audit-log")
    names = ("actor", "action", "object", "request_id")
    return [tuple(entry[name] for name in names) for entry in reversed(log["entries"])]


def agent_with(console: Console, key: str, agent_id: str = "bot") -> Session:
    return Session(console.client, {"Authorization": f"Bearer {key}", "X-Edictum-Agent-Id": agent_id})


def test_admin_create_where_nobody_is_makes_the_first_administrator_of_a_tenant(empty_machine: Machine) -> None:
    empty_machine.must("migrate")
    link = empty_machine.must("admin", "create", EMAIL, "--tenant", "Acme")
    assert link.startswith("http://console.test/reset#")

    async def check(console: Console) -> None:
        body = {"token": link.partition("#")[2], "new_password": OTHER}
        await console.anonymous.must("POST", "/api/v1/auth/reset", body)
        admin = await console.sign_in(password=OTHER)
        assert (await admin.must("GET", "/api/v1/auth/me"))["is_admin"]

    empty_machine.console(check)
    assert "there is: Acme" in empty_machine.refused("admin", "create", "bo@example.com", "--tenant", "default")


def test_admin_create_lets_another_administrator_in(machine: Machine) -> None:
    link = machine.must("admin", "create", "Bo@example.com")
    assert machine.must("admin", "create", "cy@example.com", "--password-stdin", stdin=OTHER) == ""

    async def check(console: Console) -> None:
        body = {"token": link.partition("#")[2], "new_password": OTHER}
        await console.anonymous.must("POST", "/api/v1/auth/reset", body)
        for email in ("bo@example.com", "cy@example.com"):
            admin = await console.sign_in(email, OTHER)
            assert (await admin.must("GET", "/api/v1/auth/me"))["is_admin"]
        assert [entry for entry in await entries(console) if entry[1] == "user.add"] == [
            ("command line", "user.add", email, "admin create") for email in (EMAIL, "bo@example.com", "cy@example.com")
        ]

    machine.console(check)


def test_admin_create_of_what_cannot_be_says_why(machine: Machine) -> None:
    assert "admin reset-password" in machine.refused("admin", "create", EMAIL.upper())
    assert "email: has characters" in machine.refused("admin", "create", "bo")
    assert "password: must be" in machine.refused("admin", "create", "b@c", "--password-stdin", stdin="eleven char\n")
    machine.add_tenant("Other")
    assert "name one by --tenant: Other, default" in machine.refused("admin", "create", "bo@example.com")
    assert "there is: Other, default" in machine.refused("admin", "create", "bo@example.com", "--tenant", "x")
    machine.must("admin", "create", "bo@example.com", "--tenant", "Other")


def test_first_admin_with_a_short_password_is_refused_and_nobody_is_made(empty_machine: Machine) -> None:
    empty_machine.must("migrate")
    said = empty_machine.refused("admin", "create", EMAIL, "--password-stdin", stdin="eleven char")
    assert "password: must be" in said
    assert "eleven char" not in said
    empty_machine.must("admin", "create", EMAIL, "--password-stdin", stdin="twelve chars")


def test_admin_reset_password_ends_logins_and_tokens(machine: Machine) -> None:
    async def before(console: Console) -> list[Session]:
        admin = await console.sign_in()
        body = {"email": EMAIL, "password": PASSWORD}
        token = (await console.anonymous.must("POST", "/api/v1/auth/token", body))["access_token"]
        script = Session(console.client, {"Authorization": f"Bearer {token}"})
        for session in (admin, script):
            await session.must("GET", "/api/v1/auth/me")
        return [admin, script]

    sessions = machine.console(before)
    machine.must("admin", "reset-password", EMAIL.upper(), "--password-stdin", stdin=f"{OTHER}\r\n")

    async def after(console: Console) -> None:
        for session in sessions:
            assert (await Session(console.client, session.headers).get("/api/v1/auth/me")).status_code == 401
        await console.sign_in(password=OTHER)

    machine.console(after)


def test_admin_reset_password_prints_a_link_that_works_once(machine: Machine) -> None:
    token = machine.must("admin", "reset-password", EMAIL).partition("#")[2]

    async def check(console: Console) -> None:
        body = {"token": token, "new_password": OTHER}
        await console.anonymous.must("POST", "/api/v1/auth/reset", body)
        assert (await console.anonymous.post("/api/v1/auth/reset", body)).status_code == 403
        await console.sign_in(password=OTHER)

    machine.console(check)


def test_admin_reset_password_of_who_cannot_sign_in_says_so(machine: Machine) -> None:
    machine.must("admin", "create", "bo@example.com")

    async def disable(console: Console) -> None:
        admin = await console.sign_in()
        people = (await admin.must("GET", "/api/v1/users"))["users"]
        (bo,) = [user["id"] for user in people if user["email"] == "bo@example.com"]
        await admin.must("PATCH", f"/api/v1/users/{bo}", {"disabled": True})

    machine.console(disable)
    assert "bo@example.com is disabled since" in machine.refused("admin", "reset-password", "bo@example.com")
    assert "nobody has this address" in machine.refused("admin", "reset-password", "cy@example.com")
    words = ("admin", "reset-password", EMAIL, "--password-stdin")
    assert "password: must be" in machine.refused(*words, stdin="")


def test_keys_create_prints_a_key_that_agents_use(machine: Machine) -> None:
    words = ("keys", "create", "--env", "staging", "--label", "ci", "--agent", "bot-*")
    key = machine.must(*words, "--scope", "agent", "--scope", "deploy", "--expires-in-days", "3")

    async def check(console: Console) -> None:
        path = "/v1/sessions/n/increment"
        assert (await agent_with(console, key, "bot-1").must("POST", path, {"amount": 1}))["value"] == 1
        assert (await agent_with(console, key, "cat").post(path, {"amount": 1})).status_code == 403
        (made,) = (await (await console.sign_in()).must("GET", "/api/v1/keys"))["api_keys"]
        assert (made["label"], made["created_by"], made["scopes"]) == ("ci", "command line", ["agent", "deploy"])
        assert made["expires_at"] is not None
        assert key.startswith(made["prefix"])
        assert (await entries(console))[-1] == ("command line", "key.create", made["prefix"], "keys create")

    machine.console(check)


def test_keys_revoke_ends_keys_by_whatever_is_known_of_them(machine: Machine) -> None:
    keys = [machine.must("keys", "create", "--env", "production", "--label", "lost") for _ in range(3)]

    async def named(console: Console) -> list[str]:
        made = (await (await console.sign_in()).must("GET", "/api/v1/keys"))["api_keys"]
        prefixes = {key["prefix"]: key for key in made}
        (first, second) = (prefixes[key[: len(made[0]["prefix"])]] for key in keys[:2])
        return [first["id"], second["prefix"], keys[2]]

    for name in machine.console(named):
        done = machine.run("keys", "revoke", name)
        assert done.code == 0
        assert [key for key in keys if key in done.out + done.err] == []
        machine.must("keys", "revoke", name)  # again, which changes nothing

    async def check(console: Console) -> None:
        for key in keys:
            assert (await agent_with(console, key).post("/v1/sessions/n/increment", {"amount": 1})).status_code == 401
        assert [entry[1] for entry in await entries(console)].count("key.revoke") == 3

    machine.console(check)


def test_keys_of_what_is_not_there_are_refused(machine: Machine) -> None:
    words = ("keys", "create", "--label", "a")
    assert "env: is not an environment" in machine.refused(*words, "--env", "prod")
    assert "there is no tenant 'x'" in machine.refused(*words, "--env", "production", "--tenant", "x")
    for name in ("edk_production_AAAAAAAAAAA", str(new_id())):
        assert "there is no such API key" in machine.refused("keys", "revoke", name)
    machine.add_tenant("Other")
    made = machine.must(*words, "--env", "production", "--tenant", "default")
    assert "there is no such API key" in machine.refused("keys", "revoke", made, "--tenant", "Other")


def test_ruleset_that_is_pushed_and_deployed_is_what_agents_fetch(machine: Machine, ruleset: Path) -> None:
    assert machine.must("rulesets", "push", str(ruleset), "--note", "first") == "docs-rules 1"
    assert machine.must("rulesets", "push", "-", stdin=TEXT) == "docs-rules 1"
    assert machine.must("rulesets", "push", "-", stdin=STRICTER) == "docs-rules 2"
    words = ("rulesets", "deploy", "docs-rules")
    assert machine.must(*words, "2", "--env", "production", "--expect-current", "0").startswith("docs-rules 2 runs in")
    stale = machine.refused(*words, "1", "--env", "production", "--expect-current", "1")
    assert "another version runs there than was expected: version 2" in stale
    key = machine.must("keys", "create", "--env", "production", "--label", "a")

    async def check(console: Console) -> None:
        found = await agent_with(console, key).must("GET", "/v1/rulesets/docs-rules/current")
        assert (found["yaml"], found["deployed_by"], found["uploaded_by"]) == (STRICTER, *["command line"] * 2)
        assert [entry for entry in await entries(console) if entry[1].startswith("ruleset.")] == [
            ("command line", "ruleset.upload", "docs-rules", "rulesets push"),
            ("command line", "ruleset.upload", "docs-rules", "rulesets push"),
            ("command line", "ruleset.deploy", "docs-rules", "rulesets deploy"),
        ]

    machine.console(check)


def test_ruleset_goes_to_a_protected_environment(machine: Machine, ruleset: Path) -> None:
    async def protect(console: Console) -> None:
        admin = await console.sign_in()
        await admin.must("PATCH", "/api/v1/environments/production", {"protected": True})

    machine.console(protect)
    machine.must("rulesets", "push", str(ruleset))
    machine.must("rulesets", "deploy", "docs-rules", "1", "--env", "production")


def test_ruleset_that_no_agent_can_load_is_refused_with_its_lines(machine: Machine, ruleset: Path) -> None:
    ruleset.write_text(TEXT.replace("contains", "contain").replace("type: pre", "type: pro"))
    done = machine.run("rulesets", "push", str(ruleset))
    *problems, last = done.err.splitlines()
    assert (done.code, done.out) == (1, "")
    assert any(problem.startswith(f"{ruleset}:9:") and "type" in problem for problem in problems)
    assert all(problem.startswith(f"{ruleset}:") for problem in problems)
    assert last.startswith(f"edictum-console: {ruleset} is no ruleset")
    ruleset.write_bytes(b"\xff")
    assert "is not UTF-8" in machine.refused("rulesets", "push", str(ruleset))
    assert "cannot be read: No such file" in machine.refused("rulesets", "push", f"{ruleset}.not")
    assert "yaml_content: " in machine.refused("rulesets", "push", "-", stdin="")


def test_deployment_of_what_is_not_there_is_refused(machine: Machine, ruleset: Path) -> None:
    machine.must("rulesets", "push", str(ruleset))
    words = ("rulesets", "deploy", "docs-rules")
    assert "there is no environment 'prod'" in machine.refused(*words, "1", "--env", "prod")
    assert "there is no version 2" in machine.refused(*words, "2", "--env", "production")


@pytest.mark.parametrize(
    "words",
    [
        ("admin",),
        ("admin", "create"),
        ("keys", "create", "--env", "production"),
        ("keys", "create", "--env", "a", "--label", "a", "--scope", "all"),
        ("keys", "create", "--env", "a", "--label", "a", "--expires-in-days", "0"),
        ("rulesets", "deploy", "a", "one", "--env", "a"),
    ],
)
def test_wrong_use_ends_with_code_2(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2


def test_commands_where_the_schema_is_missing_say_so_and_make_nothing(empty_machine: Machine) -> None:
    folder, words = Path(empty_machine.variables["EDICTUM_DATA_DIR"]), ("admin", "create", EMAIL)
    if "EDICTUM_DATABASE_URL" in empty_machine.variables:
        assert "12 migrations are missing; run: edictum-console migrate" in empty_machine.refused(*words)
        done = empty_machine.run("check")
        assert done.code == 1
        assert "database: the database has schema 0 and" in done.out
        assert "redis: ok" in done.out
    else:
        done = empty_machine.run(*words)
        assert done.code == 1
        assert "edictum-console migrate" in done.err
        done = empty_machine.run("check")
        assert (done.code, done.out.partition(":")[0]) == (1, "settings")
    assert not folder.exists()


def test_command_in_a_folder_without_a_database_says_so(
    empty_machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("EDICTUM_DATABASE_URL", raising=False)
    assert "there is no database" in empty_machine.refused("admin", "create", EMAIL)
    assert "database: there is no database" in empty_machine.run("check").out
    assert not Path(empty_machine.variables["EDICTUM_DATA_DIR"]).exists()


def test_check_of_a_console_that_can_run_says_ok(machine: Machine) -> None:
    lines = machine.must("check").splitlines()
    parts = ["settings", "database", "redis", "secrets"]
    expected = parts if "EDICTUM_REDIS_URL" in machine.variables else [part for part in parts if part != "redis"]
    assert [line.partition(":")[0] for line in lines] == expected
    assert all(line.partition(": ")[2].startswith("ok") for line in lines)


def test_check_finds_secrets_that_open_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDICTUM_SIGNING_KEY_SECRET", "cd" * 32)
    done = machine.run("check")
    assert done.code == 1
    assert "secrets: a sealed signing key cannot be opened" in done.out
    machine.must("rulesets", "push", "-", stdin=TEXT)
    words = ("rulesets", "deploy", "docs-rules", "1", "--env", "production")
    assert "EDICTUM_SIGNING_KEY_SECRET" in machine.refused(*words)


def test_check_finds_settings_and_servers_that_cannot_be_used(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDICTUM_REDIS_URL", f"redis://:hidden@127.0.0.1:{free_port()}/0")
    done = machine.run("check")
    assert done.code == 1
    assert "redis: EDICTUM_REDIS_URL: Redis cannot be used" in done.out
    assert "secrets: ok" in done.out
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("EDICTUM_DATABASE_URL", f"postgresql://a:hidden@127.0.0.1:{free_port()}/a")
    done = machine.run("check")
    assert "database: EDICTUM_DATABASE_URL: the database cannot be reached" in done.out
    assert "hidden" not in done.out + done.err
    monkeypatch.setenv("EDICTUM_LOG_LEVEL", "LOUD")
    done = machine.run("check")
    assert (done.code, done.err) == (1, "")
    assert done.out.startswith("settings: EDICTUM_LOG_LEVEL has an unknown value; use one of")


def test_check_finds_a_redis_that_evicts(redis_server: Any, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDICTUM_REDIS_URL", redis_server.url)
    redis_server.set("maxmemory-policy", "allkeys-lru")
    try:
        done = machine.run("check")
    finally:
        redis_server.set("maxmemory-policy", "noeviction")
    assert done.code == 1
    assert "redis: Redis may evict counters" in done.out


def command(variables: dict[str, str], *words: str, stdin: str = "") -> str:
    """
    Run a command as a process of its own, which succeeds, and return what it prints.
    """
    environment = {"PATH": "/usr/bin", **variables}
    done = subprocess.run(
        [sys.executable, "-m", "edictum_console", *words],
        input=stdin,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.removesuffix("\n")


@pytest.mark.slow
def test_commands_beside_a_console_that_serves_reach_its_agents(empty_machine: Machine) -> None:
    variables = {name: value for name, value in empty_machine.variables.items() if name != "EDICTUM_DATA_DIR"}
    folder = Path(empty_machine.variables["EDICTUM_DATA_DIR"])
    everything = empty_machine.variables

    async def agent(address: str, key: str, unused: str) -> None:
        async def run(*words: str, stdin: str = "") -> str:
            return await asyncio.to_thread(command, everything, *words, stdin=stdin)

        async with connected(address, key, "bot", "?bundle_name=docs-rules") as stream:
            await run("rulesets", "push", "-", stdin=TEXT)
            await run("rulesets", "deploy", "docs-rules", "1", "--env", "production")
            while (await stream.event())["event"] != "ruleset_updated":
                pass
            await run("keys", "revoke", key)
            while (await stream.event())["event"] != "key_revoked":
                pass
        await run("keys", "revoke", unused)

    with serving(folder, **variables) as (address, _, process):
        command(everything, "admin", "create", EMAIL, "--password-stdin", stdin=PASSWORD)
        _, cookie = call(address, "/api/v1/auth/login", {"email": EMAIL, "password": PASSWORD})
        key, unused = (command(everything, "keys", "create", "--env", "production", "--label", "a") for _ in "ab")
        asyncio.run(agent(address, key, unused))
        refused = [refusal(address, "/v1/rulesets/docs-rules/current", Authorization=f"Bearer {unused}")]
        command(everything, "admin", "reset-password", EMAIL, "--password-stdin", stdin=OTHER)
        refused.append(refusal(address, "/api/v1/auth/me", Cookie=cookie))
        assert refused == [401, 401]
        call(address, "/api/v1/auth/login", {"email": EMAIL, "password": OTHER})
        assert command(everything, "check").startswith("settings: ok")
        assert process.poll() is None
