"""
Removing rows that are over and that nobody reads any more.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from edictum_console.db.scope import SystemRepository
from edictum_console.db.tables import (
    ApprovalActionTokens,
    Approvals,
    Feed,
    IdempotencyKeys,
    NotificationDeliveries,
    ScriptTokens,
    SessionValues,
    UserSessions,
)

FEED_LIFETIME = timedelta(hours=24)
APPROVALS_KEPT = timedelta(days=400)
DELIVERIES_KEPT = timedelta(days=30)


class Leftovers(SystemRepository):
    """
    Rows with an end, of all tenants.
    """

    async def remove(self) -> None:
        """
        Remove what is over: values, logins, tokens, kept answers, changes that every stream has seen.

        And what is old: approvals, and messages about them.
        """
        now = datetime.now(UTC)
        values, logins, replies = self._table(SessionValues), self._table(UserSessions), self._table(IdempotencyKeys)
        await values.delete().where(values.expires_at <= now)
        await logins.delete().where(logins.expires_at <= now)
        await replies.delete().where(replies.expires_at <= now)
        tokens = self._table(ScriptTokens)
        await tokens.delete().where(tokens.expires_at <= now)
        buttons = self._table(ApprovalActionTokens)
        await buttons.delete().where(buttons.expires_at <= now)
        deliveries = self._table(NotificationDeliveries)
        await deliveries.delete().where(deliveries.created_at <= now - DELIVERIES_KEPT)
        approvals = self._table(Approvals)
        await approvals.delete().where(approvals.created_at <= now - APPROVALS_KEPT)
        feed = self._table(Feed)
        await feed.delete().where(feed.created_at <= now - FEED_LIFETIME)
