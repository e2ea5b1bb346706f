"""
A coding agent under control: plays recorded tool calls against a real project and shows every decision.

    python examples/coding_agent/play.py [--log FILE]

``ruleset.yaml`` says what is allowed and ``workflow.yaml`` in which order; ``session.json`` holds the calls and what
must become of each, and ``workspace.py`` makes the project and the tools: real ones, in a temporary folder.  Exit code
1: a decision was not the expected one, a stopped call changed anything on disk, or a planted secret reached the agent
or the decision log.

To learn the API, read ``play`` first, then ``play_all``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from edictum import (
    ApprovalDecision,
    ApprovalRequest,
    ApprovalStatus,
    CollectingAuditSink,
    Edictum,
    EdictumDenied,
    EdictumToolError,
    FileAuditSink,
    GovernanceTelemetry,
    has_otel,
)
from workspace import Tools, Workspace

HERE = Path(__file__).parent
STOPPED = {"blocked", "refused"}
HEADING = f"{'#':>2}  {'call':<42}  {'decision':<9}  {'µs':>7}  {'rule':<28}  {'stage':<8}  reason"


class RecordedApprovals:
    """
    An approval backend that answers as the recording says, in place of a person at a console.
    """

    def __init__(self) -> None:
        self.next_answer = "no"

    async def request_approval(
        self, tool_name: str, tool_args: dict[str, Any], message: str, **more: Any
    ) -> ApprovalRequest:
        """
        Take the question; a real backend would show it to somebody.
        """
        return ApprovalRequest("approval-1", tool_name, tool_args, message, more.get("timeout", 300))

    async def wait_for_decision(self, approval_id: str, timeout: int | None = None) -> ApprovalDecision:
        """
        Answer the question.
        """
        approved = self.next_answer == "yes"
        status = ApprovalStatus.APPROVED if approved else ApprovalStatus.DENIED
        return ApprovalDecision(approved=approved, approver="recording", status=status)


@dataclass
class Outcome:
    """
    What became of one call, as the agent saw it and as the decision log tells it.
    """

    decision: str
    rule: str
    stage: str
    reason: str
    answer: str
    microseconds: float
    problems: list[str] = field(default_factory=list)


async def play(call: dict[str, Any], guard: Edictum, log: CollectingAuditSink, tools: Tools) -> Outcome:
    """
    Let the guard decide on one call and run it if allowed: this is all that an agent loop has to do.
    """
    mark = log.mark()
    begin = perf_counter_ns()
    try:
        answer = await guard.run(call["tool"], call["args"], tools.named(call["tool"]), session_id="demo")
    except EdictumDenied as denied:
        answer = denied.reason  # a text for the agent: why, and what to do instead
    except EdictumToolError as failed:
        answer = str(failed)  # the tool's own failure, already cleared of secrets
    spent = perf_counter_ns() - begin - tools.nanoseconds
    events = log.since_mark(mark)
    decision, rule, reason = explain(events)
    stage = next((event.workflow["active_stage"] for event in reversed(events) if event.workflow), "")
    return Outcome(decision, rule, stage, reason, str(answer), spent / 1000)


def explain(events: list[Any]) -> tuple[str, str, str]:
    """
    Read decision, rule and reason from the decision-log events of one call.
    """
    actions = {str(event.action.value): event for event in events}
    for action, decision in (
        ("call_denied", "blocked"),
        ("call_approval_denied", "refused"),
        ("call_approval_granted", "approved"),
        ("call_failed", "failed"),
    ):
        if event := actions.get(action):
            return decision, event.decision_name or "", event.reason or ""
    failed = [record for record in actions["call_executed"].contracts_evaluated if not record["passed"]]
    if failed:
        return "redacted", failed[0]["name"], failed[0]["message"] or ""
    return "allowed", "", ""


def problems_of(call: dict[str, Any], outcome: Outcome, changed: bool, secrets: list[str]) -> list[str]:
    """
    Compare an outcome with the recording, with the disk and with the planted secrets.
    """
    found = []
    if outcome.decision != call["expect"] or outcome.rule != call.get("rule", ""):
        found.append(f"expected {call['expect']} {call.get('rule', '')}")
    if call.get("shows", "") not in outcome.answer:
        found.append(f"the agent should have seen {call['shows']!r}")
    if changed and call["expect"] in STOPPED:
        found.append("a stopped call changed files")
    if any(secret in outcome.answer for secret in secrets):
        found.append("the agent got a secret")
    return found


def show(number: int, call: dict[str, Any], outcome: Outcome) -> None:
    """
    Print one row of the table.
    """
    colours = {"allowed": 32, "approved": 32, "redacted": 33, "failed": 33}
    text = f"{call['tool']} {call['args'].get('path') or call['args'].get('command')}"
    text = text if len(text) <= 42 else text[:39] + "..."
    decision = f"{outcome.decision:<9}"
    if sys.stdout.isatty():
        decision = f"\x1b[{colours.get(outcome.decision, 31)}m{decision}\x1b[0m"
    reason = outcome.reason if len(outcome.reason) <= 80 else outcome.reason[:77] + "..."
    spent = f"{outcome.microseconds:>7.0f}"
    print(f"{number:>2}  {text:<42}  {decision}  {spent}  {outcome.rule:<28}  {outcome.stage:<8}  {reason}")
    for problem in outcome.problems:
        print(f"    WRONG: {problem}")


class RecordedSpans:
    """
    OpenTelemetry spans kept in memory, in place of a collector.
    """

    def __init__(self) -> None:
        self.telemetry: GovernanceTelemetry | None = None
        if has_otel():
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import SimpleSpanProcessor
            from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

            self._exporter = InMemorySpanExporter()
            provider = TracerProvider()
            provider.add_span_processor(SimpleSpanProcessor(self._exporter))
            self.telemetry = GovernanceTelemetry(tracer_provider=provider)

    def texts(self) -> list[str]:
        """
        All spans as JSON.
        """
        return [span.to_json() for span in self._exporter.get_finished_spans()] if self.telemetry else []

    def show_last(self) -> None:
        """
        Print the span of the last call.
        """
        if self.telemetry is None:
            print("\nOpenTelemetry: not installed, so there are no spans")
            return
        spans = self._exporter.get_finished_spans()
        last = spans[-1]
        print(f"\nOpenTelemetry: {len(spans)} spans; the last one is {last.name!r}")
        for name, value in sorted((last.attributes or {}).items()):
            print(f"    {name} = {value}")


async def play_all(workspace: Workspace, log_file: Path, spans: RecordedSpans) -> list[str]:
    """
    Play the whole recording and return everything that went wrong.
    """
    approvals = RecordedApprovals()
    guard = Edictum.from_yaml(
        HERE / "ruleset.yaml",
        workflow_path=HERE / "workflow.yaml",
        tools={"bash": {"side_effect": "irreversible", "shell": True}},  # so that the workflow reads its commands
        success_check=lambda tool, result: tool != "bash" or result.endswith("[exit code 0]"),
        audit_sink=FileAuditSink(log_file),
        approval_backend=approvals,
        telemetry=spans.telemetry,
    )
    tools = Tools(workspace)
    recording = (HERE / "session.json").read_text()
    recording = recording.replace("{token}", workspace.token).replace("{workspace}", str(workspace.folder))

    print(HEADING)
    problems = []
    for number, call in enumerate(json.loads(recording), start=1):
        approvals.next_answer = call.get("answer", "no")
        before = workspace.digest()
        outcome = await play(call, guard, guard.local_sink, tools)
        outcome.problems = problems_of(call, outcome, workspace.digest() != before, workspace.secrets)
        problems += outcome.problems
        show(number, call, outcome)
    await guard.close()
    return problems


def main() -> int:
    """
    Build the workspace, play the recording, check the decision log.
    """
    options = argparse.ArgumentParser(description="Play recorded tool calls of a coding agent.")
    options.add_argument("--log", type=Path, help="file for the decision log (default: a temporary one)")
    log_file: Path | None = options.parse_args().log
    if log_file is None:
        log_file = Path(tempfile.mkdtemp(prefix="edictum-demo-")) / "decisions.jsonl"
    log_file = log_file.resolve()
    with tempfile.TemporaryDirectory(prefix="edictum-demo-") as folder:
        workspace = Workspace(Path(folder).resolve())
        spans = RecordedSpans()
        with contextlib.chdir(workspace.project):  # where an agent is started, and what "within: [.]" means
            problems = asyncio.run(play_all(workspace, log_file, spans))
    spans.show_last()

    written = log_file.read_text()
    lines = [json.loads(line) for line in written.splitlines()]
    if not lines:
        problems.append("the decision log is empty")
    if any(secret in written for secret in workspace.secrets):
        problems.append("the decision log holds a secret")
    if any(secret in text for secret in workspace.secrets for text in spans.texts()):
        problems.append("a span holds a secret")
    print(f"\nDecision log: {log_file} ({len(lines)} events)")
    print("\n".join(problems) or "Every decision was the expected one, and no stopped call had an effect.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
