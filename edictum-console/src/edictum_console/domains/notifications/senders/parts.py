"""
What all senders share.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from edictum_console.domains.notifications.configs import ChannelType
from edictum_console.domains.notifications.notices import Notice
from edictum_console.outbound.errors import OutboundError
from edictum_console.outbound.http import Outbound


@attrs.frozen
class Providers:
    """
    Where providers of chats take messages.
    """

    telegram: str = "https://api.telegram.org"
    slack: str = "https://slack.com/api"
    discord: str = "https://discord.com/api/v10"


@attrs.frozen
class Buttons:
    """
    What the two buttons of a message hold: the texts by which they are recognised when they come back.
    """

    approve: str = attrs.field(repr=False)
    deny: str = attrs.field(repr=False)


@attrs.frozen
class Message:
    """
    A message to be sent.

    Attributes:
        id: By which a receiver recognises one that it gets twice.
        notice: What it says.
        link: Where the request is shown.
        buttons: What decides it; None for no buttons.
        edits: What the channel calls the message that is to be changed; None for a new one.
    """

    id: str
    notice: Notice
    link: str
    buttons: Buttons | None = None
    edits: str | None = None


def interactive(kind: ChannelType, secure: bool) -> bool:
    """
    Whether messages to a channel have buttons; Telegram calls back by HTTPS only.
    """
    return kind is ChannelType.SLACK_APP or (kind is ChannelType.TELEGRAM and secure)


async def post_json(
    outbound: Outbound,
    url: str,
    body: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
    method: str = "POST",
) -> Any:
    """
    Send JSON and read JSON; None where the answer is none.

    Raises:
        OutboundError: It was not sent, or not taken.
    """
    sent = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "edictum-console", **(headers or {})}
    answer = await outbound.send(method, url, sent, json.dumps(body).encode())
    try:
        return json.loads(answer.body)
    except ValueError:
        return None


def text_of(found: Any, *path: str) -> str:
    """
    Read a text or number out of an answer.

    Raises:
        OutboundError: There is none, so nothing was sent that could be changed later.
    """
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, str | int) or isinstance(found, bool) or len(str(found)) > 100:
        raise OutboundError("the answer was not understood")
    return str(found)


def number_of(found: Any, *path: str) -> str:
    """
    Read a number out of an answer, which later stands in an address.

    Raises:
        OutboundError: There is none.
    """
    text = text_of(found, *path)
    if not text.isascii() or not text.isdigit():
        raise OutboundError("the answer was not understood")
    return text


def fitted(text: str, limit: int, escape: Callable[[str], str]) -> str:
    """
    Escape as much of a text as fits.
    """
    escaped = escape(text)
    if len(escaped) <= limit:
        return escaped
    shown, left = [], limit - 3
    for letter in text:
        part = escape(letter)
        if len(part) > left:
            break
        shown.append(part)
        left -= len(part)
    return "".join([*shown, "..."])
