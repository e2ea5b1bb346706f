"""
Files of others: read whole, backed up before each change, and replaced in one step.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

from edictum.errors import EdictumConfigError
from edictum.gate.project import home, private_folder

MAX_BYTES = 10 * 1024 * 1024

_TEMPORARY = ".edictum-*.tmp"


def read(path: Path) -> bytes | None:
    """
    What stands in a file; None when there is none.

    Raises:
        EdictumConfigError: It is no ordinary file, or too large.
        OSError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise EdictumConfigError(f"{path} is not an ordinary file")
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    if len(data) > MAX_BYTES:
        raise EdictumConfigError(f"{path} has more than {MAX_BYTES} bytes")
    return data


def change(path: Path, before: bytes | None, after: bytes | None) -> Path | None:
    """
    Give a file new content, so that at every moment the old or the new one is there, whole.

    A link is followed.  The file keeps its mode.

    Args:
        path: The file; missing folders are made.
        before: What was read from it.
        after: What shall be in it; None deletes it.

    Returns:
        The backup of what was there; None when there was nothing.

    Raises:
        EdictumConfigError: It has changed since it was read.
        OSError: It cannot be written.
    """
    target = Path(os.path.realpath(path))
    backup = None if before is None else back_up(path, before)
    if after is None:
        _still(path, before)
        target.unlink(missing_ok=True)
        return backup
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(_TEMPORARY):  # by a process that was killed
        with suppress(OSError):
            left.unlink()
    temporary = target.parent / _TEMPORARY.replace("*", token_hex(8))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    file = os.open(temporary, flags, 0o666)  # what the user's umask leaves of it
    try:
        with os.fdopen(file, "wb") as stream:
            if before is not None and hasattr(os, "fchmod"):
                os.fchmod(stream.fileno(), stat.S_IMODE(target.stat().st_mode))
            stream.write(after)
            stream.flush()
            os.fsync(stream.fileno())
        _still(path, before)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(target.parent)
    return backup


def back_up(path: Path, data: bytes) -> Path:
    """
    Keep a copy in the user's folder, away from projects, where it could be committed.
    """
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    backup = private_folder("backups") / f"{_key(path)}-{moment}-{path.name}"
    file = os.open(backup, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    with os.fdopen(file, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    return backup


def backups(path: Path) -> list[Path]:
    """
    The backups of a file, the newest first.
    """
    return sorted((home() / "backups").glob(f"{_key(path)}-*"), reverse=True)


def _key(path: Path) -> str:
    return hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:16]


def _still(path: Path, before: bytes | None) -> None:
    if read(path) != before:
        raise EdictumConfigError(f"{path} was changed by another program meanwhile; nothing was written, try again")


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
