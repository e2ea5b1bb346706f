"""
One hook, from the payload on standard input to the answer: ``edictum gate check``.

Whatever goes wrong ends in a block that the host understands.  That is why nothing here is printed by ``print``,
why the process has a deadline of its own (hosts let a tool run when a hook takes too long), and why every error,
also one that nobody expected, comes out at one place.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from edictum.errors import EdictumConfigError
from edictum.gate.formats import DEFAULT_HOST, HOSTS, HookCall, Host, Verdict, answer_raw, host_of
from edictum.gate.payload import Unreadable, parse_object, read_standard_input
from edictum.gate.project import find_rules, project_of, session_of
from edictum.text import escape_controls, shorten

if TYPE_CHECKING:
    from edictum.gate.decision import Decider

DEADLINE_SECONDS = 15.0
MAX_REASON = 2_000

_OUT, _ERR = 1, 2
_UNCHECKED = "Edictum could not check this call, so it is blocked: "


class _WrongUse(Exception):  # noqa: N818  not an error of the program
    """
    The command line is wrong.
    """


class _Parser(argparse.ArgumentParser):
    def __init__(self) -> None:
        # With a width, or argparse asks the terminal for one, and imports half a dozen modules for that.
        super().__init__(
            prog="edictum gate check",
            allow_abbrev=False,
            add_help=False,
            formatter_class=lambda prog: argparse.HelpFormatter(prog, width=100),
        )

    def error(self, message: str) -> NoReturn:
        raise _WrongUse(message)


def add_options(parser: argparse.ArgumentParser) -> None:
    """
    Add the options of ``edictum gate check``.
    """
    parser.add_argument(
        "--format", choices=list(HOSTS), default=DEFAULT_HOST.name, help=f"who asks; default: {DEFAULT_HOST.name}"
    )
    parser.add_argument(
        "--rules",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="rulesets; otherwise those of EDICTUM_RULES, of the project, or the user's own",
    )
    parser.add_argument("--json", action="store_true", help="print the decision as --format raw does, for every host")
    parser.add_argument("--session-id", metavar="ID", help="session that counts the call; otherwise the host's")
    parser.add_argument("--environment", default="production", metavar="NAME", help="default: production")
    parser.add_argument(
        "--timeout",
        type=float,
        default=DEADLINE_SECONDS,
        metavar="SECONDS",
        help=f"when to give up and block; shorter than the host's own limit; default: {DEADLINE_SECONDS:g}",
    )


def run_hook(words: Sequence[str]) -> int:
    """
    Check the call on standard input and answer.

    Args:
        words: Arguments after ``gate check``.

    Returns:
        The exit code that the host understands; see :mod:`edictum.gate.formats`.
    """
    hook = Hook(_named_host(words))
    with _interrupts_as_errors():
        try:
            hook.start_deadline(DEADLINE_SECONDS)
            verdict = hook.judge(words)
        except BaseException as error:  # also what is no error elsewhere, such as an interrupt: the tool must not run
            verdict = _failure(error)
        return hook.answer(verdict)


class Hook:
    """
    One run of the hook.

    Attributes:
        host: Who is answered.
        call: The call, once the payload was read.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.call: HookCall | None = None
        self._as_json = False
        self._decider: Decider | None = None
        self._answering = threading.Lock()
        self._deadline: threading.Timer | None = None
        _keep_standard_streams()

    def start_deadline(self, seconds: float) -> None:
        """
        Answer with a block and end the process when that has not happened in so many seconds from now.
        """
        if not seconds > 0:
            raise _WrongUse(f"--timeout is {seconds:g}; give more than 0 seconds")
        if self._deadline is not None:
            self._deadline.cancel()

        def give_up() -> None:
            if self._answering.acquire(blocking=False):
                reason = f"{_UNCHECKED}it took longer than {seconds:g} seconds. Try again."
                os._exit(self._write(Verdict("block", reason, failed=True)))

        self._deadline = threading.Timer(min(seconds, threading.TIMEOUT_MAX), give_up)
        self._deadline.daemon = True
        self._deadline.start()

    # --- deciding -------------------------------------------------------------------------------

    def judge(self, words: Sequence[str]) -> Verdict:
        """
        Decide about the call on standard input.
        """
        try:
            options = self._options(words)
        except _WrongUse:
            read_standard_input()  # a host that cannot write its payload may go on unchecked
            raise
        payload = parse_object(read_standard_input())
        self.host = host_of(self.host, payload)
        self.call = call = self.host.read(payload)
        project = project_of(self.host, call, os.environ)
        rules = [os.path.abspath(path) for path in find_rules(project, options.rules, os.environ)]
        session = session_of(project, options.session_id, call)
        os.chdir(project.folder)  # where the relative paths of rules start
        from edictum.gate.decision import Decider

        decider = Decider(rules, options.environment, self.host, call)
        self._decider = decider
        if call.cwd is not None:
            os.chdir(call.cwd)  # where those of the call start
        return decider.decide(session)

    def _options(self, words: Sequence[str]) -> argparse.Namespace:
        parser = _Parser()
        add_options(parser)
        options = parser.parse_args(words)
        self.host = HOSTS[options.format]
        self._as_json = options.json
        self.start_deadline(options.timeout)
        return options

    # --- answering ------------------------------------------------------------------------------

    def answer(self, verdict: Verdict) -> int:
        """
        Write the log and the answer; nothing that fails on the way lets a tool run.
        """
        lines = map(escape_controls, verdict.reason.splitlines())
        verdict = replace(verdict, reason=shorten("\n".join(lines), MAX_REASON))
        try:
            self._record(verdict)
        except BaseException as error:
            if verdict.decision != "block":
                verdict = _failure(error, "the decision log cannot be written")
        self._answering.acquire()  # for ever, if the deadline has passed: then that is answered, and the process ends
        if self._deadline is not None:
            self._deadline.cancel()
        return self._write(verdict)

    def _record(self, verdict: Verdict) -> None:
        from edictum.gate.log import record
        from edictum.redaction import RedactionPolicy

        name = self.call.tool_name if self.call is not None else ""
        redaction = RedactionPolicy() if self._decider is None else self._decider.redaction
        first = record(self.host.name, name, verdict, redaction)
        if self._decider is not None:
            with suppress(Exception):  # it is decided and logged; this can wait for another day
                self._decider.close(forget_old=first)

    def _write(self, verdict: Verdict) -> int:
        answer = answer_raw(verdict) if self._as_json else self.host.answer(verdict)
        code = self.host.exit_code(verdict)
        try:
            _write_all(_OUT, json.dumps(answer).encode() + b"\n")
        except OSError:
            # Nobody has read the answer.  What remains is the exit code.
            code = code or self.host.failure_code
        if code:
            with suppress(OSError):  # then the exit code says it alone
                _write_all(_ERR, (verdict.reason or "The call is blocked.").encode("utf-8", "replace") + b"\n")
        return code


# --- what can go wrong ----------------------------------------------------------------------------


def _failure(error: BaseException, what: str | None = None) -> Verdict:
    if what is None:
        what = _explained(error)
    return Verdict("block", f"{_UNCHECKED}{what}", failed=True)


def _explained(error: BaseException) -> str:
    if os.environ.get("EDICTUM_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    if isinstance(error, Unreadable):
        return f"the payload of the hook is not clear: {error}."
    if isinstance(error, EdictumConfigError):
        return f"{error}."
    if isinstance(error, _WrongUse):
        return f"the command of the hook is wrong: {error}. See: edictum gate check --help"
    if isinstance(error, KeyboardInterrupt):
        return "the check was interrupted."
    if isinstance(error, OSError):
        where = f' "{error.filename}"' if error.filename else ""
        return f"reading or writing failed{where}: {error.strerror or error}."
    return f"internal error: {type(error).__name__}: {error}. Set EDICTUM_DEBUG=1 to see where it happened."


def _named_host(words: Sequence[str]) -> Host:
    """
    The host that the command line names, also when it is wrong otherwise.
    """
    named = DEFAULT_HOST
    for before, word in zip(["", *words], words, strict=False):
        name = word if before == "--format" else word.removeprefix("--format=")
        named = HOSTS.get(name, named)
    return named


@contextmanager
def _interrupts_as_errors() -> Iterator[None]:
    """
    Let the signals that end a process end in an answer instead, and keep log messages out of it.
    """
    silent = logging.NullHandler()
    logger = logging.getLogger("edictum")
    before: dict[int, Any] = {}
    if os.environ.get("EDICTUM_DEBUG") != "1":
        logger.addHandler(silent)
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        logger.removeHandler(silent)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _keep_standard_streams() -> None:
    """
    Occupy standard streams that are closed, or the next file that is opened would take their place.
    """
    for number in (0, _OUT, _ERR):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]
