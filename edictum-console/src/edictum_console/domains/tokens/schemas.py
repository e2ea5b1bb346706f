"""
Bodies about tokens for scripts.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import attrs
from msgspec import Meta

from edictum_console.domains.accounts.schemas import Password
from edictum_console.http.bodies import Label
from edictum_console.security.actor import Role


@attrs.frozen
class NewToken:
    """
    A token to be made.

    Attributes:
        email: The person, with ``password``; null for who is signed in.
        password: Their password.
        role: What the token may do at most; null for all that the person may.
        label: What it is for.
    """

    email: Annotated[str, Meta(max_length=320)] | None = None
    password: Password | None = None
    role: Role | None = None
    label: Label = ""


@attrs.frozen
class Refresh:
    """
    What asks for the next pair; it works once.
    """

    refresh_token: Annotated[str, Meta(max_length=256)]


@attrs.frozen
class TokenPair:
    """
    A token and what gets the next one; both are shown this once.

    Attributes:
        id: What revokes them.
        access_token: What a script sends as ``Authorization: Bearer``.
        expires_in: For how many seconds it is good.
        refresh_token: What gets the next pair, once.
        refresh_expires_at: Until when.
        role: What the token may do at most.
        token_type: ``Bearer``.
    """

    id: UUID
    access_token: str
    expires_in: int
    refresh_token: str
    refresh_expires_at: datetime
    role: Role
    token_type: str = "Bearer"


@attrs.frozen
class ScriptToken:
    """
    A token that may still be used.

    Attributes:
        id: What revokes it.
        label: What it is for.
        role: What it may do at most.
        created_at: When it was made.
        refreshed_at: When it last got a new pair.
        expires_at: When it ends, unless it gets one before.
    """

    id: UUID
    label: str
    role: Role
    created_at: datetime
    refreshed_at: datetime | None
    expires_at: datetime


@attrs.frozen
class ScriptTokens:
    """
    The own tokens that may still be used, newest first.
    """

    tokens: list[ScriptToken]
