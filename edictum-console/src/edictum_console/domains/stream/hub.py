"""
All streams of this process: taking them in, waking them, keeping them alive, and ending them in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import attrs
from litestar.types import ASGIApp, Receive, Scope, Send

from edictum_console.domains.agents.service import AgentService
from edictum_console.domains.stream.connection import EventConnection
from edictum_console.domains.stream.frames import frame, heartbeat
from edictum_console.domains.stream.pages import PageStream, PageStreams
from edictum_console.domains.stream.tenant import TenantStreams
from edictum_console.domains.stream.view import AgentStream
from edictum_console.errors import RateLimitedError, UnavailableError
from edictum_console.resources import Resources
from edictum_console.state.ports import Limit, Signal
from edictum_console.state.pulse import Pulse

logger = logging.getLogger(__name__)

CONNECTS = Limit("stream-connects", 30, timedelta(minutes=1))
PAGE_CONNECTS = Limit("page-connects", 60, timedelta(minutes=1))

_PARTS = 15  # in which heartbeats are sent, so that not all streams are served at once
_AGAIN_SECONDS = 1.0
_RECONNECT_MILLISECONDS = 2000


@attrs.frozen
class Rhythm:
    """
    How often things are done without being asked for, in seconds.

    Attributes:
        heartbeat: Between two heartbeats of a stream.
        look: Between two looks at the feed, where no hint comes.
        reconcile: Between two comparisons of all that should run with what was sent.
        seen: Between two notes that connected agents are still there.
        pulse: Between two words to pages about what is stored nowhere.
    """

    heartbeat: float = 15.0
    look: float = 2.0
    reconcile: float = 15.0
    seen: float = 60.0
    pulse: float = 1.0


class Hub:
    """
    The streams of this process.
    """

    def __init__(self, resources: Resources, rhythm: Rhythm, pulse: Pulse) -> None:
        self._resources = resources
        self._rhythm = rhythm
        self._tenants: dict[UUID, TenantStreams] = {}
        self._pages: dict[UUID, PageStreams] = {}
        self._pulse = pulse
        self._past: Counter[str] = Counter()  # what became of events for streams that have ended
        self._dirty: set[UUID] = set()
        self._woken = asyncio.Event()
        self._draining: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        """
        How many streams there are.
        """
        return sum(tenant.count for tenant in self._tenants.values())

    async def admit(self, tenant_id: UUID, stream: AgentStream) -> ASGIApp:
        """
        Return what answers a request by a stream.

        Raises:
            UnavailableError: The process is about to end.
            RateLimitedError: The agent connects too often.
        """
        self._check_open()
        subject = f"{tenant_id}:{stream.env}:{stream.agent_id}"
        await self._take(CONNECTS, subject, "this agent connects too often")

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            await self._serve(tenant_id, stream, scope, receive, send)

        return serve

    def frames(self) -> Mapping[str, int]:
        """
        What became of events for streams of this replica.

        Returns:
            How many were ``sent`` and ``replaced`` by a newer one about the same, and how many readers were ``cut`` off
            because they were too slow.
        """
        found = Counter(self._past)
        for connection in self._connections():
            found.update(_frames(connection))
        return found

    def heed(self, signal: Signal) -> None:
        """
        Look at what changed; a listener of the bus.
        """
        if signal.kind == "happened":
            for tenant_id, pages in self._pages.items():
                if signal.id in (None, tenant_id):
                    pages.tell(signal.said)
        elif signal.kind == "missed":
            self._dirty |= self._tenants.keys() | self._pages.keys()
        elif signal.kind == "wake" and signal.id is not None and self._followed(signal.id):
            self._dirty.add(signal.id)
        if self._dirty:
            self._woken.set()

    def drain(self, seconds: float) -> None:
        """
        Take nobody in any more, and end all streams, one after the other within some time.
        """
        if self._draining is None:
            self._draining = asyncio.get_running_loop().create_task(self._drain(seconds))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """
        Follow what happens meanwhile.
        """
        stop = self._resources.stores.bus.listen(self.heed)
        work = (
            self._follow(),
            self._beat(),
            self._keep_presence(),
            self._note_seen(),
            self._tell_pages(),
            self._end_pages(),
        )
        tasks = [asyncio.get_running_loop().create_task(part) for part in work]
        try:
            yield
        finally:
            stop()
            if self._draining is not None:
                self._draining.cancel()
            left = set(tasks)
            while left:
                for task in left:
                    task.cancel()
                # Again, where it was lost: asyncio.wait_for of Python 3.11 does that when what it waits for is done.
                _, left = await asyncio.wait(left, timeout=_AGAIN_SECONDS)
            for connection in self._connections():
                connection.cut()

    async def _serve(self, tenant_id: UUID, stream: AgentStream, scope: Scope, receive: Receive, send: Send) -> None:
        if tenant_id not in self._tenants:
            scope_of_tenant = self._resources.scopes.of(tenant_id)
            self._tenants[tenant_id] = TenantStreams(scope_of_tenant, self._resources, self._rhythm.reconcile)
        tenant, presence = self._tenants[tenant_id], self._resources.stores.presence
        try:
            await tenant.join(stream)
            if self._draining is not None:
                stream.connection.end(_goodbye())
            with contextlib.suppress(UnavailableError):
                await presence.keep(tenant_id, [stream.present])
            self._pulse.happened(tenant_id, "agent_connected", _who(stream))
            try:
                await stream.connection.serve(scope, receive, send)
            finally:
                self._past.update(_frames(stream.connection))
                self._pulse.happened(tenant_id, "agent_disconnected", _who(stream))
        finally:
            tenant.leave(stream)
            with contextlib.suppress(UnavailableError):
                await presence.leave(tenant_id, [stream.present])

    async def admit_page(self, tenant_id: UUID, stream: PageStream) -> ASGIApp:
        """
        Return what answers a page's request by a stream.

        Raises:
            UnavailableError: The process is about to end.
            RateLimitedError: The person connects too often.
        """
        self._check_open()
        await self._take(PAGE_CONNECTS, str(stream.user_id), "too many pages connect")

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            if tenant_id not in self._pages:
                self._pages[tenant_id] = PageStreams(self._resources.scopes.of(tenant_id), self._resources)
            pages = self._pages[tenant_id]
            try:
                await pages.join(stream)
                if self._draining is not None:
                    stream.connection.end(_goodbye())
                await stream.connection.serve(scope, receive, send)
            finally:
                self._past.update(_frames(stream.connection))
                pages.leave(stream)

        return serve

    def _check_open(self) -> None:
        if self._draining is not None:
            raise UnavailableError("this replica is about to stop; connect again", "draining")

    async def _take(self, limit: Limit, subject: str, refusal: str) -> None:
        wait = await self._resources.stores.limits.take(limit, subject)
        if wait:
            raise RateLimitedError(refusal, wait)

    def _followed(self, tenant_id: UUID) -> bool:
        return tenant_id in self._tenants or tenant_id in self._pages

    async def _follow(self) -> None:
        """
        Look at the feeds of tenants for which there is a hint, and from time to time at all.
        """
        loop, next_look = asyncio.get_running_loop(), 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(next_look):
                    await self._woken.wait()
            self._woken.clear()
            due, self._dirty = self._dirty, set()
            if loop.time() >= next_look:
                due, next_look = {*self._tenants, *self._pages}, loop.time() + self._rhythm.look
            for tenant_id in due:
                for followers in (self._tenants.get(tenant_id), self._pages.get(tenant_id)):
                    if followers is not None:
                        await _attempt("looking at the feed", followers.catch_up())

    async def _beat(self) -> None:
        while True:
            connections = self._connections()
            size = max(1, math.ceil(len(connections) / _PARTS))
            for start in range(0, max(1, len(connections)), size):
                beat = heartbeat(int(time.time()))
                for connection in connections[start : start + size]:
                    connection.beat(beat)
                await asyncio.sleep(self._rhythm.heartbeat * size / max(1, len(connections), size))

    async def _keep_presence(self) -> None:
        while True:
            for tenant_id, tenant in list(self._tenants.items()):
                present = [stream.present for stream in tenant.all()]
                await _attempt("saying who is present", self._resources.stores.presence.keep(tenant_id, present))
            await asyncio.sleep(self._rhythm.heartbeat)

    async def _note_seen(self) -> None:
        while True:
            await asyncio.sleep(self._rhythm.seen)
            for tenant_id, tenant in list(self._tenants.items()):
                agents = AgentService(self._resources.scopes.of(tenant_id))
                present: dict[str, set[str]] = {}
                for env, agent_id in tenant.agents():
                    present.setdefault(env, set()).add(agent_id)
                for env, ids in present.items():
                    await _attempt("noting who was seen", agents.seen(env, ids))

    async def _tell_pages(self) -> None:
        while True:
            await asyncio.sleep(self._rhythm.pulse)
            await _attempt("telling pages", self._pulse.tell())

    async def _end_pages(self) -> None:
        while True:
            await asyncio.sleep(self._rhythm.reconcile)
            for pages in list(self._pages.values()):
                await _attempt("looking who is signed in", pages.end_others())

    async def _drain(self, seconds: float) -> None:
        """
        End all streams in any order, so that clients spread over the other replicas.
        """
        connections = self._connections()
        random.shuffle(connections)
        for connection in connections:
            connection.end(_goodbye())
            await asyncio.sleep(seconds / len(connections))

    def _connections(self) -> list[EventConnection]:
        of_agents = [stream.connection for tenant in self._tenants.values() for stream in tenant.all()]
        return of_agents + [stream.connection for pages in self._pages.values() for stream in pages.all()]


def _frames(connection: EventConnection) -> dict[str, int]:
    return {"sent": connection.sent, "replaced": connection.replaced, "cut": connection.cuts}


def _who(stream: AgentStream) -> dict[str, str]:
    return {"agent_id": stream.agent_id, "env": stream.env}


def _goodbye() -> bytes:
    # Without a number: nothing is to be seen as read by this.
    return frame("drain", {"reconnect_in_ms": random.randrange(_RECONNECT_MILLISECONDS)}, None)


async def _attempt(what: str, work: Awaitable[object]) -> None:
    """
    Do something that is done again soon, whether it fails or not.
    """
    try:
        await work
    except UnavailableError as error:
        logger.warning("%s failed: %s", what, error.detail)
    except Exception:
        logger.exception("%s failed", what)
