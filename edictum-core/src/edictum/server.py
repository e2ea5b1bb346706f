"""
The parts that connect a guard with a console, from the package ``edictum-client``.

Most programs need none of them: :meth:`edictum.Edictum.from_server` puts them together.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from edictum.errors import EdictumConfigError

if TYPE_CHECKING:
    from edictum_client import (
        BundleVerificationError,
        EdictumServerClient,
        EdictumServerError,
        ServerApprovalBackend,
        ServerAuditSink,
        ServerBackend,
        ServerContractSource,
        verify_bundle_signature,
    )

__all__ = [
    "BundleVerificationError",
    "EdictumServerClient",
    "EdictumServerError",
    "ServerApprovalBackend",
    "ServerAuditSink",
    "ServerBackend",
    "ServerContractSource",
    "verify_bundle_signature",
]

MISSING = "a console needs the package edictum-client: pip install 'edictum-core[server]'"


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    connecting()
    return getattr(sys.modules["edictum_client"], name)


def connecting() -> Any:
    """
    The module of the client that makes guards.

    Raises:
        EdictumConfigError: It is not installed.
    """
    try:
        connection = importlib.import_module("edictum_client.connection")
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("edictum_client"):
            raise
        raise EdictumConfigError(MISSING) from None
    return connection
