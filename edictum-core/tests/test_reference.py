"""
The package decides what the slow reference evaluator decides.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from call_strategies import fields_of, meetings, pre, ruleset, scenarios
from edictum import ApprovalStatus, Edictum, EdictumDenied, OperationLimits
from edictum.testing import AutoApprovalBackend
from hypothesis import event, given, settings
from reference import Call, Data, Evaluation, evaluate
from reference_session import Options, Outcome, Session

many = settings(max_examples=max(200, settings().max_examples))


@pytest.mark.property
@many
@given(meetings())
def test_evaluate_any_ruleset_and_call_agrees_with_the_reference(meeting: tuple[Data, Call]) -> None:
    document, call = meeting
    expected = evaluate(document, call)
    event(f"decision {expected.decision}, policy error {expected.policy_error}")

    guard = Edictum.from_bundle_dict(document, env=call.env)
    found = guard.evaluate(call.tool, call.args, output=call.output, **fields_of(call))

    verdicts = [(rule.rule_id, _verdict(rule), rule.observed) for rule in found.rules]
    seen = Evaluation(
        found.decision, verdicts, found.block_reasons, found.warn_reasons, found.would_ask, found.policy_error
    )
    assert expected == seen


def _verdict(rule: Any) -> str:
    if rule.passed:
        return "false"
    return "error" if rule.policy_error else "true"


@pytest.mark.property
@many
@given(scenarios())
def test_run_any_calls_in_a_session_agree_with_the_reference(scenario: tuple[Data, Options, list[Call]]) -> None:
    document, made_with, several = scenario
    session = Session(document, made_with)
    expected = [session.run(call) for call in several]
    for outcome in expected:
        event(f"executed {outcome.executed}, source {outcome.source}, asked {bool(outcome.asked)}")

    assert expected == asyncio.run(_run(document, made_with, several))


async def _run(document: Data, made_with: Options, several: list[Call]) -> list[Outcome]:
    approvals = AutoApprovalBackend(ApprovalStatus(made_with.approval)) if made_with.approval else None
    guard = Edictum.from_bundle_dict(
        document,
        env=several[0].env,
        mode=made_with.mode,
        limits=None if made_with.limits is None else OperationLimits(**made_with.limits),
        approval_backend=approvals,
        success_check=lambda tool, result: True,
        # Everything reads, so that results may be changed, which must not change who decides.
        tools={"*": {"side_effect": "read"}},
    )
    return [await _run_one(guard, call, approvals) for call in several]


async def _run_one(guard: Edictum, call: Call, approvals: AutoApprovalBackend | None) -> Outcome:
    executions: list[Data] = []

    def tool(**args: Any) -> Any:
        executions.append(args)
        return call.output

    mark = len(guard.local_sink.events)
    requested = len(approvals.requests) if approvals is not None else 0
    try:
        decision = (await guard.run_detailed(call.tool, call.args, tool, **fields_of(call))).decision
        source, name = decision.decision_source, decision.decision_name
    except EdictumDenied as denied:
        source, name = denied.decision_source, denied.decision_name
    outcome = Outcome(
        executed=executions != [],
        source=source,
        name=name,
        events=[(str(event.action), event.decision_name) for event in guard.local_sink.events[mark:]],
    )
    for request in approvals.requests[requested:] if approvals is not None else ():
        outcome.asked = tuple(request.metadata["rules"])
        outcome.timeout = (int(request.timeout), request.timeout_action)
    return outcome


@pytest.mark.parametrize("action", ["block", "ask"])
@pytest.mark.parametrize("answer", ["denied", "timeout", None])
def test_run_rule_that_cannot_be_judged_is_a_policy_error_on_the_event_of_its_block(
    action: str, answer: str | None
) -> None:
    document = ruleset(pre({"args.a": {"contains": "x"}}, action))
    approvals = AutoApprovalBackend(ApprovalStatus(answer)) if answer is not None else None
    guard = Edictum.from_bundle_dict(document, approval_backend=approvals)

    with pytest.raises(EdictumDenied):
        asyncio.run(guard.run("tool", {"a": 1}, lambda a: a))

    assert guard.local_sink.events[-1].policy_error
