"""
The examples of the README run as they are printed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from agents import Model, call, guard_of, rule
from edictum import Edictum, Principal
from edictum_langchain import EdictumMiddleware, InterruptApprovalBackend
from edictum_langchain.scripted import ScriptedModel
from langchain.agents import create_agent
from langchain.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
RULES = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@tool
def read_file(path: str) -> str:
    """Read a file."""
    raise AssertionError(f"{path} was read")


@tool
def send(to: str) -> str:
    """Send a letter."""
    return f"sent to {to}"


@pytest.fixture(autouse=True)
def _rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.yaml").write_text(RULES[0])


def test_first_example_governs_an_agent() -> None:
    model = Model([call(1, "read_file", path=".env")])
    names: dict[str, Any] = {
        "create_agent": create_agent,
        "model": ScriptedModel(model.answer),
        "tools": [read_file],
    }
    assert len([line for line in EXAMPLES[0].splitlines() if line]) <= 5
    exec(EXAMPLES[0], names)
    names["agent"].invoke({"messages": "go"})
    assert ".env holds secrets. Go on without it." in model.results[0].content


def test_second_example_tells_on_whose_behalf() -> None:
    names: dict[str, Any] = {"Principal": Principal, "EdictumMiddleware": EdictumMiddleware, "guard": guard_of()}
    exec(EXAMPLES[1], names)
    middleware = eval(EXAMPLES[1].strip().splitlines()[-1], names)
    agent = create_agent(
        ScriptedModel(Model([call(1, "send", to="bob")]).answer), [send], middleware=[middleware], context_schema=dict
    )
    agent.invoke({"messages": "go"}, context={"user": "ann"})
    assert [(event.principal or {})["user_id"] for event in names["guard"].local_sink.events] == ["ann", "ann"]


def test_third_example_pauses_and_goes_on() -> None:
    model = Model([call(1, "send", to="bob")])
    asking = guard_of(rule("ask", "send"), approval_backend=InterruptApprovalBackend())

    class Rules(Edictum):
        @classmethod
        def from_yaml(cls, path: str, **options: Any) -> Any:
            assert isinstance(options["approval_backend"], InterruptApprovalBackend)
            return asking

    names: dict[str, Any] = {
        "Edictum": Rules,
        "EdictumMiddleware": EdictumMiddleware,
        "InterruptApprovalBackend": InterruptApprovalBackend,
        "InMemorySaver": InMemorySaver,
        "Command": Command,
        "create_agent": create_agent,
        "model": ScriptedModel(model.answer),
        "tools": [send],
        "config": {"configurable": {"thread_id": "1"}},
    }
    exec(EXAMPLES[2], names)
    assert model.results[0].content == "sent to bob"
    assert names["state"]["__interrupt__"][0].value["tool"] == "send"
