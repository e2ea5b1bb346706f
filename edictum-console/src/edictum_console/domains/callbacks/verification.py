"""
Whether a request comes from whom it says: one secret of one channel, compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import datetime, timedelta

SKEW = timedelta(seconds=300)

_MOMENT = re.compile(r"[0-9]{1,12}")


def is_from_telegram(secret: str | None, shown: str | None) -> bool:
    """
    Whether a request shows the secret that Telegram was told when the bot was connected.
    """
    same = hmac.compare_digest((shown or "").encode(), (secret or "").encode())
    return same and bool(secret)


def is_from_slack(secret: str | None, moment: str | None, signature: str | None, body: bytes, now: datetime) -> bool:
    """
    Whether a request is signed with the secret of a Slack app, and just now.

    Args:
        secret: The secret; None where there is none, which costs as much time.
        moment: The time that the request says, in seconds.
        signature: What it shows.
        body: What is signed, together with the time.
        now: The time.
    """
    said = moment if moment is not None and _MOMENT.fullmatch(moment) else "0"
    text = b"v0:" + said.encode() + b":" + body
    expected = "v0=" + hmac.new((secret or "").encode(), text, hashlib.sha256).hexdigest()
    same = hmac.compare_digest((signature or "").encode(), expected.encode())
    return same and bool(secret) and abs(now.timestamp() - int(said)) <= SKEW.total_seconds()
