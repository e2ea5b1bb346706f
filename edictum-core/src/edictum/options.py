"""
Options of a guard: what users give, checked and brought into shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from edictum.audit import AuditSink
from edictum.errors import EdictumConfigError
from edictum.redaction import RedactionPolicy
from edictum.sinks import CollectingAuditSink, CompositeSink
from edictum.tools import SideEffect

if TYPE_CHECKING:
    from edictum.ruleset.expressions import Names
    from edictum.ruleset.operators import CustomOperator
    from edictum.ruleset.selectors import CustomSelector
    from edictum.telemetry import GovernanceTelemetry


def make_names(
    operators: Mapping[str, CustomOperator] | None,
    selectors: Mapping[str, CustomSelector] | None,
    env: Mapping[str, str] | None,
) -> Names:
    """
    Check custom operators and selectors.

    Raises:
        EdictumConfigError: A name is taken by a built-in one, or the value cannot be called.
    """
    from edictum.ruleset.expressions import Names
    from edictum.ruleset.vocabulary import BUILTIN_OPERATORS, SELECTOR_ROOTS

    reserved_roots = {*SELECTOR_ROOTS, "session", "all", "any", "not"}
    taken = (("custom_operators", operators, set(BUILTIN_OPERATORS)), ("custom_selectors", selectors, reserved_roots))
    for option, given, reserved in taken:
        for name, function in (given or {}).items():
            if name in reserved:
                raise EdictumConfigError(f"{option}: {name!r} is built in; choose another name")
            if not callable(function):
                raise EdictumConfigError(f"{option}: {name!r} cannot be called; give a function")
    if env is None:
        return Names(dict(operators or {}), dict(selectors or {}))
    return Names(dict(operators or {}), dict(selectors or {}), env)


def reading_options(options: Mapping[str, Any]) -> tuple[Names, RedactionPolicy]:
    """
    The options that reading a ruleset needs.
    """
    names = make_names(options.get("custom_operators"), options.get("custom_selectors"), options.get("env"))
    return names, options.get("redaction") or RedactionPolicy()


def with_workflow(options: Mapping[str, Any]) -> dict[str, Any]:
    """
    The options of the constructor, with a runtime in place of ``workflow_path`` or ``workflow_content``.

    Raises:
        EdictumConfigError: The document is no workflow, more than one is given, or it runs programs without leave.
        FileNotFoundError: There is no such file.
    """
    others = dict(options)
    path, content = others.pop("workflow_path", None), others.pop("workflow_content", None)
    runs_programs = bool(others.pop("workflow_exec_evaluator_enabled", False))
    if sum(given is not None for given in (path, content, others.get("workflow_runtime"))) > 1:
        raise EdictumConfigError("give one of workflow_path, workflow_content and workflow_runtime")
    if path is None and content is None:
        return others
    from edictum.workflow import WorkflowRuntime, load_workflow, load_workflow_string

    definition = load_workflow(path) if path is not None else load_workflow_string(content)
    try:
        others["workflow_runtime"] = WorkflowRuntime(
            definition,
            exec_evaluator_enabled=runs_programs,
            redaction=others.get("redaction"),
            clock=others.get("clock"),
        )
    except ValueError as error:
        raise EdictumConfigError(str(error)) from None
    return others


def own_tools(
    tools: Mapping[str, Mapping[str, Any]] | None,
) -> dict[str, tuple[SideEffect, bool, bool]]:
    """
    Side effect, idempotence and shell of tools by name.

    Raises:
        EdictumConfigError: An unknown key or class.
    """
    found = {}
    for name, tool in (tools or {}).items():
        unknown = set(tool) - {"side_effect", "idempotent", "shell"}
        if unknown:
            raise EdictumConfigError(f"tools: {name!r} has unknown keys: {', '.join(sorted(map(str, unknown)))}")
        try:
            side_effect = SideEffect(tool.get("side_effect", SideEffect.IRREVERSIBLE))
        except ValueError:
            known = ", ".join(SideEffect)
            raise EdictumConfigError(f"tools: side_effect of {name!r} is one of {known}") from None
        found[name] = (side_effect, bool(tool.get("idempotent", False)), bool(tool.get("shell", False)))
    return found


def with_local(local: CollectingAuditSink, sinks: AuditSink | Sequence[AuditSink] | None) -> AuditSink:
    """
    The sink of a guard: its own memory, and the others behind it.

    Raises:
        EdictumConfigError: One of them is no sink.
    """
    if sinks is None:
        return local
    others = list(sinks) if isinstance(sinks, (list, tuple)) else [sinks]
    for sink in others:
        if not callable(getattr(sink, "emit", None)):
            raise EdictumConfigError(f"audit_sink: {type(sink).__name__} has no method emit(event)")
    return CompositeSink([local, *others]) if others else local  # type: ignore[list-item]


def checked_telemetry(telemetry: object) -> GovernanceTelemetry | Literal[False] | None:
    """
    Check where telemetry goes.

    Raises:
        EdictumConfigError: It is nothing that can be reported to.
    """
    if telemetry is None or telemetry is False:
        return telemetry
    from edictum.telemetry import GovernanceTelemetry

    if not isinstance(telemetry, GovernanceTelemetry):
        raise EdictumConfigError(f"telemetry is a GovernanceTelemetry, None or False, not {type(telemetry).__name__}")
    return telemetry


def one_of(option: str, value: object, allowed: tuple[object, ...]) -> None:
    """
    Check a choice.

    Raises:
        EdictumConfigError: It is not among those allowed.
    """
    if value not in allowed:
        raise EdictumConfigError(f"{option} is {' or '.join(repr(item) for item in allowed)}, not {value!r}")
