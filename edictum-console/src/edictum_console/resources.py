"""
What every request may use: made once by :func:`edictum_console.app.create_app`, handed to services.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs

from edictum_console.db.scope import Scopes
from edictum_console.metrics import Metrics
from edictum_console.security.actor import Actor, Anonymous, ChatActor, CommandActor
from edictum_console.security.api_keys import KeyVerifier
from edictum_console.security.logins import LoginKeeper
from edictum_console.security.passwords import Hasher
from edictum_console.security.sealing import Sealer
from edictum_console.settings import Settings
from edictum_console.state.ports import Bus, Logins, Memory, Presence, RateLimits, SessionValues


@attrs.frozen
class Stores:
    """
    The implementations of the ports that the settings ask for; ``ping`` raises where they cannot be reached.
    """

    values: SessionValues
    logins: Logins
    limits: RateLimits
    bus: Bus
    presence: Presence
    memory: Memory
    ping: Callable[[], Awaitable[None]]


@attrs.frozen
class Resources:
    """
    Everything that is shared.
    """

    settings: Settings
    scopes: Scopes
    stores: Stores
    hasher: Hasher
    verifier: KeyVerifier
    logins: LoginKeeper
    sealer: Sealer
    metrics: Metrics = attrs.field(factory=Metrics)


@attrs.frozen
class Caller:
    """
    Who makes a request or runs a command, for records of what was done.

    Attributes:
        actor: Who.
        address: From where.
        request_id: In which request, or by which command.
    """

    actor: Actor | ChatActor | CommandActor
    address: str
    request_id: str

    @property
    def name(self) -> str:
        """
        How the caller is called in records.
        """
        return "nobody" if isinstance(self.actor, Anonymous) else self.actor.name
