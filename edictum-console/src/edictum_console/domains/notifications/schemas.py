"""
Bodies about channels of notifications.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar
from uuid import UUID

import attrs
from msgspec import Meta

from edictum_console.domains.notifications.configs import ChannelType
from edictum_console.http.bodies import Identifier

Name = Annotated[str, Meta(min_length=1, max_length=255)]
Pattern = Annotated[str, Meta(min_length=1, max_length=128)]
RuleName = Annotated[str, Meta(min_length=1, max_length=255)]
ExternalUser = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$(?!\n)", max_length=64)]


class Kind(StrEnum):
    """
    What people are told.
    """

    APPROVAL_REQUESTED = "approval_requested"
    APPROVAL_DECIDED = "approval_decided"
    APPROVAL_TIMEOUT = "approval_timeout"


class DeliveryStatus(StrEnum):
    """
    What became of a message: it waits, was sent, failed for good, or is not needed any more.
    """

    WAITING = "waiting"
    SENT = "sent"
    FAILED = "failed"
    DROPPED = "dropped"


@attrs.frozen
class Filters:
    """
    What a channel is told: everything, where nothing is named; else what matches all that is named.

    Attributes:
        environments: In one of these environments.
        agent_patterns: By an agent whose id matches one of these, with * and ?.
        rule_names: Because of one of these rules.
        contract_names: The older name of ``rule_names``.
        kinds: One of these.
    """

    environments: Annotated[list[Identifier], Meta(max_length=100)] = attrs.field(factory=list)
    agent_patterns: Annotated[list[Pattern], Meta(max_length=100)] = attrs.field(factory=list)
    rule_names: Annotated[list[RuleName], Meta(max_length=100)] = attrs.field(factory=list)
    contract_names: Annotated[list[RuleName], Meta(max_length=100)] = attrs.field(factory=list)
    kinds: list[Kind] = attrs.field(factory=list)


@attrs.frozen
class NewChannel:
    """
    A channel to be added.

    Attributes:
        name: What people call it.
        type: Where it leads.
        config: How it is reached, which depends on the type; the README lists the fields.
        filters: What it is told.
        enabled: Whether it is used.
    """

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "name": "on call",
        "type": "webhook",
        "config": {"url": "https://hooks.example.com/edictum", "secret": "at-least-16-characters"},
        "filters": {"environments": ["production"], "kinds": ["approval_requested"]},
    }

    name: Name
    type: ChannelType
    config: dict[str, Any]
    filters: Filters = attrs.field(factory=Filters)
    enabled: bool = True


@attrs.frozen
class ChangedChannel:
    """
    A channel as it is to be.  A secret that ``config`` does not name, or names as it is shown, stays as it is.
    """

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "name": "on call",
        "config": {"url": "https://hooks.example.com/edictum"},
        "filters": {"agent_patterns": ["docs-*"]},
        "enabled": True,
    }

    name: Name
    config: dict[str, Any]
    filters: Filters = attrs.field(factory=Filters)
    enabled: bool = True


@attrs.frozen
class Channel:
    """
    A channel.

    Attributes:
        id: Its id.
        name: What people call it.
        type: Where it leads.
        config: How it is reached; secrets are hidden.
        filters: What it is told.
        enabled: Whether it is used.
        disabled_reason: Why the console stopped using it.
        failure_count: How many attempts failed since the last that did not.
        last_test_at: When it was last tried out.
        last_test_ok: Whether that worked.
        callback_url: Where presses of buttons are to be sent; null where there are no buttons.
        created_at: When it was added.
        created_by: By whom.
    """

    id: UUID
    name: str
    type: ChannelType
    config: dict[str, Any]
    filters: Filters
    enabled: bool
    disabled_reason: str | None
    failure_count: int
    last_test_at: datetime | None
    last_test_ok: bool | None
    callback_url: str | None
    created_at: datetime
    created_by: str


@attrs.frozen
class Channels:
    """
    All channels, by name.
    """

    channels: list[Channel]


@attrs.frozen
class Tried:
    """
    Whether a test message went out, and if not, why.
    """

    ok: bool
    error: str | None


@attrs.frozen
class Delivery:
    """
    A message to a channel.

    Attributes:
        id: Its id.
        kind: What it tells.
        approval_id: The request that it is about.
        edit: Whether it changes a message that was sent before.
        status: What became of it.
        attempts: How often it was tried.
        next_at: When it is tried next, while it waits.
        sent_at: When it was sent.
        error: Why the last attempt failed.
        created_at: Since when it is there.
    """

    id: UUID
    kind: Kind
    approval_id: UUID
    edit: bool
    status: DeliveryStatus
    attempts: int
    next_at: datetime | None
    sent_at: datetime | None
    error: str | None
    created_at: datetime


@attrs.frozen
class Deliveries:
    """
    Some messages, newest first.
    """

    deliveries: list[Delivery]
    next_cursor: str | None


@attrs.frozen
class NewIdentity:
    """
    Says which person of the console somebody in a channel is.

    Attributes:
        external_user_id: What the channel's provider calls them: an id, never a name that people choose.
        user_id: The person.
    """

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "external_user_id": "U024BE7LH",
        "user_id": "018f4e5a-0000-7000-8000-000000000000",
    }

    external_user_id: ExternalUser
    user_id: UUID


@attrs.frozen
class Identity:
    """
    Somebody in a channel who is a person of the console.
    """

    id: UUID
    external_user_id: str
    user_id: UUID
    created_at: datetime
    created_by: str


@attrs.frozen
class Identities:
    """
    Everybody in a channel who is a person of the console.
    """

    identities: list[Identity]
