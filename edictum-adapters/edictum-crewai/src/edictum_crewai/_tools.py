"""
A governed tool: a CrewAI tool around another one, which decides about each call where the tool's body would run.

Whoever calls, natively, by text, directly or through a copy of the tool, ends up in ``_run`` or ``_arun``.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from crewai.tools.base_tool import BaseTool
from crewai.tools.structured_tool import CrewStructuredTool
from edictum.adapter import refusal_text
from edictum.errors import EdictumDenied
from pydantic import PrivateAttr

from edictum_crewai._framework import failure, is_failure, is_plain, public_name

if TYPE_CHECKING:
    from edictum.sync_call import SyncCall

    from edictum_crewai.adapter import CrewAIAdapter


class UnderWay(NamedTuple):
    """
    A call that is under way in a context.

    Attributes:
        call_id: Its id.
        outer: The call during which it is made.
        lease: Dead when it has ended without a word.
    """

    call_id: str
    outer: UnderWay | None
    lease: weakref.ref[Any] | None = None


under_way: ContextVar[UnderWay | None] = ContextVar("edictum_crewai_under_way", default=None)


def innermost() -> UnderWay | None:
    """
    The call that is under way here.
    """
    found = under_way.get()
    while found is not None and found.lease is not None and found.lease() is None:
        found = found.outer
    return found


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
        kwargs = self._named(args, kwargs)
        call = self._adapter.call_of(self, public_name(self.name), kwargs)
        try:
            call.begin_sync()
        except EdictumDenied as denied:
            return self._refused(denied)
        outer = under_way.set(UnderWay(call.call.call_id, innermost()))
        try:
            run = self._inner._run if is_plain(self._inner, "run") else self._inner.run
            result = run(**kwargs)
        except Exception as error:
            shown = call.fail_sync(error)
            del call  # CrewAI may keep the error, and with it what this frame holds
            if str(shown) == str(error):
                raise
            raise shown from None  # the text of the tool's own holds what nobody may see
        except BaseException as error:
            call.fail_sync(error)
            raise
        finally:
            under_way.reset(outer)
        if asyncio.iscoroutine(result):
            return self._finished(call, result)
        if is_failure(result):
            return _shown_failure(result, call.finish_sync(result.as_agent_message(), failed=True).result)
        return _shown(result, call.finish_sync(result).result)

    async def _arun(self, *args: Any, **kwargs: Any) -> Any:
        kwargs = self._named(args, kwargs)
        call = self._adapter.call_of(self, public_name(self.name), kwargs)
        try:
            await call.begin()
        except EdictumDenied as denied:
            return self._refused(denied)
        run = self._inner._arun if is_plain(self._inner, "arun") else self._inner.arun
        return await self._finished(call, run(**kwargs))

    async def _finished(self, call: SyncCall, running: Coroutine[Any, Any, Any]) -> Any:
        outer = under_way.set(UnderWay(call.call.call_id, innermost()))
        try:
            result = await running
        except Exception as error:
            shown = await call.fail(error)
            if str(shown) == str(error):
                raise
            raise shown from None
        except BaseException as error:
            await call.fail(error)
            raise
        finally:
            under_way.reset(outer)
        if is_failure(result):
            return _shown_failure(result, (await call.finish(result.as_agent_message(), failed=True)).result)
        return _shown(result, (await call.finish(result)).result)

    def _named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """
        All arguments by name, as rules see them: those given by position get the names of the tool's schema.
        """
        names = list(self.args_schema.model_fields)
        if len(args) > len(names):
            raise TypeError(f"tool {self.name!r} takes {len(names)} arguments, {len(args)} were given")
        return {**dict(zip(names, args, strict=False)), **kwargs}

    def _refused(self, denied: EdictumDenied) -> Any:
        text = refusal_text(denied)
        # As plain text the refusal would be the agent's final answer, and the model would get no other try.
        declared = failure(text) if self.result_as_answer else None
        return TextOfGuard(text) if declared is None else declared

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
        if isinstance(raw_result, TextOfGuard):
            return str(raw_result)
        return self._inner.format_output_for_agent(raw_result)


class GovernedStructuredTool(CrewStructuredTool):
    """
    The form in which agents hold a governed tool.
    """

    async def ainvoke(self, input: str | dict[str, Any], config: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        """
        Run the tool in a thread that sees the context variables of the caller, as CrewAI by itself does not.
        """
        return await asyncio.to_thread(self.invoke, input, config, **kwargs)


class ProbeTool(BaseTool):
    """
    The tool of a self-test.
    """

    description: str = "Nothing."
    body: Callable[[], str]

    def _run(self) -> str:
        return self.body()


class TextOfGuard(str):
    """
    What the guard shows in place of a result.
    """

    __slots__ = ()


def never_cached(_args: Any = None, _result: Any = None) -> bool:
    """
    Keep results out of CrewAI's cache: a call answered from there would never be decided about.
    """
    return False


def _shown(result: Any, shown: Any) -> Any:
    return TextOfGuard(shown) if isinstance(shown, str) and not isinstance(result, str) else shown


def _shown_failure(declared: Any, shown: Any) -> Any:
    return declared if shown == declared.as_agent_message() else failure(str(shown), declared)
