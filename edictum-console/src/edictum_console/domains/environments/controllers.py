"""
Routes of environments.
"""

from __future__ import annotations

from litestar import Controller, delete, get, patch, post
from litestar.di import Provide
from litestar.params import FromPath, JSONBody

from edictum_console.db.scope import TenantScope
from edictum_console.domains.environments.schemas import (
    Environment,
    EnvironmentChange,
    Environments,
    NewEnvironment,
)
from edictum_console.domains.environments.service import EnvironmentService
from edictum_console.domains.keys.service import KeyService
from edictum_console.http.bodies import Done
from edictum_console.http.parameters import Injected
from edictum_console.resources import Caller, Resources
from edictum_console.security import guards
from edictum_console.security.actor import Role


def provide_service(scope_of_caller: Injected[TenantScope]) -> EnvironmentService:
    """
    Make the service for the tenant of the caller.
    """
    return EnvironmentService(scope_of_caller)


def provide_keys(scope_of_caller: Injected[TenantScope], resources: Injected[Resources]) -> KeyService:
    """
    Make the service of keys, which may be for an environment.
    """
    return KeyService(scope_of_caller, resources.hasher, resources.stores.bus)


class EnvironmentController(Controller):
    """
    Places where agents run.
    """

    path = "/environments"
    tags = ("environments",)
    dependencies = {  # noqa: RUF012
        "service": Provide(provide_service, sync_to_thread=False),
        "keys": Provide(provide_keys, sync_to_thread=False),
    }

    @get(guards=[guards.person(Role.VIEWER)], summary="List environments")
    async def list_environments(self, service: Injected[EnvironmentService]) -> Environments:
        """
        List all environments, by name.
        """
        return await service.all()

    @post(guards=[guards.person(Role.ADMIN)], summary="Add an environment")
    async def add(
        self,
        service: Injected[EnvironmentService],
        caller: Injected[Caller],
        data: JSONBody[NewEnvironment],
    ) -> Environment:
        """
        Add an environment.
        """
        return await service.add(data, caller)

    @patch("/{env:str}", guards=[guards.person(Role.ADMIN)], summary="Change an environment")
    async def change(
        self,
        service: Injected[EnvironmentService],
        caller: Injected[Caller],
        env: FromPath[str],
        data: JSONBody[EnvironmentChange],
    ) -> Environment:
        """
        Change how an environment is marked, protected and kept.
        """
        return await service.change(env, data, caller)

    @delete("/{env:str}", guards=[guards.person(Role.ADMIN)], status_code=200, summary="Remove an environment")
    async def delete(
        self,
        service: Injected[EnvironmentService],
        keys: Injected[KeyService],
        caller: Injected[Caller],
        env: FromPath[str],
    ) -> Done:
        """
        Remove an environment that no API key is for.
        """
        await service.delete(env, caller, keys.any_for)
        return Done()
