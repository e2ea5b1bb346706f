"""
An agent under control: it writes a newsletter from real files, in a temporary folder, under ``ruleset.yaml``.

    pip install edictum-langchain "edictum-core[yaml]"
    python examples/langchain_agent/run.py

The model is a script (``script.py``), so no key and no network are needed; for a real one change the line in ``main``.
Exit code 1: a decision was not the expected one, a file outside changed, or a secret reached the model or the log.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Any

from edictum import AuditEvent, Edictum, FileAuditSink
from edictum_langchain import EdictumMiddleware, InterruptApprovalBackend
from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from script import CALLS, NEWSLETTER, ScriptedModel, scripted_model
from workspace import TOOLS, make_folder

HERE = Path(__file__).parent
TASK = "Write the newsletter for May from the files here, and publish it as published/may.txt."


def run(model: Any, guard: Edictum) -> list[Any]:
    """
    Let the agent work until it is done; whoever it asks on the way says yes.

    Returns:
        All messages.
    """
    middleware = EdictumMiddleware(guard)
    middleware.self_test()  # an agent that is not guarded must not start
    agent = create_agent(model, TOOLS, middleware=[middleware], checkpointer=InMemorySaver(), name="editor")
    config = {"configurable": {"thread_id": "newsletter-may"}}
    state = agent.invoke({"messages": [("user", TASK)]}, config)
    while waiting := state.get("__interrupt__"):
        for question in waiting:
            print(f"--  {question.value['message']}  yes")
        answers = {question.id: {"approved": True, "approver": "you"} for question in waiting}
        state = agent.invoke(Command(resume=answers), config)
    messages: list[Any] = state["messages"]
    return messages


def show(messages: list[Any], events: list[AuditEvent]) -> list[str]:
    """
    Print what became of each call, and return it.
    """
    found = []
    calls = [call for message in messages for call in getattr(message, "tool_calls", ())]
    results = {message.tool_call_id: str(message.content) for message in messages if message.type == "tool"}
    for number, call in enumerate(calls, start=1):
        found.append(explain([event for event in events if event.call_id == call["id"]]))
        what = f"{call['name']} {call['args'].get('path', '')}"
        text = " ".join(results[call["id"]].split())
        print(f"{number:>2}  {what:<30}  {found[-1]:<34}  {text if len(text) <= 90 else text[:87] + '...'}")
    return found


def explain(events: list[AuditEvent]) -> str:
    """
    Read from the events of one call what became of it.
    """
    for event in events:
        if event.action == "call_denied":
            return f"blocked by {event.decision_name}"
        if event.action == "call_approval_granted":
            return f"approved by {event.decision_name}"
    broken = [record["name"] for record in events[-1].contracts_evaluated if not record["passed"]]
    return "allowed" + (f", masked by {broken[0]}" if broken else "")


def main() -> int:
    """
    Make the folder, run the agent there, look at what happened.
    """
    # For a real model: pip install langchain-anthropic, set its key, and write
    # model = init_chat_model("anthropic:claude-sonnet-4-5"), from langchain.chat_models.
    model = scripted_model()

    with tempfile.TemporaryDirectory(prefix="edictum-example-") as name:
        folder = Path(name).resolve()
        token = make_folder(folder)
        log = folder / "decisions.jsonl"
        with contextlib.chdir(folder / "project"):  # where an agent is started, and what "within: [.]" means
            guard = Edictum.from_yaml(
                HERE / "ruleset.yaml",
                approval_backend=InterruptApprovalBackend(),
                audit_sink=FileAuditSink(log),
            )
            messages = run(model, guard)
        found = show(messages, guard.local_sink.events)
        problems = []
        if token in str(messages) or token in log.read_text():
            problems.append("a secret was seen")
        if (folder / "diary.txt").read_text() != "not yours\n":
            problems.append("a file outside changed")
        if isinstance(model, ScriptedModel):
            if found != [expected for _, _, expected in CALLS]:
                problems.append("a decision was not the expected one")
            published = folder / "project" / "published" / "may.txt"
            if not published.is_file() or published.read_text() != NEWSLETTER:
                problems.append("the newsletter was not published")
    print("\n".join(f"WRONG: {problem}" for problem in problems) or "All decisions were the expected ones.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
