"""
What there is in the demo: rulesets, agents, and the calls that these make.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import attrs

SUPPORT = "customer-support"
CODING = "coding-assistant"
PIPELINE = "data-pipeline"


@attrs.frozen
class Call:
    """
    A tool call that an agent makes now and then.

    Attributes:
        tool: The tool.
        args: Its arguments.
        result: What the tool returns.
        often: How often it is made, beside the others.
        fails: Whether the tool fails instead.
    """

    tool: str
    args: dict[str, Any]
    result: str = "done"
    often: int = 10
    fails: bool = False


@attrs.frozen
class DemoAgent:
    """
    An agent.

    Attributes:
        agent_id: What it calls itself.
        env: Where it runs.
        ruleset: What it runs.
        before: The version that it ran at the beginning of the week.
        now: The version that it runs since the middle of the week.
        sessions: How many sessions it has a day.
        client: What it is made with.
        tags: What it says that it is.
        user: On whose behalf it acts.
        workflow: Whether its sessions go through the stages of ``fix-a-bug``.
    """

    agent_id: str
    env: str
    ruleset: str
    before: int
    now: int
    sessions: int
    client: str
    tags: dict[str, str]
    user: str
    workflow: bool = False


AGENTS = (
    DemoAgent("support-1", "production", SUPPORT, 1, 2, 6, "edictum-client/0.1", {"team": "support"}, "customer-4711"),
    DemoAgent("support-2", "production", SUPPORT, 1, 2, 5, "edictum-client/0.1", {"team": "support"}, "customer-0815"),
    # Runs what was deployed before; the fleet shows it.
    DemoAgent("support-3", "production", SUPPORT, 1, 1, 3, "edictum/0.19", {"team": "support"}, "customer-1234"),
    DemoAgent("support-beta", "staging", SUPPORT, 2, 3, 3, "edictum-client/0.1", {"team": "support"}, "tester"),
    DemoAgent("assistant-ana", "development", CODING, 1, 2, 4, "edictum-client/0.1", {"team": "platform"}, "ana", True),
    DemoAgent("assistant-bo", "development", CODING, 1, 2, 3, "edictum-client/0.1", {"team": "platform"}, "bo"),
    DemoAgent("nightly-export", "staging", PIPELINE, 1, 1, 2, "edictum-client/0.1", {"team": "data"}, "scheduler"),
)

CALLS = {
    SUPPORT: (
        Call("find_orders", {"customer": "4711"}, "3 orders", 30),
        Call("read_ticket", {"ticket": 2201}, "The parcel did not arrive.", 30),
        Call("read_ticket", {"ticket": 2207}, "My key is AKIAIOSFODNN7EXAMPLE, why does it fail?", 3),
        Call("send_mail", {"to": "customer", "body": "Your order is on its way."}, often=20),
        Call("send_mail", {"to": "customer", "body": "You paid by 4111 1111 1111 1111."}, often=3),
        Call("refund", {"order": "A-1001", "amount": 30}, often=8),
        Call("refund", {"order": "A-1002", "amount": 180}, often=6),
        Call("refund", {"order": "A-1003", "amount": 2400}, often=3),
        Call("find_orders", {"customer": "0"}, "the order service did not answer", 3, fails=True),
    ),
    CODING: (
        Call("read_file", {"path": "README.md"}, "# Shop", 25),
        Call("read_file", {"path": "src/cart.py"}, "def total(): ...", 25),
        Call("read_file", {"path": ".env"}, "", 3),
        Call("write_file", {"path": "src/cart.py", "content": "def total(): return 0"}, often=15),
        Call("bash", {"command": "pytest -q"}, "12 passed", 12),
        Call("bash", {"command": "pytest -q tests/slow"}, "2 failed", 3, fails=True),
        Call("bash", {"command": "rm -rf build"}, often=3),
        Call("bash", {"command": "git push origin main"}, often=4),
    ),
    PIPELINE: (
        Call("run_query", {"statement": "INSERT INTO daily SELECT * FROM raw"}, "20000 rows", 20),
        Call("run_query", {"statement": "DROP TABLE daily_old"}, often=3),
        Call("export_table", {"table": "daily", "target": "s3://warehouse-eu/daily"}, "1 file", 10),
        Call("export_table", {"table": "daily", "target": "s3://partner-drop/daily"}, "1 file", 2),
    ),
}


def text_of(ruleset: str, version: int) -> str:
    """
    The text of a ruleset's version.
    """
    return _text(f"{ruleset}.{version}.yaml")


def workflow_text() -> str:
    """
    The stages of ``fix-a-bug``.
    """
    return _text("fix-a-bug.workflow.yaml")


def _text(name: str) -> str:
    return files("edictum_console.demo").joinpath("rulesets", name).read_text("utf-8")
