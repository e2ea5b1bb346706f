"""
Deploying, rolling back, and telling agents what runs.

A deployment has a number that rises, also when an older version is deployed again, and a signed envelope around it.  An
agent that remembers the highest number cannot be given an older deployment once more by somebody in between.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime
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
from edictum_console.errors import ConflictError, NotFoundError
from edictum_console.http.paging import cursor_id, cut
from edictum_console.ids import new_id
from edictum_console.resources import Caller
from edictum_console.security.sealing import Sealer


@attrs.frozen
class Running:
    """
    What runs in an environment under a name.

    Attributes:
        env: The environment.
        name: The ruleset.
        version: Its version.
        revision_hash: The SHA-256 of its bytes.
        deployment_seq: The number of its deployment.
        deployed_at: When it was deployed.
    """

    env: str
    name: str
    version: int
    revision_hash: str
    deployment_seq: int
    deployed_at: datetime


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

    async def in_force(self, name: str, env: str) -> Deployment | None:
        """
        Return the deployment of a ruleset that is in force in an environment, if there is any.
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

    async def running(self) -> dict[tuple[str, str], Running]:
        """
        Return what runs, by environment and name.
        """
        return {
            (row["env"], row["bundle_name"]): Running(
                row["env"],
                row["bundle_name"],
                row["bundle_version"],
                row["revision_hash"],
                row["deployment_seq"],
                row["created_at"],
            )
            for row in await self._rows.running()
        }

    async def current(self, name: str, env: str, bound_to: str | None = None) -> CurrentRuleset:
        """
        Return what runs in an environment, with its signatures.

        Args:
            name: The ruleset.
            env: The environment.
            bound_to: The signing key that whoever asks verifies with, as long as that may sign; None for the one that
                signed the deployment.

        Raises:
            NotFoundError: Nothing does.
        """
        newest = await self._rows.newest(env, name)
        if not newest:
            raise NotFoundError(f"no ruleset '{name}' deployed to '{env}'", "ruleset_not_deployed")
        (row,) = newest
        stored = await self._rulesets.find(name, row["bundle_version"])
        signatures = await self._signatures(stored, row, bound_to)
        return CurrentRuleset(
            id=stored.version.id,
            name=name,
            bundle_name=name,
            env=env,
            version=stored.version.version,
            revision_hash=stored.version.revision_hash,
            yaml=stored.text,
            yaml_bytes=base64.b64encode(stored.text.encode()).decode(),
            **signatures,
            signature_hex=base64.b64decode(signatures["signature"]).hex(),
            deployment_seq=row["deployment_seq"],
            deployed_at=row["created_at"],
            deployed_by=row["deployed_by"],
            uploaded_by=stored.version.uploaded_by,
            created_at=stored.version.created_at,
        )

    async def sign_again(self, caller: Caller) -> int:
        """
        Deploy everything that runs once more, with the key that signs now, in the transaction that is open.

        Returns:
            How many deployments there were.
        """
        running = await self.running()
        for env, name in sorted(running):
            newest = await self._rows.newest(env, name)
            stored = await self._rulesets.find(name, newest[0]["bundle_version"])
            await self._add(env, stored, "resign", "signed with another key", newest, caller)
        return len(running)

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
        await self._environments.require_open_to(env, caller)

    async def _signatures(self, stored: StoredRuleset, row: dict[str, Any], bound_to: str | None) -> dict[str, str]:
        """
        Sign for whoever verifies with another key than the one of the deployment; else return what was signed then.
        """
        signer = None if bound_to in (None, row["key_id"]) else await self._signing.bound(str(bound_to))
        if signer is not None:
            envelope = self._envelope(row, signer)
            return {
                "signature": signer.sign(stored.text.encode()),
                "public_key": signer.public_key,
                "key_id": signer.key_id,
                "envelope": base64.b64encode(envelope).decode(),
                "envelope_signature": signer.sign(envelope),
            }
        signature = await self._rulesets.signature_of(stored.version, row["key_id"])
        if signature is None:
            raise RuntimeError("a deployed version has no signature")
        return {
            "signature": signature,
            "public_key": await self._signing.public_key(row["key_id"]),
            "key_id": row["key_id"],
            "envelope": row["envelope"],
            "envelope_signature": row["envelope_signature"],
        }

    async def _add(
        self,
        env: str,
        stored: StoredRuleset,
        kind: Literal["deploy", "rollback", "resign"],
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
