"""
``edictum test``.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edictum.cli.cases import Case, read_calls, read_cases
from edictum.cli.inputs import add_environment_option, load_guard
from edictum.cli.terminal import counted, say, say_json
from edictum.cli.trial import Trial, try_call

if TYPE_CHECKING:
    from edictum.guard import Edictum


def configure(parser: argparse.ArgumentParser) -> None:
    """
    Add the options.
    """
    parser.add_argument("ruleset", metavar="RULESET", help="ruleset, YAML or JSON")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--cases", metavar="FILE", help="calls with expectations, YAML or JSON")
    given.add_argument("--calls", metavar="FILE", help='list of {"tool", "args"}, JSON')
    add_environment_option(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = "Exit code 1 means that a case failed or, with --calls, that a call is not allowed."


def run(arguments: argparse.Namespace) -> int:
    """
    Try the calls of a file.
    """
    if arguments.cases is not None:
        return _run_cases(arguments)
    return _run_calls(arguments)


def _run_cases(arguments: argparse.Namespace) -> int:
    cases = read_cases(arguments.cases, arguments.environment)
    guard = load_guard(arguments.ruleset, environment=arguments.environment)
    results = [_try_case(guard, case) for case in cases]
    passed = sum(result["passed"] for result in results)
    if arguments.json:
        shown = {"total": len(results), "passed": passed, "failed": len(results) - passed, "results": results}
        say_json({"ruleset": arguments.ruleset, **shown})
    else:
        for case, result in zip(cases, results, strict=True):
            _show_case(case, result)
        say(f"{passed} of {counted(len(results), 'case')} passed")
    return 0 if passed == len(results) else 1


def _try_case(guard: Edictum, case: Case) -> dict[str, Any]:
    trial = try_call(guard, case.call)
    failures = list(_failures(case, trial))
    return {
        "id": case.id,
        "tool": case.call.tool,
        "expect": case.expect,
        "decision": trial.outcome,
        "passed": not failures,
        "reason": trial.reason,
        "rule_id": trial.rule,
        "failures": failures,
        # What explains a failure; a case that passes needs no explanation.
        "notes": list(trial.notes) if failures else [],
    }


def _failures(case: Case, trial: Trial) -> Iterator[str]:
    by = f' by "{trial.rule}": {trial.reason}' if trial.rule is not None else ""
    if trial.outcome != case.expect:
        yield f"expected {case.expect}, got {trial.outcome}{by}"
    elif case.rule is not None and case.rule not in trial.rules:
        yield f'expected rule "{case.rule}" to decide, but it was decided{by}'
    elif case.message_contains is not None and not any(case.message_contains in text for text in trial.messages):
        yield f'expected a message with "{case.message_contains}", got {trial.outcome}{by}'
    elif not case.tags <= trial.tags:
        missing = ", ".join(f'"{tag}"' for tag in sorted(case.tags - trial.tags))
        yield f"expected the deciding rule to have the tags {missing}; decided{by}"
    yield from trial.errors


def _show_case(case: Case, result: dict[str, Any]) -> None:
    if result["passed"]:
        say(f"ok    {case.id}")
        return
    say(f"FAIL  {case.id} ({case.place})")
    for line in (*result["failures"], *result["notes"]):
        say(f"      {line}")


def _run_calls(arguments: argparse.Namespace) -> int:
    calls = read_calls(arguments.calls, arguments.environment)
    guard = load_guard(arguments.ruleset, environment=arguments.environment)
    trials = [try_call(guard, call) for call in calls]
    outcomes = Counter(trial.outcome for trial in trials)
    if arguments.json:
        say_json(
            {
                "ruleset": arguments.ruleset,
                "total": len(trials),
                "allowed": outcomes["allow"],
                "blocked": outcomes["block"],
                "asked": outcomes["ask"],
                "results": [
                    {
                        "tool": call.tool,
                        "args": call.args,
                        "decision": trial.outcome,
                        "reason": trial.reason,
                        "rule_id": trial.rule,
                        "errors": list(trial.errors),
                    }
                    for call, trial in zip(calls, trials, strict=True)
                ],
            }
        )
    else:
        for number, (call, trial) in enumerate(zip(calls, trials, strict=True), 1):
            by = f' by "{trial.rule}": {trial.reason}' if trial.rule is not None else ""
            say(f"{trial.outcome:<6}{number}. {call.tool}{by}")
            for line in (*trial.notes, *trial.errors):
                say(f"      {line}")
        say(f"{outcomes['allow']} of {counted(len(trials), 'call')} allowed")
    fine = outcomes["allow"] == len(trials) and not any(trial.errors for trial in trials)
    return 0 if fine else 1
