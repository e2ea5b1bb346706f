"""
The tests that a storage backend, an audit sink, an approval backend or an adapter of your own must pass.

Derive a test class from the suite and make the part to test.  The rest is inherited::

    import unittest
    from edictum.testing.suites import StorageBackendSuite
    from mine import RedisBackend

    class TestRedisBackend(StorageBackendSuite, unittest.TestCase):
        def make(self):
            return RedisBackend("redis://localhost/1")
        def another(self, backend):
            return RedisBackend("redis://localhost/1")

pytest and unittest both find it; for pytest alone ``unittest.TestCase`` can be left out, and then fixtures may be used.
Tests are plain functions that run an event loop of their own, so no plugin is needed.  Parts of a protocol that are
optional are tested where they exist; what was skipped, and why, is shown by ``pytest -rs``.

:class:`AdapterSuite` is for pytest alone, which runs each of its tests with each entry of the framework.
"""

from edictum.testing.suites.adapter import AdapterSuite
from edictum.testing.suites.approval import ApprovalBackendSuite
from edictum.testing.suites.sink import AuditSinkSuite
from edictum.testing.suites.storage import StorageBackendSuite

__all__ = ["AdapterSuite", "ApprovalBackendSuite", "AuditSinkSuite", "StorageBackendSuite"]
