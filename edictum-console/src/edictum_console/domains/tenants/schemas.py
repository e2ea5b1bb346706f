"""
Bodies about setting the console up.
"""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import attrs
from msgspec import Meta

from edictum_console.domains.accounts.schemas import Email, NewPassword
from edictum_console.http.bodies import Label


@attrs.frozen
class Setup:
    """
    The first administrator, with the token that the console printed when it started.
    """

    token: Annotated[str, Meta(max_length=256)]
    email: Email
    password: NewPassword
    tenant_name: Label = "default"


@attrs.frozen
class SetupDone:
    """
    What was made.
    """

    tenant_id: UUID
    user_id: UUID


@attrs.frozen
class Health:
    """
    Whether the console answers.

    Attributes:
        status: ``ok``.
        bootstrap_complete: Whether there is an administrator.
    """

    status: str
    bootstrap_complete: bool


@attrs.frozen
class Alive:
    """
    The process answers.
    """

    status: str = "ok"


@attrs.frozen
class Readiness:
    """
    Whether requests can be served, and for each part what is wrong with it.
    """

    status: str
    parts: dict[str, str]
