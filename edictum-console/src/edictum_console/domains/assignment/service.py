"""
Adding, ordering and removing assignment rules.

Each change is announced, so that streams of agents that it concerns learn of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import attrs

from edictum_console.db.outbox import Outbox
from edictum_console.db.scope import TenantScope
from edictum_console.domains.assignment.repository import RuleRepository
from edictum_console.domains.assignment.resolution import Rule
from edictum_console.domains.assignment.schemas import (
    AssignmentRule,
    AssignmentRules,
    NewOrder,
    NewRule,
    RuleChange,
)
from edictum_console.domains.assignment.tags import problem
from edictum_console.domains.audit.service import AuditService
from edictum_console.domains.environments.service import EnvironmentService
from edictum_console.domains.rulesets.service import RulesetService
from edictum_console.errors import ConflictError, NotFoundError, unfit
from edictum_console.ids import new_id
from edictum_console.resources import Caller

_MOST = 500
CHANGED = "assignment_changed"


class AssignmentService:
    """
    The assignment rules of one tenant.
    """

    def __init__(self, scope: TenantScope) -> None:
        self._scope = scope
        self._rows = RuleRepository(scope)
        self._environments = EnvironmentService(scope)
        self._rulesets = RulesetService(scope)

    async def all(self, env: str | None) -> AssignmentRules:
        """
        Return the rules of one environment, or of all.
        """
        return AssignmentRules([_shown(row) for row in await self._rows.all(env)])

    async def rules(self) -> dict[str, list[Rule]]:
        """
        Return all rules, by environment and rising priority.
        """
        found: dict[str, list[Rule]] = {}
        for row in await self._rows.all():
            rule = Rule(**{field.name: row[field.name] for field in attrs.fields(Rule)})
            found.setdefault(row["env"], []).append(rule)
        return found

    async def add(self, new: NewRule, caller: Caller) -> AssignmentRule:
        """
        Add a rule after all others of its environment.

        Raises:
            NotFoundError: The environment is not there.
            ForbiddenError: It is protected, and the caller is no administrator.
            InvalidError: The ruleset is not there, or the tags cannot be tags.
            ConflictError: There are too many rules.
        """
        async with self._scope.transaction():
            await self._begin(new.env, caller)
            await self._check(attrs.asdict(new))
            before = await self._rows.all(new.env)
            if len(before) >= _MOST:
                raise ConflictError(f"an environment has at most {_MOST} rules", "too_many_rules")
            values = {
                **attrs.asdict(new),
                "id": new_id(),
                "priority": before[-1]["priority"] + 1 if before else 1,
                "created_by": caller.name,
            }
            await self._rows.add(values)
            facts = {"bundle_name": new.bundle_name, "pattern": new.pattern}
            await self._changed(caller, "add", new.env, values["id"], facts)
            return _shown(await self._require(values["id"]))

    async def change(self, rule_id: UUID, change: RuleChange, caller: Caller) -> AssignmentRule:
        """
        Change a rule.

        Raises:
            NotFoundError: There is no such rule.
            ForbiddenError: Its environment is protected, and the caller is no administrator.
            InvalidError: The ruleset is not there, or the tags cannot be tags.
        """
        values = {name: value for name, value in attrs.asdict(change).items() if value is not None}
        async with self._scope.transaction():
            row = await self._require(rule_id)
            await self._begin(row["env"], caller)
            await self._check(values)
            if values:
                await self._rows.change(rule_id, values)
                await self._changed(caller, "change", row["env"], rule_id, values)
            return _shown(await self._require(rule_id))

    async def delete(self, rule_id: UUID, caller: Caller) -> None:
        """
        Remove a rule.

        Raises:
            NotFoundError: There is no such rule.
            ForbiddenError: Its environment is protected, and the caller is no administrator.
        """
        async with self._scope.transaction():
            row = await self._require(rule_id)
            await self._begin(row["env"], caller)
            await self._rows.delete(rule_id)
            await self._changed(caller, "delete", row["env"], rule_id, {"bundle_name": row["bundle_name"]})

    async def reorder(self, order: NewOrder, caller: Caller) -> AssignmentRules:
        """
        Put all rules of an environment into an order.

        Raises:
            NotFoundError: The environment is not there.
            ForbiddenError: It is protected, and the caller is no administrator.
            ConflictError: These are not all rules of the environment, each once.
        """
        async with self._scope.transaction():
            await self._begin(order.env, caller)
            rows = await self._rows.all(order.env)
            if sorted(order.rule_ids) != sorted(row["id"] for row in rows):
                raise ConflictError("name all rules of the environment, each once", "rules_differ")
            # Two rules never have the same priority, also not in between.
            highest = max(row["priority"] for row in rows)
            for first in (highest + 1, 1):
                for place, rule_id in enumerate(order.rule_ids):
                    await self._rows.change(rule_id, {"priority": first + place})
            await self._changed(caller, "reorder", order.env, None, {"rules": list(map(str, order.rule_ids))})
            return await self.all(order.env)

    async def _begin(self, env: str, caller: Caller) -> None:
        await self._environments.lock()
        await self._environments.require_open_to(env, caller)
        await self._scope.database.lock(f"assignment:{self._scope.tenant_id}:{env}")

    async def _check(self, values: Mapping[str, Any]) -> None:
        if "tag_match" in values and (text := problem(values["tag_match"])) is not None:
            raise unfit(("tag_match",), text)
        if "bundle_name" in values and not await self._rulesets.exists(values["bundle_name"]):
            raise unfit(("bundle_name",), "is not a ruleset; upload it first")

    async def _changed(
        self, caller: Caller, what: str, env: str, rule_id: UUID | None, facts: Mapping[str, Any]
    ) -> None:
        await AuditService(self._scope).record(caller, f"assignment_rule.{what}", str(rule_id or env), facts)
        await Outbox(self._scope).announce(CHANGED, {"rule_id": str(rule_id) if rule_id else None}, env=env)

    async def _require(self, rule_id: UUID) -> dict[str, Any]:
        row = await self._rows.find(rule_id)
        if row is None:
            raise NotFoundError("there is no such rule", "rule_not_found")
        return row


def _shown(row: Mapping[str, Any]) -> AssignmentRule:
    return AssignmentRule(**{field.name: row[field.name] for field in attrs.fields(AssignmentRule)})
