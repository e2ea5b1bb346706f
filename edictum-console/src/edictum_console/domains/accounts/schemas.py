"""
Bodies about people and their logins.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import attrs
from msgspec import Meta

from edictum_console.security.actor import Role

Email = Annotated[str, Meta(pattern=r"^[^@\s]+@[^@\s]+$(?!\n)", max_length=320)]
Password = Annotated[str, Meta(min_length=1, max_length=1024)]
NewPassword = Annotated[str, Meta(min_length=12, max_length=1024, description="At least 12 characters.")]


@attrs.frozen
class Credentials:
    """
    What signs a person in.
    """

    email: Annotated[str, Meta(max_length=320)]
    password: Password


@attrs.frozen
class Me:
    """
    Who is signed in.

    Attributes:
        user_id: The person.
        tenant_id: Their tenant.
        email: Their address.
        role: What they may do.
        is_admin: Whether the role is admin.
        csrf_token: What changes must send as ``X-CSRF-Token``; empty for a script, which needs none.
    """

    user_id: UUID
    tenant_id: UUID
    email: str
    role: Role
    is_admin: bool
    csrf_token: str


@attrs.frozen
class PasswordChange:
    """
    A new password, with the old one.
    """

    old_password: Password
    new_password: NewPassword


@attrs.frozen
class PasswordReset:
    """
    A new password, with the token of a reset link.
    """

    token: Annotated[str, Meta(max_length=256)]
    new_password: NewPassword


@attrs.frozen
class User:
    """
    A person.

    Attributes:
        id: Their id.
        email: Their address.
        role: What they may do.
        created_at: Since when they are known.
        last_login_at: When they last signed in.
        disabled_at: Since when they may not sign in.
    """

    id: UUID
    email: str
    role: Role
    created_at: datetime
    last_login_at: datetime | None
    disabled_at: datetime | None


@attrs.frozen
class Users:
    """
    All people, by address.
    """

    users: list[User]


@attrs.frozen
class Invitation:
    """
    A person to be let in.
    """

    email: Email
    role: Role


@attrs.frozen
class Invited:
    """
    A person who was let in, with the link by which they choose a password.
    """

    user: User
    reset_link: str


@attrs.frozen
class ResetLink:
    """
    A link by which a person chooses a new password, once.
    """

    reset_link: str
    expires_at: datetime


@attrs.frozen
class UserChange:
    """
    What changes of a person; what is not named stays.
    """

    role: Role | None = None
    disabled: bool | None = None
