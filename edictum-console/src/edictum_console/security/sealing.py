"""
Sealing secrets that lie in the database.

AES-256-GCM, with a key derived for each purpose; the row's id is part of what is authenticated, so a sealed text works
nowhere else.
"""

from __future__ import annotations

import base64
import secrets
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE = 12


class SealBrokenError(Exception):
    """
    A sealed text cannot be opened: the key is another one, or the text was moved or changed.
    """


class Sealer:
    """
    Seals and opens secrets.
    """

    def __init__(self, key: bytes, previous: bytes | None = None) -> None:
        self._keys = (key,) if previous is None else (key, previous)

    def seal(self, secret: bytes, purpose: str, row_id: UUID) -> str:
        """
        Seal a secret for one purpose in one row.
        """
        nonce = secrets.token_bytes(_NONCE)
        sealed = AESGCM(_derived(self._keys[0], purpose)).encrypt(nonce, secret, row_id.bytes)
        return base64.b64encode(nonce + sealed).decode()

    def open(self, text: str, purpose: str, row_id: UUID) -> bytes:
        """
        Open what was sealed for the same purpose and row, with this key or the one before.

        Raises:
            SealBrokenError: It cannot be opened.
        """
        raw = base64.b64decode(text)
        for key in self._keys:
            try:
                return AESGCM(_derived(key, purpose)).decrypt(raw[:_NONCE], raw[_NONCE:], row_id.bytes)
            except InvalidTag:
                continue
        raise SealBrokenError(
            f"a sealed {purpose} cannot be opened; is EDICTUM_SIGNING_KEY_SECRET, or with _PREVIOUS, the one it was "
            "sealed with?"
        )


def _derived(key: bytes, purpose: str) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=f"edictum-console:{purpose}".encode()).derive(key)
