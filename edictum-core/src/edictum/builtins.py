"""
Rules in Python that ship with edictum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edictum.rules import Decision, precondition
from edictum.tool_call import ToolCall

SENSITIVE_PATHS = (
    "/.ssh/",
    "/var/run/secrets/",
    "/.env",
    "/.aws/credentials",
    "/.git-credentials",
    "/id_rsa",
    "/id_ed25519",
)
SENSITIVE_COMMANDS = ("printenv", "env")


def deny_sensitive_reads(
    sensitive_paths: Iterable[str] | None = None, sensitive_commands: Iterable[str] | None = None
) -> Callable[[ToolCall], Decision]:
    """
    Make a rule that blocks access to credentials by path or by command.

    Args:
        sensitive_paths: Pieces of paths; default :data:`SENSITIVE_PATHS`.
        sensitive_commands: First words of commands; default :data:`SENSITIVE_COMMANDS`.

    Returns:
        A precondition for every tool, to be given to ``Edictum(rules=[...])``.
    """
    paths = tuple(SENSITIVE_PATHS if sensitive_paths is None else sensitive_paths)
    commands = tuple(SENSITIVE_COMMANDS if sensitive_commands is None else sensitive_commands)

    @precondition("*")
    def deny_sensitive_reads(call: ToolCall) -> Decision:
        for text in (call.file_path, call.bash_command):
            for piece in paths:
                if text and piece in text:
                    return Decision.fail(f"access to {piece!r} is not allowed; it holds credentials")
        command = (call.bash_command or "").strip()
        for word in commands:
            if command == word or command.startswith(word + " "):
                return Decision.fail(f"the command {word!r} is not allowed; it prints secrets")
        return Decision.pass_()

    return deny_sensitive_reads
