"""
Bodies about API keys.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import attrs
from msgspec import Meta

from edictum_console.http.bodies import Identifier, Label
from edictum_console.security.actor import KeyScope

AgentPattern = Annotated[str, Meta(min_length=1, max_length=128)]


@attrs.frozen
class ApiKey:
    """
    An API key, without its secret part.

    Attributes:
        id: Its id.
        prefix: The part of it that is no secret.
        env: The environment that it is for.
        label: What people call it.
        scopes: What it may do.
        agent_pattern: Which agent ids may use it, with * and ?; null for any.
        created_at: When it was made.
        created_by: By whom.
        last_used_at: When it was last used, to the minute.
        expires_at: When it ends by itself.
        revoked_at: When it was ended.
        signing_key_id: The signing key that its agents verify with; null for the one that signs.
    """

    id: UUID
    prefix: str
    env: str
    label: str
    scopes: list[KeyScope]
    agent_pattern: str | None
    created_at: datetime
    created_by: str
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    signing_key_id: str | None


@attrs.frozen
class CreatedKey:
    """
    A new API key.

    Attributes:
        key: The whole key, which is shown this once.
        api_key: The rest.
    """

    key: str
    api_key: ApiKey


@attrs.frozen
class ApiKeys:
    """
    Some API keys, newest first.
    """

    api_keys: list[ApiKey]
    next_cursor: str | None


@attrs.frozen
class BoundKey:
    """
    An API key whose agents verify with a certain signing key.

    Attributes:
        prefix: The part of it that is no secret.
        label: What people call it.
        env: The environment that it is for.
    """

    prefix: str
    label: str
    env: str


@attrs.frozen
class NewKey:
    """
    An API key to be made.
    """

    env: Identifier
    label: Label = ""
    scopes: list[KeyScope] = attrs.field(factory=lambda: [KeyScope.AGENT])
    agent_pattern: AgentPattern | None = None
    expires_at: datetime | None = None


@attrs.frozen
class KeyChange:
    """
    What changes of an API key; what is not named stays.  An empty ``signing_key_id`` binds it to none.
    """

    label: Label | None = None
    signing_key_id: Annotated[str, Meta(max_length=64)] | None = None


@attrs.frozen
class Rotation:
    """
    How long the old key still works beside the new one.
    """

    grace_seconds: Annotated[int, Meta(ge=0, le=30 * 86_400)] = 86_400
