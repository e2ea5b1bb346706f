"""
Reading ``Idempotency-Key``, by which a sender repeats a request without its being done twice.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from litestar import Request

from edictum_console.errors import BadRequestError
from edictum_console.security.actor import KeyActor
from edictum_console.state.ports import Once

_PRINTABLE = re.compile(r"[\x21-\x7e]{1,128}")


async def once_of(request: Request[KeyActor, str, Any]) -> Once | None:
    """
    Return what names a request; None if its sender does not mean to repeat it.

    Raises:
        BadRequestError: The name is not printable, or too long.
    """
    name = request.headers.get("idempotency-key")
    if name is None or request.method == "GET":
        return None
    if not _PRINTABLE.fullmatch(name):
        raise BadRequestError("Idempotency-Key must be 1 to 128 printable characters", "invalid_idempotency_key")
    digest = hashlib.sha256(b"\n".join([request.method.encode(), request.scope["raw_path"], await request.body()]))
    return Once(request.user.key_id, name, digest.hexdigest())
