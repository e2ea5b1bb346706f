"""
Parts for tests of programs that use edictum; the shared fixtures run with ``python -m edictum.testing.conformance``.
"""

from __future__ import annotations

# Nothing here imports ``edictum.testing.conformance``: running it with ``-m`` would then load it twice.
from edictum.testing.approval import AutoApprovalBackend

__all__ = ["AutoApprovalBackend"]
