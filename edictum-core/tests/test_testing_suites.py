"""
Our own storage backends, sinks and approval backends pass the suites that we ask of others.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from backends import PlainBackend
from edictum import (
    ApprovalBackend,
    ApprovalRequest,
    AuditSink,
    CollectingAuditSink,
    CompositeSink,
    FileAuditSink,
    MemoryBackend,
    SqliteBackend,
    StdoutAuditSink,
    StorageBackend,
)
from edictum.testing import (
    ApprovalBackendSuite,
    AuditSinkSuite,
    AutoApprovalBackend,
    Faults,
    FaultyApprovalBackend,
    FaultyAuditSink,
    FaultyStorageBackend,
    StorageBackendSuite,
)
from test_local_approval import Terminal

# --- storage ----------------------------------------------------------------------------------------


class TestMemoryBackend(StorageBackendSuite):
    def make(self) -> StorageBackend:
        return MemoryBackend()


class TestPlainBackend(StorageBackendSuite):
    """
    A backend as third parties write it, with the reservations that a guard adds.
    """

    def make(self) -> StorageBackend:
        return PlainBackend()


class TestYieldingBackend(StorageBackendSuite):
    """
    The same, where every step lets other tasks run.
    """

    def make(self) -> StorageBackend:
        return PlainBackend(yields=True)


class TestFaultyBackend(StorageBackendSuite):
    """
    The wrapper that fails on purpose, while it works and while it does not.
    """

    def make(self) -> StorageBackend:
        self.faults = Faults()
        self.faults.armed = False
        return FaultyStorageBackend(MemoryBackend(), self.faults)

    def break_it(self, backend: StorageBackend) -> bool:
        self.faults.armed = True
        return True

    def repair(self, backend: StorageBackend) -> None:
        self.faults.armed = False


class TestSqliteBackend(StorageBackendSuite):
    fsync = False

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.path = tmp_path / "state.db"
        self.away = tmp_path / "away.db"

    def make(self) -> StorageBackend:
        return SqliteBackend(self.path, fsync=self.fsync)

    def another(self, backend: StorageBackend) -> StorageBackend:
        return SqliteBackend(self.path, fsync=self.fsync)

    def break_it(self, backend: StorageBackend) -> bool:
        if os.name != "posix":
            return False  # an open file cannot be moved
        self.path.rename(self.away)
        return True

    def repair(self, backend: StorageBackend) -> None:
        self.away.rename(self.path)


class TestWaitingSqliteBackend(TestSqliteBackend):
    """
    Steps run in a thread.
    """

    fsync = True


# --- sinks ------------------------------------------------------------------------------------------


class TestCollectingSink(AuditSinkSuite):
    def make(self) -> AuditSink:
        return CollectingAuditSink()

    def recorded(self, sink: Any) -> list[dict[str, Any]]:
        return [event.to_dict() for event in sink.events]


class TestCompositeSink(AuditSinkSuite):
    """
    What the last of three sinks gets, and what the composite makes of a failure of the first.
    """

    def make(self) -> AuditSink:
        self.faults = Faults()
        self.faults.armed = False
        self.last = CollectingAuditSink()
        return CompositeSink([FaultyAuditSink(CollectingAuditSink(), self.faults), CollectingAuditSink(), self.last])

    def recorded(self, sink: AuditSink) -> list[dict[str, Any]]:
        return [event.to_dict() for event in self.last.events]

    def break_it(self, sink: AuditSink) -> bool:
        self.faults.armed = True
        return True

    def repair(self, sink: AuditSink) -> None:
        self.faults.armed = False


def lines(text: str) -> Iterable[Mapping[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


class TestStdoutSink(AuditSinkSuite):
    @pytest.fixture(autouse=True)
    def _output(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.output = io.StringIO()

    def make(self) -> AuditSink:
        self.monkeypatch.setattr(sys, "stdout", self.output)
        return StdoutAuditSink()

    def recorded(self, sink: AuditSink) -> Iterable[Mapping[str, Any]]:
        return lines(self.output.getvalue())

    def break_it(self, sink: AuditSink) -> bool:
        self.monkeypatch.setattr(sys, "stdout", None)
        return True

    def repair(self, sink: AuditSink) -> None:
        self.monkeypatch.setattr(sys, "stdout", self.output)


class TestFileSink(AuditSinkSuite):
    fsync = False

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "log"
        self.away = tmp_path / "away"
        self.folder.mkdir()

    def make(self) -> AuditSink:
        return FileAuditSink(self.folder / "audit.jsonl", fsync=self.fsync)

    def recorded(self, sink: AuditSink) -> Iterable[Mapping[str, Any]]:
        return lines((self.folder / "audit.jsonl").read_text("utf-8"))

    def break_it(self, sink: AuditSink) -> bool:
        if os.name != "posix":
            return False  # a folder with an open file cannot be moved
        self.folder.rename(self.away)
        return True

    def repair(self, sink: AuditSink) -> None:
        self.away.rename(self.folder)


class TestWaitingFileSink(TestFileSink):
    """
    Lines are written in a thread.
    """

    fsync = True


class TestRotatingFileSink(TestFileSink):
    """
    Every few events begin a new file.
    """

    def make(self) -> AuditSink:
        return FileAuditSink(self.folder / "audit.jsonl", max_bytes=5_000, backups=1_000)

    def recorded(self, sink: AuditSink) -> Iterable[Mapping[str, Any]]:
        rotated = sorted(self.folder.glob("audit.jsonl.[0-9]*"), key=lambda path: -int(path.suffix[1:]))
        return [line for path in (*rotated, self.folder / "audit.jsonl") for line in lines(path.read_text("utf-8"))]


# --- approvals --------------------------------------------------------------------------------------


class TestScriptedApprovals(ApprovalBackendSuite):
    soon = 0.02

    def make(self) -> ApprovalBackend:
        return AutoApprovalBackend("pending")

    def answer(self, backend: Any, request: ApprovalRequest, approved: bool) -> None:
        backend.answer(request.approval_id, "approved" if approved else "denied")


class TestFaultyApprovals(ApprovalBackendSuite):
    """
    The wrapper that fails on purpose, while it works and while it does not.
    """

    soon = 0.02

    def make(self) -> ApprovalBackend:
        self.faults = Faults()
        self.faults.armed = False
        self.wrapped = AutoApprovalBackend("pending")
        return FaultyApprovalBackend(self.wrapped, self.faults)

    def answer(self, backend: ApprovalBackend, request: ApprovalRequest, approved: bool) -> None:
        self.wrapped.answer(request.approval_id, "approved" if approved else "denied")

    def break_it(self, backend: ApprovalBackend) -> bool:
        self.faults.armed = True
        return True

    def repair(self, backend: ApprovalBackend) -> None:
        self.faults.armed = False


class TestLocalApprovals(ApprovalBackendSuite):
    """
    A person at a terminal, who answers what is on screen.
    """

    # Also the time in which a prompt must appear before the suite lets its wait run out.
    soon = 0.5

    def make(self) -> ApprovalBackend:
        self.terminal = Terminal()
        return self.terminal.backend

    async def answer(self, backend: ApprovalBackend, request: ApprovalRequest, approved: bool) -> None:
        await asyncio.to_thread(self.terminal.screen.wait_for, f"(id: {request.approval_id}) ")
        self.terminal.type("y\n" if approved else "n\n")
        await asyncio.to_thread(self.terminal.wait_until_taken)

    def break_it(self, backend: ApprovalBackend) -> bool:
        def write(text: str) -> int:
            raise OSError("the terminal is gone")

        self.terminal.screen.write = write  # type: ignore[method-assign]
        return True

    def repair(self, backend: ApprovalBackend) -> None:
        del self.terminal.screen.write

    async def close(self, backend: ApprovalBackend) -> None:
        await asyncio.to_thread(self.terminal.close)
