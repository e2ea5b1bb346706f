"""
Long texts, now and then: repeated inputs show work that grows faster than the text.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

_SELDOM = 256


def repeated(data: bytes, text: str, length: int) -> str | None:
    """
    Repeat a text up to a length, for one input in 256; None for the others.
    """
    return (text * (length // len(text) + 1))[:length] if text and zlib.crc32(data) % _SELDOM == 0 else None


@contextmanager
def at_most(seconds: float, what: str) -> Iterator[None]:
    """
    Find fault with more processor time than this.
    """
    before = time.process_time()
    yield
    spent = time.process_time() - before
    assert spent < seconds, f"{spent:.1f} s for {what[:500]!r}"
