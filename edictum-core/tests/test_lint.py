"""
What lint finds, where, and where it says nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from edictum import Edictum, EdictumConfigError
from edictum.lint import CHECKS, LintFinding, lint_file
from edictum.testing.strategies import rulesets
from guards import ALWAYS, ask, post, pre, ruleset, session_rule
from hypothesis import HealthCheck, given, settings

Data = dict[str, Any]
ROOT = Path(__file__).parents[2]
BOX: Data = {"id": "box", "type": "sandbox", "tool": "bash", "within": ["."], "message": "stay"}
TOOLS: Data = {"look": {"side_effect": "read"}, "write": {"side_effect": "write"}}


def lint(folder: Path, *rules: Data, **top: Any) -> list[LintFinding]:
    path = folder / "ruleset.json"
    path.write_text(json.dumps(ruleset(*rules, **top)), encoding="utf-8")
    return lint_file(str(path))


def lint_text(folder: Path, text: str) -> list[LintFinding]:
    path = folder / "ruleset.yaml"
    head = "apiVersion: edictum/v1\nkind: Ruleset\nmetadata: {name: x}\ndefaults: {mode: enforce}\n"
    path.write_text(head + text, encoding="utf-8")
    return lint_file(str(path))


def summary(found: list[LintFinding]) -> list[tuple[str, str, str]]:
    return [(finding.severity, finding.check, finding.path) for finding in found]


def of_when(folder: Path, when: Data, **fields: Any) -> list[tuple[str, str, str]]:
    """
    What is found in the condition of a single rule, with paths from there on.
    """
    found = lint(folder, pre(when=when, **fields))
    assert all(finding.rule == "no-read" and finding.path.startswith("rules[0].when") for finding in found)
    return [(finding.severity, finding.check, finding.path.removeprefix("rules[0].when.")) for finding in found]


# --- the whole -----------------------------------------------------------------------------------


def test_lint_of_the_example_has_no_warning() -> None:
    found = lint_file(str(ROOT / "examples" / "coding_agent" / "ruleset.yaml"))
    assert {finding.severity for finding in found} <= {"note"}


def test_lint_finding_says_what_where_why_and_what_to_do(tmp_path: Path) -> None:
    (found,) = lint_text(
        tmp_path,
        "rules:\n"
        "  - id: seniors\n"
        "    type: pre\n"
        "    tool: deploy\n"
        "    when: {principal.role: {not_in: [senior]}}\n"
        "    then: {action: block, message: m}\n",
    )
    assert found == LintFinding(
        "negative-on-missing",
        "warning",
        'not_in is false where "principal.role" is missing, so the rule does not fire',
        "Write not: {principal.role: {in: ...}}, or add {principal.role: {exists: false}}.",
        "rules[0].when.principal.role.not_in",
        "seniors",
        9,
        37,
    )
    assert found.why == CHECKS["negative-on-missing"].why


def test_lint_invalid_ruleset_raises(tmp_path: Path) -> None:
    with pytest.raises(EdictumConfigError, match="unknown key"):
        lint(tmp_path, pre(), limit=3)


def test_lint_entry_that_only_the_compiler_refuses_raises(tmp_path: Path) -> None:
    with pytest.raises(EdictumConfigError, match=r"10\.0\.0\.0/99"):
        lint(tmp_path, {**BOX, "allows": {"domains": ["10.0.0.0/99"]}})


def test_lint_names_that_a_program_may_register_are_notes(tmp_path: Path) -> None:
    found = lint(tmp_path, pre(when={"all": [{"risk.score": {"equals": 1}}, {"args.a": {"same_site": "x"}}]}))
    assert [(item.severity, item.check) for item in found] == [("note", "unknown-name")] * 2
    assert "unknown selector" in found[0].message
    assert "unknown operator" in found[1].message


def test_every_check_has_texts_and_a_kebab_case_id() -> None:
    for check_id, check in CHECKS.items():
        assert check.id == check_id
        assert check_id == "-".join(word for word in check_id.split("-") if word.isalpha() and word.islower())
        assert check.title[0].islower()
        assert not check.title.endswith(".")
        assert check.why.endswith(".")
        assert check.fix.endswith(".")


# --- conditions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "path"),
    [
        ({"args.a": {"equals": None}}, "args.a.equals"),
        ({"args.a": {"in": [None, None]}}, "args.a.in"),
        ({"environment": {"exists": False}}, "environment.exists"),
        ({"environment": {"equals": 1}}, "environment.equals"),
        ({"tool.name": {"in": ["other", "Bash"]}}, "tool.name.in"),
        ({"all": [{"args.a": {"equals": 1}}, {"args.a": {"equals": 2}}]}, "all[1]"),
        ({"all": [{"args.a": {"equals": 1}}, {"args.a": {"not_equals": 1}}]}, "all[1]"),
        ({"all": [{"args.a": {"exists": False}}, {"args.a": {"contains": "x"}}]}, "all[1]"),
        ({"all": [{"args.a": {"contains": "x"}}, {"args.b": ALWAYS["tool.name"]}, {"args.a": {"exists": False}}]},
         "all[2]"),
        ({"all": [{"args.a": {"gt": 5}}, {"args.a": {"lt": 5}}]}, "all[1]"),
        ({"all": [{"args.a": {"starts_with": "/a"}}, {"args.a": {"starts_with": "/b"}}]}, "all[1]"),
        ({"all": [{"args.a": {"in": [1, 2]}}, {"args.a": {"gt": 2}}]}, "all[1]"),
    ],
)  # fmt: skip
def test_lint_condition_that_holds_for_no_call(when: Data, path: str, tmp_path: Path) -> None:
    assert of_when(tmp_path, when, tool="bash") == [("warning", "never-true", path)]


@pytest.mark.parametrize(
    "when",
    [
        {"args.a": {"in": [None, 1]}},
        {"environment": {"in": ["production", 1]}},
        {"tool.name": {"equals": "bash"}},
        {"all": [{"args.a": {"gte": 5}}, {"args.a": {"lte": 5}}]},
        {"all": [{"args.a": {"starts_with": "/a"}}, {"args.a": {"starts_with": "/a/b"}}]},
        {"all": [{"env.A": {"equals": "1"}}, {"env.A": {"equals": 1}}]},
        {"all": [{"args.a": {"equals": "x"}}, {"args.a": {"gt": 1}}]},  # cannot be compared: fires
        {"any": [{"args.a": {"equals": 1}}, {"args.a": {"equals": 2}}]},
    ],
)
def test_lint_condition_that_may_hold_is_left_alone(when: Data, tmp_path: Path) -> None:
    assert of_when(tmp_path, when, tool="bash") == []


def test_lint_tool_name_is_compared_with_the_globs_of_the_rule(tmp_path: Path) -> None:
    when = {"tool.name": {"equals": "mcp__x"}}
    assert of_when(tmp_path, when, tool="mcp__*") == []
    assert of_when(tmp_path, when, tool="mcp_y*") == [("warning", "never-true", "tool.name.equals")]


@pytest.mark.parametrize("operator", ["gt", "gte", "lt", "lte"])
def test_lint_number_compared_with_text_always_fires(operator: str, tmp_path: Path) -> None:
    found = of_when(tmp_path, {"environment": {operator: 3}})
    assert found == [("warning", "always-fires", f"environment.{operator}")]
    assert of_when(tmp_path, {"args.n": {operator: 3}}) == []


@pytest.mark.parametrize(
    "when",
    [
        {"args.a": {"contains": ""}},
        {"args.a": {"starts_with": ""}},
        {"args.a": {"contains_any": ["x", ""]}},
        {"args.a": {"matches": ".*"}},
        {"args.a": {"matches": "x*"}},
        {"args.a": {"matches_any": ["rm", "(foo|)"]}},
    ],
)
def test_lint_test_that_every_value_passes(when: Data, tmp_path: Path) -> None:
    ((severity, check, _),) = of_when(tmp_path, when)
    assert (severity, check) == ("warning", "matches-everything")


def test_lint_two_negative_tests_of_which_one_always_holds(tmp_path: Path) -> None:
    """
    "Not admin or not root" is true of everybody.
    """
    when = {"any": [{"args.role": {"not_equals": "admin"}}, {"args.role": {"not_equals": "root"}}]}
    assert ("warning", "matches-everything", "any[1]") in of_when(tmp_path, when)
    same = {"any": [{"args.role": {"not_in": ["a", "b"]}}, {"args.role": {"not_in": ["b", "c"]}}]}
    assert "matches-everything" not in [check for _, check, _ in of_when(tmp_path, same)]


@pytest.mark.parametrize("pattern", [".+", "^$", "x+", r"\b", "(?i)rm", r"(a)\1?b"])
def test_lint_pattern_that_needs_something_is_left_alone(pattern: str, tmp_path: Path) -> None:
    assert of_when(tmp_path, {"args.a": {"matches": pattern}}) == []


def test_lint_rule_that_masks_everything_is_left_alone(tmp_path: Path) -> None:
    rule = post(action="redact", tool="look", when={"output.text": {"matches": ".*"}})
    assert lint(tmp_path, rule, tools=TOOLS) == []


def test_lint_same_condition_twice(tmp_path: Path) -> None:
    when = {"any": [{"args.a": {"in": [1, 2]}}, {"args.b": {"exists": True}}, {"args.a": {"in": [2, 1]}}]}
    assert of_when(tmp_path, when) == [("warning", "duplicate-condition", "any[2]")]


# --- negative tests of what may be missing -------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "severity"),
    [("principal.role", "warning"), ("principal.claims.team", "warning"), ("env.STAGE", "warning"),
     ("metadata.a", "warning"), ("args.branch", "note")],
)  # fmt: skip
@pytest.mark.parametrize("test", [{"not_equals": "x"}, {"not_in": ["x", "y"]}])
def test_lint_negative_test_of_what_may_be_missing(selector: str, severity: str, test: Data, tmp_path: Path) -> None:
    ((found, check, _),) = of_when(tmp_path, {"all": [{"environment": {"equals": "x"}}, {selector: test}]})
    assert (found, check) == (severity, "negative-on-missing")


@pytest.mark.parametrize(
    "when",
    [
        {"environment": {"not_in": ["test", "staging"]}},
        {"tool.name": {"not_equals": "x"}},
        {"not": {"principal.role": {"in": ["senior"]}}},
        {"not": {"principal.role": {"not_in": ["intern"]}}},
        {"any": [{"principal.role": {"exists": False}}, {"principal.role": {"not_in": ["senior"]}}]},
        {"all": [{"principal.role": {"exists": True}}, {"principal.role": {"not_in": ["senior"]}}]},
        {"all": [{"args.path": {"starts_with": "/"}}, {"args.path": {"not_equals": "/tmp"}}]},
    ],
)
def test_lint_negative_test_that_is_fine_is_left_alone(when: Data, tmp_path: Path) -> None:
    assert of_when(tmp_path, when) == []


def test_lint_negative_test_is_fine_where_another_rule_stops_the_missing_value(tmp_path: Path) -> None:
    production = {"environment": {"equals": "production"}}
    role = pre("role", tool="deploy", when={"all": [production, {"principal.role": {"not_in": ["senior"]}}]})
    missing = {"principal.role": {"exists": False}}
    for when in (missing, {"all": [production, missing]}):
        assert lint(tmp_path, pre("known", tool="d*", when=when), role) == []
    elsewhere = {"all": [{"environment": {"equals": "staging"}}, missing]}
    for other in (
        pre("known", tool="d*", when=elsewhere),
        pre("known", tool="other", when=missing),
        pre("known", tool="d*", when=missing, mode="observe"),
        post("known", tool="d*", when=missing),
    ):
        assert [finding.check for finding in lint(tmp_path, other, role)] == ["negative-on-missing"]


# --- patterns ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern",
    [
        r"\\b(rm|dd)\\b",
        r"\\brm\\s+-rf",
        r"rm\\b",
        r"\\d{3}-\\d{2}",
        r"\\w+@",
        r"\\.env",
        r"(^|/)\\.pem$",
        r"key\\b|token",
    ],
)
def test_lint_escape_written_twice(pattern: str, tmp_path: Path) -> None:
    assert [check for _, check, _ in of_when(tmp_path, {"args.a": {"matches": pattern}})] == ["doubled-escape"]
    found = of_when(tmp_path, {"args.a": {"matches_any": ["fine", pattern]}})
    assert found == [("warning", "doubled-escape", "args.a.matches_any[1]")]


@pytest.mark.parametrize(
    "pattern",
    [
        r"\b(rm|dd)\b",
        r"\brm\s+-rf",
        r"\.env",
        r"C:\\windows\\system32",
        r"C:\\data\\.*",
        r"\\\\server\\share",
        r"\\bin\\sh",
        r"[\\/]\.git",
        r"a\\|b",
        r"^\\$",
    ],
)
def test_lint_backslash_that_is_meant_is_left_alone(pattern: str, tmp_path: Path) -> None:
    assert of_when(tmp_path, {"args.a": {"matches": pattern}}) == []


def test_lint_escapes_as_they_are_written_in_yaml(tmp_path: Path) -> None:
    """
    What single quotes, double quotes and plain text make of the same two spellings.
    """
    forms = [r"'\\bkey\\b'", r"'\bkey\b'", r'"\\bkey\\b"', r'"\bkey\b"', r"\\bkey\\b", r"\bkey\b"]
    rules = "".join(
        f"  - id: r{number}\n    type: pre\n    tool: t{number}\n    when:\n      args.a:\n        matches: {form}\n"
        "    then: {action: block, message: m}\n"
        for number, form in enumerate(forms)
    )
    found = [(finding.rule, finding.check) for finding in lint_text(tmp_path, "rules:\n" + rules)]
    assert found == [("r0", "doubled-escape"), ("r3", "backspace-in-pattern"), ("r4", "doubled-escape")]


def test_lint_pattern_with_limited_texts_is_a_note(tmp_path: Path) -> None:
    assert of_when(tmp_path, {"args.a": {"matches": r"\bfind\b(?!er).*\s-delete\b"}}) == [
        ("note", "limited-pattern", "args.a.matches")
    ]


def test_lint_pattern_for_the_slower_engine_is_a_note(tmp_path: Path) -> None:
    assert of_when(tmp_path, {"args.a": {"matches": "^(a+)+$"}}) == [("note", "risky-pattern", "args.a.matches")]
    assert of_when(tmp_path, {"args.a": {"matches": r"\s+$"}}) == []


# --- rules among each other ----------------------------------------------------------------------

SECRET = {"args.path": {"contains": ".env"}}
NARROWER = {"all": [SECRET, {"args.path": {"starts_with": "/"}}]}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pre("a", when=SECRET), pre("b", when=SECRET)),
        (pre("a", when=SECRET), pre("b", when=NARROWER)),
        (pre("a", when=SECRET), ask("b", when=NARROWER)),
        (pre("a", when=SECRET), pre("b", when=SECRET, mode="observe")),
        (pre("a", when=SECRET, tool="read_*"), pre("b", when=SECRET, tool="read_file")),
        (pre("a"), pre("b", when=SECRET)),
        (pre("a", tool="bash", when={"tool.name": {"equals": "bash"}}), pre("b", tool="bash", when=SECRET)),
        (pre("a", tool="bash"), BOX),
        (BOX, pre("a", tool="bash")),  # pre rules come first, wherever they stand
        (pre("a", tool="look"), post("b", tool="look")),
    ],
)
def test_lint_rule_behind_one_that_always_blocks_before(first: Data, second: Data, tmp_path: Path) -> None:
    (found,) = lint(tmp_path, first, second)
    assert found.check == "unreachable-rule"
    assert '"a"' in found.message
    assert found.rule != "a"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pre("a", when=NARROWER), pre("b", when=SECRET)),
        (pre("a", when=SECRET, mode="observe"), pre("b", when=NARROWER)),
        (ask("a", when=SECRET), pre("b", when={"args.path": {"contains": ".pem"}})),
        (ask("a", when=SECRET), ask("b", when=NARROWER)),
        (pre("a", when=SECRET, tool="read_file"), pre("b", when=SECRET, tool="read_*")),
        (pre("a", when=SECRET, tool="bash"), pre("b", when=SECRET, tool="shell")),
        (pre("a", when=SECRET), BOX),
        (pre("a", when=SECRET), post("b")),
        (pre("a", when=SECRET, mode="observe"), pre("b", when=SECRET)),
    ],
)
def test_lint_rule_that_can_decide_is_left_alone(first: Data, second: Data, tmp_path: Path) -> None:
    assert lint(tmp_path, first, second) == []


def test_lint_post_rule_is_reached_where_the_ruleset_only_observes(tmp_path: Path) -> None:
    rules = [pre("a", tool="look", mode="enforce"), post("b", tool="look")]
    assert summary(lint(tmp_path, *rules, mode="observe")) == [("note", "enforce-without-effect", "rules[0].mode")]


def test_lint_candidates_do_not_stand_in_each_others_way(tmp_path: Path) -> None:
    assert lint(tmp_path, pre("a"), pre("b", when=SECRET), observe_alongside=True) == []


def test_lint_disabled_rule_stands_in_nobodys_way(tmp_path: Path) -> None:
    found = lint(tmp_path, pre("a", enabled=False), pre("b", when=SECRET))
    assert summary(found) == [("note", "disabled-rule", "rules[0].enabled")]


def test_lint_rule_that_asks_for_what_another_blocks(tmp_path: Path) -> None:
    (found,) = lint(tmp_path, ask("a", when=NARROWER), pre("b", when=SECRET))
    assert (found.severity, found.check, found.rule) == ("warning", "ask-never-asked", "a")
    assert lint(tmp_path, ask("a", when=NARROWER), pre("b", when=SECRET, mode="observe")) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (ask("a", when=SECRET), ask("b", when=SECRET, message="other words")),
        (post("a", when=SECRET), post("b", when={"any": [SECRET]})),
        (pre("a", when=SECRET, mode="observe"), pre("b", when=SECRET, mode="observe")),
        (BOX, {**BOX, "id": "b", "message": "other words"}),
        (session_rule("a"), session_rule("b")),
    ],
)
def test_lint_two_rules_that_do_the_same(first: Data, second: Data, tmp_path: Path) -> None:
    found = lint(tmp_path, first, second)
    assert summary(found) == [("warning", "duplicate-rule", "rules[1].id")]


def test_lint_inherited_rules_count_and_are_not_reported(tmp_path: Path) -> None:
    parent = ruleset(pre("known", when=SECRET), pre("twice", when=SECRET, tool="x"), tools=TOOLS)
    (tmp_path / "base.json").write_text(json.dumps(parent))
    child = [pre("more", when=NARROWER), post("mask", tool="look", action="redact")]
    (found,) = lint(tmp_path, *child, extends="base")
    assert (found.check, found.rule, found.path) == ("unreachable-rule", "more", "rules[0].id")
    assert '"known" (inherited)' in found.message


# --- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("several", "expected"),
    [
        ([{"limits": {"max_tool_calls": 50}}, {"limits": {"max_tool_calls": 20}}],
         [("warning", "rules[0].limits.max_tool_calls")]),
        ([{"limits": {"max_tool_calls": 50, "max_attempts": 20}}], [("warning", "rules[0].limits.max_tool_calls")]),
        ([{"limits": {"max_tool_calls": 1_000}}], [("note", "rules[0].limits.max_tool_calls")]),
        ([{"limits": {"max_tool_calls": 10, "max_calls_per_tool": {"t": 11}}}],
         [("warning", "rules[0].limits.max_calls_per_tool.t")]),
        ([{"limits": {"max_calls_per_tool": {"t": 300}}}], [("note", "rules[0].limits.max_calls_per_tool.t")]),
        ([{"limits": {"max_calls_per_tool": {"max_attempts": 300}}}],
         [("note", "rules[0].limits.max_calls_per_tool.max_attempts")]),
        ([{"limits": {"max_tool_calls": 50, "max_attempts": 50, "max_calls_per_tool": {"t": 50}}}], []),
        ([{"limits": {"max_tool_calls": 50}}, {"limits": {"max_tool_calls": 20}, "mode": "observe"}], []),
    ],
)  # fmt: skip
def test_lint_limit_that_is_never_reached(several: list[Data], expected: list[tuple[str, str]], tmp_path: Path) -> None:
    rules = [session_rule(f"s{number}", **fields) for number, fields in enumerate(several)]
    found = lint(tmp_path, *rules)
    assert {finding.check for finding in found} <= {"limit-never-reached"}
    assert [(finding.severity, finding.path) for finding in found] == expected


# --- tools ---------------------------------------------------------------------------------------


def test_lint_tool_names_that_differ_in_case(tmp_path: Path) -> None:
    rules = [pre("a", tool="bash", when=SECRET), pre("b", tool="Bash", when=SECRET)]
    assert summary(lint(tmp_path, *rules)) == [("warning", "tool-name-case", "rules[1].tool")]
    found = lint(tmp_path, rules[0], session_rule(limits={"max_calls_per_tool": {"Bash": 3}}))
    assert summary(found) == [("warning", "tool-name-case", "rules[1].limits.max_calls_per_tool.Bash")]
    found = lint(tmp_path, rules[0], tools={"BASH": {"side_effect": "read"}})
    assert summary(found) == [("warning", "tool-name-case", "tools.BASH")]


def test_lint_rule_that_lists_both_spellings_knows_of_them(tmp_path: Path) -> None:
    both = pre("both", when=SECRET)
    del both["tool"]
    both["tools"] = ["bash", "Bash"]
    assert lint(tmp_path, both, pre("other", tool="Bash", when={"args.x": {"equals": 1}})) == []


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        ("write", ["warning"]),
        ("unknown", ["note"]),
        ("*_write", ["note"]),
        ("look", []),
        ("l*", []),
        ("*", []),
        ("Bash", []),
        ("Ba*", []),
    ],
)
@pytest.mark.parametrize("action", ["block", "redact"])
def test_lint_post_rule_that_cannot_hold_the_output_back(
    action: str, tool: str, expected: list[str], tmp_path: Path
) -> None:
    found = lint(tmp_path, post(tool=tool, action=action), tools=TOOLS)
    assert summary(found) == [(severity, "output-not-held-back", "rules[0].tool") for severity in expected]


def test_lint_post_rule_that_warns_or_reads_with_one_of_its_tools_is_fine(tmp_path: Path) -> None:
    assert lint(tmp_path, post(tool="write"), tools=TOOLS) == []
    rule = post(action="block")
    del rule["tool"]
    assert lint(tmp_path, {**rule, "tools": ["write", "look"]}, tools=TOOLS) == []


# --- sandboxes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("python3", "warning"), ("/usr/bin/python3.11", "warning"), ("bash", "warning"), ("env", "warning"),
        ("make", "warning"), ("find", "note"), ("git", "note"), ("gawk", "note"),
    ],
)  # fmt: skip
def test_lint_allowed_command_that_runs_others(entry: str, expected: str, tmp_path: Path) -> None:
    box = {**BOX, "allows": {"commands": ["ls", entry]}}
    assert summary(lint(tmp_path, box)) == [(expected, "open-interpreter", "rules[0].allows.commands[1]")]


def test_lint_commands_that_are_narrow_are_left_alone(tmp_path: Path) -> None:
    box = {**BOX, "allows": {"commands": ["ls", "cat", "git status", "pytest", "python -m pytest"]}}
    assert lint(tmp_path, box) == []
    strict = {**BOX, "strict_interpreters": True, "allows": {"commands": ["ls", "python3", "find"]}}
    assert lint(tmp_path, strict) == []


def test_lint_command_that_another_key_refuses(tmp_path: Path) -> None:
    strict = {**BOX, "strict_interpreters": True, "allows": {"commands": ["ls", "xargs"]}}
    assert summary(lint(tmp_path, strict)) == [("warning", "entry-without-effect", "rules[0].allows.commands[1]")]


def test_lint_blank_command_is_left_to_the_sandbox(tmp_path: Path) -> None:
    assert lint(tmp_path, {**BOX, "allows": {"commands": ["  "]}}) == []


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"within": ["/tmp", "/"]}, [("warning", "unlimited-sandbox", "rules[0].within[1]")]),
        ({"within": ["//", "/.."]}, [("warning", "unlimited-sandbox", f"rules[0].within[{n}]") for n in (0, 1)]),
        ({"within": ["/"], "not_within": ["/etc"]}, []),
        ({"within": ["/tmp"], "read_within": ["/"]}, []),
        ({"allows": {"domains": ["*"]}}, [("note", "unlimited-sandbox", "rules[0].allows.domains[0]")]),
        ({"allows": {"domains": ["*"]}, "not_allows": {"domains": ["x.org"]}}, []),
        ({"allows": {"domains": ["*"]}, "block_private": True}, []),
    ],
)
def test_lint_allow_list_that_admits_everything(keys: Data, expected: list[Any], tmp_path: Path) -> None:
    assert summary(lint(tmp_path, {**BOX, **keys})) == expected


# --- messages and keys ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "severities"),
    [
        (pre(message="{args.path} {tool.name} {environment} {principal.role} {env.X}", when=SECRET), []),
        (pre(message="{output.text}", when=SECRET), ["warning"]),
        (pre(message="{result.code} {result.code}", when=SECRET), ["warning"]),
        (post(message="{output.text} {result.code}"), []),
        (pre(message="{path}", when=SECRET), ["warning"]),
        (pre(message="{branch}", when=SECRET), ["note"]),
        (pre(message="{principal.rol}", when=SECRET), ["warning"]),
        (pre(message='use {"a": 1}, {} or {a b}', when=SECRET), []),
        ({**BOX, "message": "{output.text}"}, ["warning"]),
        (session_rule(message="{tool.name}"), ["warning"]),
        (session_rule(message="{name}"), []),
    ],
)
def test_lint_placeholder_that_is_not_filled_in(rule: Data, severities: list[str], tmp_path: Path) -> None:
    place = "rules[0].message" if rule["type"] == "sandbox" else "rules[0].then.message"
    found = summary(lint(tmp_path, rule))
    assert found == [(severity, "unfilled-placeholder", place) for severity in severities]


@pytest.mark.parametrize("keys", [{"timeout": 3}, {"timeout_action": "allow"}, {"timeout_effect": "allow"}])
def test_lint_timeout_where_nobody_is_asked(keys: Data, tmp_path: Path) -> None:
    (key,) = keys
    found = lint(tmp_path, pre(when=SECRET, **keys), {**BOX, **keys})
    assert summary(found) == [
        ("note", "timeout-without-ask", f"rules[0].then.{key}"),
        ("note", "timeout-without-ask", f"rules[1].{key}"),
    ]
    assert lint(tmp_path, ask(when=SECRET, **keys), {**BOX, **keys, "outside": "ask"}) == []


# --- suppression ---------------------------------------------------------------------------------

RULE = """\
rules:
  - id: seniors
    type: pre
    tool: deploy
    when: {{principal.role: {{not_in: [senior]}}}}{same_line}
    then: {{action: block, message: "no {{service}}"}}{other_line}
"""


def suppressing(folder: Path, same_line: str = "", other_line: str = "") -> list[tuple[int | None, str]]:
    found = lint_text(folder, RULE.format(same_line=same_line, other_line=other_line))
    return [(finding.line, finding.check) for finding in found]


def test_suppression_works_on_its_line_only(tmp_path: Path) -> None:
    comment = " # edictum-lint: ignore=negative-on-missing"
    both = [(9, "negative-on-missing"), (10, "unfilled-placeholder")]
    assert suppressing(tmp_path) == both
    assert suppressing(tmp_path, comment) == both[1:]
    assert suppressing(tmp_path, "", comment) == [both[0], (10, "unused-suppression"), both[1]]


def test_suppression_on_a_line_of_its_own_is_about_the_next(tmp_path: Path) -> None:
    comment = "\n    # edictum-lint: ignore=unfilled-placeholder"
    assert suppressing(tmp_path, comment) == [(9, "negative-on-missing")]


def test_suppression_of_several_and_of_unknown_checks(tmp_path: Path) -> None:
    comment = " # edictum-lint: ignore=negative-on-missing,negative-on-mising"
    assert suppressing(tmp_path, comment) == [(9, "unknown-suppression"), (10, "unfilled-placeholder")]


@pytest.mark.parametrize(
    "comment",
    [
        "# edictum-lint: ignore=negative-on-missing",  # no blank before: not a comment, and here not YAML either
        " # edictum-lint ignore=negative-on-missing",
        " # edictum-lint: ignore=negative-on-missing because",
        " # edictum-lint: ignore",
    ],
)
def test_what_only_looks_like_a_suppression_suppresses_nothing(comment: str, tmp_path: Path) -> None:
    try:
        found = suppressing(tmp_path, comment)
    except EdictumConfigError:
        return
    assert (9, "negative-on-missing") in found


def test_suppression_in_json_is_text(tmp_path: Path) -> None:
    rule = pre(when={"principal.role": {"not_in": ["a"]}}, message="x # edictum-lint: ignore=negative-on-missing")
    path = tmp_path / "ruleset.json"
    path.write_text(json.dumps(ruleset(rule), indent=1).replace('missing"', 'missing"'))
    assert [finding.check for finding in lint_file(str(path))] == ["negative-on-missing"]


# --- properties ----------------------------------------------------------------------------------


@pytest.mark.property
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=rulesets(sandbox=True, for_readers=True))
def test_lint_never_fails_on_a_valid_ruleset(document: Data, tmp_path: Path) -> None:
    path = tmp_path / "ruleset.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    found: list[LintFinding] = []
    try:
        found = lint_file(str(path))
    except EdictumConfigError:
        # The reader takes any text for an entry of a sandbox; the compiler refuses some.
        with pytest.raises(EdictumConfigError):
            Edictum.from_yaml(path, audit_sink=[])
    for finding in found:
        assert finding.check in CHECKS
        assert finding.line is not None
        assert finding.message
