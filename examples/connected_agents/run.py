"""
Two agents and a console: rules that are pushed, a person who decides, a crash in the middle, and one decision log.

    python examples/connected_agents/run.py

A console is started on SQLite, a signed ruleset deployed, and two agent processes connected.  One plays the recorded
session of ``examples/coding_agent``; a person grants its first push and refuses the second.  Then another ruleset is
deployed, and the same call is decided otherwise.  The console is killed: what needs it is blocked.  It is started
again, and at the end its decision log is compared with what the agents did, event for event.

Exit code 1: a decision was not the expected one, a stopped call had an effect, or an event is missing or doubled.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from console import Console

HERE = Path(__file__).parent
CODING_AGENT = HERE.parent / "coding_agent"
sys.path.append(str(CODING_AGENT))

from play import HEADING, Outcome, show  # noqa: E402

PATIENCE_SECONDS = 30.0
READ = {"tool": "read_file", "args": {"path": "README.md"}}
LIST = {"tool": "bash", "args": {"command": "ls shop"}}
WRITE = {"tool": "write_file", "args": {"path": "notes.txt", "content": "look at the totals\n"}}
FREEZE = """
  - id: no-changes-on-friday
    type: pre
    tool: write_file
    when: {args.path: {exists: true}}
    then: {action: block, message: "It is Friday afternoon. Change nothing until Monday."}
"""


class Agent:
    """
    An agent process.

    Args:
        console: What it is connected with.
        agent_id: What it calls itself.
        workflow: Whether its work goes through the stages of ``workflow.yaml``.
    """

    def __init__(self, console: Console, agent_id: str, *, workflow: bool = False) -> None:
        self.agent_id = agent_id
        self.problems: list[str] = []
        self.policy_version = ""
        variables = {
            "DEMO_URL": console.address,
            "DEMO_API_KEY": console.key(),
            "DEMO_AGENT_ID": agent_id,
            "DEMO_PUBLIC_KEY": console.public_key(),
            **({"DEMO_WORKFLOW": "yes"} if workflow else {}),
        }
        command = [sys.executable, str(HERE / "agent.py")]
        self._process = subprocess.Popen(
            command, env={**os.environ, **variables}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._calls = 0

    def heard(self) -> dict[str, Any]:
        """
        What it says next.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.agent_id} ended with code {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def make(self, call: dict[str, Any]) -> None:
        """
        Have it make a call, and show what became of it.
        """
        assert self._process.stdin is not None
        print(json.dumps(call), file=self._process.stdin, flush=True)
        said = self.heard()
        self.policy_version = said.pop("policy_version")
        outcome = Outcome(**said)
        self._calls += 1
        self.problems += [f"{self.agent_id}, call {self._calls}: {problem}" for problem in outcome.problems]
        show(self._calls, call, outcome)

    def end(self) -> list[list[str]]:
        """
        Let it end in order; what it wrote to the decision log, by call and action.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        events: list[list[str]] = self.heard()["events"]
        self._process.wait(PATIENCE_SECONDS)
        return events

    def kill(self) -> None:
        """
        End it at once, where it has not ended.
        """
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


class Person(threading.Thread):
    """
    Somebody at the console who answers what is asked: a push is fine, a forced one is not.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(daemon=True)
        self._console = console
        self._ended = threading.Event()

    def run(self) -> None:
        """
        Look at what waits, again and again.
        """
        while not self._ended.wait(0.1):
            for request in self._console.pending():
                forced = "--force" in request["tool_args"].get("command", "")
                self._console.decide(request["id"], not forced, "never force" if forced else "tests pass")

    def leave(self) -> None:
        """
        Go home.
        """
        self._ended.set()
        self.join()


def until(true: Callable[[], bool], what: str) -> None:
    """
    Wait for something that takes a moment.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not happen in {PATIENCE_SECONDS:.0f} seconds")
        time.sleep(0.02)


def title(text: str) -> None:
    """
    Begin a part of the story.
    """
    print(f"\n{text}\n", flush=True)


def compared(agent_id: str, events: list[list[str]], console: Console) -> list[str]:
    """
    Compare what an agent wrote to its decision log with what the console has of it.
    """
    canonical = {"call_denied": "call_blocked", "call_approval_requested": "call_asked"}
    canonical |= {"call_approval_denied": "call_approval_blocked"}
    wrote = [(call_id, canonical.get(action, action)) for call_id, action in events]
    stored = console.events(agent_id=agent_id)
    has = [(event["call_id"], event["action"]) for event in stored if not event["action"].startswith("ruleset_")]
    print(f"{agent_id}: wrote {len(wrote)} events, the console has {len(has)}")
    missing, doubled = set(wrote) - set(has), len(has) - len(set(has))
    problems = [f"{agent_id}: the console has not got {action} of {call_id}" for call_id, action in missing]
    if doubled or sorted(wrote) != sorted(has):
        problems.append(f"{agent_id}: the events are not the same ({doubled} doubled)")
    return problems


def tell(console: Console, agents: list[Agent]) -> list[str]:
    """
    The whole story; what went wrong in it.
    """
    ruleset = (CODING_AGENT / "ruleset.yaml").read_text()
    deployed = console.deploy(ruleset)
    title(f"Ruleset {deployed['bundle_name']!r} is deployed and signed; two agents connect to {console.address}")
    agents += [Agent(console, "coder", workflow=True), Agent(console, "helper")]
    coder, helper = agents
    for agent in agents:
        print(f"{agent.agent_id} runs {agent.heard()['connected'][:12]}, signed by {console.public_key()[:12]}")

    title("The coder plays its session; a person at the console answers")
    print(HEADING)
    person = Person(console)
    person.start()
    for call in json.loads((CODING_AGENT / "session.json").read_text()):
        coder.make(call)
    person.leave()

    title("Both count in one session: the coder has read as many files as may be read")
    helper.make({**READ, "expect": "blocked", "rule": "max_calls_per_tool:read_file"})

    title("The helper may write; then another ruleset is deployed, and it may not")
    helper.make({**WRITE, "expect": "allowed"})
    began = time.monotonic()
    newer = console.deploy(ruleset + FREEZE)["revision_hash"]
    until(lambda: all(console.agent(each.agent_id)["applied_revision"] == newer for each in agents), "the reload")
    print(f"both agents run {newer[:12]} after {(time.monotonic() - began) * 1000:.0f} ms")
    helper.make({**WRITE, "expect": "blocked", "rule": "no-changes-on-friday"})

    title("The console is killed: what cannot be counted is blocked")
    console.kill()
    helper.make({**LIST, "expect": "blocked", "rule": "session"})

    title("The console is started again")
    console.start()
    helper.make({**LIST, "expect": "allowed"})
    helper.make({**WRITE, "expect": "blocked", "rule": "no-changes-on-friday"})

    title("The decision log")
    problems = [problem for agent in agents for problem in agent.problems]
    if {agent.policy_version for agent in agents} - {newer, deployed["revision_hash"]}:
        problems.append("an agent ran a ruleset that was never deployed")
    for agent in agents:
        problems += compared(agent.agent_id, agent.end(), console)
    return problems


def main() -> int:
    """
    Start the console, tell the story, clean up.
    """
    agents: list[Agent] = []
    with tempfile.TemporaryDirectory(prefix="edictum-demo-") as folder:
        console = Console(Path(folder))
        console.start()
        try:
            problems = tell(console, agents)
        finally:
            for agent in agents:
                agent.kill()
            console.kill()
    print()
    print("\n".join(problems) or "Every decision was the expected one, and the console has every event once.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
