"""
What presses of buttons are looked up by: the channel, the button, and who it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import attrs

from edictum_console.db.database import Database
from edictum_console.db.scope import TenantScope
from edictum_console.domains.notifications.repository import (
    ActionTokenRepository,
    ChannelLookup,
    IdentityRepository,
)
from edictum_console.domains.notifications.tokens import token_hash


@attrs.frozen
class Button:
    """
    A button that was sent.

    Attributes:
        approval_id: The request that it decides.
        approved: How.
    """

    approval_id: UUID
    approved: bool


async def find_channel(database: Database, channel_id: UUID) -> Mapping[str, Any] | None:
    """
    Return the channel that a provider names, if it is used.
    """
    row = await ChannelLookup(database).find(channel_id)
    return row if row is not None and row["enabled"] else None


async def find_button(scope: TenantScope, channel_id: UUID, token: str) -> Button | None:
    """
    Return a button of messages to a channel, if it still decides anything.
    """
    row = await ActionTokenRepository(scope).find(channel_id, token_hash(token))
    if row is None or row["used_at"] is not None or row["expires_at"] <= await scope.database.now():
        return None
    return Button(row["approval_id"], row["decision"] == "approved")


async def person_behind(scope: TenantScope, channel_id: UUID, external_user_id: str) -> UUID | None:
    """
    Return the person whom an administrator said that somebody in a channel is.
    """
    row = await IdentityRepository(scope).find(channel_id, external_user_id)
    return None if row is None else row["user_id"]
