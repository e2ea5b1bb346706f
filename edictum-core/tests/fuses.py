"""
Every port of a guard, made to fail at a chosen use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from backends import PlainBackend
from edictum import (
    ApprovalDecision,
    ApprovalRequest,
    AuditEvent,
    Decision,
    HookDecision,
    HookRegistration,
    MemoryBackend,
    Principal,
    RedactionPolicy,
    Session,
    postcondition,
    precondition,
    session_contract,
)
from edictum.clock import SystemClock
from guards import Approvals, granted


class BoomError(Exception):
    """
    A failure that nobody expects by its type.
    """


class Fuse:
    """
    Counts the uses of a port and blows at one of them, or from that one on.
    """

    def __init__(self, blows_at: int, *, lasting: bool = False) -> None:
        self._blows_at = blows_at
        self._lasting = lasting
        self.uses = 0

    def use(self) -> None:
        self.uses += 1
        if self.uses == self._blows_at or (self._lasting and self.uses > self._blows_at > 0):
            raise BoomError("injected")


class FusedPlain(PlainBackend):
    def __init__(self, fuse: Fuse) -> None:
        super().__init__()
        self._fuse = fuse

    async def step(self) -> None:
        self._fuse.use()


class FusedMemory(MemoryBackend):
    """
    Fails in the steps that need not be awaited.
    """

    def __init__(self, fuse: Fuse) -> None:
        super().__init__()
        self._fuse = fuse

    def reserve_now(self, batch: Any) -> Any:
        self._fuse.use()
        return super().reserve_now(batch)

    def settle_now(self, batch: Any, failures: str, success: bool) -> None:
        self._fuse.use()
        super().settle_now(batch, failures, success)

    async def release(self, changes: Any) -> None:
        self._fuse.use()
        await super().release(changes)


class FusedApprovals(Approvals):
    def __init__(self, fuse: Fuse, *answers: ApprovalDecision) -> None:
        super().__init__(*answers)
        self._fuse = fuse

    async def request_approval(self, *args: Any, **keywords: Any) -> ApprovalRequest:
        self._fuse.use()
        return await super().request_approval(*args, **keywords)

    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> ApprovalDecision:
        self._fuse.use()
        return await super().wait_for_decision(approval_id, timeout)


class FusedSink:
    def __init__(self, fuse: Fuse) -> None:
        self._fuse = fuse

    async def emit(self, event: AuditEvent) -> None:
        self._fuse.use()


class FusedClock(SystemClock):
    __slots__ = ("_fuse",)

    def __init__(self, fuse: Fuse) -> None:
        self._fuse = fuse

    def now(self) -> datetime:
        self._fuse.use()
        return datetime.now(UTC)

    def monotonic(self) -> float:
        self._fuse.use()
        return super().monotonic()


class FusedRedaction(RedactionPolicy):
    def __init__(self, fuse: Fuse) -> None:
        super().__init__()
        self._fuse = fuse


def _fused(name: str) -> Callable[..., Any]:
    def method(self: FusedRedaction, *args: Any, **keywords: Any) -> Any:
        self._fuse.use()
        return getattr(RedactionPolicy, name)(self, *args, **keywords)

    return method


for _name in [name for name in vars(RedactionPolicy) if name.startswith(("redact_", "looks_"))]:
    setattr(FusedRedaction, _name, _fused(_name))


def python_rules(fuse: Fuse) -> list[Callable[..., Any]]:
    @precondition("*")
    def before(call: object) -> Decision:
        fuse.use()
        return Decision.pass_()

    @session_contract
    async def on_session(session: Session) -> Decision:
        fuse.use()
        return Decision.pass_()

    @postcondition("*")
    def after(call: object, result: object) -> Decision:
        fuse.use()
        return Decision.pass_()

    return [before, on_session, after]


def hooks(fuse: Fuse) -> list[HookRegistration]:
    def allow(*facts: object) -> HookDecision:
        fuse.use()
        return HookDecision.allow()

    def concerns(call: object) -> bool:
        fuse.use()
        return True

    return [HookRegistration("before", "*", allow, concerns), HookRegistration("after", "*", allow, concerns)]


def told(fuse: Fuse) -> Callable[..., None]:
    return lambda *facts: fuse.use()


def shown(fuse: Fuse) -> Callable[[Any, list[Any]], Any]:
    def show(result: Any, violations: list[Any]) -> Any:
        fuse.use()
        return result

    return show


def resolver(fuse: Fuse) -> Callable[[str, Mapping[str, Any]], Principal]:
    def resolve(tool_name: str, args: Mapping[str, Any]) -> Principal:
        fuse.use()
        return Principal("user")

    return resolve


def success_check(fuse: Fuse) -> Callable[[str, Any], bool]:
    def check(tool_name: str, result: Any) -> bool:
        fuse.use()
        return True

    return check


def selector(fuse: Fuse) -> Callable[[Any], dict[str, str]]:
    def select(call: Any) -> dict[str, str]:
        fuse.use()
        return {"x": "harmless"}

    return select


def operator(fuse: Fuse) -> Callable[[Any, Any], bool]:
    def compare(value: Any, operand: Any) -> bool:
        fuse.use()
        return False

    return compare


PORTS: dict[str, Callable[[Fuse], dict[str, Any]]] = {
    "storage": lambda fuse: {"backend": FusedPlain(fuse)},
    "storage in memory": lambda fuse: {"backend": FusedMemory(fuse)},
    "approval": lambda fuse: {"approval_backend": FusedApprovals(fuse, granted())},
    "sink": lambda fuse: {"audit_sink": FusedSink(fuse)},
    "clock": lambda fuse: {"clock": FusedClock(fuse)},
    "redaction": lambda fuse: {"redaction": FusedRedaction(fuse)},
    "python rule": lambda fuse: {"rules": python_rules(fuse)},
    "hook": lambda fuse: {"hooks": hooks(fuse)},
    "principal resolver": lambda fuse: {"principal_resolver": resolver(fuse)},
    "success_check": lambda fuse: {"success_check": success_check(fuse)},
    "selector": lambda fuse: {"custom_selectors": {"mine": selector(fuse)}},
    "operator": lambda fuse: {"custom_operators": {"likes": operator(fuse)}},
    "callback": lambda fuse: {
        "on_block": told(fuse), "on_allow": told(fuse), "on_would_block": told(fuse),
        "on_postcondition_warn": shown(fuse),
    },
}  # fmt: skip
