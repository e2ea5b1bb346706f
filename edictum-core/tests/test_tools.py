"""
Side-effect classes, the registry of tools, and the shell classifier.
"""

from __future__ import annotations

import json

import pytest
from edictum import BashClassifier, Edictum, EdictumConfigError, SideEffect, ToolRegistry
from guards import ruleset
from hypothesis import example, given
from hypothesis import strategies as st

READ, IRREVERSIBLE = SideEffect.READ, SideEffect.IRREVERSIBLE

# The published lists; a change of either is a change of the format.
ENTRIES = (
    "ls cat head tail wc find grep rg git_status git_log git_diff git_show git_branch git_remote git_tag "
    "echo pwd whoami date which file stat du df tree less more"
)  # fmt: skip
OPERATORS = ["\n", "\r", "<(", "<<", "$", ">", "|", ";", "&&", "||", "`", "#{"]


# --- SideEffect -----------------------------------------------------------------------------------


def test_side_effect_values_are_plain_text() -> None:
    assert [str(member) for member in SideEffect] == ["pure", "read", "write", "irreversible"]
    assert json.dumps(SideEffect.READ) == '"read"'


@pytest.mark.parametrize(
    ("side_effect", "expected"), [("pure", False), ("read", False), ("write", True), ("irreversible", True)]
)
def test_side_effect_knows_what_cannot_be_taken_back(side_effect: str, expected: bool) -> None:
    assert expected == SideEffect(side_effect).changes_something


# --- ToolRegistry ---------------------------------------------------------------------------------


def registry_of(**tools: str) -> ToolRegistry:
    registry = ToolRegistry()
    for name, side_effect in tools.items():
        registry.register(name, side_effect)
    return registry


def test_registry_unknown_tool_is_irreversible() -> None:
    assert ToolRegistry().classify("x") == (IRREVERSIBLE, False)
    assert registry_of(y="pure").classify("x", {"a": 1}) == (IRREVERSIBLE, False)


def test_registry_registered_tool_writes_unless_said_otherwise() -> None:
    registry = ToolRegistry()
    registry.register("x")
    registry.register("y", SideEffect.READ, True)

    assert registry.classify("x") == (SideEffect.WRITE, False)
    assert registry.classify("y") == (SideEffect.READ, True)


def test_registry_exact_name_wins_over_globs_and_the_longest_glob_over_others() -> None:
    registry = ToolRegistry()
    for name, side_effect in (("mcp_*", "write"), ("*", "pure"), ("mcp_db_*", "read"), ("mcp_db_drop", "irreversible")):
        registry.register(name, side_effect)

    found = [str(registry.classify(name)[0]) for name in ("x", "mcp_x", "mcp_db_x", "mcp_db_drop", "MCP_x")]

    assert found == ["pure", "write", "read", "irreversible", "pure"]


def test_registry_same_name_registered_again_is_replaced() -> None:
    registry = registry_of(x="pure", **{"y*": "pure"})
    registry.register("x", "write")
    registry.register("y*", "read", True)

    assert [registry.classify("x"), registry.classify("y1")] == [(SideEffect.WRITE, False), (SideEffect.READ, True)]
    assert {"x", "y*"} == set(registry.names())


def test_registry_unknown_side_effect_is_refused() -> None:
    with pytest.raises(ValueError, match="harmless"):
        ToolRegistry().register("x", "harmless")


def test_registry_shell_tools_are_bash_and_those_registered() -> None:
    registry = ToolRegistry()
    registry.register("terminal", shell=True)

    assert [registry.is_shell(name) for name in ("Bash", "terminal", "bash")] == [True, True, False]


def test_registry_shell_glob_concerns_the_tools_it_matches() -> None:
    registry = ToolRegistry()
    registry.register("sh_*", "read", shell=True)

    assert registry.is_shell("sh_local")


def test_guard_tools_win_over_the_ruleset() -> None:
    document = ruleset(tools={"a": {"side_effect": "write"}, "mcp_*": {"side_effect": "read", "idempotent": True}})
    guard = Edictum.from_bundle_dict(document, tools={"a": {"side_effect": "pure"}, "b": {}})

    found = [guard.tool_registry.classify(name) for name in ("a", "b", "mcp_x")]

    assert found == [(SideEffect.PURE, False), (IRREVERSIBLE, False), (READ, True)]


@pytest.mark.parametrize("tool", [{"side_effect": "harmless"}, {"sideeffect": "read"}])
def test_guard_tool_that_is_not_understood_is_refused(tool: dict[str, str]) -> None:
    with pytest.raises(EdictumConfigError, match="'x'"):
        Edictum(tools={"x": tool})


# --- BashClassifier -------------------------------------------------------------------------------


def base_rule(command: str) -> SideEffect:
    """
    The plain prefix rule that the classifier may only tighten.
    """
    text = command.strip()
    if not text:
        return READ
    if any(operator in command for operator in OPERATORS):
        return IRREVERSIBLE
    entries = [entry.replace("_", " ") for entry in ENTRIES.split()]
    return READ if any(text == entry or text.startswith(entry + " ") for entry in entries) else IRREVERSIBLE


WORDS = st.sampled_from(
    [
        "-delete", "-exec", "-ok", "-fprint", "-fls", "-D", "-d", "-m", "-l", "--list", "-n", "-a", "-v", "add",
        "remove", "show", "get-url", "-s", "--set", "0101", "--output=x", "a.txt", ".", "-o", "-C", "--pre=x", "-R",
        "''", '"q"', "\\",
    ]
)  # fmt: skip
PIECES = st.one_of(st.sampled_from(OPERATORS), st.sampled_from(["&", " & ", "\t", "'", '"', "\\", "\x0b", "\u2028"]))
COMMANDS = st.builds(
    lambda entry, parts: entry.replace("_", " ") + "".join(parts),
    st.sampled_from([*ENTRIES.split(), "rm", "git", "lsx", "LS", "cat\tx"]),
    st.lists(st.one_of(WORDS.map(" ".__add__), PIECES), max_size=5),
)


def test_classifier_lists_are_the_published_ones() -> None:
    assert tuple(entry.replace("_", " ") for entry in ENTRIES.split()) == BashClassifier.READ_ALLOWLIST
    assert tuple(OPERATORS) == BashClassifier.SHELL_OPERATORS


@pytest.mark.property
@given(st.one_of(COMMANDS, st.text(max_size=20)))
@example("ls & rm x")
@example("ls\nrm x")
def test_classifier_never_reads_with_an_operator(command: str) -> None:
    if any(operator in command.strip() for operator in [*OPERATORS, "&"]):
        assert BashClassifier.classify(command) is IRREVERSIBLE


@pytest.mark.property
@given(st.one_of(COMMANDS, COMMANDS.map(str.strip), st.text(max_size=20)))
def test_classifier_is_only_stricter_than_the_prefix_rule(command: str) -> None:
    found = BashClassifier.classify(command)

    assert found in (READ, IRREVERSIBLE)
    if found is READ:
        assert base_rule(command.strip()) is READ


@pytest.mark.parametrize("operator", [*OPERATORS, "&"])
@pytest.mark.parametrize("place", ["ls{}rm", "ls {} rm", "ls '{}'", "echo a{}"])
def test_classifier_operator_anywhere_is_irreversible(operator: str, place: str) -> None:
    command = place.format(operator)
    if command.strip() == command:  # a line break at the end is trimmed
        assert BashClassifier.classify(command) is IRREVERSIBLE


@pytest.mark.parametrize(
    "command",
    [
        "", "   ", "ls", "ls -la /tmp", " cat a.txt ", "head -n 5 x", "tail x", "wc -l x", "grep -r key .", "rg key",
        "find . -name x", "find . -type f -newer y", "git status", "git log --oneline -5", "git diff HEAD~1",
        "git show abc", "git branch", "git branch -a", "git branch --list", "git branch -vv", "git remote",
        "git remote -v", "git remote show origin", "git remote get-url origin", "git tag", "git tag -l", "git tag -n",
        "git tag -n3", "git tag --list v1", "echo hello", "pwd", "whoami", "date", "date +%F", "date -u",
        "which python", "file x", "stat x", "du -sh .", "df -h", "tree -L 2",
    ],
)  # fmt: skip
def test_classifier_harmless_command_reads(command: str) -> None:
    assert BashClassifier.classify(command) is READ


@pytest.mark.parametrize(
    "command",
    [
        "rm -rf /", "lsof", "LS", "ls\t-l", "cat'x", "cat 'open", "sudo ls", "./ls", "git", "git push", "git  status",
        "sort x", "sort -o x y", "tee x", "cp a b", "python -c x", "env", "printenv",
        "find . -delete", "find . -exec rm {} +", "find . -execdir rm {} +", "find . -ok rm {} +", "find . -okdir x",
        "find . -fprint x", "find . -fprintf x %p", "find . -fprint0 x", "find . -fls x", "find . '-delete'",
        r"find . \-delete", 'find . "-exec" rm {} +',
        "git branch -D x", "git branch -d x", "git branch -m a b", "git branch new", "git branch -f x y",
        "git branch --delete x", "git branch -v new", "git branch -u origin/x",
        "git tag v1", "git tag -d v1", "git tag -a v1 -m x", "git tag -f v1", "git tag -n -d v1", "git tag -s v1",
        "git remote add o u", "git remote remove o", "git remote set-url o u",
        "git log --output=x", "git diff --output x", "git show --ext-diff", "git diff --textconv",
        "date -s 2020-01-01", "date --set=2020-01-01", "date --set 2020", "date --se=2020", "date 010100002020",
        "less x", "less", "more x", "more",
        "cat a & rm b", "ls &", "rg --pre sh x", "rg --pre=sh x", "tree -o x", "file -C -m x",
    ],
)  # fmt: skip
def test_classifier_command_that_may_change_something_is_irreversible(command: str) -> None:
    assert BashClassifier.classify(command) is IRREVERSIBLE


@pytest.mark.parametrize(
    "command",
    [
        "git remote -v add origin https://evil.example",
        "git remote -v remove origin",
        "git remote --verbose set-url origin https://evil.example",
        "date -us 2020-01-01",
        "date 010100002020.30",
        "tree -ao x",
        "file -bC -m x",
    ],
)
def test_classifier_hidden_change_is_irreversible(command: str) -> None:
    assert BashClassifier.classify(command) is IRREVERSIBLE
