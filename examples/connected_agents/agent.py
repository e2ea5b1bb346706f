"""
One agent of the example: a process whose tools are guarded by what a console says.

It reads calls from standard input, one JSON object a line, and answers each with what became of it.  At the end of its
input it says what it wrote to the decision log, for a comparison with what the console has of it.

Everything that an agent of yours needs is in ``main``: ``Edictum.from_server``, ``guard.run``, ``guard.close``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edictum import Edictum

CODING_AGENT = Path(__file__).parent.parent / "coding_agent"
sys.path.append(str(CODING_AGENT))

from play import play, problems_of  # noqa: E402
from workspace import Tools, Workspace  # noqa: E402


async def main(workspace: Workspace) -> None:
    """
    Connect, make the calls that are asked for, and end in order.
    """
    guard = await Edictum.from_server(
        os.environ["DEMO_URL"],
        os.environ["DEMO_API_KEY"],
        os.environ["DEMO_AGENT_ID"],
        bundle_name="coding-agent",
        signing_public_key=os.environ["DEMO_PUBLIC_KEY"],
        workflow_path=CODING_AGENT / "workflow.yaml" if "DEMO_WORKFLOW" in os.environ else None,
        tools={"bash": {"side_effect": "irreversible", "shell": True}},
        success_check=lambda tool, result: tool != "bash" or result.endswith("[exit code 0]"),
    )
    tools = Tools(workspace)
    say({"connected": guard.policy_version})
    while line := await asyncio.to_thread(sys.stdin.readline):
        call = json.loads(line.replace("{token}", workspace.token).replace("{workspace}", str(workspace.folder)))
        before = workspace.digest()
        outcome = await play(call, guard, guard.local_sink, tools)
        outcome.problems = problems_of(call, outcome, workspace.digest() != before, workspace.secrets)
        say({**asdict(outcome), "policy_version": guard.policy_version})
    await guard.close()
    say({"events": [[event.call_id, event.action] for event in guard.local_sink.events]})


def say(facts: dict[str, Any]) -> None:
    """
    Answer with one line.
    """
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="edictum-demo-") as folder:
        made = Workspace(Path(folder).resolve())
        with contextlib.chdir(made.project):  # what "within: [.]" means
            asyncio.run(main(made))
