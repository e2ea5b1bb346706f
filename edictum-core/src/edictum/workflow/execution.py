"""
Running the program of an ``exec`` gate.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from edictum.workflow.conditions import Condition

MAX_OUTPUT = 4_096
_REAP_SECONDS = 5
# What programs need to be found and to read text; everything else may be a secret.
PASSED_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")


class ExecError(RuntimeError):
    """
    The program of a gate could not be run, or took too long; the call is blocked.
    """


@dataclass(frozen=True, slots=True)
class ExecPolicy:
    """
    What the programs of ``exec`` gates may be and see.

    Attributes:
        executables: Programs that may be run, as they are written in conditions; None means any.
        env: Names of variables of the process that they see.
        cwd: Folder that they run in; None means that of the process.
    """

    executables: Iterable[str] | None = None
    env: Iterable[str] = PASSED_VARIABLES
    cwd: str | None = None
    _allowed: frozenset[str] | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        allowed = None if self.executables is None else frozenset(self.executables)
        object.__setattr__(self, "_allowed", allowed)
        object.__setattr__(self, "env", tuple(self.env))

    def admits(self, condition: Condition) -> bool:
        """
        Whether the program of a condition may be run.
        """
        return self._allowed is None or condition.argv[0] in self._allowed


def run_program(condition: Condition, policy: ExecPolicy, environ: Mapping[str, str] = os.environ) -> tuple[int, str]:
    """
    Run a program without a shell and wait for it.

    It gets no input, and is ended with everything that it started when its time is over.

    Args:
        condition: Says what to run, and for how long.
        policy: Folder and variables.
        environ: Where the variables are looked up.

    Returns:
        Exit code (negative: the signal that ended it), and the first 4,096 characters of its output.

    Raises:
        ExecError: It could not be started, or took too long.
    """
    env = {name: environ[name] for name in policy.env if name in environ}
    # A file rather than a pipe: what the program leaves running could hold a pipe open for ever.
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                condition.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=policy.cwd,
                env=env,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise ExecError(f"{condition.argv[0]!r} could not be started: {error}") from None
        try:
            code = process.wait(condition.timeout)
        except BaseException as error:
            _end(process)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise ExecError(f"{condition.argv[0]!r} took more than {condition.timeout} seconds") from None
        output.seek(0)
        return code, output.read(4 * MAX_OUTPUT).decode("utf-8", "replace")[:MAX_OUTPUT]


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)  # its own group: start_new_session made it the leader
        else:
            process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_REAP_SECONDS)
