"""
Bodies about the administrators' log.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs


@attrs.frozen
class AuditEntry:
    """
    One thing that was done.

    Attributes:
        seq: Its number; they have no gaps.
        at: When.
        actor: Who.
        action: What.
        object: To what.
        details: More; never a secret.
        request_id: In which request.
        address: From where.
        hash: The SHA-256 over this row and the hash of the one before.
    """

    seq: int
    at: datetime
    actor: str
    action: str
    object: str
    details: dict[str, Any]
    request_id: str | None
    address: str | None
    hash: str


@attrs.frozen
class AuditPage:
    """
    Some of the log, newest first.
    """

    entries: list[AuditEntry]
    next_cursor: str | None


@attrs.frozen
class ChainCheck:
    """
    Whether the log is as it was written.

    Attributes:
        intact: Whether it is.
        entries: How many rows were checked.
        broken_at: The number of the first row that is not what was written, or that should be there and is not.
    """

    intact: bool
    entries: int
    broken_at: int | None
