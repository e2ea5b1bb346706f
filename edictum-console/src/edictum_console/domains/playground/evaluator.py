"""
A program that judges one call and ends: ``python -m edictum_console.domains.playground.evaluator``.

It says that it is ready, reads one JSON object, takes its own means away and writes one JSON object.  It has a process
of its own because a ruleset is somebody's input: whatever it costs, the console goes on, and what ends it is the
operating system.  Only public names of the core are used, so what it says is what an agent would do.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from edictum import (
    CheckPipeline,
    CollectingAuditSink,
    Edictum,
    MemoryBackend,
    PostDecision,
    PreDecision,
    Principal,
    Session,
    create_tool_call,
)

READY = b"ready\n"

_MEMORY = 256 * 1024 * 1024  # addresses, of which the interpreter takes 40 MiB
_CPU_SECONDS = 2
_SESSION_ID = "playground"
_CODE = (sys.base_prefix, *filter(None, sys.path))  # where modules are, the only files that are read
_REFUSED = ("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.system", "ctypes.")


def main() -> None:
    """
    Judge the call on standard input.
    """
    with asyncio.Runner() as runner:
        runner.get_loop()  # has sockets, which nothing may open later
        _warm_up(runner)
        sys.stdout.buffer.write(READY)
        sys.stdout.buffer.flush()
        request = json.load(sys.stdin.buffer)
        _give_up_means()
        try:
            reply = runner.run(judge(request))
        except (MemoryError, RecursionError):
            reply = {"problem": "needs more memory than a trial may have", "code": "trial_too_large"}
        sys.stdout.write(json.dumps(reply))
        sys.stdout.flush()


async def judge(request: Mapping[str, Any]) -> dict[str, Any]:
    """
    Say what happens to a call.

    Args:
        request: ``text``, ``tool_name``, ``tool_args``, ``principal``, ``environment``, ``output``, ``session`` and
            ``mode``.

    Returns:
        The fields of an evaluation, or a ``problem`` with the call.
    """
    guard = Edictum.from_yaml_string(
        request["text"],
        legacy="upgrade",
        environment=request["environment"],
        mode=request["mode"],
        env={},  # the console's own variables are nobody's business
        audit_sink=CollectingAuditSink(),  # and a file that a ruleset names is not written here
        telemetry=False,
    )
    principal = request["principal"]
    try:
        call = create_tool_call(
            request["tool_name"],
            request["tool_args"],
            run_id=_SESSION_ID,
            registry=guard.tool_registry,
            environment=request["environment"],
            principal=None if principal is None else Principal(**principal),
        )
    except ValueError as error:
        return {"problem": str(error), "code": "invalid_call"}
    pipeline, backend = CheckPipeline(guard), MemoryBackend()
    session = request["session"]
    known = {"attempts": session["attempts"], "execs": session["executions"]}
    for name in pipeline.plan(call.tool_name).counters:
        await backend.increment(f"s:{_SESSION_ID}:{name}", known.get(name, session["tool_executions"]))
    started = time.perf_counter()
    before = await pipeline.pre_execute(call, Session(_SESSION_ID, backend))
    passes = before.action == "allow" or guard.mode == "observe"
    after = None
    if passes and request["output"] is not None:
        after = await pipeline.post_execute(call, request["output"], True)
    duration = time.perf_counter() - started
    return {"mode": guard.mode, "duration_ms": round(duration * 1000, 3), **_outcome(guard.mode, before, after)}


def _outcome(mode: str, before: PreDecision, after: PostDecision | None) -> dict[str, Any]:
    words = {"allow": "allow", "block": "block", "pending_approval": "ask"}
    enforced = words[before.action]
    records = [*before.contracts_evaluated, *(after.contracts_evaluated if after is not None else ())]
    name, source, reason, findings, output = before.decision_name, before.decision_source, before.reason, [], None
    if after is not None:
        findings = [_finding(record) for record in after.contracts_evaluated if _counts(record)]
        output = after.redacted_response
        if enforced == "allow" and findings:
            enforced = "block" if after.output_suppressed else "redact" if output is not None else "warn"
            name, source, reason = findings[0]["rule_id"], "yaml_postcondition", findings[0]["message"]
    return {
        "decision": "allow" if mode == "observe" else enforced,
        "enforced": enforced,
        "decision_name": name,
        "decision_source": source,
        "reason": reason,
        "rules_evaluated": _rules(records),
        "findings": findings,
        "output": output,
        "policy_error": before.policy_error or (after is not None and after.policy_error),
    }


def _counts(record: Mapping[str, Any]) -> bool:
    return not record["passed"] and not record.get("observed")


def _finding(record: Mapping[str, Any]) -> dict[str, Any]:
    action = record.get("effective_action", record["action"])
    return {"rule_id": record["name"], "action": action, "message": record["message"] or ""}


def _rules(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "rule_id": record["name"],
            "type": record["type"],
            "passed": record["passed"],
            "action": record.get("action"),
            "message": record.get("message"),
            "observed": bool(record.get("observed")),
            "error": (record.get("metadata") or {}).get("error_detail"),
        }
        for record in records
    ]


def _warm_up(runner: asyncio.Runner) -> None:
    """
    Load what the core loads when it is first needed.
    """
    rule = {"id": "warm", "type": "sandbox", "tool": "t", "within": ["/"], "message": "m"}
    head = {
        "apiVersion": "edictum/v1",
        "kind": "Ruleset",
        "metadata": {"name": "warm"},
        "defaults": {"mode": "enforce"},
    }
    request: dict[str, Any] = {"text": json.dumps({**head, "rules": [rule]}), "tool_name": "t", "environment": "e"}
    request |= {"tool_args": {"path": "/tmp"}, "principal": None, "output": "o", "mode": None}
    runner.run(judge({**request, "session": {"attempts": 0, "executions": 0, "tool_executions": 0}}))


def _give_up_means() -> None:
    limits = {resource.RLIMIT_AS: _MEMORY, resource.RLIMIT_CPU: _CPU_SECONDS}
    for which, limit in {**limits, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_CORE: 0}.items():
        resource.setrlimit(which, (limit, limit))
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith(_REFUSED) or (event == "open" and not str(arguments[0]).startswith(_CODE)):
        raise PermissionError("a trial must not reach anything")


if __name__ == "__main__":
    main()
