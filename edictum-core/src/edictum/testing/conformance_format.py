"""
The format of the shared fixtures: where their files are, what a case may hold, how a ruleset becomes text again.

A folder holds families of files, told apart by the end of the file name.  A file is a map with ``suite``,
``version``, ``description`` and ``fixtures``, a list of cases.  What is not of the format is refused, because an
expectation that nothing checks would count as met.

Where a shared case is itself wrong, :data:`ERRATA` says so; the files are never edited.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any, TypeAlias

from edictum.errors import EdictumConfigError
from edictum.ruleset.composition import resolve_ruleset_extends

VERDICTS = ("allowed", "denied", "warned", "redacted", "error")

_Shape: TypeAlias = Mapping[str, type | tuple[type, ...]]
_COMMON: _Shape = {"id": str, "description": str, "since": object}
_CALL_CASE: _Shape = {
    **_COMMON,
    "contract": dict,
    "envelope": dict,
    "session": dict,
    "principal": dict,
    "environment": dict,
    "call_metadata": dict,
    "result": dict,
    "approval_pending": bool,
    "approval_decision": str,
    "timeout_expired": bool,
    "expected": dict,
}
_CALL_EXPECTED: _Shape = {"verdict": str, "message_contains": str, "audit_action": str, "tags": list}
_ENVELOPE: _Shape = {"tool_name": str, "arguments": dict}
_SESSION: _Shape = {"tool_calls": int, "attempts": int, "per_tool": dict}
_PRINCIPAL: _Shape = {
    **dict.fromkeys(("id", "user_id", "service_id", "org_id", "role", "ticket_ref", "name"), (str, type(None))),
    "claims": dict,
}
_WORKFLOW_CASE: _Shape = {
    **_COMMON, "workflow": dict, "initial_state": dict, "steps": list, "lineage": dict,
}  # fmt: skip
_WORKFLOW_STATE: _Shape = {
    "session_id": str,
    "active_stage": str,
    "completed_stages": list,
    "approvals": dict,
    "evidence": dict,
    "blocked_reason": (str, type(None)),
    "pending_approval": dict,
}
_WORKFLOW_EVIDENCE: _Shape = {"reads": list, "stage_calls": dict, "mcp_results": dict}
_WORKFLOW_STEP: _Shape = {
    "id": str,
    "description": str,
    "call": dict,
    "execution": str,
    "approval_outcomes": list,
    "mcp_result": object,
    "reset_to": str,
    "set_stage_to": str,
    "expect": dict,
}
_WORKFLOW_EXPECTED: _Shape = {
    **{key: shape for key, shape in _WORKFLOW_STATE.items() if key != "session_id"},
    "decision": str,
    "message_contains": str,
    "approval_requested_for": str,
    "audit_events": list,
}
_REJECTION_CASE: _Shape = {**_COMMON, "bundle": object, "expected": dict}
_REJECTION_EXPECTED: _Shape = {"rejected": bool, "error_contains": str}


class MalformedError(Exception):
    """
    A file or case is not of the shared format, so it says nothing about the implementation.
    """


@dataclass(frozen=True, slots=True)
class Family:
    """
    Files of one format.

    Attributes:
        name: Its name in reports.
        suffix: How its file names end.
        versions: Versions of the file format.
    """

    name: str
    suffix: str
    versions: tuple[int, ...] = (1,)


# The file on inheritance shares the end of its name with another family and so stands before it.
FAMILIES = (
    Family("behavioral", ".fixtures.yaml"),
    Family("adversarial", ".adversarial.yaml"),
    Family("rejection", ".rejection.yaml"),
    Family("extends-inheritance", "extends-inheritance.workflow-v0.18.yaml"),
    Family("workflow", ".workflow.yaml"),
    Family("workflow-coding-guard", ".workflow-coding-guard.yaml"),
    Family("workflow-v0.18", ".workflow-v0.18.yaml"),
    Family("workflow-adapter", ".workflow-adapter.yaml", (1, 2)),
)


@dataclass(frozen=True, slots=True)
class Erratum:
    """
    A shared case that is not right as written.

    Attributes:
        label: Short name for reports.
        verdicts: The verdicts that count as right, instead of the one in the file.
        reason: What is wrong.
        must_fail: Whether the case as written has to fail; if it ever passes, the erratum is out of date.
    """

    label: str
    verdicts: tuple[str, ...]
    reason: str
    must_fail: bool = False


ERRATA: Mapping[str, Erratum] = {
    "adv-inject-002": Erratum(
        "E1",
        ("allowed",),
        'wants contains "$()" to find a text in which these characters are not next to each other',
        must_fail=True,
    ),
    "adv-tool-002": Erratum("E5", ("allowed", "denied"), "describes two outcomes as right and names one"),
    "adv-expr-001": Erratum(
        "E6", ("allowed", "denied", "error"), "describes every outcome as right that is reached at all, and names one"
    ),
}


# --- files ---------------------------------------------------------------------------------------


def find_files(folder: Path) -> Iterator[tuple[Family, Path]]:
    """
    All fixture files in a folder and below, in the order of their paths.
    """
    for path in sorted(folder.rglob("*.yaml")):
        family = next((family for family in FAMILIES if path.name.endswith(family.suffix)), None)
        if family is not None and path.is_file():
            yield family, path


def read_cases(family: Family, path: Path) -> list[Any]:
    """
    Read the cases of a file; they are not checked yet.

    Raises:
        MalformedError: It cannot be read as a file of this family.
        EdictumConfigError: The YAML extra is not installed.
    """
    yaml = _yaml()
    try:
        data = yaml.load(path.read_text(encoding="utf-8"))
    except Exception as error:  # the constructors of the YAML library raise whatever their parts raise
        raise MalformedError(f"cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(data, dict):
        raise MalformedError("is not a map")
    version = data.get("version")
    if version not in family.versions:
        raise MalformedError(f"is of version {version!r}, which this runner does not know")
    cases = data.get("fixtures")
    if not isinstance(cases, list):
        raise MalformedError('has no list "fixtures"')
    return [_resolved(case, data.get("rulesets"), data.get("workflows")) for case in cases]


def _resolved(case: Any, rulesets: Any, workflows: Any) -> Any:
    """
    A case whose ruleset or workflow is a name, with what has that name in its file.

    Raises:
        MalformedError: There is none, or its parents cannot be found.
    """
    if not isinstance(case, dict):
        return case
    if isinstance(case.get("workflow"), str):
        if not isinstance(workflows, dict) or case["workflow"] not in workflows:
            raise MalformedError(f"names a workflow that it does not hold: {case['workflow']!r}")
        return {**case, "workflow": workflows[case["workflow"]]}
    if not isinstance(case.get("contract"), str):
        return case
    try:
        return {**case, "contract": resolve_ruleset_extends(rulesets or {}, case["contract"])}
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise MalformedError(f"names a ruleset that cannot be resolved: {error}") from error


def to_yaml(document: Any) -> str:
    """
    A document as YAML text.

    Raises:
        EdictumConfigError: The YAML extra is not installed.
    """
    text = StringIO()
    _yaml().dump(document, text)
    return text.getvalue()


def _yaml() -> Any:
    """
    A reader and writer of YAML 1.2.  The one for rulesets will not do: fixtures may hold what rulesets must not.
    """
    try:
        library = import_module("ruamel.yaml")
    except ImportError:
        raise EdictumConfigError(
            'the shared fixtures are YAML, which needs an extra: run "pip install edictum-core[yaml]"'
        ) from None
    yaml = library.YAML(typ="safe", pure=True)
    yaml.width = 1_000_000
    yaml.representer.ignore_aliases = lambda _: True  # what a case writes once and repeats, rulesets write out
    return yaml


# --- cases ---------------------------------------------------------------------------------------


def check_call_case(case: Any) -> None:
    """
    Check a case that makes a call.

    Raises:
        MalformedError: It is not of the format.
    """
    _require(case, "the case", _CALL_CASE, ("id", "contract", "envelope", "expected"))
    envelope = _require(case["envelope"], "envelope", _ENVELOPE, ("tool_name", "arguments"))
    if not all(isinstance(name, str) for name in envelope["arguments"]):
        raise MalformedError("the name of an argument is not text")
    _require(case.get("session", {}), "session", _SESSION)
    _require(case.get("principal", {}), "principal", _PRINCIPAL)
    if case.get("approval_decision", "approved") not in ("approved", "rejected"):
        raise MalformedError("approval_decision is neither approved nor rejected")
    expected = _require(case["expected"], "expected", _CALL_EXPECTED, ("verdict",))
    if expected["verdict"] not in VERDICTS:
        raise MalformedError(f"expected.verdict is not one of {', '.join(VERDICTS)}")
    if expected.get("audit_action", "observed") != "observed":
        raise MalformedError("expected.audit_action is not observed")


def check_rejection_case(case: Any) -> None:
    """
    Check a case whose document must not load.

    Raises:
        MalformedError: It is not of the format.
    """
    _require(case, "the case", _REJECTION_CASE, ("id", "bundle", "expected"))
    expected = _require(case["expected"], "expected", _REJECTION_EXPECTED, ("rejected",))
    if expected["rejected"] and not expected.get("error_contains"):
        raise MalformedError("expected.error_contains is missing or empty")


def check_workflow_case(case: Any) -> None:
    """
    Check a case that walks through a workflow; its steps are checked one by one.

    Raises:
        MalformedError: It is not of the format.
    """
    _require(case, "the case", _WORKFLOW_CASE, ("id", "workflow", "initial_state", "steps"))
    state = _require(case["initial_state"], "initial_state", _WORKFLOW_STATE, ("session_id", "active_stage"))
    _require(state.get("evidence", {}), "initial_state.evidence", _WORKFLOW_EVIDENCE)
    if not case["steps"]:
        raise MalformedError("the case has no step")


def check_workflow_step(step: Any) -> None:
    """
    Check a step.

    Raises:
        MalformedError: It is not of the format.
    """
    _require(step, "a step", _WORKFLOW_STEP, ("expect",))
    expected = _require(step["expect"], "expect", _WORKFLOW_EXPECTED)
    _require(expected.get("evidence", {}), "expect.evidence", _WORKFLOW_EVIDENCE)
    if sum(key in step for key in ("call", "reset_to", "set_stage_to")) != 1:
        raise MalformedError("a step has exactly one of call, reset_to and set_stage_to")
    if "call" in step:
        _require(step["call"], "call", {"tool": str, "args": dict}, ("tool",))
        if expected.get("decision") not in ("allow", "deny", "block", "pause"):
            raise MalformedError("expect.decision is not one of allow, deny, block, pause")
        if step.get("execution", "not_run") not in ("success", "error", "not_run"):
            raise MalformedError("execution is not one of success, error, not_run")


def state_of_case(state: Mapping[str, Any]) -> dict[str, Any]:
    """
    A state of a case, with erratum E2 mended: an unquoted line with a colon was read as a map of one entry.
    """
    evidence = state.get("evidence")
    if not isinstance(evidence, dict) or not isinstance(evidence.get("stage_calls"), dict):
        return dict(state)
    calls = {stage: [_line(item) for item in items] for stage, items in evidence["stage_calls"].items()}
    return {**state, "evidence": {**evidence, "stage_calls": calls}}


def _line(item: Any) -> Any:
    if isinstance(item, dict) and len(item) == 1:
        ((key, value),) = item.items()
        return f"{key}: {value}"
    return item


def _require(holder: Any, where: str, shape: _Shape, required: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(holder, dict):
        raise MalformedError(f"{where} is not a map")
    for key in required:
        if key not in holder:
            raise MalformedError(f"{where} has no key {key!r}")
    for key, value in holder.items():
        if key not in shape:
            raise MalformedError(f"{where} has the unknown key {key!r}")
        if not isinstance(value, shape[key]):
            raise MalformedError(f"{key!r} of {where} is of the wrong type, {type(value).__name__}")
    return holder
