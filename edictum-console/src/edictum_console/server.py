"""
Serving the application by HTTP.
"""

from __future__ import annotations

import gc
import logging
import math
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from edictum_console.app import Prepare, create_app
from edictum_console.domains.stream.connection import ABORT
from edictum_console.domains.stream.hub import Hub
from edictum_console.errors import StartError
from edictum_console.settings import Settings
from edictum_console.stopping import stopping_on_signals

logger = logging.getLogger(__name__)

_LAST_SECONDS = 2  # for readers to take what was said last

# How many objects may be made before the collector looks for circles among the youngest, and how often it then looks
# at older ones.  Requests make thousands and hardly ever a circle; with Python's 700 it stops them many times a second.
_COLLECT_AFTER = (20_000, 20, 20)


class _Protocol(HttpToolsProtocol):
    """
    Lets a stream end its connection without waiting for a reader that does not read.
    """

    def on_message_begin(self) -> None:
        """
        Begin a request.
        """
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"abort": self.transport.abort}}


class _Server(uvicorn.Server):
    """
    Ends streams, too, and leaves signals to whoever sees to them before and afterwards.
    """

    def __init__(self, config: uvicorn.Config, hub: Hub, drain_seconds: float) -> None:
        super().__init__(config)
        self._hub = hub
        self._drain_seconds = drain_seconds

    def end(self, number: int) -> None:
        """
        Begin to end on a signal: also streams, which would go on for ever.
        """
        self._hub.drain(self._drain_seconds)
        self.handle_exit(number, None)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """
        Nothing: they come to ``end``.
        """
        yield


async def serve(settings: Settings, host: str, port: int, prepare: Prepare | None = None) -> None:
    """
    Serve until the process is told to stop, then let requests that are going on end.

    Args:
        settings: What the operator decides.
        host: The address to listen on.
        port: The port to listen on.
        prepare: See :func:`edictum_console.app.create_app`.

    Raises:
        StartError: The console cannot start as things are.
        StoppedError: It was told to stop before it served.
    """
    app = create_app(settings, prepare=prepare)
    config = uvicorn.Config(
        cast(Any, app),  # Litestar and uvicorn each have types of their own for the same protocol
        host=host,
        port=port,
        access_log=False,  # it would show query strings
        lifespan="off",  # entered here, so that what goes wrong ends the command with its own words
        log_config=None,
        proxy_headers=False,  # the settings say which proxies are believed
        server_header=False,
        http=_Protocol,
        timeout_graceful_shutdown=math.ceil(settings.drain_seconds) + _LAST_SECONDS,
    )
    server = _Server(config, app.state.hub, settings.drain_seconds)
    with _listen(host, port) as listening, _start_errors_alone(), stopping_on_signals() as stopping:
        async with app.lifespan():
            stopping.hand_over(server.end)
            where = "Postgres" if settings.database_url else str(settings.data_dir)
            address = f"http://{host}:{listening.getsockname()[1]}"
            listening.listen(config.backlog)  # from here on, who connects is served
            gc.freeze()  # what was made until now stays
            gc.set_threshold(*_COLLECT_AFTER)
            logger.info("the console listens on %s and keeps its data in %s", address, where)
            await server.serve(sockets=[listening])


@contextmanager
def _start_errors_alone() -> Iterator[None]:
    """
    Take the reason why nothing starts out of the groups that the framework wraps it into.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        reason: BaseException = group
        while isinstance(reason, BaseExceptionGroup) and len(reason.exceptions) == 1:
            reason = reason.exceptions[0]
        if isinstance(reason, StartError):
            raise reason from None
        raise


def _listen(host: str, port: int) -> socket.socket:
    """
    Take the port before anything else is opened.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        raise StartError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another --host or --port"
        ) from error
    return listening
