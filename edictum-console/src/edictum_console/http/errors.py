"""
Turning every error into the one shape of answer: ``{"detail", "code", "request_id"}``.
"""

from __future__ import annotations

import logging
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, InternalServerException, ValidationException

from edictum_console.errors import BadRequestError, ConsoleError, FieldProblem, InvalidError
from edictum_console.http.headers import request_id

logger = logging.getLogger(__name__)

_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}
_TEXTS = {
    400: "the request cannot be read",
    404: "there is nothing here",
    405: "this path does not know the method",
    413: "the body is larger than this endpoint reads",
}

_GONE = "client disconnected prematurely"  # the framework has no class of its own for it


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    """
    Answer a request that failed; what nobody expected is logged, and says nothing to whoever asked.
    """
    known = _known(error)
    if isinstance(known, _GoneError):
        logger.debug("request %s: its sender went away before its body was read", request_id(request.scope))
    if known is None:
        logger.error("request %s failed", request_id(request.scope), exc_info=error)
        known = ConsoleError("the console failed; the request id leads to the reason in its log")
    body = {**known.body(), "request_id": request_id(request.scope)}
    return Response(body, status_code=known.status, headers=known.headers, media_type="application/json")


def _known(error: Exception) -> ConsoleError | None:
    if isinstance(error, ConsoleError):
        return error
    if isinstance(error, ValidationException):
        return _parameters(error)
    if isinstance(error, InternalServerException) and error.detail == _GONE:
        return _GoneError("the sender went away")
    if isinstance(error, HTTPException) and error.status_code in _CODES:
        return _RefusedError(error)
    return None


class _GoneError(ConsoleError):
    """
    Nobody waits for the answer any more; its status is for the metrics, as proxies count it.
    """

    status = 499
    default_code = "sender_gone"


class _RefusedError(ConsoleError):
    """
    What the framework refused before any handler.
    """

    def __init__(self, error: HTTPException) -> None:
        self.status = error.status_code  # type: ignore[misc]  # one class for all of them
        self._headers = {"Allow": error.headers["Allow"]} if error.headers and "Allow" in error.headers else {}
        super().__init__(_TEXTS[error.status_code], _CODES[error.status_code])

    @property
    def headers(self) -> dict[str, str]:
        """
        Which methods there are, where that is the problem.
        """
        return self._headers


def _parameters(error: ValidationException) -> ConsoleError:
    """
    Parameters of the query or a header that do not fit; their values are not repeated.
    """
    extra = error.extra if isinstance(error.extra, list) else []
    names = [str(part["key"]) for part in extra if isinstance(part, dict) and "key" in part]
    if names == ["data"]:
        return BadRequestError("the body is missing", "invalid_json")
    problems = [FieldProblem((name,), "is missing or does not fit") for name in names]
    return InvalidError(f"these parameters do not fit: {', '.join(names) or 'one is missing'}", problems)
