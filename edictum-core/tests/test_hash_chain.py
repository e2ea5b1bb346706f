"""
The hash chain: how it is written and continued, and that no edit of a log goes unnoticed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from edictum import hash_chain
from edictum.audit import AuditEvent
from edictum.chain_verification import ChainReport, verify
from edictum.file_sink import FileAuditSink
from edictum.hash_chain import GENESIS, chain_end, make_link, read_link, seal
from edictum.redaction import RedactionPolicy
from hypothesis import assume, given
from hypothesis import strategies as st
from logs import emit, numbered, parts, records, run_script

PARTIAL = b'{"schema_version":"0.4.0","timest'


def chained(path: Path, *numbers: int, **options: int) -> None:
    """
    Append to a chained log as a program that has just been started.
    """
    sink = FileAuditSink(path, hash_chain=True, **options)  # type: ignore[arg-type]
    emit(sink, *numbered(*numbers))
    sink.close()


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def check(path: Path, **options: object) -> ChainReport:
    return verify([str(path)], **options)  # type: ignore[arg-type]


# --- the format -----------------------------------------------------------------------------------


def test_line_is_what_the_documentation_says(tmp_path: Path) -> None:
    """
    Computed here from the description alone, as a program in another language would.
    """
    path = tmp_path / "audit.jsonl"
    chained(path, 1, 2)
    append(path, PARTIAL)
    chained(path, 3)

    before = "0" * 64
    for line in path.read_text().split("\n")[:-1]:
        if line == PARTIAL.decode():
            before = sha256(f"{before}\n{line}".encode()).hexdigest()
            continue
        text, own = re.fullmatch(r'(.*),"hash":"([0-9a-f]{64})"\}', line).groups()  # type: ignore[union-attr]
        assert sha256(f"{before}{text}}}".encode()).hexdigest() == own
        assert json.loads(line)["prev_hash"] == before
        assert list(json.loads(line))[-2:] == ["prev_hash", "hash"]
        before = own
    assert check(path).last_hash == before


def test_event_keeps_all_its_fields(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    event = AuditEvent(reason="ünïcode \x9b", tool_args={"hash": "x", "prev_hash": GENESIS, "password": "hunter2"})
    emit(FileAuditSink(path, RedactionPolicy(), hash_chain=True), event)

    (record,) = records(path)
    assert record.pop("hash") == check(path).last_hash
    assert record.pop("prev_hash") == GENESIS
    assert record == {**event.to_dict(), "tool_args": {**event.tool_args, "password": "[REDACTED]"}}


@pytest.mark.property
@given(st.dictionaries(st.text(), st.text(), min_size=1), st.binary(min_size=32, max_size=32))
def test_link_can_be_read_back(event: dict[str, str], before: bytes) -> None:
    text = json.dumps(event).encode()
    line, own = make_link(text, before.hex())
    link = read_link(line)

    assert link is not None
    assert (link.prev_hash, link.hash, link.is_genuine) == (before.hex(), own, True)
    assert json.loads(line) == {**event, "prev_hash": before.hex(), "hash": own}


@pytest.mark.security
def test_link_without_its_hash_is_not_taken_for_the_link(tmp_path: Path) -> None:
    """
    The text that was hashed, put in place of the link, must not lead to the same hash.
    """
    line, own = make_link(b'{"a":1}', GENESIS)
    link = read_link(line)

    assert link is not None
    assert seal(GENESIS, link.text) != own


# --- going on -------------------------------------------------------------------------------------


def test_chain_goes_on_after_a_restart_and_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    for number in range(12):
        chained(path, number, max_bytes=2_500, backups=20)

    assert len(parts(path)) > 3
    report = check(path)
    assert (report.intact, report.links, report.other_lines, report.starts_after) == (True, 12, 0, None)
    assert [record["call_index"] for part in parts(path) for record in records(part)] == list(range(12))


def test_chain_goes_on_when_rotation_has_left_no_current_file(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    chained(path, 1, 2)
    path.rename(f"{path}.1")
    assert check(path).links == 2
    path.touch()
    chained(path, 3)

    assert (check(path).intact, check(path).links) == (True, 3)


def test_chain_begins_behind_lines_without_one_and_seals_them(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    emit(FileAuditSink(path, max_bytes=2_500, backups=20), *numbered(*range(10)))
    chained(path, 10, 11, max_bytes=2_500, backups=20)

    report = check(path)
    assert (report.intact, report.links, report.other_lines) == (True, 2, 10)
    assert {found.message for found in report.others} == {"a line without a place in the chain"}
    oldest = parts(path)[0]
    oldest.write_text(oldest.read_text().replace('"call_index":1,', '"call_index":2,'))
    assert not check(path).intact


def test_sinks_with_and_without_the_chain_on_one_file(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    chain, plain = FileAuditSink(path, hash_chain=True), FileAuditSink(path, shared=True)
    for number in range(6):
        emit((chain, plain)[number % 3 == 1], *numbered(number))

    report = check(path)
    assert (report.intact, report.links, report.other_lines) == (True, 4, 2)
    emit(plain, *numbered(6))
    broken = check(path)
    assert broken.first_break == (
        str(path),
        7,
        "a line without a place in the chain, and no later line of the chain vouches for it",
    )


def test_chain_needs_a_regular_file_that_may_be_read(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"no regular file|Permission denied"):
        emit(FileAuditSink("/dev/null", hash_chain=True), AuditEvent())


def test_link_that_lost_its_line_break_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    chained(path, 1)
    path.write_bytes(path.read_bytes()[:-1])
    chained(path, 2)

    report = check(path)
    assert (report.intact, report.links, report.other_lines) == (True, 2, 0)


def _lines() -> st.SearchStrategy[list[list[bytes | None]]]:
    """
    Files of lines; None stands for the next link.
    """
    other = st.one_of(st.just(b""), st.just(PARTIAL), st.binary(max_size=300).filter(lambda raw: b"\n" not in raw))
    return st.lists(st.lists(st.one_of(st.none(), other), max_size=6), min_size=1, max_size=4)


@pytest.mark.property
@pytest.mark.parametrize("window", [1, 200, 1 << 18])
@given(files=_lines(), finished=st.booleans())
def test_end_of_a_chain_is_what_reading_all_of_it_gives(
    window: int, files: list[list[bytes | None]], finished: bool
) -> None:
    digest = GENESIS
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(hash_chain, "_WINDOW", window)
        names = []
        for number, lines in enumerate(files):
            written = []
            for line in lines:
                if line is None:
                    line, digest = make_link(b'{"a":1}', digest)
                else:
                    digest = seal(digest, line)
                written.append(line + b"\n")
            names.append(f"{folder}/{number}")
            content = b"".join(written)
            # Without its break an empty line at the end of a file is none.
            unfinished = not finished and content not in (b"", b"\n") and not content.endswith(b"\n\n")
            Path(names[-1]).write_bytes(content[:-1] if unfinished else content)
        assert digest == chain_end(reversed(names))


# --- verification ---------------------------------------------------------------------------------


@lru_cache
def log_of_two_days() -> list[bytes]:
    """
    Three files with 12 links, an unfinished line in the middle and one at the beginning.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "audit.jsonl"
        append(path, PARTIAL)
        chained(path, 0, 1, 2)
        path.rename(f"{path}.2")
        chained(path, 3, 4)
        append(path, PARTIAL)
        chained(path, 5, 6, 7)
        path.rename(f"{path}.1")
        chained(path, 8, 9, 10, 11)
        return [part.read_bytes() for part in parts(path)]


def write_log(folder: str, files: list[bytes]) -> str:
    path = f"{folder}/audit.jsonl"
    for number, content in enumerate(reversed(files)):
        Path(f"{path}.{number}" if number else path).write_bytes(content)
    return path


def last_hash_of(files: list[bytes]) -> str:
    link = read_link(files[-1].splitlines()[-1])
    assert link is not None
    return link.hash


@st.composite
def edits(draw: st.DrawFn) -> list[bytes]:
    """
    The log after one edit: of some bytes, of a line, or of a whole file.
    """
    files = list(log_of_two_days())
    at = draw(st.integers(0, len(files) - 1))
    content = files[at]
    lines = content.splitlines(keepends=True)
    kind = draw(st.sampled_from(["replace", "insert", "delete", "cut", "line", "other line", "swap", "file", "files"]))
    start = draw(st.integers(0, len(content) - 1))
    end = draw(st.integers(start + 1, min(len(content), start + 2_000)))
    first, second = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines)))
    if kind == "replace":
        files[at] = content[:start] + draw(st.binary(min_size=1, max_size=3)) + content[start + 1 :]
    elif kind == "insert":
        files[at] = content[:start] + draw(st.binary(min_size=1, max_size=9)) + content[start:]
    elif kind == "delete":
        files[at] = content[:start] + content[end:]
    elif kind == "cut":
        files[at] = content[:start] if draw(st.booleans()) else content[start:]
    elif kind == "line":
        line = lines[first]
        if draw(st.booleans()):
            del lines[first]
        if draw(st.booleans()):
            lines.insert(second, line)
        files[at] = b"".join(lines)
    elif kind == "other line":
        lines.insert(
            second, draw(st.sampled_from([b"\n", b"{}\n", PARTIAL + b"\n", lines[0].replace(b'"0.4', b'"0.5')]))
        )
        files[at] = b"".join(lines)
    elif kind == "swap":
        lines[first], lines[second % len(lines)] = lines[second % len(lines)], lines[first]
        files[at] = b"".join(lines)
    elif kind == "file":
        del files[at]
    else:
        files = draw(st.permutations(files))
    return files


@pytest.mark.property
@pytest.mark.security
@given(edits())
def test_any_edit_is_found_but_a_cut_at_the_end(files: list[bytes]) -> None:
    original = log_of_two_days()
    assume(b"".join(files) != b"".join(original))
    with TemporaryDirectory() as folder:
        path = write_log(folder, files)
        report = verify([path])
        expecting = verify([path], expected=[last_hash_of(original)])

    whole = b"".join(original)
    # A file may have lost its last line break and nothing else.
    found = b"".join(content if content.endswith(b"\n") or not content else content + b"\n" for content in files)
    if report.intact:
        kept = b"".join(found.splitlines(keepends=True)[: -1 if report.unfinished else None])
        assert whole.startswith(kept)
    assert not expecting.intact or found == whole


def test_log_of_the_property_is_intact() -> None:
    with TemporaryDirectory() as folder:
        path = write_log(folder, log_of_two_days())
        report = verify([path], expected=[last_hash_of(log_of_two_days())])

    assert (report.intact, report.links, report.other_lines, report.unfinished) == (True, 12, 2, None)


@pytest.mark.security
@pytest.mark.parametrize(
    ("edit", "line", "message"),
    [
        (
            lambda lines: [lines[0], lines[1].replace(b'"enforce"', b'"observe"'), *lines[2:]],
            2,
            "this line was changed",
        ),
        (lambda lines: [lines[0], *lines[2:]], 2, "this line does not follow the one before it"),
        (lambda lines: [lines[0], lines[2], lines[1], lines[3]], 2, "this line does not follow the one before it"),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], 3, "this line does not follow the one before it"),
        (lambda lines: lines[1:], 1, "the log does not begin here"),
        (lambda lines: [*lines, lines[0]], 5, "a new chain begins here"),
        (lambda lines: [*lines, b"{}\n"], 5, "a line without a place in the chain, and no later line"),
        (lambda lines: [lines[0], b"x\n", *lines[1:]], 3, "this line does not follow the one before it"),
    ],
    ids=["changed", "removed", "swapped", "doubled", "front cut", "front appended", "appended", "inserted"],
)
def test_break_is_named_with_its_line(tmp_path: Path, edit: object, line: int, message: str) -> None:
    path = tmp_path / "audit.jsonl"
    chained(path, 0, 1, 2, 3)
    path.write_bytes(b"".join(edit(path.read_bytes().splitlines(keepends=True))))  # type: ignore[operator]

    report = check(path)
    assert not report.intact
    assert report.first_break is not None
    assert (report.first_break.file, report.first_break.line) == (str(path), line)
    assert report.first_break.message.startswith(message)


def test_unfinished_last_line_is_reported_and_breaks_nothing(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    chained(path, 0, 1)
    append(path, PARTIAL)

    report = check(path)
    assert (report.intact, report.other_lines) == (True, 0)
    assert report.unfinished is not None
    assert (report.unfinished.line, report.lines) == (3, 3)
    # Also when the next writer was stopped between the two steps of a rotation.
    path.rename(f"{path}.1")
    path.touch()
    assert check(path).intact


@pytest.mark.security
def test_end_that_was_cut_off_is_found_by_a_hash_that_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    chained(path, 0, 1, 2)
    kept = check(path).last_hash
    assert kept is not None
    chained(path, 3)
    assert check(path, expected=[kept]).intact

    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]))
    assert check(path).intact
    report = check(path, expected=[kept])
    assert (report.intact, report.not_found, report.breaks) == (False, (kept,), 0)


@pytest.mark.security
def test_log_that_was_written_anew_is_found_by_a_hash_that_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    chained(path, 0, 1, 2)
    kept = check(path).last_hash
    assert kept is not None
    path.unlink()
    chained(path, 0, 1, 7, 8)

    assert check(path).intact
    assert not check(path, expected=[kept]).intact


def test_files_that_rotation_deleted_are_accepted_on_request_only(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    for number in range(12):
        chained(path, number, max_bytes=2_500, backups=2)

    report = check(path)
    assert report.first_break is not None
    assert report.first_break.message.startswith("the log does not begin here")
    accepted = check(path, start_may_be_missing=True)
    assert (accepted.intact, accepted.starts_after) == (True, records(parts(path)[0])[0]["prev_hash"])
    oldest = parts(path)[0]
    oldest.write_bytes(oldest.read_bytes().replace(b'"enforce"', b'"observe"', 1))
    assert not check(path, start_may_be_missing=True).intact


@pytest.mark.parametrize(
    "given",
    [
        ["audit.jsonl"],
        ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.10", "audit.jsonl.2", "audit.jsonl.lock"],
        ["audit.jsonl.1", "audit.jsonl.10", "audit.jsonl"],
    ],
)
def test_files_are_read_in_the_order_in_which_they_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "audit.jsonl"
    chained(path, *range(33), max_bytes=2_500, backups=20)
    assert len(parts(path)) > 10

    report = verify(given)
    assert (report.intact, report.links) == (True, 33)
    assert [Path(name).absolute() for name in report.files] == parts(path)


def test_rotated_files_alone_are_sorted_by_number(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    chained(path, *range(33), max_bytes=2_500, backups=20)
    given = sorted(str(part) for part in parts(path)[:-1])

    report = verify(given)
    assert report.intact
    assert list(report.files) == [str(part) for part in parts(path)[:-1]]


def test_files_kept_elsewhere_are_one_log_in_the_order_given(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    names = []
    for day in range(3):
        chained(path, day, day)
        names.append(str(tmp_path / f"audit-2025010{day}.jsonl"))
        shutil.copy(path, f"{path}.1")
        path.rename(names[-1])
    assert verify(names).intact
    assert verify(names).links == 6
    assert not verify(names[::-1]).intact


def test_missing_file_raises(tmp_path: Path) -> None:
    chained(tmp_path / "audit.jsonl", 1)
    with pytest.raises(FileNotFoundError):
        verify([str(tmp_path / "other.jsonl")])
    with pytest.raises(FileNotFoundError):
        verify([str(tmp_path / "audit.jsonl.7"), str(tmp_path / "audit.jsonl")])


@pytest.mark.slow
def test_log_in_use_is_intact_at_every_moment(tmp_path: Path) -> None:
    """
    Another process writes and rotates while the log is verified.
    """
    path = tmp_path / "audit.jsonl"
    script = """
import asyncio, sys
from edictum.audit import AuditEvent
from edictum.file_sink import FileAuditSink
sink = FileAuditSink(sys.argv[1], hash_chain=True, max_bytes=4_000, backups=8)
async def main():
    while True:
        await sink.emit(AuditEvent(reason="x" * 500))
asyncio.run(main())
"""
    writer = run_script(script, path)
    try:
        while len(parts(path)) < 5:
            assert writer.poll() is None
        seen = set()
        for _ in range(400):
            report = check(path, start_may_be_missing=True)
            assert report.intact, report
            seen.add(report.last_hash)
    finally:
        writer.kill()
        writer.communicate(timeout=60)
    assert len(seen) > 10


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_log_that_may_not_be_read_cannot_be_chained(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.touch(0o200)
    with pytest.raises(PermissionError):
        emit(FileAuditSink(path, hash_chain=True), AuditEvent())
