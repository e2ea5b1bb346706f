"""
Headers of every answer, and the id by which a request is found in the log.
"""

from __future__ import annotations

import re
from typing import Any, cast

from litestar.types import Message, Scope

from edictum_console.ids import new_id

_REQUEST_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

_ALWAYS = {
    "X-Edictum-Api": "1",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; "
    "object-src 'none'",
}


def request_id(scope: Scope) -> str:
    """
    The id of a request: the one that it brought, if it can be one, else a new one.
    """
    state = cast(dict[str, Any], scope).setdefault("state", {})
    found: str | None = state.get("request_id")
    if found is None:
        brought = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        found = state["request_id"] = brought.decode() if _REQUEST_ID.fullmatch(brought) else str(new_id())
    return found


class ResponseHeaders:
    """
    Adds the headers that every answer has.
    """

    def __init__(self, secure: bool) -> None:
        strict = {"Strict-Transport-Security": "max-age=31536000"} if secure else {}
        headers = {**_ALWAYS, **strict, "Cache-Control": "no-store"}
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, message: Message, scope: Scope) -> None:
        """
        Add them when an answer begins; one that sets a header itself keeps it.
        """
        if message["type"] != "http.response.start":
            return
        headers = list(message.get("headers", ()))
        present = {name.lower() for name, _ in headers}
        headers += [header for header in self._headers if header[0] not in present]
        headers.append((b"x-request-id", request_id(scope).encode()))
        message["headers"] = headers
