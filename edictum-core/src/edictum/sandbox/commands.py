"""
Which commands a sandbox admits, and which words of a command may name a file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from edictum.sandbox.arguments import looks_like_path
from edictum.sandbox.shell import SimpleCommand, Unreadable, Word, parse

PATH_DIRS = ("/usr/bin", "/bin", "/usr/local/bin")

# Set before a command, these make it load or run something else.
_DANGEROUS_VARIABLES = frozenset(
    (
        "PATH",
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "LD_AUDIT",
        "DYLD_INSERT_LIBRARIES",
        "BASH_ENV",
        "ENV",
        "IFS",
        "SHELLOPTS",
        "PROMPT_COMMAND",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "PERL5OPT",
        "RUBYOPT",
        "NODE_OPTIONS",
        "GIT_SSH",
        "GIT_SSH_COMMAND",
        "GIT_EXTERNAL_DIFF",
        "GIT_CONFIG_GLOBAL",
        "GIT_DIR",
        "EDITOR",
        "GIT_EDITOR",
        "PAGER",
        "GIT_PAGER",
        "LESSOPEN",
    )
)
_SHELLS = frozenset(("sh", "bash", "dash", "zsh", "ksh", "ash", "fish", "rbash", "mksh"))
_SHELL_COMMAND_FLAG = re.compile(r"-[A-Za-z]*c[A-Za-z]*")
_MAX_SHELLS = 5

# Programs that run what their words say: with such a flag, always, or with words of their own.
_CODE_FLAG = re.compile(r"-[A-Za-z]*[cemErp]|--(?:eval|exec|command|print|run)(?:=.*)?", re.DOTALL)
_INTERPRETERS = frozenset(
    ("python", "pypy", "perl", "ruby", "node", "nodejs", "deno", "bun", "php", "lua", "tclsh", "rscript", "osascript")
)
RUNNERS = frozenset(
    (
        *("env", "xargs", "parallel", "sudo", "doas", "su", "nohup", "setsid", "nice", "ionice", "timeout", "time"),
        *("watch", "strace", "ltrace", "gdb", "script", "expect", "ssh", "chroot", "unshare", "nsenter", "busybox"),
        *("eval", "exec", "source", ".", "command", "builtin", "trap", "alias", "make", "vi", "vim", "ed", "emacs"),
    )
)
_RUNNING_WORDS: dict[str, re.Pattern[str]] = {
    "find": re.compile(r"-(?:exec|execdir|ok|okdir|delete|fprintf?|fls)"),
    "fd": re.compile(r"-[xX]|--exec(?:-batch)?"),
    "git": re.compile(r"-c|--exec-path.*|--config-env.*|--upload-pack.*|--receive-pack.*|--ext-diff|--textconv|bisect"),
    "tar": re.compile(r"--(?:checkpoint-action|to-command|use-compress-program|rsh-command).*|-I.*"),
    "rsync": re.compile(r"-e.*|--rsh.*"),
    "sed": re.compile(r".*[0-9/;{]e(?:[ ;}].*)?", re.DOTALL),
    "awk": re.compile(r".*(?:system\s*\(|\|).*", re.DOTALL),
}
_SAME_AS = {"gawk": "awk", "mawk": "awk", "nawk": "awk", "gfind": "find", "gsed": "sed", "gtar": "tar", "fdfind": "fd"}


def runs_other_code(program: str) -> Literal["always", "given code", "with options"] | None:
    """
    How a program runs what its words or files say, as far as it is known to.

    Args:
        program: Its name or path.

    Returns:
        ``always`` for what only starts others (``xargs``), ``given code`` for shells and interpreters, ``with options``
        for what has options for it (``find -exec``); None for any other.
    """
    plain = _plain_name(program)
    if plain in RUNNERS:
        return "always"
    if plain in _INTERPRETERS or plain in _SHELLS:
        return "given code"
    return "with options" if plain in _RUNNING_WORDS else None


class CommandList:
    """
    Which commands may run.

    An entry is a name (``ls``), an absolute path, or several words that a command begins with (``git status``).  A
    name also admits the absolute path of that name in one of the usual directories.

    Attributes:
        limited: Whether only some commands may run.

    Args:
        allowed: Entries; None admits every command that is not denied.
        denied: Entries that win; a name denies the program wherever it lies, several words also with others between.
        path_dirs: Where programs of a plain name are found.
        strict: Refuse commands that run other code: ``python -c``, ``find -exec``, ``xargs``, ``env`` and their like.
    """

    __slots__ = ("_allowed", "_denied", "_path_dirs", "_strict", "limited")

    def __init__(
        self, allowed: Iterable[str] | None, denied: Iterable[str], path_dirs: Iterable[str], *, strict: bool
    ) -> None:
        self.limited = allowed is not None
        self._allowed = None if allowed is None else tuple(tuple(entry.split()) for entry in allowed)
        self._denied = tuple(tuple(entry.split()) for entry in denied)
        self._path_dirs = frozenset(os.path.normpath(folder) for folder in path_dirs)
        self._strict = strict

    def admits(self, command: SimpleCommand) -> bool:
        """
        Whether a command may run.
        """
        if any(name.removesuffix("+") in _DANGEROUS_VARIABLES for name, _ in command.assignments):
            return False
        words = [word.text for word in command.words]
        if any(_denies(entry, program) for entry in self._denied for program in _programs(words)):
            return False
        if self._strict and _runs_code(words):
            return False
        if self._allowed is None:
            return True
        # A name that the shell still has to expand is not the name that was written.
        return self.names(command) and command.words[0].glob < 0 and not command.words[0].tilde

    @property
    def may_run_code(self) -> bool:
        """
        Whether a command on the list could be told to run other code.
        """
        return not self._strict and any(entry and runs_other_code(entry[0]) for entry in self._allowed or ())

    def runs_code(self, command: SimpleCommand) -> bool:
        """
        Whether a command runs other code: ``python -c``, ``find -exec``, ``xargs`` and their like.
        """
        return _runs_code([word.text for word in command.words])

    def names(self, command: SimpleCommand) -> bool:
        """
        Whether the list admits the command by name, so that the place of the program itself is not judged.
        """
        words = [word.text for word in command.words]
        return bool(words) and self._allowed is not None and any(self._allows(entry, words) for entry in self._allowed)

    def _allows(self, entry: tuple[str, ...], words: Sequence[str]) -> bool:
        name, *following = entry
        if words[0] != name and not (
            "/" not in name and os.path.basename(words[0]) == name and os.path.dirname(words[0]) in self._path_dirs
        ):
            return False
        return list(words[1 : len(entry)]) == following


def _programs(words: Sequence[str]) -> Iterator[Sequence[str]]:
    """
    The command, and where it only starts others (``time rm x``, ``sudo rm x``), whatever they may be.
    """
    yield words
    if words and (words[0] in ("!", "{") or os.path.basename(words[0]) in RUNNERS):
        for start in range(1, len(words)):
            yield words[start:]


def _denies(entry: tuple[str, ...], words: Sequence[str]) -> bool:
    if not words:
        return False
    name, *following = entry
    program = words[0] if "/" in name else os.path.basename(words[0])
    if program != name:
        return False
    rest = iter(words[1:])
    return all(word in rest for word in following)


def _plain_name(program: str) -> str:
    """
    The name by which a program is known, without its folder and version.
    """
    name = os.path.basename(program).lower().rstrip("0123456789.")
    return _SAME_AS.get(name, name)


def _runs_code(words: Sequence[str]) -> bool:
    if not words:
        return False
    plain = _plain_name(words[0])
    if plain in RUNNERS:
        return True
    if plain in _INTERPRETERS or plain in _SHELLS:
        # Without a script they read their standard input.
        return len(words) == 1 or any(_CODE_FLAG.fullmatch(word) or word == "-" for word in words[1:])
    pattern = _RUNNING_WORDS.get(plain)
    return pattern is not None and any(pattern.fullmatch(word) for word in words[1:])


def read_commands(text: str | None, words: Sequence[str], *, pipelines: bool) -> list[SimpleCommand]:
    """
    The simple commands of a command, also those that are handed to a shell as a word (``sh -c '...'``).

    Args:
        text: What a shell reads, or None.
        words: Words that need no shell: a command of their own, or the end of the last command of ``text``.
        pipelines: Whether ``|`` may connect commands.

    Raises:
        Unreadable: The text does more than run simple commands, or its words cannot be told.
    """
    found = list(parse(text, pipelines=pipelines)) if text is not None else []
    if words:
        last = found.pop() if found else SimpleCommand((), (), ())
        found.append(last._replace(words=(*last.words, *(Word(word) for word in words))))
    for command in found:
        # The list grows while it is read: a shell may be handed the command of another shell.
        inner = handed_to_shell(command)
        if inner is not None:
            if len(found) > _MAX_SHELLS:
                raise Unreadable("shells within shells")
            found += parse(inner, pipelines=pipelines)
    return found


def handed_to_shell(command: SimpleCommand) -> str | None:
    """
    The command that a command hands to a shell (``sh -c '...'``, ``eval ...``), or None.
    """
    words = [word.text for word in command.words]
    if not words:
        return None
    if words[0] == "eval":
        return " ".join(words[1:])
    for place, word in enumerate(words):
        if os.path.basename(word) in _SHELLS:
            for flag, following in zip(words[place + 1 :], words[place + 2 :], strict=False):
                if _SHELL_COMMAND_FLAG.fullmatch(flag):
                    return following
    return None


_LIST_BORDER = re.compile("[:,;]")
_VALUE = re.compile("=@?([^=:,;]+)")
_NETWORK_URL = re.compile(r"(?!(?i:file):)[A-Za-z][A-Za-z0-9+.-]+://")


def is_network_url(text: str) -> bool:
    """
    Whether a text is a URL other than ``file:``.
    """
    return _NETWORK_URL.match(text) is not None


def path_words(word: Word) -> Iterator[Word]:
    """
    The parts of a word that a program may take for a path.

    These are the word, the value of an option or an assignment (``--file=/x``, ``-I/x``, ``if=/x``), what follows
    ``@``, the items of a list (``/a:/b``), and values within a value (``--set=a=/x,b=/y``).
    """
    text = word.text
    parts = [word]
    equals = text.find("=")
    if equals >= 0:
        parts.append(_part(word, equals + 1))
    if len(text) > 2 and text[0] == "-" and text[1] != "-":
        parts.append(_part(word, 2))
    parts += [_part(part, 1) for part in parts if part.text.startswith("@")]
    for part in parts:
        yield part
        if "://" not in part.text and _LIST_BORDER.search(part.text):
            start = 0
            for piece in _LIST_BORDER.split(part.text):
                if looks_like_path(piece):
                    yield _part(part, start, start + len(piece))
                start += len(piece) + 1
    if equals >= 0:
        for value in _VALUE.finditer(text, equals + 1):
            yield _part(word, *value.span(1))


def _part(word: Word, start: int, end: int | None = None) -> Word:
    text = word.text[start:end]
    return word._replace(text=text, glob=word.glob - start if start <= word.glob < start + len(text) else -1)
