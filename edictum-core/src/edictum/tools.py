"""
How dangerous a tool is: side-effect classes, the registry of tools, and the shell classifier.

Unknown always means irreversible, because post rules may only hold back the output of tools that changed
nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from edictum.globs import glob_matcher, is_glob


class SideEffect(StrEnum):
    """
    What running a tool changes.
    """

    PURE = "pure"
    READ = "read"
    WRITE = "write"
    IRREVERSIBLE = "irreversible"

    @property
    def changes_something(self) -> bool:
        """
        Whether the tool's effect cannot be taken back by withholding its output.
        """
        return self in (SideEffect.WRITE, SideEffect.IRREVERSIBLE)


class ToolRegistry:
    """
    Side effect and idempotence of tools by name or glob.

    An exact name wins; otherwise the longest matching glob; otherwise irreversible and not idempotent.
    """

    __slots__ = ("_exact", "_globs", "_shell")

    def __init__(self) -> None:
        self._exact: dict[str, tuple[SideEffect, bool]] = {}
        self._globs: list[tuple[str, Callable[[str], bool], tuple[SideEffect, bool]]] = []
        self._shell: set[str] = {"Bash"}

    def register(
        self,
        name: str,
        side_effect: SideEffect | str = SideEffect.WRITE,
        idempotent: bool = False,
        *,
        shell: bool = False,
    ) -> None:
        """
        Say what a tool does.

        Args:
            name: Tool name, or a glob over tool names.
            side_effect: One of the four classes.
            idempotent: Whether running it twice equals running it once.
            shell: Whether ``args["command"]`` is a shell command that :class:`BashClassifier` judges.

        Raises:
            ValueError: ``side_effect`` is not one of the four classes.
        """
        entry = (SideEffect(side_effect), idempotent)
        if is_glob(name):
            self._globs = [item for item in self._globs if item[0] != name]
            self._globs.append((name, glob_matcher(name), entry))
            self._globs.sort(key=lambda item: -len(item[0]))
        else:
            self._exact[name] = entry
        if shell:
            self._shell.add(name)

    def classify(self, tool_name: str, args: Mapping[str, Any] | None = None) -> tuple[SideEffect, bool]:
        """
        Look up a tool.

        Args:
            tool_name: The name as called.
            args: Unused; part of the published signature.

        Returns:
            Side effect and idempotence; ``(IRREVERSIBLE, False)`` for an unknown tool.
        """
        entry = self._exact.get(tool_name)
        if entry is not None:
            return entry
        for _, matches, glob_entry in self._globs:
            if matches(tool_name):
                return glob_entry
        return SideEffect.IRREVERSIBLE, False

    def is_shell(self, tool_name: str) -> bool:
        """
        Whether the tool's ``command`` argument is classified as a shell command.
        """
        return tool_name in self._shell or any(glob_matcher(name)(tool_name) for name in self._shell if is_glob(name))

    def shell_names(self) -> frozenset[str]:
        """
        Names and globs registered as shells.
        """
        return frozenset(self._shell)

    def names(self) -> dict[str, tuple[SideEffect, bool]]:
        """
        Everything registered, names and globs.
        """
        return {**self._exact, **{name: entry for name, _, entry in self._globs}}


class BashClassifier:
    """
    Side effect of a shell command, judged strictly: READ only when every word is known to be harmless.

    The allow-list and the operator list are those of the published family; arguments that make an
    allow-listed command write, delete or execute (``find -delete``, ``git branch -D``) are refused on top.
    """

    READ_ALLOWLIST: tuple[str, ...] = (
        "ls", "cat", "head", "tail", "wc", "find", "grep", "rg",
        "git status", "git log", "git diff", "git show", "git branch", "git remote", "git tag",
        "echo", "pwd", "whoami", "date", "which", "file", "stat", "du", "df", "tree", "less", "more",
    )  # fmt: skip
    SHELL_OPERATORS: tuple[str, ...] = (
        "\n", "\r", "<(", "<<", "$", ">", "|", ";", "&&", "||", "`", "#{",
    )  # fmt: skip

    @classmethod
    def classify(cls, command: str) -> SideEffect:
        """
        Judge one command line.

        Returns:
            READ or IRREVERSIBLE; never anything between, because the text alone proves no more.
        """
        text = command.strip()
        if not text:
            return SideEffect.READ
        if "&" in text or any(operator in text for operator in cls.SHELL_OPERATORS):
            return SideEffect.IRREVERSIBLE
        try:
            words = shlex.split(text)
        except ValueError:
            return SideEffect.IRREVERSIBLE
        for entry in cls.READ_ALLOWLIST:
            if text == entry or text.startswith(entry + " "):
                operands = words[len(entry.split()) :]
                if _only_reads(entry, operands):
                    return SideEffect.READ
        return SideEffect.IRREVERSIBLE


_FIND_ACTIONS = ("-delete", "-exec", "-execdir", "-ok", "-okdir", "-fprint", "-fprintf", "-fprint0", "-fls")
_BRANCH_LISTING = frozenset(
    ("-a", "--all", "-r", "--remotes", "-l", "--list", "-v", "-vv", "--verbose", "--show-current", "--color")
)
_DATE_READING = ("+", "--iso-8601", "--rfc-3339", "-I")
_DATE_OPTIONS = frozenset(("-u", "--utc", "--universal", "-R", "--rfc-email"))
# Long options may be shortened, so their beginnings are refused.
_GIT_WRITING = ("--ou", "--ext", "--textc")


def _only_reads(entry: str, operands: list[str]) -> bool:
    """
    Whether the operands of an allow-listed command leave it harmless.
    """
    if entry in ("less", "more"):
        return False  # both can start an editor or a shell
    if entry == "find":
        return not any(word.startswith(_FIND_ACTIONS) for word in operands)
    if entry == "git branch":
        return all(word in _BRANCH_LISTING for word in operands)
    if entry == "git tag":
        return not operands or operands[0] in ("-l", "--list") or all(word.startswith("-n") for word in operands)
    if entry == "git remote":
        listing = all(word in ("-v", "--verbose") for word in operands)
        return listing or operands[0] in ("show", "get-url")
    if entry in ("git log", "git diff", "git show", "git status"):
        return not any(word.startswith(_GIT_WRITING) for word in operands)
    if entry == "date":
        return all(word in _DATE_OPTIONS or word.startswith(_DATE_READING) for word in operands)
    if entry == "rg":
        return not any(word.startswith(("--pre", "--hostname-bin")) for word in operands)
    if entry == "tree":  # -o writes a file, -R one in each folder
        return not any(_has_flag(word, "oR") for word in operands)
    if entry == "file":  # -C compiles a magic file
        return not any(_has_flag(word, "C") or word.startswith("--c") for word in operands)
    return True


def _has_flag(word: str, letters: str) -> bool:
    return word.startswith("-") and not word.startswith("--") and not set(letters).isdisjoint(word)
