"""
Rulesets from a console: what is pushed is used, and what cannot be believed never replaces what is in force.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from answers import Asked, answering
from consoles import Console, rules
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from edictum import Edictum, EdictumDenied, MemoryBackend
from edictum_client import EdictumServerClient, ServerContractSource


@asynccontextmanager
async def connected(**options: Any) -> AsyncIterator[Edictum]:
    guard = await Edictum.from_server(**options)
    try:
        yield guard
    finally:
        await guard.close()


async def until(true: Callable[[], object], seconds: float = 40) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


async def blocks(guard: Edictum, path: str) -> bool:
    try:
        await guard.run("read_file", {"path": path}, lambda path: "text")
    except EdictumDenied as denied:
        return denied.decision_name == "no-secrets"
    return False


def test_deployment_reaches_a_running_guard(console: Console, options: dict[str, Any], name: str) -> None:
    async def main() -> None:
        first = await asyncio.to_thread(console.deploy, rules(name))
        async with connected(**options, bundle_name=name) as guard:
            assert guard.policy_version == first["revision_hash"]
            assert not await blocks(guard, "notes.txt")
            second = await asyncio.to_thread(console.deploy, rules(name, "notes"))
            await until(lambda: guard.policy_version == second["revision_hash"])
            assert await blocks(guard, "notes.txt")
            await until(lambda: console.agent(options["agent_id"])["state"] == "current")
            back = console.call("POST", f"/api/v1/bundles/{name}/rollback", {"env": "production"})
            await until(lambda: guard.policy_version == back["revision_hash"] == first["revision_hash"])
            assert not await blocks(guard, "notes.txt")
        log = [event["action"] for event in console.events(agent_id=options["agent_id"])]
        assert log.count("ruleset_reloaded") == 2

    asyncio.run(main())


@pytest.mark.parametrize("failure", ["kill", "pause"])
def test_deployment_that_was_missed_arrives_after_the_console_is_back(
    console: Console, options: dict[str, Any], name: str, failure: str
) -> None:
    async def main() -> None:
        await asyncio.to_thread(console.deploy, rules(name))
        async with connected(**options, bundle_name=name) as guard:
            await until(lambda: console.agent(options["agent_id"])["streams"] == 1)
            await asyncio.to_thread(getattr(console, failure))
            # The rules hold while nobody is there to count: a call that they forbid is blocked by them.
            assert guard.evaluate("read_file", {"path": ".env"}).decision == "block"
            await asyncio.to_thread(console.start if failure == "kill" else console.resume)
            second = await asyncio.to_thread(console.deploy, rules(name, "notes"))
            await until(lambda: guard.policy_version == second["revision_hash"])
            assert await blocks(guard, "notes.txt")

    asyncio.run(main())


def test_assignment_starts_a_guard_and_moves_it(console: Console, options: dict[str, Any], name: str) -> None:
    async def main() -> None:
        other = f"{name}-other"
        first = await asyncio.to_thread(console.deploy, rules(name))
        second = await asyncio.to_thread(console.deploy, rules(other, "notes"))
        rule = {"env": "production", "pattern": options["agent_id"], "bundle_name": name}
        made = await asyncio.to_thread(console.call, "POST", "/api/v1/assignment-rules", rule)
        async with connected(**options) as guard:
            assert guard.policy_version == first["revision_hash"]
            change = {"bundle_name": other}
            await asyncio.to_thread(console.call, "PATCH", f"/api/v1/assignment-rules/{made['id']}", change)
            await until(lambda: guard.policy_version == second["revision_hash"])
            assert await blocks(guard, "notes.txt")
            third = await asyncio.to_thread(console.deploy, rules(other, "letters"))
            await until(lambda: guard.policy_version == third["revision_hash"])

    asyncio.run(main())


class Forger:
    """
    A console of lies: it answers for a ruleset whatever a test wants, and says that it changed.
    """

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.answer: dict[str, Any] = {}
        self.desired: dict[str, Any] | None = None
        self.reports: list[dict[str, Any]] = []
        self.fetched = 0
        self._streams: list[web.StreamResponse] = []
        self._hung_up = asyncio.Event()

    def public_key(self) -> str:
        return self.key.public_key().public_bytes_raw().hex()

    def sign(self, content: str, seq: int, key: Ed25519PrivateKey | None = None, **said: Any) -> None:
        """
        Answer a ruleset, signed by a key.
        """
        key, raw = key or self.key, content.encode()
        facts = {"env": "production", "name": "rules", "revision_hash": hashlib.sha256(raw).hexdigest()}
        envelope = json.dumps({**facts, "deployment_seq": seq, "version": seq, "v": 1, **said}).encode()
        self.answer = {
            **facts,
            "version": seq,
            "yaml_bytes": base64.b64encode(raw).decode(),
            "deployment_seq": seq,
            "signature": base64.b64encode(key.sign(raw)).decode(),
            "public_key": self.public_key(),
            "envelope": base64.b64encode(envelope).decode(),
            "envelope_signature": base64.b64encode(key.sign(envelope)).decode(),
        }

    async def push(self) -> None:
        """
        Say that something changed, and wait until it was fetched.
        """
        before = self.fetched
        for stream in self._streams:
            data = {"name": "rules", "env": "production", "version": 1, "revision_hash": "x", "deployment_seq": 1}
            await stream.write(f"event: ruleset_updated\ndata: {json.dumps(data)}\n\n".encode())
        await until(lambda: self.fetched > before)

    async def rejected(self, why: str) -> None:
        """
        Wait until the agent reported that it rejected something.
        """
        await until(lambda: any(why in (each.get("error") or "") for each in self.reports))
        assert self.reports[-1]["state"] == "rejected"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[dict[str, Any]]:
        app = web.Application()
        app.router.add_get("/v1/rulesets/rules/current", self._current)
        app.router.add_get("/v1/stream", self._stream)
        app.router.add_post("/v1/agents/self/status", self._status)
        app.router.add_post("/v1/events", self._events)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            yield {"url": f"http://127.0.0.1:{port}", "api_key": "edk_test", "agent_id": "bot", "bundle_name": "rules"}
        finally:
            await runner.cleanup()

    def hang_up(self) -> None:
        """
        End all streams.
        """
        self._hung_up.set()
        self._streams.clear()

    async def listening(self) -> None:
        """
        Wait until the agent listens.
        """
        await until(lambda: self._streams)

    async def _current(self, request: web.Request) -> web.Response:
        self.fetched += 1
        return web.json_response(self.answer)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": open\n\n")
        self._streams.append(response)
        self._hung_up = hung_up = asyncio.Event()
        try:
            await hung_up.wait()
        finally:
            if response in self._streams:
                self._streams.remove(response)
        return response

    async def _status(self, request: web.Request) -> web.Response:
        self.reports.append(await request.json())
        return web.json_response({"desired": self.desired, "next_in": 60 if self.desired is None else 0})

    async def _events(self, request: web.Request) -> web.Response:
        return web.json_response({"accepted": 0, "duplicates": 0, "rejected": []})


GOOD = rules("rules")
LAX = rules("rules", "nothing-of-this-name")


def forged(forge: Callable[[Forger], None], why: str) -> None:
    """
    Check that a guard whose console begins to lie keeps its rules and says why.
    """

    async def main() -> None:
        forger = Forger()
        forger.sign(GOOD, 5)
        async with (
            forger.running() as options,
            connected(**options, signing_public_key=forger.public_key(), storage_backend=MemoryBackend()) as guard,
        ):
            await forger.listening()
            version = guard.policy_version
            forge(forger)
            await forger.push()
            await forger.rejected(why)
            assert guard.policy_version == version
            assert await blocks(guard, ".env")
            forger.sign(LAX, 6)
            await forger.push()
            await until(lambda: guard.policy_version != version)  # it was not deaf

    asyncio.run(main())


def changed(**fields: Any) -> Callable[[Forger], None]:
    def forge(forger: Forger) -> None:
        forger.sign(LAX, 6)
        forger.answer.update(fields)

    return forge


def of_another_key(forger: Forger) -> None:
    forger.sign(LAX, 6, Ed25519PrivateKey.generate())


def of_another_key_that_is_named(forger: Forger) -> None:
    key = Ed25519PrivateKey.generate()
    forger.sign(LAX, 6, key)
    forger.answer["public_key"] = key.public_key().public_bytes_raw().hex()


def replayed(forger: Forger) -> None:
    forger.sign(LAX, 4)


def renumbered(forger: Forger) -> None:
    forger.sign(LAX, 4)
    forger.answer["deployment_seq"] = 9


def of_another_environment(forger: Forger) -> None:
    forger.sign(LAX, 6, env="staging")


def broken(forger: Forger) -> None:
    forger.sign("kind: Ruleset\nrules: [", 6)


@pytest.mark.parametrize(
    ("forge", "why"),
    [
        (changed(signature=None), "not signed"),
        (changed(envelope_signature=None), "not signed"),
        (changed(signature="AAAA"), "bytes instead of 64"),
        (changed(signature="no base64!"), "base64"),
        (changed(yaml_bytes=base64.b64encode(LAX.encode() + b"#").decode()), "digest"),
        (changed(name="other"), "asked for"),
        (changed(env="staging"), "asked for"),
        (of_another_key, "not by the key"),
        (of_another_key_that_is_named, "believes"),
        (replayed, "older than 5"),
        (renumbered, "deployment_seq"),
        (of_another_environment, "another env"),
        (broken, "invalid ruleset"),
    ],
)
def test_what_cannot_be_believed_never_replaces_what_is_in_force(forge: Callable[[Forger], None], why: str) -> None:
    forged(forge, why)


def failing_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """
    A function that fails the first time in a way that nobody expects.
    """
    failures = iter([RuntimeError("nobody expects this")])

    def instead(*args: Any, **options: Any) -> Any:
        for failure in failures:
            raise failure
        return function(*args, **options)

    return instead


@pytest.mark.fault
@pytest.mark.parametrize("where", ["fetching", "listening", "reporting"])
def test_failure_that_nobody_expected_does_not_make_an_agent_deaf(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        forger = Forger()
        forger.sign(GOOD, 5)
        async with forger.running() as options, connected(**options, storage_backend=MemoryBackend()) as guard:
            await forger.listening()
            connection: Any = guard._connection
            version = guard.policy_version
            if where == "fetching":
                monkeypatch.setattr(connection.source.trust, "check", failing_once(connection.source.trust.check))
            elif where == "listening":
                monkeypatch.setattr(connection.client, "session", failing_once(connection.client.session))
                forger.hang_up()
                await forger.listening()
            else:
                await until(lambda: forger.reports)
                monkeypatch.setattr(connection._reporter, "_facts", failing_once(connection._facts))
            forger.sign(LAX, 6)
            await forger.push()
            await until(lambda: guard.policy_version != version)
            await until(lambda: forger.reports[-1].get("policy_version") == guard.policy_version)

    asyncio.run(main())


@pytest.mark.fault
def test_ruleset_that_fails_to_load_in_a_way_that_nobody_expected_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        forger = Forger()
        forger.sign(GOOD, 5)
        async with forger.running() as options, connected(**options, storage_backend=MemoryBackend()) as guard:
            await forger.listening()
            version = guard.policy_version
            monkeypatch.setattr(guard, "reload", failing_once(guard.reload))
            forger.sign(LAX, 6)
            await forger.push()
            await forger.rejected("nobody expects this")
            assert guard.policy_version == version

    asyncio.run(main())


@pytest.mark.parametrize("answer", [{}, {"name": "rules"}, {"name": 1, "env": "production"}])
def test_answer_that_is_none_leaves_the_ruleset_in_force(answer: dict[str, Any]) -> None:
    async def main() -> None:
        forger = Forger()
        forger.sign(GOOD, 5)
        async with forger.running() as options, connected(**options, storage_backend=MemoryBackend()) as guard:
            await forger.listening()
            version = guard.policy_version
            forger.answer = answer
            await forger.push()
            forger.sign(LAX, 6)
            await forger.push()
            await until(lambda: guard.policy_version != version)

    asyncio.run(main())


@pytest.mark.fault
def test_ruleset_whose_notice_was_lost_is_fetched_until_there_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edictum_client.status._SHORTEST_PAUSE", 0.1)

    async def main() -> None:
        forger = Forger()
        forger.sign(GOOD, 5)
        # In force already; the console wants reports often.
        desired = {"bundle_name": "rules", "revision_hash": forger.answer["revision_hash"], "deployment_seq": 5}
        forger.desired = desired
        async with forger.running() as options, connected(**options, storage_backend=MemoryBackend()) as guard:
            await forger.listening()
            version, fetched = guard.policy_version, forger.fetched
            forger.answer = {"maintenance": True}
            forger.desired = {**desired, "revision_hash": "of another"}
            await until(lambda: forger.fetched > fetched)
            forger.sign(LAX, 6)
            await until(lambda: guard.policy_version != version)

    asyncio.run(main())


@pytest.mark.fault
def test_ruleset_that_is_in_force_and_cannot_be_noted_is_not_said_to_have_failed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        forger = Forger()
        forger.sign(GOOD, 5)
        full: dict[str, Any] = {"loss_policy": "block_calls", "spool_dir": tmp_path, "max_spool_bytes": 1}
        async with forger.running() as options, connected(**options, storage_backend=MemoryBackend(), **full) as guard:
            await forger.listening()
            for seq, content in ((6, LAX), (7, GOOD)):
                version = guard.policy_version
                forger.sign(content, seq)
                await forger.push()
                await until(lambda version=version: guard.policy_version != version)  # type: ignore[misc]
            await until(lambda: "is not in the decision log" in caplog.text)
            await until(lambda: forger.reports[-1].get("policy_version") == guard.policy_version)

    asyncio.run(main())
    assert "the one in force stays" not in caplog.text


@pytest.mark.fault
def test_connection_that_ends_after_a_drain_is_opened_again_when_the_console_said(agent_id: str) -> None:
    def streaming(asked: Asked) -> bytes:
        opened.append(time.monotonic())
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        said = b'event: drain\ndata: {"reconnect_in_ms": 3000}\n\n'
        return head + b"%x\r\n%s\r\n" % (len(said), said)  # and no end of the chunks

    async def main(address: str) -> None:
        client = EdictumServerClient(address, "key", agent_id=agent_id)
        source = ServerContractSource(client)
        await source.connect()
        await until(lambda: len(opened) > 1)
        await source.close()
        await client.close()

    opened: list[float] = []
    with answering(streaming) as server:
        asyncio.run(main(server.address))
    assert opened[1] - opened[0] >= 3
