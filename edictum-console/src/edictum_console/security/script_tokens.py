"""
Tokens for scripts: a signed JWT that says whose it is, in the one form that this console writes.

Its signature proves that the console made it; whether it still counts is looked up at every request.  What reads it
never follows its header, so there is no algorithm to choose.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import attrs

from edictum_console.ids import new_id
from edictum_console.security.actor import Role

LIFETIME = timedelta(minutes=15)

_AUDIENCE = "edictum-console"
_LONGEST = 2048


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


_HEADER = _packed(b'{"alg":"HS256","typ":"JWT"}')


@attrs.frozen
class ScriptClaims:
    """
    What a token says.

    Attributes:
        token_id: The row that it belongs to.
        tenant_id: The tenant.
        user_id: Whose it is.
        role: What it may do at most.
    """

    token_id: UUID
    tenant_id: UUID
    user_id: UUID
    role: Role


class TokenSigner:
    """
    Writes and reads tokens.
    """

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"script tokens", "sha256")

    def write(self, claims: ScriptClaims, now: datetime) -> str:
        """
        Write a token that is good for :data:`LIFETIME`.
        """
        facts = {
            "aud": _AUDIENCE,
            "exp": int((now + LIFETIME).timestamp()),
            "iat": int(now.timestamp()),
            "jti": str(new_id()),
            "role": claims.role.value,
            "sid": str(claims.token_id),
            "sub": str(claims.user_id),
            "tid": str(claims.tenant_id),
        }
        signed = f"{_HEADER}.{_packed(json.dumps(facts, separators=(',', ':')).encode())}"
        return f"{signed}.{self._signature(signed)}"

    def read(self, token: str) -> ScriptClaims | None:
        """
        Read a token; None if this console did not write it, or its time is over.
        """
        signed, _, signature = token.rpartition(".")
        header, _, body = signed.partition(".")
        if len(token) > _LONGEST or header != _HEADER or not token.isascii():
            return None
        if not hmac.compare_digest(self._signature(signed), signature):
            return None
        facts: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        if facts["aud"] != _AUDIENCE or datetime.fromtimestamp(facts["exp"], UTC) <= datetime.now(UTC):
            return None
        return ScriptClaims(UUID(facts["sid"]), UUID(facts["tid"]), UUID(facts["sub"]), Role(facts["role"]))

    def _signature(self, signed: str) -> str:
        return _packed(hmac.new(self._key, signed.encode(), hashlib.sha256).digest())
