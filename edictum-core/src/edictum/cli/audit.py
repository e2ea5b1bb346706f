"""
``edictum audit``.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from edictum.cli.inputs import reading
from edictum.cli.terminal import CommandError, counted, say, say_json

if TYPE_CHECKING:
    from edictum.chain_verification import ChainReport, LineFinding

_EXPLANATION = (
    "Finds lines of a chained log that were changed, removed, inserted or moved. Lines cut off at the end are found "
    "only with --expect. FILE.1, FILE.2 and so on are read before FILE. Exit code 0: intact; 1: broken; 2: a file "
    "cannot be read, or no line is chained."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """
    Add the options.
    """
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    summary = "check the hash chain of a log"
    verify = actions.add_parser("verify", help=summary, description=_EXPLANATION, allow_abbrev=False)
    verify.add_argument("files", nargs="+", metavar="FILE", help="files of one log, the oldest first")
    verify.add_argument(
        "--expect", action="append", default=[], metavar="HASH", help="a hash that must be in the log; may be repeated"
    )
    verify.add_argument(
        "--rotated", action="store_true", help="the oldest files may be gone, because rotation deletes them"
    )
    verify.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """
    Verify a log.
    """
    from edictum.chain_verification import verify

    expected = [_hash(text) for text in arguments.expect]
    with reading(arguments.files[0]):
        report = verify(arguments.files, expected=expected, start_may_be_missing=arguments.rotated)
    if report.links == 0:
        raise CommandError(
            f"no line of {', '.join(report.files)} is chained", "the sink must be a FileAuditSink with hash_chain=True"
        )
    if arguments.json:
        say_json(_published(report))
    else:
        _show(report, arguments.rotated)
    return 0 if report.intact else 1


def _hash(text: str) -> str:
    if len(text) != 64 or set(text.lower()) - set("0123456789abcdef"):
        raise CommandError(f'--expect "{text}" is not a hash: give the 64 hexadecimal digits that verify has shown')
    return text.lower()


def _show(report: ChainReport, start_may_be_missing: bool) -> None:
    for found in report.others:
        say(str(found))
    if report.other_lines > len(report.others):
        say(f"and {counted(report.other_lines - len(report.others), 'more line')} outside the chain")
    if report.unfinished is not None:
        say(str(report.unfinished))
    if report.first_break is not None:
        say(str(report.first_break))
    if report.starts_after is not None and not start_may_be_missing:
        say("  --rotated accepts that, for a log of which rotation has deleted the oldest files")
    for digest in report.not_found:
        say(f"hash {digest} is not in the log: its end was cut off, or lines were written anew or rotated away")
    verdict = "intact" if report.intact else "broken"
    if report.breaks > 1:
        verdict += f" at {report.breaks} places"
    say(f"{verdict}: {counted(report.links, 'chained line')} in {counted(len(report.files), 'file')}")
    if report.intact and report.starts_after is not None:
        say(f"starts after: {report.starts_after}")
    say(f"last hash: {report.last_hash}")


def _published(report: ChainReport) -> dict[str, Any]:
    return {
        "intact": report.intact,
        "files": [{"file": file, "lines": lines} for file, lines in report.files.items()],
        "lines": report.lines,
        "chained": report.links,
        "outside": {"total": report.other_lines, "lines": [_line(found) for found in report.others]},
        "unfinished": None if report.unfinished is None else _line(report.unfinished),
        "breaks": report.breaks,
        "first_break": None if report.first_break is None else _line(report.first_break),
        "starts_after": report.starts_after,
        "last_hash": report.last_hash,
        "not_found": list(report.not_found),
    }


def _line(found: LineFinding) -> dict[str, Any]:
    return {"file": found.file, "line": found.line, "message": found.message}
