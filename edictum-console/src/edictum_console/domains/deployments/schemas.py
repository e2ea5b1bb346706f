"""
Bodies about deployments.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import attrs
from msgspec import Meta

from edictum_console.http.bodies import Identifier, Note

Version = Annotated[int, Meta(ge=1, le=2**31 - 1)]


@attrs.frozen
class NewDeployment:
    """
    Where a version is to run.

    Attributes:
        env: The environment.
        note: Why.
        expect_current: The version that is to run there now; 0 for none.  If it is another one, nothing is deployed.
    """

    env: Identifier
    note: Note = ""
    expect_current: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None


@attrs.frozen
class Rollback:
    """
    Which version is to run again.

    Attributes:
        env: The environment.
        to_version: The version; null for the one that ran there before the present one.
        note: Why.
    """

    env: Identifier
    to_version: Version | None = None
    note: Note = ""


@attrs.frozen
class Deployment:
    """
    One deployment.

    Attributes:
        id: Its id.
        env: Where.
        bundle_name: The ruleset.
        bundle_version: Which version.
        revision_hash: The SHA-256 of its bytes.
        deployment_seq: Its number, which rises with each deployment of a ruleset to an environment.
        kind: ``deploy``, ``rollback`` or ``resign``.
        note: Why.
        deployed_by: Who did it.
        created_at: When.
    """

    id: UUID
    env: str
    bundle_name: str
    bundle_version: int
    revision_hash: str
    deployment_seq: int
    kind: str
    note: str
    deployed_by: str
    created_at: datetime


@attrs.frozen
class Deployments:
    """
    Some deployments, newest first.
    """

    deployments: list[Deployment]
    next_cursor: str | None


@attrs.frozen
class CurrentRuleset:
    """
    What runs in an environment, as agents fetch it.

    Attributes:
        id: The version's id.
        name: The ruleset; ``bundle_name`` is the same.
        bundle_name: The ruleset.
        env: The environment.
        version: The version.
        revision_hash: The SHA-256 of the bytes.
        yaml: The text.
        yaml_bytes: The same bytes, as base64.
        signature: The Ed25519 signature over the bytes, as base64.
        public_key: What verifies it, as 64 hexadecimal digits.
        key_id: The id of that key.
        signature_hex: The signature, as hexadecimal digits.
        deployment_seq: The deployment's number, which rises.
        envelope: What was signed of the deployment, as base64.
        envelope_signature: The signature over that, as base64.
        deployed_at: When it was deployed.
        deployed_by: By whom.
        uploaded_by: Who uploaded the version.
        created_at: When.
    """

    id: UUID
    name: str
    bundle_name: str
    env: str
    version: int
    revision_hash: str
    yaml: str
    yaml_bytes: str
    signature: str
    public_key: str
    key_id: str
    signature_hex: str
    deployment_seq: int
    envelope: str
    envelope_signature: str
    deployed_at: datetime
    deployed_by: str
    uploaded_by: str
    created_at: datetime


@attrs.frozen
class OlderCurrentRuleset(CurrentRuleset):
    """
    What runs in an environment, as older consoles answered.
    """

    tenant_id: UUID
