"""
Making and ending API keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from edictum_console.commands.opening import Opened
from edictum_console.db.scope import TenantScope
from edictum_console.domains.keys.schemas import CreatedKey, NewKey
from edictum_console.domains.keys.service import KeyService
from edictum_console.http.bodies import structure
from edictum_console.security.api_keys import prefix_of


async def create_key(
    console: Opened,
    tenant: str | None,
    *,
    env: str,
    label: str,
    agent: str | None,
    scopes: Sequence[str] | None,
    days: int | None,
) -> CreatedKey:
    """
    Make an API key.

    Args:
        console: What the command works with.
        tenant: Whose; None for the only one.
        env: The environment that it is for.
        label: What people call it.
        agent: Which agent ids may use it; None for any.
        scopes: What it may do; None for what agents need.
        days: After how many days it ends by itself; None for never.
    """
    values: dict[str, Any] = {"env": env, "label": label, "agent_pattern": agent}
    if scopes is not None:
        values |= {"scopes": list(scopes)}
    if days is not None:
        values |= {"expires_at": datetime.now(UTC) + timedelta(days=days)}
    service = _service(console, await console.scope(tenant))
    return await service.create(structure(values, NewKey), console.caller)


async def revoke_key(console: Opened, tenant: str | None, name: str) -> str:
    """
    End an API key.

    Args:
        console: What the command works with.
        tenant: Whose; None for the only one.
        name: Its id, the part of it that is no secret, or all of it.

    Returns:
        The part of it that is no secret, or the id where that was given.
    """
    service = _service(console, await console.scope(tenant))
    try:
        key_id, shown = UUID(name), name
    except ValueError:
        found = await service.find(prefix_of(name) or name)
        key_id, shown = found.id, found.prefix
    await service.revoke(key_id, console.caller)
    return shown


def _service(console: Opened, scope: TenantScope) -> KeyService:
    return KeyService(scope, console.resources.hasher, console.resources.stores.bus)
