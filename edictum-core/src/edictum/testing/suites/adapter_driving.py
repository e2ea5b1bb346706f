"""
How the suite for adapters runs agents: guards, entries, drivers, time limits.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, ClassVar, Literal, TypeVar

from edictum.adapter import Adapter
from edictum.guard import Edictum
from edictum.testing.running import in_threads, run_within
from edictum.testing.suites.agent_run import AgentRun, Entry, ModelCall, Outcome, Script, Tool
from edictum.testing.suites.suite import WholeSuite, check, named_as, same

S = TypeVar("S", bound="AdapterDriving")

SECRET = "hunter2"
MESSAGE = "That file is secret. Read notes.txt instead."


class AdapterDriving(WholeSuite):
    """
    What a subclass of the suite for adapters defines, and how tests use it.

    Attributes:
        entries: All ways to run an agent in the framework; each test runs with each of them.
        call_ids: False if the framework does not tell hooks the model's id of a call.
    """

    entries: ClassVar[tuple[Entry, ...]] = ()
    call_ids: ClassVar[bool] = True

    def adapter(self, guard: Edictum, **options: Any) -> Adapter:
        """
        Make the adapter that is tested.

        Args:
            guard: Decides.
            **options: Options of :class:`~edictum.Adapter`.
        """
        raise NotImplementedError(f"{type(self).__name__} defines adapter(), which makes the adapter to test")

    def drive(self, adapter: Any, entry: Entry, run: AgentRun) -> Awaitable[None] | None:
        """
        Run an agent in the framework; see :mod:`edictum.testing.suites.agent_run`.

        What the framework raises is not caught here.  Several runs may be under way at once, with one adapter.

        Args:
            adapter: Made by :meth:`adapter`; None means to run without one.
            entry: One of :attr:`entries`.
            run: What is run.

        Returns:
            Nothing; for asynchronous entries something to await.
        """
        raise NotImplementedError(f"{type(self).__name__} defines drive(), which runs an agent in the framework")

    def user(self, context: Any) -> str:
        """
        Find :attr:`AgentRun.user` in the context that the adapter gives to resolvers.
        """
        raise NotImplementedError(f"{type(self).__name__} defines user(), which reads a resolver's context")

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """
        Run each test with each entry, for pytest.
        """
        kind = getattr(metafunc.function, "entry_kind", None)
        if kind is not None:
            metafunc.parametrize("entry", [*self._entries(kind)], ids=str)

    def test_entries_are_complete(self) -> None:
        """
        There is something to run, and nothing was put between the tests and the entries.
        """
        check(self.entries, "the subclass names its entries, for example (Entry('run'), Entry('arun', True))")
        names = [entry.name for entry in self.entries]
        same(len(names), len(set(names)), f"different names among the entries {names}")
        for name in ("pytest_generate_tests", "drive_to_the_end", "driving"):
            own = inspect.getattr_static(type(self), name)
            check(own is vars(AdapterDriving)[name], f"{name}() belongs to the suite; define drive() instead")

    def _names(self, known: Mapping[str, object]) -> set[str]:
        per_entry = {f"{name}[{entry}]" for name in known for entry in self.entries}
        return super()._names(known) | per_entry

    def _entries(self, kind: str) -> Iterator[Entry]:
        for entry in self.entries:
            if kind == "any" or entry.asynchronous:
                yield entry

    # --- running --------------------------------------------------------------------------------

    def drive_to_the_end(self, adapter: Adapter | None, entry: Entry, run: AgentRun) -> Outcome:
        """
        Run an agent by any entry, on an event loop of its own if the entry needs one.
        """
        if entry.asynchronous:
            return run_within(self.patience, self.driving(adapter, entry, run))
        error: Exception | None = None
        try:
            done = self.drive(adapter, entry, run)
            if inspect.iscoroutine(done):
                done.close()
            check(done is None, f"entry {entry} is not asynchronous, but drive() returned {done!r}")
        except Exception as raised:
            error = raised
        return _outcome(adapter, run, error)

    async def driving(self, adapter: Adapter | None, entry: Entry, run: AgentRun) -> Outcome:
        """
        Run an agent by an asynchronous entry.
        """
        error: Exception | None = None
        try:
            done = self.drive(adapter, entry, run)
            if not inspect.isawaitable(done):
                raise AssertionError(f"entry {entry} is asynchronous, but drive() returned {done!r}")
            await done
        except Exception as raised:
            error = raised
        return _outcome(adapter, run, error)

    def run_with(self, entry: Entry, guard: Edictum, run: AgentRun, **options: Any) -> Outcome:
        """
        Run an agent under a guard.
        """
        return self.drive_to_the_end(self.adapter(guard, **options), entry, run)

    @property
    def approval_seconds(self) -> int:
        """
        How long rules of the suite wait for an answer: less than the patience, so that a stuck run ends by itself.
        """
        return max(1, int(self.patience / 3))


Kind = Literal["any", "asynchronous"]


def per_entry(kind: Kind = "any") -> Callable[[Callable[[S, Entry], None]], Callable[[S, Entry], None]]:
    """
    Make a test of a function that takes one of the entries.

    It runs in a thread without an event loop, and fails when it takes longer than the patience of the suite.
    """

    def decorate(test: Callable[[S, Entry], None]) -> Callable[[S, Entry], None]:
        def limited(self: S, entry: Entry) -> None:
            self._skip_if_not_met(test.__name__)
            self._skip_if_not_met(f"{test.__name__}[{entry}]")
            in_threads(1, lambda: test(self, entry), seconds=self.patience)

        named_as(test, limited)
        limited.entry_kind = kind  # type: ignore[attr-defined]
        return limited

    return decorate


def _outcome(adapter: Adapter | None, run: AgentRun, error: Exception | None) -> Outcome:
    if isinstance(error, AssertionError):
        raise error
    events = [] if adapter is None else list(adapter.guard.local_sink.events)
    requests = run.script.requests
    return Outcome(run.executed, requests[-1] if requests else [], events, "\n".join(run.streamed), error)


def guard_of(*rules: Mapping[str, Any], default_mode: str = "enforce", **options: Any) -> Edictum:
    """
    A guard for the tools of the suite: ``read`` only reads, all others change something.
    """
    then = {"action": "block", "message": "no"}
    idle = {"id": "idle", "type": "pre", "tool": "no-such-tool", "when": _ALWAYS, "then": then}
    ruleset = {
        "apiVersion": "edictum/v1",
        "kind": "Ruleset",
        "metadata": {"name": "suite"},
        "defaults": {"mode": default_mode},
        "tools": {"read": {"side_effect": "read"}},
        "rules": list(rules) or [idle],
    }
    return Edictum.from_bundle_dict(ruleset, telemetry=False, **options)


_ALWAYS = {"tool.name": {"exists": True}}


def no_secrets() -> dict[str, Any]:
    """
    A rule that blocks reading of secret files.
    """
    when = {"args.path": {"contains": "secret"}}
    then = {"action": "block", "message": MESSAGE}
    return {"id": "no-secrets", "type": "pre", "tool": "read", "when": when, "then": then}


def ask_first(seconds: int = 10) -> dict[str, Any]:
    """
    A rule that asks a person before anything is sent.
    """
    then = {"action": "ask", "message": "May it send?", "timeout": seconds}
    return {"id": "ask-first", "type": "pre", "tool": "send", "when": _ALWAYS, "then": then}


def mask(action: str = "redact") -> dict[str, Any]:
    """
    A rule that hides a password in results.
    """
    when = {"output.text": {"contains": SECRET}}
    then = {"action": action, "message": "It holds a password."}
    return {"id": "mask", "type": "post", "tool": "*", "when": when, "then": then}


def read(number: int, path: str) -> ModelCall:
    """
    A call of the tool ``read``.
    """
    return ModelCall(f"call_{number}", "read", {"path": path})


def send(number: int, path: str = "letter.txt") -> ModelCall:
    """
    A call of the tool ``send``.
    """
    return ModelCall(f"call_{number}", "send", {"path": path})


def run_of(*turns: list[ModelCall], tools: tuple[Tool, ...] = (), **facts: Any) -> AgentRun:
    """
    A run; without tools there is ``read``, which tells the path.
    """
    return AgentRun(Script(*turns), tools or (reader(),), **facts)


def reader() -> Tool:
    """
    The tool ``read``, whose result is made of its arguments.
    """
    return Tool("read", lambda path: f"text of {path}")


def is_calm(outcome: Outcome) -> None:
    """
    Fail if the run raised.
    """
    __tracebackhide__ = True  # for pytest
    if outcome.error is not None:
        raise AssertionError(f"the run raised {outcome.error!r}") from outcome.error


async def cancelled(work: asyncio.Task[Any]) -> None:
    """
    Cancel a task and wait for its end, whatever that is.
    """
    work.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await work
