"""
A model that plays a script: real agents and crews, without a key, a network or chance.

    llm = ScriptedLLM.of([use("read_file", path="a.txt")], "done")
    Agent(role="reader", goal="read", backstory="-", llm=llm, tools=adapter.wrap_tools([read_file])).kickoff("go")
    assert "forbidden" in llm.saw()

Each item of the script answers one request: a list of tool calls, or a text.  After the last one the model says "done".
"""

from __future__ import annotations

import itertools
import json
from typing import Any, Self, TypeAlias

from crewai.llms.base_llm import BaseLLM
from pydantic import PrivateAttr

ToolUse: TypeAlias = dict[str, Any]
_numbers = itertools.count(1)


def use(tool_name: str, /, **args: Any) -> ToolUse:
    """
    A tool call as a model asks for it.

    Args:
        tool_name: The tool, as models know it.
        **args: Its arguments.
    """
    return use_raw(tool_name, json.dumps(args))


def use_raw(tool_name: str, arguments: str, call_id: str | None = None) -> ToolUse:
    """
    The same with the text of the arguments as it is, which need not be JSON.
    """
    function = {"name": tool_name, "arguments": arguments}
    return {"id": call_id or f"call_{next(_numbers)}", "type": "function", "function": function}


class ScriptedLLM(BaseLLM):
    """
    Answers from a script and keeps what it was sent.
    """

    _script: list[list[ToolUse] | str] = PrivateAttr(default_factory=list)
    _requests: list[list[dict[str, Any]]] = PrivateAttr(default_factory=list)
    _native: bool = PrivateAttr(default=True)

    @classmethod
    def of(cls, *script: list[ToolUse] | str, native: bool = True) -> Self:
        """
        A model with a script.

        Args:
            *script: The answers, in order.
            native: Ask for tools by structured calls; False: by text (ReAct), one of them in an answer.
        """
        llm = cls(model="scripted")
        llm._script = list(script)
        llm._requests = []  # models of older releases have no private attributes with defaults
        llm._native = native
        return llm

    @property
    def requests(self) -> list[list[dict[str, Any]]]:
        """
        The messages of each request.
        """
        return self._requests

    def saw(self) -> str:
        """
        Everything that was ever sent to the model, as one text.
        """
        return "\n".join(str(message.get("content")) for request in self._requests for message in request)

    def results(self) -> list[str]:
        """
        What the model was told of its tool calls, in order.
        """
        found = []
        for message in self._requests[-1] if self._requests else []:
            content = str(message.get("content"))
            if message.get("role") == "tool":
                found.append(content)
            elif message.get("role") == "assistant" and "\nObservation:" in content:
                found.append(content.partition("\nObservation:")[2].strip())
        return found

    def supports_function_calling(self) -> bool:
        """
        What decides which of its two ways CrewAI takes.
        """
        return self._native

    def get_input_tokens_count(self, *_args: Any, **_kwargs: Any) -> int:
        """
        None worth counting; without an answer CrewAI would estimate, and warn of it.
        """
        return 0

    def call(self, messages: str | list[dict[str, Any]], *_args: Any, **_kwargs: Any) -> Any:  # type: ignore[override, unused-ignore]
        """
        Answer a request.
        """
        sent = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        self._requests.append([dict(message) for message in sent])
        answer = self._script.pop(0) if self._script else "done"
        return answer if self._native else _as_text(answer)

    async def acall(self, messages: str | list[dict[str, Any]], *args: Any, **kwargs: Any) -> Any:  # type: ignore[override, unused-ignore]
        """
        Answer a request.
        """
        return self.call(messages, *args, **kwargs)


def _as_text(answer: list[ToolUse] | str) -> str:
    if isinstance(answer, str):
        return f"Thought: I know the answer\nFinal Answer: {answer}"
    (tool_use,) = answer
    function = tool_use["function"]
    return f"Thought: I need a tool\nAction: {function['name']}\nAction Input: {function['arguments']}\n"
