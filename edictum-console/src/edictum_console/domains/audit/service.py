"""
Writing and checking the administrators' log.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from edictum_console.db.scope import TenantScope
from edictum_console.domains.audit.repository import AuditRepository
from edictum_console.domains.audit.schemas import AuditEntry, AuditPage, ChainCheck
from edictum_console.http.paging import cursor_number, cut
from edictum_console.resources import Caller

_CHAINED = ("seq", "created_at", "actor", "action", "object", "details", "request_id", "address", "prev_hash")
_CHUNK = 500


class AuditService:
    """
    The administrators' log of one tenant.
    """

    def __init__(self, scope: TenantScope) -> None:
        self._scope = scope
        self._rows = AuditRepository(scope)

    async def record(self, caller: Caller, action: str, object: str, details: Mapping[str, Any] | None = None) -> None:
        """
        Write down what was done, in the transaction in which it is done.

        Args:
            caller: Who does it; where a person's script does, its token is written down, too.
            action: What, in words joined by points.
            object: To what.
            details: More; never a secret.
        """
        database = self._scope.database
        database.require_transaction()
        await database.lock(f"audit:{self._scope.tenant_id}")
        seq, prev_hash = await self._rows.newest()
        script_id = getattr(caller.actor, "script_id", None)
        known = {} if script_id is None else {"script": str(script_id)}
        row = {
            "seq": seq + 1,
            "created_at": await database.now(),
            "actor": caller.name,
            "action": action,
            "object": object,
            "details": json.dumps({**(details or {}), **known}, sort_keys=True),
            "request_id": caller.request_id,
            "address": caller.address,
            "prev_hash": prev_hash,
        }
        await self._rows.add({**row, "hash": _hash(row)})

    async def page(self, cursor: str | None, limit: int) -> AuditPage:
        """
        Return some of the log, newest first.
        """
        rows, more = cut(await self._rows.page(cursor_number(cursor), limit + 1), limit, "seq")
        return AuditPage([_entry(row) for row in rows], more)

    async def check(self) -> ChainCheck:
        """
        Compute the chain again, from its beginning.
        """
        seq, prev_hash = 0, "0" * 64
        while rows := await self._rows.after(seq, _CHUNK):
            for row in rows:
                if row["seq"] != seq + 1 or row["prev_hash"] != prev_hash or row["hash"] != _hash(row):
                    return ChainCheck(False, seq, seq + 1)
                seq, prev_hash = row["seq"], row["hash"]
        return ChainCheck(True, seq, None)


def _hash(row: Mapping[str, Any]) -> str:
    values = {**row, "created_at": row["created_at"].isoformat()}
    text = json.dumps([values[name] for name in _CHAINED])
    return hashlib.sha256(text.encode()).hexdigest()


def _entry(row: Mapping[str, Any]) -> AuditEntry:
    names = ("seq", "actor", "action", "object", "request_id", "address", "hash")
    details = json.loads(row["details"])
    return AuditEntry(at=row["created_at"], details=details, **{name: row[name] for name in names})
