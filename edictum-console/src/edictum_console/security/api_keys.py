"""
API keys: ``edk_<environment>_<43 characters>``, and how one is recognised.

A key is checked slowly once and remembered for a minute, as a hash that this process alone can make.  When a key ends,
the bus says so, and every replica forgets it at once.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
import string
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

import attrs

from edictum_console.errors import UnauthorizedError
from edictum_console.security.actor import KeyScope
from edictum_console.security.passwords import Hasher
from edictum_console.state.counting import counted
from edictum_console.state.ports import Limit, RateLimits, Signal

KEY_BEGINS = "edk_"

_ALPHABET = string.ascii_letters + string.digits
_RANDOM = 43  # characters of 62, which is 256 bits
_SHOWN = 11  # of them are no secret, and enough to be unique
_KEY = re.compile(r"(edk_[A-Za-z0-9][A-Za-z0-9._-]{0,127}_)([A-Za-z0-9]{43})")

_REMEMBERED_SECONDS = 60.0
_REMEMBERED_KEYS = 10_000

_TOO_MANY = "too many failed attempts; try again later"

BY_ADDRESS = Limit("key-failures-address", 30, timedelta(minutes=1))
BY_PREFIX = Limit("key-failures-prefix", 10, timedelta(minutes=1))


@attrs.frozen
class KeyRecord:
    """
    What is stored of a key.
    """

    key_id: UUID
    tenant_id: UUID
    prefix: str
    key_hash: str = attrs.field(repr=False)
    env: str
    scopes: frozenset[KeyScope]
    agent_pattern: str | None
    expires_at: datetime | None
    revoked_at: datetime | None
    signing_key_id: str | None = None

    def ended(self, now: datetime) -> bool:
        """
        Whether it is revoked or expired.
        """
        return self.revoked_at is not None or (self.expires_at is not None and self.expires_at <= now)


class KeyRecords(Protocol):
    """
    Where keys are stored.
    """

    async def find(self, prefix: str) -> KeyRecord | None:
        """
        The key with a prefix.
        """

    async def used(self, key_id: UUID) -> None:
        """
        Note that a key was used now.
        """


def new_key(env: str) -> tuple[str, str]:
    """
    Make a key.

    Returns:
        The key, which is shown once, and its prefix.
    """
    key = f"{KEY_BEGINS}{env}_{''.join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))}"
    prefix = prefix_of(key)
    if prefix is None:
        raise ValueError("the name of the environment cannot be part of a key")
    return key, prefix


def prefix_of(key: str) -> str | None:
    """
    Return the part of a key that is no secret; None if this is no key.

    The random part has no underscore, so an environment's name may have some.
    """
    match = _KEY.fullmatch(key)
    return match[1] + match[2][:_SHOWN] if match else None


class KeyVerifier:
    """
    Recognises keys.
    """

    def __init__(
        self,
        records: KeyRecords,
        hasher: Hasher,
        limits: RateLimits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._records = records
        self._hasher = hasher
        self._limits = limits
        self._clock = clock
        self._turns = asyncio.Semaphore(2)
        self._secret = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, tuple[KeyRecord, float]] = OrderedDict()
        self._generation = 0
        self.checks: Counter[str] = Counter()

    async def verify(self, key: str, address: str) -> KeyRecord:
        """
        Return what is stored of a key.

        Args:
            key: What the request showed.
            address: Where it comes from; failures are limited for each.

        Raises:
            UnauthorizedError: It is not known, or over.
            RateLimitedError: Too many failed.
        """
        digest = hmac.digest(self._secret, key.encode(), "sha256")
        record = self._remembered(digest)
        if record is not None:
            self.checks["remembered"] += 1
        else:
            # Few at a time: good keys that arrive together must not count as failures of one another meanwhile, and
            # whoever waited for somebody with the same key finds it remembered.
            async with self._turns:
                record = self._remembered(digest) or await self._check(key, digest, address)
        if record.ended(datetime.now(UTC)):
            self.checks["refused"] += 1
            raise _unknown()
        return record

    def heed(self, signal: Signal) -> None:
        """
        Forget a key that ended; a listener of the bus.
        """
        if signal.kind not in ("key", "missed"):
            return
        # A check that is going on has read the key as it was before, and must not remember it.
        self._generation += 1
        for digest, (record, _) in list(self._known.items()):
            if signal.kind == "missed" or record.key_id == signal.id:
                del self._known[digest]

    def _remembered(self, digest: bytes) -> KeyRecord | None:
        record, until = self._known.get(digest, (None, 0.0))
        if record is None or until <= self._clock():
            return None
        self._known.move_to_end(digest)
        return record

    async def _check(self, key: str, digest: bytes, address: str) -> KeyRecord:
        generation = self._generation
        prefix = prefix_of(key)
        # Taken before the slow check and given back if it succeeds, so that attempts at once do not all get in.
        async with counted(self._limits, BY_ADDRESS, address, _TOO_MANY):
            record = await self._records.find(prefix) if prefix else None
            if record is None:
                self.checks["refused"] += 1
                raise _unknown()
            self.checks["checked"] += 1
            async with counted(self._limits, BY_PREFIX, record.prefix, _TOO_MANY):
                if not await self._hasher.matches(key, record.key_hash):
                    self.checks["refused"] += 1
                    raise _unknown()
        await self._limits.give_back(BY_ADDRESS, address)
        await self._limits.give_back(BY_PREFIX, record.prefix)
        if not record.ended(datetime.now(UTC)):
            await self._records.used(record.key_id)
            if generation == self._generation:
                self._known[digest] = (record, self._clock() + _REMEMBERED_SECONDS)
                if len(self._known) > _REMEMBERED_KEYS:
                    self._known.popitem(last=False)
        return record


def _unknown() -> UnauthorizedError:
    return UnauthorizedError("the API key is not known, revoked or expired", "invalid_key")
