"""
Routes of the library.
"""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, delete, get, post, put
from litestar.di import Provide
from litestar.params import FromPath, JSONBody, QueryParameter

from edictum_console.db.scope import TenantScope
from edictum_console.domains.compositions.service import CompositionService
from edictum_console.domains.library.reading import templates
from edictum_console.domains.library.schemas import (
    Contract,
    ContractDetail,
    ContractRevision,
    Contracts,
    ContractType,
    ContractUsage,
    Import,
    Imported,
    NewContract,
    Templates,
)
from edictum_console.domains.library.service import LibraryService, Wanted
from edictum_console.http.bodies import Done
from edictum_console.http.parameters import Cursor, Injected, Limit
from edictum_console.resources import Caller, Resources
from edictum_console.security import guards
from edictum_console.security.actor import Role

Kind = Annotated[ContractType | None, QueryParameter(name="type", description="Of this type only.")]
Tag = Annotated[str | None, QueryParameter(max_length=128, description="With this tag only.")]
Search = Annotated[
    str | None, QueryParameter(max_length=255, description="With this text in the id, the name or the description.")
]


def provide_library(scope_of_caller: Injected[TenantScope]) -> LibraryService:
    """
    Make the service for the tenant of the caller.
    """
    return LibraryService(scope_of_caller)


def provide_compositions(scope_of_caller: Injected[TenantScope], resources: Injected[Resources]) -> CompositionService:
    """
    Make the service of compositions, which use contracts.
    """
    return CompositionService(scope_of_caller, resources.sealer)


class LibraryController(Controller):
    """
    The library of contracts.
    """

    path = "/contracts"
    tags = ("library",)
    dependencies = {  # noqa: RUF012
        "service": Provide(provide_library, sync_to_thread=False),
        "compositions": Provide(provide_compositions, sync_to_thread=False),
    }

    @get(guards=[guards.person(Role.VIEWER)], summary="List contracts")
    async def list_contracts(
        self,
        service: Injected[LibraryService],
        kind: Kind = None,
        tag: Tag = None,
        search: Search = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> Contracts:
        """
        List the newest versions of contracts, by id.
        """
        return await service.page(Wanted(kind, tag, search), cursor, limit)

    @post(guards=[guards.person(Role.OPERATOR)], summary="Add a contract")
    async def create(
        self, service: Injected[LibraryService], caller: Injected[Caller], data: JSONBody[NewContract]
    ) -> Contract:
        """
        Add a rule to the library, as the first version of its id.
        """
        return await service.create(data, caller)

    @post("/import", guards=[guards.person(Role.OPERATOR)], summary="Take a ruleset apart into contracts")
    async def take_in(
        self,
        service: Injected[LibraryService],
        compositions: Injected[CompositionService],
        caller: Injected[Caller],
        data: JSONBody[Import],
    ) -> Imported:
        """
        Put all rules of a ruleset into the library; one whose id is there already becomes its next version.
        """
        done = await service.take_in(data, caller)
        await compositions.follow(done.updated, caller)
        return done

    @get("/templates", guards=[guards.person(Role.VIEWER)], summary="List rulesets to start from")
    async def list_templates(self) -> Templates:
        """
        List the rulesets that come with the core, by name.
        """
        return Templates(await templates())

    @get("/{contract_id:str}", guards=[guards.person(Role.VIEWER)], summary="Show a contract")
    async def detail(self, service: Injected[LibraryService], contract_id: FromPath[str]) -> ContractDetail:
        """
        Show the newest version of a contract, and list all.
        """
        return await service.detail(contract_id)

    @put("/{contract_id:str}", guards=[guards.person(Role.OPERATOR)], summary="Change a contract")
    async def revise(
        self,
        service: Injected[LibraryService],
        compositions: Injected[CompositionService],
        caller: Injected[Caller],
        contract_id: FromPath[str],
        data: JSONBody[ContractRevision],
    ) -> Contract:
        """
        Add a version to a contract; what is the same as the newest version is that version.

        Compositions that take the newest version do what they say about it: nothing, a notice, or a deployment.
        """
        contract = await service.revise(contract_id, data, caller)
        await compositions.follow([contract_id], caller)
        return contract

    @delete("/{contract_id:str}", guards=[guards.person(Role.OPERATOR)], status_code=200, summary="Remove a contract")
    async def delete(
        self,
        service: Injected[LibraryService],
        compositions: Injected[CompositionService],
        caller: Injected[Caller],
        contract_id: FromPath[str],
    ) -> Done:
        """
        Remove a contract with all versions; 409 while a composition uses it.
        """
        await service.delete(contract_id, caller, compositions.users_of)
        return Done()

    @get("/{contract_id:str}/versions/{version:int}", guards=[guards.person(Role.VIEWER)], summary="Show a version")
    async def version(
        self, service: Injected[LibraryService], contract_id: FromPath[str], version: FromPath[int]
    ) -> Contract:
        """
        Show one version of a contract.
        """
        return await service.find(contract_id, version)

    @get("/{contract_id:str}/usage", guards=[guards.person(Role.VIEWER)], summary="Show what uses a contract")
    async def usage(
        self,
        service: Injected[LibraryService],
        compositions: Injected[CompositionService],
        contract_id: FromPath[str],
    ) -> ContractUsage:
        """
        Name the compositions that use a contract.
        """
        await service.find(contract_id)
        return ContractUsage(await compositions.users_of(contract_id))
