"""
Approval at the terminal, driven through real pipes, a pseudo-terminal and a child process.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import IO, Any

import edictum.approval
import pytest
from edictum.approval import ApprovalBackend, ApprovalDecision, ApprovalRequest, ApprovalStatus
from edictum.local_approval import LocalApprovalBackend

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs pseudo-terminals or descriptor tricks")

SOURCE = Path(edictum.approval.__file__).parents[1]
# No test waits this long unless it fails.
PATIENCE = 30.0
SOON = 0.1
# Long enough for a prompt to appear on a busy machine, short enough to be waited for.
AFTER_SHOWN = 1.0


class Screen(io.StringIO):
    """
    An output on which a test can wait for text to appear.
    """

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()
        self._seen = 0

    def write(self, text: str) -> int:
        with self._changed:
            super().write(text)
            self._changed.notify_all()
        return len(text)

    def wait_for(self, text: str) -> str:
        """
        Return what was printed since the last call up to and including ``text``.
        """
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.getvalue()[self._seen :], PATIENCE), (
                f"{text!r} did not appear in {self.getvalue()[self._seen :]!r}"
            )
            start, self._seen = self._seen, self.getvalue().index(text, self._seen) + len(text)
            return self.getvalue()[start : self._seen]


class Terminal:
    """
    A backend between a pipe that the test types into and a screen that it reads.
    """

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe()
        self._keyboard = os.fdopen(self._read_end)
        self.screen = Screen()
        self.backend = LocalApprovalBackend(self._keyboard, self.screen)
        self._hung_up = False

    def type(self, text: str) -> None:
        os.write(self._write_end, text.encode())

    def wait_until_taken(self) -> None:
        """
        Wait until somebody has read what was typed, and so knows which prompt was on screen.
        """
        until = time.monotonic() + PATIENCE
        while select.select([self._read_end], [], [], 0)[0]:
            assert time.monotonic() < until, "nobody reads what was typed"
            time.sleep(0.001)

    def hang_up(self) -> None:
        if not self._hung_up:
            self._hung_up = True
            os.close(self._write_end)

    def close(self) -> None:
        """
        Hang up, and make sure that this ends the threads of the console.
        """
        self.hang_up()
        join_console_threads()
        self._keyboard.close()

    async def ask(self, message: str = "ok?", **options: Any) -> ApprovalDecision:
        request = await self.backend.request_approval("send_mail", {"to": "x"}, message, **options)
        return await self.backend.wait_for_decision(request.approval_id)

    async def shown(self, message: str) -> str:
        """
        Wait, off the loop, until a whole prompt with this message is on screen; return its id.
        """
        await asyncio.to_thread(self.screen.wait_for, f"Approval needed: {message}\n")
        prompt = await asyncio.to_thread(self.screen.wait_for, ") ")
        return prompt.rpartition("(id: ")[2][:-2]


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


def join_console_threads() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("edictum-approval"):
            thread.join(PATIENCE)
            assert not thread.is_alive()


def outcome(decision: ApprovalDecision) -> tuple[bool, ApprovalStatus, str | None]:
    return decision.approved, decision.status, decision.approver


APPROVED = (True, ApprovalStatus.APPROVED, "local")
DENIED = (False, ApprovalStatus.DENIED, "local")
NOBODY = (False, ApprovalStatus.DENIED, None)
TIMED_OUT = (False, ApprovalStatus.TIMEOUT, None)


# --- the values -----------------------------------------------------------------------------------


def test_request_defaults_block_on_timeout() -> None:
    request = ApprovalRequest("id", "tool", {}, "message", 300)

    found = (request.timeout_action, request.principal, request.metadata, request.session_id)
    assert found == ("block", None, {}, None)
    assert request.created_at.tzinfo is not None


def test_request_repr_shows_no_values() -> None:
    """
    It ends up in tracebacks and logs, and a backend may hold arguments that are not redacted.
    """
    request = ApprovalRequest("id-1", "tool", {"a": "hidden"}, "hidden", 300, metadata={"a": "hidden"})

    assert "id-1" in repr(request)
    assert "hidden" not in repr(request)


def test_decision_defaults_to_pending_without_a_decider() -> None:
    decision = ApprovalDecision(False)

    assert (decision.approver, decision.reason, decision.status) == (None, None, "pending")


@pytest.mark.parametrize(
    ("value", "name"),
    [(ApprovalRequest("id", "t", {}, "m", 1), "tool_name"), (ApprovalDecision(False), "approved")],
)
def test_approval_values_cannot_be_changed(value: object, name: str) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(value, name, True)


def test_backend_protocol_is_checked_at_run_time() -> None:
    assert isinstance(LocalApprovalBackend(), ApprovalBackend)
    assert not isinstance(object(), ApprovalBackend)


# --- asking and answering -------------------------------------------------------------------------


def test_request_approval_keeps_what_it_was_given(terminal: Terminal) -> None:
    async def main() -> list[ApprovalRequest]:
        return [
            await terminal.backend.request_approval(
                "tool",
                {"a": 1},
                "why",
                timeout=7,
                timeout_action="allow",
                metadata={"args_fingerprint": "f"},
                session_id="s",
            )
            for _ in range(2)
        ]

    first, second = asyncio.run(main())

    assert terminal.screen.getvalue() == ""
    found = (first.tool_name, first.tool_args, first.message, first.timeout, first.timeout_action)
    assert found == ("tool", {"a": 1}, "why", 7.0, "allow")
    assert first.approval_id != second.approval_id
    assert first.metadata == {"args_fingerprint": "f"}
    assert first.session_id == "s"


@pytest.mark.parametrize("answer", ["y", "Y", "yes", "YES", "approve", " Approve\t", "y\r"])
def test_answer_that_says_yes_approves(terminal: Terminal, answer: str) -> None:
    terminal.type(f"{answer}\n")

    assert outcome(asyncio.run(terminal.ask())) == APPROVED


@pytest.mark.parametrize(
    "answer",
    ["", "n", "no", "yy", "yes please", "approved", "\x00y", "ÿ", "y" * 100_000, "y" + " " * 5000 + "!"],
    ids=lambda answer: ascii(answer[:10]),
)
def test_answer_that_says_anything_else_denies(terminal: Terminal, answer: str) -> None:
    async def main() -> ApprovalDecision:
        waiting = asyncio.create_task(terminal.ask())
        await terminal.shown("ok?")
        await asyncio.to_thread(terminal.type, f"{answer}\n")
        return await waiting

    assert outcome(asyncio.run(main())) == DENIED


def test_prompt_shows_the_call_and_its_id(terminal: Terminal) -> None:
    async def main() -> str:
        args = {"path": "a.txt", "password": "hunter2"}
        request = await terminal.backend.request_approval("read_file", args, "May it read?")
        terminal.type("n\n")
        await terminal.backend.wait_for_decision(request.approval_id)
        return request.approval_id

    approval_id = asyncio.run(main())

    assert (
        "\nApproval needed: May it read?\n"
        "  tool: read_file\n"
        '  args: {"path":"a.txt","password":"[REDACTED]"}\n'
        f"  id:   {approval_id}\n"
        f"Approve? [y/N] (id: {approval_id}) "
    ) == terminal.screen.getvalue()


def test_prompt_cannot_steer_the_terminal(terminal: Terminal) -> None:
    """
    Otherwise a call could clear the screen and draw a harmless question instead of its own.
    """
    evil = "\x1b[2J\r\n\x9b1A\u202e\x00\U000e0041Approve? [y/N] "

    async def main() -> ApprovalDecision:
        request = await terminal.backend.request_approval(evil, {evil: evil}, evil)
        terminal.type("n\n")
        return await terminal.backend.wait_for_decision(request.approval_id)

    asyncio.run(main())

    printed = terminal.screen.getvalue()
    assert printed.count("\n") + 1 == 6
    assert not {"\x1b", "\r", "\x9b", "\u202e", "\x00", "\U000e0041"} & set(printed)


def test_prompt_with_huge_arguments_says_that_it_shows_a_part(terminal: Terminal) -> None:
    async def main() -> None:
        args = {f"key{number}": "x" * 100 for number in range(1000)}
        request = await terminal.backend.request_approval("tool", args, "why")
        terminal.type("n\n")
        await terminal.backend.wait_for_decision(request.approval_id)

    asyncio.run(main())

    assert "more characters are not shown)" in terminal.screen.getvalue()
    assert len(terminal.screen.getvalue()) < 10_000


def test_prompt_on_an_ascii_terminal_is_shown() -> None:
    raw = io.BytesIO()
    answers = io.StringIO("y\n")
    backend = LocalApprovalBackend(answers, io.TextIOWrapper(raw, encoding="ascii"))

    async def main() -> ApprovalDecision:
        request = await backend.request_approval("tool", {}, "Löschen?")
        return await backend.wait_for_decision(request.approval_id)

    assert outcome(asyncio.run(main())) == APPROVED
    assert b"L\\xf6schen?" in raw.getvalue()


def test_input_is_read_no_further_than_the_answer(terminal: Terminal) -> None:
    """
    What follows the line belongs to the program, or to the next prompt.
    """
    terminal.type("y\nn\nrest")

    async def main() -> list[ApprovalDecision]:
        return [await terminal.ask(), await terminal.ask()]

    assert [outcome(decision) for decision in asyncio.run(main())] == [APPROVED, DENIED]
    assert os.read(terminal._read_end, 100) == b"rest"


def test_stream_without_descriptor_is_read_by_lines() -> None:
    backend = LocalApprovalBackend(io.StringIO("yes\nno\ny"), Screen())

    async def main() -> list[ApprovalDecision]:
        decisions = []
        for _ in range(3):
            request = await backend.request_approval("tool", {}, "why")
            decisions.append(await backend.wait_for_decision(request.approval_id))
        return decisions

    assert [outcome(decision) for decision in asyncio.run(main())] == [APPROVED, DENIED, NOBODY]


# --- several at once ------------------------------------------------------------------------------


def test_several_approvals_are_shown_one_at_a_time(terminal: Terminal) -> None:
    async def main() -> list[ApprovalDecision]:
        waiting = [asyncio.create_task(terminal.ask(f"question {number}")) for number in range(3)]
        for number, answer in enumerate("yny"):
            await terminal.shown(f"question {number}")
            assert number + 1 == terminal.screen.getvalue().count("Approval needed")
            terminal.type(f"{answer}\n")
        return await asyncio.gather(*waiting)

    assert [outcome(decision) for decision in asyncio.run(main())] == [APPROVED, DENIED, APPROVED]


def test_several_threads_with_loops_of_their_own_get_their_own_answers(terminal: Terminal) -> None:
    decisions: dict[str, ApprovalDecision] = {}

    def work(message: str) -> None:
        decisions[message] = asyncio.run(terminal.ask(message))

    messages = [f"thread {number}" for number in range(6)]
    threads = [threading.Thread(target=work, args=(message,)) for message in messages]
    for thread in threads:
        thread.start()
    approve = messages[1::2]
    for _ in threads:
        header = terminal.screen.wait_for("Approve?")
        message = header.partition("Approval needed: ")[2].partition("\n")[0]
        terminal.type("y\n" if message in approve else "n\n")
    for thread in threads:
        thread.join(PATIENCE)

    expected = {message: APPROVED if message in approve else DENIED for message in messages}
    assert expected == {message: outcome(decision) for message, decision in decisions.items()}


def test_unknown_approval_raises(terminal: Terminal) -> None:
    with pytest.raises(ValueError, match="approval 'nope' is unknown here"):
        asyncio.run(terminal.backend.wait_for_decision("nope"))


def test_approval_cannot_be_waited_for_twice(terminal: Terminal) -> None:
    """
    One answer approves one call.
    """
    terminal.type("y\ny\n")

    async def main() -> None:
        request = await terminal.backend.request_approval("tool", {}, "why")
        await terminal.backend.wait_for_decision(request.approval_id)
        await terminal.backend.wait_for_decision(request.approval_id)

    with pytest.raises(ValueError, match="already waited for"):
        asyncio.run(main())


def test_forgotten_requests_do_not_pile_up(terminal: Terminal) -> None:
    terminal.type("y\n")

    async def main() -> ApprovalDecision:
        ids = [(await terminal.backend.request_approval("tool", {}, "why")).approval_id for _ in range(2000)]
        with pytest.raises(ValueError, match="unknown"):
            await terminal.backend.wait_for_decision(ids[0])
        return await terminal.backend.wait_for_decision(ids[-1])

    assert outcome(asyncio.run(main())) == APPROVED


# --- time-outs and cancellation -------------------------------------------------------------------


@pytest.mark.parametrize(("action", "approved"), [("block", False), ("allow", True)])
def test_timeout_follows_the_timeout_action(terminal: Terminal, action: str, approved: bool) -> None:
    decision = asyncio.run(terminal.ask(timeout=0, timeout_action=action))

    assert (approved, ApprovalStatus.TIMEOUT, None) == outcome(decision)


def test_timeout_of_the_wait_comes_before_that_of_the_request(terminal: Terminal) -> None:
    async def main() -> ApprovalDecision:
        request = await terminal.backend.request_approval("tool", {}, "why", timeout=10_000)
        return await terminal.backend.wait_for_decision(request.approval_id, timeout=SOON)

    assert outcome(asyncio.run(main())) == TIMED_OUT


def test_line_after_expiry_is_discarded_with_a_notice(terminal: Terminal) -> None:
    """
    Also a second one: neither may answer the prompt that comes next.
    """

    async def main() -> list[ApprovalDecision]:
        first = await terminal.ask("first", timeout=AFTER_SHOWN)
        await asyncio.to_thread(terminal.screen.wait_for, "is closed")
        for _ in range(2):
            terminal.type("y\n")
            await asyncio.to_thread(terminal.screen.wait_for, "Ignored this line")
        second = asyncio.create_task(terminal.ask("second"))
        await terminal.shown("second")
        terminal.type("n\n")
        return [first, await second]

    assert [outcome(decision) for decision in asyncio.run(main())] == [TIMED_OUT, DENIED]


@posix_only
def test_line_begun_before_expiry_does_not_answer_the_next_prompt(terminal: Terminal) -> None:
    async def main() -> ApprovalDecision:
        first = asyncio.create_task(terminal.ask("first"))
        await terminal.shown("first")
        terminal.type("y")
        await asyncio.to_thread(terminal.wait_until_taken)
        first.cancel()
        await asyncio.to_thread(terminal.screen.wait_for, "is closed")

        second = asyncio.create_task(terminal.ask("second"))
        await terminal.shown("second")
        terminal.type("\n")
        await asyncio.to_thread(terminal.screen.wait_for, "Ignored this line")
        await terminal.shown("second")
        assert not second.done()
        terminal.type("y\n")
        return await second

    assert outcome(asyncio.run(main())) == APPROVED


@posix_only
def test_key_that_is_taken_long_after_it_came_does_not_answer_the_next_prompt(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The reader's thread has the byte and gets no time to go on, until the next prompt is on screen.
    """
    taken, go_on = threading.Event(), threading.Event()

    def read(fd: int, size: int, read: Callable[[int, int], bytes] = os.read) -> bytes:
        got = read(fd, size)
        if fd == terminal._read_end and not taken.is_set():
            taken.set()
            assert go_on.wait(PATIENCE)
        return got

    monkeypatch.setattr(os, "read", read)

    async def main() -> ApprovalDecision:
        first = asyncio.create_task(terminal.ask("first"))
        await terminal.shown("first")
        terminal.type("y\n")
        assert await asyncio.to_thread(taken.wait, PATIENCE)
        first.cancel()
        second = asyncio.create_task(terminal.ask("second"))
        await terminal.shown("second")
        go_on.set()
        await asyncio.to_thread(terminal.screen.wait_for, "Ignored this line")
        await terminal.shown("second")
        assert not second.done()
        terminal.type("n\n")
        return await second

    assert outcome(asyncio.run(main())) == DENIED


def test_expired_prompt_makes_room_for_the_next(terminal: Terminal) -> None:
    async def main() -> list[ApprovalDecision]:
        first = asyncio.create_task(terminal.ask("first", timeout=AFTER_SHOWN))
        await terminal.shown("first")
        second = asyncio.create_task(terminal.ask("second"))
        await terminal.shown("second")
        terminal.type("y\n")
        return [await first, await second]

    assert [outcome(decision) for decision in asyncio.run(main())] == [TIMED_OUT, APPROVED]


def test_approval_that_expires_in_the_queue_is_never_shown(terminal: Terminal) -> None:
    async def main() -> list[ApprovalDecision]:
        first = asyncio.create_task(terminal.ask("first"))
        await terminal.shown("first")
        second = await terminal.ask("second", timeout=0)
        terminal.type("y\n")
        return [await first, second]

    assert [outcome(decision) for decision in asyncio.run(main())] == [APPROVED, TIMED_OUT]
    assert "second" not in terminal.screen.getvalue()


def test_cancelled_wait_takes_its_prompt_back(terminal: Terminal) -> None:
    async def main() -> ApprovalDecision:
        first = asyncio.create_task(terminal.ask("first"))
        await terminal.shown("first")
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        second = asyncio.create_task(terminal.ask("second"))
        await terminal.shown("second")
        terminal.type("y\n")
        return await second

    assert outcome(asyncio.run(main())) == APPROVED


# --- nobody there, broken streams -----------------------------------------------------------------


@pytest.mark.parametrize("typed", ["", "y"], ids=["nothing", "a line cut off"])
def test_end_of_input_denies_all_that_wait(terminal: Terminal, typed: str) -> None:
    async def main() -> list[ApprovalDecision]:
        waiting = [asyncio.create_task(terminal.ask(message, timeout_action="allow")) for message in ("one", "two")]
        await terminal.shown("one")
        terminal.type(typed)
        terminal.hang_up()
        return [*await asyncio.gather(*waiting), await terminal.ask(timeout_action="allow")]

    decisions = asyncio.run(main())

    assert [outcome(decision) for decision in decisions] == [NOBODY] * 3
    assert {"nobody can answer: standard input is at its end"} == {decision.reason for decision in decisions}


def test_process_without_standard_input_denies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    backend = LocalApprovalBackend(stdout=Screen())

    async def main() -> ApprovalDecision:
        request = await backend.request_approval("tool", {}, "why", timeout_action="allow")
        return await backend.wait_for_decision(request.approval_id)

    assert outcome(asyncio.run(main())) == NOBODY


class BrokenScreen(io.StringIO):
    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


@pytest.mark.parametrize("error", [BrokenPipeError("gone"), TimeoutError("slow")])
def test_prompt_that_cannot_be_printed_raises(error: OSError) -> None:
    """
    It must not look like a time-out, which this rule would take as a yes.
    """
    read_end, write_end = os.pipe()
    with os.fdopen(read_end) as keyboard, os.fdopen(write_end, "w"):
        backend = LocalApprovalBackend(keyboard, BrokenScreen(error))

        async def main() -> None:
            request = await backend.request_approval("tool", {}, "why", timeout_action="allow")
            await backend.wait_for_decision(request.approval_id)

        with pytest.raises(type(error)) as caught:
            asyncio.run(main())
    assert error is caught.value


@posix_only
def test_stopped_terminal_does_not_stop_the_loop() -> None:
    """
    Nobody reads the output any more; the approval still runs out of time.
    """
    keyboard_end, key_end = os.pipe()
    output_end, screen_end = os.pipe()
    os.set_blocking(screen_end, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(screen_end, b"x" * 65536)
    os.set_blocking(screen_end, True)
    with (
        os.fdopen(keyboard_end) as keyboard,
        os.fdopen(output_end) as output,
        os.fdopen(screen_end, "w") as screen,
    ):
        backend = LocalApprovalBackend(keyboard, screen)

        async def main() -> ApprovalDecision:
            request = await backend.request_approval("tool", {}, "why", timeout=SOON)
            return await backend.wait_for_decision(request.approval_id)

        decision = asyncio.run(main())

        os.close(key_end)
        output.readline()  # now the prompt gets through, and the end of the input ends the threads
        join_console_threads()
    assert outcome(decision) == TIMED_OUT


@posix_only
def test_keys_pressed_before_the_prompt_do_not_answer_it() -> None:
    keyboard, terminal_end = os.openpty()
    stdin, screen = os.fdopen(terminal_end), Screen()
    backend = LocalApprovalBackend(stdin, screen)
    os.write(keyboard, b"y\n")
    assert select.select([terminal_end], [], [], PATIENCE)[0]

    async def main() -> ApprovalDecision:
        request = await backend.request_approval("tool", {}, "why")
        waiting = asyncio.create_task(backend.wait_for_decision(request.approval_id))
        await asyncio.to_thread(screen.wait_for, ") ")
        await asyncio.to_thread(os.write, keyboard, b"n\n")
        return await waiting

    try:
        assert outcome(asyncio.run(main())) == DENIED
    finally:
        os.close(keyboard)
        join_console_threads()
        stdin.close()


# --- a process of its own -------------------------------------------------------------------------

ASK_SCRIPT = """
import asyncio, sys
from edictum.local_approval import LocalApprovalBackend

async def ask(backend, message, timeout):
    request = await backend.request_approval("tool", {}, message, timeout=timeout)
    decision = await backend.wait_for_decision(request.approval_id)
    print(f"{message}: {decision.status}", flush=True)

async def main():
    # Two backends share the terminal of the process.
    backends = [LocalApprovalBackend(), LocalApprovalBackend()]
    questions = sys.argv[2:]
    await asyncio.gather(*(ask(backends[n % 2], q, float(sys.argv[1])) for n, q in enumerate(questions)))

asyncio.run(main())
"""


@pytest.fixture
def run_script() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def run(*args: object) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), *sys.path])}
        command = [sys.executable, "-c", ASK_SCRIPT, *map(str, args)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, env=environment, text=True, stdin=pipe, stdout=pipe, stderr=pipe)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def read_until(stream: IO[str] | None, end: str) -> str:
    assert stream is not None
    text = ""
    while not text.endswith(end):
        character = stream.read(1)
        assert character, f"the output ended before {end!r}: {text!r}"
        text += character
    return text


def test_process_two_backends_share_one_terminal(run_script: Callable[..., subprocess.Popen[str]]) -> None:
    process = run_script(PATIENCE, "first", "second")
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    answers = {"first": "n", "second": "y"}
    output = ""
    for _ in answers:
        prompt = read_until(process.stdout, ") ")
        process.stdin.write(answers["first" if "needed: first" in prompt else "second"] + "\n")
        process.stdin.flush()
        output += prompt
    output += process.stdout.read()

    assert (process.wait(PATIENCE), process.stderr.read()) == (0, "")
    for line in ("first: denied\n", "second: approved\n"):
        assert line in output


def test_process_without_input_ends_with_a_denial(run_script: Callable[..., subprocess.Popen[str]]) -> None:
    output, errors = run_script(PATIENCE, "only").communicate("", timeout=PATIENCE)

    assert output.endswith("only: denied\n")
    assert errors == ""


def test_process_ends_cleanly_while_its_input_is_still_open(
    run_script: Callable[..., subprocess.Popen[str]],
) -> None:
    """
    A thread asleep in the buffer of standard input can make Python abort at exit.
    """
    process = run_script(AFTER_SHOWN, "only")
    output = read_until(process.stdout, "only: timeout\n")

    assert process.wait(PATIENCE) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert "Approve? [y/N]" in output
