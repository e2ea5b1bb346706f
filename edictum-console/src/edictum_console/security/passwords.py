"""
Slow hashes, for passwords and API keys.

bcrypt stops at 72 bytes, so it gets the SHA-256 of the text.  It runs in a thread, two at a time: one check costs a
quarter of a second of a core, and everybody else is served meanwhile.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib

import bcrypt

_COST = 12
_AT_ONCE = 2


class Hasher:
    """
    Makes and checks slow hashes.
    """

    def __init__(self, cost: int = _COST) -> None:
        self._cost = cost
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._dummy = bcrypt.hashpw(_digest("nobody's"), bcrypt.gensalt(cost))

    async def hash(self, text: str) -> str:
        """
        Hash a secret, to be stored.
        """
        async with self._gate:
            made = await asyncio.to_thread(bcrypt.hashpw, _digest(text), bcrypt.gensalt(self._cost))
        return made.decode()

    async def matches(self, text: str, stored: str | None) -> bool:
        """
        Say whether a secret is the one that was stored.

        Args:
            text: What was given.
            stored: Its hash; None if there is nobody to compare with, which takes as long.
        """
        against = self._dummy if stored is None else stored.encode()
        async with self._gate:
            same = await asyncio.to_thread(bcrypt.checkpw, _digest(text), against)
        return same and stored is not None


def _digest(text: str) -> bytes:
    return base64.b64encode(hashlib.sha256(text.encode()).digest())
