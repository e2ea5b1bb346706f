"""
The local decision log: one line of JSON for each call that a hook has checked, in one file a day.

Other processes write to the same file, and one may be killed while it does: a line is one write at the end of the
file under a lock, and begins a line of its own whatever stands before it.
"""

from __future__ import annotations

import os
import stat
import sys
from datetime import UTC, datetime

from edictum.audit import to_json_line
from edictum.gate.formats import Verdict
from edictum.gate.project import private_folder
from edictum.redaction import RedactionPolicy

if sys.platform != "win32":
    import fcntl

MAX_TEXT = 1_000


def record(assistant: str, tool_name: str, verdict: Verdict, redaction: RedactionPolicy) -> bool:
    """
    Append what was decided.

    Args:
        assistant: Name of the host.
        tool_name: The tool, empty when it is not known.
        verdict: The decision; what observe mode let pass is ``would_block`` or ``would_ask``.
        redaction: Takes secrets out of the texts.

    Returns:
        Whether it is the first line of the day.

    Raises:
        OSError: It cannot be written.
    """
    now = datetime.now(UTC)
    line = to_json_line(
        {
            "timestamp": now.isoformat(timespec="microseconds"),
            "tool_name": redaction.redact_text(tool_name, MAX_TEXT),
            "decision": f"would_{verdict.observed}" if verdict.observed else verdict.decision,
            "assistant": assistant,
            "user": _user(),
            "reason": redaction.redact_text(verdict.reason, MAX_TEXT) or None,
        }
    )
    path = private_folder("audit") / f"wal-{now:%Y%m%d}.jsonl"
    # O_NOFOLLOW: nobody shall lead the log elsewhere by a link.
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    file = os.open(path, flags, 0o600)
    try:
        return _append(file, line.encode() + b"\n")
    finally:
        os.close(file)  # and with it the lock


def _append(file: int, line: bytes) -> bool:
    if sys.platform != "win32":
        fcntl.flock(file, fcntl.LOCK_EX)
        if stat.S_IMODE(os.fstat(file).st_mode) != 0o600:
            os.fchmod(file, 0o600)
    size = os.lseek(file, 0, os.SEEK_END)
    if size:
        os.lseek(file, -1, os.SEEK_END)
        if os.read(file, 1) != b"\n":
            line = b"\n" + line
    while line:
        line = line[os.write(file, line) :]
    return size == 0


def _user() -> str:
    """
    The account, as the operating system knows it; environment variables could say anything.
    """
    if sys.platform == "win32":
        import getpass

        return getpass.getuser()
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
