"""
``edictum check``.
"""

from __future__ import annotations

import argparse

from edictum.cli.inputs import add_call_options, json_object, load_guard, principal_of
from edictum.cli.terminal import counted, say, say_json
from edictum.cli.trial import Trial, TrialCall, try_call


def configure(parser: argparse.ArgumentParser) -> None:
    """
    Add the options.
    """
    parser.add_argument("files", nargs="+", metavar="FILE", help="ruleset, YAML or JSON; several are composed")
    add_call_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = "Exit code 1 means that the call is blocked, or needs the approval of a person."


def run(arguments: argparse.Namespace) -> int:
    """
    Say what is decided about the first call of a session.
    """
    args = json_object(arguments.args, "--args")
    guard = load_guard(*arguments.files, environment=arguments.environment)
    call = TrialCall(arguments.tool, args, arguments.environment, principal_of(arguments))
    trial = try_call(guard, call)
    if arguments.json:
        say_json(
            {
                "tool": call.tool,
                "args": args,
                "decision": trial.outcome,
                "reason": trial.reason,
                "rules_evaluated": trial.judged,
                "environment": call.environment,
                "rule_id": trial.rule,
            }
        )
    else:
        _show(call, trial)
    return 0 if trial.outcome == "allow" else 1


def _show(call: TrialCall, trial: Trial) -> None:
    say(f"{trial.outcome}: {call.tool}")
    if trial.rule is not None:
        say(f"rule: {trial.rule}")
        say(f"reason: {trial.reason}")
    for error in trial.errors:
        say(f"error: {error}")
    for remark in trial.notes:
        say(f"note: {remark}")
    say(f"{counted(trial.judged, 'rule')} judged, environment {call.environment}")
