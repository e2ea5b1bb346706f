"""
Making, renewing, recognising and revoking tokens for scripts.

A token is a row, and a pair of texts: one that a script sends, good for minutes, and one that gets the next pair, once.
A pair that was replaced and is shown again is in two hands, so the row is revoked for both.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from edictum_console.db.scope import Scopes, TenantScope
from edictum_console.domains.audit.service import AuditService
from edictum_console.domains.tokens.repository import TokenRepository
from edictum_console.domains.tokens.schemas import NewToken, ScriptToken, ScriptTokens, TokenPair
from edictum_console.errors import ConflictError, ForbiddenError, NotFoundError, UnauthorizedError
from edictum_console.ids import new_id
from edictum_console.resources import Caller
from edictum_console.security.actor import PersonActor, Role
from edictum_console.security.authentication import People
from edictum_console.security.script_tokens import LIFETIME, ScriptClaims, TokenSigner

_REFRESHED_WITHIN = timedelta(hours=12)
_LONGEST = timedelta(days=7)
_MOST = 50


class TokenService:
    """
    The tokens of one tenant.
    """

    def __init__(self, scope: TenantScope, signer: TokenSigner) -> None:
        self._scope = scope
        self._signer = signer
        self._rows = TokenRepository(scope)
        self._audit = AuditService(scope)

    async def issue(self, person: PersonActor, new: NewToken, caller: Caller) -> TokenPair:
        """
        Make a token for a person.

        Raises:
            ForbiddenError: It would be allowed more than the person.
            ConflictError: The person has too many.
        """
        role = new.role or person.role
        if not person.role.includes(role):
            raise ForbiddenError("a token cannot have a higher role than its person", "role_missing")
        now = datetime.now(UTC)
        secret = secrets.token_urlsafe(32)
        values = {
            "id": new_id(),
            "created_at": now,
            "user_id": person.user_id,
            "label": new.label,
            "role": role.value,
            "refresh_hash": _hash(secret),
            "expires_at": now + _REFRESHED_WITHIN,
        }
        async with self._scope.transaction():
            await self._scope.database.lock(f"tokens:{person.user_id}")
            if len(await self._rows.alive(person.user_id, now)) >= _MOST:
                raise ConflictError(f"there are {_MOST} tokens already; revoke one", "too_many_tokens")
            await self._rows.add(values)
            details = {"token_id": str(values["id"]), "role": role.value, "label": new.label}
            await self._audit.record(caller, "token.create", person.email, details)
        return self._pair(values, secret, now)

    async def refresh(self, token_id: UUID, secret: str, people: People) -> TokenPair:
        """
        Replace a pair by the next one.

        Raises:
            UnauthorizedError: The text is not the one that counts, or the token is over.
        """
        shown, now = _hash(secret), datetime.now(UTC)
        async with self._scope.transaction():
            await self._scope.database.lock(f"token:{token_id}")
            row = await self._rows.find(token_id)
            if row is None or not _alive(row, now):
                raise _over()
            known = hmac.compare_digest(shown, row["refresh_hash"])
            if not known and hmac.compare_digest(shown, row["replaced_hash"] or ""):
                await self._rows.change(token_id, {"revoked_at": now})
            if known:
                if await people.find(self._scope.tenant_id, row["user_id"], "") is None:
                    raise _over()
                fresh = secrets.token_urlsafe(32)
                row |= {
                    "refresh_hash": _hash(fresh),
                    "replaced_hash": shown,
                    "refreshed_at": now,
                    "expires_at": min(now + _REFRESHED_WITHIN, row["created_at"] + _LONGEST),
                }
                names = ("refresh_hash", "replaced_hash", "refreshed_at", "expires_at")
                await self._rows.change(token_id, {name: row[name] for name in names})
        if not known:  # after the commit, which keeps that the token is revoked
            raise _over()
        return self._pair(row, fresh, now)

    async def all(self, person: PersonActor) -> ScriptTokens:
        """
        Return a person's tokens that may still be used.
        """
        rows = await self._rows.alive(person.user_id, datetime.now(UTC))
        return ScriptTokens([_token(row) for row in rows])

    async def revoke(self, token_id: UUID, person: PersonActor, caller: Caller) -> None:
        """
        End one of a person's tokens, at once.

        Raises:
            NotFoundError: There is none, or it is another person's.
        """
        async with self._scope.transaction():
            row = await self._rows.find(token_id)
            if row is None or row["user_id"] != person.user_id:
                raise NotFoundError("there is no such token", "token_not_found")
            if row["revoked_at"] is None:
                await self._rows.change(token_id, {"revoked_at": datetime.now(UTC)})
                await self._audit.record(caller, "token.revoke", person.email, {"token_id": str(token_id)})

    def _pair(self, row: Mapping[str, Any], secret: str, now: datetime) -> TokenPair:
        tenant_id, role = self._scope.tenant_id, Role(row["role"])
        claims = ScriptClaims(row["id"], tenant_id, row["user_id"], role)
        return TokenPair(
            id=row["id"],
            access_token=self._signer.write(claims, now),
            expires_in=int(LIFETIME.total_seconds()),
            refresh_token=f"{tenant_id.hex}.{row['id'].hex}.{secret}",
            refresh_expires_at=row["expires_at"],
            role=role,
        )


class StoredTokens:
    """
    Recognises tokens for those who authenticate requests.
    """

    def __init__(self, scopes: Scopes, signer: TokenSigner, people: People) -> None:
        self._scopes = scopes
        self._signer = signer
        self._people = people

    async def find(self, token: str) -> PersonActor | None:
        """
        Return the person of a token, with what it may do; None if it does not count, or no longer.
        """
        claims = self._signer.read(token)
        if claims is None:
            return None
        row = await TokenRepository(self._scopes.of(claims.tenant_id)).find(claims.token_id)
        if row is None or not _alive(row, datetime.now(UTC)):
            return None
        person = await self._people.find(claims.tenant_id, claims.user_id, "")
        if person is None:
            return None
        role = claims.role if person.role.includes(claims.role) else person.role
        return PersonActor(person.tenant_id, person.user_id, person.email, role, "", claims.token_id)

    async def refresh(self, text: str) -> TokenPair:
        """
        Replace a pair by the next one, by the text that gets it.

        Raises:
            UnauthorizedError: It is not the one that counts.
        """
        try:
            tenant, token, secret = text.split(".")
            tenant_id, token_id = UUID(tenant), UUID(token)
        except ValueError:
            raise _over() from None
        return await TokenService(self._scopes.of(tenant_id), self._signer).refresh(token_id, secret, self._people)


async def end_tokens(scope: TenantScope, user_id: UUID) -> None:
    """
    End all tokens of a person, in the transaction that is open.
    """
    scope.database.require_transaction()
    await TokenRepository(scope).end_all(user_id, datetime.now(UTC))


def _alive(row: Mapping[str, Any], now: datetime) -> bool:
    return row["revoked_at"] is None and bool(row["expires_at"] > now)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _token(row: Mapping[str, Any]) -> ScriptToken:
    same = ("id", "label", "created_at", "refreshed_at", "expires_at")
    return ScriptToken(role=Role(row["role"]), **{name: row[name] for name in same})


def _over() -> UnauthorizedError:
    return UnauthorizedError("the refresh token is not known, was used, or is over; sign in again", "invalid_token")
