"""
The command line that hosts run, and what it is made of.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edictum.errors import EdictumConfigError

SCRIPT = Path(__file__).with_name("hook.sh")

_SHELL = "/bin/sh"
# When even the script is gone, the shell ends with another code, which most hosts take for "no objection".
_OTHERWISE = ("||", "exit", "2")


@dataclass(frozen=True, slots=True)
class HookCommand:
    """
    An installed command.

    Attributes:
        argv: The check itself: interpreter, options, module, arguments.
        script: What is between the host and the check; None where the host runs the check itself.
    """

    argv: tuple[str, ...]
    script: str | None = None

    @classmethod
    def for_host(cls, host: str, rules: Sequence[str] = ()) -> HookCommand:
        """
        The command for this interpreter.

        Args:
            host: Name of the host.
            rules: Rulesets to pin; made absolute.

        Raises:
            EdictumConfigError: It would not work: the interpreter does not know its path, or a path holds a ``$``.
        """
        python = sys.executable
        if not python or not os.path.isabs(python) or not SCRIPT.is_file():
            raise EdictumConfigError("this Python or package is not in a folder of its own; install edictum in a venv")
        pinned = ["--rules", *(os.path.abspath(path) for path in rules)] if rules else []
        argv = (python, _isolation(python), "-m", "edictum", "gate", "check", "--format", host, *pinned)
        for word in (str(SCRIPT), *argv):
            if "$" in word:  # Gemini CLI puts environment variables in, also between single quotes
                raise EdictumConfigError(f"{word!r} holds a $, which hosts take for a variable; move or rename it")
        return cls(argv, str(SCRIPT))

    @classmethod
    def parse(cls, line: object) -> HookCommand | None:
        """
        Recognise a command line of this class; None for any other.
        """
        if not isinstance(line, str) or SCRIPT.name not in line:
            return None
        try:
            words = shlex.split(line)
        except ValueError:
            return None
        if len(words) < 3 or words[0] != _SHELL or Path(words[1]).parts[-3:] != ("edictum", "gate", SCRIPT.name):
            return None
        end = words.index(_OTHERWISE[0]) if _OTHERWISE[0] in words else len(words)
        return cls(tuple(words[2:end]), words[1])

    @property
    def line(self) -> str:
        """
        The command line for a shell.
        """
        return f"{shlex.join([_SHELL, self.script or '', *self.argv])} {' '.join(_OTHERWISE)}"

    @property
    def rules(self) -> tuple[str, ...]:
        """
        The rulesets that are pinned.
        """
        return self.argv[self.argv.index("--rules") + 1 :] if "--rules" in self.argv else ()


def _isolation(python: str) -> str:
    """
    The option that keeps an agent from slipping in a package ``edictum`` of its own.

    ``-P`` leaves out the current folder, which is the project.  ``-I`` ignores the environment as well, but then
    packages that are found through ``PYTHONPATH`` or the user's site are missing.
    """
    command = [python, "-I", "-c", "import edictum; print(edictum.__file__)"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
        return "-I" if os.path.samefile(found, SCRIPT.parents[1] / "__init__.py") else "-P"
    except (OSError, subprocess.SubprocessError):
        return "-P"
