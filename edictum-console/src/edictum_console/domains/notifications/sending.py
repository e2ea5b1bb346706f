"""
Handing a message over to a channel, whatever its type.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import attrs

from edictum_console.domains.notifications.configs import (
    ChannelType,
    Config,
    DiscordConfig,
    EmailConfig,
    SlackAppConfig,
    SlackConfig,
    TelegramConfig,
    WebhookConfig,
    read_config,
)
from edictum_console.domains.notifications.senders import discord, email, slack, telegram, webhook
from edictum_console.domains.notifications.senders.parts import Message, Providers
from edictum_console.outbound.http import Outbound
from edictum_console.security.sealing import Sealer

_PURPOSE = "notification channel"


@attrs.frozen
class OpenChannel:
    """
    A channel with its secrets.

    Attributes:
        id: Its id.
        type: Where it leads.
        config: How it is reached.
        webhook_secret: What proves that a press of a button comes from Telegram; None for other channels.
    """

    id: UUID
    type: ChannelType
    config: Config = attrs.field(repr=False)
    webhook_secret: str | None = attrs.field(default=None, repr=False)


@attrs.frozen
class Messenger:
    """
    Sends messages.

    Attributes:
        outbound: The way out.
        providers: Where providers of chats take messages.
        sealer: Opens what channels are reached by.
        base_url: Where people reach the console.
        secure: Whether that is by HTTPS.
    """

    outbound: Outbound
    providers: Providers
    sealer: Sealer
    base_url: str
    secure: bool

    def seal(self, channel_id: UUID, values: Mapping[str, Any]) -> str:
        """
        Seal how a channel is reached.
        """
        return self.sealer.seal(json.dumps(dict(values)).encode(), _PURPOSE, channel_id)

    def unseal(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """
        Open how a channel is reached.

        Raises:
            SealBrokenError: It was sealed with another key.
        """
        values: dict[str, Any] = json.loads(self.sealer.open(row["config_sealed"], _PURPOSE, row["id"]))
        return values

    def open(self, row: Mapping[str, Any]) -> OpenChannel:
        """
        Make of a row what messages can be sent to.

        Raises:
            SealBrokenError: It was sealed with another key.
        """
        values = self.unseal(row)
        secret = values.pop("webhook_secret", None)
        kind = ChannelType(row["channel_type"])
        return OpenChannel(row["id"], kind, read_config(kind, values), secret)

    def link(self, approval_id: str) -> str:
        """
        Where a request is shown.
        """
        return f"{self.base_url}/approvals/{approval_id}"

    def callback_url(self, kind: ChannelType, channel_id: UUID) -> str | None:
        """
        Where presses of buttons in a channel are sent; None where there are none.
        """
        if kind is ChannelType.TELEGRAM:
            return f"{self.base_url}/api/v1/telegram/webhook/{channel_id}"
        if kind is ChannelType.SLACK_APP:
            return f"{self.base_url}/api/v1/slack/interactions/{channel_id}"
        return None

    async def connect(self, channel: OpenChannel) -> None:
        """
        Make buttons work, where the provider has to be told of the console.

        Raises:
            OutboundError: It could not be told.
        """
        url = self.callback_url(channel.type, channel.id)
        if isinstance(channel.config, TelegramConfig) and self.secure and url and channel.webhook_secret:
            place = self.providers.telegram
            await telegram.connect(self.outbound, place, channel.config, url, channel.webhook_secret)

    async def send(self, channel: OpenChannel, message: Message) -> str | None:
        """
        Send a message, or change one.

        Returns:
            What the channel calls it; None where messages cannot be changed.

        Raises:
            OutboundError: It was not sent.
        """
        match channel.config:
            case TelegramConfig() as config:
                return await telegram.send(self.outbound, self.providers.telegram, config, message)
            case SlackAppConfig() as config:
                return await slack.send_by_app(self.outbound, self.providers.slack, config, message)
            case DiscordConfig() as config:
                return await discord.send(self.outbound, self.providers.discord, config, message)
            case SlackConfig() as config:
                await slack.send_by_webhook(self.outbound, config, message)
            case WebhookConfig() as config:
                await webhook.send(self.outbound, config, message)
            case EmailConfig() as config:
                await email.send(self.outbound, config, message)
        return None
