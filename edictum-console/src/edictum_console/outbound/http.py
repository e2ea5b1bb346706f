"""
HTTP to other machines.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import attrs
import httpcore

from edictum_console.outbound.errors import OutboundError, RefusedTargetError, UnreachableError
from edictum_console.outbound.targets import Targets

TIMEOUT_SECONDS = 10.0

_LARGEST_ANSWER = 64 * 1024
_PRINTABLE = re.compile(r"[!-~]+")
_LONGEST_WAIT = 3600.0


@attrs.frozen
class Answer:
    """
    What was answered with success.

    Attributes:
        status: From 200 to 299.
        body: Its beginning; nobody but the code that asked may see it.
    """

    status: int
    body: bytes = attrs.field(repr=False)


class Outbound:
    """
    Sends requests: to public addresses, by HTTPS, to where the URL says and nowhere else.
    """

    def __init__(
        self,
        targets: Targets,
        *,
        plaintext: bool = False,
        context: ssl.SSLContext | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        """
        Make it.

        Args:
            targets: Where it may connect to.
            plaintext: Whether it may connect without TLS.
            context: How certificates are checked; None for the usual.
            timeout: Seconds for everything that belongs to one request.
        """
        self.targets = targets
        self.plaintext = plaintext
        self.timeout = timeout
        self._context = context

    @property
    def context(self) -> ssl.SSLContext:
        """
        How certificates are checked; read when it is first needed, because that takes long.
        """
        if self._context is None:
            self._context = ssl.create_default_context()
        return self._context

    def check(self, url: str) -> None:
        """
        Look at a URL without connecting.

        Raises:
            RefusedTargetError: It is none that is called.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise RefusedTargetError("the address is not a URL") from None
        if not _PRINTABLE.fullmatch(url) or not parts.hostname or port == 0:
            raise RefusedTargetError("the address is not a URL")
        if parts.scheme != "https" and not (self.plaintext and parts.scheme == "http"):
            raise RefusedTargetError("the address does not begin with https://")
        if "@" in parts.netloc or "\\" in url:
            raise RefusedTargetError("the address holds a user name")

    async def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """
        Send a request, and read the beginning of what is answered.

        Raises:
            RefusedTargetError: The address must not be called.
            UnreachableError: Nobody answers, or not in time.
            OutboundError: What is answered is not success; a redirect is none.
        """
        self.check(url)
        context = self.context  # made before the time begins to count
        try:
            async with asyncio.timeout(self.timeout):
                return await self._send(context, method, url, headers, body)
        except TimeoutError:
            raise UnreachableError(f"there was no answer within {self.timeout:g} seconds") from None
        except (httpcore.NetworkError, httpcore.TimeoutException) as error:
            raise UnreachableError(_network_text(error)) from None
        except (httpcore.ProtocolError, httpcore.UnsupportedProtocol):
            raise UnreachableError("what was answered is not HTTP") from None

    async def _send(
        self, context: ssl.SSLContext, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        # A pool for each request: what was judged is what is connected to, and nothing stays open.
        pool = httpcore.AsyncConnectionPool(context, network_backend=_Backend(self.targets), max_connections=1)
        async with pool, pool.stream(method, url, headers=list(headers.items()), content=body) as response:
            if not 200 <= response.status <= 299:
                raise OutboundError(f"the answer was {response.status}", _retry_after(response.headers))
            read = bytearray()
            async for part in response.aiter_stream():
                read += part
                if len(read) >= _LARGEST_ANSWER:
                    break
            return Answer(response.status, bytes(read[:_LARGEST_ANSWER]))


class _Backend(httpcore.AsyncNetworkBackend):
    """
    Opens the connections of httpcore, to addresses that were judged.
    """

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """
        Connect to one of the host's addresses.
        """
        failure: httpcore.NetworkError | None = None
        for address in await self._targets.addresses(host, port):
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore.ConnectError as error:
                failure = error
        raise failure or httpcore.ConnectError()

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """
        Nothing: nobody asks for one.
        """
        raise httpcore.ConnectError("not over sockets of this machine")

    async def sleep(self, seconds: float) -> None:
        """
        Wait, for httpcore.
        """
        await asyncio.sleep(seconds)


def _network_text(error: Exception) -> str:
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in error.args):
        return "the certificate of the host is not valid"
    return "the host does not take connections"


def _retry_after(headers: Iterable[tuple[bytes, bytes]]) -> float | None:
    """
    Read for how long the other side wants to be left alone, in either of the two forms.
    """
    text = next((value.decode("ascii", "replace") for name, value in headers if name.lower() == b"retry-after"), "")
    try:
        if text.isascii() and text.isdigit():
            seconds = float(text[:9])
        else:
            moment = parsedate_to_datetime(text)
            seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    except ValueError:
        return None
    return min(max(seconds, 0.0), _LONGEST_WAIT)
