"""
The examples of the README run as they are printed.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from crewai import Agent
from crews import agent_of, events_of, guard_of, reader, rule, script_of
from edictum import Principal
from edictum_crewai import CrewAIAdapter, scripted

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
RULES = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_first_example_governs_an_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.yaml").write_text(RULES[0])
    ran: list[str] = []
    llm = script_of(".env", "a.txt")
    handles: list[Any] = []
    register = CrewAIAdapter.register
    monkeypatch.setattr(CrewAIAdapter, "register", lambda self: handles.append(register(self)))
    names: dict[str, Any] = {"Agent": Agent, "llm": llm, "tools": [reader(ran)]}
    assert len([line for line in EXAMPLES[0].splitlines() if line]) <= 5
    exec(EXAMPLES[0], names)
    try:
        names["agent"].kickoff("Begin.")
    finally:
        handles[0].unregister()
    assert ran == ["a.txt"]
    assert ".env holds secrets. Go on without it." in llm.results()[0]
    assert {event.metadata["caller"] for event in events_of(names["adapter"].guard)} == {"reader"}


def test_second_example_tells_on_whose_behalf() -> None:
    from crewai import Crew
    from crews import task_of

    guard = guard_of()
    names: dict[str, Any] = {"Principal": Principal, "CrewAIAdapter": CrewAIAdapter, "guard": guard}
    exec(EXAMPLES[1], names)
    agent = agent_of(script_of("a.txt"), *names["adapter"].wrap_tools([reader([])]))
    with names["adapter"].scope():
        Crew(agents=[agent], tasks=[task_of(agent)], name="ann", verbose=False).kickoff()
    assert [(event.principal or {})["user_id"] for event in events_of(guard)] == ["ann", "ann"]


def test_example_of_the_scripted_model_works() -> None:
    assert scripted.__doc__ is not None
    (example,) = re.findall(r"\n\n((?:    .*\n)+)", scripted.__doc__)
    ran: list[str] = []
    exists = {"args.path": {"exists": True}}
    names: dict[str, Any] = {
        "Agent": Agent,
        "ScriptedLLM": scripted.ScriptedLLM,
        "use": scripted.use,
        "adapter": CrewAIAdapter(guard_of(rule("no-files", "*", exists, message="Reading is forbidden."))),
        "read_file": reader(ran),
    }
    exec(re.sub("^    ", "", example, flags=re.MULTILINE), names)
    assert ran == []


def test_example_of_the_repository_runs() -> None:
    script = Path(__file__).parents[3] / "examples" / "crewai_crew" / "crew.py"
    if not script.is_file():
        pytest.skip("the examples are in the repository only")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=110)
    assert (done.returncode, "All decisions were the expected ones." in done.stdout) == (0, True), done.stdout
