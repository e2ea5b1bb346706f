"""
Measuring requests: how many, with which status, and how long until the answer began.
"""

from __future__ import annotations

import time
from typing import Any, cast

from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from edictum_console.metrics import Metrics


class BeginningMiddleware(ASGIMiddleware):
    """
    Notes when a request began; comes before all others.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """
        Note the time, and go on.
        """
        _state(scope)["began"] = time.perf_counter()
        await next_app(scope, receive, send)


class Measuring:
    """
    Counts an answer when it begins.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def __call__(self, message: Message, scope: Scope) -> None:
        """
        Count it by its route, not its path, which holds names of agents and more.
        """
        began = _state(scope).get("began")
        if message["type"] != "http.response.start" or began is None:
            return
        route, method = cast(dict[str, Any], scope)["path_template"], cast(dict[str, Any], scope)["method"]
        self._metrics.add("edictum_requests_total", route=route, method=method, status=str(message["status"]))
        self._metrics.took("edictum_request_seconds", time.perf_counter() - began, route=route)


def _state(scope: Scope) -> dict[str, Any]:
    state: dict[str, Any] = cast(dict[str, Any], scope).setdefault("state", {})
    return state
