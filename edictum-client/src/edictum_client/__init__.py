"""
Connects guards with a console: rulesets, shared limits, approvals, and the decision log.

    from edictum import Edictum

    guard = await Edictum.from_server("https://console.example.com", api_key, "billing-agent")

The parts below can be used one by one with a guard that is made in another way; ``edictum.server`` has the same names.
"""

from edictum_client.approvals import ServerApprovalBackend
from edictum_client.client import EdictumServerClient, __version__
from edictum_client.errors import (
    BufferFullError,
    BundleVerificationError,
    EdictumServerError,
    ForkedError,
    ServerProtocolError,
    ServerRefusedError,
    ServerUnreachableError,
)
from edictum_client.events import ServerAuditSink
from edictum_client.sessions import ServerBackend
from edictum_client.source import ServerContractSource
from edictum_client.verification import verify_bundle_signature

__all__ = [
    "BufferFullError",
    "BundleVerificationError",
    "EdictumServerClient",
    "EdictumServerError",
    "ForkedError",
    "ServerApprovalBackend",
    "ServerAuditSink",
    "ServerBackend",
    "ServerContractSource",
    "ServerProtocolError",
    "ServerRefusedError",
    "ServerUnreachableError",
    "__version__",
    "verify_bundle_signature",
]
