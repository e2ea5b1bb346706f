"""
What the processes that time adapters have in common; see ``adapters.py``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import statistics
import sys
from collections.abc import Callable
from itertools import count, cycle
from time import perf_counter_ns
from typing import Any, TypeAlias

import edictum
import workloads

CALLS_PER_SESSION = 100  # below the lowest built-in limit of every engine
WARM_UP_CALLS = 60
CALLS_PER_RUN = 10  # of an agent

PRINCIPAL = edictum.Principal(user_id="u-17", role="developer", claims={"contract": "internal"})

OneSession: TypeAlias = Callable[[], Callable[[Any], Any]]
"""
Begins a session and returns what makes a call of the workload in it.
"""


async def awaited_body(**args: Any) -> str:
    """
    A tool that does nothing.
    """
    return "ok"


class AdapterBench:
    """
    Keeps a guard, as a program would.  A subclass has a method for each thing that ``adapters.ROWS`` names.
    """

    def __init__(self) -> None:
        self.guard = edictum.Edictum.from_bundle_dict(
            workloads.ruleset("W2"), policy_version="0" * 64, principal=PRINCIPAL
        )
        self._serial = count()

    def new_session(self) -> str:
        """
        The id of a new session, for which the decision log begins anew.
        """
        self.guard.local_sink.clear()
        return f"s{next(self._serial)}"

    async def bare_awaited(self, pool: list[Any], seconds: float) -> list[int]:
        """
        The guard alone around the function.
        """

        def run() -> Callable[[Any], Any]:
            name = self.new_session()

            async def one(call: Any) -> Any:
                try:
                    return await self.guard.run(call.tool, call.args, awaited_body, session_id=name)
                except edictum.EdictumDenied as denied:
                    return denied

            return one

        return await self.timed_awaited(pool, seconds, run)

    def timed(self, pool: list[Any], seconds: float, session: OneSession) -> list[int]:
        """
        Nanoseconds of each call.

        Args:
            pool: The calls, made again and again.
            seconds: How long.
            session: Begins a session.
        """
        samples: list[int] = []
        stop = perf_counter_ns() + int(seconds * 1e9)
        for number, call in enumerate(cycle(pool)):
            if number % CALLS_PER_SESSION == 0:
                one = session()
            begin = perf_counter_ns()
            one(call)
            end = perf_counter_ns()
            if number >= WARM_UP_CALLS:
                samples.append(end - begin)
                if end > stop:
                    break
        return samples

    async def timed_awaited(self, pool: list[Any], seconds: float, session: OneSession) -> list[int]:
        """
        See :meth:`timed`.
        """
        samples: list[int] = []
        stop = perf_counter_ns() + int(seconds * 1e9)
        for number, call in enumerate(cycle(pool)):
            if number % CALLS_PER_SESSION == 0:
                one = session()
            begin = perf_counter_ns()
            await one(call)
            end = perf_counter_ns()
            if number >= WARM_UP_CALLS:
                samples.append(end - begin)
                if end > stop:
                    break
        return samples


def serve(make: Callable[[], AdapterBench]) -> None:
    """
    Answer commands until stdin ends.

    Args:
        make: Makes the bench.
    """
    asyncio.run(_serve(make))


async def _serve(make: Callable[[], AdapterBench]) -> None:
    if hasattr(os, "sched_setaffinity"):  # one core for all engines: helper threads are part of the price
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    logging.disable(logging.CRITICAL)
    bench = make()
    pools = {kind: workloads.calls(kind) for kind in ("allowed", "blocked")}
    print(json.dumps({"edictum": edictum.__version__, "python": sys.version.split()[0]}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        pool, seconds = pools[command["calls"]], command["seconds"]
        try:
            samples = await _measure(bench, command["do"], pool, seconds)
        except Exception as error:  # an adapter that cannot do it
            print(json.dumps({"failed": f"{type(error).__name__}: {error}"}), flush=True)
            continue
        print(json.dumps({"p50": statistics.median(samples), "count": len(samples)}), flush=True)


async def _measure(bench: AdapterBench, what: str, pool: list[Any], seconds: float) -> list[int]:
    if what.endswith("awaited"):
        samples: list[int] = await getattr(bench, what)(pool, seconds)
        return samples
    # In a thread without an event loop, where synchronous programs are.
    return await asyncio.to_thread(getattr(bench, what), pool, seconds)
