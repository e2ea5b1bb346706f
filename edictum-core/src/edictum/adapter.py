"""
The kit for adapters: what an agent framework knows about a tool call becomes one governed call.

    class MyAdapter(Adapter):
        def around(self, event, tool):                  # the framework calls this in place of the tool
            call = self.call(event.tool, event.args, context=event.context, tool_use_id=event.id)
            try:
                call.begin_sync()
            except EdictumDenied as denied:
                return event.error(refusal_text(denied))
            try:
                result = tool(**event.args)
            except BaseException as error:
                call.fail_sync(error)
                raise
            return call.finish_sync(result).result

An adapter translates.  It decides nothing, and it keeps nothing about calls that are under way: that is in the object
that :meth:`Adapter.call` returns.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Self, cast
from urllib.parse import quote

from edictum.advice import refusal_text, retry_may_help
from edictum.errors import EdictumConfigError, SelfTestError
from edictum.guard import Edictum
from edictum.session import MAX_ID, validate_session_id
from edictum.sync_call import SyncCall
from edictum.tool_call import Principal, new_call_id

__all__ = ["Adapter", "refusal_text", "retry_may_help", "usable_session_id"]

PROBE_TOOL = "edictum_self_test"
PROBE_MESSAGE = "This call is forbidden, to show that it is stopped."
_UNESCAPED = " !\"#$&'()*+,;<=>?@[]^`{|}"
_PROBE_RULES: dict[str, Any] = {
    "apiVersion": "edictum/v1",
    "kind": "Ruleset",
    "metadata": {"name": "self-test"},
    "defaults": {"mode": "enforce"},
    "rules": [
        {
            "id": "self-test",
            "type": "pre",
            "tool": "*",
            "when": {"tool.name": {"exists": True}},
            "then": {"action": "block", "message": PROBE_MESSAGE},
        }
    ],
}


class Adapter:
    """
    Base of the adapters.  Safe to use from several threads and event loops, as guards are.

    Args:
        guard: Decides.
        session_id: The session that counts all calls.  None: the one that the framework names for a run, else one
            of this adapter's own.
        session_resolver: ``resolver(context)``, asked for each call; None means that it does not know.
        principal: On whose behalf calls are made.  None: whom the guard takes.
        principal_resolver: ``resolver(tool_name, args)`` or ``resolver(tool_name, args, context)``, asked for each
            call; wins over ``principal``.  None means that the call is made on nobody's behalf.
        on_postcondition_warn: ``on_postcondition_warn(result, violations)``, instead of the guard's.

    A resolver that raises, or returns what it must not, blocks the call.  What ``context`` is each adapter says.

    Raises:
        EdictumConfigError: An option makes no sense.
        ValueError: The session id is not valid.
    """

    def __init__(
        self,
        guard: Edictum,
        *,
        session_id: str | None = None,
        session_resolver: Callable[[Any], str | None] | None = None,
        principal: Principal | None = None,
        principal_resolver: Callable[..., Principal | None] | None = None,
        on_postcondition_warn: Callable[[Any, list[Any]], Any] | None = None,
    ) -> None:
        if not isinstance(guard, Edictum):
            raise EdictumConfigError(f"guard is an Edictum, not {type(guard).__name__}; make one with from_yaml")
        if principal is not None and not isinstance(principal, Principal):
            raise EdictumConfigError(f"principal is a Principal, not {type(principal).__name__}")
        self.guard = guard
        self._fixed_session = None if session_id is None else validate_session_id(session_id)
        self._own_session = self._fixed_session or new_call_id()
        self._session_resolver = session_resolver
        self._principal = principal
        self._principal_resolver = principal_resolver
        self._sees_context = principal_resolver is not None and _takes_context(principal_resolver)
        self._on_warn = on_postcondition_warn

    @property
    def session_id(self) -> str:
        """
        The session of calls for which neither the framework nor a resolver names another.
        """
        return self._own_session

    def set_principal(self, principal: Principal | None) -> None:
        """
        Set on whose behalf later calls are made.
        """
        self._principal = principal

    def call(
        self,
        tool_name: str,
        args: Mapping[str, Any],
        *,
        context: Any = None,
        session: object = None,
        tool_use_id: str | None = None,
        caller: str | None = None,
        parent_call_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> SyncCall:
        """
        Make the object that takes one call through all steps; nothing is decided before its ``begin``.

        Args:
            tool_name: Name of the tool.
            args: Its arguments, the very object that the tool will be called with if there is one.
            context: What resolvers see.
            session: The framework's own id of the conversation or run; None if it has none.
            tool_use_id: The framework's id of the call; the events carry it.
            caller: The agent that makes the call.
            parent_call_id: The call during which this one is made.
            metadata: For ``metadata.*`` selectors.
        """
        session_id, trouble = self._session_for(context, session)
        call = self.guard.govern(
            tool_name,
            args,
            session_id=session_id,
            principal=self._principal_for(tool_name, args, context, trouble),
            call_id=tool_use_id if tool_use_id and _is_call_id(tool_use_id) else None,
            tool_use_id=tool_use_id,
            caller=caller,
            parent_call_id=parent_call_id,
            metadata=metadata,
        )
        if self._on_warn is not None:
            call.on_postcondition_warn = self._on_warn
        return call

    def _session_for(self, context: Any, session: object) -> tuple[str, Exception | None]:
        """
        The session of a call, and what went wrong when it was asked for: the call is blocked because of it.
        """
        if self._session_resolver is not None:
            try:
                resolved = self._session_resolver(context)
                if resolved is not None:
                    return validate_session_id(resolved), None
            except Exception as error:
                return self._own_session, error
        if self._fixed_session is not None or session is None or session == "":
            return self._own_session, None
        return usable_session_id(session), None

    def _principal_for(
        self, tool_name: str, args: Mapping[str, Any], context: Any, trouble: Exception | None
    ) -> Principal | Callable[[], Principal | None] | None:
        resolver = self._principal_resolver
        if resolver is None and trouble is None:
            return self._principal

        def resolve() -> Principal | None:
            if trouble is not None:
                raise trouble
            # A read-only view: what is judged must be what runs.
            facts: tuple[Any, ...] = (tool_name, MappingProxyType(args) if isinstance(args, dict) else args)
            if self._sees_context:
                facts += (context,)
            return cast("Callable[..., Principal | None]", resolver)(*facts)

        return resolve

    # --- is it really in the way? ---------------------------------------------------------------

    def self_test(self) -> None:
        """
        Push a forbidden call through the framework, and make sure that it is stopped; for the start of a program.

        The call goes the way that calls of a model go, under a guard that forbids everything.  Rules, sessions and the
        decision log of this adapter's own guard stay untouched.

        Raises:
            SelfTestError: The call was not stopped, or the model was not told so.
        """
        ran: list[str] = []

        def body() -> str:
            ran.append(PROBE_TOOL)
            return "it ran"

        probe = self._under(Edictum.from_bundle_dict(_PROBE_RULES, telemetry=False))
        name = type(self).__name__
        try:
            shown = probe.push_call(PROBE_TOOL, body)
        except Exception as error:
            if ran:
                raise SelfTestError(f"{name}: a forbidden call ran, and then the run failed") from error
            raise SelfTestError(f"{name}: the run with a forbidden call failed ({type(error).__name__})") from error
        if ran:
            raise SelfTestError(f"{name}: a forbidden call ran; the framework does not ask this adapter. Do not start.")
        if PROBE_MESSAGE not in shown:
            raise SelfTestError(f"{name}: a forbidden call was stopped, but the model did not see why")
        if [str(event.action) for event in probe.guard.local_sink.events] != ["call_denied"]:
            raise SelfTestError(f"{name}: a forbidden call was stopped, but not by the guard: see its decision log")

    def push_call(self, tool_name: str, body: Callable[[], str]) -> str:
        """
        Let the framework make one call of a tool without arguments, as it does when a model asks for it.

        Adapters define it, for :meth:`self_test`: with a scripted model, and by the way that their users' calls go.

        Returns:
            What the model saw as the result.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no push_call(), so it cannot test itself")

    def _under(self, guard: Edictum) -> Self:
        twin = copy.copy(self)
        twin.guard = guard
        twin._session_resolver = twin._principal_resolver = twin._on_warn = None
        return twin


def usable_session_id(value: object) -> str:
    """
    Turn a framework's id of a conversation into a session id, a different one for each.

    Ids that can be session ids stay as they are, apart from ``%``, by which the others are escaped; of longer ones
    the SHA-256 is taken.
    """
    text = str(value)
    try:
        escaped = quote(text, safe=_UNESCAPED, errors="surrogatepass") if "%" in text else validate_session_id(text)
    except ValueError:
        escaped = quote(text, safe=_UNESCAPED, errors="surrogatepass")
    return (
        escaped if len(escaped) <= MAX_ID else "%" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    )


def _is_call_id(text: str) -> bool:
    # Ids of frameworks and models are foreign text; events take only what can be an id.
    return len(text) <= MAX_ID and text.isprintable()


def _takes_context(resolver: Callable[..., Any]) -> bool:
    """
    Whether a principal resolver wants the context: a third parameter without a default, or one named so.
    """
    try:
        parameters = inspect.signature(resolver).parameters
    except ValueError:
        return False  # written in C; the published signature has two
    positional = [
        parameter
        for parameter in parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    third = positional[2:3]
    return any(parameter.default is parameter.empty or parameter.name == "context" for parameter in third)
