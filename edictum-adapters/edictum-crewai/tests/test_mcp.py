"""
Tools of an MCP server, which the user never sees, are in the net.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from crewai import Crew
from crewai.mcp import MCPServerStdio
from crews import REASON, actions, agent_of, guard_of, no_secrets, task_of
from edictum_crewai import CrewAIAdapter
from edictum_crewai.scripted import ScriptedLLM, use

SERVER = Path(__file__).with_name("mcp_server.py")


class OneTool(ScriptedLLM):
    """
    Calls the only tool that it is told of, whose name CrewAI makes up.
    """

    def call(self, messages: Any, tools: Any = None, *args: Any, **options: Any) -> Any:
        if not self.requests:
            (tool,) = tools
            self._script[:] = [[use(tool["function"]["name"], path=path)] for path in ("secret.txt", "a.txt")]
        return super().call(messages, tools, *args, **options)


def test_tool_of_an_mcp_server_is_in_the_net(tmp_path: Path) -> None:
    ran = tmp_path / "ran.txt"
    guard = guard_of(no_secrets("*"))
    llm = OneTool.of()
    server = MCPServerStdio(command=sys.executable, args=[str(SERVER)], env={**os.environ, "RAN": str(ran)})
    agent = agent_of(llm, mcps=[server])
    with CrewAIAdapter(guard).register():
        Crew(agents=[agent], tasks=[task_of(agent)], verbose=False).kickoff()
    assert ran.read_text().split() == ["a.txt"]
    assert REASON in llm.results()[0]
    assert llm.results()[1] == "text of a.txt"
    assert actions(guard) == ["call_denied", "call_allowed", "call_executed"]
