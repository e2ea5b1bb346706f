"""
Agents at work while everything that they need is killed and started again, and what has to be true afterwards.

    python edictum-client/tests/chaos.py [--minutes N] [--agents N] [--replicas N] [--seed N]

Agents are processes; the console runs as replicas on Postgres and Redis.  At random a replica is killed or paused, the
database or Redis is killed, an agent is killed; rulesets are deployed and approvals decided all the time.  At the end:

- no call ran that the rules block, neither those in force when it began, nor a person's answer, nor a limit;
- each event that was acknowledged - written to the spool, because its call went on - is in the decision log, once;
- no counter is above its limit, and none has forgotten a call that ran;
- every agent runs the ruleset that was deployed last.

Exit code 1: something of this does not hold.  The seed repeats the choices, not the moments at which they matter.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import httpx
from consoles import EMAIL, PASSWORD, PATIENT, Console
from edictum_client import EdictumServerClient, ServerAuditSink, ServerBackend
from stores import load, stores, variables_for

replicas = load("replicas")

AGENT = Path(__file__).with_name("chaos_agent.py")
LIMIT = 5
DEPLOY_EVERY_SECONDS = 6.0
CALM_SECONDS = 5.0  # between two faults, on average
DOWN_SECONDS = (0.3, 6.0)
CURRENT_WITHIN_SECONDS = 150.0  # after the last fault: pauses between connections grow to a minute
_PATIENCE_SECONDS = 90.0
_PAUSE_SECONDS = 0.2
_MOST_STARTS = 60

RULES = """\
apiVersion: edictum/v1
kind: Ruleset
metadata: {{name: chaos}}
defaults: {{mode: enforce}}
rules:
  - id: forbidden
    type: pre
    tool: read_file
    when: {{args.path: {{contains_any: [{forbidden}]}}}}
    then: {{action: block, message: "not this file"}}
  - id: ask-first
    type: pre
    tool: send_money
    when: {{args.amount: {{exists: true}}}}
    then: {{action: ask, message: "send {{args.amount}}?", timeout: 15}}
  - id: few-calls
    type: session
    limits: {{max_calls_per_tool: {{limited: {limit}}}}}
    then: {{action: block, message: "enough"}}
"""

Fact = dict[str, Any]


def persistently(start: Callable[[], None]) -> None:
    """
    Start something, again and again, as whoever runs it would.

    A console ends if there is no database when it starts; a database, if there are still processes of the one before.
    """
    for attempt in itertools.count():
        try:
            return start()
        except load("servers").MissingServerError:
            if attempt == _MOST_STARTS:
                raise
            time.sleep(0.5)


def forbidden_in(version: int) -> list[str]:
    """
    What a version forbids: all that the one before did, and more, so that no agent may fall behind unnoticed.
    """
    return [".env", *(f"gen-{number}-" for number in range(1, version + 1))]


def ruleset(version: int) -> str:
    """
    A version of the ruleset.
    """
    return RULES.format(forbidden=", ".join(f'"{each}"' for each in forbidden_in(version)), limit=LIMIT)


@attrs.define
class Agent:
    """
    An agent's process, which can be killed and started again.
    """

    options: dict[str, Any]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def ledger(self) -> Path:
        """
        Where it writes down what it sees.
        """
        return Path(self.options["ledger"])

    def start(self) -> None:
        """
        Start it, again.
        """
        with self.log.open("ab") as log:
            words = [sys.executable, str(AGENT), json.dumps(self.options)]
            self.process = subprocess.Popen(words, stdout=log, stderr=log)

    def kill(self) -> None:
        """
        End it as a crash would.
        """
        if self.process is not None:
            self.process.kill()
            self.process.wait(_PATIENCE_SECONDS)

    def stop(self) -> None:
        """
        Ask it to end, and wait.
        """
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(_PATIENCE_SECONDS) == 0, self.log.read_text()[-2000:]

    def facts(self) -> list[Fact]:
        """
        What it wrote; a line that was not finished says nothing.
        """
        if not self.ledger.exists():
            return []
        return [json.loads(line) for line in self.ledger.read_bytes().split(b"\n")[:-1]]


@attrs.define
class Part:
    """
    Something that can be taken away for a while.
    """

    name: str
    down: Callable[[], None]
    up: Callable[[], None]
    lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)


class Chaos:
    """
    Everything that runs.
    """

    def __init__(self, folder: Path, both: list[Any], postgres: Any, redis: Any, asked: argparse.Namespace) -> None:
        self._random = random.Random(asked.seed)
        self._both = both
        self._postgres = postgres
        self._redis = redis
        self.admin = Console(folder)  # the administrator's part of it, at a console that runs already
        self.admin.address = both[0].address
        self.agents: list[Agent] = []
        self.faults: Counter[str] = Counter()
        self.deployed = 0
        self.revisions: dict[str, int] = {}
        self.decided: dict[int, bool] = {}
        self.spool = folder / "spool"
        self._key = self.admin.key()
        self._deployer = self.admin.key(scopes=["deploy"])
        self._decider = self.admin.key(scopes=["approvals:decide"])
        self._reader = self.admin.key(scopes=["events:read"])
        versions = int(asked.minutes * 60 / DEPLOY_EVERY_SECONDS) + 3
        self._paths = [self._upload(ruleset(number)) for number in range(versions)]
        self._prepare(folder, asked.agents)

    def _prepare(self, folder: Path, count: int) -> None:
        self._remember(self.admin.call("POST", self._paths[0], {"env": "production"}), 0)
        public_key = self.admin.public_key()
        for number, replica in zip(range(count), itertools.cycle(self._both), strict=False):
            options: dict[str, Any] = {
                "url": replica.address,
                "api_key": self._key,
                "agent_id": f"agent-{number}",
                "bundle_name": "chaos",
                "verify_signatures": True,
                "signing_public_key": public_key,
                "spool_dir": str(self.spool),
                "ledger": str(folder / f"agent-{number}.ledger"),
            }
            if number % 2:
                options["cache_dir"] = str(folder / "cache")
            self.agents.append(Agent(options, folder / f"agent-{number}.log"))

    def _upload(self, content: str) -> str:
        version = self.admin.call("POST", "/api/v1/bundles", {"yaml_content": content})
        return f"/api/v1/bundles/{version['name']}/{version['version']}/deploy"

    def _remember(self, deployed: Fact, version: int) -> None:
        self.revisions[deployed["revision_hash"]] = version
        self.deployed = version

    # --- while it lasts -------------------------------------------------------------------------

    async def run(self, seconds: float) -> float:
        """
        Let it happen, and return how long the last agent took to be up to date afterwards.
        """
        for agent in self.agents:
            agent.start()
        await self._all_current()
        async with AsyncExitStack() as stack:
            self._http = await stack.enter_async_context(httpx.AsyncClient(timeout=10))
            people = asyncio.create_task(self._decide())
            changing = asyncio.create_task(self._deploy())
            try:
                await self._break_things(seconds)
                changing.cancel()
                await asyncio.gather(changing, return_exceptions=True)
                await self._deploy_next()
                return await self._all_current()
            finally:
                people.cancel()
                changing.cancel()
                for task in (people, changing):
                    (ended,) = await asyncio.gather(task, return_exceptions=True)
                    if isinstance(ended, Exception):
                        raise ended

    async def _break_things(self, seconds: float) -> None:
        parts = [
            Part("Postgres killed", self._postgres.server.kill, partial(persistently, self._postgres.start)),
            Part("Redis killed", self._redis.kill, self._redis.start),
            *(Part("agent killed", agent.kill, agent.start) for agent in self.agents),
        ]
        kill = [Part("console killed", each.kill, partial(persistently, each.start)) for each in self._both]
        pause = [
            Part("console paused", each.pause, each.resume, one.lock)
            for each, one in zip(self._both, kill, strict=True)
        ]
        kinds = [kill, pause, parts[:1], parts[1:2], parts[2:]]
        end, tasks = time.monotonic() + seconds, set[asyncio.Task[None]]()
        while time.monotonic() < end:
            await asyncio.sleep(min(self._random.expovariate(1 / CALM_SECONDS), max(0.0, end - time.monotonic())))
            part = self._random.choice(self._random.choice(kinds))
            tasks.add(asyncio.create_task(self._take_away(part, self._random.uniform(*DOWN_SECONDS))))
        await asyncio.gather(*tasks)

    async def _take_away(self, part: Part, seconds: float) -> None:
        if part.lock.locked():
            return
        async with part.lock:
            self.faults[part.name] += 1
            await asyncio.to_thread(part.down)
            await asyncio.sleep(seconds)
            await asyncio.to_thread(part.up)

    def _somebody(self, key: str) -> Any:
        addresses: Iterator[str] = itertools.cycle(each.address for each in self._both)
        return replicas.Client(self._http, addresses, {"Authorization": f"Bearer {key}"})

    async def _deploy(self) -> None:
        while self.deployed + 2 < len(self._paths):
            await asyncio.sleep(DEPLOY_EVERY_SECONDS)
            await asyncio.shield(asyncio.ensure_future(self._deploy_next()))

    async def _deploy_next(self) -> None:
        version = self.deployed + 1
        # Known before anybody can run it.
        deployed = await self._somebody(self._deployer).must("POST", self._paths[version], {"env": "production"})
        self._remember(deployed, version)

    async def _decide(self) -> None:
        """
        Grant what is even, refuse what is odd.
        """
        asker, decider = self._somebody(self._key), self._somebody(self._decider)
        while True:
            await asyncio.sleep(_PAUSE_SECONDS)
            for asked in (await asker.must("GET", "/v1/approvals?status=pending&limit=100"))["approvals"]:
                approved = asked["tool_args"]["amount"] % 2 == 0
                path = f"/v1/approvals/{asked['id']}/decide"
                await decider.must("POST", path, {"approved": approved}, (409, 404))
                self.decided[asked["id"]] = approved

    async def _all_current(self) -> float:
        begin = time.monotonic()
        wanted = next(revision for revision, version in self.revisions.items() if version == self.deployed)
        while late := [agent for agent in self.agents if self._runs(agent) != wanted]:
            if time.monotonic() - begin > CURRENT_WITHIN_SECONDS:
                raise AssertionError(f"not up to date: {[agent.options['agent_id'] for agent in late]}")
            await asyncio.sleep(0.2)
        return time.monotonic() - begin

    @staticmethod
    def _runs(agent: Agent) -> str | None:
        told = [fact["rules"] for fact in agent.facts() if "rules" in fact]
        return str(told[-1]) if told else None

    # --- afterwards -----------------------------------------------------------------------------

    async def end(self) -> int:
        """
        Stop the agents in order and deliver what killed ones have left; returns how much that was.
        """
        await asyncio.gather(*(asyncio.to_thread(agent.stop) for agent in self.agents))
        left = 0
        for agent in self.agents:
            agent_id = agent.options["agent_id"]
            async with EdictumServerClient(self._both[0].address, self._key, agent_id=agent_id) as client:
                sink = ServerAuditSink(client, spool_dir=self.spool)
                left += sink.buffered
                await sink.flush(_PATIENCE_SECONDS)
                await sink.close()
        assert [path for path in self.spool.rglob("*") if path.is_file()] == [], "the spool is not empty"
        return left

    async def counters(self, sessions: list[str]) -> dict[str, int]:
        """
        How often each session has called the tool that is limited, by the console's count.
        """
        async with EdictumServerClient(self._both[0].address, self._key, agent_id="sweeper") as client:
            backend = ServerBackend(client)
            return {each: int(await backend.get(f"s:{each}:tool:limited") or 0) for each in sessions}

    def stored(self) -> list[Fact]:
        """
        The decision log.
        """
        return self.admin.events()


@attrs.define
class Verdict:
    """
    What must not be, each with what shows it.
    """

    facts: list[Fact]
    events: list[Fact]
    wrong: dict[str, list[Any]] = attrs.field(factory=lambda: defaultdict(list))

    def judge(self, revisions: dict[str, int]) -> None:
        """
        Compare what agents saw with the rules and with the decision log.
        """
        logged: dict[str | None, Counter[str]] = defaultdict(Counter)
        for event in self.events:
            number = (event.get("tool_args") or {}).get("n")
            if number is not None:
                logged[number][event["action"]] += 1
        for call, actions in logged.items():
            self.wrong["events twice"] += [(call, action) for action, times in actions.items() if times > 1]
        for fact in self.facts:
            if "ran" in fact:
                self._judge_run(fact, revisions)
            if not self._logged(fact, logged[fact.get("n")]):
                self.wrong["acknowledged events missing"].append(fact)
        for event in self.events:
            if event["action"] == "call_executed" and event["tool_name"] == "read_file":
                forbidden = forbidden_in(revisions[event["policy_version"]])
                if any(each in event["tool_args"]["path"] for each in forbidden):
                    self.wrong["calls ran that the rules block"].append(event)

    def _judge_run(self, fact: Fact, revisions: dict[str, int]) -> None:
        arguments, forbidden = fact["arguments"], forbidden_in(revisions[fact["begun"]])
        refused = fact["ran"] == "send_money" and arguments["amount"] % 2 == 1
        if refused or any(each in arguments.get("path", "") for each in forbidden):
            self.wrong["calls ran that the rules block"].append(fact)

    @staticmethod
    def _logged(fact: Fact, actions: Counter[str]) -> bool:
        """
        Whether the decision log has what was there before the agent wrote this down.
        """
        if "ran" in fact:
            return actions["call_allowed"] + actions["call_approval_granted"] == 1
        if fact.get("done") == "ran":
            return actions["call_executed"] == 1
        blocked = ("call_blocked", "call_approval_blocked", "call_approval_timeout")
        return "done" not in fact or sum(actions[each] for each in blocked) == 1

    def judge_counters(self, counters: dict[str, int]) -> None:
        """
        Compare limits with calls that ran.
        """
        ran = Counter(fact["session"] for fact in self.facts if fact.get("ran") == "limited")
        for session, counted in counters.items():
            if counted > LIMIT:
                self.wrong["counters above their limit"].append((session, counted))
            if ran[session] > counted:
                self.wrong["counters that forgot a call"].append((session, counted, ran[session]))


def report(chaos: Chaos, verdict: Verdict, seconds: float, current: float, left: int) -> bool:
    """
    Print the figures; returns whether all is well.
    """
    ran = Counter(fact["ran"] for fact in verdict.facts if "ran" in fact)
    blocked = Counter(fact["source"] for fact in verdict.facts if fact.get("done") == "blocked")
    failed = Counter(fact["not_started"] for fact in verdict.facts if "not_started" in fact)
    print(
        f"{seconds:.0f} s, {len(chaos.agents)} agents; {', '.join(f'{n} {what}' for what, n in chaos.faults.items())}"
    )
    print(f"{chaos.deployed + 1} deployments, the last one in force everywhere after {current:.1f} s")
    print(f"calls that ran: {sum(ran.values())} {dict(ran)}; blocked: {sum(blocked.values())} {dict(blocked)}")
    print(f"starts that failed: {dict(failed)}; approvals decided: {len(chaos.decided)}")
    print(f"events in the decision log: {len(verdict.events)}; left in the spool by the agents: {left}")
    wanted = (
        "calls ran that the rules block",
        "acknowledged events missing",
        "events twice",
        "counters above their limit",
        "counters that forgot a call",
    )
    for what in wanted:
        found = verdict.wrong[what]
        print(f"{len(found)} {what}" + (f": {found[:3]}" if found else ""))
    return not any(verdict.wrong.values())


async def play(chaos: Chaos, seconds: float) -> bool:
    """
    All of it.
    """
    try:
        current = await chaos.run(seconds)
        left = await chaos.end()
    finally:
        for agent in chaos.agents:
            agent.kill()
    facts = [fact for agent in chaos.agents for fact in agent.facts()]
    verdict = Verdict(facts, await asyncio.to_thread(chaos.stored))
    verdict.judge(chaos.revisions)
    sessions = sorted({fact["session"] for fact in facts if fact.get("ran") == "limited"})
    verdict.judge_counters(await chaos.counters(sessions))
    return report(chaos, verdict, seconds, current, left)


def main() -> int:
    """
    Run what was asked for and return the exit code.
    """
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0].strip())
    options.add_argument("--minutes", type=float, default=5.0)
    options.add_argument("--agents", type=int, default=6)
    options.add_argument("--replicas", type=int, choices=(1, 2), default=2)
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    options.add_argument("--keep", type=Path, help="a folder that is not there, for logs and ledgers")
    asked = options.parse_args()
    print(f"seed {asked.seed}", flush=True)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # and take down what was started
    with ExitStack() as stack:
        folder = asked.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edictum-chaos-")))
        folder.mkdir(exist_ok=True)
        postgres, redis = stack.enter_context(stores())
        variables = variables_for(postgres, redis)
        variables |= {"EDICTUM_ADMIN_EMAIL": EMAIL, "EDICTUM_ADMIN_PASSWORD": PASSWORD, **PATIENT}
        variables |= {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        both = [replicas.Replica(folder / f"console-{name}", variables) for name in "ab"[: asked.replicas]]
        for replica in both:
            stack.callback(replica.kill)
            replica.start()
        chaos = Chaos(folder, both, postgres, redis, asked)
        return 0 if asyncio.run(play(chaos, asked.minutes * 60)) else 1


if __name__ == "__main__":
    sys.exit(main())
