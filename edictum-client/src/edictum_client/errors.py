"""
Every error that the client raises on purpose.

    EdictumServerError
    ├── ServerUnreachableError      nothing answered in time; the request may be made again
    ├── ServerRefusedError          the console answered, and the answer is no
    ├── ServerProtocolError         what answered does not speak as a console does
    ├── BufferFullError             an event of the decision log has no place to wait
    ├── ForkedError                 the connection was made in another process
    └── BundleVerificationError     a ruleset is not signed as it has to be, or is older than one seen before

What is wrong with an option is an :class:`edictum.EdictumConfigError`, as for every other guard.
"""

from __future__ import annotations

from edictum import EdictumError


class EdictumServerError(EdictumError):
    """
    Base of all errors about a console.
    """


class ServerUnreachableError(EdictumServerError):
    """
    The console could not be reached, did not answer in time, or is not able to answer now.

    Attributes:
        retry_after: Seconds after which it wants to be asked again, where it says so.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class ServerRefusedError(EdictumServerError):
    """
    The console refused a request.

    Attributes:
        status_code: The status of the answer.
        code: The console's word for the reason, for programs.
        detail: Its sentence, for people.
        request_id: By which its log knows the request.
    """

    def __init__(self, what: str, status_code: int, detail: str, code: str = "", request_id: str = "") -> None:
        self.status_code = status_code
        self.code = code
        self.detail = detail
        self.request_id = request_id
        named = f" (request {request_id})" if request_id else ""
        super().__init__(f"{what}: the console answered {status_code}: {detail}{named}")


class ServerProtocolError(EdictumServerError):
    """
    What answered is no console, or one that speaks another language.
    """


class BufferFullError(EdictumServerError):
    """
    The decision log waits for the console, and there is no room for one more event.
    """


class ForkedError(EdictumServerError):
    """
    The connection belongs to the process that this one was forked from.
    """

    def __init__(self) -> None:
        super().__init__("this process was forked after the connection was made; connect in the new process")


class BundleVerificationError(EdictumServerError):
    """
    A ruleset cannot be trusted, so it is not used.
    """
