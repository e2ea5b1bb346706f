"""
Signing in and out, and letting people in.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import attrs

from edictum_console.db.database import Database
from edictum_console.db.scope import Scopes, TenantScope
from edictum_console.domains.accounts.repository import PeopleLookup, UserRepository
from edictum_console.domains.accounts.schemas import (
    Credentials,
    Invitation,
    Invited,
    Me,
    PasswordChange,
    PasswordReset,
    ResetLink,
    User,
    UserChange,
    Users,
)
from edictum_console.domains.audit.service import AuditService
from edictum_console.domains.tokens.service import end_tokens
from edictum_console.errors import ConflictError, ForbiddenError, NotFoundError, UnauthorizedError
from edictum_console.ids import new_id
from edictum_console.resources import Caller, Resources
from edictum_console.security.actor import PersonActor, Role
from edictum_console.state.counting import counted
from edictum_console.state.ports import Limit

_LINK_LIFETIME = timedelta(days=2)
_NO_PASSWORD = "!"  # no hash is this, so nobody signs in until a password is chosen
_BY_EMAIL = Limit("login-email", 10, timedelta(minutes=15), strict=True)


class LoginService:
    """
    Signing in, before a tenant is known.
    """

    def __init__(self, resources: Resources) -> None:
        settings = resources.settings
        self._resources = resources
        self._people = PeopleLookup(resources.scopes.database)
        self._by_address = Limit("login-address", settings.login_attempts, settings.login_window, strict=True)

    async def sign_in(self, credentials: Credentials, caller: Caller) -> tuple[str, Me]:
        """
        Start a login.

        Returns:
            Its token, and who is signed in now.

        Raises:
            UnauthorizedError: The address or the password is wrong; it does not say which.
            RateLimitedError: Too many were tried from this place, or for this person.
        """
        person = await self.check(credentials, caller)
        token = await self._resources.logins.start(person.tenant_id, person.user_id)
        return token, self.describe(attrs.evolve(person, token=token))

    async def check(self, credentials: Credentials, caller: Caller) -> PersonActor:
        """
        Return who has an address and a password, without starting a login.

        Raises:
            UnauthorizedError: The address or the password is wrong; it does not say which.
            RateLimitedError: Too many were tried from this place, or for this person.
        """
        email = credentials.email.strip().lower()
        async with self._tried(self._by_address, caller.address), self._tried(_BY_EMAIL, _fingerprint(email)):
            row = await self._people.find(email)
            stored = row["password_hash"] if row and row["disabled_at"] is None else None
            if stored == _NO_PASSWORD:
                stored = None
            right = await self._resources.hasher.matches(credentials.password, stored)
            if row is None or not right:
                raise UnauthorizedError("the e-mail address or the password is wrong", "wrong_credentials")
            scope = self._resources.scopes.of(row["tenant_id"])
            await UserRepository(scope).change(row["id"], {"last_login_at": datetime.now(UTC)})
        return _actor(row, "")

    async def confirm(self, person: PersonActor, password: str) -> None:
        """
        Make sure that a person who is signed in knows their password.

        Raises:
            ForbiddenError: It is another one.
            RateLimitedError: Too many were tried.
        """
        await self._row_of(person, password, "the password is wrong")

    def describe(self, person: PersonActor) -> Me:
        """
        Say who is signed in.
        """
        token = self._resources.logins.csrf_token(person.token) if person.token else ""
        is_admin = person.role is Role.ADMIN
        return Me(person.user_id, person.tenant_id, person.email, person.role, is_admin, token)

    async def sign_out(self, person: PersonActor) -> None:
        """
        End this login.
        """
        await self._resources.logins.end(person.token)

    async def sign_out_everywhere(self, person: PersonActor) -> None:
        """
        End all logins of the person, and all tokens of their scripts.
        """
        scope = self._resources.scopes.of(person.tenant_id)
        async with scope.transaction():
            await end_tokens(scope, person.user_id)
        await self._resources.logins.end_all(person.tenant_id, person.user_id)

    async def change_password(self, person: PersonActor, change: PasswordChange, caller: Caller) -> None:
        """
        Replace the person's password and end their other logins.

        Raises:
            ForbiddenError: The old one is wrong.
            RateLimitedError: Too many were tried.
        """
        row = await self._row_of(person, change.old_password, "the old password is wrong")
        await _set_password(self._resources, row, change.new_password, caller, "password.change")
        await self._resources.logins.end_all(person.tenant_id, person.user_id, keep=person.token)

    async def reset_password(self, reset: PasswordReset, caller: Caller) -> None:
        """
        Choose a password with a reset link, which works once.

        Raises:
            ForbiddenError: The link is over, was used, or is none.
            RateLimitedError: Too many were tried.
        """
        async with self._tried(self._by_address, caller.address):
            row = await self._person_of(reset.token)
        await _set_password(self._resources, row, reset.new_password, caller, "password.reset")
        await self._resources.logins.end_all(row["tenant_id"], row["id"])

    async def _row_of(self, person: PersonActor, password: str, refusal: str) -> dict[str, Any]:
        async with self._tried(_BY_EMAIL, _fingerprint(person.email)):
            row = await UserRepository(self._resources.scopes.of(person.tenant_id)).find(person.user_id)
            if row is None or not await self._resources.hasher.matches(password, row["password_hash"]):
                raise ForbiddenError(refusal, "wrong_credentials")
        return row

    async def _person_of(self, token: str) -> dict[str, Any]:
        try:
            user_id, expiry, _ = token.split(".")
            row = await self._people.by_id(UUID(user_id))
            expires_at = datetime.fromtimestamp(int(expiry), UTC)
        except (OverflowError, ValueError):
            row = None
        if row is None or row["disabled_at"] is not None or expires_at <= datetime.now(UTC):
            raise _bad_link()
        if not hmac.compare_digest(_link_token(self._resources.settings.secret_key, row, expires_at), token):
            raise _bad_link()
        return row

    def _tried(self, limit: Limit, subject: str) -> AbstractAsyncContextManager[None]:
        return counted(self._resources.stores.limits, limit, subject, "too many attempts; try again later")


class UserService:
    """
    The people of one tenant.
    """

    def __init__(self, scope: TenantScope, resources: Resources) -> None:
        self._scope = scope
        self._resources = resources
        self._rows = UserRepository(scope)
        self._audit = AuditService(scope)

    async def all(self) -> Users:
        """
        Return all of them.
        """
        return Users([_user(row) for row in await self._rows.all()])

    async def invite(self, invitation: Invitation, caller: Caller) -> Invited:
        """
        Let a person in, who chooses a password by a link.

        Raises:
            ConflictError: The address is known already.
        """
        email = invitation.email.lower()
        async with self._scope.transaction():
            row = await add_person(self._scope, email, _NO_PASSWORD, invitation.role, caller)
        return Invited(_user(row), self._link(row).reset_link)

    async def add(self, invitation: Invitation, password: str, caller: Caller) -> User:
        """
        Let a person in with a password that was chosen already.

        Raises:
            ConflictError: The address is known already.
        """
        password_hash = await self._resources.hasher.hash(password)
        async with self._scope.transaction():
            row = await add_person(self._scope, invitation.email.lower(), password_hash, invitation.role, caller)
        return _user(row)

    async def set_password(self, user_id: UUID, password: str, caller: Caller) -> None:
        """
        Choose a password for a person; ends their logins, and the tokens of their scripts.

        Raises:
            NotFoundError: There is no such person.
            ConflictError: Somebody else changed the password meanwhile.
        """
        await _set_password(self._resources, await self._require(user_id), password, caller, "password.set")
        await self._resources.logins.end_all(self._scope.tenant_id, user_id)

    async def change(self, user_id: UUID, change: UserChange, caller: Caller) -> User:
        """
        Change what a person may do; it holds from their next request on.

        Raises:
            NotFoundError: There is no such person.
            ConflictError: Nobody would be an administrator any more.
        """
        async with self._scope.transaction():
            await self._scope.database.lock(f"users:{self._scope.tenant_id}")
            row = await self._require(user_id)
            values: dict[str, Any] = {}
            if change.role is not None:
                values["role"] = change.role.value
            if change.disabled is not None:
                values["disabled_at"] = datetime.now(UTC) if change.disabled else None
            weaker = change.disabled or (change.role is not None and change.role is not Role.ADMIN)
            if weaker:
                await self._require_other_admin(row)
            if values:
                await self._rows.change(user_id, values)
                await end_tokens(self._scope, user_id)
                details = {"role": change.role, "disabled": change.disabled}
                await self._audit.record(caller, "user.change", row["email"], details)
            changed = await self._require(user_id)
        await self._resources.logins.end_all(self._scope.tenant_id, user_id)
        return _user(changed)

    async def remove(self, user_id: UUID, caller: Caller) -> None:
        """
        Remove a person for good; what they did keeps their address.

        Raises:
            NotFoundError: There is no such person.
            ConflictError: Nobody would be an administrator any more.
        """
        async with self._scope.transaction():
            await self._scope.database.lock(f"users:{self._scope.tenant_id}")
            row = await self._require(user_id)
            await self._require_other_admin(row)
            await self._rows.delete(user_id)
            await self._audit.record(caller, "user.remove", row["email"])
        await self._resources.logins.end_all(self._scope.tenant_id, user_id)

    async def reset_link(self, user_id: UUID, caller: Caller) -> ResetLink:
        """
        Make a link by which a person chooses a new password.

        Raises:
            NotFoundError: There is no such person.
        """
        row = await self._require(user_id)
        async with self._scope.transaction():
            await self._audit.record(caller, "user.reset_link", row["email"])
        return self._link(row)

    def _link(self, row: dict[str, Any]) -> ResetLink:
        expires_at = (datetime.now(UTC) + _LINK_LIFETIME).replace(microsecond=0)
        token = _link_token(self._resources.settings.secret_key, row, expires_at)
        # After the "#", so that the token is in no server's log.
        return ResetLink(f"{self._resources.settings.base_url}/reset#{token}", expires_at)

    async def _require_other_admin(self, row: dict[str, Any]) -> None:
        if row["role"] == "admin" and not await self._rows.other_admins(row["id"]):
            raise ConflictError("nobody else is an administrator", "last_admin")

    async def _require(self, user_id: UUID) -> dict[str, Any]:
        row = await self._rows.find(user_id)
        if row is None:
            raise NotFoundError("there is no such person", "user_not_found")
        return row


async def anybody(database: Database) -> bool:
    """
    Whether there is any person at all.
    """
    return await PeopleLookup(database).anybody()


async def person_with(scopes: Scopes, email: str) -> tuple[TenantScope, User]:
    """
    Return who has an address, and the scope of their tenant.

    Raises:
        NotFoundError: Nobody has it.
    """
    row = await PeopleLookup(scopes.database).find(email.strip().lower())
    if row is None:
        raise NotFoundError("nobody has this address", "user_not_found")
    return scopes.of(row["tenant_id"]), _user(row)


async def add_person(scope: TenantScope, email: str, password_hash: str, role: Role, caller: Caller) -> dict[str, Any]:
    """
    Add a person, in the transaction that is open.

    Returns:
        The row.

    Raises:
        ConflictError: The address is known already, here or to another tenant.
    """
    values: dict[str, Any] = {"id": new_id(), "email": email, "password_hash": password_hash, "role": role.value}
    await scope.database.lock(f"email:{email}")
    if await PeopleLookup(scope.database).find(email) is not None:
        raise ConflictError("this address cannot be added", "email_taken")
    await UserRepository(scope).add(values)
    await AuditService(scope).record(caller, "user.add", email, {"role": role.value})
    row = await UserRepository(scope).find(values["id"])
    assert row is not None
    return row


async def _set_password(
    resources: Resources, row: Mapping[str, Any], password: str, caller: Caller, action: str
) -> None:
    scope = resources.scopes.of(row["tenant_id"])
    password_hash = await resources.hasher.hash(password)
    async with scope.transaction():
        await scope.database.lock(f"users:{scope.tenant_id}")
        present = await UserRepository(scope).find(row["id"])
        if present is None or present["password_hash"] != row["password_hash"]:
            raise ConflictError("the password was changed meanwhile", "password_changed")
        await UserRepository(scope).change(row["id"], {"password_hash": password_hash})
        await end_tokens(scope, row["id"])
        await AuditService(scope).record(caller, action, row["email"])


class StoredPeople:
    """
    Finds people for those who authenticate requests.
    """

    def __init__(self, scopes: Scopes) -> None:
        self._scopes = scopes

    async def find(self, tenant_id: UUID, user_id: UUID, token: str) -> PersonActor | None:
        """
        A person who may sign in.
        """
        row = await UserRepository(self._scopes.of(tenant_id)).find(user_id)
        return None if row is None or row["disabled_at"] is not None else _actor(row, token)


def _actor(row: dict[str, Any], token: str) -> PersonActor:
    return PersonActor(row["tenant_id"], row["id"], row["email"], Role(row["role"]), token)


def _user(row: dict[str, Any]) -> User:
    same = ("id", "email", "created_at", "last_login_at", "disabled_at")
    return User(role=Role(row["role"]), **{name: row[name] for name in same})


def _fingerprint(email: str) -> str:
    return hashlib.sha256(email.encode()).hexdigest()


def _link_token(secret: bytes, row: dict[str, Any], expires_at: datetime) -> str:
    """
    A token that is over as soon as the password changes, because its code covers the present one.
    """
    facts = f"{row['id']}.{int(expires_at.timestamp())}"
    code = hmac.new(secret, f"reset:{facts}:{row['password_hash']}".encode(), hashlib.sha256).hexdigest()
    return f"{facts}.{code}"


def _bad_link() -> ForbiddenError:
    return ForbiddenError("this link is over or was used; ask an administrator for a new one", "link_over")
