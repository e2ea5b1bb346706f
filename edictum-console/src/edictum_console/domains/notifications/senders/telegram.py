"""
Messages in Telegram, with buttons.
"""

from __future__ import annotations

from html import escape
from typing import Any

from edictum_console.domains.notifications.configs import TelegramConfig
from edictum_console.domains.notifications.senders.parts import Message, fitted, number_of, post_json
from edictum_console.outbound.http import Outbound

_LONGEST_FACT = 140  # of all of them, with the blocks, Telegram takes 4096 characters
_LONGEST_BLOCK = 1600  # what counts for Telegram is the text as it is seen


async def send(outbound: Outbound, base: str, config: TelegramConfig, message: Message) -> str:
    """
    Send a message, or change one, and return its number.
    """
    body: dict[str, Any] = {
        "chat_id": config.chat_id,
        "text": text(message),
        "parse_mode": "HTML",
        "link_preview_options": {"is_disabled": True},
    }
    if message.buttons is not None:
        row = [
            {"text": "Approve", "callback_data": message.buttons.approve},
            {"text": "Deny", "callback_data": message.buttons.deny},
        ]
        body["reply_markup"] = {"inline_keyboard": [row]}
    if message.edits is None:
        answer = await post_json(outbound, f"{base}/bot{config.bot_token}/sendMessage", body)
        return number_of(answer, "result", "message_id")
    body["message_id"] = int(message.edits)
    await post_json(outbound, f"{base}/bot{config.bot_token}/editMessageText", body)
    return message.edits


async def connect(outbound: Outbound, base: str, config: TelegramConfig, callback_url: str, secret: str) -> None:
    """
    Tell Telegram where presses of buttons are to be sent, and what proves that they come from there.
    """
    body = {"url": callback_url, "secret_token": secret, "allowed_updates": ["callback_query"]}
    await post_json(outbound, f"{base}/bot{config.bot_token}/setWebhook", body)


def text(message: Message) -> str:
    """
    Write a notice in Telegram's HTML.
    """
    notice = message.notice
    lines = [f"<b>{escape(notice.title)}</b>"]
    lines += [f"{name}: {fitted(value, _LONGEST_FACT, escape)}" for name, value in notice.facts]
    lines += [
        f"<pre>{fitted(block, 5 * _LONGEST_BLOCK, escape)}</pre>"
        for block in (notice.message, notice.arguments)
        if block
    ]
    return "\n".join([*lines, escape(message.link)])
