"""
Routes of rulesets and their versions.
"""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, Response, get, post
from litestar.di import Provide
from litestar.params import FromPath, JSONBody, QueryParameter

from edictum_console.db.scope import TenantScope
from edictum_console.domains.rulesets.schemas import (
    Diff,
    Draft,
    RulesetNames,
    RulesetVersion,
    RulesetVersions,
    Upload,
    Validation,
)
from edictum_console.domains.rulesets.service import RulesetService
from edictum_console.http.bodies import unstructure
from edictum_console.http.documenting import with_text
from edictum_console.http.parameters import Cursor, Injected, Limit
from edictum_console.resources import Caller
from edictum_console.security import guards
from edictum_console.security.actor import KeyScope, Role


def provide_service(scope_of_caller: Injected[TenantScope]) -> RulesetService:
    """
    Make the service for the tenant of the caller.
    """
    return RulesetService(scope_of_caller)


class RulesetController(Controller):
    """
    Rulesets and their versions.
    """

    path = "/bundles"
    tags = ("rulesets",)
    dependencies = {"service": Provide(provide_service, sync_to_thread=False)}  # noqa: RUF012

    @get(guards=[guards.person_or_key(Role.VIEWER, *KeyScope)], summary="List rulesets")
    async def list_names(self, service: Injected[RulesetService]) -> RulesetNames:
        """
        List all rulesets, by name.
        """
        return await service.names()

    @post(guards=[guards.person_or_key(Role.OPERATOR, KeyScope.DEPLOY)], summary="Upload a ruleset")
    async def upload(
        self, service: Injected[RulesetService], caller: Injected[Caller], data: JSONBody[Upload]
    ) -> Response[RulesetVersion]:
        """
        Store a ruleset as the next version of the name in it; 200 where the newest version has the same bytes.
        """
        version, new = await service.upload(data, caller)
        return Response(unstructure(version), status_code=201 if new else 200)

    @post(
        "/validate",
        guards=[guards.person_or_key(Role.VIEWER, KeyScope.DEPLOY)],
        status_code=200,
        summary="Check a ruleset",
    )
    async def validate(self, service: Injected[RulesetService], data: JSONBody[Draft]) -> Validation:
        """
        Check whether agents can load a ruleset, without storing it.
        """
        return await service.validate(data)

    @get("/{name:str}", guards=[guards.person(Role.VIEWER)], summary="List the versions of a ruleset")
    async def list_versions(
        self, service: Injected[RulesetService], name: FromPath[str], cursor: Cursor = None, limit: Limit = 100
    ) -> RulesetVersions:
        """
        List the versions of a ruleset, newest first.
        """
        return await service.versions(name, cursor, limit)

    @get("/{name:str}/diff", guards=[guards.person(Role.VIEWER)], summary="Compare two versions")
    async def diff(
        self,
        service: Injected[RulesetService],
        name: FromPath[str],
        before: Annotated[int, QueryParameter(name="from", description="The version before.")],
        after: Annotated[int, QueryParameter(name="to", description="The version after.")],
    ) -> Diff:
        """
        Say which rules differ between two versions, and show the lines.
        """
        return await service.diff(name, before, after)

    @get("/{name:str}/{version:int}", guards=[guards.person_or_key(Role.VIEWER, *KeyScope)], summary="Show a version")
    async def version(
        self, service: Injected[RulesetService], name: FromPath[str], version: FromPath[int]
    ) -> RulesetVersion:
        """
        Show a version without its text.
        """
        return (await service.find(name, version)).version

    @get(
        "/{name:str}/{version:int}/yaml",
        guards=[guards.person_or_key(Role.VIEWER, *KeyScope)],
        media_type="application/x-yaml",
        operation_class=with_text("application/x-yaml"),
        summary="Return the text of a version",
    )
    async def text(
        self, service: Injected[RulesetService], name: FromPath[str], version: FromPath[int]
    ) -> Response[bytes]:
        """
        Return the bytes of a version, as they were uploaded.
        """
        stored = await service.find(name, version)
        return Response(stored.text.encode(), media_type="application/x-yaml; charset=utf-8")
