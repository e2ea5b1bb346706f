"""
Identifiers: random enough not to be guessed, and rising with time, which keeps indexes small.
"""

from __future__ import annotations

import secrets
import time
from uuid import UUID

_RANDOM_BITS = 74
_MILLISECONDS = (1 << 48) - 1


def new_id() -> UUID:
    """
    Make a UUID of version 7 (RFC 9562): milliseconds since 1970, then random bits.
    """
    random = secrets.randbits(_RANDOM_BITS)
    value = (time.time_ns() // 1_000_000 & _MILLISECONDS) << 80
    value |= 0x7 << 76 | (random >> 62) << 64 | 0b10 << 62 | random & ((1 << 62) - 1)
    return UUID(int=value)
