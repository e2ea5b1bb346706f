"""
Routes for agents: under ``/v1``, and under ``/api/v1`` for those that were written for an older console.
"""

from __future__ import annotations

from litestar import Router

from edictum_console.domains.agents.controllers import StatusController
from edictum_console.domains.approvals.controllers import AgentApprovalController
from edictum_console.domains.deployments.controllers import AgentRulesetController
from edictum_console.domains.events.controllers import AgentEventController, WorkflowStateController
from edictum_console.domains.sessions.controllers import SessionController
from edictum_console.domains.signing.controllers import TrustedKeyController
from edictum_console.domains.stream.controllers import StreamController
from edictum_console.domains.tenants.controllers import AliveController

PREFIX = "/v1"
OLDER_PREFIX = "/api/v1"


def agent_routes() -> list[Router]:
    """
    Everything that agents use, once for each prefix.
    """
    return [
        Router(
            PREFIX,
            route_handlers=[
                AgentApprovalController,
                AgentEventController,
                AgentRulesetController,
                AliveController,
                SessionController,
                StatusController,
                StreamController,
                TrustedKeyController,
                WorkflowStateController,
            ],
        ),
        Router(OLDER_PREFIX, route_handlers=[SessionController, StreamController]),
    ]
