"""
Bodies about a tenant's settings.
"""

from __future__ import annotations

from typing import Annotated

import attrs
from msgspec import Meta


@attrs.frozen
class TenantSettings:
    """
    What a tenant decides for itself.

    Attributes:
        name: What the tenant is called.
        timeout_may_allow: Whether a request for approval that nobody answered may let the call pass, where its rule
            says so; if not, it is denied, as it always is in a protected environment.
    """

    name: str
    timeout_may_allow: bool = True


@attrs.frozen
class SettingsChange:
    """
    What changes of a tenant's settings; what is not named stays.
    """

    name: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    timeout_may_allow: bool | None = None
