"""
Whether a call stays inside its sandbox: paths first, then commands, then hosts.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from shlex import join as shell_join
from typing import TYPE_CHECKING

from edictum.sandbox.arguments import (
    CLIMBS,
    HOST,
    PATH,
    Arguments,
    Command,
    Leaf,
    looks_like_path,
    path_leaves,
    read_arguments,
)
from edictum.sandbox.commands import PATH_DIRS, CommandList, is_network_url, path_words, read_commands
from edictum.sandbox.connections import hosts_named
from edictum.sandbox.hosts import BadHost, HostList, Target, is_private, is_url, target_of_host, target_of_url, urls_in
from edictum.sandbox.paths import BadPath, Roots, places_of, spellings
from edictum.sandbox.shell import SimpleCommand, Unreadable, Word
from edictum.text import escape_controls, shorten
from edictum.tool_call import ToolCall
from edictum.tools import SideEffect

if TYPE_CHECKING:
    from edictum.ruleset.syntax import SandboxRule

_MAX_MATCHES = 1_000
_MAX_PATHS = 10_000
_MAX_WILDCARD_STEPS = 3  # looking for the matches of more could mean reading a whole disk
_MAX_SHOWN = 200
# As the target of a redirection it has no effect, and "2>/dev/null" is in every second command.
_NOWHERE = "/dev/null"
_NO_SCHEME = re.compile(r"/{2,}([^/\s]\S*)")
_NO_SLASHES = re.compile(r"(?<![A-Za-z0-9+.-])(?i:https?|wss?|ftp):[^\s/\\]\S*")
_SCP = re.compile(r"[A-Za-z0-9_.-]+@([^\s/:@]+|\[[^\s/\]@]+\]):(?!//).*")
_ONE_URL = re.compile(r"[a-z]+://[A-Za-z0-9.:-]+(?:/[A-Za-z0-9._/-]*)?")  # holds no second one
_LOCAL_FILE = re.compile(r"file://(?:localhost)?(?:[/?#]|\Z)", re.IGNORECASE)
_SOCKET = re.compile(r"/dev/(?:tcp|udp)/([^/]*)")  # a connection, to bash
_DELETED = re.compile(r"[\t\r\n]")
_RELATIVE_LINK = re.compile(r"[?#.]|[/\\](?![/\\])")
_STEP_WITH_BRACKET = re.compile(r"[^/]*\[[^/]*")
_NO_WILDCARD = re.compile(r"[^*?\[]*")


class Sandbox:
    """
    The compiled form of a sandbox rule.

    Args:
        rule: The rule.
        environ: Environment of the agent: where ``~`` and variables in arguments are looked up.

    Raises:
        ValueError: An entry of a list cannot be read; the text names it.
    """

    __slots__ = (
        "_base", "_commands", "_denied_hosts", "_environ", "_hosts", "_not_within", "_reading", "_rule", "_writing",
    )  # fmt: skip

    def __init__(self, rule: SandboxRule, environ: Mapping[str, str]) -> None:
        self._rule = rule
        self._environ = environ
        limits_paths = bool(rule.within or rule.read_within or rule.write_within)
        self._reading = Roots((*rule.within, *rule.read_within), environ) if limits_paths else None
        self._writing = Roots((*rule.within, *rule.write_within), environ) if limits_paths else None
        self._not_within = Roots(rule.not_within, environ)
        self._base = None if rule.base is None else os.path.abspath(os.path.expanduser(rule.base))
        self._commands = CommandList(
            rule.commands,
            rule.not_commands,
            PATH_DIRS if rule.path_dirs is None else rule.path_dirs,
            strict=rule.strict_interpreters,
        )
        self._hosts = None if rule.domains is None else HostList(rule.domains)
        self._denied_hosts = HostList(rule.not_domains)

    def outside(self, call: ToolCall, result: object = None, budget: object = None) -> bool:
        """
        Whether anything that the call names lies outside.  What cannot be read counts as outside.

        Args:
            call: The call.
            result: Not used; conditions of all rules are called alike.
            budget: Not used either.

        Raises:
            TooManyArguments: The arguments are too many to be judged.
        """
        return self.why(call) is not None

    def why(self, call: ToolCall) -> str | None:
        """
        The first thing found outside, in words for the decision log; None when all is inside.
        """
        found = _arguments_of(call)
        if self._commands.limited and not all(command.readable for command in found.commands):
            return "a command that cannot be read"
        try:
            commands = self._simple_commands(found)
            if self._reading is not None:
                path = self._path_outside(call, found, commands)
                if path is not None:
                    return f"path {_shown(path)}" if path else "no path was found"
            for command in commands:
                if not self._commands.admits(command):
                    return f"command {_shown(' '.join(word.text for word in command.words))}"
            if self._hosts is not None:
                for target in self._targets(found.leaves, commands):
                    if not self._admits(target):
                        return f"host {_shown(target.host)}"
        except (BadPath, BadHost, Unreadable) as error:
            return str(error)
        return None

    @property
    def may_run_code(self) -> bool:
        """
        Whether :meth:`remark` can have anything to say.
        """
        return self._commands.may_run_code

    def remark(self, call: ToolCall) -> str | None:
        """
        What the decision log should say of a call that is inside: that an allowed command runs other code.
        """
        try:
            for simple in self._simple_commands(_arguments_of(call)):
                if self._commands.runs_code(simple):
                    return f"an allowed command runs other code: {_shown(' '.join(word.text for word in simple.words))}"
        except Exception:
            # The call was judged already; what cannot be read twice is remarked on and never let pass by this.
            return "whether an allowed command runs other code cannot be told"
        return None

    def _simple_commands(self, found: Arguments) -> list[SimpleCommand]:
        return [
            simple
            for command in found.commands
            for simple in read_commands(command.text, command.words, pipelines=self._rule.allow_pipelines)
        ]

    # --- paths ----------------------------------------------------------------------------------

    def _path_outside(self, call: ToolCall, given: Arguments, commands: Sequence[SimpleCommand]) -> str | None:
        """
        The first path outside; empty when a path is needed and there is none, None when all are inside.
        """
        reads = call.side_effect in (SideEffect.PURE, SideEffect.READ)
        roots = self._reading if reads else self._writing
        assert roots is not None
        bases = self._bases(given)
        seen: set[str] = set()
        # One by one: the place before a wildcard is judged before its matches are looked for.
        for count, path in enumerate(chain(path_leaves(given.leaves), self._paths_of(commands, bases))):
            if count >= _MAX_PATHS:
                raise BadPath("too many paths to judge")
            if path in seen or (is_network_url(path) and not CLIMBS.search(path)):
                continue
            seen.add(path)
            if not self._holds(path, bases, roots):
                return path
        return None if seen or not self._rule.require_match else ""

    def _holds(self, path: str, bases: Sequence[str], roots: Roots) -> bool:
        for spelling in spellings(path, self._environ):
            for base in bases[:1] if spelling.startswith("/") else bases:
                for place in places_of(spelling, base):
                    if not roots.hold(place) or self._not_within.hold(place):
                        return False
        return True

    def _bases(self, given: Arguments) -> list[str]:
        """
        Where relative paths may start; from each of them they must stay inside.

        That is the directory that the call asks for, which is itself judged, or else the rule's or the process's,
        and any other directory among the arguments.
        """
        base = self._base or os.getcwd()
        asked = [os.path.join(base, path) for text in given.working for path in spellings(text, self._environ)]
        others = [os.path.join(base, path) for text in given.folders for path in spellings(text, self._environ)]
        return (asked or [base]) + others

    def _paths_of(self, commands: Iterable[SimpleCommand], bases: Sequence[str]) -> Iterator[str]:
        """
        The paths that commands name.

        These are words that look like one or name something that exists, and every file of a redirection.
        """
        for command in commands:
            for target in command.targets:
                if target.text != _NOWHERE:
                    yield from _matches(target, bases[0])
            words = command.words[1:] if self._commands.names(command) else command.words
            for word in (*words, *(value for _, value in command.assignments)):
                for part in path_words(word):
                    if part.glob >= 0:
                        yield from _matches(part, bases[0])
                    elif looks_like_path(part.text) or (part.text and _exists(part.text, bases[0])):
                        yield part.text

    # --- hosts ----------------------------------------------------------------------------------

    def _targets(self, leaves: Iterable[Leaf], commands: Iterable[SimpleCommand]) -> Iterator[Target]:
        userinfo = self._rule.allow_userinfo
        for leaf in leaves:
            text = leaf.text.strip(" ")
            plain = False
            # Browsers delete tabs and line breaks before they look: "/<tab>/evil.com" is no path to them.
            if leaf.around & HOST and not leaf.name and text and not _RELATIVE_LINK.match(_DELETED.sub("", text)):
                yield _target(text, userinfo)
                plain = _ONE_URL.fullmatch(text) is not None
                for following in text.split()[1:]:
                    if following.startswith("//"):
                        yield target_of_url(following, userinfo=userinfo)
            if not plain:
                yield from _embedded(leaf.text, userinfo)
        for command in commands:
            for word in (*command.words, *command.targets, *(value for _, value in command.assignments)):
                for part in path_words(word):
                    yield from _embedded(part.text, userinfo)
                    remote = _SCP.fullmatch(part.text) or _SOCKET.match(part.text)
                    if remote is not None:
                        yield target_of_host(remote[1], userinfo=userinfo)
            for host in hosts_named([word.text for word in command.words]):
                yield _target(host, userinfo)

    def _admits(self, target: Target) -> bool:
        assert self._hosts is not None
        rule = self._rule
        if self._denied_hosts.admits(target) or not self._hosts.admits(target):
            return False
        if rule.schemes is not None and target.scheme and target.scheme not in rule.schemes:
            return False
        return not (rule.block_private and is_private(target.host) and not self._hosts.names(target))


def _arguments_of(call: ToolCall) -> Arguments:
    found = read_arguments(call.args)
    if call.file_path is not None:
        found.leaves.append(Leaf(call.file_path, PATH, PATH))
    if call.bash_command and not any(_same_command(command, call.bash_command) for command in found.commands):
        found.commands.append(Command(call.bash_command))
    return found


def _shown(text: str) -> str:
    """
    A text of the call in a reason: on one line and not too long.
    """
    return shorten(escape_controls(text), _MAX_SHOWN)


def _same_command(command: Command, text: str) -> bool:
    return text == (shell_join(command.words) if command.text is None else command.text)


def _exists(text: str, base: str) -> bool:
    """
    Whether the first step of a plain word is there: then the word may be a path, else it names nothing.
    """
    try:
        return os.path.lexists(os.path.join(base, text.partition("/")[0]))
    except ValueError:
        return True


def _matches(word: Word, base: str) -> Iterator[str]:
    """
    What a word becomes once the shell has matched it with the names of files; the word itself where nothing matches.

    Raises:
        BadPath: Too many files match to look at all of them.
    """
    yield word.text[: word.glob + 1].rpartition("/")[0] + "/." if word.glob >= 0 and "/" in word.text else word.text
    if word.glob < 0:
        return
    fixed, moving = word.text[: word.glob], word.text[word.glob :]
    if CLIMBS.search(moving):
        raise BadPath("a path that climbs behind a wildcard")
    if sum(not _NO_WILDCARD.fullmatch(step) for step in moving.split("/")) > _MAX_WILDCARD_STEPS:
        raise BadPath("wildcards in too many steps of a path")
    # A bracket may hold quoted characters, so its step stands for every name.
    pattern = glob.escape(fixed) + _STEP_WITH_BRACKET.sub("*", moving)
    for count, match in enumerate(glob.iglob(os.path.expanduser(pattern), root_dir=base, include_hidden=True)):
        if count >= _MAX_MATCHES:
            raise BadPath("a wildcard with too many matches")
        yield match


def _embedded(text: str, userinfo: bool) -> Iterator[Target]:
    if ":" not in text and "//" not in text:
        return
    for url in urls_in(text):
        if not _LOCAL_FILE.match(url):
            yield target_of_url(url, userinfo=userinfo)
    no_scheme = _NO_SCHEME.fullmatch(text.strip())
    if no_scheme is not None:
        yield target_of_url(f"//{no_scheme[1]}", userinfo=userinfo)
    if ":" in text:
        # Libraries reach the host also without the slashes.
        for match in _NO_SLASHES.finditer(text):
            yield target_of_url(match[0], userinfo=userinfo)


def _target(text: str, userinfo: bool) -> Target:
    if is_url(text) and not re.match(r"[^/:]+:\d+(?:[/?#]|$)", text):
        return target_of_url(text, userinfo=userinfo)
    return target_of_host(text, userinfo=userinfo)
