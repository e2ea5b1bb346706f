"""
Measuring requests: how many, with which status, and how long until the answer began; and a line in the log for each.
"""

from __future__ import annotations

import logging
import time
from typing import Any, cast

from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from edictum_console.http.headers import request_id
from edictum_console.metrics import Metrics
from edictum_console.security.actor import KeyActor, PersonActor

logger = logging.getLogger("edictum_console.requests")

# Asked every few seconds by whoever supervises the console; a line for each would bury the others.
_PROBES = ("/health", "/health/live", "/health/ready", "/metrics")


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
        if message["type"] != "http.response.start":
            return
        began, status = _state(scope).get("began"), message["status"]
        if began is None:  # there is no such route
            _write_line(logging.INFO, scope, None, status, 0.0)
            return
        route, method = cast(dict[str, Any], scope)["path_template"], cast(dict[str, Any], scope)["method"]
        seconds = time.perf_counter() - began
        self._metrics.add("edictum_requests_total", route=route, method=method, status=str(status))
        self._metrics.took("edictum_request_seconds", seconds, route=route)
        probe = status < 400 and route.endswith(_PROBES)
        _write_line(logging.DEBUG if probe else logging.INFO, scope, route, status, seconds)


def _write_line(level: int, scope: Scope, route: str | None, status: int, seconds: float) -> None:
    """
    Log a request by what tells whom it was about, and nothing that it brought.
    """
    if not logger.isEnabledFor(level):
        return
    user, method = scope.get("user"), cast(dict[str, Any], scope)["method"]
    tenant = actor = None
    if isinstance(user, KeyActor):
        tenant, actor = str(user.tenant_id), user.name
    elif isinstance(user, PersonActor):
        tenant, actor = str(user.tenant_id), f"user:{user.user_id}"  # not the address, which is nobody's business here
    facts = {"request_id": request_id(scope), "tenant": tenant, "actor": actor}
    said = " ".join(f"{name}={value}" for name, value in facts.items() if value)
    more = {"method": method, "route": route, "status": status, "ms": round(seconds * 1000, 1)}
    text = "%s %s %d in %.1f ms, %s"
    logger.log(level, text, method, route or "(no route)", status, more["ms"], said, extra={"facts": facts | more})


def _state(scope: Scope) -> dict[str, Any]:
    state: dict[str, Any] = cast(dict[str, Any], scope).setdefault("state", {})
    return state
