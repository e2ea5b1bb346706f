"""
Every port of a guard, made to fail at a chosen use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from backends import PlainBackend
from edictum import (
    CollectingAuditSink,
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
from edictum.testing import (
    AutoApprovalBackend,
    BrokenClock,
    Faults,
    FaultyApprovalBackend,
    FaultyAuditSink,
    FaultyStorageBackend,
)


class FaultyRedaction(RedactionPolicy):
    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self._faults = faults


def _faulty(name: str) -> Callable[..., Any]:
    def method(self: FaultyRedaction, *args: Any, **keywords: Any) -> Any:
        self._faults.use()
        return getattr(RedactionPolicy, name)(self, *args, **keywords)

    return method


for _name in [name for name in vars(RedactionPolicy) if name.startswith(("redact_", "looks_"))]:
    setattr(FaultyRedaction, _name, _faulty(_name))


def python_rules(faults: Faults) -> list[Callable[..., Any]]:
    @precondition("*")
    def before(call: object) -> Decision:
        faults.use()
        return Decision.pass_()

    @session_contract
    async def on_session(session: Session) -> Decision:
        faults.use()
        return Decision.pass_()

    @postcondition("*")
    def after(call: object, result: object) -> Decision:
        faults.use()
        return Decision.pass_()

    return [before, on_session, after]


def hooks(faults: Faults) -> list[HookRegistration]:
    def allow(*facts: object) -> HookDecision:
        faults.use()
        return HookDecision.allow()

    def concerns(call: object) -> bool:
        faults.use()
        return True

    return [HookRegistration("before", "*", allow, concerns), HookRegistration("after", "*", allow, concerns)]


def told(faults: Faults) -> Callable[..., None]:
    return lambda *facts: faults.use()


def shown(faults: Faults) -> Callable[[Any, list[Any]], Any]:
    def show(result: Any, violations: list[Any]) -> Any:
        faults.use()
        return result

    return show


def resolver(faults: Faults) -> Callable[[str, Mapping[str, Any]], Principal]:
    def resolve(tool_name: str, args: Mapping[str, Any]) -> Principal:
        faults.use()
        return Principal("user")

    return resolve


def success_check(faults: Faults) -> Callable[[str, Any], bool]:
    def check(tool_name: str, result: Any) -> bool:
        faults.use()
        return True

    return check


def selector(faults: Faults) -> Callable[[Any], dict[str, str]]:
    def select(call: Any) -> dict[str, str]:
        faults.use()
        return {"x": "harmless"}

    return select


def operator(faults: Faults) -> Callable[[Any, Any], bool]:
    def compare(value: Any, operand: Any) -> bool:
        faults.use()
        return False

    return compare


PORTS: dict[str, Callable[[Faults], dict[str, Any]]] = {
    "storage": lambda faults: {"backend": FaultyStorageBackend(PlainBackend(), faults)},
    "storage in memory": lambda faults: {"backend": FaultyStorageBackend(MemoryBackend(), faults)},
    "approval": lambda faults: {"approval_backend": FaultyApprovalBackend(AutoApprovalBackend(), faults)},
    "sink": lambda faults: {"audit_sink": FaultyAuditSink(CollectingAuditSink(), faults)},
    "clock": lambda faults: {"clock": BrokenClock(faults=faults)},
    "redaction": lambda faults: {"redaction": FaultyRedaction(faults)},
    "python rule": lambda faults: {"rules": python_rules(faults)},
    "hook": lambda faults: {"hooks": hooks(faults)},
    "principal resolver": lambda faults: {"principal_resolver": resolver(faults)},
    "success_check": lambda faults: {"success_check": success_check(faults)},
    "selector": lambda faults: {"custom_selectors": {"mine": selector(faults)}},
    "operator": lambda faults: {"custom_operators": {"likes": operator(faults)}},
    "callback": lambda faults: {
        "on_block": told(faults), "on_allow": told(faults), "on_would_block": told(faults),
        "on_postcondition_warn": shown(faults),
    },
}  # fmt: skip
