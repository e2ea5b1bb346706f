"""
The outbox: rows that say what changed, written with the change, read by streams.

Nothing is published by whoever makes a change.  The row becomes visible with its transaction; a hint goes out after the
commit, and readers look on a timer too.  A change whose commit fails is never seen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from edictum_console.db.scope import Repository
from edictum_console.db.tables import Feed, Tenants


@attrs.frozen
class FeedItem:
    """
    One change.

    Attributes:
        seq: Its number; a tenant's numbers rise in the order of the commits.
        kind: What happened.
        env: The environment that it concerns; None for all.
        agent_id: The agent that it concerns; None for all.
        payload: Ids and labels.
        created_at: When it was written.
    """

    seq: int
    kind: str
    env: str | None
    agent_id: str | None
    payload: dict[str, Any]
    created_at: datetime


class Outbox(Repository):
    """
    A tenant's feed.
    """

    async def announce(
        self, kind: str, payload: Mapping[str, Any], *, env: str | None = None, agent_id: str | None = None
    ) -> int:
        """
        Tell streams of a change, once the transaction that makes it is committed.

        The number comes from the tenant's row, which stays locked until then, so numbers are seen in their order.

        Args:
            kind: What happened.
            payload: Ids, labels and what people are asked; never arguments of tools, documents or secrets.
            env: The environment that it concerns; None for all.
            agent_id: The agent that it concerns; None for all.

        Returns:
            The number of the row.

        Raises:
            RuntimeError: No transaction is open.
        """
        scope = self._scope
        scope.database.after_commit(("wake", scope.tenant_id), lambda: scope.wake(scope.tenant_id))
        tenants = scope.database.table(Tenants)
        (row,) = (
            await tenants.update({tenants.feed_seq: tenants.feed_seq + 1})
            .where(tenants.id == scope.tenant_id)
            .returning(tenants.feed_seq)
        )
        seq: int = row["feed_seq"]
        text = json.dumps(dict(payload))
        await self._insert(
            self._table(Feed), {"seq": seq, "kind": kind, "env": env, "agent_id": agent_id, "payload": text}
        )
        return seq

    async def newest(self) -> int:
        """
        The number of the last change; 0 before the first.
        """
        tenants = self._scope.database.table(Tenants)
        rows = await tenants.select(tenants.feed_seq).where(tenants.id == self._scope.tenant_id)
        return int(rows[0]["feed_seq"]) if rows else 0

    async def after(self, seq: int, limit: int = 1000) -> list[FeedItem]:
        """
        The changes after a number, oldest first.
        """
        feed = self._table(Feed)
        chosen = (feed.seq, feed.kind, feed.env, feed.agent_id, feed.payload, feed.created_at)
        rows = await self._select(feed, *chosen).where(feed.seq > seq).order_by(feed.seq).limit(limit)
        return [FeedItem(**{**row, "payload": json.loads(row["payload"])}) for row in rows]
