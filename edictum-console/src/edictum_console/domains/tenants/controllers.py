"""
Routes of setting the console up, and of its health.
"""

from __future__ import annotations

from datetime import UTC, datetime

from litestar import Controller, Response, get, post
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody

from edictum_console.domains.tenants.schemas import Alive, Health, Readiness, Setup, SetupDone
from edictum_console.domains.tenants.service import ATTEMPTS, SetupService
from edictum_console.http.bodies import unstructure
from edictum_console.http.parameters import Injected
from edictum_console.resources import Caller, Resources
from edictum_console.security import guards


def provide_setup(resources: Injected[Resources]) -> SetupService:
    """
    Make the service for setting up.
    """
    return SetupService(resources)


class SetupController(Controller):
    """
    The first administrator.
    """

    path = "/setup"
    tags = ("setup",)
    dependencies = {"service": Provide(provide_setup, sync_to_thread=False)}  # noqa: RUF012

    @post(guards=[guards.anyone, guards.limited(ATTEMPTS)], summary="Make the first administrator")
    async def setup(
        self, service: Injected[SetupService], caller: Injected[Caller], data: JSONBody[Setup]
    ) -> SetupDone:
        """
        Make the first tenant and its administrator, with the token that the console printed.
        """
        return await service.by_token(data, caller)


class AliveController(Controller):
    """
    Whether the console answers, for agents.
    """

    path = "/health"
    tags = ("health",)

    @get(guards=[guards.anyone], summary="Say that the process answers")
    async def live(self) -> Alive:
        """
        Say that the process answers; touches nothing else.
        """
        return Alive()


class HealthController(Controller):
    """
    Whether the console answers, for clients and for what supervises it.
    """

    path = "/health"
    tags = ("health",)
    dependencies = {"service": Provide(provide_setup, sync_to_thread=False)}  # noqa: RUF012

    @get(guards=[guards.anyone], summary="Say that the console answers")
    async def health(self, service: Injected[SetupService]) -> Health:
        """
        Say that the console answers, and whether it was set up.
        """
        return Health("ok", await service.complete())

    @get("/live", guards=[guards.anyone], summary="Say that the process answers")
    async def live(self) -> Alive:
        """
        Say that the process answers; touches nothing else.
        """
        return Alive()

    @get(
        "/ready",
        guards=[guards.anyone],
        responses={503: ResponseSpec(Readiness, description="Some part cannot be used", generate_examples=False)},
        summary="Say whether requests can be served",
    )
    async def ready(self, service: Injected[SetupService], state: State) -> Response[Readiness]:
        """
        Ask the database, the shared state and the workers; 503 if one cannot be used.
        """
        now = datetime.now(UTC)
        readiness = await service.readiness([worker.name for worker in state.workers if worker.late(now)])
        return Response(unstructure(readiness), status_code=200 if readiness.status == "ok" else 503)
