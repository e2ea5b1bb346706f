"""
Streams of pages: what people who look at the console are told without asking.

An event says that something changed, with ids and labels; the page asks for what it shows, and is given what the person
may see.  What changes the database comes from the feed and has its number.  What does not - events that were stored,
agents that came and went - comes from the pulse, and may be missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any
from uuid import UUID

import attrs

from edictum_console.db.outbox import FeedItem, Outbox
from edictum_console.db.scope import TenantScope
from edictum_console.domains.accounts.service import StoredPeople
from edictum_console.domains.stream.connection import EventConnection
from edictum_console.domains.stream.frames import frame
from edictum_console.errors import RateLimitedError
from edictum_console.resources import Resources

_MOST_OF_PERSON = 20
_RETRY_AFTER_SECONDS = 30


class Topic(StrEnum):
    """
    What a page is about.
    """

    APPROVALS = "approvals"
    EVENTS = "events"
    FLEET = "fleet"
    DEPLOYMENTS = "deployments"


# What becomes of rows of the feed, by their kinds.
_FROM_FEED = {
    "approval_created": (Topic.APPROVALS, "approval_created"),
    "approval_decided": (Topic.APPROVALS, "approval_decided"),
    "approval_timeout": (Topic.APPROVALS, "approval_timeout"),
    "assignment_changed": (Topic.FLEET, "assignment_changed"),
    "bundle_deployed": (Topic.DEPLOYMENTS, "bundle_deployed"),
    "bundle_uploaded": (Topic.DEPLOYMENTS, "bundle_uploaded"),
    "channel_failed": (Topic.APPROVALS, "channel_failed"),
    "composition_changed": (Topic.DEPLOYMENTS, "composition_changed"),
    "contract_created": (Topic.DEPLOYMENTS, "contract_created"),
    "contract_deleted": (Topic.DEPLOYMENTS, "contract_deleted"),
    "contract_updated": (Topic.DEPLOYMENTS, "contract_updated"),
    "key_created": (Topic.FLEET, "api_key_created"),
    "key_ended": (Topic.FLEET, "api_key_revoked"),
    "settings_changed": (Topic.DEPLOYMENTS, "settings_changed"),
    "signing_key_rotated": (Topic.DEPLOYMENTS, "signing_key_rotated"),
}


@attrs.define(eq=False)
class PageStream:
    """
    A stream that a page holds.

    Attributes:
        user_id: Whose page it is.
        token: The login that it was opened with.
        topics: What it is about.
        cursor: The number of the last row of the feed that it saw; None where it saw none.
    """

    user_id: UUID
    token: str = attrs.field(repr=False)
    topics: frozenset[Topic]
    cursor: int | None
    connection: EventConnection = attrs.field(factory=EventConnection)


class PageStreams:
    """
    The streams of one tenant's pages in this process.
    """

    def __init__(self, scope: TenantScope, resources: Resources) -> None:
        self._scope = scope
        self._resources = resources
        self._lock = asyncio.Lock()
        self._streams: set[PageStream] = set()
        self._seq = 0

    def all(self) -> list[PageStream]:
        """
        All of them.
        """
        return list(self._streams)

    async def join(self, stream: PageStream) -> None:
        """
        Take a stream in.

        Raises:
            RateLimitedError: The person holds too many.
        """
        async with self._lock:
            if sum(other.user_id == stream.user_id for other in self._streams) >= _MOST_OF_PERSON:
                raise RateLimitedError("too many pages are open", _RETRY_AFTER_SECONDS)
            if self._streams:
                await self._look()
            else:
                self._seq = await Outbox(self._scope).newest()
            if stream.cursor not in (None, self._seq):
                stream.connection.push(frame("resync", {}, self._seq))
            self._streams.add(stream)

    def leave(self, stream: PageStream) -> None:
        """
        Forget a stream, which may never have been taken in.
        """
        self._streams.discard(stream)

    async def catch_up(self) -> None:
        """
        Tell all streams what the feed says since they were last told.
        """
        async with self._lock:
            if self._streams:
                await self._look()

    def tell(self, said: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """
        Tell all streams what happened that is in no feed.
        """
        for name, facts in said:
            topic = Topic.EVENTS if name == "event_created" else Topic.FLEET
            self._push(topic, frame(name, facts, None))

    async def end_others(self) -> None:
        """
        End the streams of people who are not signed in any more.
        """
        people = StoredPeople(self._resources.scopes)
        for token, user_id in {(stream.token, stream.user_id) for stream in self._streams}:
            login = await self._resources.logins.find(token)
            if login is None or await people.find(self._scope.tenant_id, user_id, token) is None:
                for stream in [one for one in self._streams if one.token == token]:
                    stream.connection.end(frame("signed_out", {}, None))

    async def _look(self) -> None:
        while items := await Outbox(self._scope).after(self._seq):
            for item in items:
                self._say(item)
            self._seq = items[-1].seq

    def _say(self, item: FeedItem) -> None:
        if item.kind in _FROM_FEED:
            topic, name = _FROM_FEED[item.kind]
            about = {"env": item.env, "agent_id": item.agent_id}
            facts = {name: value for name, value in about.items() if value is not None} | item.payload
            self._push(topic, frame(name, facts, item.seq))

    def _push(self, topic: Topic, text: bytes) -> None:
        for stream in self._streams:
            if topic in stream.topics:
                stream.connection.push(text)


def topics_of(text: str | None) -> frozenset[Topic] | None:
    """
    Read topics, separated by commas; all where none is named, None where one is none.
    """
    if not text:
        return frozenset(Topic)
    try:
        return frozenset(map(Topic, _names(text)))
    except ValueError:
        return None


def _names(text: str) -> Iterable[str]:
    return (name.strip() for name in text.split(","))
