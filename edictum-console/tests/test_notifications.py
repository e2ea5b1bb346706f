"""
Telling people of requests: channels, what they are told, and that nothing of it is lost or says too much.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from uuid import UUID

import pytest
from channels import CHANNELS, SECRETS, SLACK_TOKEN, WEBHOOK, WEBHOOK_SECRET, World, with_world
from consoles import Console, Session, WithConsole
from edictum_console.domains.notifications.configs import MASK
from edictum_console.domains.notifications.delivering import MOST_FAILURES, Deliverer
from edictum_console.domains.notifications.notices import decided, notice_of
from edictum_console.domains.notifications.queue import NoticeQueue, matches
from edictum_console.domains.notifications.schemas import Kind
from edictum_console.domains.notifications.senders import discord, slack, telegram
from edictum_console.domains.notifications.senders.parts import Message, fitted
from edictum_console.domains.settings.schemas import NotifyArgs
from edictum_console.ids import new_id
from edictum_console.metrics import Metrics
from edictum_console.security.actor import Role
from edictum_console.settings import Settings
from listeners import listening
from providers import Received, said
from test_approvals import ask, end
from test_pages import PATH, heard
from test_tenants import second_tenant

SETTINGS = "/api/v1/settings"
# For what does not depend on the database.
EMBEDDED = pytest.mark.parametrize("console_settings", ["embedded"], indirect=True)
HIDDEN = "use ghp_canaryA1B2C3D4E5F6G7H8I9J0K1L2M3N4O5"


async def decide(who: Session, approval: Any, approved: bool = True, reason: str | None = None) -> None:
    await who.must("PUT", f"/api/v1/approvals/{approval['id']}", {"approved": approved, "reason": reason})


async def several(world: World, number: int) -> dict[str, Received]:
    """
    The next requests, by what kind of place got them.
    """
    found = [await world.next() for _ in range(number)]
    return {received.path.split("/")[1]: received for received in found}


def test_channel_is_kept_with_its_secrets_hidden(console_settings: Settings) -> None:
    async def check(world: World) -> None:
        console, ana = world.console, world.admin
        viewer = await console.person(Role.VIEWER)
        made = [await world.channel(kind) for kind in ("telegram", "slack_app", "slack", "discord", "webhook", "email")]
        hook = made[4]
        assert hook["config"] == {"url": MASK, "secret": MASK, "headers": {}}
        assert hook["filters"] == {
            "environments": [],
            "agent_patterns": [],
            "rule_names": [],
            "contract_names": [],
            "kinds": [],
        }
        assert made[0]["callback_url"] == f"https://console.test/api/v1/telegram/webhook/{made[0]['id']}"
        assert made[1]["config"]["slack_channel"] == "#alerts"
        listed = await viewer.get(CHANNELS)
        assert [one["name"] for one in listed.json()["channels"]] == sorted(one["name"] for one in made)
        rows = await console.database.fetch("SELECT * FROM notification_channels")
        log = await ana.get("/api/v1/audit-log")
        for text in (listed.text, repr(rows), log.text):
            assert not any(secret in text for secret in SECRETS)
        path = f"{CHANNELS}/{hook['id']}"
        filters = {"kinds": ["approval_requested"], "contract_names": ["old"], "rule_names": ["new"]}
        changed = await ana.must("PUT", path, {"name": "renamed", "config": {"url": MASK}, "filters": filters})
        assert (changed["name"], changed["filters"]["rule_names"]) == ("renamed", ["new", "old"])
        await ask(await console.agent(), rule_name="old")
        received = await several(world, 5)
        assert received["hook"].path == "/hook/canary-path"
        assert "x-edictum-signature" in received["hook"].headers  # with the secret that nobody named again
        assert (await ana.send("PUT", path, {"name": "telegram", "config": {}})).json()["code"] == "channel_exists"
        assert (await ana.post(CHANNELS, {**WEBHOOK, "name": "email"})).json()["code"] == "channel_exists"
        assert (await viewer.post(CHANNELS, WEBHOOK)).json()["code"] == "role_missing"
        await ana.must("DELETE", path)
        assert (await ana.get(path)).status_code == 404
        assert (
            await console.database.fetch(
                "SELECT id FROM notification_deliveries WHERE channel_id = {}", UUID(hook["id"])
            )
            == []
        )
        actions = [entry["action"] for entry in (await ana.must("GET", "/api/v1/audit-log?limit=8"))["entries"]]
        assert {"channel.add", "channel.change", "channel.delete"} <= set(actions)

    with_world(console_settings, check)


@EMBEDDED
def test_secret_is_not_sent_to_another_place_than_it_was_given_for(console_settings: Settings) -> None:
    async def check(world: World) -> None:
        ana = world.admin
        hook = await world.channel("webhook", {"headers": {"Authorization": "canary", "X-Team": "a"}})
        assert hook["config"]["headers"] == {"Authorization": MASK, "X-Team": MASK}
        path, elsewhere = f"{CHANNELS}/{hook['id']}", f"{world.chats.address}/elsewhere"
        for headers in ({}, {"headers": {"Authorization": MASK}}):
            body = {"name": "hook", "config": {"url": elsewhere, **headers}}
            refused = await ana.send("PUT", path, body)
            assert refused.json()["errors"][0]["loc"] == ["config", "headers"], headers
        await ana.must("PUT", path, {"name": "hook", "config": {"headers": {"Authorization": MASK, "X-Team": "b"}}})
        await ana.must("POST", f"{path}/test")
        received = await world.next()
        assert (received.headers["authorization"], received.headers["x-team"]) == ("canary", "b")
        config = {"url": elsewhere, "headers": {"Authorization": "other"}}
        await ana.must("PUT", path, {"name": "hook", "config": config})
        await ana.must("POST", f"{path}/test")
        assert (await world.next()).path == "/elsewhere"
        config = {**world.config("email"), "smtp_user": "ana", "smtp_password": "canary"}
        mail = await ana.must("POST", CHANNELS, {"name": "mail", "type": "email", "config": config})
        moved = {**world.config("email"), "smtp_host": "localhost"}
        refused = await ana.send("PUT", f"{CHANNELS}/{mail['id']}", {"name": "mail", "config": moved})
        assert refused.json()["errors"][0]["loc"] == ["config", "smtp_password"]

    with_world(console_settings, check)


@EMBEDDED
def test_channel_that_makes_no_sense_is_refused_without_its_values(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        mail = {"smtp_host": "mail.example.com", "from_address": "a@example.com", "to_addresses": ["b@example.com"]}
        wrong: list[tuple[str, dict[str, Any], list[Any]]] = [
            ("webhook", {"url": "http://canary.example.com/", "secret": WEBHOOK_SECRET}, ["config", "url"]),
            ("webhook", {"url": "https://u:canary@example.com/", "secret": WEBHOOK_SECRET}, ["config", "url"]),
            ("webhook", {"url": "https://example.com/", "secret": "canary"}, ["config", "secret"]),
            ("webhook", {"url": "https://example.com/"}, ["config", "secret"]),
            ("slack", {"webhook_url": "canary"}, ["config", "webhook_url"]),
            ("slack", {"webhook_url": "https://example.com/", "canary": 1}, ["config", "canary"]),
            ("telegram", {"bot_token": "canary/../x", "chat_id": "1"}, ["config", "bot_token"]),
            ("telegram", {"bot_token": "1:canary", "chat_id": "one"}, ["config", "chat_id"]),
            ("discord", {"bot_token": "canary", "discord_channel_id": "../1"}, ["config", "discord_channel_id"]),
            ("email", {**mail, "tls": "none"}, ["config", "tls"]),
            ("email", {**mail, "from_address": "a@example.com\r\nBcc: canary@example.com"}, ["config", "from_address"]),
            ("email", {**mail, "to_addresses": []}, ["config", "to_addresses"]),
            ("email", {**mail, "smtp_host": "canary host"}, ["config", "smtp_host"]),
        ]
        for name in ("Host", "X-Edictum-Delivery", "Content-Length", "Two Words", "A:B"):
            config = {"url": "https://example.com/", "secret": WEBHOOK_SECRET, "headers": {name: "canary"}}
            wrong.append(("webhook", config, ["config", "headers"]))
        config = {"url": "https://example.com/", "secret": WEBHOOK_SECRET, "headers": {"A": "b\r\nC: canary"}}
        wrong.append(("webhook", config, ["config", "headers"]))
        for kind, config, place in wrong:
            answer = await ana.post(CHANNELS, {"name": "x", "type": kind, "config": config})
            assert answer.status_code == 422, (kind, place, answer.text)
            assert place in [error["loc"] for error in answer.json()["errors"]]
            assert "canary" not in answer.text.replace('"canary"]', "").replace("config.canary", "")
        assert (await ana.must("GET", CHANNELS))["channels"] == []

    with_console(check)


def test_request_is_told_everywhere_and_deciding_changes_what_was_told(console_settings: Settings) -> None:
    async def check(world: World) -> None:
        for kind in ("telegram", "slack_app", "slack", "discord", "webhook", "email"):
            await world.channel(kind)
        agent = await world.console.agent()
        made = await ask(agent, tool_name="delete", rule_name="asks")
        link = f"https://console.test/approvals/{made['id']}"
        first = await several(world, 5)
        telegram_body = first["telegram"].json
        assert first["telegram"].path == "/telegram/bot123456:canary-telegram-token/sendMessage"
        assert telegram_body["chat_id"] == "-100200"
        assert "reply_markup" in telegram_body
        assert (first["slack"].path, first["slack"].json["channel"]) == ("/slack/chat.postMessage", "#alerts")
        assert first["slack"].headers["authorization"] == f"Bearer {SLACK_TOKEN}"
        assert first["slack"].json["blocks"][-1]["type"] == "actions"
        assert all(block["type"] == "section" for block in first["incoming"].json["blocks"])
        assert first["discord"].path == "/discord/channels/55/messages"
        assert first["discord"].json["allowed_mentions"] == {"parse": []}
        _, mail = await world.mail.next()
        assert mail["Subject"] == "An agent asks for approval: delete (production)"
        assert (mail["From"], mail["To"]) == ("console@example.com", "ops@example.com")
        for text in (mail.get_content(), *(one.body.decode() for one in first.values())):
            for part in (
                "delete",
                "bot",
                "production",
                "needs a human",
                "users",
                link,
                made["args_digest"][:8],
            ):
                assert part in text, (part, text)
        hook = first["hook"]
        moment, _, signature = hook.headers["x-edictum-signature"].removeprefix("t=").partition(",v1=")
        signed = f"{moment}.".encode() + hook.body
        assert signature == hmac.new(WEBHOOK_SECRET.encode(), signed, hashlib.sha256).hexdigest()
        assert abs(int(moment) - datetime.now(UTC).timestamp()) < 100
        older = hmac.new(WEBHOOK_SECRET.encode(), hook.body, hashlib.sha256).hexdigest()
        assert hook.headers["x-edictum-signature-256"] == f"sha256={older}"
        assert hook.json["delivery_id"] == hook.headers["x-edictum-delivery"]
        assert (hook.json["kind"], hook.json["approval"]["approval_id"]) == ("approval_requested", made["id"])
        await world.deliver()
        await decide(world.admin, made, reason="because")
        second = await several(world, 5)
        assert second["telegram"].path.endswith("/editMessageText")
        assert second["telegram"].json["message_id"] == 7
        assert "reply_markup" not in second["telegram"].json
        assert (second["slack"].path, second["slack"].json["channel"]) == ("/slack/chat.update", "C77")
        assert second["slack"].json["ts"] == "17.42"
        assert all(block["type"] == "section" for block in second["slack"].json["blocks"])
        assert (second["discord"].method, second["discord"].path) == ("PATCH", "/discord/channels/55/messages/99")
        assert second["hook"].json["kind"] == "approval_decided"
        _, mail = await world.mail.next()
        for text in (mail.get_content(), *(one.body.decode() for one in second.values())):
            for part in ("Approved", "ana@example.com", "console", "because"):
                assert part in text, (part, text)
        await world.deliver()
        rows = await world.console.database.fetch(
            "SELECT status, count(*) AS n FROM notification_deliveries GROUP BY status"
        )
        assert {row["status"]: row["n"] for row in rows} == {"sent": 12}
        assert await world.deliver() == 0

    with_world(console_settings, check)


def test_end_of_the_time_and_of_the_waiting_are_told_too(console_settings: Settings) -> None:
    async def check(world: World) -> None:
        await world.channel("telegram", filters={"kinds": ["approval_requested"]})
        hook = await world.channel("webhook", filters={"kinds": ["approval_timeout", "approval_decided"]})
        agent = await world.console.agent()
        over, left = await ask(agent), await ask(agent)
        for _ in range(2):
            assert (await world.next()).path.endswith("/sendMessage")
        await world.deliver()
        await end(world.console, over)
        await agent.must("GET", f"/v1/approvals/{over['id']}")
        told = await several(world, 2)
        assert "Nobody decided in time" in told["telegram"].json["text"]  # whatever the channel wants to be told
        assert told["hook"].json["kind"] == "approval_timeout"
        await agent.must("POST", f"/v1/approvals/{left['id']}/cancel")
        told = await several(world, 2)
        assert "The agent waits no longer" in told["telegram"].json["text"]
        assert (told["hook"].json["kind"], told["hook"].json["approval"]["status"]) == ("approval_decided", "cancelled")
        assert [one["status"] for one in await world.deliveries(hook)] == ["sent", "sent"]

    with_world(console_settings, check)


def test_what_was_decided_before_it_was_told_is_not_asked_any_more(console_settings: Settings) -> None:
    async def check(world: World) -> None:
        world.statuses["sendMessage"] = said(status=503)
        channel = await world.channel("telegram")
        made = await ask(await world.console.agent())
        await world.next()
        assert [one["status"] for one in await world.deliveries(channel)] == ["waiting"]
        await decide(world.admin, made)
        # The edit waits for as long as the first message might still be on its way.
        statuses = [(one["edit"], one["status"]) for one in await world.deliveries(channel)]
        assert statuses == [(False, "dropped"), (True, "waiting")]
        await due(world)
        statuses = [(one["edit"], one["status"]) for one in await world.deliveries(channel)]
        assert statuses == [(False, "dropped"), (True, "dropped")]
        assert world.chats.requests.empty()

    with_world(console_settings, check)


def test_message_that_was_on_its_way_when_it_was_decided_is_changed_too(console_settings: Settings) -> None:
    async def check(world: World) -> None:
        channel = await world.channel("telegram")
        made = await ask(await world.console.agent())
        await world.next()
        await world.deliver()
        (sent,) = await world.console.database.fetch("SELECT id, external_ref FROM notification_deliveries")
        # As it is between being taken and being sent.
        later, taken = (
            datetime.now(UTC) + timedelta(seconds=30),
            "SET status = 'waiting', next_at = {}, external_ref = NULL",
        )
        await world.console.database.fetch(f"UPDATE notification_deliveries {taken}", later)
        await decide(world.admin, made)
        statuses = [(one["edit"], one["status"]) for one in await world.deliveries(channel)]
        assert statuses == [(False, "dropped"), (True, "waiting")]
        arrived = "UPDATE notification_deliveries SET status = 'sent', external_ref = {} WHERE id = {}"
        await world.console.database.fetch(arrived, sent["external_ref"], sent["id"])
        await due(world)
        await world.deliver()
        edited = await world.next()
        assert (edited.path.rpartition("/")[2], edited.json["message_id"]) == ("editMessageText", 7)

    with_world(console_settings, check)


async def due(world: World) -> None:
    """
    Let everything that waits be due.
    """
    past = datetime.now(UTC) - timedelta(seconds=1)
    await world.console.database.fetch("UPDATE notification_deliveries SET next_at = {}", past)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, True),
        ({"environments": ["production"]}, True),
        ({"environments": ["staging"]}, False),
        ({"agent_patterns": ["docs-*", "bot"]}, True),
        ({"agent_patterns": ["Bot"]}, False),
        ({"rule_names": ["r"]}, True),
        ({"rule_names": ["s"]}, False),
        ({"kinds": ["approval_requested"]}, True),
        ({"kinds": ["approval_timeout"]}, False),
        ({"environments": ["production"], "rule_names": ["s"]}, False),
    ],
)
def test_channel_is_told_what_matches_all_that_its_filters_name(filters: dict[str, Any], expected: bool) -> None:
    row = {"env": "production", "agent_id": "bot", "rule_name": "r"}
    assert matches(filters, Kind.APPROVAL_REQUESTED, row) is expected


def test_attempts_go_on_until_the_time_is_over_and_heed_what_the_receiver_asks(console_settings: Settings) -> None:
    async def check(world: World) -> None:
        world.statuses["/hook/"] = said({"canary": 1}, status=503)
        hook = await world.channel("webhook", filters={"kinds": ["approval_requested"]})
        agent = await world.console.agent()
        await ask(agent, timeout=3600)
        pauses = [5, 30, 120, 600]
        for attempt, pause in enumerate(pauses, 1):
            await world.next()
            (shown,) = await world.deliveries(hook)
            assert (shown["status"], shown["attempts"], shown["error"]) == ("waiting", attempt, "the answer was 503")
            wait = datetime.fromisoformat(shown["next_at"]) - datetime.now(UTC)
            assert timedelta(seconds=pause - 4) < wait <= timedelta(seconds=pause)
            await due(world)
            await world.deliver()
        await world.next()
        (shown,) = await world.deliveries(hook)
        assert (shown["status"], shown["attempts"], shown["next_at"]) == ("failed", 5, None)
        assert (await world.admin.must("GET", f"{CHANNELS}/{hook['id']}"))["failure_count"] == 5
        world.statuses["/hook/"] = said(status=429, Retry_After="100")
        await ask(agent, timeout=3600)
        await world.next()
        shown = (await world.deliveries(hook))[-1]
        wait = datetime.fromisoformat(shown["next_at"]) - datetime.now(UTC)
        assert timedelta(seconds=95) < wait <= timedelta(seconds=100)
        await ask(agent, timeout=60)  # is over before the receiver wants to be asked again
        await world.next()
        assert (await world.deliveries(hook))[-1]["status"] == "failed"
        world.statuses.clear()
        await due(world)
        await world.deliver()
        assert (await world.next()).json["kind"] == "approval_requested"
        assert [one["status"] for one in await world.deliveries(hook)] == ["failed", "sent", "failed"]
        assert (await world.admin.must("GET", f"{CHANNELS}/{hook['id']}"))["failure_count"] == 0
        metrics = await world.console.anonymous.get("/metrics")
        assert 'edictum_deliveries_total{outcome="sent"} 1.0' in metrics.text
        assert 'edictum_worker_failures_total{worker="deliveries"} 0.0' in metrics.text
        health = await world.admin.must("GET", "/api/v1/health/details")
        assert [one["late"] for one in health["workers"] if one["name"] == "deliveries"] == [False]

    with_world(console_settings, check)


def test_channel_that_fails_again_and_again_is_not_used_any_more(console_settings: Settings) -> None:
    async def check(world: World) -> None:
        world.statuses["/hook/"] = said({"canary": 1}, status=500)
        hook = await world.channel("webhook")
        viewer, agent = await world.console.person(Role.VIEWER), await world.console.agent()
        await world.console.database.fetch("UPDATE notification_channels SET failure_count = {}", MOST_FAILURES - 1)
        async with listening(world.console, viewer, path=PATH) as page:
            await ask(agent)
            told = (await heard(page, "channel_failed"))["channel_failed"]
        reason = "20 attempts in a row failed; the last one: the answer was 500"
        assert told == {"channel_id": hook["id"], "name": "webhook", "reason": reason}
        path = f"{CHANNELS}/{hook['id']}"
        shown = await world.admin.must("GET", path)
        assert (shown["enabled"], shown["disabled_reason"], shown["failure_count"]) == (False, reason, 20)
        await due(world)
        assert [one["status"] for one in await world.deliveries(hook)] == ["dropped"]
        await ask(agent)  # and nothing is written down for it
        assert len(await world.deliveries(hook)) == 1
        shown = await world.admin.must("PUT", path, {"name": "webhook", "config": {}})
        assert (shown["enabled"], shown["disabled_reason"], shown["failure_count"]) == (True, None, 0)

    with_world(console_settings, check)


def test_message_is_written_down_with_the_request_or_not_at_all(console_settings: Settings) -> None:
    async def check(world: World) -> None:
        hook = await world.channel("webhook")
        made = await ask(await world.console.agent())
        await world.next()
        database = world.console.database
        (row,) = await database.fetch("SELECT * FROM approvals WHERE id = {}", UUID(made["id"]))
        scope = world.scopes.of(row["tenant_id"])
        with pytest.raises(RuntimeError, match="outside a transaction"):
            await NoticeQueue(scope).asked(row)

        async def fail() -> None:
            async with scope.transaction():
                await NoticeQueue(scope).asked(row)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert len(await world.deliveries(hook)) == 1
        assert world.chats.requests.empty()

    with_world(console_settings, check)


def test_message_is_sent_once_by_many_workers_and_again_by_one_that_was_interrupted(console_settings: Settings) -> None:
    async def check(world: World) -> None:
        hook = await world.channel("webhook")
        messenger = world.console.app.state.messenger
        others = [Deliverer(world.scopes, messenger, Metrics()) for _ in range(4)]
        agent = await world.console.agent()
        await asyncio.gather(*(ask(agent) for _ in range(3)))
        await asyncio.gather(*(one.send_due() for one in others))
        await world.deliver()
        assert len({(await world.next()).json["delivery_id"] for _ in range(3)}) == 3
        assert world.chats.requests.empty()
        assert [one["attempts"] for one in await world.deliveries(hook)] == [1, 1, 1]
        # One that took a message and ended then: the message is due again when its time with it is over.
        later = datetime.now(UTC) + timedelta(seconds=30)
        set_back = "UPDATE notification_deliveries SET status = 'waiting', next_at = {}"
        await world.console.database.fetch(set_back, later)
        assert await world.deliver() == 0
        await due(world)
        assert await others[0].send_due() + await world.deliver() == 3
        for _ in range(3):
            await world.next()

    with_world(console_settings, check)


@pytest.mark.security
@EMBEDDED
def test_arguments_leave_as_far_as_the_tenant_decided(console_settings: Settings) -> None:
    arguments = {
        "table": "users",
        "password": "hunter2",
        "note": "key sk-ant-" + "a1B2c3D4e5F6g7H8" * 4,
        "wide": "x" * 5000,
    }
    message = "delete with ghp_hunter2A1B2C3D4E5F6G7H8I9J0K1L2M3N4O please"

    async def check(world: World) -> None:
        await world.channel("webhook")
        agent = await world.console.agent()
        found = {}
        for word in ("none", "keys", "redacted", "full"):
            await world.admin.must("PATCH", SETTINGS, {"notify_args": word})
            await ask(agent, tool_args=arguments, message=message)
            body = (await world.next()).json["approval"]
            assert "hunter2" not in body["message"]
            found[word] = body["arguments"]
        assert found["none"] is None
        assert found["keys"] == "note, password, table, wide"
        assert "users" in found["redacted"]
        assert "hunter2" not in found["redacted"]
        assert "sk-ant" not in found["redacted"]
        assert "hunter2" in found["full"]
        assert all(len(text) <= 1500 for text in found.values() if text is not None)
        assert (await world.admin.send("PATCH", SETTINGS, {"notify_args": "all"})).status_code == 422

    with_world(console_settings, check)


@pytest.mark.security
@EMBEDDED
def test_text_of_agents_is_text_and_nothing_else(console_settings: Settings) -> None:
    odd = "a\nb <@U1> <!channel> &amp; </pre> ``` *x* [y](http://z) @everyone"

    async def check(world: World) -> None:
        for kind in ("telegram", "slack_app", "discord", "email"):
            await world.channel(kind)
        await ask(await world.console.agent(), tool_name=odd, message=odd, tool_args={odd: odd}, rule_name=odd)
        told = await several(world, 3)
        text = told["telegram"].json["text"]
        assert text.count("<pre>") == text.count("</pre>") == 2
        assert "Tool: a b &lt;@U1&gt;" in text
        sections = [block["text"]["text"] for block in told["slack"].json["blocks"] if block["type"] == "section"]
        assert not any("<@" in section or "<!" in section for section in sections)
        assert [section.count("```") for section in sections] == [0, 2, 2, 0]
        assert all(block["text"]["verbatim"] for block in told["slack"].json["blocks"] if block["type"] == "section")
        embed = told["discord"].json["embeds"][0]["description"]
        assert embed.count("```") == 4
        assert "\\[y\\]\\(" in embed
        _, mail = await world.mail.next()
        assert "\n" not in mail["Subject"]

    with_world(console_settings, check)


def test_text_is_cut_where_it_still_fits_when_escaped() -> None:
    assert fitted("&" * 10, 50, lambda text: text.replace("&", "&amp;")) == "&amp;" * 10
    assert fitted("&" * 11, 50, lambda text: text.replace("&", "&amp;")) == "&amp;" * 9 + "..."
    assert fitted("short", 5, str) == "short"


@pytest.mark.parametrize("letter", ["x", "&", "`", "*", "<"])
def test_largest_message_fits_what_chats_take(letter: str) -> None:
    row = {
        "id": new_id(),
        "env": "e" * 128,
        "agent_id": "a" * 128,
        "tool_name": letter * 255,
        "rule_name": letter * 255,
        "message": letter * 4096,
        "tool_args": json.dumps({"a": letter * 9000}),
        "args_digest": "0" * 64,
        "expires_at": datetime.now(UTC),
    }
    told = decided(notice_of(row, NotifyArgs.FULL), "denied", letter * 320, letter * 64, letter * 2000)
    message = Message("1", told, "https://console.example.com/approvals/018f4e5a-0000-7000-8000-000000000000")
    assert len(unescape(re.sub("</?(?:b|pre)>", "", telegram.text(message)))) <= 4096
    blocks = slack.content(message)["blocks"]
    assert max(len(block["text"]["text"]) for block in blocks) <= 3000
    description = discord.embed(message)["description"]
    assert len(description) < 4096  # so that nothing was cut off, which would leave a block open
    assert description.count("```") == 4


@EMBEDDED
def test_examples_in_the_document_are_bodies_that_are_taken(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        document = await ana.must("GET", "/docs/openapi.json")
        found = {
            name: schema["examples"]
            for name, schema in document["components"]["schemas"].items()
            if "examples" in schema
        }
        assert len(found) >= 3
        example = next(examples[0] for name, examples in found.items() if name.endswith("NewChannel"))
        made = await ana.must("POST", CHANNELS, example)
        path = f"{CHANNELS}/{made['id']}"
        example = next(examples[0] for name, examples in found.items() if name.endswith("ChangedChannel"))
        await ana.must("PUT", path, example)
        example = next(examples[0] for name, examples in found.items() if name.endswith("NewIdentity"))
        (person,) = (await ana.must("GET", "/api/v1/users"))["users"]
        await ana.must("POST", f"{path}/identities", {**example, "user_id": person["id"]})

    with_console(check)


@EMBEDDED
def test_channel_is_tried_out_and_says_why_not_in_the_consoles_words(console_settings: Settings) -> None:
    async def check(world: World) -> None:
        ana = world.admin
        made = {kind: await world.channel(kind) for kind in ("telegram", "slack_app", "webhook", "email")}
        for kind, channel in made.items():
            path = f"{CHANNELS}/{channel['id']}"
            assert await ana.must("POST", f"{path}/test") == {"ok": True, "error": None}, kind
            assert (await ana.must("GET", path))["last_test_ok"] is True
        received = [await world.next() for _ in range(4)]
        connected = received[0].json
        assert received[0].path.endswith("/setWebhook")
        assert connected["url"] == made["telegram"]["callback_url"]
        assert connected["allowed_updates"] == ["callback_query"]
        assert len(connected["secret_token"]) >= 32
        assert received[3].json["kind"] == "test"
        assert "test" in (await world.mail.next())[1]["Subject"].lower()
        path = f"{CHANNELS}/{made['slack_app']['id']}"
        for reply, text in (
            (said({"ok": False, "error": "invalid_auth"}), "Slack does not take the bot token"),
            (said({"ok": False, "error": "canary"}), "Slack did not take the message"),
            (said({"error": "canary"}, status=404), "the answer was 404"),
        ):
            world.statuses["/slack/"] = reply
            answer = await ana.post(f"{path}/test")
            assert answer.json() == {"ok": False, "error": text}
        assert (await ana.must("GET", path))["last_test_ok"] is False
        for _ in range(3):
            await ana.must("POST", f"{path}/test")
        refused = await ana.post(f"{path}/test")
        assert (refused.status_code, int(refused.headers["retry-after"]) > 0) == (429, True)

    with_world(console_settings, check)


@EMBEDDED
def test_channel_on_a_network_that_nobody_named_is_not_reached(console_settings: Settings) -> None:
    async def check(world: World) -> None:
        hook = await world.channel("webhook")
        tried = await world.admin.must("POST", f"{CHANNELS}/{hook['id']}/test")
        assert tried == {"ok": False, "error": "the host has an address that is not public"}
        mail = await world.channel("email")
        assert (await world.admin.must("POST", f"{CHANNELS}/{mail['id']}/test"))["error"] == tried["error"]
        await ask(await world.console.agent())
        assert (await world.deliveries(hook))[0]["error"] == tried["error"]
        assert world.chats.requests.empty()
        assert world.mail.messages.empty()

    with_world(console_settings, check, outbound_networks=())


@EMBEDDED
def test_console_without_https_sends_no_buttons_to_telegram(console_settings: Settings) -> None:
    async def check(world: World) -> None:
        channel = await world.channel("telegram")
        assert (await world.admin.must("POST", f"{CHANNELS}/{channel['id']}/test"))["ok"]
        assert (await world.next()).path.endswith("/sendMessage")
        await ask(await world.console.agent())
        assert "reply_markup" not in (await world.next()).json

    with_world(console_settings, check, base_url="http://console.test")


@pytest.mark.security
def test_no_secret_leaves_by_any_way(console_settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """
    Secrets of channels and of arguments, in logs, answers, the feed, the administrators' log and in messages.
    """

    async def check(world: World) -> None:
        caplog.set_level(logging.DEBUG, "edictum_console")
        caplog.set_level(logging.INFO)
        ana, agent = world.admin, await world.console.agent()
        world.statuses["/hook/"] = said({"canary": 1}, status=500, X_Canary="canary")
        made = [await world.channel(kind) for kind in ("telegram", "slack_app", "slack", "discord", "webhook", "email")]
        texts: list[str] = []
        for channel in made:
            path = f"{CHANNELS}/{channel['id']}"
            texts.append((await ana.post(f"{path}/test")).text)
        approval = await ask(agent, tool_args={"password": "canary-argument", "note": HIDDEN}, message=HIDDEN)
        await decide(ana, approval, reason="because")
        await world.deliver()
        for channel in made:
            path = f"{CHANNELS}/{channel['id']}"
            for shown in (path, f"{path}/deliveries", f"{path}/identities"):
                texts.append((await ana.get(shown)).text)
        texts += [(await ana.get(path)).text for path in (CHANNELS, "/api/v1/health/details", "/metrics")]
        for table in ("feed", "notification_channels", "notification_deliveries", "approval_action_tokens"):
            texts.append(repr(await world.console.database.fetch(f"SELECT * FROM {table}")))
        texts.append(repr(await world.console.database.fetch("SELECT * FROM admin_audit WHERE action LIKE 'channel%'")))
        texts.append(caplog.text)
        while not world.chats.requests.empty():
            texts.append(world.chats.requests.get_nowait().body.decode())
        while not world.mail.messages.empty():
            texts.append(world.mail.messages.get_nowait()[1].as_string())
        assert len(texts) > 40
        for text in texts:
            assert "canary" not in text, text

    with_world(console_settings, check)


def test_tenants_are_told_of_their_own_requests_only(console_settings: Settings) -> None:
    async def check(world: World) -> None:
        eve = await second_tenant(world.console)
        await eve.must("POST", CHANNELS, {"name": "theirs", "type": "webhook", "config": world.config("webhook")})
        mine = await world.channel("webhook", {"url": f"{world.chats.address}/mine"})
        await ask(await world.console.agent())
        assert (await world.next()).path == "/mine"
        assert len(await world.deliveries(mine)) == 1
        assert world.chats.requests.empty()

    with_world(console_settings, check)
