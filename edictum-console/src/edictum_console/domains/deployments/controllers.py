"""
Routes of deployments, and of what agents fetch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from litestar import Controller, Request, Response, get, post
from litestar.di import Provide
from litestar.params import FromPath, JSONBody, QueryParameter

from edictum_console.db.scope import TenantScope
from edictum_console.domains.deployments.schemas import (
    CurrentRuleset,
    Deployment,
    Deployments,
    NewDeployment,
    OlderCurrentRuleset,
    Rollback,
)
from edictum_console.domains.deployments.service import DeploymentService
from edictum_console.domains.rulesets.service import RulesetService
from edictum_console.errors import ForbiddenError, InvalidError
from edictum_console.http.bodies import unstructure
from edictum_console.http.parameters import Cursor, Injected, Limit
from edictum_console.resources import Caller, Resources
from edictum_console.security import guards
from edictum_console.security.actor import Actor, ChatActor, CommandActor, KeyActor, KeyScope, Role

Env = Annotated[str | None, QueryParameter(max_length=128, description="The environment; a key has its own.")]
Name = Annotated[str | None, QueryParameter(max_length=128, description="The ruleset.")]


def provide_service(scope_of_caller: Injected[TenantScope], resources: Injected[Resources]) -> DeploymentService:
    """
    Make the service for the tenant of the caller.
    """
    return DeploymentService(scope_of_caller, resources.sealer)


def provide_rulesets(scope_of_caller: Injected[TenantScope]) -> RulesetService:
    """
    Make the service of rulesets for the tenant of the caller.
    """
    return RulesetService(scope_of_caller)


class DeployController(Controller):
    """
    Deploying rulesets.
    """

    path = "/bundles/{name:str}"
    tags = ("deployments",)
    dependencies = {"service": Provide(provide_service, sync_to_thread=False)}  # noqa: RUF012

    @post(
        "/{version:int}/deploy",
        guards=[guards.person_or_key(Role.OPERATOR, KeyScope.DEPLOY)],
        summary="Deploy a version",
    )
    async def deploy(
        self,
        service: Injected[DeploymentService],
        caller: Injected[Caller],
        name: FromPath[str],
        version: FromPath[int],
        data: JSONBody[NewDeployment],
    ) -> Deployment:
        """
        Let a version run in an environment.
        """
        _check_env(caller.actor, data.env)
        return await service.deploy(name, version, data, caller)

    @post("/rollback", guards=[guards.person(Role.OPERATOR)], status_code=201, summary="Roll back")
    async def roll_back(
        self,
        service: Injected[DeploymentService],
        caller: Injected[Caller],
        name: FromPath[str],
        data: JSONBody[Rollback],
    ) -> Deployment:
        """
        Let an earlier version run again; its deployment has a higher number.
        """
        return await service.roll_back(name, data, caller)

    @get(
        "/current",
        guards=[guards.person_or_key(Role.VIEWER, KeyScope.AGENT)],
        summary="Return what runs in an environment",
    )
    async def current(
        self,
        service: Injected[DeploymentService],
        request: Request[Actor, str, Any],
        name: FromPath[str],
        env: Env = None,
    ) -> Response[OlderCurrentRuleset]:
        """
        Return the ruleset that runs in an environment, with its signatures.
        """
        return await _older_current(service, request, name, env)


class OlderRulesetController(Controller):
    """
    Paths from when a tenant had one ruleset, without a name; 409 for a tenant that has several.
    """

    path = "/bundles"
    tags = ("deployments",)
    dependencies = {  # noqa: RUF012
        "service": Provide(provide_service, sync_to_thread=False),
        "rulesets": Provide(provide_rulesets, sync_to_thread=False),
    }

    @get(
        "/current",
        guards=[guards.person_or_key(Role.VIEWER, KeyScope.AGENT)],
        deprecated=True,
        summary="Return what runs in an environment, of the only ruleset",
    )
    async def current(
        self,
        service: Injected[DeploymentService],
        rulesets: Injected[RulesetService],
        request: Request[Actor, str, Any],
        env: Env = None,
    ) -> Response[OlderCurrentRuleset]:
        """
        Return what runs of the tenant's only ruleset, with its signatures.
        """
        return await _older_current(service, request, await rulesets.only_name(), env)

    @get(
        "/{version:int}/yaml",
        guards=[guards.person_or_key(Role.VIEWER, *KeyScope)],
        deprecated=True,
        media_type="application/x-yaml",
        summary="Return the text of a version of the only ruleset",
    )
    async def text(self, rulesets: Injected[RulesetService], version: FromPath[int]) -> Response[bytes]:
        """
        Return the bytes of a version of the tenant's only ruleset, as they were uploaded.
        """
        stored = await rulesets.find(await rulesets.only_name(), version)
        return Response(stored.text.encode(), media_type="application/x-yaml; charset=utf-8")


class AgentRulesetController(Controller):
    """
    What agents fetch.
    """

    path = "/rulesets/{name:str}/current"
    tags = ("deployments",)
    dependencies = {"service": Provide(provide_service, sync_to_thread=False)}  # noqa: RUF012

    @get(guards=[guards.key(KeyScope.AGENT)], summary="Return what runs in the environment of the key")
    async def current(
        self,
        service: Injected[DeploymentService],
        request: Request[Actor, str, Any],
        name: FromPath[str],
        env: Env = None,
    ) -> Response[CurrentRuleset]:
        """
        Return the ruleset that runs, with its signatures; 304 if it is the one of ``If-None-Match``.
        """
        return await _current(service, request, name, env)


class DeploymentController(Controller):
    """
    The history of deployments.
    """

    path = "/deployments"
    tags = ("deployments",)
    dependencies = {"service": Provide(provide_service, sync_to_thread=False)}  # noqa: RUF012

    @get(guards=[guards.person_or_key(Role.VIEWER, *KeyScope)], summary="List deployments")
    async def list_deployments(
        self,
        service: Injected[DeploymentService],
        name: Name = None,
        env: Env = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> Deployments:
        """
        List deployments, newest first.
        """
        return await service.page(name, env, cursor, limit)


async def _older_current(
    service: DeploymentService, request: Request[Actor, str, Any], name: str, env: str | None
) -> Response[Any]:
    tenant_id = str(service.tenant_id)
    return await _current(service, request, name, env, lambda found: {**unstructure(found), "tenant_id": tenant_id})


async def _current(
    service: DeploymentService,
    request: Request[Actor, str, Any],
    name: str,
    env: str | None,
    write: Callable[[CurrentRuleset], Any] = unstructure,
) -> Response[Any]:
    bound_to = None
    if isinstance(request.user, KeyActor):
        env, bound_to = env or request.user.env, request.user.signing_key_id
        _check_env(request.user, env)
    elif env is None:
        raise InvalidError("env: is missing")
    found = await service.current(name, env, bound_to)
    tag = f'"{found.revision_hash}.{found.deployment_seq}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if tag in [part.strip() for part in request.headers.get("if-none-match", "").split(",")]:
        return Response(None, status_code=304, headers=headers)
    return Response(write(found), headers=headers)


def _check_env(actor: Actor | ChatActor | CommandActor, env: str) -> None:
    if isinstance(actor, KeyActor) and actor.env != env:
        raise ForbiddenError("the API key is for another environment", "env_mismatch")
