"""
Routes of assignment rules.
"""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from litestar import Controller, delete, get, patch, post
from litestar.di import Provide
from litestar.params import FromPath, JSONBody, QueryParameter

from edictum_console.db.scope import TenantScope
from edictum_console.domains.assignment.schemas import (
    AssignmentRule,
    AssignmentRules,
    NewOrder,
    NewRule,
    RuleChange,
)
from edictum_console.domains.assignment.service import AssignmentService
from edictum_console.http.bodies import Done
from edictum_console.http.parameters import Injected
from edictum_console.resources import Caller
from edictum_console.security import guards
from edictum_console.security.actor import Role


def provide_service(scope_of_caller: Injected[TenantScope]) -> AssignmentService:
    """
    Make the service for the tenant of the caller.
    """
    return AssignmentService(scope_of_caller)


class AssignmentRuleController(Controller):
    """
    Rules that give agents their rulesets.
    """

    path = "/assignment-rules"
    tags = ("assignment",)
    dependencies = {"service": Provide(provide_service, sync_to_thread=False)}  # noqa: RUF012

    @get(guards=[guards.person(Role.VIEWER)], summary="List assignment rules")
    async def list_rules(
        self,
        service: Injected[AssignmentService],
        env: Annotated[str | None, QueryParameter(max_length=128, description="Only those of an environment.")] = None,
    ) -> AssignmentRules:
        """
        List rules, by environment and priority.
        """
        return await service.all(env)

    @post(guards=[guards.person(Role.OPERATOR)], summary="Add an assignment rule")
    async def add(
        self, service: Injected[AssignmentService], caller: Injected[Caller], data: JSONBody[NewRule]
    ) -> AssignmentRule:
        """
        Add a rule after all others of its environment; agents that are connected learn of it.
        """
        return await service.add(data, caller)

    @post("/reorder", guards=[guards.person(Role.OPERATOR)], status_code=200, summary="Order assignment rules")
    async def reorder(
        self, service: Injected[AssignmentService], caller: Injected[Caller], data: JSONBody[NewOrder]
    ) -> AssignmentRules:
        """
        Put all rules of an environment into an order.
        """
        return await service.reorder(data, caller)

    @patch("/{rule_id:uuid}", guards=[guards.person(Role.OPERATOR)], summary="Change an assignment rule")
    async def change(
        self,
        service: Injected[AssignmentService],
        caller: Injected[Caller],
        rule_id: FromPath[UUID],
        data: JSONBody[RuleChange],
    ) -> AssignmentRule:
        """
        Change a rule; agents that are connected learn of it.
        """
        return await service.change(rule_id, data, caller)

    @delete(
        "/{rule_id:uuid}", guards=[guards.person(Role.OPERATOR)], status_code=200, summary="Remove an assignment rule"
    )
    async def delete(
        self, service: Injected[AssignmentService], caller: Injected[Caller], rule_id: FromPath[UUID]
    ) -> Done:
        """
        Remove a rule; agents that are connected learn of it.
        """
        await service.delete(rule_id, caller)
        return Done()
