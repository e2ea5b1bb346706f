"""
``edictum migrate``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edictum.cli.files import replace_file
from edictum.cli.inputs import problem_lines, reading
from edictum.cli.terminal import CommandError, counted, note, say, say_json
from edictum.errors import EdictumConfigError
from edictum.ruleset.document import MAX_BUNDLE_SIZE, read_document

if TYPE_CHECKING:
    from edictum.migrate import Change

_BOM = b"\xef\xbb\xbf"
_JSON_SCALAR = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s{}\[\],:"]+')


@dataclass(frozen=True, slots=True)
class _Migration:
    """
    A migrated file that is not written yet.

    Attributes:
        path: The file.
        before: Its bytes.
        after: What they become; everything but the changed words is untouched, comments included.
        changes: The words.
        problems: What the strict reader says about ``after``.
    """

    path: str
    before: bytes
    after: bytes
    changes: list[Change]
    problems: list[str]


def configure(parser: argparse.ArgumentParser) -> None:
    """
    Add the options.
    """
    parser.add_argument("file", metavar="FILE", help="ruleset, YAML or JSON")
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--output", metavar="FILE", help="write here instead of to the terminal")
    target.add_argument("--in-place", action="store_true", help="change the file; the original is kept as FILE.bak")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = "Comments and layout stay. Exit code 1 means that the document is invalid, before or afterwards."


def run(arguments: argparse.Namespace) -> int:
    """
    Rewrite a document of the older vocabulary and list what changed.
    """
    migration = _migrate(arguments.file)
    target, backup = arguments.output, None
    if arguments.in_place:
        target = arguments.file if migration.changes else None
        backup = f"{arguments.file}.bak" if migration.changes else None
    if target is not None:
        _write(migration, target, backup)
    printed = target is None and not arguments.in_place
    if arguments.json:
        say_json(
            {
                "file": arguments.file,
                "changed": bool(migration.changes),
                "changes": [{"path": item.path, "old": item.old, "new": item.new} for item in migration.changes],
                "output": target,
                "backup": backup,
                "document": migration.after.decode("utf-8") if printed else None,
                "problems": migration.problems,
            }
        )
    else:
        _show(migration, target, backup, printed=printed)
    return 1 if migration.problems else 0


def _migrate(path: str) -> _Migration:
    from edictum.migrate import upgrade_ruleset

    with reading(path), open(path, "rb") as stream:
        before = stream.read(MAX_BUNDLE_SIZE + 1)
    name = os.path.basename(path)
    try:
        document = read_document(before, name=name)
        upgraded, changes = upgrade_ruleset(document.data)
    except EdictumConfigError as error:
        raise CommandError(f"{path} cannot be migrated", *problem_lines([path], error), code=1) from error
    after = before
    if changes:
        lead = _BOM if before.startswith(_BOM) else b""
        text = before.removeprefix(lead).decode("utf-8")
        after = lead + _rewrite(path, text, document.data, upgraded, changes).encode("utf-8")
    return _Migration(path, before, after, changes, _problems_of(path, after))


def _rewrite(path: str, text: str, old: Any, new: Any, changes: list[Change]) -> str:
    """
    The text with the changed words exchanged where they stand.

    A migration never moves anything, so the n-th word of the old data is the n-th of the new data, and the n-th
    in the text.

    Raises:
        CommandError: The words do not correspond, because a key was dropped.
    """
    words, new_words = list(_scalars(old)), list(_scalars(new))
    spans = list(_json_spans(text) if _is_json(text) else _yaml_spans(text))
    pieces = []
    end = 0
    if len(words) == len(new_words) == len(spans):
        for (start, stop), word, new_word in zip(spans, words, new_words, strict=True):
            if word != new_word:
                quote = text[start] if text[start] in "'\"" else ""
                pieces += [text[end:start], quote, new_word, quote]
                end = stop
    rewritten = "".join(pieces) + text[end:]
    if not pieces or _data_of(path, rewritten) != new:
        raise CommandError(
            f"{path} cannot be rewritten without losing its layout; change these words by hand",
            *(str(change) for change in changes),
            code=1,
        )
    return rewritten


def _scalars(node: Any) -> Iterator[Any]:
    """
    Keys and values in the order in which they are written.
    """
    if type(node) is dict:
        for key, value in node.items():
            yield key
            yield from _scalars(value)
    elif type(node) is list:
        for item in node:
            yield from _scalars(item)
    else:
        yield node


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _json_spans(text: str) -> Iterator[tuple[int, int]]:
    return (match.span() for match in _JSON_SCALAR.finditer(text))


def _yaml_spans(text: str) -> Iterator[tuple[int, int]]:
    from edictum.ruleset.yaml import _open_pure_parser

    parser = _open_pure_parser(text)
    while parser.check_event():
        event = parser.get_event()
        if type(event).__name__ == "ScalarEvent":
            yield event.start_mark.index, event.end_mark.index


def _data_of(path: str, text: str) -> Any:
    try:
        return read_document(text, name=os.path.basename(path)).data
    except EdictumConfigError:
        return None


def _problems_of(path: str, content: bytes) -> list[str]:
    """
    What is still wrong; unknown operators are not, because programs may register them.
    """
    from edictum.ruleset.reader import read_ruleset

    try:
        read_ruleset(read_document(content, name=os.path.basename(path)), custom=None)
    except EdictumConfigError as error:
        return problem_lines([path], error)
    return []


def _write(migration: _Migration, target: str, backup: str | None) -> None:
    """
    Write the result at once or not at all, after the backup.
    """
    real = os.path.realpath(target)
    if backup is None and os.path.realpath(migration.path) == real and migration.changes:
        raise CommandError("the output is the file itself; use --in-place, which keeps a backup")
    try:
        if backup is not None:
            _back_up(migration.before, backup)
        replace_file(real, [migration.after])
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandError(f'cannot write "{error.filename or target}": {error.strerror or error}') from None


def _back_up(content: bytes, backup: str) -> None:
    try:
        with open(backup, "xb") as stream:
            stream.write(content)
    except FileExistsError:
        raise CommandError(f'the backup "{backup}" exists already; move it away first') from None


def _show(migration: _Migration, target: str | None, backup: str | None, *, printed: bool) -> None:
    tell = note if printed else say
    if printed:
        _print_raw(migration.after)
    for change in migration.changes:
        tell(str(change))
    if not migration.changes:
        tell(f"{migration.path}: nothing to change")
    else:
        where = f", written to {target}" if target is not None else ""
        kept = f", original kept as {backup}" if backup is not None else ""
        tell(f"{migration.path}: {counted(len(migration.changes), 'change')}{where}{kept}")
    for problem in migration.problems:
        tell(problem)
    if migration.problems:
        tell(f"{migration.path}: still invalid, {counted(len(migration.problems), 'problem')}")


def _print_raw(content: bytes) -> None:
    """
    Print a document byte for byte, so that it can be redirected to a file.
    """
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
