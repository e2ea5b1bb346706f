"""
The simple commands of a shell line: nothing hides beside the command that a pattern was written for.
"""

from __future__ import annotations

import subprocess

import pytest
from edictum.ruleset.patterns import admit
from edictum.workflow.commands import read_line
from hypothesis import given
from hypothesis import strategies as st

PYTEST = admit(r"^pytest\b")
ONLY_PYTEST = admit("^pytest$")
PUSH_MAIN = admit(r"^git push origin main\b")

ALONE = ["pytest", "pytest -q tests", "pytest 'a;b'", 'pytest "a && b"', r"pytest a\;b", "pytest -k 'x or y' 2>&1"]
BESIDE = [
    "{}; rm -rf /",
    "{} ; rm -rf /",
    "{} && rm -rf /",
    "{} || rm -rf /",
    "{} | sh",
    "{} & rm -rf /",
    "{}\nrm -rf /",
    "{} $(rm -rf /)",
    "{} `rm -rf /`",
    '{} "$(rm -rf /)"',
    '{} "`rm -rf /`"',
    "{} <(rm -rf /)",
    "{} > >(rm -rf /)",
    "({}; rm -rf /)",
    "{{ {}; rm -rf /; }}",
    "{} # it's fine\nrm -rf /",
    "{} <<EOF\nit's\nEOF\nrm -rf /",
    "{} <<'EOF'\n$(no)\nEOF\nrm -rf /",
    "{} <<EOF\n$(rm -rf /)\nEOF",
    "{} ${{x:-$(rm -rf /)}}",
    "{} $'it\\'s'; rm -rf /",
    '{} "it\\"s"; rm -rf /',
    "{} \\\n; rm -rf /",
    "if {}; then rm -rf /; fi",
    "for x in 1; do rm -rf /; done; {}",
    "{} $((1 + $(rm -rf /)))",
    "rm -rf / ; {}",
    "case x in x) rm -rf /;; esac; {}",
    '{} "$(case x in x) rm -rf / ;; esac)"',
]
UNREADABLE = ["pytest 'a", 'pytest "a', "pytest $(a", "pytest `a", "pytest ${a", "pytest <<EOF\na", "$X", "pytest \x00"]


@pytest.mark.parametrize("line", ALONE)
def test_command_by_itself_satisfies_its_pattern(line: str) -> None:
    assert read_line(line).satisfies(PYTEST)


@pytest.mark.parametrize("line", BESIDE)
@pytest.mark.security
def test_command_with_another_beside_it_does_not(line: str) -> None:
    assert not read_line(line.format("pytest")).satisfies(PYTEST)


@pytest.mark.parametrize("line", UNREADABLE)
@pytest.mark.security
def test_line_that_cannot_be_read_satisfies_nothing_and_evades_nothing(line: str) -> None:
    assert not read_line(line).satisfies(admit(".*"))
    assert not read_line(line).avoids(admit("never"))


def test_several_commands_that_all_match_satisfy_the_pattern() -> None:
    assert read_line("pytest a; pytest b && pytest c").satisfies(PYTEST)


def test_blanks_and_redirections_are_no_commands() -> None:
    assert read_line("pytest &> log").satisfies(PYTEST)
    assert read_line("pytest; ").satisfies(PYTEST)


def test_line_of_one_command_is_matched_as_it_stands() -> None:
    assert not read_line("pytest ").satisfies(ONLY_PYTEST)
    assert not read_line("pytest;").satisfies(ONLY_PYTEST)


@pytest.mark.parametrize(
    "line",
    [
        "git push origin main",
        "git  push   origin\tmain",
        "'git' push origin main",
        'git "push" origin main',
        "g'i't push origin main",
        r"g\it push origin main",
        "/usr/bin/git push origin main",
        "FOO=1 git push origin main",
        "FOO=$(date) git push origin main",
        "sudo git push origin main",
        "env -i A=b git push origin main",
        "! git push origin main",
        "{ git push origin main; }",
        "(git push origin main)",
        "echo hi; git push origin main",
        "true && git push origin main --force",
        "echo $(git push origin main)",
        'echo "$(git push origin main)"',
        "echo `git push origin main`",
        "if true; then git push origin main; fi",
        "bash -c 'git push origin main'",
        'sh -ec "echo; git push origin main"',
        "eval git push origin main",
        "eval 'git push origin main'",
        "cat <<EOF\n$(git push origin main)\nEOF",
        "git push \\\n origin main",
        "$(echo git) push origin main",
        "$GIT push origin main",
        'bash -c "$CMD"',
        "case x in x) git push origin main;; esac",
    ],
)
@pytest.mark.security
def test_command_is_not_evaded_by_another_spelling(line: str) -> None:
    assert not read_line(line).avoids(PUSH_MAIN)


@pytest.mark.parametrize(
    "line",
    [
        "git push origin feature",
        "echo 'git push origin main is forbidden'",
        "git commit -m 'docs: say git push origin main is forbidden'",
        "git commit -m \"$(cat <<'EOF'\nfix: don't push\n\nit's done\nEOF\n)\"",
        "ls $HOME; cat a.txt | grep x > out.txt 2>&1",
        'for f in *.py; do wc -l "$f"; done',
        "cat <<'EOF' > notes.md\ngit push origin main\nEOF",
        "",
    ],
)
def test_other_work_is_not_taken_for_the_command(line: str) -> None:
    assert read_line(line).avoids(PUSH_MAIN)


# What a shell runs is what the reading says: the names are programs that print themselves.
_WORDS = st.sampled_from(["a", "b", "'a b'", '"a b"', r"\;", "'it'", "x=1", '"$(b)"', "$(b)", "`a`", "#", "''"])
_JOINTS = st.sampled_from([" ", " ", "; ", " && ", " || ", " | ", "\n", " & ", "\\\n", "  "])


@st.composite
def _lines(draw: st.DrawFn) -> str:
    line = draw(st.sampled_from(["a", "b"]))
    for _ in range(draw(st.integers(0, 6))):
        line += draw(_JOINTS) + draw(_WORDS)
    return line


@given(_lines())
@pytest.mark.property
def test_every_program_that_bash_starts_is_among_the_readings(line: str) -> None:
    """
    Bash itself, with functions in place of programs, is the oracle.
    """
    prelude = 'a() { echo "ran:a $*" >&2; }; b() { echo "ran:b $*" >&2; }; command_not_found_handle() { :; }\n'
    ran = subprocess.run(["bash", "-c", prelude + line], capture_output=True, timeout=20, check=False).stderr.decode()
    started = {name for name in ("a", "b") if f"ran:{name}" in ran}

    read = read_line(line)

    for name in started:
        assert not read.avoids(admit(f"^{name}( |$)"))
    if started - {"a"}:
        assert not read.satisfies(admit(r"^\s*a( |$)"))


@given(st.text(alphabet="ab '\"\\$`(){};&|\n<>#!=-*E", max_size=40))
@pytest.mark.property
def test_any_text_is_read_without_error(text: str) -> None:
    read = read_line(text)

    assert read.parts is None or all(isinstance(part, str) for part in read.parts)
