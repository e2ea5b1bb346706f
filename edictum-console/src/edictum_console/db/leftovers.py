"""
Removing rows that are over and that nobody reads any more.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from edictum_console.db.scope import SystemRepository
from edictum_console.db.tables import Feed, IdempotencyKeys, ScriptTokens, SessionValues, UserSessions

FEED_LIFETIME = timedelta(hours=24)


class Leftovers(SystemRepository):
    """
    Rows with an end, of all tenants.
    """

    async def remove(self) -> None:
        """
        Remove values, logins and kept answers that are over, and changes that every stream has seen.
        """
        now = datetime.now(UTC)
        values, logins, replies = self._table(SessionValues), self._table(UserSessions), self._table(IdempotencyKeys)
        await values.delete().where(values.expires_at <= now)
        await logins.delete().where(logins.expires_at <= now)
        await replies.delete().where(replies.expires_at <= now)
        tokens = self._table(ScriptTokens)
        await tokens.delete().where(tokens.expires_at <= now)
        feed = self._table(Feed)
        await feed.delete().where(feed.created_at <= now - FEED_LIFETIME)
