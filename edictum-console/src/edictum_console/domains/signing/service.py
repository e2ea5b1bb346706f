"""
Making keys and signing with them.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import attrs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edictum_console.db.scope import TenantScope
from edictum_console.domains.signing.repository import SigningKeyRepository
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
        return SigningKeys([_key(row) for row in await self._rows.all()])

    async def add_first(self) -> None:
        """
        Make the key that a new tenant signs with, in the transaction that makes it.
        """
        private = Ed25519PrivateKey.generate()
        public_key = private.public_key().public_bytes_raw()
        row_id = new_id()
        values = {
            "id": row_id,
            "key_id": f"k-{hashlib.sha256(public_key).hexdigest()[:16]}",
            "public_key": public_key.hex(),
            "private_key_sealed": self._sealer.seal(private.private_bytes_raw(), _PURPOSE, row_id),
            "state": "active",
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
        private = self._sealer.open(row["private_key_sealed"], _PURPOSE, row["id"])
        return Signer(row["key_id"], row["public_key"], Ed25519PrivateKey.from_private_bytes(private))

    async def public_key(self, key_id: str) -> str:
        """
        The public half of one of them, as hexadecimal digits.
        """
        (found,) = [row["public_key"] for row in await self._rows.all() if row["key_id"] == key_id]
        return str(found)


def _key(row: dict[str, Any]) -> SigningKey:
    return SigningKey(**{field.name: row[field.name] for field in attrs.fields(SigningKey)})
