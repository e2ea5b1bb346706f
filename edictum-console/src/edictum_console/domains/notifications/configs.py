"""
How each type of channel is reached: what has to be known, and which of it is secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, TypeAlias

import attrs
from msgspec import Meta

from edictum_console.errors import FieldProblem, InvalidError, unfit
from edictum_console.http.bodies import structure
from edictum_console.outbound.errors import RefusedTargetError
from edictum_console.outbound.http import Outbound
from edictum_console.outbound.mail import MailServer, MailTls, check_server

MASK = "********"

# What follows the "$" is for Python, where that also matches before a line feed at the end.
_MAILBOX = r"^[A-Za-z0-9.!#%&'*+/=?^_`{|}~-]{1,64}@(?=.{1,190}$)([A-Za-z0-9-]{1,63}\.)*[A-Za-z0-9-]{1,63}$(?!\n)"

Url: TypeAlias = Annotated[str, Meta(min_length=1, max_length=2048)]
Token: TypeAlias = Annotated[str, Meta(pattern=r"^[!-~]{1,512}$(?!\n)")]
Mailbox: TypeAlias = Annotated[str, Meta(pattern=_MAILBOX)]

_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")
_HEADER_VALUE = re.compile(r"[ -~]{1,1024}")
_OWN_HEADERS = ("connection", "content-length", "content-type", "host", "te", "trailer", "transfer-encoding", "upgrade")
_MOST_HEADERS = 20


class ChannelType(StrEnum):
    """
    Where a channel leads.

    A chat with buttons (``telegram``, ``slack_app``), one without (``slack``, ``discord``), a program (``webhook``), or
    mailboxes.
    """

    TELEGRAM = "telegram"
    SLACK_APP = "slack_app"
    SLACK = "slack"
    DISCORD = "discord"
    WEBHOOK = "webhook"
    EMAIL = "email"


@attrs.frozen
class TelegramConfig:
    """
    A bot, and the chat that it writes to: its number, or the name of a public one.
    """

    bot_token: Annotated[str, Meta(pattern=r"^[0-9]{1,20}:[A-Za-z0-9_-]{1,128}$(?!\n)")]
    chat_id: Annotated[str, Meta(pattern=r"^(-?[0-9]{1,20}|@[A-Za-z0-9_]{1,64})$(?!\n)")]


@attrs.frozen
class SlackAppConfig:
    """
    An app of a Slack workspace, and the channel that it writes to.
    """

    bot_token: Token
    signing_secret: Token
    slack_channel: Annotated[str, Meta(pattern=r"^[#@]?[^\s<>&]{1,80}$(?!\n)")]


@attrs.frozen
class SlackConfig:
    """
    An incoming webhook of Slack, or of what takes the same messages.
    """

    webhook_url: Url


@attrs.frozen
class DiscordConfig:
    """
    A bot, and the channel that it writes to.
    """

    bot_token: Token
    discord_channel_id: Annotated[str, Meta(pattern=r"^[0-9]{1,20}$(?!\n)")]


@attrs.frozen
class WebhookConfig:
    """
    A program that takes JSON, the secret that requests are signed with, and headers that it wants.
    """

    url: Url
    secret: Annotated[str, Meta(pattern=r"^[!-~]{16,256}$(?!\n)")]
    headers: dict[str, str] = attrs.field(factory=dict)


@attrs.frozen
class EmailConfig:
    """
    A mail server, from whom messages come, and to whom they go.
    """

    smtp_host: Annotated[str, Meta(pattern=r"^[A-Za-z0-9.:-]{1,253}$(?!\n)")]
    from_address: Mailbox
    to_addresses: Annotated[list[Mailbox], Meta(min_length=1, max_length=20)]
    smtp_port: Annotated[int, Meta(ge=1, le=65_535)] = 587
    tls: MailTls = MailTls.STARTTLS
    smtp_user: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    smtp_password: Annotated[str, Meta(min_length=1, max_length=1024)] | None = None

    @property
    def server(self) -> MailServer:
        """
        The mail server.
        """
        return MailServer(self.smtp_host, self.smtp_port, self.tls, self.smtp_user, self.smtp_password)


Config: TypeAlias = TelegramConfig | SlackAppConfig | SlackConfig | DiscordConfig | WebhookConfig | EmailConfig

_CLASSES: Mapping[ChannelType, type[Any]] = {
    ChannelType.TELEGRAM: TelegramConfig,
    ChannelType.SLACK_APP: SlackAppConfig,
    ChannelType.SLACK: SlackConfig,
    ChannelType.DISCORD: DiscordConfig,
    ChannelType.WEBHOOK: WebhookConfig,
    ChannelType.EMAIL: EmailConfig,
}
_SECRETS: Mapping[ChannelType, frozenset[str]] = {
    ChannelType.TELEGRAM: frozenset({"bot_token"}),
    ChannelType.SLACK_APP: frozenset({"bot_token", "signing_secret"}),
    ChannelType.SLACK: frozenset({"webhook_url"}),
    ChannelType.DISCORD: frozenset({"bot_token"}),
    ChannelType.WEBHOOK: frozenset({"url", "secret", "headers"}),
    ChannelType.EMAIL: frozenset({"smtp_user", "smtp_password"}),
}

# Secrets that are sent to a place must be named again when the place changes, or whoever changes it would be told them.
_PLACES: Mapping[ChannelType, tuple[frozenset[str], frozenset[str]]] = {
    ChannelType.WEBHOOK: (frozenset({"url"}), frozenset({"headers"})),
    ChannelType.EMAIL: (frozenset({"smtp_host", "smtp_port", "tls"}), frozenset({"smtp_user", "smtp_password"})),
}


def read_config(kind: ChannelType, values: Mapping[str, Any]) -> Config:
    """
    Read how a channel is reached.

    Raises:
        InvalidError: Something does not fit; says where, and not what it was.
    """
    try:
        config: Config = structure(dict(values), _CLASSES[kind])
    except InvalidError as error:
        problems = [FieldProblem(("config", *problem.loc), problem.msg) for problem in error.errors]
        raise InvalidError(f"config.{error.detail}", problems) from None
    if isinstance(config, WebhookConfig):
        _check_headers(config.headers)
    return config


def check_config(config: Config, outbound: Outbound) -> None:
    """
    Make sure that the console would send there, as far as that can be said without asking anybody.

    Raises:
        InvalidError: It would not.
    """
    field = "config"
    try:
        match config:
            case SlackConfig():
                field = "webhook_url"
                outbound.check(config.webhook_url)
            case WebhookConfig():
                field = "url"
                outbound.check(config.url)
            case EmailConfig():
                field = "tls"
                check_server(outbound, config.server)
            case _:
                return
    except RefusedTargetError as error:
        raise unfit(("config", field), error.text) from None


def with_kept_secrets(kind: ChannelType, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """
    Fill in the secrets that a change does not name, or names as they are shown.

    Args:
        kind: The type of the channel.
        old: How it is reached now.
        new: How it is to be reached.

    Raises:
        InvalidError: A secret would be sent to another place than it was given for.
    """
    given = {name: value for name, value in new.items() if name not in _SECRETS[kind] or not _is_masked(value)}
    kept = {name: old[name] for name in _SECRETS[kind] - given.keys() if old.get(name)}
    if kind is ChannelType.WEBHOOK and isinstance(new.get("headers"), dict):
        headers = {name: value for name, value in new["headers"].items() if value != MASK}
        before = {name: old["headers"][name] for name in new["headers"].keys() - headers if name in old["headers"]}
        given["headers"] = {**before, **headers}
        kept |= {"headers": before} if before else {}
    places, tied = _PLACES.get(kind, (frozenset(), frozenset()))
    moved = any(name in given and given[name] != old.get(name) for name in places)
    if moved and tied & kept.keys():
        name = sorted(tied & kept.keys())[0]
        raise unfit(("config", name), "must be named again, because it would be sent to another place")
    return {**kept, **given}


def masked(kind: ChannelType, values: Mapping[str, Any]) -> dict[str, Any]:
    """
    Hide the secrets of a configuration, for whoever reads it.
    """
    shown = {field.name: values.get(field.name) for field in attrs.fields(_CLASSES[kind])}
    for name in _SECRETS[kind]:
        value = shown[name]
        shown[name] = dict.fromkeys(value, MASK) if isinstance(value, dict) else MASK if value else None
    return shown


def _is_masked(value: Any) -> bool:
    return value == MASK or (isinstance(value, dict) and bool(value) and all(one == MASK for one in value.values()))


def _check_headers(headers: Mapping[str, str]) -> None:
    if len(headers) > _MOST_HEADERS:
        raise unfit(("config", "headers"), f"must be at most {_MOST_HEADERS}")
    for name, value in headers.items():
        own = name.lower() in _OWN_HEADERS or name.lower().startswith("x-edictum-")
        if own or not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise unfit(("config", "headers"), "must be headers that the console does not set itself, in plain text")
