"""
The command ``audit verify``: what it prints and how it exits.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from edictum.cli import main
from edictum.file_sink import FileAuditSink
from edictum.hash_chain import read_link
from logs import emit, numbered, parts

PARTIAL = b'{"schema_version":"0.4.0","timest'


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """
    A log of 10 chained lines in 4 files, with an unfinished line at the end of the second.
    """
    path = tmp_path / "audit.jsonl"
    sink = FileAuditSink(path, hash_chain=True, max_bytes=2_600)
    emit(sink, *numbered(*range(6)))
    with path.open("ab") as file:
        file.write(PARTIAL)
    emit(sink, *numbered(*range(6, 10)))
    return path


def change(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))


def last_hash(path: Path) -> str:
    link = read_link(path.read_bytes().splitlines()[-1])
    assert link is not None
    return link.hash


def text_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out.splitlines()


def json_of(capsys: pytest.CaptureFixture[str]) -> Any:
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


def test_intact_log_exits_0_with_its_counts_and_last_hash(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "verify", str(log)]) == 0
    assert text_of(capsys) == [
        f"{log}.2:4: an unfinished or damaged line",
        "intact: 10 chained lines in 4 files",
        f"last hash: {last_hash(log)}",
    ]


def test_intact_log_as_json(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "verify", str(log), "--json", "--expect", last_hash(log)]) == 0
    assert json_of(capsys) == {
        "intact": True,
        "files": [
            {"file": f"{log}.3", "lines": 3},
            {"file": f"{log}.2", "lines": 4},
            {"file": f"{log}.1", "lines": 3},
            {"file": str(log), "lines": 1},
        ],
        "lines": 11,
        "chained": 10,
        "outside": {
            "total": 1,
            "lines": [{"file": f"{log}.2", "line": 4, "message": "an unfinished or damaged line"}],
        },
        "unfinished": None,
        "breaks": 0,
        "first_break": None,
        "starts_after": None,
        "last_hash": last_hash(log),
        "not_found": [],
    }


@pytest.mark.security
def test_changed_line_exits_1_with_its_place(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(Path(f"{log}.1"), b'"call_index":7,', b'"call_index":8,')

    assert main(["audit", "verify", str(log)]) == 1
    place = f"{log}.1:2"
    assert text_of(capsys)[1:3] == [
        f"{place}: this line was changed: its hash is not that of its text",
        "broken: 10 chained lines in 4 files",
    ]
    assert main(["audit", "verify", str(log), "--json"]) == 1
    found = json_of(capsys)
    assert (found["intact"], found["breaks"]) == (False, 1)
    assert (found["first_break"]["file"], found["first_break"]["line"]) == (f"{log}.1", 2)


@pytest.mark.security
def test_each_break_is_counted_and_the_first_is_shown(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(Path(f"{log}.3"), b'"call_index":1,', b'"call_index":2,')
    change(Path(f"{log}.1"), b'"call_index":7,', b'"call_index":8,')

    assert main(["audit", "verify", str(log)]) == 1
    shown = text_of(capsys)
    assert shown[1].startswith(f"{log}.3:2: ")
    assert shown[2] == "broken at 2 places: 10 chained lines in 4 files"


@pytest.mark.security
def test_end_that_was_cut_off_needs_a_hash_to_be_found(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = last_hash(log)
    log.unlink()

    assert main(["audit", "verify", str(log)]) == 0
    text_of(capsys)
    assert main(["audit", "verify", str(log), "--expect", kept.upper()]) == 1
    assert text_of(capsys)[1:] == [
        f"hash {kept} is not in the log: its end was cut off, or lines were written anew or rotated away",
        "broken: 9 chained lines in 3 files",
        f"last hash: {last_hash(Path(f'{log}.1'))}",
    ]


@pytest.mark.security
def test_files_that_are_gone_need_an_option(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = last_hash(Path(f"{log}.3"))
    Path(f"{log}.3").unlink()

    assert main(["audit", "verify", str(log)]) == 1
    shown = text_of(capsys)
    assert shown[1] == f"{log}.2:1: the log does not begin here: the lines before this one are missing"
    assert "--rotated" in shown[2]
    assert main(["audit", "verify", str(log), "--rotated"]) == 0
    assert f"starts after: {before}" in text_of(capsys)


def test_unfinished_last_line_is_shown(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with log.open("ab") as file:
        file.write(PARTIAL)

    assert main(["audit", "verify", str(log)]) == 0
    assert text_of(capsys)[1].startswith(f"{log}:2: an unfinished line: it is being written, ")
    assert main(["audit", "verify", str(log), "--json"]) == 0
    assert json_of(capsys)["unfinished"]["line"] == 2


def test_many_lines_outside_the_chain_are_shown_in_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"{}\n" * 150)
    emit(FileAuditSink(path, hash_chain=True), *numbered(1))

    assert main(["audit", "verify", str(path)]) == 0
    shown = text_of(capsys)
    assert shown[99] == f"{path}:100: a line without a place in the chain"
    assert shown[100:102] == ["and 50 more lines outside the chain", "intact: 1 chained line in 1 file"]


@pytest.mark.parametrize("content", [b"", b"{}\n", b"\x00\xff", PARTIAL])
def test_log_without_a_chain_exits_2(tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(content)

    assert main(["audit", "verify", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        f"error: no line of {path} is chained",
        "  the sink must be a FileAuditSink with hash_chain=True",
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["audit"], "error: the following arguments are required: ACTION; see: edictum audit --help"),
        (["audit", "verify"], "error: the following arguments are required: FILE; see: edictum audit verify --help"),
        (
            ["audit", "verify", "x", "--expect", "1\x1b2"],
            'error: --expect "1\\u001b2" is not a hash: give the 64 hexadecimal digits that verify has shown',
        ),
    ],
)
def test_wrong_use_exits_2(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.splitlines() == [expected]


def test_missing_file_exits_2_and_suggests_another(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in parts(log)[:-1]:
        part.unlink()
    Path(f"{log}.lock").unlink()

    assert main(["audit", "verify", str(log.with_name("adit.jsonl"))]) == 2
    expected = f'no such file: "{log.with_name("adit.jsonl")}"; did you mean "{log}"?'
    assert capsys.readouterr().err == f"error: {expected}\n"
    assert main(["audit", "verify", str(log.with_name("adit.jsonl")), "--json"]) == 2
    assert json_of(capsys) == {"error": expected, "success": False}


def test_folder_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "verify", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f'error: "{tmp_path}" is a folder; name a file in it\n'


def test_name_of_a_file_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a\x1b[2J.jsonl"
    emit(FileAuditSink(path, hash_chain=True), *numbered(1, 2))
    path.write_bytes(path.read_bytes().replace(b"enforce", b"observe"))

    assert main(["audit", "verify", str(path)]) == 1
    assert "\x1b" not in capsys.readouterr().out
