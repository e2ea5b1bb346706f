"""
The bridge from synchronous code: one event loop in a background thread, shared by the process.

A loop for every call would break backends that belong to a loop, such as a connection to a server.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

WAITS_FOR_ITSELF = "a synchronous call from a callback of edictum would wait for itself; use the asynchronous method"

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None


def on_background_loop() -> bool:
    """
    Whether the caller runs in the background thread, which must not wait for itself.
    """
    return threading.current_thread() is _thread


def run_in_background(coroutine: Coroutine[Any, Any, T]) -> T:
    """
    Run a coroutine on the background loop and wait for it.

    The caller's context variables are visible to the coroutine.

    Raises:
        RuntimeError: Called from the background loop itself, which would wait for itself for ever.
    """
    import asyncio

    if on_background_loop():
        coroutine.close()
        raise RuntimeError(WAITS_FOR_ITSELF)
    future = asyncio.run_coroutine_threadsafe(coroutine, _running_loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def _running_loop() -> asyncio.AbstractEventLoop:
    global _loop, _thread
    import asyncio

    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            _thread = threading.Thread(target=_loop.run_forever, name="edictum-portal", daemon=True)
            _thread.start()
        return _loop


def _forget_after_fork() -> None:
    # The thread does not exist in the child, so neither may its loop.
    global _lock, _loop, _thread
    _lock = threading.Lock()
    _loop = None
    _thread = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
