"""
Connecting a guard: what a start needs, what ends it, and from where a connected guard can be used.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from consoles import Console, rules
from edictum import CollectingAuditSink, Edictum, EdictumConfigError, EdictumDenied, MemoryBackend
from edictum_client import BundleVerificationError, ServerRefusedError, ServerUnreachableError

OTHER_KEY = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"  # RFC 8032, 7.1, test 1


async def start(**options: Any) -> Edictum:
    return await Edictum.from_server(**options)


async def use(guard: Edictum) -> str:
    async with guard:
        text: str = await guard.run("read_file", {"path": "notes.txt"}, lambda path: "text")
        return text


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"url": "console.example.com"}, "https://"),
        ({"url": "http://console.example.com"}, "allow_insecure"),
        ({"url": "https://user:pass@console.example.com"}, "api_key alone"),
        ({"api_key": "with blanks "}, "api_key"),
        ({"agent_id": "../other"}, "agent_id"),
        ({"env": ""}, "env"),
        ({"bundle_name": "a/b"}, "bundle_name"),
        ({"bundle_name": None, "auto_watch": False}, "auto_watch"),
        ({"tags": {"team": "a\nb"}}, "tags"),
        ({"verify_signatures": True}, "signing_public_key"),
        ({"signing_public_key": "00" * 32}, "not a safe key"),
        ({"signing_public_key": "abc"}, "64 hexadecimal digits"),
        ({"cache_dir": "cache"}, "signing_public_key"),
        ({"loss_policy": "hope"}, "drop_oldest"),
        ({"audit_sink": CollectingAuditSink(), "spool_dir": "spool"}, "audit_sink"),
    ],
)
def test_option_that_makes_no_sense_is_refused_before_anything_is_sent(wrong: dict[str, Any], says: str) -> None:
    options = {"url": "http://127.0.0.1:9", "api_key": "key", "agent_id": "bot", "bundle_name": "rules"}
    with pytest.raises(EdictumConfigError, match=says):
        asyncio.run(start(**{**options, **wrong}))


def test_without_the_package_the_error_names_what_to_install() -> None:
    program = """
import sys
sys.modules["edictum_client"] = None
import edictum, edictum.server
for use in (
    lambda: edictum.Edictum.from_server_sync("http://127.0.0.1:9", "key", "bot"),
    lambda: edictum.server.ServerBackend,
):
    try:
        use()
    except edictum.EdictumConfigError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.count("pip install 'edictum-core[server]'") == 2


def test_the_core_offers_the_names_of_the_client() -> None:
    import edictum.server
    import edictum_client

    for name in edictum.server.__all__:
        assert getattr(edictum.server, name) is getattr(edictum_client, name)
    with pytest.raises(AttributeError):
        _ = edictum.server.Nothing


# --- the start ------------------------------------------------------------------------------------


def test_start_without_a_console_is_an_error(agent_id: str) -> None:
    with pytest.raises(ServerUnreachableError, match="cannot be reached"):
        asyncio.run(start(url="http://127.0.0.1:9", api_key="key", agent_id=agent_id, bundle_name="rules"))


def test_start_with_a_key_that_nobody_knows_is_an_error(console: Console, options: dict[str, Any]) -> None:
    with pytest.raises(ServerRefusedError, match="401") as refused:
        asyncio.run(start(**{**options, "api_key": "edk_production_" + "x" * 43, "bundle_name": "rules"}))
    assert refused.value.status_code == 401
    assert "x" * 43 not in str(refused.value)


def test_start_with_a_ruleset_that_is_not_deployed_is_an_error(options: dict[str, Any], name: str) -> None:
    with pytest.raises(EdictumConfigError, match=f"no ruleset '{name}' is deployed"):
        asyncio.run(start(**options, bundle_name=name))


@pytest.mark.parametrize("named", [True, False], ids=["named", "assigned"])
def test_start_in_another_environment_is_an_error(
    console: Console, options: dict[str, Any], name: str, named: bool
) -> None:
    console.deploy(rules(name))
    bundle = name if named else None
    with pytest.raises(ServerRefusedError, match="another environment"):
        asyncio.run(start(**options, bundle_name=bundle, env="staging"))


def test_start_without_an_assignment_is_an_error_that_says_what_to_do(options: dict[str, Any]) -> None:
    with pytest.raises(EdictumConfigError, match="assignment rule"):
        asyncio.run(start(**options, assignment_timeout=1.0))


def test_start_with_another_key_than_the_console_signs_with_is_an_error(
    console: Console, options: dict[str, Any], name: str
) -> None:
    console.deploy(rules(name))
    with pytest.raises(BundleVerificationError, match="signing_public_key"):
        asyncio.run(start(**options, bundle_name=name, signing_public_key=OTHER_KEY))


def test_start_that_fails_leaves_nothing_behind(console: Console, options: dict[str, Any], name: str) -> None:
    console.deploy(rules(name))

    async def main() -> None:
        with pytest.raises(EdictumConfigError, match="mode"):
            await start(**options, bundle_name=name, mode="sometimes")

    before = threading.active_count()
    asyncio.run(main())  # warnings are errors here: a connection that stays open would be one
    assert threading.active_count() <= before + 1


# --- the cache ------------------------------------------------------------------------------------


def test_start_while_the_console_is_away_uses_the_last_signed_ruleset(
    console: Console, options: dict[str, Any], name: str, tmp_path: Path
) -> None:
    deployed = console.deploy(rules(name))
    kept = {**options, "bundle_name": name, "signing_public_key": console.public_key(), "cache_dir": tmp_path / "kept"}

    async def main() -> None:
        await use(await start(**kept))
        await asyncio.to_thread(console.kill)
        try:
            async with await start(**kept) as guard:
                assert guard.policy_version == deployed["revision_hash"]
                with pytest.raises(EdictumDenied):  # it starts, and what must be counted is blocked
                    await guard.run("read_file", {"path": "notes.txt"}, lambda path: "text")
                await asyncio.to_thread(console.start)
                newer = await asyncio.to_thread(console.deploy, rules(name, "letters"))
                async with asyncio.timeout(40):
                    while guard.policy_version != newer["revision_hash"]:
                        await asyncio.sleep(0.02)
        finally:
            await asyncio.to_thread(console.kill)
            await asyncio.to_thread(console.start)

    asyncio.run(main())
    (file,) = (tmp_path / "kept").iterdir()
    assert file.stat().st_mode & 0o077 == 0


def aged(kept: dict[str, Any]) -> None:
    kept["kept_at"] -= 7200


def forged(kept: dict[str, Any]) -> None:
    kept["ruleset"]["yaml_bytes"] = ""


def from_the_future(kept: dict[str, Any]) -> None:
    kept["kept_at"] += 7200


def emptied(kept: dict[str, Any]) -> None:
    kept.clear()


def test_kept_ruleset_that_is_too_old_or_not_as_it_was_is_not_used(
    console: Console, options: dict[str, Any], name: str, tmp_path: Path
) -> None:
    console.deploy(rules(name))
    kept = {**options, "bundle_name": name, "signing_public_key": console.public_key(), "cache_dir": tmp_path}
    asyncio.run(use_once(kept))
    (file,) = tmp_path.iterdir()
    good = file.read_text()
    console.kill()
    try:
        for change, error, says in (
            (aged, ServerUnreachableError, "hours old"),
            (forged, BundleVerificationError, "digest"),
            (from_the_future, BundleVerificationError, "future"),
            (emptied, BundleVerificationError, "cannot be read"),
        ):
            data = json.loads(good)
            change(data)
            file.write_text(json.dumps(data))
            with pytest.raises(error, match=says):
                asyncio.run(start(**kept, cache_max_age=3600.0))
    finally:
        console.start()


async def use_once(options: dict[str, Any]) -> None:
    await use(await start(**options))


def test_ruleset_that_is_not_deployed_any_more_is_not_taken_from_the_cache(
    console: Console, options: dict[str, Any], name: str, tmp_path: Path
) -> None:
    console.deploy(rules(name))
    kept = {**options, "signing_public_key": console.public_key(), "cache_dir": tmp_path}
    asyncio.run(use_once({**kept, "bundle_name": name}))
    for file in tmp_path.iterdir():  # as if it had been kept for a name that the console does not know
        file.rename(tmp_path / "other.json")
    with pytest.raises(EdictumConfigError, match="is deployed"):
        asyncio.run(start(**kept, bundle_name=f"{name}-gone"))


# --- parts ----------------------------------------------------------------------------------------


def test_parts_can_be_replaced(console: Console, options: dict[str, Any], name: str) -> None:
    console.deploy(rules(name))
    sink, backend = CollectingAuditSink(), MemoryBackend()

    async def main() -> None:
        guard = await start(**options, bundle_name=name, audit_sink=sink, storage_backend=backend, environment="here")
        assert guard.backend is backend
        assert await use(guard) == "text"

    asyncio.run(main())
    assert [event.environment for event in sink.events] == ["here", "here"]
    assert console.events(agent_id=options["agent_id"]) == []


def test_options_of_the_guard_are_passed_on(console: Console, options: dict[str, Any], name: str) -> None:
    console.deploy(rules(name))
    blocked: list[str | None] = []

    async def main() -> None:
        guard = await start(
            **options, bundle_name=name, mode="observe", on_would_block=lambda *facts: blocked.append(facts[2])
        )
        async with guard:
            assert await guard.run("read_file", {"path": ".env"}, lambda path: "text") == "text"

    asyncio.run(main())
    assert blocked == ["no-secrets"]


def test_loss_policy_that_blocks_blocks_calls_that_cannot_be_logged(
    console: Console, options: dict[str, Any], name: str
) -> None:
    console.deploy(rules(name))

    async def main() -> None:
        guard = await start(**options, bundle_name=name, loss_policy="block_calls")
        assert guard._audit_failure == "block"
        await guard.close()

    asyncio.run(main())


# --- from where -----------------------------------------------------------------------------------


def test_guard_of_one_event_loop_works_in_the_next(console: Console, options: dict[str, Any], name: str) -> None:
    console.deploy(rules(name))
    guard = asyncio.run(start(**options, bundle_name=name))
    for _ in range(2):
        assert asyncio.run(guard.run("read_file", {"path": "a"}, lambda path: "text")) == "text"
    asyncio.run(guard.close())
    assert len(console.events(agent_id=options["agent_id"])) == 4


def test_synchronous_program_needs_no_event_loop(console: Console, options: dict[str, Any], name: str) -> None:
    console.deploy(rules(name))
    guard = Edictum.from_server_sync(**options, bundle_name=name)
    texts: list[str] = []
    threads = [
        threading.Thread(target=lambda: texts.append(guard.run_sync("read_file", {"path": "a"}, lambda path: "text")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    guard.close_sync()
    guard.close_sync()  # twice is as good as once
    assert texts == ["text"] * 8
    assert len(console.events(agent_id=options["agent_id"])) == 16


def test_synchronous_calls_work_inside_a_running_loop(console: Console, options: dict[str, Any], name: str) -> None:
    console.deploy(rules(name))

    async def main() -> None:
        guard = Edictum.from_server_sync(**options, bundle_name=name)
        assert guard.run_sync("read_file", {"path": "a"}, lambda path: "text") == "text"
        with pytest.raises(EdictumDenied):
            guard.run_sync("read_file", {"path": ".env"}, lambda path: "text")
        guard.close_sync()

    asyncio.run(main())


def test_tool_that_blocks_its_loop_does_not_cut_the_agent_off(
    console: Console, options: dict[str, Any], name: str
) -> None:
    console.deploy(rules(name))

    async def main() -> None:
        async with await start(**options, bundle_name=name) as guard:
            version = guard.policy_version

            def slow(path: str) -> str:
                newer = console.deploy(rules(name, "letters"))["revision_hash"]
                for _ in range(2000):
                    if guard.policy_version == newer:
                        return "heard"
                    threading.Event().wait(0.01)
                return "deaf"

            assert await guard.run("read_file", {"path": "a"}, slow) == "heard"
            assert guard.policy_version != version

    asyncio.run(main())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_forked_process_blocks_and_the_parent_goes_on(console: Console, options: dict[str, Any], name: str) -> None:
    program = """
import os, sys, json
from edictum import Edictum, EdictumDenied
options = json.loads(sys.argv[1])
guard = Edictum.from_server_sync(**options)
print(guard.run_sync("read_file", {"path": "a"}, lambda path: "parent"), flush=True)
child = os.fork()
if not child:
    try:
        guard.run_sync("read_file", {"path": "a"}, lambda path: print("RAN"))
    except EdictumDenied:
        print("blocked", flush=True)
    guard.close_sync()
    again = Edictum.from_server_sync(**options)
    print(again.run_sync("read_file", {"path": "a"}, lambda path: "child"), flush=True)
    again.close_sync()
    os._exit(0)
os.waitpid(child, 0)
print(guard.run_sync("read_file", {"path": "a"}, lambda path: "parent"), flush=True)
guard.close_sync()
"""
    console.deploy(rules(name))
    told = json.dumps({**options, "bundle_name": name})
    done = subprocess.run([sys.executable, "-c", program, told], capture_output=True, text=True, timeout=90)
    assert done.stdout.split() == ["parent", "blocked", "child", "parent"], done.stderr
