"""
Parts for tests of programs that use edictum, and of parts that extend it.

* :mod:`edictum.testing.approval`: approvals that answer from a script
* :mod:`edictum.testing.clocks`: clocks that a test sets, or that are broken
* :mod:`edictum.testing.faults`: storage backends, sinks and approval backends that fail on purpose
* :mod:`edictum.testing.strategies`: generators of rulesets and calls for hypothesis (extra ``testing``)
* :mod:`edictum.testing.suites`: the tests that a storage backend, sink, approval backend or adapter must pass
* :mod:`edictum.testing.running`: coroutines at once, within a time limit, and in several threads
* :mod:`edictum.testing.conformance`: the fixtures that all implementations share, run with ``python -m``

The names below can be imported from here; each is loaded when it is asked for.
"""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:
    from edictum.testing.approval import AutoApprovalBackend, ScriptedApprovalBackend
    from edictum.testing.clocks import BrokenClock, ManualClock
    from edictum.testing.faults import Faults, FaultyApprovalBackend, FaultyAuditSink, FaultyStorageBackend
    from edictum.testing.suites import AdapterSuite, ApprovalBackendSuite, AuditSinkSuite, StorageBackendSuite

__all__ = [
    "AdapterSuite",
    "ApprovalBackendSuite",
    "AuditSinkSuite",
    "AutoApprovalBackend",
    "BrokenClock",
    "Faults",
    "FaultyApprovalBackend",
    "FaultyAuditSink",
    "FaultyStorageBackend",
    "ManualClock",
    "ScriptedApprovalBackend",
    "StorageBackendSuite",
]

_ON_DEMAND = {
    "AdapterSuite": "suites",
    "ApprovalBackendSuite": "suites",
    "AuditSinkSuite": "suites",
    "AutoApprovalBackend": "approval",
    "BrokenClock": "clocks",
    "Faults": "faults",
    "FaultyApprovalBackend": "faults",
    "FaultyAuditSink": "faults",
    "FaultyStorageBackend": "faults",
    "ManualClock": "clocks",
    "ScriptedApprovalBackend": "approval",
    "StorageBackendSuite": "suites",
}


def __getattr__(name: str) -> object:
    if name in _ON_DEMAND:
        from importlib import import_module

        return getattr(import_module(f"edictum.testing.{_ON_DEMAND[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
