"""
The shipped templates: what they hold, that their cases come out as written, and that nothing in them is dead.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from edictum import Edictum, EdictumDenied, Principal
from edictum.cli import main
from edictum.cli.cases import Case, read_cases
from edictum.cli.trial import try_call
from edictum.globs import is_glob
from edictum.ruleset.document import read_file
from edictum.ruleset.patterns import admit
from edictum.ruleset.patterns.limits import MAX_MATCH_CHARS
from edictum.ruleset.selectors import walk
from edictum.template_files import TemplateInfo, find_template, list_templates
from hypothesis import example, given
from hypothesis import strategies as st

# The rules that programs written for the published package rely on.
PUBLISHED = {
    "file-agent": ("block-sensitive-reads", "block-destructive-bash", "block-write-outside-target"),
    "research-agent": ("block-sensitive-reads", "pii-in-output", "session-limits"),
    "devops-agent": (
        "block-sensitive-reads",
        "block-destructive-bash",
        "prod-deploy-requires-senior",
        "prod-requires-ticket",
        "pii-in-output",
        "session-limits",
    ),
    "nanobot-agent": (
        "ask-exec",
        "ask-spawn",
        "ask-cron",
        "ask-mcp-tools",
        "block-write-outside-workspace",
        "block-edit-outside-workspace",
        "block-sensitive-reads",
        "session-limits",
    ),
    "coding-assistant-base": (
        "block-secret-file-reads",
        "block-secret-file-writes",
        "block-secret-file-edits",
        "block-env-dump-commands",
        "block-destructive-commands",
        "block-dangerous-git",
        "block-system-commands",
        "block-package-installs",
    ),
}
OTHERS = ("file-agent-sandbox", "mcp-agent", "web-agent")
NAMES = sorted((*PUBLISHED, *OTHERS))
OBSERVING = {"coding-assistant-base"}
SANDBOXED = {"file-agent-sandbox", "mcp-agent", "web-agent", "nanobot-agent"}

PASSING = ("allow", "ask")
PATH_ARGUMENTS = ("path", "file_path", "filePath", "filename", "target_file", "source", "source_path")
COMMAND_ARGUMENTS = ("command", "cmd")

each_template = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    An empty working folder and a home beside it, because sandbox rules look at the file system.
    """
    folder, home = tmp_path / "work", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(home))
    return folder


@cache
def document_of(name: str) -> dict[str, Any]:
    data: dict[str, Any] = read_file(find_template(name).path).data
    return data


@cache
def cases_of(name: str) -> tuple[Case, ...]:
    path = find_template(name).cases
    assert path is not None
    return tuple(read_cases(str(path), "production"))


def enforced(name: str, folder: Path) -> Path:
    """
    The template in a file of its own, in enforce mode.
    """
    text = find_template(name).path.read_text()
    path = folder / f"{name}.yaml"
    path.write_text(text.replace("  mode: observe\n", "  mode: enforce\n"))
    return path


def leaves_of(expression: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """
    Selector, operator and operand of all leaves.
    """
    for key, value in expression.items():
        if key in ("any", "all"):
            for part in value:
                yield from leaves_of(part)
        elif key == "not":
            yield from leaves_of(value)
        else:
            ((operator, operand),) = value.items()
            yield key, operator, operand


def rules_with_conditions(name: str) -> list[dict[str, Any]]:
    return [rule for rule in document_of(name)["rules"] if "when" in rule]


def patterns_in(rule: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for selector, operator, operand in leaves_of(rule["when"]):
        if operator in ("matches", "matches_any"):
            for pattern in [operand] if operator == "matches" else operand:
                yield selector, pattern


def value_in(case: Case, selector: str) -> Any:
    """
    What a selector reads in the call of a case.
    """
    root, *path = selector.split(".")
    call = case.call
    if root == "args":
        return walk(call.args, tuple(path))
    if root == "principal":
        return getattr(call.principal, path[0], None)
    values = {"tool": call.tool, "environment": call.environment, "output": call.output}
    value = values[root]
    return json.dumps(value) if root == "output" and value is not None and not isinstance(value, str) else value


# --- what is there -------------------------------------------------------------------------------


def test_all_templates_are_known_here() -> None:
    assert sorted(template.name for template in list_templates()) == NAMES


@each_template
def test_template_loads_and_bears_its_own_name(name: str) -> None:
    described = Edictum.from_template(name).describe()
    assert described["ruleset"] == name
    assert described["mode"] == ("observe" if name in OBSERVING else "enforce")
    assert document_of(name)["metadata"]["description"]


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_template_keeps_the_ids_that_programs_rely_on(name: str) -> None:
    assert set(PUBLISHED[name]) <= {rule["id"] for rule in document_of(name)["rules"]}


@pytest.mark.parametrize("name", sorted(SANDBOXED))
def test_sandbox_template_holds_a_sandbox_rule(name: str) -> None:
    assert any(rule["type"] == "sandbox" for rule in document_of(name)["rules"])


@each_template
def test_template_says_what_it_protects_what_it_cannot_see_and_how_to_adapt_it(name: str) -> None:
    text = find_template(name).path.read_text()
    head = text[: text.index("apiVersion")]
    assert head.startswith(f"# {name}: ")
    for title in ("# What it protects", "# What it cannot see", "# How to adapt it"):
        assert title in head
    assert f"edictum templates show {name} > rules.yaml" in head


@each_template
def test_template_is_plain_text_that_any_terminal_prints_as_it_is(name: str) -> None:
    template = find_template(name)
    assert template.cases is not None
    for path in (template.path, template.cases):
        text = path.read_bytes().decode("ascii")
        assert text.endswith("\n")
        assert "\t" not in text


@each_template
def test_message_tells_the_agent_something_to_do_and_shows_only_what_is_there(name: str) -> None:
    for rule in document_of(name)["rules"]:
        message = rule.get("message") or rule["then"]["message"]
        assert re.search(r"[.}]\Z|: \{[\w.]+\} ?\{?[\w.]*\}?\Z", message), message
        # A placeholder of an argument that may be missing would be shown with its braces.
        if rule.get("then", {}).get("action") != "ask":
            assert "{" not in message


# --- the cases -----------------------------------------------------------------------------------


@each_template
def test_every_case_comes_out_as_written(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = find_template(name).cases
    code = main(["test", str(enforced(name, tmp_path)), "--cases", str(cases), "--json"])
    results = json.loads(capsys.readouterr().out)["results"]
    assert [result for result in results if not result["passed"]] == []
    assert code == 0
    assert len(results) >= 40


@each_template
def test_as_many_cases_pass_as_are_blocked(name: str) -> None:
    passing = [case.id for case in cases_of(name) if case.expect in PASSING]
    assert len(passing) >= len(cases_of(name)) - len(passing)


@each_template
def test_every_rule_decides_a_case(name: str) -> None:
    assert {case.rule for case in cases_of(name)} - {None} == {rule["id"] for rule in document_of(name)["rules"]}


@each_template
def test_every_tag_is_expected_by_a_case(name: str) -> None:
    tags = {tag for rule in document_of(name)["rules"] for tag in rule.get("then", {}).get("tags", ())}
    assert {tag for case in cases_of(name) for tag in case.tags} >= tags - {"paths"}


@each_template
def test_every_tool_that_is_named_has_a_case_that_passes(name: str) -> None:
    document = document_of(name)
    named = set(document.get("tools", ()))
    for rule in document["rules"]:
        named.update(rule.get("tools", [rule["tool"]] if "tool" in rule else []))
    passing = {case.call.tool for case in cases_of(name) if case.expect in PASSING}
    for pattern in named - {"*"}:
        assert any(fnmatchcase(tool, pattern) if is_glob(pattern) else tool == pattern for tool in passing), pattern


@each_template
def test_every_pattern_and_every_argument_is_hit_by_a_case(name: str) -> None:
    """
    A pattern that no case hits may be one that nothing hits; an argument that no case uses may be misspelled.
    """
    for rule in rules_with_conditions(name):
        hits: dict[str, set[str]] = {}
        for selector, pattern in patterns_in(rule):
            values = [value for case in cases_of(name) if isinstance(value := value_in(case, selector), str)]
            if any(admit(pattern).found(value) for value in values):
                hits.setdefault(pattern, set()).add(selector)
        patterns = list(patterns_in(rule))
        assert {pattern for _, pattern in patterns} == set(hits), rule["id"]
        selectors = {selector for found in hits.values() for selector in found}
        assert {selector for selector, _ in patterns} == selectors, rule["id"]
        for selector, operator, _ in leaves_of(rule["when"]):
            if operator == "exists":
                assert any(value_in(case, selector) is not None for case in cases_of(name)), (rule["id"], selector)


@pytest.mark.parametrize("name", sorted(OBSERVING))
def test_observing_template_blocks_nothing_until_it_is_told_to(name: str) -> None:
    guard = Edictum.from_template(name)
    for case in cases_of(name):
        trial = try_call(guard, case.call)
        assert trial.outcome == "allow", case.id
        assert bool(trial.notes) == (case.expect != "allow"), case.id


# --- patterns ------------------------------------------------------------------------------------


@each_template
def test_every_pattern_searches_texts_of_any_length_in_linear_time(name: str) -> None:
    for rule in rules_with_conditions(name):
        for _, pattern in patterns_in(rule):
            assert admit(pattern).limit == MAX_MATCH_CHARS, pattern


@each_template
def test_no_pattern_holds_an_escape_that_was_escaped_again(name: str) -> None:
    for rule in rules_with_conditions(name):
        for _, pattern in patterns_in(rule):
            for escape in re.finditer(r"\\(.)", pattern):
                assert escape[1] != "\\" or not re.match("[bBdDsSwWAZ(]", pattern[escape.end() :]), pattern


@each_template
def test_no_condition_takes_a_missing_value_for_one_that_is_allowed(name: str) -> None:
    for rule in rules_with_conditions(name):
        operators = {operator for _, operator, _ in leaves_of(rule["when"])}
        assert not operators & {"not_in", "not_equals"}, rule["id"]


@each_template
def test_copies_of_a_pattern_agree(name: str) -> None:
    """
    What is said for one argument that names a file, or a command, is said for the others.
    """
    for rule in rules_with_conditions(name):
        for group in (PATH_ARGUMENTS, COMMAND_ARGUMENTS):
            said: dict[str, list[tuple[str, str]]] = {}
            for selector, operator, operand in leaves_of(rule["when"]):
                if selector.removeprefix("args.") in group and operator in ("matches", "matches_any"):
                    said.setdefault(selector, []).append((operator, json.dumps(operand)))
            assert len({tuple(sorted(found)) for found in said.values()}) <= 1, (rule["id"], group)


def test_all_templates_mean_the_same_by_a_secret_file() -> None:
    patterns = {
        pattern
        for name in NAMES
        for rule in rules_with_conditions(name)
        for selector, pattern in patterns_in(rule)
        if selector == "args.path" and "secrets" in rule["then"].get("tags", ())
    }
    assert len(patterns) == 1


# --- attacks -------------------------------------------------------------------------------------

DELETIONS = [
    case.call.args[key]
    for case in cases_of("file-agent")
    for key in COMMAND_ARGUMENTS
    if case.rule == "block-destructive-bash" and key in case.call.args
]


@pytest.mark.security
@pytest.mark.parametrize("name", ["file-agent", "devops-agent"])
@pytest.mark.parametrize("command", DELETIONS)
def test_deletion_is_blocked_in_every_spelling_by_every_template_that_says_so(name: str, command: str) -> None:
    guard = Edictum.from_template(name, principal=Principal(role="admin", ticket_ref="OPS-1"))
    for tool in ("bash", "Bash", "shell", "run_shell_command", "terminal", "execute_command"):
        for key in COMMAND_ARGUMENTS:
            assert guard.evaluate(tool, {key: command}).decision == "block"


@pytest.mark.security
@pytest.mark.property
@given(
    command=st.sampled_from(DELETIONS),
    before=st.text(max_size=50),
    after=st.text(max_size=50),
    padding=st.sampled_from(["", " " * 20_000, "x" * 20_000, "\n" * 20_000, "rm " * 5_000]),
)
@example(command="rm -rf /", before="", after="", padding="")
def test_nothing_put_around_a_deletion_lets_it_pass(command: str, before: str, after: str, padding: str) -> None:
    guard = shared_guard("file-agent")
    padded = f"{padding}{before}\n{command}\n{after}{padding}"
    assert guard.evaluate("bash", {"command": padded}).decision == "block"


NAMES_OF_RM = ("rm", "/bin/rm", "\\rm", "r''m", '"rm"', "r\\m", "command rm", "env rm", "xargs rm <<<d", "busybox rm")
RECURSIVE = ("-rf", "-r -f", "-vR", "--recursive", "--rec --force", "-f --r", "-'r'f", '"-r"f', "-r\\f", '"-"r')
AROUND = (
    "{} d",
    "true;{} d",
    "true\n{} d",
    "echo $({} d)",
    "( {} d )",
    "{} \\\n d",
    "echo x|{} d",
    "if true;then {} d;fi",
    'bash -c "{} d"',
)


@pytest.mark.security
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_command_that_deletes_a_folder_in_a_real_shell_is_blocked(fresh_folder: Path) -> None:
    guards = [shared_guard("file-agent"), shared_guard("devops-agent")]
    commands = [around.format(f"{name} {RECURSIVE[0]}") for name in NAMES_OF_RM for around in AROUND]
    commands += [around.format(f"rm {flag}") for flag in RECURSIVE for around in AROUND]
    commands += [
        "{rm,-rf,d}",
        "rm d -rf",
        "rm${IFS}-rf${IFS}d",
        "find d -delete",
        "printf d|xargs rm -r",
        "echo 'rm -r d'|sh",
    ]
    deleted = 0
    for command in commands:
        (fresh_folder / "d").mkdir(exist_ok=True)
        subprocess.run(["bash", "-c", command], cwd=fresh_folder, capture_output=True, stdin=subprocess.DEVNULL)
        if (fresh_folder / "d").exists():
            continue  # not every system has every program, and quotes within quotes end early
        deleted += 1
        assert [guard.evaluate("bash", {"command": command}).decision for guard in guards] == ["block"] * 2, command
    assert deleted > 100


@cache
def shared_guard(name: str) -> Edictum:
    return Edictum.from_template(name)


@pytest.mark.security
@pytest.mark.parametrize("name", NAMES)
def test_argument_that_no_pattern_can_read_never_passes_where_paths_are_judged(name: str, tmp_path: Path) -> None:
    guard = Edictum.from_yaml(enforced(name, tmp_path))
    judged = [rule["id"] for rule in rules_with_conditions(name) if "args.path" in dict(patterns_in(rule))]
    if judged:
        assert guard.evaluate("read_file", {"path": [".env"]}).decision == "block"
        assert guard.evaluate("read_file", {"path": {"name": ".env"}}).decision == "block"
    if any("args.command" in dict(patterns_in(rule)) for rule in rules_with_conditions(name)):
        assert guard.evaluate("shell", {"command": ["bash", "-lc", "rm -rf /"]}).decision == "block"


@pytest.mark.security
@pytest.mark.parametrize("role", [None, "", "developer", "SRE", "admins", "sre "])
def test_deployment_to_production_needs_one_of_the_roles(role: str | None) -> None:
    guard = Edictum.from_template("devops-agent")
    result = guard.evaluate("deploy_service", {"service": "api"}, principal=Principal(role=role, ticket_ref="OPS-1"))
    assert [rule.rule_id for rule in result.rules if not rule.passed] == ["prod-deploy-requires-senior"]


@pytest.mark.security
def test_deployment_by_nobody_is_blocked_for_both_reasons() -> None:
    result = Edictum.from_template("devops-agent").evaluate("deploy_service", {"service": "api"})
    assert [rule.rule_id for rule in result.rules if not rule.passed] == [
        "prod-deploy-requires-senior",
        "prod-requires-ticket",
    ]


@pytest.mark.security
@pytest.mark.parametrize("name", ["file-agent-sandbox", "mcp-agent"])
def test_sandbox_templates_follow_links(name: str, fresh_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "private.txt").write_text("x")
    (fresh_folder / "innocent.txt").symlink_to(tmp_path / "private.txt")
    (fresh_folder / "notes.txt").write_text("x")
    guard = Edictum.from_template(name)
    assert guard.evaluate("read_file", {"path": "notes.txt"}).decision == "allow"
    assert guard.evaluate("read_file", {"path": "innocent.txt"}).decision == "block"


@pytest.mark.security
def test_workspace_of_nanobot_is_that_of_the_user(tmp_path: Path) -> None:
    guard = Edictum.from_template("nanobot-agent")
    workspace = tmp_path / "home" / ".nanobot" / "workspace"
    assert guard.evaluate("write_file", {"path": str(workspace / "a.md")}).decision == "allow"
    assert guard.evaluate("write_file", {"path": str(workspace.parent / "config.json")}).decision == "block"
    workspace.mkdir(parents=True)
    (workspace / "link").symlink_to(tmp_path)
    assert guard.evaluate("write_file", {"path": "link/a.md"}).decision == "block"


def test_templates_in_a_run_block_with_their_message() -> None:
    guard = Edictum.from_template("file-agent")
    assert guard.run_sync("read_file", {"path": "notes.txt"}, lambda path: "text") == "text"
    with pytest.raises(EdictumDenied, match="holds secrets"):
        guard.run_sync("read_file", {"path": ".env"}, lambda path: "text")


def test_template_info_of_a_shipped_template() -> None:
    template = find_template("file-agent")
    assert template == TemplateInfo("file-agent", template.path, builtin=True)
