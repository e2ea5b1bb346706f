"""
What a hook is given on standard input: one JSON object, read so strictly that nobody can read it otherwise.
"""

from __future__ import annotations

import json
import os
from typing import Any, NoReturn

MAX_PAYLOAD_BYTES = 10 * 1024 * 1024

_CHUNK = 1 << 16


class Unreadable(ValueError):  # noqa: N818  the text says what is wrong with the payload
    """
    The payload does not say clearly which call is meant.
    """


def read_standard_input() -> bytes:
    """
    Everything on standard input, also what is too long: a host that cannot write its payload might go on unchecked.

    Raises:
        Unreadable: It is a terminal, closed, empty, or longer than 10 MB.
    """
    if os.isatty(0):
        raise Unreadable("it is read from standard input, which is a terminal; a hook pipes it in")
    parts: list[bytes] = []
    size = 0
    while chunk := _next_chunk():
        size += len(chunk)
        if size <= MAX_PAYLOAD_BYTES:
            parts.append(chunk)
        else:
            parts.clear()
    if size > MAX_PAYLOAD_BYTES:
        raise Unreadable(f"it has {size} bytes, at most {MAX_PAYLOAD_BYTES} are read")
    if not size:
        raise Unreadable("standard input is empty")
    return b"".join(parts)


def _next_chunk() -> bytes:
    try:
        return os.read(0, _CHUNK)
    except OSError as error:
        raise Unreadable(f"standard input cannot be read: {error.strerror}") from error


def parse_object(text: str | bytes, what: str = "the payload") -> dict[str, Any]:
    """
    Parse a JSON object.

    Args:
        text: The JSON; bytes are UTF-8, with or without byte-order mark.
        what: How to call it in errors.

    Raises:
        Unreadable: It is not such an object, or holds something that JSON readers take differently: a key twice,
            NaN, infinity.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8").removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            raise Unreadable(f"{what} is not UTF-8 at byte {error.start}") from None
    try:
        data = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except Unreadable as error:
        raise Unreadable(f"{what} {error}") from None
    except json.JSONDecodeError as error:
        raise Unreadable(f"{what} is not JSON at line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise Unreadable(f"{what} is nested too deeply") from None
    except ValueError:  # int() refuses more digits than sys.get_int_max_str_digits()
        raise Unreadable(f"{what} holds a number with too many digits") from None
    if not isinstance(data, dict):
        raise Unreadable(f"{what} is not a JSON object")
    return data


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unreadable("holds a key twice, so readers differ on what it says")
    return found


def _no_constant(word: str) -> NoReturn:
    raise Unreadable(f"holds {word}, which is not JSON")
