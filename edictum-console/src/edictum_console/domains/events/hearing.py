"""
Telling the registry of agents what agents run, as their events show it.

Most batches say what the one before said, so what was told lately is kept in mind: only news cost a query.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import TypeAlias
from uuid import UUID

from edictum_console.db.scope import TenantScope
from edictum_console.domains.agents.service import AgentService, Heard
from edictum_console.domains.events.event import Event
from edictum_console.domains.events.wire import moment_of
from edictum_console.errors import UnavailableError

logger = logging.getLogger(__name__)

_AGAIN_AFTER = timedelta(minutes=1)
_MOST_AGENTS = 10_000

_Place: TypeAlias = tuple[UUID, str, str]


class Hearing:
    """
    What this process told the registry lately.

    Args:
        again_after: After which time the same is told again, because the agent was seen again.
    """

    def __init__(self, again_after: timedelta = _AGAIN_AFTER) -> None:
        self._again_after = again_after.total_seconds()
        self._told: dict[_Place, tuple[str | None, float]] = {}

    async def tell(self, scope: TenantScope, env: str, newest: Iterable[Event]) -> None:
        """
        Tell the registry of some agents.

        The events are stored already and stay so: where the registry cannot be reached, the next batch tells it.

        Args:
            scope: The tenant.
            env: Where the agents run.
            newest: The newest event of each agent.
        """
        news, now = {}, time.monotonic()
        for event in newest:
            place = (scope.tenant_id, env, event.agent_id)
            version, told_at = self._told.get(place, (None, -self._again_after))
            if version != event.policy_version or now - told_at >= self._again_after:
                news[place] = Heard(event.agent_id, event.policy_version, moment_of(event.occurred_at))
        if not news:
            return
        try:
            believed = await AgentService(scope).heard(env, list(news.values()))
        except UnavailableError as error:
            logger.warning("the registry of agents was not told of events: %s", error.detail)
            return
        for place, heard in news.items():
            self._told.pop(place, None)
            if heard.agent_id in believed:
                self._told[place] = heard.policy_version, now
        while len(self._told) > _MOST_AGENTS:
            del self._told[next(iter(self._told))]  # the one that was told of first


def newest_of(newest: dict[str, Event], events: Iterable[Event]) -> None:
    """
    Keep the newest event of each agent, where there is one that says what the agent runs.
    """
    for event in events:
        known = newest.get(event.agent_id)
        if known is None or (
            event.occurred_at > known.occurred_at
            if (event.policy_version is None) == (known.policy_version is None)
            else known.policy_version is None
        ):
            newest[event.agent_id] = event
