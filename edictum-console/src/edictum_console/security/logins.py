"""
Logins of people: a random token in a cookie, and a record of it that only this console can write.

Where the record lies (Redis, a table) is trusted to lose it and not to invent one, so each carries an authentication
code.  The token that guards against requests from other sites is made from the login's token, and stored nowhere.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import attrs

from edictum_console.state.ports import Logins

LONGEST = timedelta(days=7)


@attrs.frozen
class Login:
    """
    A login that was found.
    """

    tenant_id: UUID
    user_id: UUID


class LoginKeeper:
    """
    Starts, finds and ends logins.
    """

    def __init__(self, logins: Logins, secret: bytes, idle: timedelta) -> None:
        self._logins = logins
        self._secret = secret
        self._idle = idle

    async def start(self, tenant_id: UUID, user_id: UUID) -> str:
        """
        Start a login and return its token.
        """
        token = secrets.token_urlsafe(32)
        facts = [str(tenant_id), str(user_id), int(datetime.now(UTC).timestamp())]
        record = json.dumps([*facts, self._code(token, facts)])
        await self._logins.add(_fingerprint(token), tenant_id, user_id, record, self._idle)
        return token

    async def find(self, token: str) -> Login | None:
        """
        Find the login of a token, if it goes on.
        """
        record = await self._logins.find(_fingerprint(token), self._idle)
        if record is None:
            return None
        try:
            *facts, code = json.loads(record)
            if not hmac.compare_digest(self._code(token, facts), code):
                return None
            tenant_id, user_id, started = facts
            if datetime.fromtimestamp(started, UTC) + LONGEST <= datetime.now(UTC):
                await self.end(token)
                return None
            return Login(UUID(tenant_id), UUID(user_id))
        except (TypeError, ValueError):
            return None

    async def end(self, token: str) -> None:
        """
        End one login.
        """
        await self._logins.remove(_fingerprint(token))

    async def end_all(self, tenant_id: UUID, user_id: UUID, keep: str | None = None) -> None:
        """
        End all logins of a person, but the one with the token that is given.
        """
        await self._logins.remove_all(tenant_id, user_id, None if keep is None else _fingerprint(keep))

    def csrf_token(self, token: str) -> str:
        """
        What a page must send with every change.
        """
        return hmac.new(self._secret, f"csrf:{token}".encode(), hashlib.sha256).hexdigest()

    def _code(self, token: str, facts: list[Any]) -> str:
        text = json.dumps(["login", _fingerprint(token), *facts])
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()


def _fingerprint(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
