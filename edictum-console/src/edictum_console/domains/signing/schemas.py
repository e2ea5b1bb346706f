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
    """

    key_id: str
    public_key: str
    state: str
    created_at: datetime


@attrs.frozen
class SigningKeys:
    """
    All signing keys, newest first.
    """

    signing_keys: list[SigningKey]
