"""
Every error that the console answers with or ends on.

    ConsoleError                what a request is answered with
    ├── BadRequestError   400  not JSON, or a header that makes no sense
    ├── UnauthorizedError 401  nobody is signed in, or the key is not known
    ├── ForbiddenError    403  known, and not allowed
    ├── NotFoundError     404  not there, or somebody else's
    ├── ConflictError     409  true a moment ago, or already done
    ├── TooLargeError     413  more than is read
    ├── InvalidError      422  JSON that does not fit; says where
    ├── RateLimitedError  429  later, and when
    └── UnavailableError  503  a store cannot be reached
    StartError                  the console does not start
    ├── SettingsError           a variable of the environment is wrong
    └── SchemaError             the database is not one that this version can use
    CommandError                a command cannot be done as it was given

A text reaches whoever asked: it holds no secret, no value of a body, and nothing about other tenants.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import attrs


@attrs.frozen
class FieldProblem:
    """
    One thing that is wrong in a body.

    Attributes:
        loc: Keys and indexes that lead to it.
        msg: What is wrong, without the value.
    """

    loc: tuple[str | int, ...]
    msg: str


class ConsoleError(Exception):
    """
    Base of the errors that a request can be answered with.

    Attributes:
        status: The HTTP status.
        detail: One sentence for people.
        code: A word for programs; it does not change between versions.
    """

    status: ClassVar[int] = 500
    default_code: ClassVar[str] = "internal_error"

    def __init__(self, detail: str, code: str | None = None) -> None:
        self.detail = detail
        self.code = code or self.default_code
        super().__init__(detail)

    @property
    def headers(self) -> dict[str, str]:
        """
        Headers that belong to the answer.
        """
        return {}

    def body(self) -> dict[str, Any]:
        """
        The answer's body, but for the request id.
        """
        return {"detail": self.detail, "code": self.code}


class BadRequestError(ConsoleError):
    """
    The request cannot be read.
    """

    status = 400
    default_code = "bad_request"


class UnauthorizedError(ConsoleError):
    """
    Nobody that is known asks.
    """

    status = 401
    default_code = "unauthorized"

    @property
    def headers(self) -> dict[str, str]:
        """
        What kind of credential would do.
        """
        return {"WWW-Authenticate": 'Bearer realm="edictum"'}


class ForbiddenError(ConsoleError):
    """
    Who asks may not do this.
    """

    status = 403
    default_code = "forbidden"


class NotFoundError(ConsoleError):
    """
    There is no such thing, as far as who asks may know.
    """

    status = 404
    default_code = "not_found"


class ConflictError(ConsoleError):
    """
    The state does not allow it, or no longer.

    Attributes:
        current: The state as it is, to be shown beside the error.
    """

    status = 409
    default_code = "conflict"

    def __init__(self, detail: str, code: str | None = None, current: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail, code)
        self.current = current

    def body(self) -> dict[str, Any]:
        """
        The error with the present state around it.
        """
        return {**(self.current or {}), **super().body()}


class TooLargeError(ConsoleError):
    """
    The body is larger than this endpoint reads.
    """

    status = 413
    default_code = "too_large"


class InvalidError(ConsoleError):
    """
    The body is JSON and does not fit.

    Attributes:
        errors: What is wrong where.
    """

    status = 422
    default_code = "invalid"

    def __init__(self, detail: str, errors: Sequence[FieldProblem] = (), code: str | None = None) -> None:
        super().__init__(detail, code)
        self.errors = tuple(errors)

    def body(self) -> dict[str, Any]:
        """
        The error with its places.
        """
        return {**super().body(), "errors": [{"loc": list(error.loc), "msg": error.msg} for error in self.errors]}


def unfit(place: tuple[str | int, ...], text: str) -> InvalidError:
    """
    Make the error for one field of a body, or one parameter, that does not fit.

    Args:
        place: Keys and indexes that lead to it.
        text: What is wrong, without the value.
    """
    return InvalidError(f"{'.'.join(map(str, place))}: {text}", [FieldProblem(place, text)])


class RateLimitedError(ConsoleError):
    """
    Too many requests of this kind.

    Attributes:
        retry_after: Whole seconds until another one may pass.
    """

    status = 429
    default_code = "rate_limited"

    def __init__(self, detail: str, wait: float) -> None:
        super().__init__(detail)
        self.retry_after = max(1, math.ceil(wait))

    @property
    def headers(self) -> dict[str, str]:
        """
        When to come back.
        """
        return {"Retry-After": str(self.retry_after)}


class UnavailableError(ConsoleError):
    """
    Something that the answer needs cannot be reached; no value is made up in its place.
    """

    status = 503
    default_code = "unavailable"


class StartError(Exception):
    """
    The console does not start; the text says what to do.
    """


class SettingsError(StartError):
    """
    Variables of the environment are wrong.

    Attributes:
        problems: One line for each: the variable, what is wrong, what to do.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(["the configuration is not usable:", *(f"  {problem}" for problem in problems)]))


class SchemaError(StartError):
    """
    The database's schema is not one that this version can use.
    """


class CommandError(Exception):
    """
    A command cannot be done as it was given.

    Attributes:
        lines: Places in a file, each with what is wrong there, as editors read them.
    """

    def __init__(self, text: str, lines: Sequence[str] = ()) -> None:
        self.lines = tuple(lines)
        super().__init__(text)
