"""
A chat model that says what is written down: for self-tests, which need no other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import PrivateAttr


class ScriptedModel(BaseChatModel):
    """
    Answers by a function of the messages so far.
    """

    _answer: Callable[[Sequence[BaseMessage]], AIMessage] = PrivateAttr()

    def __init__(self, answer: Callable[[Sequence[BaseMessage]], AIMessage]) -> None:
        super().__init__()
        self._answer = answer

    @classmethod
    def calling(cls, tool_name: str) -> ScriptedModel:
        """
        A model that calls a tool once, without arguments.
        """
        call = {"name": tool_name, "args": {}, "id": "call_1", "type": "tool_call"}

        def answer(messages: Sequence[BaseMessage]) -> AIMessage:
            called = any(isinstance(message, AIMessage) for message in messages)
            return AIMessage("done") if called else AIMessage("", tool_calls=[call])

        return cls(answer)

    @property
    def _llm_type(self) -> str:
        return "edictum-scripted"

    def bind_tools(self, tools: Sequence[Any], **options: Any) -> Any:
        """
        The script knows its tools.
        """
        return self

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **options: Any
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._answer(messages))])
