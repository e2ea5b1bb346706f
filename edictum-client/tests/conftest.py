"""
A console for the tests of a module, and what they need to talk to it; and what property tests try: the same examples on
every run, or with ``--hypothesis-profile=long`` many others each time.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from consoles import Console, running
from hypothesis import settings

# Without a deadline: how long an example takes depends on what else the machine does.
settings.register_profile("default", max_examples=100, deadline=None, derandomize=True)
settings.register_profile("long", max_examples=10_000, deadline=None)
settings.load_profile("default")


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """
    A console on SQLite, in a process of its own.
    """
    with running(tmp_path_factory.mktemp("console")) as console:
        yield console


@pytest.fixture(scope="module")
def key(console: Console) -> str:
    """
    An API key for the environment "production".
    """
    return console.key()


@pytest.fixture
def agent_id() -> str:
    """
    The name of an agent that nobody used before.
    """
    return f"agent-{secrets.token_hex(6)}"


@pytest.fixture
def name() -> str:
    """
    The name of a ruleset that nobody used before.
    """
    return f"rules-{secrets.token_hex(6)}"


@pytest.fixture
def options(console: Console, key: str, agent_id: str) -> dict[str, Any]:
    """
    What a guard needs to be connected.
    """
    return {"url": console.address, "api_key": key, "agent_id": agent_id}
