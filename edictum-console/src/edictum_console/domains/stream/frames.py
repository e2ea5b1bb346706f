"""
Writing events in the one form that all published clients read.

Lines end in a line feed, a space follows each colon, and data is one line of ASCII: some clients match the beginnings
of lines literally, and some break lines at characters that JSON may hold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

OPENING = b"retry: 2000\n: the stream is open\n\n"


def frame(event: str, data: Mapping[str, Any], seq: int | None) -> bytes:
    """
    Write an event.

    Args:
        event: What it is called.
        data: What it says.
        seq: The number in the tenant's feed up to which whoever reads it has seen everything; None where the
            event says nothing about that.
    """
    text = json.dumps(dict(data), separators=(",", ":"))
    number = "" if seq is None else f"id: {seq}\n"
    return f"{number}event: {event}\ndata: {text}\n\n".encode("ascii")


def heartbeat(seconds: int) -> bytes:
    """
    Write a comment, so that nobody in between takes the stream for dead.
    """
    return b": hb %d\n\n" % seconds
