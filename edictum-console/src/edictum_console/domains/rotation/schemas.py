"""
Bodies about replacing the signing key.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import attrs
from msgspec import Meta

from edictum_console.domains.keys.schemas import BoundKey
from edictum_console.domains.signing.schemas import SigningKey


@attrs.frozen
class KeyRotation:
    """
    How the signing key is replaced.

    Attributes:
        overlap_days: For how long the old key still signs for API keys that are bound to it.
        compromised: Whether somebody else may have the old key: it ends at once, and nothing is bound to it any more.
    """

    overlap_days: Annotated[int, Meta(ge=1, le=90)] = 7
    compromised: bool = False


@attrs.frozen
class SigningKeyUse(SigningKey):
    """
    A key that signs, or did, and who needs it.

    Attributes:
        bound_api_keys: The API keys that are bound to it and have not ended, newest first: their agents verify with no
            other key.  Those that are bound to none follow the key that is active.
    """

    bound_api_keys: list[BoundKey]


@attrs.frozen
class SigningKeyUses:
    """
    All signing keys, newest first, and who needs them.
    """

    signing_keys: list[SigningKeyUse]


@attrs.frozen
class RotationDone:
    """
    What became of it.

    Attributes:
        key_id: The new key.
        public_key: What agents verify with from now on, as 64 hexadecimal digits.
        rotated_at: When.
        retires_at: When the old key ends; null if it has.
        deployments_re_signed: How many deployments were made anew, with the new key.
        api_keys_bound: How many API keys were bound to the old key, so that their agents go on verifying.
    """

    key_id: str
    public_key: str
    rotated_at: datetime
    retires_at: datetime | None
    deployments_re_signed: int
    api_keys_bound: int
