"""
Run the fixtures that all implementations of edictum share.

    python -m edictum.testing.conformance [FOLDER]

The folder, or else the one that ``EDICTUM_SCHEMAS_DIR`` names, is searched for fixture files.  A family of which
there is no case is reported as skipped, or as failed where ``EDICTUM_CONFORMANCE_REQUIRED=1``.  Cases run in a
process of their own: one that does not answer in time is a failure and is ended, and the run goes on.

The last line is ``N passed, N failed, N skipped``; the exit status is 1 after a failure, and 2 when the fixtures
cannot be read for want of the YAML extra.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import TextIOWrapper
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeAlias

from edictum.errors import EdictumConfigError
from edictum.testing.conformance_cases import Outcome, judge
from edictum.testing.conformance_format import FAMILIES, Family, MalformedError, find_files, read_cases
from edictum.text import escape_controls

CASE_SECONDS = 5.0
START_SECONDS = 60.0
"""How long a new process may take to load edictum on a busy machine."""

Judge: TypeAlias = Callable[[str, Any], Outcome]


@dataclass(frozen=True, slots=True)
class Result:
    """
    One line of a report.

    Attributes:
        family: Name of the family.
        name: The case, or the file or family that the line is about.
        outcome: What became of it.
        cases: How many cases the line stands for.
    """

    family: str
    name: str
    outcome: Outcome
    cases: int = 1


@dataclass(slots=True)
class Report:
    """
    What became of all cases.
    """

    results: list[Result] = field(default_factory=list)

    def add(self, family: str, name: str, outcome: Outcome, cases: int = 1) -> None:
        """
        Note an outcome.
        """
        self.results.append(Result(family, name, outcome, cases))

    def count(self, status: str, family: str | None = None) -> int:
        """
        How many cases ended with a status, of one family or of all.
        """
        return sum(
            result.cases
            for result in self.results
            if result.outcome.status == status and family in (None, result.family)
        )

    def lines(self) -> Iterator[str]:
        """
        The report as text; the last line has the totals.
        """
        for result in self.results:
            outcome = result.outcome
            if outcome.status != "passed":
                yield escape_controls(f"{outcome.status.upper()} {result.family} {result.name}: {outcome.detail}")
            elif outcome.erratum is not None:
                yield escape_controls(f"ERRATUM {result.family} {result.name}: {outcome.erratum}")
        for family in FAMILIES:
            yield f"{family.name}: {self._totals(family.name)}"
        yield self._totals()

    def _totals(self, family: str | None = None) -> str:
        return ", ".join(f"{self.count(status, family)} {status}" for status in ("passed", "failed", "skipped"))


def check_folder(
    folder: Path | None, *, required: bool = False, seconds: float = CASE_SECONDS, judge: Judge = judge
) -> Report:
    """
    Run every case in a folder and below.

    Args:
        folder: Where to look; None or a folder that does not exist holds no case.
        required: Whether a family without a case is a failure.
        seconds: How long a case may take.
        judge: Judges one case; a function of a module, because it runs in another process.

    Raises:
        EdictumConfigError: The YAML extra is not installed.
    """
    report = Report()
    held: Counter[str] = Counter()
    with _Worker(judge, seconds) as worker:
        for family, path in find_files(folder) if folder is not None else ():
            shown = path.relative_to(folder).as_posix() if folder is not None else path.name
            held[family.name] += _check_file(report, worker, family, path, shown, required)
    where = "no folder was given" if folder is None else f"there is none in {folder}"
    for family in FAMILIES:
        if not held[family.name]:
            report.add(family.name, "the whole family", _absent(f"no case in any *{family.suffix}: {where}", required))
    return report


def _absent(detail: str, required: bool) -> Outcome:
    return Outcome("failed" if required else "skipped", detail)


def _check_file(report: Report, worker: _Worker, family: Family, path: Path, shown: str, required: bool) -> int:
    """
    Run the cases of a file.

    Returns:
        How many there are.
    """
    try:
        cases = read_cases(family, path)
    except MalformedError as error:
        report.add(family.name, shown, Outcome("failed", f"the file {error}"))
        return 0
    if not cases:
        report.add(family.name, shown, _absent("the file holds no case", required))
    seen: set[object] = set()
    for number, case in enumerate(cases):
        case_id = case.get("id") if isinstance(case, dict) else None
        if not isinstance(case_id, str) or not case_id:
            report.add(family.name, f"{shown}[{number}]", Outcome("failed", "malformed case: it has no id"))
        elif case_id in seen:
            report.add(family.name, f"{case_id} ({shown})", Outcome("failed", "malformed case: its id occurs twice"))
        else:
            seen.add(case_id)
            report.add(family.name, f"{case_id} ({shown})", worker.run(family.name, case))
    return len(cases)


class _Worker:
    """
    A process that judges cases one after the other, replaced when it hangs or dies.

    Only a process can be ended from outside while it is in the middle of a regular expression.
    """

    def __init__(self, judge: Judge, seconds: float) -> None:
        self._judge = judge
        self._seconds = seconds
        # Not forked: a fork would inherit threads and locks, and is not available everywhere.
        self._context = multiprocessing.get_context("spawn")
        self._process: Any = None
        self._pipe: Connection[Any, Any] | None = None

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def run(self, family: str, case: Any) -> Outcome:
        """
        Judge one case.
        """
        try:
            pipe = self._pipe if self._pipe is not None else self._start()
            pipe.send((family, case))
            if pipe.poll(self._seconds):
                outcome = pipe.recv()
                assert isinstance(outcome, Outcome)
                return outcome
            self._end()
            return Outcome("failed", f"no answer within {self._seconds:g} seconds")
        except (EOFError, OSError):
            return Outcome("failed", f"the process that ran the case ended, exit status {self._end()}")

    def _start(self) -> Connection[Any, Any]:
        self._pipe, far_end = self._context.Pipe()
        self._process = self._context.Process(target=_work, args=(far_end, self._judge), daemon=True)
        self._process.start()
        far_end.close()  # otherwise the death of the process would go unnoticed
        if not self._pipe.poll(START_SECONDS):
            raise OSError("the process does not start")
        self._pipe.recv()
        return self._pipe

    def _end(self) -> int | None:
        """
        End the process and return its exit status.
        """
        if self._process is None or self._pipe is None:
            return None
        self._pipe.close()
        self._process.join(0.2)
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        status: int | None = self._process.exitcode
        self._process = self._pipe = None
        return status


def _work(pipe: Connection[Any, Any], judge: Judge) -> None:
    """
    Answer cases until the other end is closed.
    """
    try:
        pipe.send(None)
        while True:
            pipe.send(judge(*pipe.recv()))
    except (EOFError, OSError):
        return


def main(arguments: Sequence[str] | None = None) -> int:
    """
    The command line.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(
        prog="python -m edictum.testing.conformance", description="Run the shared conformance fixtures."
    )
    parser.add_argument(
        "folder", nargs="?", default=os.environ.get("EDICTUM_SCHEMAS_DIR"), help="default: EDICTUM_SCHEMAS_DIR"
    )
    folder = parser.parse_args(arguments).folder
    required = os.environ.get("EDICTUM_CONFORMANCE_REQUIRED") == "1"
    try:
        report = check_folder(Path(folder) if folder else None, required=required)
    except EdictumConfigError as error:
        print(error, file=sys.stderr)
        return 2
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a report must not end at a letter the terminal lacks
    for line in report.lines():
        print(line)
    return 1 if report.count("failed") else 0


if __name__ == "__main__":
    sys.exit(main())
