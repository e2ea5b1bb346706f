"""
Who makes a request, and what that allows.
"""

from __future__ import annotations

from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TypeAlias
from uuid import UUID

import attrs


class Role(StrEnum):
    """
    What a person may do; each includes the ones before.
    """

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """
        Whether this role may do what the other one may.
        """
        roles = list(Role)
        return roles.index(self) >= roles.index(other)


class KeyScope(StrEnum):
    """
    What an API key may do; none includes another.
    """

    AGENT = "agent"
    EVENTS_READ = "events:read"
    APPROVALS_DECIDE = "approvals:decide"
    DEPLOY = "deploy"
    ADMIN_READ = "admin:read"


@attrs.frozen
class KeyActor:
    """
    An agent or script, by its API key.

    Attributes:
        tenant_id: The key's tenant.
        key_id: The key.
        prefix: The part of the key that is no secret.
        env: The environment that the key is for.
        scopes: What it may do.
        agent_pattern: Which agent ids it may name; None for any.
        agent_id: The agent id that the request names; a claim unless there is a pattern.
        signing_key_id: The signing key that the key's agents verify with; None for the one that signs.
    """

    tenant_id: UUID
    key_id: UUID
    prefix: str
    env: str
    scopes: frozenset[KeyScope]
    agent_pattern: str | None
    agent_id: str | None
    signing_key_id: str | None = None

    def may_be(self, agent_id: str) -> bool:
        """
        Whether the key is for an agent.
        """
        return self.agent_pattern is None or fnmatchcase(agent_id, self.agent_pattern)

    @property
    def agent(self) -> str:
        """
        The agent id that the request names, or one that stands for the key.
        """
        return self.agent_id or f"key-{self.key_id}"

    @property
    def name(self) -> str:
        """
        How it is called in records.
        """
        return f"key:{self.prefix}"


@attrs.frozen
class PersonActor:
    """
    A person who is signed in.

    Attributes:
        tenant_id: The person's tenant.
        user_id: The person.
        email: Their e-mail address.
        role: What they may do.
        token: The login's token, from the cookie; empty for a script.
        script_id: The script's token, where it is no login.
    """

    tenant_id: UUID
    user_id: UUID
    email: str
    role: Role
    token: str = attrs.field(repr=False)
    script_id: UUID | None = None

    @property
    def name(self) -> str:
        """
        How they are called in records.
        """
        return self.email


@attrs.frozen
class Anonymous:
    """
    Nobody that is known.
    """


@attrs.frozen
class ChatActor:
    """
    Somebody in a channel of notifications whom the console does not know as one of its people.

    Attributes:
        tenant_id: The tenant of the channel.
        provider: Whose chat it is.
        external_user_id: What the provider calls them.
    """

    tenant_id: UUID
    provider: str
    external_user_id: str

    @property
    def name(self) -> str:
        """
        How they are called in records.
        """
        return f"{self.provider}:{self.external_user_id} (unverified)"


@attrs.frozen
class CommandActor:
    """
    Whoever runs a command on the machine of the console.

    They can read its secrets and write its database, so there is nothing that they may not do.
    """

    @property
    def name(self) -> str:
        """
        How they are called in records; no address of a person is written like this.
        """
        return "command line"


Actor: TypeAlias = KeyActor | PersonActor | Anonymous
