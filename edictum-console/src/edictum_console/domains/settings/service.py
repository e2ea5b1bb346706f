"""
Reading and changing a tenant's settings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import attrs

from edictum_console.db.database import Database
from edictum_console.db.outbox import Outbox
from edictum_console.db.scope import TenantScope
from edictum_console.domains.audit.service import AuditService
from edictum_console.domains.settings.repository import TenantSettingsRepository
from edictum_console.domains.settings.schemas import SettingsChange, TenantSettings
from edictum_console.resources import Caller


class SettingsService:
    """
    The settings of one tenant.
    """

    def __init__(self, scope: TenantScope) -> None:
        self._scope = scope
        self._rows = TenantSettingsRepository(scope.database)

    async def read(self) -> TenantSettings:
        """
        Return them; what was never decided is as usual.
        """
        return _settings(await self._rows.find(self._scope.tenant_id))

    async def change(self, change: SettingsChange, caller: Caller) -> TenantSettings:
        """
        Change some of them.
        """
        named: dict[str, Any] = {name: value for name, value in attrs.asdict(change).items() if value is not None}
        async with self._scope.transaction():
            await self._scope.database.lock(f"settings:{self._scope.tenant_id}")
            row = await self._rows.find(self._scope.tenant_id)
            changed = attrs.evolve(_settings(row), **named)
            if named:
                decided = attrs.asdict(changed)
                name = decided.pop("name")
                # Beside what is decided here, a tenant may be marked with words.
                kept = json.dumps({**json.loads(row["settings"]), **decided})
                await self._rows.change(self._scope.tenant_id, name, kept)
                await AuditService(self._scope).record(caller, "settings.change", name, named)
                await Outbox(self._scope).announce("settings_changed", {})
        return changed


async def settings_of_all(database: Database) -> dict[UUID, TenantSettings]:
    """
    Return what each tenant decided.
    """
    return {row["id"]: _settings(row) for row in await TenantSettingsRepository(database).all()}


def _settings(row: Mapping[str, Any]) -> TenantSettings:
    decided = json.loads(row["settings"])
    names = {field.name for field in attrs.fields(TenantSettings)}
    return TenantSettings(row["name"], **{name: value for name, value in decided.items() if name in names})
