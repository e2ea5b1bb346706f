"""
Routes of the playground.
"""

from __future__ import annotations

from datetime import timedelta

from litestar import Controller, post
from litestar.datastructures import State
from litestar.di import Provide
from litestar.params import JSONBody

from edictum_console.db.scope import TenantScope
from edictum_console.domains.playground.schemas import Evaluation, Trial
from edictum_console.domains.playground.service import PlaygroundService
from edictum_console.http.parameters import Injected
from edictum_console.resources import Resources
from edictum_console.security import guards
from edictum_console.security.actor import Role
from edictum_console.state.ports import Limit

TRIALS = Limit("playground", 60, timedelta(minutes=1))


def provide_service(
    scope_of_caller: Injected[TenantScope], resources: Injected[Resources], state: State
) -> PlaygroundService:
    """
    Make the service for the tenant of the caller.
    """
    return PlaygroundService(scope_of_caller, resources.sealer, state.evaluator)


class PlaygroundController(Controller):
    """
    The playground.
    """

    path = "/bundles/evaluate"
    tags = ("playground",)
    dependencies = {"service": Provide(provide_service, sync_to_thread=False)}  # noqa: RUF012

    @post(
        guards=[guards.person(Role.VIEWER), guards.limited(TRIALS)],
        status_code=200,
        summary="Say what a ruleset does with a call",
    )
    async def evaluate(self, service: Injected[PlaygroundService], data: JSONBody[Trial]) -> Evaluation:
        """
        Judge a call without running, counting or storing anything; for people only, agents decide by themselves.
        """
        return await service.evaluate(data)
