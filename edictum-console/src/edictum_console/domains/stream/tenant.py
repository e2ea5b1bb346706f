"""
All streams of one tenant in this process: comparing what each agent should run with what it was given.

Nothing depends on a message that could be lost.  A hint only says when to look; what is looked at is the feed, by its
numbers, and the state itself, from time to time without any hint.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from datetime import UTC, datetime

from edictum_console.db.outbox import FeedItem, Outbox
from edictum_console.db.scope import TenantScope
from edictum_console.domains.agents.service import AgentService
from edictum_console.domains.approvals.wire import POLICY_BLOCK, word
from edictum_console.domains.assignment.resolution import Resolution
from edictum_console.domains.stream.frames import frame
from edictum_console.domains.stream.view import AgentStream, View
from edictum_console.errors import RateLimitedError
from edictum_console.resources import Resources

_LONGEST_REPLAY = 1000  # rows of the feed; who missed more is told to look at everything anew
_RETRY_AFTER_SECONDS = 30

# After which kinds of changes an agent may have to run something else, or may not be connected any more.
_CHANGES = {
    "assignment_changed",
    "bundle_deployed",
    "key_created",
    "key_ended",
    "settings_changed",
    "signing_key_rotated",
}


class TenantStreams:
    """
    The streams of one tenant.
    """

    def __init__(self, scope: TenantScope, resources: Resources, reconcile_seconds: float) -> None:
        self._scope = scope
        self._resources = resources
        self._reconcile_seconds = reconcile_seconds
        self._lock = asyncio.Lock()
        self._agents: dict[tuple[str, str], set[AgentStream]] = {}
        self._seq = 0
        self._view: View | None = None
        self._read_at = 0.0
        self._stale = False
        self.count = 0

    def all(self) -> Iterable[AgentStream]:
        """
        All of them.
        """
        return [stream for streams in self._agents.values() for stream in streams]

    def agents(self) -> Collection[tuple[str, str]]:
        """
        The agents that hold one: environments and agent ids.
        """
        return self._agents.keys()

    async def join(self, stream: AgentStream) -> None:
        """
        Take a stream in and let it catch up.

        Raises:
            RateLimitedError: There are too many.
        """
        async with self._lock:
            self._check_room(stream)
            if not self.count:
                self._view = None  # nobody looked at the feed since the last stream went
            view = await self._look()
            if stream.cursor is not None:
                await self._replay(stream, stream.cursor)
            await self._greet(stream, view)
            self._agents.setdefault((stream.env, stream.agent_id), set()).add(stream)
            self.count += 1

    def leave(self, stream: AgentStream) -> None:
        """
        Forget a stream, which may never have been taken in.
        """
        place = (stream.env, stream.agent_id)
        streams = self._agents.get(place, set())
        if stream in streams:
            streams.remove(stream)
            self.count -= 1
            if not streams:
                del self._agents[place]

    async def catch_up(self) -> None:
        """
        Tell all streams what happened since they were last told.
        """
        async with self._lock:
            if self.count:
                await self._look()

    def _check_room(self, stream: AgentStream) -> None:
        settings = self._resources.settings
        if self.count >= settings.streams_per_tenant:
            raise RateLimitedError("there are too many streams", _RETRY_AFTER_SECONDS)
        if len(self._agents.get((stream.env, stream.agent_id), ())) >= settings.streams_per_agent:
            raise RateLimitedError("this agent holds too many streams", _RETRY_AFTER_SECONDS)

    async def _look(self) -> View:
        """
        Read the feed, and the state where it may have changed; return what is known then.
        """
        outbox, now = Outbox(self._scope), asyncio.get_running_loop().time()
        if self._view is None:
            self._seq = await outbox.newest()
            self._view = await View.read(self._scope, self._resources, self._seq)
            self._read_at = now
            return self._view
        while items := await outbox.after(self._seq):
            for item in items:
                self._stale |= item.kind in _CHANGES
                for stream in self._agents.get((item.env or "", item.agent_id or ""), ()):
                    _tell(stream, item)
            self._seq = items[-1].seq
            waited = datetime.now(UTC) - items[0].created_at
            self._resources.metrics.took("edictum_feed_seconds", max(0.0, waited.total_seconds()))
        if self._stale or now - self._read_at >= self._reconcile_seconds:
            self._stale = True  # until all of it went well
            view = await View.read(self._scope, self._resources, self._seq, self._view)
            await self._settle(self.all(), view)
            self._announce(view, self._view)
            self._view, self._stale, self._read_at = view, False, now
        return self._view

    def _announce(self, view: View, before: View) -> None:
        for running in view.changed_since(before):
            announcement, about = view.announcement(running), f"announced {running.name}"
            for (env, _), streams in self._agents.items():
                if env == running.env:
                    for stream in streams:
                        stream.connection.push(announcement, about)

    async def _replay(self, stream: AgentStream, cursor: int) -> None:
        """
        Tell a stream that comes back what it missed.
        """
        items = await Outbox(self._scope).after(cursor, _LONGEST_REPLAY) if cursor < self._seq else []
        # Numbers have no gaps, so one that is missing was removed because of its age.
        complete = bool(items) and items[0].seq == cursor + 1 and len(items) < _LONGEST_REPLAY
        if cursor != self._seq and not complete:
            stream.connection.push(frame("resync", {}, self._seq))
            return
        for item in items:
            if (item.env, item.agent_id) == (stream.env, stream.agent_id) and item.seq <= self._seq:
                _tell(stream, item)

    async def _greet(self, stream: AgentStream, view: View) -> None:
        """
        Compare what a new stream's agent runs with what it should run.
        """
        running = view.plan.deployed(stream.env, view.resolution(stream).bundle_name)
        if running is not None and stream.revision == running.revision_hash and stream.name in (None, running.name):
            stream.name, stream.sent = running.name, running.deployment_seq
        elif running is not None and stream.name is None and stream.revision is not None:
            # It runs something of ours, and may take the name for the one that it has: the ruleset itself follows.
            await self._settle([stream], view)
            stream.sent = 0
        await self._settle([stream], view)
        for (env, name), deployed in view.plan.running.items():
            if env == stream.env and stream.requested in (None, name) and stream.revision != deployed.revision_hash:
                stream.connection.push(view.announcement(deployed), f"announced {name}")

    async def _settle(self, streams: Iterable[AgentStream], view: View) -> None:
        """
        Give each stream what its agent should run and was not given yet.
        """
        moving: dict[tuple[str, str], list[tuple[AgentStream, Resolution]]] = {}
        for stream in streams:
            if stream.key_id not in view.keys:
                stream.connection.end(frame("key_revoked", {}, view.seq))
                continue
            resolution = view.resolution(stream)
            running = view.plan.deployed(stream.env, resolution.bundle_name)
            if running is None:
                continue  # an agent keeps what it has until there is something else
            if stream.name != running.name:
                moving.setdefault((stream.env, running.name), []).append((stream, resolution))
            elif stream.sent < running.deployment_seq:
                update, seq = await view.update(self._scope, self._resources, running, stream.key_id)
                stream.connection.push(update, "update")
                stream.sent = seq
        for (env, name), moved in moving.items():
            # Before they are told: who comes back with the name that it got here does not insist on it.
            await AgentService(self._scope).assigned(env, {stream.agent_id for stream, _ in moved}, name)
            for stream, resolution in moved:
                stream.connection.push(view.reassignment(stream.agent_id, resolution), "assignment")
                stream.name, stream.sent = name, view.plan.running[env, name].deployment_seq


def _tell(stream: AgentStream, item: FeedItem) -> None:
    """
    Tell a stream what became of a request for approval.
    """
    said = item.payload
    if item.kind == "approval_timeout" and said.get("decision_reason") != POLICY_BLOCK:
        stream.connection.push(frame("approval_timeout", {"approval_id": said["approval_id"]}, item.seq))
    elif item.kind in ("approval_decided", "approval_timeout"):
        # Where an agent must not go on by itself when the time is over, that is a decision.
        status = "denied" if item.kind == "approval_timeout" else said["status"]
        facts = {name: said.get(name) for name in ("approval_id", "decided_by", "decision_reason")}
        facts["status"] = word(status, stream.dialect)
        stream.connection.push(frame("approval_decided", facts, item.seq))
