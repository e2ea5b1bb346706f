"""
What the commands are given: files, arguments of a call, a principal.

Everything that can be wrong with them is said here, as a :class:`CommandError` that names the place.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from edictum.cli.terminal import CommandError
from edictum.errors import ConfigProblem, EdictumConfigError
from edictum.tool_call import Principal

if TYPE_CHECKING:
    from edictum.guard import Edictum


def add_call_options(parser: argparse.ArgumentParser) -> None:
    """
    Add the options that describe one call.
    """
    parser.add_argument("--tool", required=True, help="name of the tool")
    parser.add_argument("--args", required=True, metavar="JSON", help='its arguments, such as \'{"path": "a.txt"}\'')
    parser.add_argument("--principal-role", metavar="ROLE", help="role of the person who acts")
    parser.add_argument("--principal-user", metavar="ID", help="id of that person")
    parser.add_argument("--principal-ticket", metavar="REF", help="ticket that authorises the work")
    add_environment_option(parser)


def add_environment_option(parser: argparse.ArgumentParser) -> None:
    """
    Add ``--environment``.
    """
    parser.add_argument("--environment", default="production", metavar="NAME", help="default: production")


def add_format_options(parser: argparse.ArgumentParser) -> None:
    """
    Add ``--format`` and its short form ``--json``.
    """
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--format", choices=("text", "json", "sarif"), default="text", help="default: text")
    given.add_argument("--json", action="store_const", const="json", dest="format", help="print JSON")


def principal_of(arguments: argparse.Namespace) -> Principal | None:
    """
    The principal that the options describe, or None when they describe none.
    """
    role, user, ticket = arguments.principal_role, arguments.principal_user, arguments.principal_ticket
    if role is None and user is None and ticket is None:
        return None
    return Principal(user_id=user, role=role, ticket_ref=ticket)


def load_guard(*paths: str, environment: str = "production") -> Edictum:
    """
    A guard with the rules of files that writes no decision log, whatever the rulesets ask for.

    Raises:
        CommandError: A file cannot be read or is not a valid ruleset.
    """
    from edictum.guard import Edictum

    with reading(paths[0]):
        try:
            return Edictum.from_yaml(*paths, environment=environment, audit_sink=[], telemetry=False)
        except EdictumConfigError as error:
            raise CommandError(f"{', '.join(paths)} cannot be used", *problem_lines(paths, error)) from error


def problem_lines(paths: Sequence[str], error: EdictumConfigError) -> list[str]:
    """
    Every problem of some files as ``file:line:column: path: message``.

    Args:
        paths: The files as they were given, so that editors and people find them.
        error: What the reader found.
    """
    if not error.errors:
        return [f"{paths[0]}: {error}"]
    lines = []
    for problem in error.errors:
        path = path_of(problem, paths)
        place = path if problem.line is None else f"{path}:{problem.line}:{problem.column}"
        lines.append(": ".join(part for part in (place, problem.path, problem.message) if part))
    return lines


def path_of(problem: ConfigProblem, paths: Sequence[str]) -> str:
    """
    The file that a problem is in: one of those given, or one beside them that they extend.
    """
    if problem.file is None:
        return paths[0]
    for path in paths:
        if os.path.basename(path) == problem.file:
            return path
    beside = os.path.join(os.path.dirname(paths[0]), problem.file)
    return beside if os.path.exists(beside) else paths[0]


@contextmanager
def reading(path: str) -> Iterator[None]:
    """
    Turn failures to read a file into errors for people.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        path = error.filename if isinstance(error.filename, str) else path
        if isinstance(error, FileNotFoundError):
            raise CommandError(f'no such file: "{path}"{_similar_file(path)}') from None
        if isinstance(error, IsADirectoryError):
            raise CommandError(f'"{path}" is a folder; name a file in it') from None
        raise CommandError(f'cannot read "{path}": {error.strerror or error}') from None


def _similar_file(path: str) -> str:
    from difflib import get_close_matches

    folder, name = os.path.split(path)
    try:
        close = get_close_matches(name, os.listdir(folder or os.curdir), n=1)
    except OSError:
        return ""
    return f'; did you mean "{os.path.join(folder, close[0])}"?' if close else ""


def json_object(text: str, option: str) -> dict[str, Any]:
    """
    Parse an option that holds a JSON object.

    Unlike in a document every text is allowed, because a model may send any.

    Raises:
        CommandError: It is not JSON, or not an object; the place is named, the text is not repeated.
    """
    try:
        data = json.loads(text, object_pairs_hook=_no_duplicates(option), parse_constant=_no_constant(option))
    except json.JSONDecodeError as error:
        raise CommandError(
            f"{option} is not JSON at line {error.lineno}, column {error.colno}: {error.msg}; "
            f'put the whole object in single quotes, such as {option} \'{{"path": "a.txt"}}\''
        ) from None
    except RecursionError:
        raise CommandError(f"{option} is nested too deeply") from None
    except ValueError:  # int() refuses more digits than sys.get_int_max_str_digits()
        raise CommandError(f"{option} holds a number with too many digits") from None
    if not isinstance(data, dict):
        raise CommandError(f'{option} must be a JSON object such as {{"path": "a.txt"}}, not {_kind(data)}')
    return data


def _kind(data: Any) -> str:
    if data is None:
        return "null"
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list"}
    return kinds[type(data)]


def _no_duplicates(option: str) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    def pairs_to_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise CommandError(f"{option} holds the key {json.dumps(key)} twice; remove one")
            found[key] = value
        return found

    return pairs_to_dict


def _no_constant(option: str) -> Callable[[str], NoReturn]:
    def refuse(word: str) -> NoReturn:
        raise CommandError(f"{option} holds {word}, which is not JSON; use a finite number")

    return refuse
