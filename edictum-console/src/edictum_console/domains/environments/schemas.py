"""
Bodies about environments.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import attrs
from msgspec import Meta

from edictum_console.http.bodies import Identifier

Colour = Annotated[str, Meta(max_length=32)]
Days = Annotated[int, Meta(ge=1, le=3650)]


@attrs.frozen
class Environment:
    """
    A place where agents run.

    Attributes:
        name: Its name, which keys carry.
        colour: How pages mark it.
        protected: Whether more care is asked for.
        event_retention_days: How long its events are kept; null for the tenant's usual time.
        created_at: Since when it is there.
    """

    name: str
    colour: str
    protected: bool
    event_retention_days: int | None
    created_at: datetime


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


@attrs.frozen
class EnvironmentChange:
    """
    What changes of an environment; what is not named stays.  0 days mean the tenant's usual time.
    """

    colour: Colour | None = None
    protected: bool | None = None
    event_retention_days: Annotated[int, Meta(ge=0, le=3650)] | None = None
