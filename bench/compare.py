"""
Compare this edictum with the published 0.19, side by side in one run, and check the release gates.

    python bench/compare.py --published PYTHON [--ours PYTHON] [--quick] [--only TEXT] [--json FILE]

Each engine lives in a process of its own (``worker.py``) under the interpreter of its own environment.  Every
round measures the two sides of a row one right after the other and takes the ratio of their medians: whatever
else the machine does then weighs on both.  Rounds are short, because some machines change their speed by two within
seconds, and there are as many as fit into a few seconds.  The figure of a row is the median ratio over the rounds, with
the limits of the middle half of them beside it.  ``nox -s bench`` makes the environments.

Exit code 1: a gate is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

WORKER = Path(__file__).with_name("worker.py")


class Rounds(NamedTuple):
    """
    How often a row is measured.

    Attributes:
        least: At least so often.
        most: At most so often.
        row_seconds: Beyond the least, as long as the row has taken less than this.
        seconds: How long one side is measured in one round.
    """

    least: int
    most: int
    row_seconds: float
    seconds: float


THOROUGH = Rounds(9, 40, 8.0, 0.06)
QUICK = Rounds(3, 3, 0.0, 0.05)


class Row(NamedTuple):
    """
    One comparison and its gate.

    Attributes:
        name: What is measured.
        gate: Highest ratio of our time to the other side's time that may be released.
        command: What both workers are asked to do.
        ours: ``ours``, or ``pure`` for our side without the C part of the YAML library.
        other: What the other side does instead; then it is our own side that answers (flatness).
    """

    name: str
    gate: float
    command: dict[str, Any]
    ours: str = "ours"
    other: dict[str, Any] | None = None


def _run(workload: str, calls: str, **more: Any) -> dict[str, Any]:
    return {"do": "run", "workload": workload, "calls": calls, **more}


def _dry(workload: str) -> dict[str, Any]:
    return {"do": "evaluate", "workload": workload, "calls": "allowed"}


# The release gates, all of them and only here.
ROWS = [
    Row("W1 run, allowed", 1 / 10, _run("W1", "allowed")),
    Row("W1 run, matches nothing", 1 / 10, _run("W1", "nothing")),
    Row("W1 run, blocked", 1 / 6, _run("W1", "blocked")),
    Row("W1 run, 4 KB args", 1 / 8, _run("W1", "args4k")),
    Row("W2 run, allowed", 1 / 8, _run("W2", "allowed")),
    Row("W2 run, mix", 1 / 8, _run("W2", "mix")),
    Row("W2 run, blocked", 1 / 6, _run("W2", "blocked")),
    Row("W2 run, 4 KB args", 1 / 8, _run("W2", "args4k")),
    Row("W3 run, allowed", 1 / 50, _run("W3", "allowed")),
    Row("W3 run, mix", 1 / 50, _run("W3", "mix")),
    Row("W3 run, matches nothing", 1 / 80, _run("W3", "nothing")),
    Row("W4 run, allowed", 1 / 400, _run("W4", "allowed")),
    Row("W4 to N100 run, allowed", 1.25, _run("W4", "allowed"), other=_run("N100", "allowed")),
    Row("W2 dry evaluate", 1 / 5, _dry("W2")),
    Row("W3 dry evaluate", 1 / 60, _dry("W3")),
    Row("W4 dry evaluate", 1 / 500, _dry("W4")),
    Row("post rule, 8 KB clean", 1 / 8, _run("POST", "clean8k")),
    Row("post rule, 64 KB clean", 1 / 1.5, _run("POST", "clean64k")),
    Row("post rule, 64 KB near misses", 1.5, _run("POST", "near64k")),
    Row("W1 run, file sink", 1 / 10, _run("W1", "allowed", file_sink=True)),
    Row("load W2", 1 / 8, {"do": "load", "workload": "W2"}),
    Row("load W3", 1 / 4, {"do": "load", "workload": "W3"}),
    Row("load W3, pure Python parser", 0.9, {"do": "load", "workload": "W3"}, ours="pure"),
    Row("import", 0.6, {"do": "start"}),
]
SOAK = "27,000 calls on one guard"
SOAK_SLOWDOWN, SOAK_GROWTH_MB = 1.15, 30.0


class Worker:
    """
    A measuring process; speaks one JSON line each way per command.
    """

    def __init__(self, python: str, *options: str, script: Path = WORKER) -> None:
        self._process = subprocess.Popen(
            [python, str(script), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.about = self._answer()

    def ask(self, command: dict[str, Any]) -> dict[str, Any]:
        """
        Let the worker measure and wait for its figures.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a worker ended with code {self._process.wait()}; its own message is above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """
        End the process and wait for its end.
        """
        self._process.communicate()


def measure(row: Row, workers: dict[str, Worker], rounds: Rounds) -> dict[str, Any]:
    """
    Measure one row in rounds; who goes first alternates.
    """
    opponent = workers["ours" if row.other else "published"]
    sides = {
        "ours": (workers[row.ours], row.command | {"seconds": rounds.seconds}),
        "other": (opponent, (row.other or row.command) | {"seconds": rounds.seconds}),
    }
    p50: dict[str, list[float]] = {"ours": [], "other": []}
    mean: dict[str, list[float]] = {"ours": [], "other": []}
    end = time.monotonic() + rounds.row_seconds
    number = 0
    while number < rounds.least or (number < rounds.most and time.monotonic() < end):
        number += 1
        for side in ("ours", "other") if number % 2 else ("other", "ours"):
            worker, command = sides[side]
            answer = worker.ask(command)
            if "refused" in answer:
                return {"name": row.name, "refused": answer["refused"], "missed": True}
            p50[side].append(answer["p50"])
            mean[side].append(answer["mean"])
    ratios = [ours / other for ours, other in zip(p50["ours"], p50["other"], strict=True)]
    low, ratio, high = statistics.quantiles(ratios, n=4)
    missed = ratio > row.gate
    return {
        "name": row.name,
        "ours_ns": statistics.median(p50["ours"]),
        "other_ns": statistics.median(p50["other"]),
        "mean_ratio": statistics.median(mean["ours"]) / statistics.median(mean["other"]),
        "ratio": ratio,
        "spread": [low, high],
        "gate": row.gate,
        "missed": missed,
        "rounds": p50,
    }


def soak(python: str, rounds: int) -> dict[str, Any]:
    """
    Let one guard serve many calls, each round in a process of its own, and take the median round.
    """
    runs = []
    for _ in range(rounds):
        worker = Worker(python)
        runs.append(worker.ask({"do": "soak"}))
        worker.close()
    ratios = [run["last"] / run["first"] for run in runs]
    grown = max(run["grown_mb"] for run in runs)
    ratio = statistics.median(ratios)
    return {
        "name": SOAK,
        "ours_ns": statistics.median(run["last"] for run in runs),
        "other_ns": statistics.median(run["first"] for run in runs),
        "ratio": ratio,
        "spread": [min(ratios), max(ratios)],  # of so few rounds
        "gate": SOAK_SLOWDOWN,
        "grown_mb": grown,
        "missed": ratio > SOAK_SLOWDOWN or grown > SOAK_GROWTH_MB,
    }


def _ratio(value: float) -> str:
    return f"1/{1 / value:.3g}" if value <= 0.5 else f"{value:.2f}"


def _time(nanoseconds: float) -> str:
    return f"{nanoseconds / 1e6:.1f} ms" if nanoseconds >= 1e6 else f"{nanoseconds / 1e3:.1f} µs"


def show(result: dict[str, Any]) -> None:
    """
    Print one row of the table.
    """
    if "refused" in result:
        print(f"{result['name']:<30} MISSED: {result['refused']}", flush=True)
        return
    low, high = result["spread"]
    gate = f"<= {_ratio(result['gate'])}"
    if "grown_mb" in result:
        gate += f", +{SOAK_GROWTH_MB:.0f} MB (+{result['grown_mb']:.1f}) "
    print(
        f"{result['name']:<30}{_time(result['ours_ns']):>11}{_time(result['other_ns']):>11}{_ratio(result['ratio']):>9}"
        f"  {_ratio(low) + ' .. ' + _ratio(high):<19}{gate:<24}{'MISSED' if result['missed'] else 'ok'}",
        flush=True,
    )


def main() -> int:
    """
    Run what was asked for and return the exit code.
    """
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0].strip())
    options.add_argument("--ours", default=sys.executable, help="Python with this edictum (default: the running one)")
    options.add_argument("--published", required=True, help="Python with the published edictum installed")
    options.add_argument("--quick", action="store_true", help="few short rounds: a first impression only")
    options.add_argument("--only", default="", metavar="TEXT", help="only the rows whose name contains TEXT")
    options.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    asked = options.parse_args()
    rounds = QUICK if asked.quick else THOROUGH

    workers = {
        "ours": Worker(asked.ours),
        "pure": Worker(asked.ours, "--no-c-parser"),
        "published": Worker(asked.published),
    }
    about = {name: worker.about for name, worker in workers.items()}
    for name, versions in about.items():
        print(f"{name}: edictum {versions['edictum']}, Python {versions['python']}")
    title = f"median of {rounds.least}-{rounds.most} rounds"
    print(f"\n{title:<30}{'ours':>11}{'other':>11}{'ratio':>9}  {'middle half':<19}gate")
    results = []
    for row in ROWS:
        if asked.only in row.name:
            results.append(measure(row, workers, rounds))
            show(results[-1])
    for worker in workers.values():
        worker.close()
    if asked.only in SOAK:
        results.append(soak(asked.ours, 1 if asked.quick else 3))
        show(results[-1])

    if asked.json:
        figures = {"engines": about, "rounds": rounds._asdict(), "rows": results}
        asked.json.write_text(json.dumps(figures, indent=1) + "\n")
    missed = sum(result["missed"] for result in results)
    print(f"\n{len(results) - missed} gates held, {missed} missed")
    return 1 if missed or not results else 0


if __name__ == "__main__":
    sys.exit(main())
