"""
A governed tool: a CrewAI tool around another one, which decides about each call where the tool's body would run.

Whoever calls, natively, by text, directly or through a copy of the tool, ends up in ``_run`` or ``_arun``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from crewai.tools.base_tool import BaseTool, Tool
from crewai.tools.structured_tool import CrewStructuredTool
from edictum.adapter import refusal_text
from edictum.errors import EdictumDenied, EdictumToolError
from pydantic import PrivateAttr

from edictum_crewai._framework import ToolFailure, public_name

if TYPE_CHECKING:
    from edictum.sync_call import SyncCall

    from edictum_crewai.adapter import CrewAIAdapter


def never_cached(_args: Any = None, _result: Any = None) -> bool:
    """
    Keep results out of CrewAI's cache: a call answered from there would never be decided about.
    """
    return False


class GovernedTool(BaseTool):
    """
    A tool under a guard; made by :meth:`CrewAIAdapter.wrap_tools`.
    """

    _inner: BaseTool = PrivateAttr()
    _adapter: CrewAIAdapter = PrivateAttr()

    def __init__(self, inner: BaseTool, adapter: CrewAIAdapter) -> None:
        fields = {name: getattr(inner, name) for name in BaseTool.model_fields}
        super().__init__(**{**fields, "cache_function": never_cached})
        self.description = inner.description  # some releases have just put a header before it, a second time
        self._inner = inner
        self._adapter = adapter

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        call, kwargs = self._call(args, kwargs)
        try:
            call.begin_sync()
        except EdictumDenied as denied:
            return self._refused(denied)
        try:
            run = self._inner._run if _is_plain(self._inner, "run") else self._inner.run
            result = run(**kwargs)
        except Exception as error:
            raise _told(error, call.fail_sync(error)) from None
        except BaseException as error:
            call.fail_sync(error)
            raise
        if asyncio.iscoroutine(result):
            return self._finished(call, result)
        if _is_failure(result):
            return _shown_failure(result, call.fail_sync(_Declared(result.message)))
        return call.finish_sync(result).result

    async def _arun(self, *args: Any, **kwargs: Any) -> Any:
        call, kwargs = self._call(args, kwargs)
        try:
            await call.begin()
        except EdictumDenied as denied:
            return self._refused(denied)
        run = self._inner._arun if _is_plain(self._inner, "arun") else self._inner.arun
        return await self._finished(call, run(**kwargs))

    async def _finished(self, call: SyncCall, running: Coroutine[Any, Any, Any]) -> Any:
        try:
            result = await running
        except Exception as error:
            raise _told(error, await call.fail(error)) from None
        except BaseException as error:
            await call.fail(error)
            raise
        if _is_failure(result):
            return _shown_failure(result, await call.fail(_Declared(result.message)))
        return (await call.finish(result)).result

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[SyncCall, dict[str, Any]]:
        if args:
            # Rules see names, so what was given by position gets the name that it has in the tool's schema.
            names = list(self.args_schema.model_fields)
            if len(args) > len(names):
                raise TypeError(f"tool {self.name!r} takes {len(names)} arguments, {len(args)} were given")
            kwargs = {**dict(zip(names, args, strict=False)), **kwargs}
        return self._adapter.call_of(self, public_name(self.name), kwargs), kwargs

    def _refused(self, denied: EdictumDenied) -> Any:
        text = refusal_text(denied)
        if self.result_as_answer and ToolFailure is not None:
            # As plain text the refusal would be the agent's final answer, and the model would get no other try.
            return ToolFailure(message=text)
        return text

    def to_structured_tool(self) -> CrewStructuredTool:
        """
        The form in which agents hold a tool; see :class:`BaseTool`.
        """
        structured = super().to_structured_tool()
        structured.__class__ = GovernedStructuredTool
        return structured

    def format_output_for_agent(self, raw_result: Any) -> str:
        """
        Text for the model, as the wrapped tool makes it; what the guard put in place of a result is text already.
        """
        if isinstance(raw_result, str):
            return raw_result
        return self._inner.format_output_for_agent(raw_result)


class GovernedStructuredTool(CrewStructuredTool):
    """
    The form in which agents hold a governed tool.
    """

    async def ainvoke(self, input: str | dict[str, Any], config: dict[str, Any] | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """
        Run the tool in a thread that sees the context variables of the caller, as CrewAI by itself does not.
        """
        return await asyncio.to_thread(self.invoke, input, config, **kwargs)


class _Declared(Exception):  # noqa: N818  not an error of ours: the text of a tool that says it failed
    pass


def _is_failure(result: Any) -> bool:
    return ToolFailure is not None and isinstance(result, ToolFailure)


def _shown_failure(failure: Any, shown: EdictumToolError) -> Any:
    text = str(shown)
    return failure if text == failure.message else ToolFailure(message=text, reason=failure.reason)


def _told(error: Exception, shown: EdictumToolError) -> Exception:
    """
    The tool's own error, unless its text holds something that the model may not see.
    """
    return error if str(shown) == str(error) else shown


def _is_plain(tool: BaseTool, method: str) -> bool:
    """
    Whether the tool leaves this method as CrewAI has it: it would validate and count what is validated and counted.
    """
    return getattr(type(tool), method) in (getattr(BaseTool, method), getattr(Tool, method))
