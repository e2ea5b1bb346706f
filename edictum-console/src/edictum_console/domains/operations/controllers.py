"""
Routes for those who run the console.
"""

from __future__ import annotations

from litestar import Controller, get
from litestar.datastructures import State
from litestar.di import Provide

from edictum_console.domains.operations.schemas import Details
from edictum_console.domains.operations.service import OperationsService
from edictum_console.http.parameters import Injected
from edictum_console.resources import Resources
from edictum_console.security import guards
from edictum_console.security.actor import Role
from edictum_console.security.authentication import OWN_CREDENTIAL


def provide_service(resources: Injected[Resources], state: State) -> OperationsService:
    """
    Make the service.
    """
    return OperationsService(resources, state.workers, state.hub)


DEPENDENCIES = {"service": Provide(provide_service, sync_to_thread=False)}


class DetailsController(Controller):
    """
    The console's health, in full.
    """

    path = "/health/details"
    tags = ("health",)
    dependencies = DEPENDENCIES

    @get(guards=[guards.person(Role.VIEWER)], summary="Show the console's health in full")
    async def details(self, service: Injected[OperationsService]) -> Details:
        """
        Show versions, what the console depends on, its workers, and the streams of the replica that answers.
        """
        return await service.details()


class MetricsController(Controller):
    """
    What Prometheus reads.
    """

    path = "/metrics"
    tags = ("health",)
    dependencies = DEPENDENCIES

    @get(
        guards=[guards.metrics_reader],
        opt={OWN_CREDENTIAL: True},
        media_type="text/plain; version=0.0.4; charset=utf-8",
        summary="Show what was counted, for Prometheus",
    )
    async def metrics(self, service: Injected[OperationsService]) -> str:
        """
        Show what was counted; for whoever has EDICTUM_METRICS_TOKEN, or is on the same machine where it is not set.
        """
        return await service.metrics()
