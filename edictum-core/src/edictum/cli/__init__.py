"""
The ``edictum`` command.

Every command is a module of this package with ``configure(parser)`` and ``run(arguments) -> exit code``; it is
imported when it is asked for, so that none pays for the others.

Exit codes: 0 fine; 1 a call is not allowed, a case failed, a document is invalid or likely to be mistaken, something
differs; 2 wrong use or an internal error; 130 interrupted; 141 nobody reads the output any more.  ``gate check`` has
those of the assistant that asks.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from typing import NoReturn

from edictum.cli.terminal import CommandError, complain, complain_json

USAGE_ERROR = 2
INTERRUPTED = 130
BROKEN_PIPE = 141

COMMANDS = {
    "version": "show the version",
    "validate": "check ruleset files and show every problem",
    "check": "say what is decided about one call",
    "test": "try many calls, from cases with expectations or from a plain list",
    "explain": "show what each rule says about one call",
    "diff": "say what differs between rulesets in meaning",
    "replay": "decide the calls of a decision log again, under another ruleset",
    "lint": "find what is valid in rulesets and still likely to be a mistake",
    "migrate": "rewrite a ruleset of the older contract vocabulary",
    "schema": "print the JSON Schema of rulesets",
    "templates": "list the shipped rulesets, or print one to copy",
    "audit": "check the hash chain of a decision log",
    "gate": "check the tool calls of coding assistants, through their hooks",
}
_HOOK = ["gate", "check"]


class _Parser(argparse.ArgumentParser):
    """
    A parser that raises instead of ending the process, so that every error is shown in one way.
    """

    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message}; see: {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run one command.

    Args:
        argv: Arguments without the program's name; None takes those of the process.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:2] == _HOOK and not {"-h", "--help"}.intersection(words):
        return _run_hook(words[2:])
    try:
        return _guarded(words)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return BROKEN_PIPE


def _run_hook(words: list[str]) -> int:
    """
    Run a hook, of which no failure may look to the assistant as if the tool might run.
    """
    try:
        from edictum.gate.check import run_hook

        return run_hook(words)
    except BaseException:
        os.write(2, b"Edictum could not check this call, so it is blocked. See: edictum gate status\n")
        return USAGE_ERROR


def _guarded(words: list[str]) -> int:
    try:
        code = _run(words)
        # Now rather than at shutdown, where a failure could only be printed by the interpreter.
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except CommandError as error:
        return _report(words, error)
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard_output_if_broken()
        return _report(words, CommandError(f"reading or writing failed: {error.strerror or error}"))
    except Exception as error:
        if os.environ.get("EDICTUM_DEBUG") == "1":
            import traceback

            traceback.print_exc()
        what = f"internal error: {type(error).__name__}: {error}"
        return _report(words, CommandError(what, "set EDICTUM_DEBUG=1 to see where it happened"))


def _run(words: list[str]) -> int:
    parser = _Parser(
        prog="edictum",
        description="Rules between an agent's decision to call a tool and the call.",
        epilog="Exit codes: 0 fine, 1 not allowed, failed, invalid or different, 2 wrong use.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="show the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    chosen = words[0] if words else ""
    if chosen and chosen not in COMMANDS and not chosen.startswith("-"):
        _unknown_command(chosen)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary.capitalize()}.", allow_abbrev=False)
        if name == chosen:
            import_module(f"edictum.cli.{name}").configure(command)
    try:
        arguments = parser.parse_args(words)
    except SystemExit:  # only --help ends here, because error() raises
        return 0
    name = "version" if arguments.version else arguments.command
    if name is None:
        parser.print_help(sys.stderr)
        return USAGE_ERROR
    code: int = import_module(f"edictum.cli.{name}").run(arguments)
    return code


def _unknown_command(word: str) -> NoReturn:
    from edictum.ruleset.problems import did_you_mean, quote

    hint = did_you_mean(word, COMMANDS) or f"; commands are {', '.join(COMMANDS)}"
    raise CommandError(f"unknown command {quote(word)}{hint}")


def _report(words: list[str], error: CommandError) -> int:
    if "--json" in words or "--format=json" in words or ("--format", "json") in pairwise(words):
        complain_json(error)
    else:
        complain(error)
    return error.code


def _discard_output_if_broken() -> None:
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        _discard_output()


def _discard_output() -> None:
    """
    Let what is still buffered go nowhere instead of failing again when the interpreter ends.
    """
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError, AttributeError):
        return  # closed, absent, or replaced by an object that is not a file
