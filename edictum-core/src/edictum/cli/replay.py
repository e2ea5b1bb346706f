"""
``edictum replay``.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Any

from edictum.cli.files import replace_file
from edictum.cli.inputs import load_guard, reading
from edictum.cli.recorded import LogReader, MalformedLineError, RecordedCall
from edictum.cli.terminal import CommandError, counted, note, say, say_raw

if TYPE_CHECKING:
    from edictum.cli.rejudge import Rejudge, Rejudged
    from edictum.guard import Edictum

_SPOOLED_IN_MEMORY = 8 * 1024 * 1024
_MALFORMED_SHOWN = 20


def configure(parser: argparse.ArgumentParser) -> None:
    """
    Add the options.
    """
    parser.add_argument("ruleset", metavar="RULESET", help="ruleset, YAML or JSON")
    parser.add_argument("--audit-log", required=True, metavar="FILE", help="decision log, one JSON object a line")
    parser.add_argument("--output", metavar="FILE", help="write the report here as well, as JSON")
    parser.add_argument("--strict", action="store_true", help="uncertain calls count as changed")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = (
        "Pre and sandbox rules are judged; limits of sessions, hooks, rules in Python and post rules are not. Run it "
        "where the agent runs, because sandbox rules look at files. Exit code 1 means that a decision changes."
    )


def run(arguments: argparse.Namespace) -> int:
    """
    Decide every call of a decision log again and show what becomes of it.
    """
    from edictum.cli.rejudge import Rejudge
    from edictum.loading import resolve_file

    _refuse_to_overwrite(arguments.output, (arguments.ruleset, arguments.audit_log))
    guard = load_guard(arguments.ruleset)
    judge = Rejudge(guard, resolve_file(arguments.ruleset).ruleset)
    reader = LogReader(arguments.audit_log)
    with ExitStack() as stack:
        details, doubtful = (stack.enter_context(_Spool()) for _ in range(2))
        totals = _Totals()
        with reading(arguments.audit_log):
            for recorded, result in _results(reader, judge):
                totals.total += 1
                if result.change == "none":
                    continue
                if not arguments.json:
                    say(_line(recorded, result))
                if result.change == "changed":
                    totals.changes += 1
                    details.add(_detail(recorded, result))
                else:
                    totals.uncertain += 1
                    doubtful.add({**_detail(recorded, result), "why": list(result.doubts)})
        if reader.malformed and not totals.total:
            first = f"line {reader.malformed_lines[0][0]}: {reader.malformed_lines[0][1]}"
            raise CommandError(f'"{arguments.audit_log}" holds no decision; is it a decision log?', first)
        head = {**_head(arguments, totals, reader), "not_replayed": _not_replayed(guard)}
        if arguments.output is not None:
            _write(arguments.output, _report(head, details, doubtful))
        if arguments.json:
            for line in _report(head, details, doubtful):
                say_raw(line)
        else:
            _show(totals, reader, head["not_replayed"])
    return 1 if totals.changes or (arguments.strict and totals.uncertain) else 0


def _refuse_to_overwrite(output: str | None, inputs: Iterable[str]) -> None:
    if output is not None and os.path.realpath(output) in map(os.path.realpath, inputs):
        raise CommandError(f'the output "{output}" is one of the files that are read; choose another one')


@dataclass(slots=True)
class _Totals:
    total: int = 0
    changes: int = 0
    uncertain: int = 0


class _Spool:
    """
    Any number of JSON values, in memory or, when they are many, in a temporary file.
    """

    def __enter__(self) -> _Spool:
        self._file: IO[bytes] = SpooledTemporaryFile(max_size=_SPOOLED_IN_MEMORY)
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, value: dict[str, Any]) -> None:
        """
        Put a value behind the others.
        """
        self._file.write(json.dumps(value).encode("ascii") + b"\n")

    def __iter__(self) -> Iterator[str]:
        self._file.seek(0)
        for line in self._file:
            yield line.decode("ascii").rstrip("\n")


def _results(reader: LogReader, judge: Rejudge) -> Iterator[tuple[RecordedCall, Rejudged]]:
    for recorded in reader.calls():
        try:
            yield recorded, judge.judge(recorded)
        except MalformedLineError as error:
            reader.refuse(recorded.line, error)


def _not_replayed(guard: Edictum) -> list[str]:
    """
    Rules of the ruleset that a replay does not judge.
    """
    described = guard.describe()["rules"]
    return [rule["id"] for rule in described if rule["type"] in ("session_contract", "postcondition")]


# --- output ---------------------------------------------------------------------------------------


def _detail(recorded: RecordedCall, result: Rejudged) -> dict[str, Any]:
    return {
        "line": recorded.line,
        "call_id": recorded.call_id,
        "tool_name": recorded.tool,
        "was_verdict": recorded.verdict,
        "was_rule": recorded.rule,
        "was_observed": recorded.observed,
        "now_verdict": result.verdict,
        "blocked_by_rule": result.rule,
    }


def _head(arguments: argparse.Namespace, totals: _Totals, reader: LogReader) -> dict[str, Any]:
    return {
        "ruleset": arguments.ruleset,
        "audit_log": arguments.audit_log,
        "total": totals.total,
        "changes": totals.changes,
        "uncertain": totals.uncertain,
        "unchanged": totals.total - totals.changes - totals.uncertain,
        "skipped": dict(reader.skipped),
        "malformed": reader.malformed,
        "malformed_lines": [{"line": line, "problem": problem} for line, problem in reader.malformed_lines],
    }


def _report(head: dict[str, Any], details: _Spool, doubtful: _Spool) -> Iterator[str]:
    """
    The lines of the report: one JSON object, never as a whole in memory.
    """
    yield "{"
    for name, value in head.items():
        yield f"  {json.dumps(name)}: {json.dumps(value)},"
    yield from _list("details", details)
    yield "  ],"
    yield from _list("uncertain_details", doubtful)
    yield "  ]"
    yield "}"


def _list(name: str, values: _Spool) -> Iterator[str]:
    yield f"  {json.dumps(name)}: ["
    waiting: str | None = None
    for value in values:
        if waiting is not None:
            yield f"    {waiting},"
        waiting = value
    if waiting is not None:
        yield f"    {waiting}"


def _write(path: str, lines: Iterator[str]) -> None:
    try:
        replace_file(os.path.realpath(path), (f"{line}\n".encode("ascii") for line in lines))
    except OSError as error:
        raise CommandError(f'cannot write "{path}": {error.strerror or error}') from None


def _line(recorded: RecordedCall, result: Rejudged) -> str:
    was = f"{recorded.verdict}{' (observed)' if recorded.observed else ''}"
    was += f" by {recorded.rule}" if recorded.rule is not None else ""
    now = result.verdict + (f" by {result.rule}" if result.rule is not None else "")
    if result.rule is not None and result.verdict == "allow":
        now = f"allow, {result.rule} only observes"
    line = f"line {recorded.line}: {recorded.tool}: {was} -> {now}"
    return f"{line}, uncertain: {'; '.join(result.doubts)}" if result.change == "uncertain" else line


def _show(totals: _Totals, reader: LogReader, not_replayed: list[str]) -> None:
    for line, problem in reader.malformed_lines[:_MALFORMED_SHOWN]:
        note(f"line {line} is skipped: {problem}")
    if reader.malformed > _MALFORMED_SHOWN:
        note(f"and {reader.malformed - _MALFORMED_SHOWN} more lines are skipped")
    if not_replayed:
        note(f"not judged, because the log does not hold what they need: {', '.join(not_replayed)}")
    say(
        f"{counted(totals.total, 'decision')}: {totals.changes} changed, {totals.uncertain} uncertain, "
        f"{totals.total - totals.changes - totals.uncertain} unchanged"
    )
