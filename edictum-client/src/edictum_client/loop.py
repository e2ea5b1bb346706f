"""
One event loop in a thread of its own, for everything that the client does on a network or a disk.

So a guard works from any event loop, from several at once and from none; an agent's loop is never held up by encoding
or by a disk; and a tool that blocks its loop does not keep heartbeats from being sent.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures.thread  # noqa: F401  # before anything is registered here, see before_exit
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None
_generation = 0


def generation() -> int:
    """
    Which process this is, counted in forks; what belongs to the loop of another one does not work here.
    """
    return _generation


def client_loop() -> asyncio.AbstractEventLoop:
    """
    The loop; started when it is first asked for.
    """
    global _loop, _thread
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            _thread = threading.Thread(target=_loop.run_forever, name="edictum-client", daemon=True)
            _thread.start()
        return _loop


async def on_client_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """
    Run a coroutine on the client's loop and wait for it on the caller's.
    """
    if threading.current_thread() is _thread:
        return await coroutine
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, client_loop()))


def wait_for(coroutine: Coroutine[Any, Any, T]) -> T:
    """
    Run a coroutine on the client's loop and wait for it in the calling thread.

    Raises:
        RuntimeError: Called on that loop, which would wait for itself for ever.
    """
    if threading.current_thread() is _thread:
        coroutine.close()
        raise RuntimeError("a synchronous call on the client's own loop would wait for itself")
    future = asyncio.run_coroutine_threadsafe(coroutine, client_loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def before_exit(function: Callable[[], object]) -> None:
    """
    Have a function called when the main thread ends, while hosts can still be looked up; other threads may go on.
    """
    # The pools of threads close at this point, too, and looking up a host needs one: the last to register comes first.
    register = getattr(threading, "_register_atexit", atexit.register)
    register(function)


def at_exit(function: Callable[[], object]) -> None:
    """
    Have a function called when the interpreter ends, after all threads that may call a guard.
    """
    atexit.register(function)


def _forget_after_fork() -> None:
    # The thread does not exist in the child, so neither may its loop.
    global _lock, _loop, _thread, _generation
    _lock = threading.Lock()
    _loop = None
    _thread = None
    _generation += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
