"""
What the console asks of shared state; one test suite runs on every implementation.

Nothing here ever answers with a made-up value.  A store that cannot be reached raises
:class:`~edictum_console.errors.UnavailableError`, and the request fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, Protocol, TypeAlias
from uuid import UUID

import attrs

from edictum_console.state.operations import Applied, Operation

SESSION_LIFETIME = timedelta(days=7)
REPLY_LIFETIME = timedelta(hours=24)


@attrs.frozen
class Place:
    """
    Where agents share values: an environment of a tenant.
    """

    tenant_id: UUID
    env: str


@attrs.frozen
class Once:
    """
    A request that its sender may repeat, and that must be done once.

    Attributes:
        owner: The API key that sends it.
        key: What the sender calls it.
        digest: The hash of the request, which the name belongs to.
    """

    owner: UUID
    key: str
    digest: str


class SessionValues(Protocol):
    """
    What agents count and remember; a value lives for a week after it was last written.
    """

    async def read(self, place: Place, keys: Sequence[str]) -> dict[str, str | None]:
        """
        Return the values of all keys that are asked for; None where there is none.
        """

    async def apply(self, place: Place, operations: Sequence[Operation], once: Once | None = None) -> Applied:
        """
        Do all operations, one after the other and with nothing in between, or none.

        Args:
            place: Where.
            operations: What to do.
            once: Says that this request must not be done twice; the outcome is kept together with its effect, and
                returned again for the same request.

        Raises:
            ConflictError: The key of ``once`` came with another request before.
            ConflictError: An increment meets a value that is no number; nothing was done.
            InvalidError: A counter would pass what numbers can hold exactly; nothing was done.
        """


class Logins(Protocol):
    """
    Who is signed in, by the hash of a token.  Records are opaque here: whoever wrote them checks them.
    """

    async def add(self, token_hash: str, tenant_id: UUID, user_id: UUID, record: str, idle: timedelta) -> None:
        """
        Remember a login until it has not been used for some time.
        """

    async def find(self, token_hash: str, idle: timedelta) -> str | None:
        """
        Return the record, which keeps it alive; None if there is none.
        """

    async def remove(self, token_hash: str) -> None:
        """
        Forget a login.
        """

    async def remove_all(self, tenant_id: UUID, user_id: UUID, keep: str | None = None) -> None:
        """
        Forget all logins of a person but one.
        """


@attrs.frozen
class Limit:
    """
    How much may happen within a time.

    Attributes:
        name: What is limited.
        count: How often.
        per: Within which time.
        strict: Whether nothing may happen while the shared count cannot be reached; otherwise each replica counts
            for itself meanwhile.
    """

    name: str
    count: int
    per: timedelta
    strict: bool = False


class RateLimits(Protocol):
    """
    Counts what happens within a moving time; never lets more pass than the limit within any such time.
    """

    async def take(self, limit: Limit, subject: str, cost: int = 1) -> float:
        """
        Count something, if it may happen.

        Args:
            limit: The limit.
            subject: Who or what it is counted for.
            cost: For how many it counts; at most the whole limit.

        Returns:
            0 if it may happen, and was counted; else the seconds until it may.
        """

    async def give_back(self, limit: Limit, subject: str, cost: int = 1) -> None:
        """
        Undo a count, for limits on what fails: it is taken before, and given back on success.
        """


@attrs.frozen
class Signal:
    """
    A hint from this or another replica.

    Attributes:
        kind: ``wake`` - a tenant has changes that streams must learn of; ``key`` - an API key ended; ``missed`` -
            signals may have been lost, so everything that depends on them is to be looked at anew; ``happened`` - what
            is told to whoever looks at a page, and stored nowhere.
        id: The tenant or the key; None for ``missed``, and for what happened to the console itself.
        said: What happened: names with facts.
    """

    kind: Literal["wake", "key", "missed", "happened"]
    id: UUID | None = None
    said: Sequence[tuple[str, Mapping[str, Any]]] = ()


Listener: TypeAlias = Callable[[Signal], None]


class Bus(Protocol):
    """
    Carries hints to all replicas.  One may be lost; what depends on them also looks by itself from time to time.
    """

    async def send(self, signal: Signal) -> None:
        """
        Tell every replica, also this one.
        """

    def listen(self, listener: Listener) -> Callable[[], None]:
        """
        Call a function for every signal.

        Returns:
            What ends it.
        """


class Memory(Protocol):
    """
    What was seen lately, by all replicas, so that it is heeded once.
    """

    async def first(self, what: str, lifetime: timedelta) -> bool:
        """
        Remember something for some time; say whether it was not remembered yet.
        """


PRESENCE_LIFETIME = timedelta(seconds=45)


@attrs.frozen
class Present:
    """
    A stream that an agent holds.

    Attributes:
        env: Where the agent runs.
        agent_id: What it calls itself.
        stream_id: The stream.
    """

    env: str
    agent_id: str
    stream_id: str


class Presence(Protocol):
    """
    Which agents are connected, to any replica.  A stream counts until it leaves, or was not kept for 45 seconds.
    """

    async def keep(self, tenant_id: UUID, streams: Sequence[Present]) -> None:
        """
        Say that streams are open.
        """

    async def leave(self, tenant_id: UUID, streams: Sequence[Present]) -> None:
        """
        Say that streams are closed.
        """

    async def all(self, tenant_id: UUID) -> list[Present]:
        """
        The streams of a tenant.
        """
