"""
``edictum-console``: the command line.

Exit codes: 0 fine; 1 the console cannot start as things are, is not healthy, or a command cannot be done; 2 wrong use;
130 and 143 a signal ended it before it was done, or before it served.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from edictum_console import __version__
from edictum_console.errors import CommandError, ConsoleError, SettingsError, StartError
from edictum_console.security.actor import KeyScope
from edictum_console.settings import Settings, configure_logging, load_settings
from edictum_console.stopping import StoppedError, stopping_on_signals

if TYPE_CHECKING:
    from edictum_console.commands.opening import Opened

T = TypeVar("T")
_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

_PORT = 8000
_PATIENCE_SECONDS = 4
_LONGEST_ANSWER = 10_000
_LONGEST_DAYS = 36_500
_MAKE = ("migrate", "serve")  # a console where there is none; others work on one that is there


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run one command.

    Args:
        argv: Arguments without the program's name; None takes those of the process.

    Returns:
        The exit code.
    """
    arguments = _parser().parse_args(argv)
    if arguments.command == "health":
        return _health(arguments.port)
    try:
        makes = arguments.command in _MAKE
        settings = load_settings(os.environ, getattr(arguments, "port", _PORT), generate=makes)
        configure_logging(settings, quiet=not makes)
        run: Callable[[Settings, argparse.Namespace], int] = arguments.run
        return run(settings, arguments)
    except SettingsError as error:
        if arguments.command != "check":
            return _failed(str(error))
        for problem in error.problems:
            print(f"settings: {problem}")
        return 1
    except CommandError as error:
        for line in error.lines:
            print(line, file=sys.stderr)
        return _failed(str(error))
    except (ConsoleError, StartError) as error:
        return _failed(str(error))
    except StoppedError as stopped:
        return stopped.code


def _failed(text: str) -> int:
    print(f"edictum-console: {text}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edictum-console", description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"edictum-console {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = _add(commands, "serve", _serve, "run the console")
    serve.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    serve.add_argument("--port", type=int, default=_PORT, help="the port to listen on (default: %(default)s)")
    serve.add_argument("--demo", action="store_true", help="fill an empty database with something to look at")
    health = commands.add_parser("health", help="ask a console on this machine whether it can serve requests")
    health.add_argument("--port", type=int, default=_PORT, help="the port that it listens on (default: %(default)s)")
    _add(commands, "migrate", _migrate, "bring the database to the schema of this version")
    _add(commands, "check", _check, "look at settings, database, Redis and secrets, and change nothing")
    _add_people(_group(commands, "admin", "let administrators in"))
    _add_keys(_group(commands, "keys", "make and end API keys"))
    _add_rulesets(_group(commands, "rulesets", "store and deploy rulesets"))
    return parser


def _add_people(commands: _Commands) -> None:
    create = _add(commands, "create", _create_admin, "make an administrator, and print the link to choose a password")
    create.add_argument("email", metavar="EMAIL", help="their address")
    _add_tenant(create, "their tenant, which is made where nobody is set up yet")
    reset = _add(commands, "reset-password", _reset_password, "let a person in again, by a link or with a password")
    reset.add_argument("email", metavar="EMAIL", help="their address")
    for parser in (create, reset):
        text = "read the password, at least 12 characters, from standard input instead of printing a link"
        parser.add_argument("--password-stdin", action="store_true", help=text)


def _add_keys(commands: _Commands) -> None:
    create = _add(commands, "create", _create_key, "make an API key, and print it")
    create.add_argument("--env", required=True, help="the environment that it is for")
    create.add_argument("--label", required=True, help="what people call it")
    create.add_argument("--agent", metavar="PATTERN", help="which agent ids may use it, with * and ? (default: any)")
    create.add_argument(
        "--scope",
        action="append",
        choices=[scope.value for scope in KeyScope],
        help=f"what it may do; may be given several times (default: {KeyScope.AGENT.value})",
    )
    create.add_argument("--expires-in-days", metavar="N", type=_days, help="when it ends by itself (default: never)")
    _add_tenant(create, "the tenant")
    revoke = _add(
        commands,
        "revoke",
        _revoke_key,
        "end an API key",
        "A console that runs with Redis refuses the key at once.  One without Redis ends its streams within seconds, "
        "and may take requests with it for up to 60 seconds if it was used just now.",
    )
    revoke.add_argument("key", metavar="KEY_ID_OR_PREFIX", help="its id, or how it begins: edk_production_...")
    _add_tenant(revoke, "the tenant")


def _add_rulesets(commands: _Commands) -> None:
    push = _add(commands, "push", _push_ruleset, "store a ruleset as the next version of the name in it")
    push.add_argument("file", metavar="FILE", help="the ruleset; - reads standard input")
    deploy = _add(
        commands,
        "deploy",
        _deploy_ruleset,
        "let a version run in an environment",
        "A console that runs tells agents within seconds.",
    )
    deploy.add_argument("name", metavar="NAME", help="the ruleset")
    deploy.add_argument("version", metavar="VERSION", type=int, help="its version")
    deploy.add_argument("--env", required=True, help="the environment")
    text = "do nothing if another version than this runs there; 0 for none"
    deploy.add_argument("--expect-current", metavar="N", type=int, help=text)
    for parser in (push, deploy):
        parser.add_argument("--note", metavar="TEXT", default="", help="what to say about it")
        _add_tenant(parser, "the tenant")


def _group(commands: _Commands, name: str, text: str) -> _Commands:
    parser = commands.add_parser(name, help=text, description=_sentence(text), allow_abbrev=False)
    return parser.add_subparsers(dest="action", required=True, metavar="COMMAND")


def _add(
    commands: _Commands, name: str, run: Callable[[Settings, argparse.Namespace], int], text: str, more: str = ""
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=_sentence(text), epilog=more, allow_abbrev=False)
    parser.set_defaults(run=run)
    return parser


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _add_tenant(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--tenant", metavar="NAME", help=f"{text}; not needed while there is only one")


def _days(text: str) -> int:
    days = int(text)
    if not 1 <= days <= _LONGEST_DAYS:
        raise argparse.ArgumentTypeError(f"must be from 1 to {_LONGEST_DAYS}")
    return days


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
        try:
            await database.open()
            return await migrate(database)
        finally:
            await database.close()

    done = _run(run)
    for name in done:
        print(f"applied {name}")
    if not done:
        print("the schema is up to date")
    return 0


def _check(settings: Settings, arguments: argparse.Namespace) -> int:
    from edictum_console.commands.checking import look

    findings = _run(lambda: look(settings))
    print("settings: ok")
    for finding in findings:
        print(f"{finding.part}: {'ok, ' if finding.well else ''}{' '.join(finding.text.split())}")
    return 0 if all(finding.well for finding in findings) else 1


def _create_admin(settings: Settings, arguments: argparse.Namespace) -> int:
    from edictum_console.commands.people import create_admin

    password = _password(arguments)
    link = _command(
        settings, arguments, lambda console: create_admin(console, arguments.email, arguments.tenant, password)
    )
    _say_link(link, f"{arguments.email} can sign in")
    return 0


def _reset_password(settings: Settings, arguments: argparse.Namespace) -> int:
    from edictum_console.commands.people import reset_password

    password = _password(arguments)
    link = _command(settings, arguments, lambda console: reset_password(console, arguments.email, password))
    _say_link(link, f"{arguments.email} can sign in with the new password, and is signed out everywhere else")
    return 0


def _create_key(settings: Settings, arguments: argparse.Namespace) -> int:
    from edictum_console.commands.keys import create_key

    made = _command(
        settings,
        arguments,
        lambda console: create_key(
            console,
            arguments.tenant,
            env=arguments.env,
            label=arguments.label,
            agent=arguments.agent,
            scopes=arguments.scope,
            days=arguments.expires_in_days,
        ),
    )
    print(f"made {made.api_key.prefix}... for {made.api_key.env}; it is shown this once", file=sys.stderr)
    print(made.key)
    return 0


def _revoke_key(settings: Settings, arguments: argparse.Namespace) -> int:
    from edictum_console.commands.keys import revoke_key

    shown = _command(settings, arguments, lambda console: revoke_key(console, arguments.tenant, arguments.key))
    print(f"revoked {shown}")
    return 0


def _push_ruleset(settings: Settings, arguments: argparse.Namespace) -> int:
    from edictum_console.commands.rulesets import push_ruleset

    content = _content(arguments.file)
    version, new = _command(
        settings,
        arguments,
        lambda console: push_ruleset(console, arguments.tenant, arguments.file, content, arguments.note),
    )
    if not new:
        print("the newest version is the same", file=sys.stderr)
    print(f"{version.name} {version.version}")
    return 0


def _deploy_ruleset(settings: Settings, arguments: argparse.Namespace) -> int:
    from edictum_console.commands.rulesets import deploy_ruleset

    done = _command(
        settings,
        arguments,
        lambda console: deploy_ruleset(
            console,
            arguments.tenant,
            arguments.name,
            arguments.version,
            env=arguments.env,
            note=arguments.note,
            expect_current=arguments.expect_current,
        ),
    )
    print(f"{done.bundle_name} {done.bundle_version} runs in {done.env}, by deployment {done.deployment_seq}")
    return 0


def _command(settings: Settings, arguments: argparse.Namespace, work: Callable[[Opened], Awaitable[T]]) -> T:
    """
    Do something with the console's database.
    """
    from edictum_console.commands.opening import opened

    async def run() -> T:
        async with opened(settings, f"{arguments.command} {arguments.action}") as console:
            return await work(console)

    return _run(run)


def _run(work: Callable[[], Awaitable[T]]) -> T:
    """
    Do something that a signal may end.
    """

    async def run() -> T:
        with stopping_on_signals():
            return await work()

    return asyncio.run(run())


def _password(arguments: argparse.Namespace) -> str | None:
    """
    The first line of standard input, where a password comes from there.

    Raises:
        CommandError: It is no text.
    """
    if not arguments.password_stdin:
        return None
    try:
        return sys.stdin.buffer.readline().decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise CommandError("the password is not UTF-8") from None


def _content(file: str) -> bytes:
    """
    What is in a file, or comes from standard input.

    Raises:
        CommandError: It cannot be read.
    """
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise CommandError(f"{file}: cannot be read: {error.strerror}") from None


def _say_link(link: str | None, otherwise: str) -> None:
    if link is None:
        print(otherwise, file=sys.stderr)
    else:
        print("whoever opens this link chooses the password; it works once, for two days:", file=sys.stderr)
        print(link)


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
