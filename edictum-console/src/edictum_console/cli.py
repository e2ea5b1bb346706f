"""
``edictum-console``: the command line.

Exit codes: 0 fine; 1 the console cannot start as things are, or is not healthy; 2 wrong use; 130 and 143 a signal ended
it before it was done, or before it served.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException

from edictum_console import __version__
from edictum_console.errors import StartError
from edictum_console.logs import configure_logging
from edictum_console.settings import Settings, load_settings
from edictum_console.stopping import StoppedError, stopping_on_signals

_PORT = 8000
_PATIENCE_SECONDS = 4
_LONGEST_ANSWER = 10_000


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run one command.

    Args:
        argv: Arguments without the program's name; None takes those of the process.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="edictum-console", description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"edictum-console {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="run the console")
    serve.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    serve.add_argument("--port", type=int, default=_PORT, help="the port to listen on (default: %(default)s)")
    serve.add_argument("--demo", action="store_true", help="fill an empty database with something to look at")
    health = commands.add_parser("health", help="ask a console on this machine whether it can serve requests")
    health.add_argument("--port", type=int, default=_PORT, help="the port that it listens on (default: %(default)s)")
    commands.add_parser("migrate", help="bring the database to the schema of this version")
    arguments = parser.parse_args(argv)
    if arguments.command == "health":
        return _health(arguments.port)
    try:
        settings = load_settings(os.environ, getattr(arguments, "port", _PORT))
        configure_logging(settings)
        return _COMMANDS[arguments.command](settings, arguments)
    except StartError as error:
        print(f"edictum-console: {error}", file=sys.stderr)
        return 1
    except StoppedError as stopped:
        return stopped.code


def _serve(settings: Settings, arguments: argparse.Namespace) -> int:
    import uvloop

    from edictum_console.demo.seeding import demo_of, refuse_half_a_demo
    from edictum_console.server import serve

    prepare = demo_of(settings) if arguments.demo else refuse_half_a_demo
    # Streams to many agents cost half as much on this loop as on the usual one.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, arguments.host, arguments.port, prepare))
    return 0


def _migrate(settings: Settings, arguments: argparse.Namespace) -> int:
    from edictum_console.db.migrations import migrate
    from edictum_console.db.opening import database_of

    async def run() -> list[str]:
        database = database_of(settings)
        with stopping_on_signals():
            try:
                await database.open()
                return await migrate(database)
            finally:
                await database.close()

    done = asyncio.run(run())
    for name in done:
        print(f"applied {name}")
    if not done:
        print("the schema is up to date")
    return 0


def _health(port: int) -> int:
    """
    Say whether a console is ready; needs no settings, so that whatever supervises it may ask.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_SECONDS)
    try:
        connection.request("GET", "/api/v1/health/ready")
        response = connection.getresponse()
        ready, text = response.status == 200, response.read(_LONGEST_ANSWER).decode("utf-8", "replace")
    except (OSError, HTTPException) as error:
        ready, text = False, f"nothing that speaks HTTP answers on port {port}: {type(error).__name__}"
    finally:
        connection.close()
    print(text, file=sys.stdout if ready else sys.stderr)
    return 0 if ready else 1


_COMMANDS = {"migrate": _migrate, "serve": _serve}
