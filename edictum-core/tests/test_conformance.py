"""
The shared fixtures pass, and their runner reports whatever does not.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import edictum
import pytest
from edictum import Edictum, EdictumDenied
from edictum.testing import AutoApprovalBackend, conformance
from edictum.testing.conformance import check_folder, main
from edictum.testing.conformance_cases import Outcome, judge

SOURCE = Path(edictum.__file__).parents[1]
BESIDE_CHECKOUT = Path(__file__).parents[3] / "shared" / "conformance" / "fixtures"
SHARED = Path(os.environ.get("EDICTUM_SCHEMAS_DIR") or BESIDE_CHECKOUT)
REQUIRED = os.environ.get("EDICTUM_CONFORMANCE_REQUIRED") == "1"
# No test waits this long unless it fails.
PATIENCE = 60.0


def ruleset(*rules: dict[str, Any], mode: str = "enforce") -> dict[str, Any]:
    return {
        "apiVersion": "edictum/v1",
        "kind": "Ruleset",
        "metadata": {"name": "test-bundle"},
        "defaults": {"mode": mode},
        "rules": list(rules),
    }


def pre(action: str = "block", **extra: Any) -> dict[str, Any]:
    then = {"action": action, "message": "no removing here", "tags": ["files", "danger"]}
    timeouts = {key: extra.pop(key) for key in ("timeout", "timeout_effect") if key in extra}
    when = {"args.command": {"contains": "rm -rf"}}
    return {"id": "no-rm", "type": "pre", "tool": "Bash", "when": when, "then": {**then, **timeouts}, **extra}


def post(action: str) -> dict[str, Any]:
    when = {"result.output": {"contains": "token"}}
    return {"id": "look", "type": "post", "tool": "*", "when": when, "then": {"action": action, "message": "saw it"}}


def session(**limits: Any) -> dict[str, Any]:
    return {"id": "cap", "type": "session", "limits": limits, "then": {"action": "block", "message": "cap reached"}}


def sandbox(**extra: Any) -> dict[str, Any]:
    return {"id": "box", "type": "sandbox", "tool": "Read", "within": ["/srv"], "message": "stay in", **extra}


def case(contract: dict[str, Any], verdict: str, *, command: str = "rm -rf /srv", **keys: Any) -> dict[str, Any]:
    expected = {"verdict": verdict, **keys.pop("expected", {})}
    envelope = {"tool_name": "Bash", "arguments": {"command": command}}
    return {"id": "case-001", "contract": contract, "envelope": envelope, "expected": expected, **keys}


def rejection(bundle: Any, needle: str = "mode", rejected: bool = True) -> dict[str, Any]:
    return {"id": "rej-901", "bundle": bundle, "expected": {"rejected": rejected, "error_contains": needle}}


def write(folder: Path, name: str, *cases: Any, version: int = 1) -> Path:
    """
    Write a fixture file; JSON is YAML.
    """
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    suite = {"suite": path.stem, "version": version, "description": "made by a test", "fixtures": list(cases)}
    path.write_text(json.dumps(suite), encoding="utf-8")
    return path


# --- the shared fixtures -------------------------------------------------------------------------


def test_shared_fixtures_all_of_them_pass() -> None:
    if not SHARED.is_dir() and not REQUIRED:
        pytest.skip("NO CONFORMANCE FIXTURES: set EDICTUM_SCHEMAS_DIR to their folder")

    report = check_folder(SHARED, required=REQUIRED)

    assert [line for line in report.lines() if line.startswith("FAILED")] == []
    assert report.count("passed", "behavioral") > 0
    assert report.count("passed", "rejection") > 0


# --- one case ------------------------------------------------------------------------------------

RIGHT = {
    "blocked": case(ruleset(pre()), "denied", expected={"message_contains": "removing", "tags": ["files", "danger"]}),
    "allowed": case(ruleset(pre()), "allowed", command="ls"),
    "warned": case(ruleset(post("warn")), "warned", result={"output": "a token"}),
    "redacted": case(ruleset(post("redact")), "redacted", result={"output": "a token"}),
    "withheld": case(ruleset(post("block")), "denied", result={"output": "a token"}),
    "failing tool": case(ruleset(post("warn")), "warned", result={"output": "a token", "is_error": True}),
    "no result": case(ruleset(post("warn")), "allowed"),
    "observed ruleset": case(ruleset(pre(), mode="observe"), "allowed", expected={"audit_action": "observed"}),
    "observed rule": case(
        ruleset(pre(mode="observe")), "allowed", expected={"audit_action": "observed", "tags": ["files", "danger"]}
    ),
    "approval by default": case(ruleset(pre("ask")), "allowed"),
    "approved": case(ruleset(pre("ask")), "allowed", approval_decision="approved"),
    "rejected": case(
        ruleset(pre("ask")),
        "denied",
        approval_decision="rejected",
        expected={"message_contains": "removing", "tags": ["files", "danger"]},
    ),
    "pending": case(ruleset(pre("ask")), "denied", approval_pending=True, expected={"message_contains": "approval"}),
    "timed out": case(ruleset(pre("ask", timeout=1)), "denied", timeout_expired=True),
    "timed out and let through": case(
        ruleset(pre("ask", timeout=1, timeout_effect="allow")), "allowed", timeout_expired=True
    ),
    "attempts used up": case(
        ruleset(session(max_attempts=3)), "denied", session={"attempts": 3}, expected={"message_contains": "retry"}
    ),
    "last attempt": case(ruleset(session(max_attempts=3)), "allowed", session={"attempts": 2}),
    "calls used up": case(
        ruleset(session(max_tool_calls=3)), "denied", session={"tool_calls": 3}, expected={"tags": []}
    ),
    "last call": case(ruleset(session(max_tool_calls=3)), "allowed", session={"tool_calls": 2}),
    "calls of the tool used up": case(
        ruleset(session(max_calls_per_tool={"Bash": 2})), "denied", session={"per_tool": {"Bash": 2}}
    ),
    "calls of another tool used up": case(
        ruleset(session(max_calls_per_tool={"Read": 2})), "allowed", session={"tool_calls": 2, "per_tool": {"Read": 2}}
    ),
    "principal": case(
        ruleset(
            pre(
                when={
                    "all": [
                        {"principal.user_id": {"equals": "u1"}},
                        {"principal.role": {"equals": "intern"}},
                        {"principal.claims.name": {"equals": "Kim"}},
                    ]
                }
            )
        ),
        "denied",
        principal={"id": "u1", "role": "intern", "name": "Kim"},
    ),
    "environment variable": case(
        ruleset(pre(when={"env.CONFORMANCE_STAGE": {"equals": "live"}})),
        "denied",
        environment={"CONFORMANCE_STAGE": "live"},
    ),
    "call metadata": case(
        ruleset(pre(when={"metadata.request": {"exists": False}})), "allowed", call_metadata={"request": "r1"}
    ),
    "tool name that is none": {
        **case(ruleset(pre(tool="B*")), "denied"),
        "envelope": {"tool_name": "Bash\u0000/../x", "arguments": {"command": "rm -rf /"}},
    },
    "ruleset refused": case(ruleset(pre(type="unheard-of")), "error", expected={"message_contains": "type"}),
}


@pytest.mark.parametrize("given", RIGHT.values(), ids=RIGHT.keys())
def test_call_case_as_expected_passes(given: dict[str, Any]) -> None:
    assert judge("behavioral", given) == Outcome("passed")


@pytest.mark.parametrize("given", RIGHT.values(), ids=RIGHT.keys())
@pytest.mark.parametrize("verdict", ["allowed", "denied", "warned", "redacted", "error"])
def test_call_case_with_any_other_verdict_fails(given: dict[str, Any], verdict: str) -> None:
    right = given["expected"]["verdict"]
    wrong = copy.deepcopy(given) | {"expected": {"verdict": verdict}}

    assert judge("behavioral", wrong).status == ("passed" if verdict == right else "failed")


WRONG = {
    "message": (case(ruleset(pre()), "denied", expected={"message_contains": "Removing"}), "does not contain"),
    "not observed": (
        case(ruleset(pre()), "allowed", command="ls", expected={"audit_action": "observed"}),
        "no call_would_deny event",
    ),
    "tags": (case(ruleset(pre()), "denied", expected={"tags": ["danger", "files"]}), "expected the tags"),
    "tags without a rule": (
        case(ruleset(pre()), "allowed", command="ls", expected={"tags": ["files"]}),
        "expected the tags",
    ),
    "unknown key": (case(ruleset(pre()), "denied", execute="parallel(2)"), "malformed case: the case has the unknown"),
    "unknown expectation": (case(ruleset(pre()), "denied", expected={"events": 2}), "malformed case: expected has"),
    "unknown verdict": (case(ruleset(pre()), "blocked"), "malformed case: expected.verdict"),
    "unknown audit action": (
        case(ruleset(pre()), "denied", expected={"audit_action": "logged"}),
        "malformed case: expected.audit_action",
    ),
    "unknown approval": (case(ruleset(pre()), "denied", approval_decision="maybe"), "malformed case: approval"),
    "wrong type": (case(ruleset(pre()), "denied", result="text"), "malformed case: 'result'"),
    "no envelope": ({"id": "x", "contract": ruleset(pre()), "expected": {"verdict": "denied"}}, "no key 'envelope'"),
    "no map": (["case-001"], "malformed case: the case is not a map"),
    "storage key in use": (
        case(ruleset(pre()), "denied", session={"per_tool": {"Bash": "many"}}),
        "TypeError",
    ),
}


@pytest.mark.parametrize(("given", "detail"), WRONG.values(), ids=WRONG.keys())
def test_call_case_not_as_expected_fails_and_says_why(given: Any, detail: str) -> None:
    outcome = judge("behavioral", given)

    assert outcome.status == "failed"
    assert detail in outcome.detail


def test_call_case_blocked_after_the_tool_ran_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run_and_deny(self: Edictum, name: str, args: dict[str, Any], tool: Any, **_: Any) -> None:
        await tool(**args)
        raise EdictumDenied("no removing here")

    monkeypatch.setattr(Edictum, "run_detailed", run_and_deny)

    assert judge("behavioral", RIGHT["blocked"]) == Outcome("failed", "the tool ran 1 times, 0 is right")


def test_call_case_blocked_by_a_broken_part_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocking is what the case wants, but not for this reason."""

    async def no_answer(self: AutoApprovalBackend, approval_id: str, timeout: float | None = None) -> None:
        raise OSError("connection lost")

    monkeypatch.setattr(AutoApprovalBackend, "wait_for_decision", no_answer)

    outcome = judge("behavioral", RIGHT["rejected"])

    assert outcome.status == "failed"
    assert "blocked by approval_error and not by a rule" in outcome.detail


def test_environment_of_a_case_leaves_the_process_alone() -> None:
    judge("behavioral", RIGHT["environment variable"])

    assert "CONFORMANCE_STAGE" not in os.environ


# --- sandbox rules -------------------------------------------------------------------------------


def test_sandbox_rule_of_a_case_is_judged() -> None:
    inside = {"tool_name": "Read", "arguments": {"path": "/srv/a"}}
    outside = {"tool_name": "Read", "arguments": {"path": "/etc/passwd"}}
    contract = ruleset(pre(), sandbox(outside="approve", timeout_effect="allow"))

    assert judge("behavioral", case(contract, "allowed") | {"envelope": inside}) == Outcome("passed")
    asked = case(contract, "denied", approval_decision="rejected") | {"envelope": outside}
    assert judge("behavioral", asked) == Outcome("passed")
    assert judge("behavioral", asked | {"envelope": inside}).status == "failed"


# --- errata --------------------------------------------------------------------------------------


def test_erratum_that_fails_as_written_passes_by_name() -> None:
    given = case(ruleset(pre()), "denied", command="ls") | {"id": "adv-inject-002"}

    outcome = judge("adversarial", given)

    assert outcome.status == "passed"
    assert outcome.erratum is not None
    assert outcome.erratum.startswith("E1: ")


@pytest.mark.parametrize("command", ["ls", "rm -rf /"])
def test_erratum_that_passes_as_written_fails(command: str) -> None:
    """Whether the file was corrected or the operator was broken, somebody has to look."""
    verdict = "allowed" if command == "ls" else "denied"
    given = case(ruleset(pre()), verdict, command=command) | {"id": "adv-inject-002"}

    outcome = judge("adversarial", given)

    assert outcome.status == "failed"
    assert "out of date" in outcome.detail


@pytest.mark.parametrize(("rule", "status"), [(pre(), "passed"), (post("warn"), "failed")])
@pytest.mark.parametrize("case_id", ["adv-tool-002", "adv-expr-001"])
def test_erratum_with_alternatives_takes_these_only(case_id: str, rule: dict[str, Any], status: str) -> None:
    given = case(ruleset(rule), "allowed", result={"output": "a token"}) | {"id": case_id}

    assert judge("adversarial", given).status == status


# --- rejection cases -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        rejection(ruleset(pre(), mode="lenient")),
        rejection(ruleset(pre()) | {"extra_key": 1}, "EXTRA_key"),
        rejection(ruleset(pre()), rejected=False),
    ],
)
def test_rejection_case_as_expected_passes(given: dict[str, Any]) -> None:
    assert judge("rejection", given) == Outcome("passed")


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        (rejection(ruleset(pre())), "loaded, although"),
        (rejection(ruleset(pre(), mode="lenient"), "limits"), "without 'limits' in the message"),
        (rejection(ruleset(pre()) | {"kind": "Rules"}, "invalid"), "without 'invalid' in the message"),
        (rejection(ruleset(pre(), mode="lenient"), rejected=False), "refused although it is valid"),
        (rejection(ruleset(pre(), mode="lenient"), ""), "malformed case"),
    ],
)
def test_rejection_case_not_as_expected_fails_and_says_why(given: dict[str, Any], detail: str) -> None:
    outcome = judge("rejection", given)

    assert outcome.status == "failed"
    assert detail in outcome.detail


# --- folders -------------------------------------------------------------------------------------


def test_folder_with_all_sorts_of_cases_reports_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = case(ruleset(pre()), "denied", command="ls\nls", expected={"message_contains": "x"}) | {"id": "wrong-001"}
    noted = case(ruleset(pre()), "denied", command="ls") | {"id": "adv-inject-002"}
    write(tmp_path, "deep/down/a.fixtures.yaml", RIGHT["blocked"], wrong, RIGHT["blocked"], {"id": 7})
    write(tmp_path, "b.adversarial.yaml", noted)
    write(tmp_path, "c.rejection.yaml", rejection(ruleset(pre(), mode="lenient")))
    write(tmp_path, "d.workflow-v0.18.yaml", {"id": "wt-001"}, {"id": "wt-002"})
    named = case(ruleset(pre()), "denied") | {"id": "ex-001", "contract": "child"}
    parents = {"base": ruleset(pre()), "child": {**ruleset(pre()), "extends": "base", "rules": []}}
    path = write(tmp_path, "extends-inheritance.workflow-v0.18.yaml", named)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rulesets": parents}))
    write(tmp_path, "e.other.yaml", {"id": "unknown"})

    status = main([str(tmp_path)])

    lines = capsys.readouterr().out.splitlines()
    assert [line.replace(str(tmp_path), "{folder}") for line in lines] == [
        'ERRATUM adversarial adv-inject-002 (b.adversarial.yaml): E1: wants contains "$()" to find a text in which '
        "these characters are not next to each other; got allowed",
        "FAILED workflow-v0.18 wt-001 (d.workflow-v0.18.yaml): malformed case: the case has no key 'workflow'",
        "FAILED workflow-v0.18 wt-002 (d.workflow-v0.18.yaml): malformed case: the case has no key 'workflow'",
        "FAILED behavioral wrong-001 (deep/down/a.fixtures.yaml): expected denied, got allowed: ",
        "FAILED behavioral case-001 (deep/down/a.fixtures.yaml): malformed case: its id occurs twice",
        "FAILED behavioral deep/down/a.fixtures.yaml[3]: malformed case: it has no id",
        "SKIPPED workflow the whole family: no case in any *.workflow.yaml: there is none in {folder}",
        "SKIPPED workflow-coding-guard the whole family: no case in any *.workflow-coding-guard.yaml: "
        "there is none in {folder}",
        "SKIPPED workflow-adapter the whole family: no case in any *.workflow-adapter.yaml: there is none in {folder}",
        "behavioral: 1 passed, 3 failed, 0 skipped",
        "adversarial: 1 passed, 0 failed, 0 skipped",
        "rejection: 1 passed, 0 failed, 0 skipped",
        "extends-inheritance: 1 passed, 0 failed, 0 skipped",
        "workflow: 0 passed, 0 failed, 1 skipped",
        "workflow-coding-guard: 0 passed, 0 failed, 1 skipped",
        "workflow-v0.18: 0 passed, 2 failed, 0 skipped",
        "workflow-adapter: 0 passed, 0 failed, 1 skipped",
        "4 passed, 5 failed, 3 skipped",
    ]
    assert status == 1


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("suite: [", "the file cannot be read"),
        ("suite: a\nsuite: b\n", "the file cannot be read"),
        ("- a\n", "the file is not a map"),
        ("suite: a\nversion: 1\n", 'the file has no list "fixtures"'),
        ("suite: a\nversion: 3\nfixtures: []\n", "the file is of version 3"),
    ],
)
def test_folder_with_a_file_that_is_no_fixture_file_fails(tmp_path: Path, text: str, detail: str) -> None:
    (tmp_path / "bad.fixtures.yaml").write_text(text, encoding="utf-8")

    report = check_folder(tmp_path)

    assert report.count("failed") == 1
    assert next(report.lines()).startswith(f"FAILED behavioral bad.fixtures.yaml: {detail}")


FILES = {
    "behavioral": "a.fixtures.yaml",
    "adversarial": "a.adversarial.yaml",
    "rejection": "a.rejection.yaml",
    "extends-inheritance": "extends-inheritance.workflow-v0.18.yaml",
    "workflow": "a.workflow.yaml",
    "workflow-coding-guard": "a.workflow-coding-guard.yaml",
    "workflow-v0.18": "a.workflow-v0.18.yaml",
    "workflow-adapter": "a.workflow-adapter.yaml",
}


@pytest.mark.parametrize("family", FILES)
def test_family_without_a_case_fails_by_name_where_it_is_required(tmp_path: Path, family: str) -> None:
    for other, name in FILES.items():
        given = rejection(ruleset(), "rules") if other == "rejection" else RIGHT["blocked"]
        if other != family:
            write(tmp_path, name, given)

    wanted = check_folder(tmp_path, required=True, judge=pass_everything)
    optional = check_folder(tmp_path, judge=pass_everything)

    assert [(result.family, result.outcome.status) for result in wanted.results][-1] == (family, "failed")
    assert (wanted.count("passed"), wanted.count("failed"), wanted.count("skipped")) == (7, 1, 0)
    assert (optional.count("passed"), optional.count("failed"), optional.count("skipped")) == (7, 0, 1)


def test_file_without_a_case_fails_where_all_are_required(tmp_path: Path) -> None:
    write(tmp_path, "empty.fixtures.yaml")

    wanted = list(check_folder(tmp_path, required=True).lines())

    assert "FAILED behavioral empty.fixtures.yaml: the file holds no case" in wanted
    assert any(line.startswith("FAILED behavioral the whole family: no case in any") for line in wanted)


@pytest.mark.parametrize(("required", "status"), [("1", 1), ("0", 0)])
@pytest.mark.parametrize("folder", ["", "not-there"])
def test_command_line_without_fixtures_never_passes_a_case(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    folder: str,
    required: str,
    status: int,
) -> None:
    monkeypatch.setenv("EDICTUM_SCHEMAS_DIR", str(tmp_path / folder) if folder else "")
    monkeypatch.setenv("EDICTUM_CONFORMANCE_REQUIRED", required)

    found = main([])

    last = "0 passed, 8 failed, 0 skipped" if required == "1" else "0 passed, 0 failed, 8 skipped"
    assert capsys.readouterr().out.splitlines()[-1] == last
    assert found == status


# --- processes -----------------------------------------------------------------------------------


def pass_everything(family: str, given: Any) -> Outcome:
    return Outcome("passed")


def misbehave(family: str, given: Any) -> Outcome:
    """
    Never answer, or end the process, where the id says so.
    """
    if given["id"] == "hang-001":
        threading.Event().wait()
    if given["id"] == "die-001":
        os._exit(41)
    return Outcome("passed")


def test_case_that_hangs_or_dies_fails_and_the_next_one_is_judged(tmp_path: Path) -> None:
    ids = ["hang-001", "after-hang", "die-001", "after-death"]
    write(tmp_path, "a.fixtures.yaml", *(RIGHT["blocked"] | {"id": case_id} for case_id in ids))

    report = check_folder(tmp_path, seconds=2.0, judge=misbehave)

    assert [(result.name.split()[0], result.outcome) for result in report.results if result.family == "behavioral"] == [
        ("hang-001", Outcome("failed", "no answer within 2 seconds")),
        ("after-hang", Outcome("passed")),
        ("die-001", Outcome("failed", "the process that ran the case ended, exit status 41")),
        ("after-death", Outcome("passed")),
    ]


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("EDICTUM_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "edictum.testing.conformance", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment,
    )


@pytest.mark.parametrize(
    ("verdict", "status", "last"),
    [("denied", 0, "1 passed, 0 failed, 7 skipped"), ("allowed", 1, "0 passed, 1 failed, 7 skipped")],
)
def test_command_line_exits_by_the_outcome(tmp_path: Path, verdict: str, status: int, last: str) -> None:
    write(tmp_path, "a.fixtures.yaml", case(ruleset(pre()), verdict))

    ended = run_command(str(tmp_path))

    assert (ended.stdout.splitlines()[-1], ended.returncode, ended.stderr) == (last, status, "")


def test_command_line_without_the_yaml_extra_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write(tmp_path, "a.fixtures.yaml", RIGHT["blocked"])
    monkeypatch.setitem(sys.modules, "ruamel.yaml", None)

    assert conformance.main([str(tmp_path)]) == 2
    assert "edictum-core[yaml]" in capsys.readouterr().err
