"""
Time calls under a guard of one installed ``edictum``, connected with a console and without one; see ``connected.py``.

The argument is a JSON object: where the console is, and the text of the ruleset.  Reads commands as JSON lines on
stdin, answers each with one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import statistics
import sys
from itertools import count, cycle
from time import perf_counter_ns
from typing import Any

import edictum
import workloads

CALLS_PER_SESSION = 100  # below the lowest built-in limit of every engine
WARM_UP_CALLS, FEWEST_CALLS = 20, 20
PRINCIPAL = edictum.Principal(user_id="u-17", role="developer", claims={"contract": "internal"})


async def tool(**_: Any) -> str:
    """
    A tool that does nothing.
    """
    return "ok"


async def timed(guard: Any, kind: str, calls: list[Any], seconds: float, serial: Any) -> dict[str, float]:
    """
    Make calls one after the other for a while; allowed ones that are blocked would be measured too short.
    """
    samples: list[int] = []
    stop = perf_counter_ns() + int(seconds * 1e9)
    for number, call in enumerate(cycle(calls)):
        if number % CALLS_PER_SESSION == 0:
            session = f"{os.getpid()}-{next(serial)}"
        begin = perf_counter_ns()
        try:
            await guard.run(call.tool, call.args, tool, session_id=session, principal=PRINCIPAL)
        except edictum.EdictumDenied:
            if kind == "allowed":
                raise
        end = perf_counter_ns()
        if number >= WARM_UP_CALLS:
            samples.append(end - begin)
            if end > stop and len(samples) >= FEWEST_CALLS:
                break
    percentiles = statistics.quantiles(samples, n=100)
    return {"p50": percentiles[49], "p99": percentiles[98], "count": len(samples)}


async def main(place: dict[str, str], text: str) -> None:
    """
    Answer commands until stdin ends.
    """
    if hasattr(os, "sched_setaffinity"):  # one core for each engine, threads and all; the console has the others
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    logging.disable(logging.CRITICAL)
    guards = {
        "local": edictum.Edictum.from_yaml_string(text),
        "connected": await edictum.Edictum.from_server(**place),
    }
    pools = {kind: workloads.calls(kind) for kind in ("allowed", "blocked")}
    serial = count()
    print(json.dumps({"edictum": edictum.__version__, "python": sys.version.split()[0]}), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):  # connections go on meanwhile
        command = json.loads(line)
        kind = command["calls"]
        found = await timed(guards[command["do"]], kind, pools[kind], command["seconds"], serial)
        print(json.dumps(found), flush=True)
    await guards["connected"].close()


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    asyncio.run(main(options["place"], options["text"]))
