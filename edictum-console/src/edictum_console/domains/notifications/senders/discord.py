"""
Messages in Discord.
"""

from __future__ import annotations

import re
from typing import Any

from edictum_console.domains.notifications.configs import DiscordConfig
from edictum_console.domains.notifications.senders.parts import Message, fitted, number_of, post_json
from edictum_console.outbound.http import Outbound

_MARKS = re.compile(r"([\\`*_\[\]()<>#|~])")
_LONGEST_FACT = 130  # of all of them, with the blocks, Discord takes 4096 characters
_LONGEST_ARGUMENTS = 1550
_LONGEST_MESSAGE = 1050


async def send(outbound: Outbound, base: str, config: DiscordConfig, message: Message) -> str:
    """
    Send a message, or change one, and return its number.
    """
    body: dict[str, Any] = {"content": "", "embeds": [embed(message)], "allowed_mentions": {"parse": []}}
    url = f"{base}/channels/{config.discord_channel_id}/messages"
    headers = {"Authorization": f"Bot {config.bot_token}"}
    if message.edits is not None:
        await post_json(outbound, f"{url}/{message.edits}", body, headers, "PATCH")
        return message.edits
    return number_of(await post_json(outbound, url, body, headers), "id")


def embed(message: Message) -> dict[str, str]:
    """
    Write a notice in what Discord shows as a card.
    """
    notice = message.notice
    lines = [f"{name}: {fitted(value, _LONGEST_FACT, _escaped)}" for name, value in notice.facts]
    lines.append(f"```\n{fitted(notice.message, _LONGEST_MESSAGE, _in_block)}\n```")
    if notice.arguments:
        lines.append(f"```\n{fitted(notice.arguments, _LONGEST_ARGUMENTS, _in_block)}\n```")
    return {"title": notice.title, "description": "\n".join(lines)[:4096], "url": message.link}


def _escaped(text: str) -> str:
    return _MARKS.sub(r"\\\1", text)


def _in_block(text: str) -> str:
    return text.replace("`", "\N{MODIFIER LETTER GRAVE ACCENT}")
