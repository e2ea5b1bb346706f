"""
A week of calls: the core's own guards decide about them, so what the decision log says is what rulesets mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from random import Random
from typing import Any

import attrs
from edictum import (
    ApprovalStatus,
    CollectingAuditSink,
    Edictum,
    EdictumDenied,
    EdictumToolError,
    MemoryBackend,
    Principal,
    WorkflowRuntime,
    load_workflow_string,
)
from edictum.testing import AutoApprovalBackend, ManualClock

from edictum_console.demo.content import CALLS, Call, DemoAgent, text_of, workflow_text

DAYS = 7
_BUSY = (8, 9, 9, 10, 10, 10, 11, 13, 14, 14, 15, 15, 16, 17, 20)  # hours of the day; some come more often
_LONGEST = timedelta(minutes=30)  # so long a session may take
_LAST_SESSIONS = 3
_ANSWERS = (ApprovalStatus.APPROVED, ApprovalStatus.APPROVED, ApprovalStatus.DENIED, ApprovalStatus.TIMEOUT)
_COUNTERS = ("attempts", "execs")


@attrs.frozen
class Week:
    """
    What an agent did.

    Attributes:
        events: Its decision log, the oldest first.
        values: The session values of its last sessions.
    """

    events: list[dict[str, Any]]
    values: Mapping[str, str]


async def played(agent: DemoAgent, now: datetime) -> Week:
    """
    Play an agent's week.

    Args:
        agent: The agent.
        now: When the week ends.
    """
    random = Random(agent.agent_id)
    events: list[dict[str, Any]] = []
    backend, sessions = MemoryBackend(), _starts(agent, now, random)
    middle = now - timedelta(days=DAYS / 2)
    for number, start in enumerate(sessions):
        sink, clock = CollectingAuditSink(), ManualClock(start)
        version = agent.before if start < middle else agent.now
        guard = Edictum.from_yaml_string(
            text_of(agent.ruleset, version),
            environment=agent.env,
            audit_sink=sink,
            backend=backend,
            clock=clock,
            approval_backend=AutoApprovalBackend(random.choice(_ANSWERS)),
            principal=Principal(user_id=agent.user),
            workflow_runtime=_workflow(clock) if agent.workflow else None,
            env={},
            telemetry=False,
        )
        await _session(guard, clock, _session_id(agent, number), random, CALLS[agent.ruleset])
        events += (event.to_dict() for event in sink.events)
    last = range(max(0, len(sessions) - _LAST_SESSIONS), len(sessions))
    keys = [f"s:{_session_id(agent, number)}:{name}" for number in last for name in _COUNTERS]
    found = {key: await backend.get(key) for key in keys}
    return Week(events, {key: value for key, value in found.items() if value is not None})


async def _session(
    guard: Edictum, clock: ManualClock, session_id: str, random: Random, calls: tuple[Call, ...]
) -> None:
    for call in random.choices(calls, [call.often for call in calls], k=random.randint(4, 14)):

        async def tool(_call: Call = call, **args: Any) -> str:
            clock.advance(random.lognormvariate(-1.5, 1))
            if _call.fails:
                raise RuntimeError(_call.result)
            return _call.result

        clock.advance(random.uniform(1, 60))
        try:
            await guard.run(call.tool, call.args, tool, session_id=session_id)
        except (EdictumDenied, EdictumToolError):
            continue  # it is in the log


def _starts(agent: DemoAgent, now: datetime, random: Random) -> list[datetime]:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    moments = [now - _LONGEST]  # somebody is always working when the demo is made
    for day in range(DAYS + 1):
        for _ in range(agent.sessions):
            moments.append(
                midnight
                - timedelta(days=day)
                + timedelta(
                    hours=random.choice(_BUSY), minutes=random.randrange(60), microseconds=random.randrange(10**6)
                )
            )
    return sorted(moment for moment in moments if now - timedelta(days=DAYS) <= moment <= now - _LONGEST)


def _session_id(agent: DemoAgent, number: int) -> str:
    return f"{agent.agent_id}-session-{number}"


def _workflow(clock: ManualClock) -> WorkflowRuntime:
    return WorkflowRuntime(load_workflow_string(workflow_text()), clock=clock)
