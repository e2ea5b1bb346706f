"""
Bodies about environments.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import attrs
from msgspec import Meta

from edictum_console.http.bodies import Identifier

Colour = Annotated[str, Meta(max_length=32)]
Days = Annotated[int, Meta(ge=1, le=3650)]


class UnmappedUsers(StrEnum):
    """
    Whether somebody in a channel of notifications decides whom the console does not know as one of its people.

    ``usual`` is ``deny`` where the environment is protected, else ``allow``.
    """

    USUAL = "usual"
    ALLOW = "allow"
    DENY = "deny"


@attrs.frozen
class Environment:
    """
    A place where agents run.

    Attributes:
        name: Its name, which keys carry.
        colour: How pages mark it.
        protected: Whether more care is asked for.
        event_retention_days: How long its events are kept; null for the tenant's usual time.
        unmapped_users: Whether people in channels decide whom the console does not know.
        created_at: Since when it is there.
    """

    name: str
    colour: str
    protected: bool
    event_retention_days: int | None
    unmapped_users: UnmappedUsers
    created_at: datetime

    @property
    def unmapped_decide(self) -> bool:
        """
        Whether people in channels decide whom the console does not know.
        """
        if self.unmapped_users is UnmappedUsers.USUAL:
            return not self.protected
        return self.unmapped_users is UnmappedUsers.ALLOW


@attrs.frozen
class Environments:
    """
    All environments, by name.
    """

    environments: list[Environment]


@attrs.frozen
class NewEnvironment:
    """
    An environment to be added.
    """

    name: Identifier
    colour: Colour = ""
    protected: bool = False
    event_retention_days: Days | None = None
    unmapped_users: UnmappedUsers = UnmappedUsers.USUAL


@attrs.frozen
class EnvironmentChange:
    """
    What changes of an environment; what is not named stays.  0 days mean the tenant's usual time.
    """

    colour: Colour | None = None
    protected: bool | None = None
    event_retention_days: Annotated[int, Meta(ge=0, le=3650)] | None = None
    unmapped_users: UnmappedUsers | None = None
