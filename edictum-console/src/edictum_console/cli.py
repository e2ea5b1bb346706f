"""
``edictum-console``: the command line.

Exit codes: 0 fine; 1 the console cannot start as things are; 2 wrong use.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from edictum_console import __version__
from edictum_console.errors import StartError
from edictum_console.settings import Settings, configure_logging, load_settings


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
    serve.add_argument("--port", type=int, default=8000, help="the port to listen on (default: %(default)s)")
    commands.add_parser("migrate", help="bring the database to the schema of this version")
    arguments = parser.parse_args(argv)
    try:
        settings = load_settings(os.environ)
        configure_logging(settings)
        return _COMMANDS[arguments.command](settings, arguments)
    except StartError as error:
        print(f"edictum-console: {error}", file=sys.stderr)
        return 1


def _serve(settings: Settings, arguments: argparse.Namespace) -> int:
    import uvloop

    from edictum_console.server import serve

    # Streams to many agents cost half as much on this loop as on the usual one.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, arguments.host, arguments.port))
    return 0


def _migrate(settings: Settings, arguments: argparse.Namespace) -> int:
    from edictum_console.db.migrations import migrate
    from edictum_console.db.opening import database_of

    async def run() -> list[str]:
        database = database_of(settings)
        await database.open()
        try:
            return await migrate(database)
        finally:
            await database.close()

    done = asyncio.run(run())
    for name in done:
        print(f"applied {name}")
    if not done:
        print("the schema is up to date")
    return 0


_COMMANDS = {"migrate": _migrate, "serve": _serve}
