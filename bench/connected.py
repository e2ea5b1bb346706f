"""
What a console adds to a tool call that needs nobody's approval, beside the published SDK at the same console.

    python bench/connected.py --published PYTHON [--ours PYTHON] [--quick] [--json FILE]

The console runs as a process of its own, with the embedded database; ``connected_timing.py`` measures, in a process for
each side, calls one after the other.  In each round both sides make their calls with a local guard and with a connected
one, right after one another, and who begins alternates; the figures are medians over the rounds.  ``to published``
compares the connected guards within a round, with the lowest and the highest ratio beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import workloads
from compare import Worker
from console_process import Operator, console

CALLS = ("allowed", "blocked")
COLUMNS = ("local", "connected", "added", "p99")
TIMING = Path(__file__).with_name("connected_timing.py")


def deploy(address: str, text: str) -> str:
    """
    Deploy a ruleset and return a key for agents.
    """
    ana = Operator(address)
    made = ana.call("POST", "/api/v1/bundles", {"yaml_content": text})
    ana.call("POST", f"/api/v1/bundles/{made['name']}/{made['version']}/deploy", {"env": "production"})
    return str(ana.call("POST", "/api/v1/keys", {"env": "production"})["key"])


def measure(workers: dict[str, Worker], calls: str, rounds: int, seconds: float) -> dict[str, list[dict[str, float]]]:
    """
    All rounds of one kind of calls, by side, in microseconds.
    """
    found: dict[str, list[dict[str, float]]] = {side: [] for side in workers}
    for number in range(rounds):
        for side in sorted(workers, reverse=bool(number % 2)):
            took = {
                guard: workers[side].ask({"do": guard, "calls": calls, "seconds": seconds})
                for guard in ("local", "connected")
            }
            local, connected = (took[guard]["p50"] / 1000 for guard in ("local", "connected"))
            p99 = took["connected"]["p99"] / 1000
            found[side].append({"local": local, "connected": connected, "added": connected - local, "p99": p99})
    return found


def show(calls: str, found: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """
    Print the rows of one kind of calls, and return them.
    """
    pairs = zip(found["ours"], found["published"], strict=True)
    ratios = [ours["connected"] / published["connected"] for ours, published in pairs]
    rows: list[dict[str, Any]] = []
    for side, rounds in found.items():
        middle = {column: statistics.median(each[column] for each in rounds) for column in COLUMNS}
        line = f"{calls:<10}{side:<11}" + "".join(f"{middle[column]:>12.0f}" for column in COLUMNS)
        if side == "ours":
            line += f"{statistics.median(ratios):>12.2f}  {min(ratios):.2f} .. {max(ratios):.2f}"
        print(line, flush=True)
        rows.append({"calls": calls, "side": side, **middle, "rounds": rounds})
    return rows


def main() -> int:
    """
    Measure and print a table.
    """
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0].strip())
    options.add_argument("--ours", default=sys.executable, help="Python with this edictum (default: the running one)")
    options.add_argument("--published", required=True, help="Python with the published edictum[server]")
    options.add_argument("--quick", action="store_true", help="few short rounds: a first impression only")
    options.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    asked = options.parse_args()
    rounds, seconds = (3, 0.5) if asked.quick else (9, 1.5)

    text, rows = workloads.to_yaml(workloads.ruleset("W2")), []
    if hasattr(os, "sched_setaffinity") and len(cores := os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, cores - {max(cores)})  # for the console, which inherits it
    generous = {f"EDICTUM_{limit}_PER_MINUTE": "1000000" for limit in ("REQUESTS", "SESSION_REQUESTS")}
    with console(generous) as (address, _):
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)
        place = {"url": address, "api_key": deploy(address, text), "bundle_name": "w2", "env": "production"}
        workers = {}
        for side, python in (("ours", asked.ours), ("published", asked.published)):
            given = json.dumps({"place": {**place, "agent_id": side}, "text": text})
            workers[side] = Worker(python, given, script=TIMING)
            about = workers[side].about
            print(f"{side}: edictum {about['edictum']}, Python {about['python']}")
        titles = ("local", "connected", "added", "p99 conn.", "to published")
        print(f"\n{f'median of {rounds}, µs':<21}" + "".join(f"{title:>12}" for title in titles))
        for calls in CALLS:
            rows += show(calls, measure(workers, calls, rounds, seconds))
        for worker in workers.values():
            worker.close()
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
