"""
Bodies about signing keys.
"""

from __future__ import annotations

from datetime import datetime

import attrs


@attrs.frozen
class SigningKey:
    """
    A key that signs, or did.

    Attributes:
        key_id: Its id.
        public_key: What agents verify with, as 64 hexadecimal digits.
        state: ``active`` signs; ``retiring`` is still verified with; ``revoked`` is not.
        created_at: When it was made.
        cross_signature: The signature of the key before over the bytes of this one's public half, as base64; null for
            the first.
        retires_at: When it ends to sign for API keys that are bound to it.
    """

    key_id: str
    public_key: str
    state: str
    created_at: datetime
    cross_signature: str | None
    retires_at: datetime | None


@attrs.frozen
class SigningKeys:
    """
    All signing keys, newest first.
    """

    signing_keys: list[SigningKey]
