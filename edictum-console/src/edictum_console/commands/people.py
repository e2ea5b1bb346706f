"""
Letting administrators in, and in again.
"""

from __future__ import annotations

import secrets

import attrs

from edictum_console.commands.opening import Opened
from edictum_console.domains.accounts.schemas import Invitation, NewPassword
from edictum_console.domains.accounts.service import UserService, person_with
from edictum_console.domains.tenants.schemas import Setup
from edictum_console.domains.tenants.service import SetupService
from edictum_console.errors import CommandError, ConflictError
from edictum_console.http.bodies import structure
from edictum_console.security.actor import Role

_TENANT = "default"


@attrs.frozen
class _Chosen:
    """
    A password that was chosen already.
    """

    password: NewPassword


async def create_admin(console: Opened, email: str, tenant: str | None, password: str | None) -> str | None:
    """
    Make an administrator; the first person of a console sets it up.

    Args:
        console: What the command works with.
        email: Their address.
        tenant: Their tenant, which is made where nobody is set up yet; None for the only one.
        password: Their password; None lets them choose one by a link.

    Returns:
        The link, if they choose.
    """
    if not await SetupService(console.resources).complete():
        return await _set_up(console, email, tenant or _TENANT, password)
    people = UserService(await console.scope(tenant), console.resources)
    invitation = structure({"email": email, "role": Role.ADMIN.value}, Invitation)
    try:
        if password is None:
            return (await people.invite(invitation, console.caller)).reset_link
        await people.add(invitation, _checked(password), console.caller)
    except ConflictError:
        raise CommandError(
            f"{email} cannot be added; if they are here already, use: edictum-console admin reset-password"
        ) from None
    return None


async def reset_password(console: Opened, email: str, password: str | None) -> str | None:
    """
    Let a person in again, whichever tenant is theirs.

    Args:
        console: What the command works with.
        email: Their address.
        password: Their new password, which ends their logins and the tokens of their scripts; None lets them choose
            one by a link.

    Returns:
        The link, if they choose.

    Raises:
        CommandError: They are disabled, so neither would let them in.
    """
    scope, user = await person_with(console.resources.scopes, email)
    if user.disabled_at is not None:
        raise CommandError(f"{user.email} is disabled since {user.disabled_at:%Y-%m-%d}; an administrator changes that")
    people = UserService(scope, console.resources)
    if password is None:
        return (await people.reset_link(user.id, console.caller)).reset_link
    await people.set_password(user.id, _checked(password), console.caller)
    return None


async def _set_up(console: Opened, email: str, tenant: str, password: str | None) -> str | None:
    # Who is to choose a password has one until then that nobody knows.
    chosen = secrets.token_urlsafe(32) if password is None else password
    setup = structure({"token": "", "email": email, "password": chosen, "tenant_name": tenant}, Setup)
    made = await SetupService(console.resources).create(setup.email, setup.password, setup.tenant_name, console.caller)
    if password is not None:
        return None
    people = UserService(console.resources.scopes.of(made.tenant_id), console.resources)
    return (await people.reset_link(made.user_id, console.caller)).reset_link


def _checked(password: str) -> str:
    return structure({"password": password}, _Chosen).password
