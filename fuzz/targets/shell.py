"""
Texts of shell commands: each is read or refused, whole and the same way wherever it stands.

Oracles: a character-by-character reading of quotes, the standard library's for plain text, and the reader itself on
the words it gave, quoted again, or handed to a shell within the shell.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from at_length import at_most, repeated
from edictum.sandbox.commands import CommandList, path_words, read_commands
from edictum.sandbox.shell import SimpleCommand, Unreadable, parse
from harvest import CORE, TESTS, texts_in, words_in

LONGEST = 256
SECONDS = 300

_LISTS = [
    CommandList(None, ["rm"], ["/bin"], strict=True),
    CommandList(["ls", "git status"], ["git push"], ["/bin", "/usr/bin"], strict=False),
]
_WRAPPERS = ["sh -c {}", "bash -xc {} x", "sudo /bin/bash -e -c {}", "eval {}"]


def target(data: bytes) -> None:
    """
    Read the text alone and inside of others.
    """
    text = data.decode("utf-8", "surrogateescape")
    several = _read(text, pipelines=True)
    one = _read(text, pipelines=False)
    if several is not None:
        _check_characters(text, len(several))
        assert one == (several if len(several) < 2 else None), "pipelines change more than pipelines"
        for command in several:
            _check_command(command)
        if several and "\\" not in text and "{" not in text and not any(_beyond_words(command) for command in several):
            _compare_with_shlex(text, several)
    else:
        assert one is None, "a text is read only where less is allowed"
    if (long := repeated(data, text, 100_000)) is not None:
        with at_most(30, f"{text!r} repeated"):
            for command in _read(long, pipelines=True) or ():
                for word in command.words:
                    list(path_words(word))
    for wrapper in _WRAPPERS:
        _compare_wrapped(wrapper.format(_quoted(text)), several)


def _read(text: str, *, pipelines: bool) -> tuple[SimpleCommand, ...] | None:
    try:
        return parse(text, pipelines=pipelines)
    except Unreadable as reason:
        assert len(str(reason)) < 60, "a reason that may show the text"
        return None


def _check_characters(text: str, commands: int) -> None:
    """
    Nothing that begins another command stands in the text, unless it is quoted.
    """
    quote, escaped, pipes = "", False, 0
    for char in text:
        if escaped:
            escaped = False
        elif char == "\\" and quote != "'":
            escaped = True
        elif quote != "'" and char == "`":
            raise AssertionError("a command substitution was read")
        elif char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        elif not quote:
            assert char not in ";\n()", f"an unquoted {char!r} was read"
            pipes += char == "|"
    assert not quote, "an open quotation was read"
    assert commands <= pipes + 1, "more commands than there are"
    assert pipes == 0 or commands > 1 or ">|" in text.replace("\\\n", ""), "fewer commands than there are"


def _beyond_words(command: SimpleCommand) -> bool:
    return bool(command.assignments or command.targets or not command.words)


def _compare_with_shlex(text: str, commands: Sequence[SimpleCommand]) -> None:
    if any(char in text for char in "<>&"):
        return  # descriptors, which shlex does not know
    expected = shlex.shlex(text, posix=True, punctuation_chars="|")
    expected.whitespace_split = True
    expected.commenters = ""
    found = [word.text for command in commands for word in (*command.words, None) if word is not None]
    assert found == [word for word in expected if word != "|"] or "'|" in text or '"|' in text, (
        "shlex reads other words"
    )


def _check_command(command: SimpleCommand) -> None:
    texts = [word.text for word in command.words]
    if texts:
        # Quoted again, every word must come back as it is.
        (again,) = parse(" ".join(map(_quoted, texts)))
        assert [word.text for word in again.words] == texts, "quoted words are read differently"
        assert not any(word.tilde or word.glob >= 0 for word in again.words), "something in quotes is expanded"
    for word in (*command.words, *command.targets, *(value for _, value in command.assignments)):
        assert word.glob < 0 or word.text[word.glob] in "*?[", "the place of a pattern is wrong"
        assert not word.tilde or word.text.startswith("~"), "a tilde that is not there"
        for part in path_words(word):
            assert part.text in word.text, "a part that is not in the word"
            assert part.glob < 0 or part.text[part.glob] in "*?[", "the place of a pattern in a part is wrong"
    for commands in _LISTS:
        if commands.admits(command) and commands.limited:
            assert texts[0].rpartition("/")[2] in ("ls", "git"), "a command is admitted that is not on the list"


def _compare_wrapped(wrapped: str, inner: tuple[SimpleCommand, ...] | None) -> None:
    try:
        found = read_commands(wrapped, (), pipelines=True)
    except Unreadable:
        return  # more is refused, which is safe
    assert inner is not None, "a text is read inside of a shell though not by itself"
    assert all(command in found for command in inner), "a command inside of a shell is not seen"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\"'\"'") + "'"


def seeds() -> Iterator[bytes]:
    """
    The commands of the tests.
    """
    for text in texts_in(
        TESTS / "test_sandbox_shell.py", TESTS / "test_sandbox.py", TESTS / "test_sandbox_mutations.py"
    ):
        yield text.encode("utf-8", "surrogateescape")


def words() -> list[str]:
    """
    The signs of the shell, and the names that commands are judged by.
    """
    signs = [
        "'",
        '"',
        "\\\n",
        "$'",
        '$"',
        "${",
        "$(",
        "<(",
        ">(",
        "<<",
        ">>",
        ">|",
        ">&",
        "2>&1",
        "|&",
        "||",
        "{a,b}",
        "{1..3}",
    ]
    return [*signs, "~/", "=~", ":~", "a=", "a+=", "a[0]=", "{fd}>", *words_in(CORE / "sandbox" / "commands.py")]
