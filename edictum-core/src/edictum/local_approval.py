"""
Approval by whoever sits at the terminal.

One console serves the whole process.  It shows one prompt at a time, and an answer belongs to the prompt that
was on screen when the line was typed.  Two threads do this, and each owns what it touches:

* the console thread owns the queue of prompts and the output.  It takes messages (a new prompt, a prompt
  that nobody waits for any more, a line) from one inbox, so its state needs no lock, and a terminal that
  stopped cannot stop an event loop;
* at most one reader thread owns the input.  It reads one line and no more.  Its read cannot be cancelled, so
  when its prompt expires it goes on, and what it then gets is thrown away.

Both threads end when there is nothing left to do.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TextIO

from edictum.approval import ApprovalDecision, ApprovalRequest, ApprovalStatus
from edictum.audit import to_json_line
from edictum.redaction import RedactionPolicy
from edictum.text import escape_controls

if TYPE_CHECKING:
    from edictum.tool_call import Principal

_YES = frozenset(("y", "yes", "approve"))
_APPROVER = "local"
_MAX_SHOWN_ARGS = 8_000
# A longer line is no answer, whatever it begins with.
_MAX_LINE = 1_024
# Requests that were made but never waited for, for example because their event could not be recorded.
_MAX_FORGOTTEN = 1_000


class LocalApprovalBackend:
    """
    Asks on the terminal: prints the tool call and reads ``y`` or ``n``.

    ``y``, ``yes`` and ``approve`` approve; any other line denies, and so does the end of the input.  When
    several calls wait they are shown one after the other, and the time of each runs from the moment its
    caller waits.  All backends of a process that use its standard streams share one console.

    The program must not read standard input itself while approvals are waiting, and this backend is not for
    programs whose standard streams carry a protocol.

    Args:
        stdin: Where answers come from, ``sys.stdin`` by default.  A stream with a file descriptor is read
            through it, past the buffer of the stream object.
        stdout: Where prompts go, ``sys.stdout`` by default.
        redaction: Redacts arguments before they are shown; a default policy if None.
    """

    def __init__(
        self,
        stdin: TextIO | None = None,
        stdout: TextIO | None = None,
        redaction: RedactionPolicy | None = None,
    ) -> None:
        self._console = None if stdin is None and stdout is None else _Console(stdin, stdout)
        self._redaction = redaction if redaction is not None else RedactionPolicy()
        self._requests: dict[str, ApprovalRequest] = {}

    async def request_approval(
        self,
        tool_name: str,
        tool_args: dict[str, Any],
        message: str,
        *,
        timeout: float = 300,
        timeout_action: str = "block",
        principal: Principal | None = None,
        metadata: dict[str, Any] | None = None,
        session_id: str | None = None,
    ) -> ApprovalRequest:
        """
        Note the request; it is shown once :meth:`wait_for_decision` is called.

        Args:
            tool_name: The tool that would run.
            tool_args: Its arguments; shown after redaction.
            message: What the rule tells the approver.
            timeout: Seconds to wait for an answer.
            timeout_action: ``block`` or ``allow``, when nobody answers in time.
            principal: On whose behalf the tool would run.
            metadata: Further facts, kept with the request.
            session_id: The session of the call.

        Returns:
            The request with its new id.
        """
        request = ApprovalRequest(
            approval_id=os.urandom(16).hex(),
            tool_name=tool_name,
            tool_args=tool_args,
            message=message,
            timeout=timeout,
            timeout_action=timeout_action,
            principal=principal,
            metadata=dict(metadata or {}),
            session_id=session_id,
        )
        self._requests[request.approval_id] = request
        while len(self._requests) > _MAX_FORGOTTEN:
            # Waiting for an evicted request raises, so its call is blocked.
            self._requests.pop(next(iter(self._requests)), None)
        return request

    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> ApprovalDecision:
        """
        Show the request and wait for the answer.

        The event loop goes on meanwhile.  Cancelling takes the prompt back.

        Args:
            approval_id: Id of a request that was not waited for before.
            timeout: Seconds to wait; the request's own timeout if None.

        Returns:
            The decision.  After a timeout it is approved only if the request's timeout action is ``allow``.

        Raises:
            ValueError: The id is unknown or was already waited for.
            OSError: The prompt cannot be printed.
        """
        import asyncio

        request = self._requests.pop(approval_id, None)
        if request is None:
            raise ValueError(f"approval {approval_id!r} is unknown here, or was already waited for")
        console = self._console or _process_console()
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[ApprovalDecision] = loop.create_future()

        def settle(result: ApprovalDecision | Exception) -> None:
            if outcome.done():
                return
            if isinstance(result, Exception):
                outcome.set_exception(result)
            else:
                outcome.set_result(result)

        def deliver(result: ApprovalDecision | Exception) -> None:
            # RuntimeError: the loop was closed meanwhile, so nobody waits any more.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, result)

        prompt = _Prompt(approval_id, _describe(request, self._redaction), deliver)
        console.post(_Ask(prompt))
        limit = asyncio.timeout(request.timeout if timeout is None else timeout)
        try:
            async with limit:
                return await outcome
        except TimeoutError:
            if not limit.expired():
                # Printing failed with an operating-system time-out, which is no answer of the clock.
                raise
            return ApprovalDecision(
                approved=request.timeout_action == "allow",
                reason="nobody answered in time",
                status=ApprovalStatus.TIMEOUT,
            )
        finally:
            if outcome.cancelled() or not outcome.done():
                console.post(_Withdraw(prompt))


@dataclass(slots=True, eq=False)
class _Prompt:
    """
    A question for the person at the terminal.
    """

    approval_id: str
    text: str
    deliver: Callable[[ApprovalDecision | Exception], None]


@dataclass(slots=True)
class _Ask:
    prompt: _Prompt


@dataclass(slots=True)
class _Withdraw:
    prompt: _Prompt


@dataclass(slots=True)
class _Line:
    """
    What the reader got.

    Attributes:
        text: The line; None at the end of the input.
        meant_for: The prompt that was on screen when the line began.
    """

    text: str | None
    meant_for: _Prompt | None


class _Console:
    """
    The terminal: shows prompts one at a time and hands each line to its prompt.

    Only :meth:`post` is for other threads.
    """

    def __init__(self, stdin: TextIO | None = None, stdout: TextIO | None = None) -> None:
        self._stdin = stdin
        self._stdout = stdout
        self._inbox: SimpleQueue[_Ask | _Withdraw | _Line] = SimpleQueue()
        self._start_or_stop = threading.Lock()
        self._running = False
        self._waiting: deque[_Prompt] = deque()
        self._on_screen: _Prompt | None = None
        self._reading = False

    def post(self, message: _Ask | _Withdraw | _Line) -> None:
        """
        Leave a message for the console thread, starting it if it does not run.
        """
        with self._start_or_stop:
            self._inbox.put(message)
            if not self._running:
                threading.Thread(target=self._run, name="edictum-approval", daemon=True).start()
                self._running = True

    def _run(self) -> None:
        while True:
            message = self._next_message()
            if message is None:
                return
            try:
                self._handle(message)
            except Exception as error:
                # A prompt that nobody can see must not end in a timeout, which a rule may take as a yes.
                self._settle_all(error)

    def _next_message(self) -> _Ask | _Withdraw | _Line | None:
        idle = not (self._waiting or self._on_screen or self._reading)
        if not idle:
            return self._inbox.get()
        with self._start_or_stop:
            try:
                return self._inbox.get_nowait()
            except Empty:
                self._running = False
                return None

    def _handle(self, message: _Ask | _Withdraw | _Line) -> None:
        if isinstance(message, _Ask):
            self._waiting.append(message.prompt)
        elif isinstance(message, _Withdraw):
            self._take_back(message.prompt)
        else:
            self._take_line(message)
        while self._on_screen is None and self._waiting:
            self._show(self._waiting.popleft())

    def _show(self, prompt: _Prompt) -> None:
        stdin = self._input()
        if stdin is None:
            prompt.deliver(_nobody_there())
            return
        _drop_typed_ahead(stdin)
        # Only now, so that a key that came before and is not dropped is noted for no prompt.
        self._on_screen = prompt
        self._print(prompt.text)
        self._read_if_not_reading()

    def _take_back(self, prompt: _Prompt) -> None:
        """
        Forget a prompt whose caller no longer waits, because it ran out of time or was cancelled.
        """
        if prompt is self._on_screen:
            self._on_screen = None
            self._print(f"\nApproval {prompt.approval_id} is closed: it took too long or was cancelled.\n")
        else:
            with suppress(ValueError):
                self._waiting.remove(prompt)

    def _take_line(self, line: _Line) -> None:
        self._reading = False
        if line.text is None:
            self._settle_all(_nobody_there())
            return
        prompt = self._on_screen
        if prompt is not None and prompt is line.meant_for:
            self._on_screen = None
            prompt.deliver(_decide(line.text))
            return
        # Also when nothing is on screen: a second late line must not wait in the input for the next prompt.
        self._read_if_not_reading()
        self._print("\nIgnored this line: the approval that it was typed for is closed.\n")
        if prompt is not None:
            self._print(prompt.text)

    def _settle_all(self, result: ApprovalDecision | Exception) -> None:
        prompts = [self._on_screen] if self._on_screen is not None else []
        prompts.extend(self._waiting)
        self._on_screen = None
        self._waiting.clear()
        for prompt in prompts:
            prompt.deliver(result)

    def _input(self) -> TextIO | None:
        # Looked up late because programs and test runners replace sys.stdin; it is None without a console.
        return self._stdin if self._stdin is not None else sys.stdin

    def _print(self, text: str) -> None:
        stream = self._stdout if self._stdout is not None else sys.stdout
        if stream is None:
            raise OSError("this process has no standard output to ask on")
        encoding = getattr(stream, "encoding", None) or "utf-8"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()

    def _read_if_not_reading(self) -> None:
        stdin = self._input()
        if not self._reading and stdin is not None:
            threading.Thread(target=self._read, args=(stdin,), name="edictum-approval-reader", daemon=True).start()
            self._reading = True

    def _read(self, stdin: TextIO) -> None:
        """
        Body of the reader thread: one line, with the prompt that was on screen when it began.
        """
        meant_for: _Prompt | None = None

        def note_prompt() -> None:
            nonlocal meant_for
            meant_for = self._on_screen

        try:
            text = _read_line(stdin, note_prompt)
        except (OSError, ValueError):
            # Closed or unreadable input: nobody can answer, which is what its end means as well.
            text = None
        self.post(_Line(text, meant_for))


def _read_line(stdin: TextIO, on_begin: Callable[[], None]) -> str | None:
    """
    Read one line, no byte more, and None at the end of the input or when the line is cut off there.

    A descriptor is read without the stream's buffer, which would swallow what follows the line.  Also, a
    thread that sleeps within the buffer holds its lock, and Python may abort when it wants the lock at exit.
    A stream without a descriptor gives no sign before its line is complete.
    """
    try:
        fd = stdin.fileno()
    except (AttributeError, OSError, ValueError):
        line = stdin.readline()
        on_begin()
        return line if line.endswith("\n") else None
    kept = bytearray()
    # Before the byte is taken: it may take this thread long to go on, and meanwhile the next prompt be shown.
    _wait_for_input(fd)
    on_begin()
    while True:
        byte = os.read(fd, 1)
        if not byte:
            return None
        if byte == b"\n":
            return kept.decode("utf-8", "replace") if len(kept) <= _MAX_LINE else ""
        if len(kept) <= _MAX_LINE:
            kept += byte


def _wait_for_input(fd: int) -> None:
    """
    Sleep until there is something to read.

    Not at all on Windows, which has no call for it: what is typed there for a prompt that follows an expired one
    has to be typed a second time.
    """
    if sys.platform != "win32":
        import select

        with suppress(ValueError):  # a descriptor above those that select() can take
            select.select([fd], [], [])


def _drop_typed_ahead(stdin: TextIO) -> None:
    """
    Forget keys that were pressed on a terminal before its prompt appeared.

    A pipe is left alone: there, answers written in advance are a script's way to answer.  Windows has no call
    for it.
    """
    if sys.platform != "win32":
        import termios

        with suppress(AttributeError, OSError, ValueError, termios.error):
            if stdin.isatty():
                termios.tcflush(stdin.fileno(), termios.TCIFLUSH)


def _describe(request: ApprovalRequest, redaction: RedactionPolicy) -> str:
    """
    Everything that the approver sees; nothing in it can steer the terminal.
    """
    args = to_json_line(redaction.redact_args(request.tool_args))
    hidden = len(args) - _MAX_SHOWN_ARGS
    if hidden > 0:
        args = f"{args[:_MAX_SHOWN_ARGS]} ... ({hidden} more characters are not shown)"
    message = redaction.redact_text(request.message)
    return (
        f"\nApproval needed: {escape_controls(message)}\n"
        f"  tool: {escape_controls(request.tool_name)}\n"
        f"  args: {escape_controls(args)}\n"
        f"  id:   {escape_controls(request.approval_id)}\n"
        f"Approve? [y/N] (id: {escape_controls(request.approval_id)}) "
    )


def _decide(line: str) -> ApprovalDecision:
    if line.strip().lower() in _YES:
        return ApprovalDecision(approved=True, approver=_APPROVER, status=ApprovalStatus.APPROVED)
    return ApprovalDecision(
        approved=False, approver=_APPROVER, reason="denied at the terminal", status=ApprovalStatus.DENIED
    )


def _nobody_there() -> ApprovalDecision:
    return ApprovalDecision(
        approved=False,
        reason="nobody can answer: standard input is at its end",
        status=ApprovalStatus.DENIED,
    )


_shared: _Console | None = None
_shared_lock = threading.Lock()


def _process_console() -> _Console:
    global _shared
    with _shared_lock:
        if _shared is None:
            _shared = _Console()
        return _shared


def _after_fork() -> None:
    # The child has neither of the console's threads, and its terminal still belongs to the parent's prompt.
    global _shared, _shared_lock
    _shared, _shared_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
