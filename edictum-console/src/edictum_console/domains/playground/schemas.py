"""
Bodies about trying calls.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import attrs
from msgspec import Meta

from edictum_console.domains.rulesets.schemas import RulesetText
from edictum_console.http.bodies import Identifier, Label

Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Text = Annotated[str, Meta(max_length=1024)]


class Outcome(StrEnum):
    """
    What happens to a call or, with an output, to what the tool returned.
    """

    ALLOW = "allow"
    BLOCK = "block"
    ASK = "ask"
    WARN = "warn"
    REDACT = "redact"


class GuardMode(StrEnum):
    """
    Whether a guard blocks or only writes down.
    """

    ENFORCE = "enforce"
    OBSERVE = "observe"


@attrs.frozen
class TriedPrincipal:
    """
    On whose behalf a call is made.
    """

    user_id: Text | None = None
    service_id: Text | None = None
    org_id: Text | None = None
    role: Text | None = None
    ticket_ref: Text | None = None
    claims: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class SessionSoFar:
    """
    What a session did before the call.

    Attributes:
        attempts: Calls that it attempted.
        executions: Calls that were executed.
        tool_executions: Those of the same tool, and of others that share a limit with it.
    """

    attempts: Count = 0
    executions: Count = 0
    tool_executions: Count = 0


@attrs.frozen(kw_only=True)
class Trial:
    """
    A call to try, on a text, a stored version or a composition: exactly one of them.

    Attributes:
        yaml_content: The ruleset.
        name: The name of a stored ruleset, with ``version``.
        version: Which version of it.
        composition: The name of a composition.
        tool_name: The tool.
        tool_args: Its arguments.
        principal: On whose behalf.
        environment: Where.
        output: What the tool would return; null leaves post rules out.
        session: What happened before.
        mode: Instead of the ruleset's mode.
    """

    yaml_content: RulesetText | None = None
    name: Label | None = None
    version: int | None = None
    composition: Label | None = None
    tool_name: Text
    tool_args: dict[str, Any] = attrs.field(factory=dict)
    principal: TriedPrincipal | None = None
    environment: Identifier = "production"
    output: Any = None
    session: SessionSoFar = attrs.field(factory=SessionSoFar)
    mode: GuardMode | None = None


@attrs.frozen
class RuleOutcome:
    """
    What one rule said.

    Attributes:
        rule_id: The rule, or the limit.
        type: What kind of rule it is.
        passed: Whether it lets the call pass.
        action: What it asks for.
        message: Its message, where it does not.
        observed: Whether it only observes.
        error: Why it could not be judged, and counts as broken.
    """

    rule_id: str
    type: str
    passed: bool
    action: str | None
    message: str | None
    observed: bool
    error: str | None


@attrs.frozen
class Finding:
    """
    What a post rule found in the output.
    """

    rule_id: str
    action: str
    message: str


@attrs.frozen
class Evaluation:
    """
    What would happen.

    Attributes:
        decision: What happens in the mode that counts.
        enforced: What happens where everything is enforced that is not observed by itself.
        mode: The mode that counts.
        decision_name: The rule or limit that decided.
        decision_source: What kind of check it was.
        reason: What the agent is told.
        rules_evaluated: What each rule said that was judged, in order.
        findings: What post rules found in the output.
        output: What the agent would see of it, if it is redacted.
        policy_error: Whether a rule that counts could not be judged.
        duration_ms: How long judging took.
    """

    decision: Outcome
    enforced: Outcome
    mode: GuardMode
    decision_name: str | None
    decision_source: str | None
    reason: str | None
    rules_evaluated: list[RuleOutcome]
    findings: list[Finding]
    output: Any
    policy_error: bool
    duration_ms: float
