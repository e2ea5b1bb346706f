"""
CrewAI without a network: what it would report to others is off, and a connection to anywhere else fails.
"""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from typing import Any

os.environ.update(
    CREWAI_DISABLE_TELEMETRY="true",
    CREWAI_DISABLE_TRACKING="true",
    CREWAI_DISABLE_VERSION_CHECK="true",
    CREWAI_TESTING="true",
    CREWAI_TRACING_ENABLED="false",
    OTEL_SDK_DISABLED="true",
    CREWAI_STORAGE_DIR=tempfile.mkdtemp(prefix="edictum-crewai-"),
)

import pytest
from crewai.events.event_bus import crewai_event_bus
from crewai.hooks import get_after_tool_call_hooks, get_before_tool_call_hooks
from edictum_crewai._net import _passages
from edictum_crewai._tools import innermost

atexit.register(shutil.rmtree, os.environ["CREWAI_STORAGE_DIR"], ignore_errors=True)
_connect = socket.socket.connect


def _loopback_only(self: socket.socket, address: Any) -> None:
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise AssertionError(f"a test tried to reach {address!r}")
    _connect(self, address)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", _loopback_only)


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    yield
    crewai_event_bus.flush()
    assert get_before_tool_call_hooks() == []
    assert get_after_tool_call_hooks() == []
    if _passages.get():
        gc.collect()  # some releases leave blocked calls, which go with their frames
    assert [passage for passage in _passages.get() if passage.call is not None and passage.before() is not None] == []
    assert innermost() is None
