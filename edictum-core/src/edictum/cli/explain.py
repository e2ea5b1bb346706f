"""
``edictum explain``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from edictum.cli.inputs import add_call_options, json_object, load_guard, principal_of
from edictum.cli.terminal import CommandError, say
from edictum.cli.trial import SessionSoFar, Trial, TrialCall, build_call, counters, plan_of, try_call

if TYPE_CHECKING:
    from edictum.engine.outcome import Fired
    from edictum.engine.plan import ToolPlan
    from edictum.guard import Edictum
    from edictum.ruleset.policy import CompiledRule
    from edictum.tool_call import ToolCall

_KINDS = {"precondition": "pre", "sandbox": "sandbox", "session_contract": "session", "postcondition": "post"}


def configure(parser: argparse.ArgumentParser) -> None:
    """
    Add the options.
    """
    parser.add_argument("file", metavar="FILE", help="ruleset, YAML or JSON")
    add_call_options(parser)
    parser.add_argument("--output", metavar="TEXT", help="what the tool would return; judged by post rules")
    parser.add_argument("--session-calls", type=_number, metavar="N", help="calls executed before this one")
    parser.add_argument("--session-attempts", type=_number, metavar="N", help="calls attempted before this one")
    parser.add_argument("--session-tool-calls", type=_number, metavar="N", help="executed calls of this tool")
    parser.epilog = "Exit code 1 means that the call is blocked, or needs the approval of a person."


def run(arguments: argparse.Namespace) -> int:
    """
    Show every rule that concerns the call, then the decision.

    Unlike the decision itself the trace does not end at the first rule that blocks.
    """
    args = json_object(arguments.args, "--args")
    session = _session(arguments)
    guard = load_guard(arguments.file, environment=arguments.environment)
    principal = principal_of(arguments)
    call = TrialCall(arguments.tool, args, arguments.environment, principal, session, arguments.output)
    trial = try_call(guard, call)
    plan = plan_of(guard, call.tool)
    _show_head(guard, arguments.file, call, build_call(plan, call))
    for line in _trace(plan, call, trial):
        say(line)
    _show_decision(trial)
    return 1 if trial.outcome in ("block", "ask") else 0


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number from 0 to 999999999')
    return int(text)


def _session(arguments: argparse.Namespace) -> SessionSoFar:
    """
    The session that the options describe; what is not given follows from what is.
    """
    of_tool = arguments.session_tool_calls or 0
    calls = of_tool if arguments.session_calls is None else arguments.session_calls
    attempts = calls if arguments.session_attempts is None else arguments.session_attempts
    if not of_tool <= calls <= attempts:
        raise CommandError(
            "a session has at least as many attempts as calls, and as many calls as calls of one tool; "
            "check --session-attempts, --session-calls and --session-tool-calls"
        )
    return SessionSoFar(attempts, calls, {arguments.tool: of_tool})


def _show_head(guard: Edictum, path: str, call: TrialCall, built: ToolCall) -> None:
    described = guard.describe()
    say(f"ruleset {described['ruleset']} ({path}), mode {guard.mode}")
    say(f"call of {call.tool}, {built.side_effect.value}, environment {call.environment}")
    if described["disabled_rules"]:
        say(f"disabled: {', '.join(described['disabled_rules'])}")
    for remark in built.notes:
        say(f"note: {remark}")
    say()


def _trace(plan: ToolPlan, call: TrialCall, trial: Trial) -> Iterator[str]:
    from edictum.engine.decide import judge, judge_limits
    from edictum.ruleset.selectors import ToolResult

    before = counters(plan, call.session)
    counts = (before[0] + 1, *before[1:])  # the attempt that is judged counts too
    built = build_call(plan, call)
    post = plan.post if call.output is not None else ()
    width = max((len(rule.id) for rule in (*plan.rules, *post)), default=0)
    if not plan.rules:
        yield "  no rule concerns a call of this tool"
    for rule in plan.rules:
        fired = judge(rule, built, None) if rule.limits is None else judge_limits(rule, plan, counts)
        yield from _rule_lines(rule, fired, width)
    yield from _limit_lines(plan, counts)
    if post and trial.outcome in ("block", "ask") and trial.output is None:
        yield "  and if the tool ran all the same:"
    result = ToolResult(call.output)
    for rule in post:
        yield from _rule_lines(rule, judge(rule, built, result), width)


def _rule_lines(rule: CompiledRule, fired: Fired | None, width: int) -> Iterator[str]:
    head = f"  {_KINDS[rule.kind]:<8}{rule.id:<{width}}  "
    if fired is None:
        yield head + "passed"
        return
    observed = ", only observed" if rule.observe else ""
    yield f"{head}fired, {rule.action}{observed}: {fired.message}"
    if fired.metadata and "outside" in fired.metadata:
        yield f"          outside: {fired.metadata['outside']}"
    if fired.error is not None:
        yield f"          could not be judged: {fired.error}"


def _limit_lines(plan: ToolPlan, counts: Sequence[int]) -> Iterator[str]:
    limits = plan.limits
    yield f"  limit   attempts with this one: {counts[0]} of {limits.max_attempts.number}"
    yield f"  limit   calls before this one: {counts[1]} of {limits.max_tool_calls.number}"
    for item in plan.tool_limits:
        yield f"  limit   calls of {item.pattern} before this one: {counts[item.counter]} of {item.limit.number}"


def _show_decision(trial: Trial) -> None:
    say()
    by = f" by {', '.join(trial.rules)} ({trial.source})" if trial.rules else ""
    say(f"decision: {trial.outcome}{by}")
    for line in (*trial.messages, *trial.notes, *trial.errors):
        say(f"  {line}")
    if trial.output is not None and trial.outcome in ("redact", "block"):
        say(f"output: {trial.output}")
