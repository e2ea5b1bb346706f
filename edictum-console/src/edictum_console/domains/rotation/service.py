"""
Replacing the signing key, in one transaction.

Agents that were given the old public key cannot verify anything else until somebody gives them the new one.  So every
API key that was bound to no signing key is bound to the old one, which signs for it until the overlap ends.  Whoever
gives an agent the new public key takes its API key's binding away.
"""

from __future__ import annotations

from datetime import timedelta

import attrs

from edictum_console.db.outbox import Outbox
from edictum_console.db.scope import TenantScope
from edictum_console.domains.audit.service import AuditService
from edictum_console.domains.deployments.service import DeploymentService
from edictum_console.domains.environments.service import EnvironmentService
from edictum_console.domains.keys.service import KeyService
from edictum_console.domains.rotation.schemas import KeyRotation, RotationDone, SigningKeyUse, SigningKeyUses
from edictum_console.domains.signing.service import SigningService
from edictum_console.resources import Caller, Resources


class RotationService:
    """
    Replaces the signing key of one tenant.
    """

    def __init__(self, scope: TenantScope, resources: Resources) -> None:
        self._scope = scope
        self._signing = SigningService(scope, resources.sealer)
        self._deployments = DeploymentService(scope, resources.sealer)
        self._keys = KeyService(scope, resources.hasher, resources.stores.bus)

    async def uses(self) -> SigningKeyUses:
        """
        Return all signing keys, and which API keys are bound to each: who waits for a new public key before it ends.
        """
        listed, bound = await self._signing.all(), await self._keys.bindings()
        return SigningKeyUses(
            [
                SigningKeyUse(**attrs.asdict(key), bound_api_keys=bound.get(key.key_id, []))
                for key in listed.signing_keys
            ]
        )

    async def rotate(self, rotation: KeyRotation, caller: Caller) -> RotationDone:
        """
        Let a new key sign, sign everything that runs with it, and tell agents.
        """
        async with self._scope.transaction():
            await EnvironmentService(self._scope).lock()  # which whoever deploys takes, too
            now = await self._scope.database.now()
            retires_at = None if rotation.compromised else now + timedelta(days=rotation.overlap_days)
            old, new = await self._signing.replace(retires_at)
            if rotation.compromised:
                bound = 0
                await self._keys.unbind(old)
            else:
                bound = await self._keys.bind_free(old)
            signed = await self._deployments.sign_again(caller)
            facts = {"key_id": new.key_id, "replaces": old, "compromised": rotation.compromised}
            await AuditService(self._scope).record(caller, "signing_key.rotate", new.key_id, facts)
            await Outbox(self._scope).announce("signing_key_rotated", facts)
        return RotationDone(new.key_id, new.public_key, now, retires_at, signed, bound)
