"""
Messages in Slack: by an app, with buttons, or by an incoming webhook.
"""

from __future__ import annotations

from typing import Any

from edictum_console.domains.notifications.configs import SlackAppConfig, SlackConfig
from edictum_console.domains.notifications.senders.parts import Message, fitted, post_json, text_of
from edictum_console.outbound.errors import OutboundError
from edictum_console.outbound.http import Outbound

APPROVE, DENY = "edictum_approve", "edictum_deny"

_LONGEST_FACT = 300
_LONGEST_BLOCK = 2900  # Slack takes 3000 characters in one block

# What Slack says and whoever runs the channel can mend; nothing else of its answers is shown.
_REASONS = {
    "account_inactive": "the bot's account was removed",
    "channel_not_found": "Slack knows no such channel, or the bot is not in it",
    "invalid_auth": "Slack does not take the bot token",
    "is_archived": "the channel is archived",
    "missing_scope": "the bot may not write; it needs the scope chat:write",
    "not_authed": "Slack does not take the bot token",
    "not_in_channel": "the bot is not in the channel",
    "token_revoked": "the bot token was revoked",
}


async def send_by_app(outbound: Outbound, base: str, config: SlackAppConfig, message: Message) -> str:
    """
    Send a message, or change one, and return its channel and time, which name it.
    """
    body: dict[str, Any] = {"channel": config.slack_channel, **content(message)}
    method = "chat.postMessage"
    if message.edits is not None:
        body["channel"], _, body["ts"] = message.edits.partition(":")
        method = "chat.update"
    headers = {"Authorization": f"Bearer {config.bot_token}"}
    answer = await post_json(outbound, f"{base}/{method}", body, headers)
    if not isinstance(answer, dict) or answer.get("ok") is not True:
        error = answer.get("error") if isinstance(answer, dict) else None
        raise OutboundError(_REASONS.get(str(error), "Slack did not take the message"))
    return f"{text_of(answer, 'channel')}:{text_of(answer, 'ts')}"


async def send_by_webhook(outbound: Outbound, config: SlackConfig, message: Message) -> None:
    """
    Send a message.
    """
    await post_json(outbound, config.webhook_url, content(message))


async def reply(outbound: Outbound, response_url: str, text: str) -> None:
    """
    Tell whoever pressed a button, and nobody else, why nothing came of it.
    """
    body = {"response_type": "ephemeral", "replace_original": False, "text": escape(text)}
    await post_json(outbound, response_url, body)


def content(message: Message) -> dict[str, Any]:
    """
    Write a notice in Slack's blocks, and in one line for what cannot show them.
    """
    notice = message.notice
    facts = "\n".join(f"{name}: {fitted(value, _LONGEST_FACT, escape)}" for name, value in notice.facts)
    sections = [f"*{escape(notice.title)}*\n{facts}"[:_LONGEST_BLOCK]]
    sections += [
        f"```{fitted(block, _LONGEST_BLOCK - 6, escape)}```" for block in (notice.message, notice.arguments) if block
    ]
    sections.append(f"<{message.link}|Open in the console>")
    blocks: list[dict[str, Any]] = [
        {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}} for text in sections
    ]
    if message.buttons is not None:
        pressed = (
            ("Approve", APPROVE, "primary", message.buttons.approve),
            ("Deny", DENY, "danger", message.buttons.deny),
        )
        elements = [
            {
                "type": "button",
                "text": {"type": "plain_text", "text": label},
                "action_id": action,
                "style": style,
                "value": value,
            }
            for label, action, style, value in pressed
        ]
        blocks.append({"type": "actions", "elements": elements})
    return {"text": escape(f"{notice.title}: {notice.facts[0][1]}"), "blocks": blocks, "unfurl_links": False}


def escape(text: str) -> str:
    """
    Write a text so that Slack takes it for no mention, link or end of a block.
    """
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace("`", "\N{MODIFIER LETTER GRAVE ACCENT}")
