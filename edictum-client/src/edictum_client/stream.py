"""
Hearing from a console without asking: one connection after the other, each decoded by aiohttp-sse-client.

That library decodes one connection well.  It is not asked to reconnect, because it gives up when a server is killed
and glues what a broken connection leaves to what the next one begins with.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, NoReturn

import aiohttp
import attrs
from aiohttp_sse_client.client import EventSource

from edictum_client.client import EdictumServerClient, refusal
from edictum_client.errors import EdictumServerError, ServerProtocolError, ServerRefusedError, ServerUnreachableError
from edictum_client.retries import LONGEST_PAUSE, Backoff

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 90.0
STABLE_SECONDS = 30.0
_LONGEST_REFUSAL = 64 * 1024

OPENED = "opened"
"""The kind of the notice that a connection stands; what was missed before it is not known."""


@attrs.frozen
class Notice:
    """
    Something that the console says.

    Attributes:
        kind: For example ``ruleset_updated``.
        data: What it says about it.
    """

    kind: str
    data: Mapping[str, Any]


async def notices(
    client: EdictumServerClient,
    query: Callable[[], Mapping[str, str]],
    refused_by: Callable[[ServerRefusedError], object],
) -> AsyncGenerator[Notice]:
    """
    Listen for ever, on the client's loop.

    Pauses between connections grow from one second to a minute, and begin anew after one that lasted.  A refusal is
    said in the log, and asked again at the longest pause: a key may be let in again.

    Args:
        client: The way to the console.
        query: What the agent says about itself, asked for each connection.
        refused_by: Hears each refusal.
    """
    backoff, last_id, refused = Backoff(), "", ""
    while True:
        opened, pause = time.monotonic(), 0.0
        try:
            async with aclosing(_connection(client, query(), last_id)) as events:
                async for event in events:
                    if event.kind == "drain":
                        pause = _milliseconds(event.data.get("reconnect_in_ms")) or 0.1
                    if event.kind == OPENED:
                        refused = ""
                    last_id = event.last_event_id or last_id
                    yield Notice(event.kind, event.data)
        except ServerRefusedError as error:
            pause = LONGEST_PAUSE
            if refused != str(error):
                logger.error("the console does not let this agent listen, so it learns of no changes: %s", error)
            refused = str(error)
            refused_by(error)
        except EdictumServerError as error:
            pause = getattr(error, "retry_after", None) or pause
            logger.info("the connection with the console ended: %s", error)
        except Exception:
            # Whatever it is, an agent that stopped listening would learn of no changes any more.
            logger.exception("listening to the console failed; it is tried again")
        if time.monotonic() - opened > STABLE_SECONDS:
            backoff.reset()
        await asyncio.sleep(pause if 0 < pause < 1 else backoff.pause(pause))


@attrs.frozen
class _Event:
    kind: str
    data: Mapping[str, Any]
    last_event_id: str = ""


class _EndedError(Exception):
    """
    The console ended the connection in order.
    """


class _Opener:
    """
    What EventSource takes for a session: it hands over connections that are streams, and says why one is not.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def request(self, method: str, url: Any, **options: Any) -> aiohttp.ClientResponse:
        try:
            response = await self._session.request(method, url, allow_redirects=False, **options)
        except (aiohttp.ClientError, OSError) as error:
            # Here, because EventSource tells nobody why it could not connect.
            raise ServerUnreachableError(f"GET /v1/stream: {str(error) or type(error).__name__}") from None
        if response.status == 200 and response.content_type == "text/event-stream":
            return response
        try:
            if response.status == 200:
                raise ServerProtocolError(f"GET /v1/stream: the answer is {response.content_type}, no stream of events")
            raw = await response.content.read(_LONGEST_REFUSAL)
            raise refusal("GET /v1/stream", response.status, raw, response.headers)
        finally:
            response.close()


async def _connection(client: EdictumServerClient, query: Mapping[str, str], last_id: str) -> AsyncGenerator[_Event]:
    """
    What one connection brings, until it ends.

    Raises:
        EdictumServerError: It could not be opened, or broke.
    """
    headers = {} if not last_id else {"Last-Event-ID": last_id}
    # Heartbeats come every 15 seconds: silence means that nobody is there.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
    source = EventSource(
        f"{client.base_url}/v1/stream",
        session=_Opener(client.session()),
        max_connect_retry=0,
        on_error=_stop,
        headers=headers,
        params=dict(query),
        timeout=timeout,
    )
    try:
        await source.connect()
        yield _Event(OPENED, {})
        async for message in source:
            yield _Event(message.type or "message", _object(message.data), message.last_event_id)
    except _EndedError:
        return
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        text = str(error) or type(error).__name__
        raise ServerUnreachableError(f"GET /v1/stream: {client.base_url}: {text}") from None
    finally:
        await source.close()


def _stop() -> NoReturn:
    # Otherwise the library would reconnect by itself.
    raise _EndedError()


def _object(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _milliseconds(value: object) -> float:
    return min(max(value, 0), 10_000) / 1000 if isinstance(value, int) and not isinstance(value, bool) else 0.0
