"""
A console with channels of every type, all of which lead to servers on this machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from typing import Any, TypeAlias

import attrs
from consoles import Console, Session, running
from edictum_console.db.scope import Scopes
from edictum_console.domains.notifications.senders.parts import Providers
from edictum_console.settings import Settings
from providers import HttpServer, MailBox, Received, Reply, http_server, mail_server, said

CHANNELS = "/api/v1/notifications/channels"

BOT_TOKEN = "123456:canary-telegram-token"
SLACK_TOKEN = "xoxb-canary-slack-token"
SIGNING_SECRET = "canary-signing-secret"
DISCORD_TOKEN = "canary-discord-token"
WEBHOOK_SECRET = "canary-webhook-secret"
MAIL_PASSWORD = "canary-mail-password"
SECRETS = ("canary", BOT_TOKEN, SLACK_TOKEN, SIGNING_SECRET, DISCORD_TOKEN, WEBHOOK_SECRET, MAIL_PASSWORD)

WEBHOOK: dict[str, Any] = {
    "name": "hook",
    "type": "webhook",
    "config": {"url": "https://hooks.example.com/canary-path", "secret": WEBHOOK_SECRET},
}


@attrs.define
class World:
    """
    A console, and where its messages go.
    """

    console: Console
    chats: HttpServer
    mail: MailBox
    statuses: dict[str, Reply]
    admin: Session

    @property
    def scopes(self) -> Scopes:
        """
        Scopes of tenants, to do what services do.
        """

        async def wake(tenant: object) -> None:
            pass

        return Scopes(self.console.database, wake)

    def config(self, kind: str) -> dict[str, Any]:
        """
        How a channel of a type is reached.
        """
        found: dict[str, dict[str, Any]] = {
            "telegram": {"bot_token": BOT_TOKEN, "chat_id": "-100200"},
            "slack_app": {"bot_token": SLACK_TOKEN, "signing_secret": SIGNING_SECRET, "slack_channel": "#alerts"},
            "slack": {"webhook_url": f"{self.chats.address}/incoming/canary-path"},
            "discord": {"bot_token": DISCORD_TOKEN, "discord_channel_id": "55"},
            "webhook": {"url": f"{self.chats.address}/hook/canary-path", "secret": WEBHOOK_SECRET},
            "email": {
                "smtp_host": "127.0.0.1",
                "smtp_port": self.mail.port,
                "tls": "none",
                "from_address": "console@example.com",
                "to_addresses": ["ops@example.com"],
            },
        }
        return found[kind]

    async def channel(self, kind: str, config: dict[str, Any] | None = None, **others: Any) -> Any:
        """
        Add a channel.
        """
        body = {"name": kind, "type": kind, "config": {**self.config(kind), **(config or {})}, **others}
        return await self.admin.must("POST", CHANNELS, body)

    async def next(self) -> Received:
        """
        The next request that a provider or a program got.
        """
        return await self.chats.next()

    async def deliver(self) -> int:
        """
        Send what is due, now.
        """
        (worker,) = [worker for worker in self.console.app.state.workers if worker.name == "deliveries"]
        return int(await worker.work())

    async def deliveries(self, channel: Any) -> list[dict[str, Any]]:
        """
        What became of a channel's messages, oldest first.
        """
        await self.deliver()
        shown = await self.admin.must("GET", f"{CHANNELS}/{channel['id']}/deliveries")
        return list(reversed(shown["deliveries"]))


Check: TypeAlias = Callable[[World], Awaitable[Any]]


def with_world(settings: Settings, check: Check, **changes: Any) -> None:
    """
    Run an async function with all that.
    """
    statuses: dict[str, Reply] = {}

    def answer(received: Received) -> Reply:
        for part, reply in statuses.items():
            if part in received.path:
                return reply
        if received.path.startswith("/telegram/"):
            return said({"ok": True, "result": {"message_id": 7}})
        if received.path.startswith("/slack/"):
            return said({"ok": True, "channel": "C77", "ts": "17.42"})
        return said({"id": "99"})

    async def main() -> None:
        async with http_server(answer) as chats, mail_server() as mail:
            places = Providers(f"{chats.address}/telegram", f"{chats.address}/slack", f"{chats.address}/discord")
            known = {"base_url": "https://console.test", "outbound_networks": (ip_network("127.0.0.1/32"),)}
            chosen = attrs.evolve(settings, **{**known, "outbound_plaintext": True, **changes})
            async with running(chosen, providers=places) as console:
                world = World(console, chats, mail, statuses, await console.sign_in())
                # What fails is raised outside, where no group of the application's wraps it.
                (found,) = await asyncio.gather(check(world), return_exceptions=True)
            if isinstance(found, BaseException):
                raise found

    asyncio.run(main())
