"""
The command replay: decision logs of real guards, and of others, decided again.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from edictum import ApprovalStatus, AuditAction, Edictum, EdictumDenied, FileAuditSink, Principal
from edictum.audit import canonical_action
from edictum.cli import main, recorded
from edictum.testing import AutoApprovalBackend
from guards import ask, post, pre, ruleset, session_rule

Data = dict[str, Any]

NO_ENV = pre("no-env", tool="read_file", when={"args.path": {"contains": ".env"}})
ASK_ROOT = ask("ask-root", tool="read_file", when={"args.path": {"starts_with": "/"}})
SENIORS = pre("seniors", tool="deploy", when={"not": {"principal.role": {"equals": "senior"}}})
OFFICE = ruleset(NO_ENV, ASK_ROOT, SENIORS)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    The working folder, with the ruleset ``rules.json``.
    """
    monkeypatch.chdir(tmp_path)
    save("rules.json", OFFICE)
    return tmp_path


def save(name: str, document: Data) -> None:
    Path(name).write_text(json.dumps(document), encoding="utf-8")


def event(action: str, tool: str = "read_file", call_id: str = "", **fields: Any) -> Data:
    """
    An event in the published format.
    """
    args = fields.pop("args", {"path": "a.txt"})
    head = {"call_id": call_id, "tool_name": tool, "tool_args": args, "environment": "production", "principal": None}
    return {**head, "action": action, **fields}


def log(*lines: Data | str | bytes, name: str = "log.jsonl") -> str:
    raw = [line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode()
           for line in lines]  # fmt: skip
    Path(name).write_bytes(b"\n".join(raw) + b"\n")
    return name


def replay(capsys: pytest.CaptureFixture[str], *options: str, rules: str = "rules.json") -> Data:
    code = main(["replay", rules, "--audit-log", "log.jsonl", "--json", *options])
    captured = capsys.readouterr()
    assert captured.err == ""
    found: Data = json.loads(captured.out)
    assert code == (1 if found["changes"] or ("--strict" in options and found["uncertain"]) else 0)
    return found


def verdicts(found: Data) -> list[tuple[int, str, str, str | None]]:
    keys = ("line", "was_verdict", "now_verdict", "blocked_by_rule")
    return [tuple(detail[key] for key in keys) for detail in found["details"]]  # type: ignore[misc]


def counts(found: Data) -> tuple[int, int, int]:
    assert found["total"] == found["changes"] + found["uncertain"] + found["unchanged"]
    return found["total"], found["changes"], found["uncertain"]


# --- logs of real guards -------------------------------------------------------------------------


def play(document: Data, *calls: tuple[str, Data], name: str = "log.jsonl", **options: Any) -> None:
    """
    Make calls under a ruleset and log the decisions.
    """

    async def make_calls() -> None:
        options.setdefault("approval_backend", AutoApprovalBackend())
        save("played.json", document)
        guard = Edictum.from_yaml("played.json", audit_sink=FileAuditSink(name), **options)
        for tool, args in calls:
            try:
                await guard.run(tool, args, lambda **_: "done")
            except EdictumDenied:
                continue
        await guard.close()

    asyncio.run(make_calls())


CALLS = [
    ("read_file", {"path": "a.txt"}),
    ("read_file", {"path": "/x/.env"}),
    ("read_file", {"path": "/x"}),
    ("deploy", {"service": "web"}),
    ("../odd", {}),
]


@pytest.mark.parametrize("mode", ["enforce", "observe"])
@pytest.mark.parametrize("answer", [ApprovalStatus.APPROVED, ApprovalStatus.DENIED, ApprovalStatus.TIMEOUT])
def test_replay_under_the_same_rules_changes_nothing(
    mode: str, answer: ApprovalStatus, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play(OFFICE, *CALLS, mode=mode, approval_backend=AutoApprovalBackend(answer))
    assert counts(replay(capsys)) == (5, 0, 0)
    # The same rules in another document, so that nothing follows from its identity.
    save("rules.json", {**OFFICE, "metadata": {"name": "renamed"}})
    assert counts(replay(capsys)) == (5, 0, 0)


def test_replay_under_other_rules_lists_what_changes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    play(OFFICE, *CALLS, principal=Principal(role="senior"))
    no_reading = pre("no-reading", tool="read_*", when={"args.path": {"exists": True}})
    save("rules.json", ruleset(no_reading))
    found = replay(capsys)
    assert counts(found) == (5, 2, 0)
    assert [detail["was_rule"] for detail in found["details"]] == [None, "ask-root"]
    assert [verdict[1:] for verdict in verdicts(found)] == [
        ("allow", "block", "no-reading"),
        ("ask", "block", "no-reading"),
    ]
    assert all(len(detail["call_id"]) == 36 for detail in found["details"])


def test_replay_uses_the_logged_principal_and_environment(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    play(OFFICE, ("deploy", {}), principal=Principal(role="senior"), environment="staging")
    staging = pre("no-staging", tool="deploy", when={"environment": {"equals": "staging"}})
    save("rules.json", ruleset(SENIORS))
    assert counts(replay(capsys)) == (1, 0, 0)
    save("rules.json", ruleset(SENIORS, staging))
    assert verdicts(replay(capsys)) == [(1, "allow", "block", "no-staging")]


def test_replay_one_observing_rule_is_no_decision(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Its event says what would have been; the call was allowed.
    """
    document = ruleset({**NO_ENV, "mode": "observe"}, ASK_ROOT)
    play(document, ("read_file", {"path": ".env"}), ("read_file", {"path": "/.env"}))
    save("rules.json", document)
    found = replay(capsys)
    assert counts(found) == (2, 0, 0)
    save("rules.json", OFFICE)
    assert [verdict[1:] for verdict in verdicts(replay(capsys))] == [
        ("allow", "block", "no-env"),
        ("ask", "block", "no-env"),
    ]


def test_replay_of_an_observing_guard_compares_what_would_have_been(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play(OFFICE, *CALLS[:4], mode="observe")
    save("rules.json", ruleset(ASK_ROOT, SENIORS))
    found = replay(capsys)
    assert [verdict[1:] for verdict in verdicts(found)] == [("block", "ask", "ask-root")]
    assert found["details"][0]["was_observed"] is True


def test_replay_under_a_ruleset_that_only_observes_stops_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play(OFFICE, *CALLS[:4])
    enforcing = [{**rule, "mode": "enforce"} for rule in OFFICE["rules"]]
    save("rules.json", ruleset(*enforcing, mode="observe"))
    assert [verdict[1:] for verdict in verdicts(replay(capsys))] == [
        ("block", "allow", "no-env"),
        ("ask", "allow", "ask-root"),
        ("block", "allow", "seniors"),
    ]
    assert main(["replay", "rules.json", "--audit-log", "log.jsonl"]) == 1
    assert "read_file: block by no-env -> allow, no-env only observes" in capsys.readouterr().out


def test_replay_candidates_are_no_decisions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def make_calls() -> None:
        save("candidate.json", {**ruleset(pre("no-reading", tool="read_file")), "observe_alongside": True})
        sink = FileAuditSink("log.jsonl")
        guard = Edictum.from_yaml("rules.json", "candidate.json", audit_sink=sink)
        await guard.run("read_file", {"path": "a"}, lambda **_: "done")
        await guard.close()

    asyncio.run(make_calls())
    found = replay(capsys)
    assert counts(found) == (1, 0, 0)
    assert found["skipped"] == {"call_would_deny": 1, "call_executed": 1}


# --- what a log does not hold --------------------------------------------------------------------


def test_replay_rule_that_decides_on_a_masked_value_is_uncertain(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    The log holds the mark instead of the token, which would pass in silence.
    """
    no_tokens = pre("no-tokens", tool="write", when={"args.text": {"matches": "ghp_[A-Za-z0-9]{36}"}})
    calls = [("write", {"text": "t = ghp_" + "a1B2" * 9}), ("write", {"text": "rm -r x; ghp_" + "a1B2" * 9})]
    play(ruleset(no_tokens), *calls)
    assert "ghp_" not in Path("log.jsonl").read_text()
    save("rules.json", ruleset({**no_tokens, "then": {**no_tokens["then"], "message": "other"}}))
    found = replay(capsys)
    assert counts(found) == (2, 0, 2)
    assert found["details"] == []
    assert found["uncertain_details"][0]["why"] == [
        'rule "no-tokens" depends on args.text, which the log does not hold in full'
    ]
    assert main(["replay", "rules.json", "--audit-log", "log.jsonl"]) == 0
    assert "write: block by no-tokens -> allow, uncertain: rule" in capsys.readouterr().out
    replay(capsys, "--strict")
    # What is certain is certain in spite of the mark.
    no_deletion = pre("no-deletion", tool="write", when={"args.text": {"contains": "rm -r"}})
    save("rules.json", ruleset(no_deletion, no_tokens))
    assert counts(replay(capsys)) == (2, 0, 1)
    # Nothing can be changed by the ruleset that decided.
    save("rules.json", ruleset(no_tokens))
    assert counts(replay(capsys)) == (2, 0, 0)


def test_replay_change_that_no_masked_value_could_undo_is_certain(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masked = {"path": "[REDACTED]"}
    log(event("call_denied", args=masked, decision_source="yaml_precondition", decision_name="old"))
    save("rules.json", ruleset(ASK_ROOT))  # asks or allows, and never blocks
    found = replay(capsys)
    assert counts(found) == (1, 1, 0)
    save("rules.json", ruleset(NO_ENV))
    assert counts(replay(capsys)) == (1, 0, 1)


@pytest.mark.parametrize("when", [{"env.STAGE": {"equals": "x"}}, {"metadata.source": {"equals": "x"}}])
def test_replay_of_what_is_never_logged_is_uncertain(
    when: Data, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGE", "x")
    log(event("call_allowed"))
    save("rules.json", ruleset(pre(when=when)))
    assert counts(replay(capsys)) == (1, 0, 1)
    save("rules.json", ruleset(pre(when={"all": [{"args.path": {"equals": "other"}}, when]})))
    assert counts(replay(capsys)) == (1, 0, 0)


def test_replay_sandbox_judges_what_is_whole_and_doubts_the_rest(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save("rules.json", ruleset({"id": "box", "type": "sandbox", "tool": "*", "within": ["."], "message": "stay"}))
    log(
        event("call_allowed", args={"path": "a.txt"}),
        event("call_allowed", args={"path": "/etc/passwd"}),
        event("call_allowed", args={"path": "a.txt", "token": "[REDACTED]"}),
    )
    found = replay(capsys)
    assert verdicts(found) == [(2, "allow", "block", "box")]
    assert [detail["line"] for detail in found["uncertain_details"]] == [3]


@pytest.mark.parametrize(
    "source",
    ["attempt_limit", "operation_limit", "yaml_session", "session_contract", "hook", "workflow", "backend_error"],
)
def test_replay_block_by_another_check_is_uncertain(
    source: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_check = {"decision_source": source, "decision_name": "x"}
    log(event("call_denied", **by_check), event("call_denied", args={"path": ".env"}, **by_check))
    found = replay(capsys)
    assert counts(found) == (2, 0, 1)
    assert found["uncertain_details"][0]["why"] == [f"x ({source}) decided it, which a replay does not judge"]


def test_replay_block_by_a_limit_of_a_real_guard_is_uncertain(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limited = [session_rule(limits={"max_tool_calls": 1}), post("told")]
    play(ruleset(NO_ENV, *limited), *[("read_file", {"path": "a"})] * 3)
    save("rules.json", ruleset(NO_ENV, *limited, pre("other", tool="x")))
    found = replay(capsys)
    assert counts(found) == (3, 0, 2)
    assert found["not_replayed"] == ["few-calls", "told"]
    assert main(["replay", "rules.json", "--audit-log", "log.jsonl"]) == 0
    assert "not judged, because the log does not hold what they need: few-calls, told" in capsys.readouterr().err


def test_replay_block_by_a_rule_in_python_is_uncertain(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log(
        event("call_denied", decision_source="precondition", decision_name="my_rule"),
        event("call_denied", decision_source="precondition", decision_name="no-env"),
    )
    found = replay(capsys)
    assert [detail["line"] for detail in found["uncertain_details"]] == [1]
    assert verdicts(found) == [(2, "block", "allow", None)]


def test_replay_other_files_than_then_are_no_change_of_the_rules(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A sandbox is judged on this machine, from this folder.
    """
    box = ruleset({"id": "box", "type": "sandbox", "tool": "*", "within": ["."], "message": "stay"})
    save("rules.json", box)
    play(box, ("read_file", {"path": str(folder / "a.txt")}))
    assert counts(replay(capsys)) == (1, 0, 0)
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert main(["replay", "../rules.json", "--audit-log", "../log.jsonl"]) == 0
    assert "uncertain: this very ruleset decided it; files, folders" in capsys.readouterr().out


# --- vocabularies and lines ----------------------------------------------------------------------


def test_replay_reads_both_vocabularies(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for action in AuditAction:
        for word in {action.value, canonical_action(action)}:
            log(event(word, args={"path": "a.txt"}))
            found = replay(capsys)
            if action in (AuditAction.CALL_DENIED, AuditAction.CALL_WOULD_DENY):
                assert verdicts(found) == [(1, "block", "allow", None)]
            elif action is AuditAction.CALL_APPROVAL_REQUESTED:
                assert verdicts(found) == [(1, "ask", "allow", None)]
            elif action is AuditAction.CALL_ALLOWED:
                assert counts(found) == (1, 0, 0)
            else:
                assert found["total"] == 0
                assert found["skipped"] == {action.value: 1}


def test_replay_counts_the_first_decision_about_a_call(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log(
        event("call_asked", call_id="1", args={"path": "/x"}),
        event("call_approval_granted", call_id="1", args={"path": "/x"}),
        event("call_allowed", call_id="1", args={"path": "/x"}),
        event("call_executed", call_id="1", args={"path": "/x"}),
    )
    found = replay(capsys)
    assert counts(found) == (1, 0, 0)
    assert found["skipped"] == {"call_approval_granted": 1, "call_allowed": 1, "call_executed": 1}


def test_replay_counts_calls_that_share_an_id_where_it_is_theirs_only_in_a_session(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = [
        event("call_allowed", call_id="call_1", session_id="s1"),
        event("call_executed", call_id="call_1", session_id="s1"),
    ]
    log(*again, *again, event("call_allowed", call_id="call_1", session_id="s2"))
    assert counts(replay(capsys))[0] == 3


def test_replay_would_be_decisions_of_calls_side_by_side(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Only a real decision that follows says that a single rule observed; calls can be mixed, and the log can end.
    """
    log(
        event("call_would_deny", call_id="rule", args={"path": "a"}),
        event("call_would_deny", call_id="guard", args={"path": "a"}),
        event("call_allowed", call_id="rule", args={"path": "a"}),
        event("call_would_deny", call_id="open", args={"path": "a"}, observed_action="ask"),
        event("call_executed", call_id="guard", args={"path": "a"}),
        event("call_executed", call_id="rule", args={"path": "a"}),
    )
    assert verdicts(replay(capsys)) == [(2, "block", "allow", None), (4, "ask", "allow", None)]


def test_replay_remembers_only_so_many_open_calls(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "MAX_OPEN_CALLS", 3)
    log(*(event("call_would_deny", call_id=str(number), args={"path": "a"}) for number in range(10)))
    assert [line for line, *_ in verdicts(replay(capsys))] == list(range(1, 11))


BAD_LINES = [
    "not json",
    '{"action": "call_allowed", "tool_name": "x"',
    "[]",
    "null",
    b"\xff\xfe",
    '{"action": "call_allowed", "tool_name": "x", "tool_args": {"n": NaN}}',
    "[" * 100_000,
    '{"action": "call_allowed", "tool_name": "x", "tool_args": {"n": ' + "1" * 5_000 + "}}",
    json.dumps(event("call_allowed", args=[1])),
    json.dumps({**event("call_allowed"), "tool_name": 5}),
    json.dumps({**event("call_allowed"), "environment": 5}),
    json.dumps({**event("call_allowed"), "call_id": ["x"]}),
    json.dumps({**event("call_allowed"), "principal": "root"}),
    json.dumps({**event("call_allowed"), "principal": {"role": 5}}),
    json.dumps({**event("call_allowed"), "principal": {"claims": [1]}}),
    '{"action": "call_allowed", "tool_name": "x", "tool_args": {"a": ' + "[" * 300 + "]" * 300 + "}}",
]


def test_replay_skips_counts_and_reports_lines_that_cannot_be_read(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log(event("call_allowed"), *BAD_LINES, "", "  ", event("call_allowed", args={"path": ".env"}))
    found = replay(capsys)
    assert counts(found) == (2, 1, 0)
    assert verdicts(found) == [(len(BAD_LINES) + 4, "allow", "block", "no-env")]
    assert found["malformed"] == len(BAD_LINES)
    assert [item["line"] for item in found["malformed_lines"]] == list(range(2, len(BAD_LINES) + 2))
    assert main(["replay", "rules.json", "--audit-log", "log.jsonl"]) == 1
    captured = capsys.readouterr()
    assert captured.err.splitlines()[0] == "line 2 is skipped: it is not JSON at column 1"
    assert "2 decisions: 1 changed, 0 uncertain, 1 unchanged" in captured.out


def test_replay_reports_the_first_lines_and_counts_the_others(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log(event("call_allowed"), *["bad"] * 1_500)
    found = replay(capsys)
    assert (found["malformed"], len(found["malformed_lines"])) == (1_500, 1_000)
    main(["replay", "rules.json", "--audit-log", "log.jsonl"])
    lines = capsys.readouterr().err.splitlines()
    assert (len(lines), lines[-1]) == (21, "and 1480 more lines are skipped")


def test_replay_other_objects_are_skipped(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log(event("call_allowed"), '{"checkpoint": 1}', event("call_teleported"), {"action": ["call_allowed"]})
    found = replay(capsys)
    assert (counts(found), found["skipped"], found["malformed"]) == ((1, 0, 0), {"other": 3}, 0)


def test_replay_line_without_end_is_not_read_into_memory(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "MAX_LINE", 1_000)
    log(event("call_allowed"), "x" * 5_000, event("call_allowed", args={"path": ".env"}))
    found = replay(capsys)
    assert found["malformed_lines"] == [{"line": 2, "problem": "the line is longer than 1000 bytes"}]
    assert [line for line, *_ in verdicts(found)] == [3]


def test_replay_byte_order_mark_and_windows_line_ends(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.dumps(event("call_allowed")).encode() for _ in range(2)]
    Path("log.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
    assert counts(replay(capsys)) == (2, 0, 0)


def test_replay_file_without_any_decision_is_wrong_use(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "rules.json", "--audit-log", "rules.json", "--json"]) == 0  # an object, but no event
    capsys.readouterr()
    log("apiVersion: edictum/v1", "kind: Ruleset")
    assert main(["replay", "rules.json", "--audit-log", "log.jsonl"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        'error: "log.jsonl" holds no decision; is it a decision log?',
        "  line 1: it is not JSON at column 1",
    ]


def test_replay_empty_log_is_fine(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("log.jsonl").touch()
    assert counts(replay(capsys)) == (0, 0, 0)


def test_replay_missing_log_suggests_the_one_that_exists(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log(event("call_allowed"), name="lig.jsonl")
    assert main(["replay", "rules.json", "--audit-log", "log.jsonl"]) == 2
    assert capsys.readouterr().err == 'error: no such file: "log.jsonl"; did you mean "lig.jsonl"?\n'


# --- output --------------------------------------------------------------------------------------


def test_replay_report_has_the_published_keys(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log(event("call_allowed", call_id="c1", args={"path": ".env"}))
    assert replay(capsys) == {
        "ruleset": "rules.json",
        "audit_log": "log.jsonl",
        "total": 1,
        "changes": 1,
        "uncertain": 0,
        "unchanged": 0,
        "skipped": {},
        "malformed": 0,
        "malformed_lines": [],
        "not_replayed": [],
        "details": [
            {
                "line": 1,
                "call_id": "c1",
                "tool_name": "read_file",
                "was_verdict": "allow",
                "was_rule": None,
                "was_observed": False,
                "now_verdict": "block",
                "blocked_by_rule": "no-env",
            }
        ],
        "uncertain_details": [],
    }


def test_replay_output_writes_the_report_beside_the_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log(*(event("call_allowed", args={"path": ".env"}) for _ in range(3)))
    assert main(["replay", "rules.json", "--audit-log", "log.jsonl", "--output", "report.json"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        *(f"line {number}: read_file: allow -> block by no-env" for number in (1, 2, 3)),
        "3 decisions: 3 changed, 0 uncertain, 0 unchanged",
    ]
    assert json.loads(Path("report.json").read_text()) == replay(capsys)
    assert sorted(path.name for path in folder.iterdir()) == ["log.jsonl", "report.json", "rules.json"]


def test_replay_output_that_cannot_be_written_is_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log(event("call_allowed"))
    path = os.path.join("none", "report.json")
    assert main(["replay", "rules.json", "--audit-log", "log.jsonl", "--output", path]) == 2
    assert f'error: cannot write "{path}"' in capsys.readouterr().err


@pytest.mark.parametrize("name", ["log.jsonl", "rules.json", os.path.join(".", "link")])
def test_replay_output_overwrites_nothing_that_it_reads(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log(event("call_allowed"))
    os.symlink("log.jsonl", "link")
    before = [Path(path).read_bytes() for path in ("log.jsonl", "rules.json")]
    assert main(["replay", "rules.json", "--audit-log", "log.jsonl", "--output", name]) == 2
    assert "choose another one" in capsys.readouterr().err
    assert [Path(path).read_bytes() for path in ("log.jsonl", "rules.json")] == before


def test_replay_names_from_the_log_do_not_reach_the_terminal_raw(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log(event("call_denied", tool="\x1b[2J\u202e\x7f", decision_name="\x1b]0;x\x07"))
    main(["replay", "rules.json", "--audit-log", "log.jsonl"])
    main(["replay", "rules.json", "--audit-log", "log.jsonl", "--json"])
    captured = capsys.readouterr()
    assert not set("\x1b\u202e\x07\x7f").intersection(captured.out + captured.err)


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux counts it")
def test_replay_memory_does_not_grow_with_the_log(folder: Path) -> None:
    """
    Every call changes, so that the details are many as well.
    """
    line = json.dumps(event("call_allowed", args={"path": ".env", "text": "x" * 4_000})) + "\n"
    with open("log.jsonl", "w") as stream:
        for _ in range(20_000):
            stream.write(line)
    # The peak that the process itself sees: that of a child of this one would include the size of this one.
    code = (
        "import sys; from edictum.cli import main; code = main(sys.argv[1:]); "
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM')); "
        "print(peak.split()[1], file=sys.stderr); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, "replay", "rules.json", "--audit-log", "log.jsonl", "--json"]
    with open("report.json", "wb") as report:
        done = subprocess.run(command, stdout=report, stderr=subprocess.PIPE, timeout=300, check=False)
    assert done.returncode == 1
    assert os.path.getsize("log.jsonl") > 80_000_000
    assert int(done.stderr) < 80_000  # kilobytes
    assert json.loads(Path("report.json").read_bytes())["changes"] == 20_000
