"""
Routes of compositions.
"""

from __future__ import annotations

from litestar import Controller, delete, get, post, put
from litestar.di import Provide
from litestar.params import FromPath, JSONBody

from edictum_console.db.scope import TenantScope
from edictum_console.domains.compositions.schemas import (
    Composition,
    CompositionChange,
    Compositions,
    DeployComposition,
    NewComposition,
    Preview,
    PreviewRequest,
)
from edictum_console.domains.compositions.service import CompositionService
from edictum_console.domains.deployments.schemas import Deployment
from edictum_console.http.bodies import Done
from edictum_console.http.parameters import Injected
from edictum_console.resources import Caller, Resources
from edictum_console.security import guards
from edictum_console.security.actor import Role


def provide_service(scope_of_caller: Injected[TenantScope], resources: Injected[Resources]) -> CompositionService:
    """
    Make the service for the tenant of the caller.
    """
    return CompositionService(scope_of_caller, resources.sealer)


class CompositionController(Controller):
    """
    Compositions.
    """

    path = "/compositions"
    tags = ("compositions",)
    dependencies = {"service": Provide(provide_service, sync_to_thread=False)}  # noqa: RUF012

    @get(guards=[guards.person(Role.VIEWER)], summary="List compositions")
    async def list_compositions(self, service: Injected[CompositionService]) -> Compositions:
        """
        List all compositions, by name.
        """
        return await service.all()

    @post(guards=[guards.person(Role.OPERATOR)], summary="Add a composition")
    async def create(
        self, service: Injected[CompositionService], caller: Injected[Caller], data: JSONBody[NewComposition]
    ) -> Composition:
        """
        Add a composition; nothing is deployed by that.
        """
        return await service.create(data, caller)

    @get("/{name:str}", guards=[guards.person(Role.VIEWER)], summary="Show a composition")
    async def show(self, service: Injected[CompositionService], name: FromPath[str]) -> Composition:
        """
        Show what is in a composition.
        """
        return await service.find(name)

    @put("/{name:str}", guards=[guards.person(Role.OPERATOR)], summary="Change a composition")
    async def change(
        self,
        service: Injected[CompositionService],
        caller: Injected[Caller],
        name: FromPath[str],
        data: JSONBody[CompositionChange],
    ) -> Composition:
        """
        Say anew what is in a composition; nothing is deployed by that.
        """
        return await service.change(name, data, caller)

    @delete("/{name:str}", guards=[guards.person(Role.OPERATOR)], status_code=200, summary="Remove a composition")
    async def delete(
        self, service: Injected[CompositionService], caller: Injected[Caller], name: FromPath[str]
    ) -> Done:
        """
        Remove a composition; the versions of its ruleset stay, and go on running.
        """
        await service.delete(name, caller)
        return Done()

    @post("/{name:str}/preview", guards=[guards.person(Role.VIEWER)], status_code=200, summary="Preview a composition")
    async def preview(
        self, service: Injected[CompositionService], name: FromPath[str], data: JSONBody[PreviewRequest]
    ) -> Preview:
        """
        Make the ruleset without storing it, and compare it with what runs.
        """
        return await service.preview(name, data.env)

    @post("/{name:str}/deploy", guards=[guards.person(Role.OPERATOR)], summary="Deploy a composition")
    async def deploy(
        self,
        service: Injected[CompositionService],
        caller: Injected[Caller],
        name: FromPath[str],
        data: JSONBody[DeployComposition],
    ) -> Deployment:
        """
        Make a version of the ruleset and let it run; 409 if something else than expected runs there.
        """
        return await service.deploy(name, data, caller)
