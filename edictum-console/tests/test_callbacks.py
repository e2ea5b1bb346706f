"""
Deciding by buttons in chats: only the provider's own calls, only once, and only by those who may.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import attrs
import httpx
import pytest
from channels import CHANNELS, SIGNING_SECRET, World, with_world
from edictum_console.security.actor import Role
from edictum_console.settings import Settings
from providers import Received
from test_approvals import ask, end
from test_tenants import second_tenant

pytestmark = pytest.mark.security

REFUSED = (403, "callback_refused")
NOT_KNOWN = "Refused: the console does not know who you are; an administrator can say so."


@attrs.define
class Telegram:
    """
    Telegram, as it calls the console: with the secret that the console gave it.
    """

    world: World
    channel: Any
    secret: str
    updates: int = 100

    @classmethod
    async def connected(cls, world: World) -> Telegram:
        """
        Add a channel and connect its bot.
        """
        channel = await world.channel("telegram")
        await world.admin.must("POST", f"{CHANNELS}/{channel['id']}/test")
        secret = (await world.next()).json["secret_token"]
        await world.next()
        return cls(world, channel, secret)

    async def asked(self, **others: Any) -> tuple[Any, str, str]:
        """
        Let an agent ask, and return the request and what its buttons hold.
        """
        approval = await ask(await self.world.console.agent(), **others)
        received = await self.world.next()
        while not received.path.endswith("/sendMessage"):  # but one that was changed meanwhile
            received = await self.world.next()
        row = received.json["reply_markup"]["inline_keyboard"][0]
        return approval, row[0]["callback_data"], row[1]["callback_data"]

    async def press(self, token: str, user: int = 5, **others: Any) -> httpx.Response:
        """
        Tell of a press.
        """
        self.updates += 1
        chat = others.pop("chat", {"id": -100200, "type": "group"})
        person = {"id": user, "is_bot": False, "first_name": "Ana", "username": "ana@example.com"}
        query = {"id": "query-1", "from": person, "message": {"message_id": 7, "chat": chat}, "data": token}
        update = {"update_id": others.pop("update_id", self.updates), "callback_query": query}
        secret = others.pop("secret", self.secret)
        path = f"/api/v1/telegram/webhook/{others.pop('channel_id', self.channel['id'])}"
        return await self.world.console.anonymous.post(
            path, update, headers={"X-Telegram-Bot-Api-Secret-Token": secret}
        )


def signed(body: bytes, secret: str = SIGNING_SECRET, moment: int | None = None) -> dict[str, str]:
    """
    The headers with which Slack sends something.
    """
    said = str(int(time.time()) if moment is None else moment)
    text = b"v0:" + said.encode() + b":" + body
    signature = "v0=" + hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
    form = "application/x-www-form-urlencoded"
    return {"X-Slack-Request-Timestamp": said, "X-Slack-Signature": signature, "Content-Type": form}


def pressed(token: str, user: str = "U5", answer_to: str | None = None) -> bytes:
    """
    What Slack sends when somebody presses a button.
    """
    action = {"action_id": "edictum_approve", "type": "button", "value": token, "action_ts": str(time.time_ns())}
    person = {"id": user, "username": "ana@example.com", "name": "ana@example.com"}
    payload = {"type": "block_actions", "user": person, "actions": [action], "response_url": answer_to}
    return urlencode({"payload": json.dumps(payload)}).encode()


async def call_slack(world: World, channel: Any, body: bytes, headers: dict[str, str]) -> httpx.Response:
    path = f"/api/v1/slack/interactions/{channel['id']}"
    return await world.console.anonymous.send("POST", path, content=body, headers=headers)


async def slack_asked(world: World, **others: Any) -> tuple[Any, str, str]:
    """
    Let an agent ask, and return the request and what its buttons in Slack hold.
    """
    approval = await ask(await world.console.agent(), **others)
    received: Received = await world.next()
    while not received.path.endswith("/chat.postMessage"):
        received = await world.next()
    buttons = received.json["blocks"][-1]["elements"]
    return approval, buttons[0]["value"], buttons[1]["value"]


async def state(world: World, approval: Any) -> tuple[str, str | None, str | None]:
    shown = await world.admin.must("GET", f"/api/v1/approvals/{approval['id']}")
    return shown["status"], shown["decided_by"], shown["decided_via"]


async def person_id(world: World, email: str) -> str:
    users = (await world.admin.must("GET", "/api/v1/users"))["users"]
    (found,) = [user["id"] for user in users if user["email"] == email]
    return str(found)


async def identify(world: World, channel: Any, external: str, email: str) -> None:
    body = {"external_user_id": external, "user_id": await person_id(world, email)}
    await world.admin.must("POST", f"{CHANNELS}/{channel['id']}/identities", body)


def text_of(answer: httpx.Response) -> tuple[str, bool]:
    """
    What Telegram is to show, and whether as an alert.
    """
    shown = answer.json()
    assert (answer.status_code, shown["method"]) == (200, "answerCallbackQuery"), answer.text
    assert shown["callback_query_id"] == "query-1"
    return shown["text"], shown["show_alert"]


def test_press_in_telegram_decides_once_and_changes_the_message(console_settings: Settings) -> None:
    async def check(world: World) -> None:
        telegram = await Telegram.connected(world)
        approval, approve, deny = await telegram.asked()
        assert len(approve) <= 64
        assert approval["id"].replace("-", "")[:8] not in approve
        rows = await world.console.database.fetch("SELECT * FROM approval_action_tokens")
        assert len(rows) == 2
        assert approve not in repr(rows)
        await world.deliver()
        assert text_of(await telegram.press(approve)) == ("Approved.", False)
        assert await state(world, approval) == ("approved", "telegram:5 (unverified)", "telegram")
        edited = (await world.next()).json
        assert "telegram:5 (unverified)" in edited["text"]
        assert "reply_markup" not in edited
        for token in (approve, deny):
            text, alert = text_of(await telegram.press(token))
            assert ("decided already" in text, alert) == (True, True)
        entry = (await world.admin.must("GET", "/api/v1/audit-log?limit=1"))["entries"][0]
        assert (entry["action"], entry["actor"]) == ("approval.approved", "telegram:5 (unverified)")
        assert entry["address"]
        other, _, deny = await telegram.asked()
        assert text_of(await telegram.press(deny)) == ("Denied.", False)
        assert (await state(world, other))[0] == "denied"

    with_world(console_settings, check)


def test_call_that_is_not_from_telegram_is_refused(console_settings: Settings) -> None:
    async def check(world: World) -> None:
        telegram = await Telegram.connected(world)
        slack = await world.channel("slack_app")
        eve = await second_tenant(world.console)
        body = {"name": "t", "type": "telegram", "config": world.config("telegram")}
        theirs = await eve.must("POST", CHANNELS, body)
        await eve.must("POST", f"{CHANNELS}/{theirs['id']}/test")
        their_secret = (await world.next()).json["secret_token"]
        await world.next()
        approval = await ask(await world.console.agent())
        told = {received.path.split("/")[1]: received for received in (await world.next(), await world.next())}
        approve = told["telegram"].json["reply_markup"]["inline_keyboard"][0][0]["callback_data"]
        missing = "018f4e5a-0000-7000-8000-000000000000"
        attempts: list[dict[str, Any]] = [
            {"secret": "wrong"},
            {"secret": ""},
            {"secret": telegram.secret[:-1]},
            {"secret": their_secret},
            {"channel_id": missing},
            {"channel_id": theirs["id"]},
            {"channel_id": slack["id"]},
            {"channel_id": slack["id"], "secret": ""},
            {"chat": {"id": -100201}},
            {"chat": {}},
        ]
        for attempt in attempts:
            answer = await telegram.press(approve, **attempt)
            assert (answer.status_code, answer.json()["code"]) == REFUSED, attempt
        # The other tenant's channel, with its own secret: the button is not one of its messages.
        text, _ = text_of(await telegram.press(approve, channel_id=theirs["id"], secret=their_secret))
        assert "decided already" in text
        disabled = {"name": "telegram", "config": world.config("telegram"), "enabled": False}
        await world.admin.must("PUT", f"{CHANNELS}/{telegram.channel['id']}", disabled)
        answer = await telegram.press(approve)
        assert (answer.status_code, answer.json()["code"]) == REFUSED
        assert (await state(world, approval))[0] == "pending"
        await world.admin.must("PUT", f"{CHANNELS}/{telegram.channel['id']}", {**disabled, "enabled": True})
        assert text_of(await telegram.press(approve)) == ("Approved.", False)

    with_world(console_settings, check)


def test_update_that_is_told_again_or_is_no_press_does_nothing(console_settings: Settings) -> None:
    async def check(world: World) -> None:
        telegram = await Telegram.connected(world)
        path = f"/api/v1/telegram/webhook/{telegram.channel['id']}"
        headers = {"X-Telegram-Bot-Api-Secret-Token": telegram.secret}
        nobody = world.console.anonymous
        for update in (
            {"update_id": 1},
            {"update_id": 2, "message": {"text": "hi"}},
            {"update_id": 3, "callback_query": 1},
        ):
            assert (await nobody.post(path, update, headers=headers)).json() == {}
        for content in (b"[]", b"{", b'{"update_id": "1"}', b"{}", b"\xff"):
            answer = await nobody.send("POST", path, content=content, headers=headers)
            assert answer.status_code == 400
        large = await nobody.send("POST", path, content=b" " * 300_000, headers=headers)
        assert large.status_code == 413
        _, approve, _ = await telegram.asked()
        for token in ("", "x" * 22, approve + "x", approve[:-1] + ("A" if approve[-1] != "A" else "B"), "' OR 1=1 --"):
            answer = await telegram.press(token)
            assert answer.status_code == 200
            assert "text" not in answer.json() or "decided already" in answer.json()["text"]
        tries = await asyncio.gather(*(telegram.press(approve, update_id=77) for _ in range(5)))
        assert sorted(answer.json().get("text", "") for answer in tries) == ["", "", "", "", "Approved."]

    with_world(console_settings, check)


def test_button_of_a_request_that_is_over_decides_nothing(console_settings: Settings) -> None:
    async def check(world: World) -> None:
        telegram = await Telegram.connected(world)
        approval, approve, _ = await telegram.asked()
        await end(world.console, approval)  # the button's own end is later
        text, alert = text_of(await telegram.press(approve))
        assert ("its time is over" in text, alert) == (True, True)
        assert (await state(world, approval))[0] == "timeout"
        other, approve, _ = await telegram.asked()
        past = "UPDATE approval_action_tokens SET expires_at = created_at WHERE approval_id = {}"
        await world.console.database.fetch(past, UUID(other["id"]))
        assert "its time is over" in text_of(await telegram.press(approve))[0]
        assert (await state(world, other))[0] == "pending"

    with_world(console_settings, check)


def test_person_who_is_known_decides_as_themselves_and_as_their_role_allows(console_settings: Settings) -> None:
    async def check(world: World) -> None:
        telegram = await Telegram.connected(world)
        for role in (Role.VIEWER, Role.OPERATOR):
            await world.console.person(role)
        await identify(world, telegram.channel, "5", "operator@example.com")
        await identify(world, telegram.channel, "6", "viewer@example.com")
        identities = f"{CHANNELS}/{telegram.channel['id']}/identities"
        again = {"external_user_id": "5", "user_id": await person_id(world, "viewer@example.com")}
        assert (await world.admin.post(identities, again)).json()["code"] == "identity_exists"
        nobody = {"external_user_id": "7", "user_id": telegram.channel["id"]}
        assert (await world.admin.post(identities, nobody)).status_code == 422
        approval, approve, _ = await telegram.asked()
        text, alert = text_of(await telegram.press(approve, user=6))
        assert (text, alert) == ("Refused: this needs the role operator.", True)
        assert text_of(await telegram.press(approve, user=5)) == ("Approved.", False)
        assert await state(world, approval) == ("approved", "operator@example.com", "telegram")
        # Somebody who may not sign in any more does not become somebody whom nobody knows.
        operator = await person_id(world, "operator@example.com")
        await world.admin.must("PATCH", f"/api/v1/users/{operator}", {"disabled": True})
        other, approve, _ = await telegram.asked()
        assert "may not sign in" in text_of(await telegram.press(approve, user=5))[0]
        assert (await state(world, other))[0] == "pending"
        (known,) = [
            one for one in (await world.admin.must("GET", identities))["identities"] if one["external_user_id"] == "5"
        ]
        await world.admin.must("DELETE", f"{identities}/{known['id']}")
        assert (await world.admin.send("DELETE", f"{identities}/{known['id']}")).status_code == 404
        assert text_of(await telegram.press(approve, user=5)) == ("Approved.", False)

    with_world(console_settings, check)


def test_who_is_not_known_decides_where_the_environment_lets_them(console_settings: Settings) -> None:
    async def check(world: World) -> None:
        telegram = await Telegram.connected(world)
        environment = "/api/v1/environments/production"
        policies: list[tuple[dict[str, Any], bool]] = [
            ({"protected": True}, False),
            ({"unmapped_users": "allow"}, True),
            ({"unmapped_users": "deny", "protected": False}, False),
            ({"unmapped_users": "usual"}, True),
        ]
        for change, allowed in policies:
            await world.admin.must("PATCH", environment, change)
            approval, _, deny = await telegram.asked()
            text, _ = text_of(await telegram.press(deny))
            assert text == ("Denied." if allowed else NOT_KNOWN), change
            assert ((await state(world, approval))[0] == "denied") is allowed
        await world.admin.must("PATCH", environment, {"unmapped_users": "deny"})
        await identify(world, telegram.channel, "5", "ana@example.com")
        approval, approve, _ = await telegram.asked()
        assert text_of(await telegram.press(approve)) == ("Approved.", False)
        assert (await state(world, approval))[1] == "ana@example.com"

    with_world(console_settings, check)


def test_press_in_slack_decides_once_and_tells_who_presses_in_vain(console_settings: Settings) -> None:
    async def check(world: World) -> None:
        channel = await world.channel("slack_app")
        approval, approve, deny = await slack_asked(world)
        await world.deliver()
        body = pressed(approve)
        headers = signed(body)
        answer = await call_slack(world, channel, body, headers)
        assert (answer.status_code, answer.json()) == (200, {})
        assert await state(world, approval) == ("approved", "slack:U5 (unverified)", "slack")
        assert (await world.next()).path == "/slack/chat.update"
        again = await call_slack(world, channel, body, headers)
        assert (again.status_code, again.json()["code"]) == REFUSED  # the very same call
        body = pressed(deny, answer_to=f"{world.chats.address}/reply/1")
        assert (await call_slack(world, channel, body, signed(body))).status_code == 200
        told = await world.next()
        assert (told.path, told.json["response_type"]) == ("/reply/1", "ephemeral")
        assert "decided already" in told.json["text"]
        await world.admin.must("PATCH", "/api/v1/environments/production", {"unmapped_users": "deny"})
        approval, approve, _ = await slack_asked(world)
        body = pressed(approve, answer_to=f"{world.chats.address}/reply/2")
        await call_slack(world, channel, body, signed(body))
        assert (await world.next()).json["text"] == NOT_KNOWN
        assert (await state(world, approval))[0] == "pending"
        body = pressed(approve, answer_to="http://169.254.169.254/latest")  # is not called, and nothing fails
        assert (await call_slack(world, channel, body, signed(body))).status_code == 200
        await identify(world, channel, "U5", "ana@example.com")
        body = pressed(approve)
        await call_slack(world, channel, body, signed(body))
        assert await state(world, approval) == ("approved", "ana@example.com", "slack")

    with_world(console_settings, check)


def test_call_that_is_not_from_slack_or_not_from_now_is_refused(console_settings: Settings) -> None:
    async def check(world: World) -> None:
        channel, telegram = await world.channel("slack_app"), await world.channel("telegram")
        eve = await second_tenant(world.console)
        config = {**world.config("slack_app"), "signing_secret": "their-own-secret"}
        theirs = await eve.must("POST", CHANNELS, {"name": "s", "type": "slack_app", "config": config})
        approval = await ask(await world.console.agent())
        told = {received.path.split("/")[1]: received for received in (await world.next(), await world.next())}
        approve = told["slack"].json["blocks"][-1]["elements"][0]["value"]
        body = pressed(approve)
        now = int(time.time())
        good = signed(body)
        wrong: list[tuple[Any, dict[str, str]]] = [
            (channel, signed(body, "another-secret")),
            (channel, signed(body, moment=now - 320)),
            (channel, signed(body, moment=now + 320)),
            (channel, signed(body + b" ")),
            (channel, {**good, "X-Slack-Request-Timestamp": str(now - 1)}),
            (channel, {**good, "X-Slack-Request-Timestamp": "now"}),
            (channel, {**good, "X-Slack-Signature": good["X-Slack-Signature"][3:]}),
            (channel, {name: value for name, value in good.items() if name != "X-Slack-Signature"}),
            (channel, {"Content-Type": good["Content-Type"]}),
            (theirs, good),
            (telegram, good),
            (telegram, signed(body, "")),
            ({"id": "018f4e5a-0000-7000-8000-000000000000"}, signed(body, "")),
        ]
        for where, headers in wrong:
            answer = await call_slack(world, where, body, headers)
            assert (answer.status_code, answer.json()["code"]) == REFUSED, headers
        answer = await call_slack(world, theirs, body, signed(body, "their-own-secret"))
        assert answer.status_code == 200  # of their own; the button is not in a message of theirs
        assert (await state(world, approval))[0] == "pending"
        answer = await call_slack(world, channel, body, signed(body, moment=now - 200))
        assert answer.status_code == 200
        assert (await state(world, approval))[0] == "approved"
        for odd in (b"", b"payload=", b"payload=%7B", b"other=1", b"payload=1&payload=2", b"\xff"):
            answer = await call_slack(world, channel, odd, signed(odd))
            assert answer.status_code == 400, odd
        for payload in ("[]", '{"type": "view_submission"}', '{"type": "block_actions", "actions": []}'):
            plain = urlencode({"payload": payload}).encode()
            assert (await call_slack(world, channel, plain, signed(plain))).json() == {}

    with_world(console_settings, check)


@pytest.mark.parametrize("console_settings", ["embedded"], indirect=True)
def test_callbacks_are_limited_by_address(console_settings: Settings) -> None:
    from edictum_console.domains.callbacks.controllers import CALLS

    async def check(world: World) -> None:
        limits = world.console.app.state.limits
        assert not await limits.take(CALLS, "address:127.0.0.1", CALLS.count)
        path = "/api/v1/telegram/webhook/018f4e5a-0000-7000-8000-000000000000"
        assert (await world.console.anonymous.post(path)).status_code == 429

    with_world(console_settings, check)
