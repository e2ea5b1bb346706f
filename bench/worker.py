"""
Time one installed ``edictum``: reads commands as JSON lines on stdin, answers each with one JSON line.

The same file runs in the environment of every engine, so that both sides are measured by the same code.
``--no-c-parser`` hides the C part of the YAML library, as if it had not been installed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import count, cycle, islice
from pathlib import Path
from time import perf_counter_ns
from typing import Any

if "--no-c-parser" in sys.argv:
    sys.modules["_ruamel_yaml"] = None  # type: ignore[assignment]

import edictum
import workloads

CALLS_PER_SESSION = 100  # below the lowest built-in limit of every engine
WARM_UP_CALLS = 60
SOAK_CALLS, SOAK_FIRST, SOAK_LAST = 27_000, 5_000, 1_000

PRINCIPAL = edictum.Principal(user_id="u-17", role="developer", claims={"contract": "internal"})

Command = dict[str, Any]
Answer = dict[str, float]


class Bench:
    """
    Keeps the guards and the pools of calls between commands, as a long-running agent would.
    """

    def __init__(self) -> None:
        self._guards: dict[tuple[str, bool], edictum.Edictum] = {}
        self._pools: dict[str, list[workloads.Call]] = {}
        self._serial = count()
        self._folder = tempfile.TemporaryDirectory(prefix="edictum-bench-")

    async def run(self, command: Command) -> Answer:
        """
        Calls through ``guard.run``: everything from the session counters to the decision log.
        """
        guard = self._guard(command["workload"], bool(command.get("file_sink")))
        pool = self._pool(command["calls"])
        await self._timed_runs(guard, islice(cycle(pool), WARM_UP_CALLS))
        guard.local_sink.clear()  # 0.19 slows down by itself once 50,000 events are held; the soak shows that
        return _summary(await self._timed_runs(guard, cycle(pool), command["seconds"]))

    async def evaluate(self, command: Command) -> Answer:
        """
        Dry evaluation: the rules only.
        """
        guard = self._guard(command["workload"])
        pool = self._pool(command["calls"])
        samples: list[int] = []
        stop = perf_counter_ns() + int(command["seconds"] * 1e9)
        for number, (tool, args, _) in enumerate(cycle(pool)):
            begin = perf_counter_ns()
            guard.evaluate(tool, args, principal=PRINCIPAL)
            end = perf_counter_ns()
            if number >= WARM_UP_CALLS:
                samples.append(end - begin)
                if end > stop:
                    return _summary(samples)
        raise AssertionError("a cycle has no end")

    async def load(self, command: Command) -> Answer:
        """
        From YAML text to a guard that is ready; each text is new, so nothing can be remembered.
        """
        text = workloads.to_yaml(workloads.ruleset(command["workload"]))
        samples: list[int] = []
        stop = perf_counter_ns() + int(command["seconds"] * 1e9)
        while not samples or perf_counter_ns() < stop:
            fresh = f"{text}\n# load {next(self._serial)}\n"
            begin = perf_counter_ns()
            edictum.Edictum.from_yaml_string(fresh)
            samples.append(perf_counter_ns() - begin)
        return _summary(samples)

    async def start(self, _: Command) -> Answer:
        """
        ``import edictum`` in fresh interpreters, not counting the start of the interpreter.
        """
        code = "from time import perf_counter_ns as t; b = t(); import edictum; print(t() - b)"
        # As installed: with bytecode, which the run before the measured ones writes.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        runs = [int(subprocess.check_output([sys.executable, "-c", code], env=environment)) for _ in range(4)]
        return _summary(runs[1:])

    async def soak(self, _: Command) -> Answer:
        """
        Many calls on one guard: does it slow down, does it grow?
        """
        guard = self._guard("W2")
        pool = self._pool("allowed")
        await self._timed_runs(guard, pool)
        before = _peak_megabytes()
        samples = await self._timed_runs(guard, islice(cycle(pool), SOAK_CALLS))
        first, last = statistics.median(samples[:SOAK_FIRST]), statistics.median(samples[-SOAK_LAST:])
        return {"first": first, "last": last, "grown_mb": _peak_megabytes() - before}

    async def _timed_runs(self, guard: edictum.Edictum, calls: Any, seconds: float = 3600) -> list[int]:
        samples: list[int] = []

        async def tool(**_: Any) -> str:
            return call.output

        stop = perf_counter_ns() + int(seconds * 1e9)
        session = ""
        for number, call in enumerate(calls):
            if number % CALLS_PER_SESSION == 0:
                session = f"s{next(self._serial)}"
            begin = perf_counter_ns()
            try:  # noqa: SIM105  a context manager would cost time here
                await guard.run(call.tool, call.args, tool, session_id=session, principal=PRINCIPAL)
            except edictum.EdictumDenied:
                pass
            end = perf_counter_ns()
            samples.append(end - begin)
            if end > stop:
                break
        return samples

    def _guard(self, workload: str, file_sink: bool = False) -> edictum.Edictum:
        key = (workload, file_sink)
        if key not in self._guards:
            sink = edictum.FileAuditSink(Path(self._folder.name) / "log.jsonl") if file_sink else None
            # From a mapping, because the YAML text of W4 is larger than a ruleset file may be.
            ruleset = workloads.ruleset(workload)
            more = {} if edictum.__version__.startswith("0.19") else {"max_rules": len(ruleset["rules"])}
            self._guards[key] = edictum.Edictum.from_bundle_dict(
                ruleset, policy_version="0" * 64, audit_sink=sink, **more
            )
        return self._guards[key]

    def _pool(self, kind: str) -> list[workloads.Call]:
        if kind not in self._pools:
            self._pools[kind] = workloads.calls(kind)
        return self._pools[kind]


def _summary(samples: list[int]) -> Answer:
    return {"p50": statistics.median(samples), "mean": statistics.fmean(samples), "count": len(samples)}


def _peak_megabytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1_048_576 if sys.platform == "darwin" else peak / 1024


async def main() -> None:
    """
    Answer commands until stdin ends.
    """
    if hasattr(os, "sched_setaffinity"):  # one core for all engines: helper threads are part of the price
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    logging.disable(logging.CRITICAL)  # 0.19 logs a line for each long output; where it goes is not its fault
    bench = Bench()
    commands: dict[str, Callable[[Command], Any]] = {
        "run": bench.run,
        "evaluate": bench.evaluate,
        "load": bench.load,
        "start": bench.start,
        "soak": bench.soak,
    }
    print(json.dumps({"edictum": edictum.__version__, "python": sys.version.split()[0]}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = await commands[command["do"]](command)
        except edictum.EdictumConfigError as refused:
            answer = {"refused": str(refused)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
