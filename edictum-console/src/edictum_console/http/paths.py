"""
Refusing addresses that hold what no stored text can hold.
"""

from __future__ import annotations

from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from edictum_console.errors import BadRequestError, NotFoundError


class AddressMiddleware(ASGIMiddleware):
    """
    Refuses NUL characters in paths and queries; Postgres stores none, so nothing has such a name.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """
        Look at the address, and go on.
        """
        if "\0" in scope["path"]:
            raise NotFoundError("there is nothing here")
        if b"%00" in scope["query_string"]:
            raise BadRequestError("the query holds a NUL character")
        await next_app(scope, receive, send)
