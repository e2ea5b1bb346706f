"""
What an adapter adds to a tool call, beside a bare ``guard.run`` and beside the published adapter.

    python bench/adapters.py --framework langchain [--ours PYTHON] [--published PYTHON] [--quick] [--json FILE]

``adapter_FRAMEWORK.py`` measures, in a process for each side.  In each round all sides are measured one right after
the other; what an adapter adds is the governed call less the same call of the framework without it.  The figures are
medians over the rounds, so that whatever else the machine does weighs on all of them.  ``to published`` compares the
governed calls of both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from compare import Worker

ROWS = [  # calls, without the adapter, with it
    ("allowed", "plain", "governed"),
    ("allowed", "plain_awaited", "governed_awaited"),
    ("blocked", "plain", "governed"),
    ("blocked", "plain_awaited", "governed_awaited"),
    ("allowed", "agent", "agent_governed"),
]


COLUMNS = {
    "plain": ".0f",
    "governed": ".0f",
    "bare": ".0f",
    "added": ".0f",
    "added/bare": ".1f",
    "governed/plain": ".2f",
    "to published": ".2f",
}


def measure(
    row: tuple[str, ...], workers: dict[str, Worker], rounds: int, seconds: float
) -> dict[str, list[dict[str, float]] | str]:
    """
    All rounds of a row, by side, in microseconds; or why a side cannot do it.
    """
    found: dict[str, Any] = {side: [] for side in workers}
    for number in range(rounds):
        for side in sorted(workers, reverse=bool(number % 2)):
            if not isinstance(found[side], str):
                try:
                    found[side].append(one_round(workers[side], row, seconds))
                except RuntimeError as error:
                    found[side] = str(error)
    theirs = found.get("published", [])
    if not isinstance(theirs, str) and not isinstance(found["ours"], str):
        for mine, other in zip(found["ours"], theirs, strict=False):
            mine["to published"] = mine["governed"] / other["governed"]
    return found


def one_round(worker: Worker, row: tuple[str, ...], seconds: float) -> dict[str, float]:
    """
    One round of one side.

    Raises:
        RuntimeError: It cannot do this.
    """
    calls, plain, governed = row
    took = {}
    for name, do in (("plain", plain), ("governed", governed), ("bare", "bare_awaited")):
        answer = worker.ask({"do": do, "calls": calls, "seconds": seconds})
        if "failed" in answer:
            raise RuntimeError(answer["failed"])
        took[name] = answer["p50"] / 1000
    added = took["governed"] - took["plain"]
    ratios = {"added/bare": added / took["bare"], "governed/plain": took["governed"] / took["plain"]}
    return took | {"added": added} | ratios


def main() -> int:
    """
    Measure and print a table.
    """
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0].strip())
    options.add_argument("--framework", required=True)
    options.add_argument("--ours", default=sys.executable, help="Python with this adapter (default: the running one)")
    options.add_argument("--published", help="Python with the published edictum and the framework")
    options.add_argument("--quick", action="store_true", help="few short rounds: a first impression only")
    options.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    asked = options.parse_args()
    rounds, seconds = (3, 0.1) if asked.quick else (9, 0.3)

    script = Path(__file__).with_name(f"adapter_{asked.framework}.py")
    pythons = {"ours": asked.ours} | ({"published": asked.published} if asked.published else {})
    workers = {side: Worker(python, script=script) for side, python in pythons.items()}
    for side, worker in workers.items():
        print(f"{side}: edictum {worker.about['edictum']}, Python {worker.about['python']}")
    title = f"median of {rounds} rounds, in µs"
    print(f"\n{title:<28}{'side':<11}" + "".join(f"{name:>16}" for name in COLUMNS))
    figures = []
    for row in ROWS:
        for side, results in measure(row, workers, rounds, seconds).items():
            name = f"{row[2]}, {row[0]}"
            if isinstance(results, str):
                print(f"{name:<28}{side:<11}does not work: {results[:70]}", flush=True)
                figures.append({"row": name, "side": side, "failed": results})
                continue
            middle = {column: statistics.median(each[column] for each in results) for column in results[0]}
            figures.append({"row": name, "side": side, **middle})
            shown = "".join(f"{middle[column]:>16{form}}" for column, form in COLUMNS.items() if column in middle)
            print(f"{name:<28}{side:<11}{shown}", flush=True)
    for worker in workers.values():
        worker.close()
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
