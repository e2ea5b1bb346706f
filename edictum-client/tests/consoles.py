"""
A real console in a process of its own, which can be paused, killed, and started again with the same data.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "examples" / "connected_agents"))

from console import EMAIL, PASSWORD, Console

__all__ = ["EMAIL", "PASSWORD", "Console", "rules", "running"]

# Tests ask more often than people and agents do.
PATIENT = {
    "EDICTUM_APPROVALS_PER_MINUTE": "10000",
    "EDICTUM_REQUESTS_PER_MINUTE": "1000000",
    "EDICTUM_SESSION_REQUESTS_PER_MINUTE": "1000000",
}

RULES = """\
apiVersion: edictum/v1
kind: Ruleset
metadata: {{name: {name}}}
defaults: {{mode: enforce}}
rules:
  - id: no-secrets
    type: pre
    tool: read_file
    when: {{args.path: {{contains: "{forbidden}"}}}}
    then: {{action: block, message: "not this file"}}
  - id: ask-first
    type: pre
    tool: send_money
    when: {{args.amount: {{gt: 100}}}}
    then: {{action: ask, message: "send {{args.amount}}?", timeout: {timeout}}}
  - id: few-calls
    type: session
    limits: {{max_calls_per_tool: {{limited: 3}}}}
    then: {{action: block, message: "three times are enough"}}
"""


def rules(name: str = "rules", forbidden: str = ".env", timeout: int = 20) -> str:
    """
    A ruleset: a file that is not read, a transfer that is asked for, a tool that is called three times at most.
    """
    return RULES.format(name=name, forbidden=forbidden, timeout=timeout)


@contextmanager
def running(folder: Path, variables: dict[str, str] | None = None) -> Iterator[Console]:
    """
    Run a console as long as the block lasts.
    """
    console = Console(folder, {**PATIENT, **(variables or {})})
    console.start()
    try:
        yield console
    finally:
        console.kill()
