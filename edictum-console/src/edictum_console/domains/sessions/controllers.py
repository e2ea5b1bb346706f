"""
Routes of session values.

A key is the rest of the path, taken from the bytes that were sent: the framework would make one slash of two, and two
keys would share a counter.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import unquote_to_bytes

from litestar import Controller, Request, delete, get, post, put
from litestar.di import Provide
from litestar.params import FromPath, JSONBody

from edictum_console.domains.sessions.schemas import (
    CHANGE_SCHEMA,
    Amount,
    Counter,
    Deleted,
    Keys,
    NewValue,
    OperationResults,
    SessionOperations,
    StoredValue,
    Values,
)
from edictum_console.domains.sessions.service import SessionService
from edictum_console.errors import BadRequestError, NotFoundError
from edictum_console.http.bodies import read_json, reader, structure
from edictum_console.http.documenting import with_body
from edictum_console.http.idempotency import once_of
from edictum_console.http.parameters import Injected
from edictum_console.resources import Resources
from edictum_console.security import guards
from edictum_console.security.actor import KeyActor, KeyScope
from edictum_console.settings import Settings
from edictum_console.state.ports import Limit, Place


def _operations(settings: Settings) -> Limit:
    return Limit("session-operations", settings.session_requests_per_minute, timedelta(minutes=1))


_read_operations = reader(SessionOperations)

_FOLDER = b"/sessions/"
_INCREMENT = b"/increment"


async def provide_service(request: Request[KeyActor, str, Any], resources: Injected[Resources]) -> SessionService:
    """
    Make the service for the environment of the key.
    """
    place = Place(request.user.tenant_id, request.user.env)
    return SessionService(resources.stores.values, place, await once_of(request))


class SessionController(Controller):
    """
    Counters and values that agents share.
    """

    path = "/sessions"
    tags = ("sessions",)
    guards = [guards.key(KeyScope.AGENT, _operations)]  # noqa: RUF012
    dependencies = {"service": Provide(provide_service)}  # noqa: RUF012

    @get("/{key:path}", summary="Read a value")
    async def read(
        self, service: Injected[SessionService], request: Request[KeyActor, str, Any], key: FromPath[str]
    ) -> StoredValue:
        """
        Read a value, which is always text.
        """
        return await service.read(_key(_rest(request)))

    @put("/{key:path}", summary="Write a value")
    async def write(
        self,
        service: Injected[SessionService],
        request: Request[KeyActor, str, Any],
        key: FromPath[str],
        data: JSONBody[NewValue],
    ) -> StoredValue:
        """
        Write a value.
        """
        return await service.write(_key(_rest(request)), data)

    @delete("/{key:path}", status_code=200, summary="Delete a value")
    async def delete(
        self, service: Injected[SessionService], request: Request[KeyActor, str, Any], key: FromPath[str]
    ) -> Deleted:
        """
        Delete a value.
        """
        return await service.delete(_key(_rest(request)))

    @post(
        "/{key:path}",
        status_code=200,
        summary="Count, read many values, or do several operations at once",
        operation_class=with_body(CHANGE_SCHEMA, required=False),
    )
    async def change(
        self, service: Injected[SessionService], request: Request[KeyActor, str, Any], key: FromPath[str]
    ) -> Counter | Values | OperationResults:
        """
        Add to a counter by ``{key}/increment``, read many values by ``batch``, or do operations together by ``ops``.

        Operations are tried in their order.  Where an increment would pass its ``max``, nothing of the list is done:
        ``applied`` is false, and each result has the present value.  That increment is the first one with ``allowed``
        false; those before it had room, and those after it, which were not tried, have false, too.
        """
        rest, body = _rest(request), await request.body()
        if rest == b"batch":
            return await service.batch(structure(read_json(body), Keys))
        if rest == b"ops":
            return await service.operate(_read_operations(body))
        if not rest.endswith(_INCREMENT):
            raise NotFoundError("POST goes to batch, ops or {key}/increment")
        amount = structure(read_json(body), Amount) if body else Amount()
        return await service.increment(_key(rest.removesuffix(_INCREMENT)), amount)


def _rest(request: Request[KeyActor, str, Any]) -> bytes:
    """
    What follows the folder in the path that was sent.
    """
    raw: bytes = request.scope["raw_path"].partition(b"?")[0]
    return raw.partition(_FOLDER)[2]


def _key(raw: bytes) -> str:
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise BadRequestError("the key is not UTF-8", "invalid_key_encoding") from None
