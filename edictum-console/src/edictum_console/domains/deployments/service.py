"""
Deploying, rolling back, and telling agents what runs.

A deployment has a number that rises, also when an older version is deployed again, and a signed envelope around it.  An
agent that remembers the highest number cannot be given an older deployment once more by somebody in between.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

import attrs

from edictum_console.db.outbox import Outbox
from edictum_console.db.scope import TenantScope
from edictum_console.domains.audit.service import AuditService
from edictum_console.domains.deployments.repository import DeploymentRepository
from edictum_console.domains.deployments.schemas import (
    CurrentRuleset,
    Deployment,
    Deployments,
    NewDeployment,
    Rollback,
)
from edictum_console.domains.environments.service import EnvironmentService
from edictum_console.domains.rulesets.service import RulesetService, StoredRuleset
from edictum_console.domains.signing.service import Signer, SigningService
from edictum_console.errors import ConflictError, ForbiddenError, NotFoundError
from edictum_console.http.paging import cursor_id, cut
from edictum_console.ids import new_id
from edictum_console.resources import Caller
from edictum_console.security.actor import PersonActor, Role
from edictum_console.security.sealing import Sealer


class DeploymentService:
    """
    The deployments of one tenant.
    """

    def __init__(self, scope: TenantScope, sealer: Sealer) -> None:
        self._scope = scope
        self._rows = DeploymentRepository(scope)
        self._rulesets = RulesetService(scope)
        self._environments = EnvironmentService(scope)
        self._signing = SigningService(scope, sealer)

    @property
    def tenant_id(self) -> UUID:
        """
        Whose deployments these are.
        """
        return self._scope.tenant_id

    async def running(self, name: str, env: str) -> Deployment | None:
        """
        Return the deployment of a ruleset that counts in an environment, if there is any.
        """
        newest = await self._rows.newest(env, name)
        return _deployment(newest[0]) if newest else None

    async def deploy(self, name: str, version: int, new: NewDeployment, caller: Caller) -> Deployment:
        """
        Let a version run in an environment.

        Raises:
            NotFoundError: The version or the environment is not there.
            ConflictError: Another version runs there than was expected.
            ForbiddenError: The environment is protected, and the caller is no administrator.
        """
        async with self._scope.transaction():
            await self._begin(new.env, name, caller)
            newest = await self._rows.newest(new.env, name)
            running = newest[0]["bundle_version"] if newest else 0
            if new.expect_current is not None and new.expect_current != running:
                current = {"current_version": running}
                raise ConflictError("another version runs there than was expected", "stale_version", current)
            stored = await self._rulesets.find(name, version)
            return await self._add(new.env, stored, "deploy", new.note, newest, caller)

    async def roll_back(self, name: str, rollback: Rollback, caller: Caller) -> Deployment:
        """
        Let an earlier version run again, as a new deployment.

        Raises:
            NotFoundError: The version or the environment is not there, or nothing ran there before.
            ForbiddenError: The environment is protected, and the caller is no administrator.
        """
        async with self._scope.transaction():
            await self._begin(rollback.env, name, caller)
            newest = await self._rows.newest(rollback.env, name)
            version = rollback.to_version
            if version is None:
                earlier = newest and await self._rows.before(rollback.env, name, newest[0]["bundle_version"])
                if not earlier:
                    raise NotFoundError("no other version ran there before", "nothing_to_roll_back_to")
                version = earlier["bundle_version"]
            stored = await self._rulesets.find(name, version)
            return await self._add(rollback.env, stored, "rollback", rollback.note, newest, caller)

    async def current(self, name: str, env: str) -> CurrentRuleset:
        """
        Return what runs in an environment, with its signatures.

        Raises:
            NotFoundError: Nothing does.
        """
        newest = await self._rows.newest(env, name)
        if not newest:
            raise NotFoundError(f"no ruleset '{name}' deployed to '{env}'", "ruleset_not_deployed")
        (row,) = newest
        stored = await self._rulesets.find(name, row["bundle_version"])
        signature = await self._rulesets.signature_of(stored.version, row["key_id"])
        if signature is None:
            raise RuntimeError("a deployed version has no signature")
        return CurrentRuleset(
            id=stored.version.id,
            name=name,
            bundle_name=name,
            env=env,
            version=stored.version.version,
            revision_hash=stored.version.revision_hash,
            yaml=stored.text,
            yaml_bytes=base64.b64encode(stored.text.encode()).decode(),
            signature=signature,
            public_key=await self._signing.public_key(row["key_id"]),
            key_id=row["key_id"],
            signature_hex=base64.b64decode(signature).hex(),
            deployment_seq=row["deployment_seq"],
            envelope=row["envelope"],
            envelope_signature=row["envelope_signature"],
            deployed_at=row["created_at"],
            deployed_by=row["deployed_by"],
            uploaded_by=stored.version.uploaded_by,
            created_at=stored.version.created_at,
        )

    async def page(self, name: str | None, env: str | None, cursor: str | None, limit: int) -> Deployments:
        """
        Return some deployments, newest first.
        """
        rows, more = cut(await self._rows.page(name, env, cursor_id(cursor), limit + 1), limit, "id")
        return Deployments([_deployment(row) for row in rows], more)

    async def _begin(self, env: str, name: str, caller: Caller) -> None:
        """
        Let one deploy a ruleset to an environment at a time, and only who may.
        """
        await self._environments.lock()
        await self._scope.database.lock(f"deploy:{self._scope.tenant_id}:{env}:{name}")
        await self.check_allowed(env, caller)

    async def check_allowed(self, env: str, caller: Caller) -> None:
        """
        Make sure that somebody may deploy to an environment.

        Raises:
            NotFoundError: It is not there.
            ForbiddenError: It is protected, and the caller is no administrator.
        """
        environment = await self._environments.require(env)
        admin = isinstance(caller.actor, PersonActor) and caller.actor.role is Role.ADMIN
        if environment.protected and not admin:
            raise ForbiddenError(f"the environment '{env}' is protected; an administrator deploys there", "protected")

    async def _add(
        self,
        env: str,
        stored: StoredRuleset,
        kind: Literal["deploy", "rollback"],
        note: str,
        newest: list[dict[str, Any]],
        caller: Caller,
    ) -> Deployment:
        version = stored.version
        signer = await self._signing.signer()
        await self._rulesets.signature(stored, signer)
        values: dict[str, Any] = {
            "id": new_id(),
            "created_at": await self._scope.database.now(),
            "env": env,
            "bundle_id": version.id,
            "bundle_name": version.name,
            "bundle_version": version.version,
            "revision_hash": version.revision_hash,
            "deployment_seq": newest[0]["deployment_seq"] + 1 if newest else 1,
            "kind": kind,
            "key_id": signer.key_id,
            "note": note,
            "deployed_by": caller.name,
        }
        envelope = self._envelope(values, signer)
        values |= {"envelope": base64.b64encode(envelope).decode(), "envelope_signature": signer.sign(envelope)}
        await self._rows.add(values)
        facts = {
            "bundle_name": version.name,
            "version": version.version,
            "env": env,
            "revision_hash": version.revision_hash,
            "deployment_seq": values["deployment_seq"],
        }
        await AuditService(self._scope).record(caller, f"ruleset.{kind}", version.name, facts)
        await Outbox(self._scope).announce("bundle_deployed", {**facts, "deployed_by": caller.name}, env=env)
        return _deployment(values)

    def _envelope(self, values: dict[str, Any], signer: Signer) -> bytes:
        facts = {
            "v": 1,
            "tenant": str(self._scope.tenant_id),
            "env": values["env"],
            "name": values["bundle_name"],
            "version": values["bundle_version"],
            "revision_hash": values["revision_hash"],
            "deployment_seq": values["deployment_seq"],
            "issued_at": values["created_at"].isoformat(),
            "key_id": signer.key_id,
        }
        return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()


def _deployment(row: Mapping[str, Any]) -> Deployment:
    return Deployment(**{field.name: row[field.name] for field in attrs.fields(Deployment)})
