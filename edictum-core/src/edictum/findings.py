"""
Violations: what post rules found in a tool's result, in a form for programs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edictum.engine.outcome import PostDecision

# Words in a rule's id or message, first match wins; a published classification.
_KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("pii_detected", ("pii", "ssn", "patient", "name", "dob")),
    ("secret_detected", ("secret", "token", "key", "credential", "password")),
    ("limit_exceeded", ("session", "limit", "max_calls", "budget")),
)


class Finding:
    """
    One broken post rule.

    Attributes:
        type: See :func:`classify_finding`.
        rule_id: The rule.
        field: What it looked at.
        message: Its message.
        metadata: What it added.
    """

    __slots__ = ("field", "message", "metadata", "rule_id", "type")

    def __init__(
        self,
        *,
        type: str,
        rule_id: str,
        field: str,
        message: str,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.type = type
        self.rule_id = rule_id
        self.field = field
        self.message = message
        self.metadata: dict[str, Any] = dict(metadata or {})

    def __repr__(self) -> str:
        return f"Finding(type={self.type!r}, rule_id={self.rule_id!r}, field={self.field!r})"


class PostCallResult:
    """
    A result together with what was found in it.

    Attributes:
        result: The result as the agent may see it.
        postconditions_passed: Whether all enforcing post rules passed.
        violations: What was found.
        output_suppressed: Whether the result is withheld.
    """

    __slots__ = ("output_suppressed", "postconditions_passed", "result", "violations")

    def __init__(
        self,
        result: Any,
        postconditions_passed: bool = True,
        violations: list[Finding] | None = None,
        output_suppressed: bool = False,
    ) -> None:
        self.result = result
        self.postconditions_passed = postconditions_passed
        self.violations = violations if violations is not None else []
        self.output_suppressed = output_suppressed

    @property
    def findings(self) -> list[Finding]:
        """
        Older name of :attr:`violations`.
        """
        return self.violations


def classify_finding(rule_id: str, message: str) -> str:
    """
    Sort a violation by words in the rule's id and message.

    Returns:
        ``pii_detected``, ``secret_detected``, ``limit_exceeded`` or ``policy_violation``.
    """
    text = f"{rule_id} {message}".lower()
    for kind, words in _KINDS:
        if any(word in text for word in words):
            return kind
    return "policy_violation"


def build_findings(decision: PostDecision) -> list[Finding]:
    """
    One violation for each enforcing rule that fired.
    """
    found = []
    for record in decision.contracts_evaluated:
        if record["passed"] or record.get("observed"):
            continue
        metadata = dict(record.get("metadata") or {})
        found.append(
            Finding(
                type=classify_finding(record["name"], record["message"] or ""),
                rule_id=record["name"],
                field=str(metadata.get("field", "output")),
                message=record["message"] or "",
                metadata=metadata,
            )
        )
    return found
