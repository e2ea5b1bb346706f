"""
A model that needs no key and no network: it says what is written here, whatever it is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

NEWSLETTER = "Prices are now shown in euros. Version 7 is live.\n"
# What the model asks for, and what must become of it.
CALLS: list[tuple[str, dict[str, Any], str]] = [
    ("list_files", {}, "allowed"),
    ("read_file", {"path": "notes.txt"}, "allowed"),
    ("read_file", {"path": ".env"}, "blocked by no-secret-files"),
    ("read_file", {"path": "deploy.log"}, "allowed, masked by mask-tokens"),
    ("read_file", {"path": "../diary.txt"}, "blocked by stay-in-folder"),
    ("write_file", {"path": "../diary.txt", "text": "mine"}, "blocked by stay-in-folder"),
    ("write_file", {"path": "drafts/may.txt", "text": NEWSLETTER}, "allowed"),
    ("write_file", {"path": "published/may.txt", "text": NEWSLETTER}, "approved by ask-before-publishing"),
]


class ScriptedModel(GenericFakeChatModel):
    """
    A model for :func:`langchain.agents.create_agent`.
    """

    def bind_tools(self, tools: Sequence[Any], **options: Any) -> Any:
        """
        The script knows its tools.
        """
        return self


def scripted_model() -> ScriptedModel:
    """
    Make the model; one call at a turn, then the answer.
    """
    turns = [
        AIMessage("", tool_calls=[{"name": name, "args": args, "id": f"call_{number}", "type": "tool_call"}])
        for number, (name, args, _) in enumerate(CALLS, start=1)
    ]
    return ScriptedModel(messages=iter([*turns, AIMessage("The newsletter is published.")]))
