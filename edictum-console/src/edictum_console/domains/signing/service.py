"""
Making keys and signing with them.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from typing import Any

import attrs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edictum_console.db.database import Database
from edictum_console.db.scope import TenantScope
from edictum_console.domains.signing.repository import Overlaps, SigningKeyRepository
from edictum_console.domains.signing.schemas import SigningKey, SigningKeys
from edictum_console.ids import new_id
from edictum_console.security.sealing import Sealer

_PURPOSE = "signing key"


@attrs.frozen
class Signer:
    """
    The key that signs, open.

    Attributes:
        key_id: Its id.
        public_key: Its public half, as hexadecimal digits.
    """

    key_id: str
    public_key: str
    _private: Ed25519PrivateKey = attrs.field(repr=False)

    def sign(self, data: bytes) -> str:
        """
        Sign bytes; the signature as base64.
        """
        return base64.b64encode(self._private.sign(data)).decode()


class SigningService:
    """
    The signing keys of one tenant.
    """

    def __init__(self, scope: TenantScope, sealer: Sealer) -> None:
        self._scope = scope
        self._sealer = sealer
        self._rows = SigningKeyRepository(scope)

    async def all(self) -> SigningKeys:
        """
        Return all of them, without their private halves.
        """
        now = await self._scope.database.now()
        return SigningKeys([_key(row, now) for row in await self._rows.all()])

    async def add_first(self) -> None:
        """
        Make the key that a new tenant signs with, in the transaction that makes it.
        """
        await self._add(Ed25519PrivateKey.generate(), None)

    async def replace(self, retires_at: datetime | None) -> tuple[str, Signer]:
        """
        Let a new key sign, in the transaction that is open.

        Args:
            retires_at: Until when the old one signs for API keys that are bound to it; None if it ends at once.

        Returns:
            The old key's id, and the new key.
        """
        self._scope.database.require_transaction()
        await self._scope.database.lock(f"signing:{self._scope.tenant_id}")
        old, private = await self.signer(), Ed25519PrivateKey.generate()
        state = "revoked" if retires_at is None else "retiring"
        await self._rows.change(old.key_id, {"state": state, "retires_at": retires_at})
        await self._add(private, old.sign(private.public_key().public_bytes_raw()))
        return old.key_id, await self.signer()

    async def _add(self, private: Ed25519PrivateKey, cross_signature: str | None) -> None:
        public_key = private.public_key().public_bytes_raw()
        row_id = new_id()
        values = {
            "id": row_id,
            "key_id": f"k-{hashlib.sha256(public_key).hexdigest()[:16]}",
            "public_key": public_key.hex(),
            "private_key_sealed": self._sealer.seal(private.private_bytes_raw(), _PURPOSE, row_id),
            "state": "active",
            "cross_signature": cross_signature,
        }
        await self._rows.add(values)

    async def signer(self) -> Signer:
        """
        Open the key that signs.

        Raises:
            SealBrokenError: The configured secret is not the one that it was sealed with.
        """
        row = await self._rows.active()
        if row is None:
            raise RuntimeError("the tenant has no signing key")
        return self._open(row)

    async def check_sealed(self) -> None:
        """
        Make sure that every key that may still sign can be opened.

        Raises:
            SealBrokenError: The configured secret is not the one that it was sealed with.
        """
        now = await self._scope.database.now()
        for row in await self._rows.all():
            if _state(row, now) != "revoked":
                self._open(row)

    async def bound(self, key_id: str) -> Signer | None:
        """
        Open the key that an API key is bound to; None where it does not sign any more.
        """
        now = await self._scope.database.now()
        for row in await self._rows.all():
            if row["key_id"] == key_id and _state(row, now) != "revoked":
                return self._open(row)
        return None

    def _open(self, row: dict[str, Any]) -> Signer:
        private = self._sealer.open(row["private_key_sealed"], _PURPOSE, row["id"])
        return Signer(row["key_id"], row["public_key"], Ed25519PrivateKey.from_private_bytes(private))

    async def public_key(self, key_id: str) -> str:
        """
        The public half of one of them, as hexadecimal digits.
        """
        (found,) = [row["public_key"] for row in await self._rows.all() if row["key_id"] == key_id]
        return str(found)


async def end_overlaps(database: Database) -> None:
    """
    Revoke keys that were replaced and whose time is over, of all tenants.
    """
    await Overlaps(database).end(await database.now())


def _state(row: dict[str, Any], now: datetime) -> str:
    over = row["state"] == "retiring" and row["retires_at"] <= now
    return "revoked" if over else str(row["state"])


def _key(row: dict[str, Any], now: datetime) -> SigningKey:
    shown = {**row, "state": _state(row, now)}
    return SigningKey(**{field.name: shown[field.name] for field in attrs.fields(SigningKey)})
