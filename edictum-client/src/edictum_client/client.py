"""
Requests to a console: the address, the identity of the agent, what a failure means, and when to ask again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import platform
import re
import secrets
import time
from collections.abc import Callable, Mapping
from io import BytesIO
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlsplit
from weakref import WeakSet

import aiohttp
import attrs
from edictum import EdictumConfigError

from edictum_client.errors import ForkedError, ServerProtocolError, ServerRefusedError, ServerUnreachableError
from edictum_client.loop import at_exit, client_loop, generation, on_client_loop
from edictum_client.retries import LONGEST_PAUSE, ONCE, Schedule, jittered

__version__ = "0.1.0"

logger = logging.getLogger(__name__)

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ADDRESS = re.compile(r"[A-Za-z0-9.:/\[\]@%_~+-]+")
_KEY = re.compile(r"[\x21-\x7e]{1,512}")
_LARGEST_ANSWER = 8 * 1024 * 1024
_LARGE = 512 * 1024
_LONGEST_DETAIL = 300
_LONGEST_LINE = 2 * 1024 * 1024  # of a stream; the default of aiohttp is below the largest event
_KEPT_OPEN_SECONDS = 60
_ADDRESS_KEPT_SECONDS = 60
_EXIT_SECONDS = 3.0
_MOST_TAGS, _LONGEST_TAG_NAME, _LONGEST_TAG = 64, 128, 256

_open: WeakSet[EdictumServerClient] = WeakSet()


@attrs.frozen
class Answer:
    """
    What the console answered.

    Attributes:
        status: 200 to 299, or 304 or 404 where the caller allows them.
        body: The JSON object; empty for 304 and 404.
        etag: By which a later request can ask whether anything changed.
    """

    status: int
    body: dict[str, Any]
    etag: str | None = None


class EdictumServerClient:
    """
    One agent's way to a console.  Safe to use from several threads and event loops.

    Args:
        base_url: Where the console is, for example ``https://console.example.com``.
        api_key: The agent's API key.
        agent_id: What the agent calls itself.
        env: The environment that the key is for.
        bundle_name: The ruleset that the agent insists on; None leaves it to the console.
        tags: What the agent is, for assignment rules.
        allow_insecure: Send the key over plain HTTP also to other hosts than this one.

    Raises:
        EdictumConfigError: An argument makes no sense, or the key would travel unprotected.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        agent_id: str,
        env: str = "production",
        bundle_name: str | None = None,
        tags: Mapping[str, str] | None = None,
        allow_insecure: bool = False,
    ) -> None:
        self.base_url = _checked_url(base_url, allow_insecure)
        if not isinstance(api_key, str) or not _KEY.fullmatch(api_key):
            raise EdictumConfigError("api_key is the text of an API key, without blanks or line breaks around it")
        self.agent_id = identifier("agent_id", agent_id)
        self.env = identifier("env", env)
        self.bundle_name = None if bundle_name is None else identifier("bundle_name", bundle_name)
        self.tags = _checked_tags(tags or {})
        self._headers = {
            "Authorization": f"Bearer {api_key}",
            "X-Edictum-Agent-Id": agent_id,
            "X-Edictum-Client": f"edictum-client/{__version__} python/{platform.python_version()}",
        }
        self._session: aiohttp.ClientSession | None = None
        self._generation = generation()
        self._closed = False

    def __repr__(self) -> str:
        return f"EdictumServerClient({self.base_url!r}, agent_id={self.agent_id!r}, env={self.env!r})"

    # --- requests -------------------------------------------------------------------------------

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """
        Read something.

        Args:
            path: Below the address, for example ``/v1/health``.
            query: The part after the question mark.

        Raises:
            ServerUnreachableError: Nothing answered in time.
            ServerRefusedError: The console refused.
            ServerProtocolError: The answer is no JSON object.
        """
        return (await self.request("GET", path, query=query)).body

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """
        Send something; errors as for :meth:`get`.
        """
        return (await self.request("POST", path, body=body)).body

    async def put(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """
        Write something; errors as for :meth:`get`.
        """
        return (await self.request("PUT", path, body=body)).body

    async def delete(self, path: str) -> dict[str, Any]:
        """
        Remove something; errors as for :meth:`get`.
        """
        return (await self.request("DELETE", path)).body

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | bytes | None = None,
        schedule: Schedule = ONCE,
        headers: Mapping[str, str] | None = None,
        besides: tuple[int, ...] = (),
    ) -> Answer:
        """
        Make a request, and make it again as the schedule says while nothing answers.

        All tries carry the same ``Idempotency-Key``, so that a console which did what the first one asked does not do
        it again for the second.

        Args:
            method: For example ``GET``.
            path: Below the address.
            query: The part after the question mark.
            body: Encoded as JSON, unless it is already.
            schedule: How long to wait, and when to ask again.
            headers: More headers.
            besides: Statuses that are an answer too, such as 404.

        Raises:
            ServerUnreachableError: Nothing answered in time, or the console cannot answer now.
            ServerRefusedError: The console refused.
            ServerProtocolError: What answered is no console.
            ForkedError: The client was made before this process was forked.
        """
        if self._generation != generation():
            raise ForkedError()
        return await on_client_loop(self._request(method, path, query, body, schedule, headers or {}, besides))

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | bytes | None,
        schedule: Schedule,
        headers: Mapping[str, str],
        besides: tuple[int, ...],
    ) -> Answer:
        until = time.monotonic() + schedule.deadline
        sent = {"Accept": "application/json", **headers}
        if body is not None:
            body = body if isinstance(body, bytes) else json.dumps(dict(body), separators=(",", ":")).encode()
            sent["Content-Type"] = "application/json; charset=utf-8"
        if method == "POST":
            sent["Idempotency-Key"] = secrets.token_hex(16)
        pauses = iter(schedule.pauses)
        while True:
            left = until - time.monotonic()
            timeout = aiohttp.ClientTimeout(total=min(schedule.total, max(left, 0.05)), sock_connect=schedule.connect)
            try:
                return await self._once(method, path, query, body, timeout, sent, besides)
            except ServerUnreachableError as error:
                pause = next(pauses, None)
                if pause is None:
                    raise
                pause = max(jittered(pause), error.retry_after or 0.0)
                if time.monotonic() + pause >= until:
                    raise
                await asyncio.sleep(pause)

    async def _once(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: bytes | None,
        timeout: aiohttp.ClientTimeout,
        headers: Mapping[str, str],
        besides: tuple[int, ...],
    ) -> Answer:
        what = f"{method} {path}"
        try:
            # A redirection would carry the key to wherever it points.
            async with self.session().request(
                method,
                self._url(path),
                params=query,
                # Larger ones in pieces, which keeps other requests going.
                data=BytesIO(body) if body is not None and len(body) > _LARGE else body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                raw = await _body_of(response, what)
                return _answer(what, response, raw, besides)
        except TimeoutError:
            raise ServerUnreachableError(f"{what}: {self.base_url} did not answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            # Without its cause, in which some libraries for reports would find the headers, and so the key.
            raise ServerUnreachableError(f"{what}: {self.base_url} cannot be reached: {_text(error)}") from None

    def _url(self, path: str) -> Any:
        from yarl import URL

        return URL(self.base_url + path, encoded=True)

    @property
    def closed(self) -> bool:
        """
        Whether this was closed.
        """
        return self._closed

    def session(self) -> aiohttp.ClientSession:
        """
        The connections, for use on the client's loop.

        Raises:
            ServerUnreachableError: The client was closed.
        """
        if self._closed:
            raise ServerUnreachableError(f"the connection with {self.base_url} was closed")
        if self._session is None:
            _open.add(self)
            connector = _Connector(limit=64, keepalive_timeout=_KEPT_OPEN_SECONDS, ttl_dns_cache=_ADDRESS_KEPT_SECONDS)
            self._session = aiohttp.ClientSession(
                connector=connector,
                headers=self._headers,
                read_bufsize=_LONGEST_LINE,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def close(self) -> None:
        """
        End all connections.
        """
        if self._generation == generation():
            await on_client_loop(self._close())

    async def _close(self) -> None:
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def __aenter__(self) -> EdictumServerClient:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()


class _Connector(aiohttp.TCPConnector):
    """
    Connections that a forked process leaves alone: they are its parent's, and so is what watches them.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._made_in = generation()

    def __del__(self, generation: Callable[[], int] = generation) -> None:
        if self._made_in == generation():
            super().__del__()


def identifier(option: str, value: object) -> str:
    """
    Check a name that becomes part of paths and headers.

    Raises:
        EdictumConfigError: It is none.
    """
    if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
        raise EdictumConfigError(
            f"{option} is {value!r}; it begins with a letter or digit, and has at most 128 letters, digits, "
            "'.', '_' and '-'"
        )
    return value


def quoted(part: str) -> str:
    """
    One part of a path, percent-encoded.
    """
    return quote(part, safe="")


def refusal(what: str, status: int, raw: bytes, headers: Mapping[str, str]) -> Exception:
    """
    The error that an answer stands for.

    Args:
        what: What was asked for.
        status: The status of the answer.
        raw: Its body.
        headers: Its headers.
    """
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        found = None
    body = found if isinstance(found, dict) else {}
    detail = str(body.get("detail") or "without saying why")
    errors = body.get("errors")
    if isinstance(errors, list) and errors:
        detail += ": " + "; ".join(_problem(each) for each in errors[:5])
    detail = detail if len(detail) <= _LONGEST_DETAIL else f"{detail[:_LONGEST_DETAIL]}..."
    if status == 429 or status >= 500:
        return ServerUnreachableError(
            f"{what}: the console cannot answer now ({status}): {detail}", _seconds(headers.get("Retry-After"))
        )
    return ServerRefusedError(what, status, detail, str(body.get("code") or ""), str(body.get("request_id") or ""))


async def _body_of(response: aiohttp.ClientResponse, what: str) -> bytes:
    raw = bytearray()
    async for chunk in response.content.iter_any():
        raw += chunk
        if len(raw) > _LARGEST_ANSWER:
            raise ServerProtocolError(f"{what}: the answer is larger than {_LARGEST_ANSWER} bytes")
    return bytes(raw)


def _answer(what: str, response: aiohttp.ClientResponse, raw: bytes, besides: tuple[int, ...]) -> Answer:
    status = response.status
    if status in besides:
        return Answer(status, {})
    if not 200 <= status < 300:
        if 300 <= status < 400:
            raise ServerProtocolError(
                f"{what}: the console answered {status}, a redirection; use the address it redirects to"
            )
        raise refusal(what, status, raw, response.headers)
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise ServerProtocolError(f"{what}: the answer is no JSON object; is this the address of a console?")
    return Answer(status, body, response.headers.get("ETag"))


def _problem(problem: object) -> str:
    if not isinstance(problem, dict):
        return "a problem without a description"
    place = problem.get("loc")
    where = ".".join(map(str, place)) if isinstance(place, list) else ""
    return f"{where} {problem.get('msg', '')}".strip()


def _seconds(text: str | None) -> float | None:
    return min(float(text), LONGEST_PAUSE) if text and text.isascii() and text.isdigit() and len(text) < 9 else None


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _checked_url(url: object, allow_insecure: bool) -> str:
    if not isinstance(url, str):
        raise EdictumConfigError(f"url is the address of a console as text, not {type(url).__name__}")
    try:
        # What is left out or read otherwise by one of those that take it apart is not left to them.
        if not _ADDRESS.fullmatch(url):
            raise ValueError
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise EdictumConfigError("url is no address; it looks like https://console.example.com") from None
    if parts.scheme not in ("http", "https") or not host:
        raise EdictumConfigError("url is no address of a console; it looks like https://console.example.com")
    if parts.username is not None or parts.password is not None:
        raise EdictumConfigError("url holds a user or password; the console knows the agent by api_key alone")
    if parts.scheme == "http" and not _is_loopback(host) and not allow_insecure:
        raise EdictumConfigError(
            f"the API key would travel unencrypted to {host}; use https, or allow_insecure=True in a network you trust"
        )
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _checked_tags(tags: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(tags, Mapping):
        raise EdictumConfigError(f"tags is a mapping of names to values, not {type(tags).__name__}")
    if len(tags) > _MOST_TAGS:
        raise EdictumConfigError(f"tags has {len(tags)} entries; at most {_MOST_TAGS} are allowed")
    for name, value in tags.items():
        for text, longest in ((name, _LONGEST_TAG_NAME), (value, _LONGEST_TAG)):
            if not isinstance(text, str) or len(text) > longest or not text.isprintable():
                raise EdictumConfigError(f"tags: {name!r} is not short printable text with a short printable value")
        if not name:
            raise EdictumConfigError("tags: a name is empty")
    return dict(tags)


def _close_all() -> None:
    """
    At the end of the interpreter: end connections that nobody ended, after all that sends something at the end.
    """
    left = [client for client in list(_open) if client._generation == generation() and client._session is not None]
    closing = [asyncio.run_coroutine_threadsafe(client._close(), client_loop()) for client in left]
    for future in closing:
        try:
            future.result(_EXIT_SECONDS)
        except Exception as error:
            logger.info("a connection did not end in order: %s", error)


def _detach_after_fork() -> None:
    for client in list(_open):
        if client._session is not None:
            client._session.detach()


at_exit(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_detach_after_fork)
