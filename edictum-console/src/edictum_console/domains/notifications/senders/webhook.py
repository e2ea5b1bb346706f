"""
Messages to programs: JSON that is signed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time

import attrs

from edictum_console.domains.notifications.configs import WebhookConfig
from edictum_console.domains.notifications.notices import kind_of
from edictum_console.domains.notifications.senders.parts import Message
from edictum_console.outbound.http import Outbound


async def send(outbound: Outbound, config: WebhookConfig, message: Message) -> None:
    """
    Send a message.  It is signed with its time, and once more without, for receivers that know the older way.
    """
    notice = message.notice
    body = {
        "delivery_id": message.id,
        "kind": "test" if notice.status == "test" else kind_of(notice.status).value,
        "title": notice.title,
        "approval": attrs.asdict(notice),
        "link": message.link,
    }
    text = json.dumps(body, separators=(",", ":")).encode()
    moment = str(int(time.time()))
    headers = {
        **config.headers,
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "edictum-console",
        "X-Edictum-Delivery": message.id,
        "X-Edictum-Signature": f"t={moment},v1={_signature(config.secret, f'{moment}.'.encode() + text)}",
        "X-Edictum-Signature-256": f"sha256={_signature(config.secret, text)}",
    }
    await outbound.send("POST", config.url, headers, text)


def _signature(secret: str, text: bytes) -> str:
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
