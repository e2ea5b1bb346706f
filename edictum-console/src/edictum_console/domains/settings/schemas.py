"""
Bodies about a tenant's settings.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import attrs
from msgspec import Meta

from edictum_console.domains.accounts.schemas import Password

Days = Annotated[int, Meta(ge=1, le=3650)]


class NotifyArgs(StrEnum):
    """
    How much of a tool's arguments leaves the console in notifications.

    ``none``, the names only, all but what looks like a secret, or what the agent sent.
    """

    NONE = "none"
    KEYS = "keys"
    REDACTED = "redacted"
    FULL = "full"


@attrs.frozen
class TenantSettings:
    """
    What a tenant decides for itself.

    Attributes:
        name: What the tenant is called.
        timeout_may_allow: Whether a request for approval that nobody answered may let the call pass, where its rule
            says so; if not, it is denied, as it always is in a protected environment.
        event_retention_days: How long events are kept, where their environment says nothing else.
        rules_override_client: Whether an assignment rule that matches goes before the ruleset that an agent asks for.
        notify_args: How much of a tool's arguments leaves the console in notifications.
    """

    name: str
    timeout_may_allow: bool = True
    event_retention_days: int = 90
    rules_override_client: bool = False
    notify_args: NotifyArgs = attrs.field(default=NotifyArgs.REDACTED, converter=NotifyArgs)


@attrs.frozen
class SettingsChange:
    """
    What changes of a tenant's settings; what is not named stays.
    """

    name: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    timeout_may_allow: bool | None = None
    event_retention_days: Days | None = None
    rules_override_client: bool | None = None
    notify_args: NotifyArgs | None = None


@attrs.frozen
class Confirmation:
    """
    The own password once more, for what cannot be undone.
    """

    password: Password


@attrs.frozen
class Purged:
    """
    How many events were removed; all that happened before the cutoff, which is the beginning of a day.
    """

    deleted_count: int
    cutoff: datetime
