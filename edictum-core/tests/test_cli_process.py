"""
The command as a process of its own: exit codes, streams, and what it loads.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

RULESET = {
    "apiVersion": "edictum/v1",
    "kind": "Ruleset",
    "metadata": {"name": "office"},
    "defaults": {"mode": "enforce"},
    "rules": [
        {
            "id": "no-secrets",
            "type": "pre",
            "tool": "read_file",
            "when": {"args.path": {"contains": ".env"}},
            "then": {"action": "block", "message": "Not {args.path}, bitte schön."},
        }
    ],
}
WITHOUT_YAML = "import sys; sys.modules['ruamel'] = sys.modules['ruamel.yaml'] = None; "
RUN_MAIN = "import sys; from edictum.cli import main; sys.exit(main(sys.argv[1:]))"
TIMEOUT = 60


@pytest.fixture
def ruleset(tmp_path: Path) -> str:
    path = tmp_path / "rules.json"
    path.write_text(json.dumps(RULESET), encoding="utf-8")
    return str(path)


def run(*words: str, code: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    start = ["-m", "edictum"] if code is None else ["-c", code]
    return subprocess.run(
        [sys.executable, *start, *words],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, **environment},
        timeout=TIMEOUT,
        check=False,
    )


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a.txt", 0), (".env", 1)],
)
def test_check_exit_code_tells_the_decision(path: str, expected: int, ruleset: str) -> None:
    done = run("check", ruleset, "--tool", "read_file", "--args", json.dumps({"path": path}))
    assert (done.returncode, done.stderr) == (expected, "")


def test_wrong_use_exits_2_with_the_error_on_stderr(ruleset: str) -> None:
    done = run("check", ruleset)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("error: the following arguments are required: --tool, --args; see: edictum check --help\n")


def test_both_module_forms_and_the_function_are_one_command(ruleset: str) -> None:
    forms = [run("validate", ruleset), run("validate", ruleset, code=RUN_MAIN)]
    command = [sys.executable, "-m", "edictum.cli", "validate", ruleset]
    forms.append(subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False))
    expected = (0, f"{ruleset}: valid, 1 rule (1 pre)\n", "")
    assert {(done.returncode, done.stdout, done.stderr) for done in forms} == {expected}


def test_json_ruleset_needs_no_yaml_library(ruleset: str, tmp_path: Path) -> None:
    cases = tmp_path / "cases.json"
    case = {"id": "env", "tool": "read_file", "args": {"path": ".env"}, "expect": "block"}
    cases.write_text(json.dumps({"cases": [case]}), encoding="utf-8")
    done = run("test", ruleset, "--cases", str(cases), code=WITHOUT_YAML + RUN_MAIN)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok    env\n1 of 1 case passed\n", "")


def test_yaml_ruleset_without_the_library_names_the_extra(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("kind: Ruleset\n", encoding="utf-8")
    done = run("check", str(path), "--tool", "t", "--args", "{}", code=WITHOUT_YAML + RUN_MAIN)
    assert done.returncode == 2
    assert "edictum-core[yaml]" in done.stderr
    assert "Traceback" not in done.stderr


def test_terminal_that_cannot_show_a_character_gets_an_escape(ruleset: str) -> None:
    words = ["check", ruleset, "--tool", "read_file", "--args", '{"path": ".env"}']
    done = run(*words, PYTHONIOENCODING="ascii")
    assert "reason: Not .env, bitte sch\\xf6n." in done.stdout.splitlines()
    assert done.returncode == 1


@pytest.mark.skipif(os.name == "nt", reason="pipes end differently there")
def test_reader_that_goes_away_is_no_error(ruleset: str) -> None:
    """
    As in ``edictum schema | head -1``.
    """
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "edictum", "schema"]
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, timeout=TIMEOUT, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a named pipe")
def test_interrupt_while_reading_exits_130(tmp_path: Path) -> None:
    """
    The command waits for the writer of a pipe, which gives the signal a certain moment to arrive.
    """
    pipe = tmp_path / "rules.json"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "edictum", "validate", str(pipe)]
    # A shell starts its background jobs with this signal ignored, and they hand that on.
    obey = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=obey)
    with process, pipe.open("wb"):  # opened when the command has opened the other end
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, output) == (130, (b"", b""))


def test_version_loads_no_other_command_and_no_heavy_library() -> None:
    code = (
        "import sys; from edictum.cli import main; main(['version']); "
        "print(*(name for name in sys.modules if name.startswith(('edictum.cli.', 'ruamel')) or name == 'asyncio'))"
    )
    done = run(code=code)
    assert set(done.stdout.splitlines()[-1].split()) == {"edictum.cli.terminal", "edictum.cli.version"}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs the device that is always full")
@pytest.mark.parametrize("command", ["version", "schema"])
def test_output_that_cannot_be_written_exits_2_with_one_line(command: str) -> None:
    words = [sys.executable, "-m", "edictum", command]
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT, check=False)
    assert (done.returncode, done.stderr) == (2, "error: reading or writing failed: No space left on device\n")
