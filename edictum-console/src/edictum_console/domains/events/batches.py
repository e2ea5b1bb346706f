"""
Reading a request with many events, each for itself: one that is broken does not take the others with it.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import AsyncIterator
from typing import Any

import attrs
import msgspec

from edictum_console.errors import BadRequestError, TooLargeError

_LONGEST_ID = 128
_MOST_DROPPED = 2**53


class _Envelope(msgspec.Struct):
    events: list[msgspec.Raw]
    batch: msgspec.Raw = msgspec.Raw(b"null")


_ENVELOPE = msgspec.json.Decoder(_Envelope)


@attrs.frozen
class Batch:
    """
    What an agent delivers at once.

    Attributes:
        events: The events, as JSON.
        id: What the agent calls the batch.
        dropped_before: How many events the agent lost before these.
        size: How many bytes it had.
    """

    events: list[msgspec.Raw]
    id: str | None
    dropped_before: int
    size: int = 0


async def collected(chunks: AsyncIterator[bytes], encoding: str | None, limit: int) -> bytes:
    """
    Put a body together, unpacked.

    Args:
        chunks: The body as it arrives.
        encoding: The header ``Content-Encoding``.
        limit: How many bytes it may have when it is unpacked.

    Raises:
        TooLargeError: It has more.
        BadRequestError: It is packed in another way, or broken.
    """
    if encoding not in (None, "", "identity", "gzip"):
        raise BadRequestError("Content-Encoding can be gzip, or left out", "unknown_encoding")
    unpacker = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
    body = bytearray()
    async for chunk in chunks:
        try:
            body += chunk if unpacker is None else unpacker.decompress(chunk, limit + 1 - len(body))
        except zlib.error:
            raise BadRequestError("the body is not what gzip makes", "invalid_gzip") from None
        if len(body) > limit:
            raise TooLargeError(f"a batch has at most {limit} bytes; send it in parts")
    if unpacker is not None and not unpacker.eof:
        raise BadRequestError("the body is not what gzip makes", "invalid_gzip")
    return bytes(body)


def read_batch(body: bytes) -> Batch:
    """
    Read what frames the events, and leave them as they are.

    Raises:
        BadRequestError: It is not JSON, or no batch.
    """
    try:
        envelope = _envelope(body)
    except msgspec.ValidationError:
        raise BadRequestError('a batch is an object with a list: {"events": [...]}', "invalid_batch") from None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise BadRequestError("the body is not JSON", "invalid_json") from None
    about = _about(envelope.batch)
    batch_id, dropped = about.get("id"), about.get("dropped_before")
    return Batch(
        envelope.events,
        batch_id if isinstance(batch_id, str) and 0 < len(batch_id) <= _LONGEST_ID and batch_id.isprintable() else None,
        dropped if type(dropped) is int and 0 < dropped <= _MOST_DROPPED else 0,
        len(body),
    )


def read_event(raw: msgspec.Raw) -> object:
    """
    Read one event.

    Raises:
        ValueError: It is not JSON, or nested beyond what anybody needs.
    """
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return msgspec.json.decode(_mended(bytes(raw)))
    except (msgspec.MsgspecError, RecursionError):
        raise ValueError("not JSON, or nested too deeply") from None


def _about(raw: msgspec.Raw) -> dict[str, Any]:
    """
    What an agent says about the batch, if it can be read.
    """
    try:
        about = read_event(raw)
    except ValueError:
        return {}
    return about if isinstance(about, dict) else {}


def _envelope(body: bytes) -> _Envelope:
    try:
        return _ENVELOPE.decode(body)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _ENVELOPE.decode(_mended(body))


def _mended(body: bytes) -> bytes:
    """
    Write JSON anew without what some languages write and stricter readers refuse.

    That is halves of characters, and numbers beyond all limits.

    Raises:
        ValueError: It is not JSON even so.
    """
    try:
        value = json.loads(body, parse_float=_finite, parse_constant=str)
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _finite(text: str) -> Any:
    number = float(text)
    return number if math.isfinite(number) else text
