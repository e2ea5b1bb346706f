"""
The same call written differently: no spelling that keeps the meaning turns a block into an allow.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from edictum import Edictum
from guards import ruleset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Data = dict[str, Any]
Change = Callable[[str], str]

_settings = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / "out").symlink_to("/etc")
    monkeypatch.chdir(project)
    return project


def guard(**body: Any) -> Edictum:
    rule = {"id": "box", "type": "sandbox", "tool": "*", "message": "stay inside", **body}
    return Edictum.from_bundle_dict(ruleset(rule))


OUTSIDE = st.sampled_from(
    ["/etc/passwd", "../../etc/passwd", "src/../../x", "out/passwd", "/etc/new-file", "~/x", ".."]
)


def _percent(text: str) -> str:
    return "".join(f"%{ord(char):02x}" if char in "./e~" else char for char in text)


_PATH_FORMS: list[Change] = [
    lambda path: path,
    lambda path: "src/../" + path if not path.startswith(("/", "~")) else path,
    lambda path: "./" + path if not path.startswith("/") else path,
    lambda path: f" {path}",
    lambda path: f"'{path} '",
    lambda path: path.replace("/", "//"),
    lambda path: path.replace("/", "/./"),
    lambda path: path + "/",
    lambda path: "file://" + path if path.startswith("/") else path,
    lambda path: "FILE:" + path if path.startswith("/") else path,
]
_PATH_CODES: list[Change] = [
    lambda path: path,
    lambda path: quote(path),
    lambda path: _percent(path),
    lambda path: quote(_percent(path)),
    lambda path: path.replace("/", "\\"),
    lambda path: path.replace("/", "%2F"),
]
_ARGUMENTS: list[Callable[[str], Data]] = [
    lambda path: {"path": path},
    lambda path: {"filePath": path},
    lambda path: {"Output-File": path},
    lambda path: {"paths": ["src", path]},
    lambda path: {"options": {"nested": [{"file": path}]}},
    lambda path: {"files": {"a": {"b": path}}},
    lambda path: {"dest": (path,)},
    lambda path: {"path": path.encode()},
]


@pytest.mark.property
@_settings
@given(OUTSIDE, st.sampled_from(_PATH_FORMS), st.sampled_from(_PATH_CODES), st.sampled_from(_ARGUMENTS))
def test_path_outside_is_blocked_in_every_spelling(
    root: Path, path: str, form: Change, code: Change, arguments: Callable[[str], Data]
) -> None:
    assert guard(within=[str(root)]).evaluate("tool", arguments(code(form(path)))).decision == "block"


def _quoted(word: str) -> str:
    return "'" + word + "'"


_WORD_CHANGES: list[Change] = [
    lambda word: word,
    lambda word: f"--file={word}",
    lambda word: f"-C{word}",
    lambda word: f"if={word}",
    lambda word: f"@{word}",
    lambda word: f"a:{word}" if word.startswith(("/", "..")) else word,
]
_QUOTES: list[Change] = [
    lambda word: word,
    _quoted,
    lambda word: f'"{word}"',
    lambda word: word[:1] + '""' + word[1:],
    lambda word: "".join("\\" + char for char in word),
    lambda word: f"{{{word},src}}",
    lambda word: word.replace("s", "?", 1) if word == "/etc/passwd" else word,
]
_COMMANDS: list[Callable[[str], Any]] = [
    lambda word: f"cat {word}",
    lambda word: f"cat src {word} -n",
    lambda word: f"echo x {word} > src/log",
    lambda word: f"X={word} cat src",
    lambda word: f"bash -c {shlex.quote(f'cat {word}')}",
    lambda word: f"cat src/x; cat {word}",
]


@pytest.mark.property
@_settings
@given(
    st.sampled_from(["/etc/passwd", "../../etc/passwd", "src/../../x", "out/passwd", "/etc/new-file", ".."]),
    st.sampled_from(_WORD_CHANGES),
    st.sampled_from(_QUOTES),
    st.sampled_from(_COMMANDS),
    st.sampled_from(["command", "cmd", "Script"]),
)
def test_path_outside_is_blocked_in_every_command(
    root: Path, path: str, change: Change, quotes: Change, command: Callable[[str], str], key: str
) -> None:
    text = command(quotes(change(path)))
    assert guard(within=[str(root)]).evaluate("tool", {key: text}).decision == "block"


_URL_CHANGES: list[Change] = [
    lambda url: url,
    lambda url: url.replace("http", "HTTP"),
    lambda url: url.replace("evil", "EVIL"),
    lambda url: url.replace("evil.com", "evil.com."),
    lambda url: url.replace("evil.com", "evil.com:443"),
    lambda url: url.replace("://", ":/"),
    lambda url: url.replace("://", ":////"),
    lambda url: url.replace("://", ":\\\\"),
    lambda url: url.replace("://", "://api.example.com@"),
    lambda url: url.replace("evil.com", "\uff45vil\u3002com"),
    lambda url: url.replace("https://", "//"),
    lambda url: " " + url,
    lambda url: url + "?q=https://api.example.com/",
]
_NEIGHBOURS: list[Change] = [
    lambda url: url,
    lambda url: "https://api.example.com/ " + url if url.strip().lower().startswith("https:") else url,
]
_URL_ARGUMENTS: list[Callable[[str], Data]] = [
    lambda url: {"url": url},
    lambda url: {"base_url": url},
    lambda url: {"request": {"hosts": [url]}},
    lambda url: {"command": ["curl", url]},
    lambda url: {"links": ["https://api.example.com", url]},
]


@pytest.mark.property
@_settings
@given(
    st.lists(st.sampled_from(_URL_CHANGES), max_size=2),
    st.sampled_from(_NEIGHBOURS),
    st.sampled_from(_URL_ARGUMENTS),
)
def test_host_outside_is_blocked_in_every_spelling(
    changes: list[Change], neighbour: Change, arguments: Callable[[str], Data]
) -> None:
    url = "https://evil.com/path"
    for change in (*changes, neighbour):
        url = change(url)
    box = guard(allows={"domains": ["api.example.com"]})
    assert box.evaluate("tool", arguments(url)).decision == "block"


@pytest.mark.property
@_settings
@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.binary(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
))  # fmt: skip
def test_any_arguments_are_judged_without_an_error(root: Path, value: Any) -> None:
    box = guard(
        within=[str(root)], allows={"domains": ["a.com"], "commands": ["ls"]}, not_allows={"commands": ["rm"]},
        strict_interpreters=True, block_private=True,
    )  # fmt: skip
    for key in ("path", "url", "command", "x"):
        assert not box.evaluate("tool", {key: value}).policy_error
