"""
Paths in any argument: a call that stays inside names nothing outside, however a tool reads its texts.

An input is the number of a form of arguments, and texts with a NUL between them.  The oracle opens nothing, but follows
the links of a real folder, after each of the changes that tools are known to make to a path, and after any two.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unicodedata import normalize
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from at_length import at_most, repeated
from edictum import create_tool_call
from edictum.ruleset.syntax import SandboxRule
from edictum.sandbox.arguments import TooManyArguments, looks_like_path, read_arguments
from edictum.sandbox.check import Sandbox
from edictum.sandbox.shell import Unreadable, parse
from harvest import CORE, ROOT, TESTS, texts_in, words_in

LONGEST = 256
SECONDS = 300

Form = Callable[[str, str], dict[str, Any]]
Change = Callable[[str], str]

_TREE = ROOT / ".fuzz" / "paths" / "tree"
_PROJECT = _TREE / "project"


def _make_tree() -> None:
    for folder in ("project/src/a/b", "project/a b", "project/https:/x", "outside", "home"):
        (_TREE / folder).mkdir(parents=True, exist_ok=True)
    for file in ("project/notes.txt", "project/src/main.py", "outside/secret", "home/.netrc"):
        (_TREE / file).touch()
    links = {"way-out": "../outside", "leak.txt": "../outside/secret", "deep": "src/a/b", "loop": "loop", "up": ".."}
    for name, goal in links.items():
        if not (_PROJECT / name).is_symlink():
            (_PROJECT / name).symlink_to(goal)
    os.environ.update(HOME=str(_TREE / "home"), OUT=str(_TREE / "outside"), IN=str(_PROJECT), EMPTY="")
    os.chdir(_PROJECT)


_make_tree()
_ROOT = os.path.realpath(_PROJECT)
_BOX = Sandbox(SandboxRule("box", "enforce", "m", within=(_ROOT,), allow_pipelines=True), os.environ)

# In the first ones every text is a path, in the last one only what looks like one.
_PATHS: list[Form] = [
    lambda text, other: {"path": text},
    lambda text, other: {"File-Path": text, "dest": other},
    lambda text, other: {"paths": ["src", text, (other,)]},
    lambda text, other: {"options": [{"target": {"any": text}}], "files": {"any": other}},
    lambda text, other: {"path": text.encode("utf-8", "surrogateescape")},
    lambda text, other: {"path": Path(text)},
]
_COMMANDS: list[Form] = [
    lambda text, other: {"command": text},
    lambda text, other: {"command": f"cat src {text}", "cwd": "."},
    lambda text, other: {"cmd": ["cat", text, other]},
    lambda text, other: {"command": "cat", "args": [text, other]},
]
_FORMS: list[Form] = [
    *_PATHS,
    *_COMMANDS,
    lambda text, other: {"cwd": text, "path": other},
    lambda text, other: {"note": text, text: other, "content": other},
]


def target(data: bytes) -> None:
    """
    Judge one call, and look where it would lead if it is let pass.
    """
    form = _FORMS[data[0] % len(_FORMS)] if data else _FORMS[0]
    text, _, other = data[1:].decode("utf-8", "surrogateescape").partition("\0")
    args = form(text, other)
    _check_arguments(args)
    if (long := repeated(data, text, 100_000)) is not None:
        with at_most(30, f"{text!r} repeated"):
            for part in (long[:16_000], long):
                _BOX.why(create_tool_call("tool", form(part, other)))
    if _BOX.why(create_tool_call("tool", args)) is not None:
        return
    if form in _PATHS:
        _stays_inside([os.fsdecode(args["path"])] if "path" in args else [text, other], [_ROOT], args)
    elif form in _COMMANDS:
        _stays_inside(_files_of(args), [_ROOT], args, changes=[lambda path: path])
    elif form is _FORMS[-1]:
        _stays_inside([each for each in (text, other) if os.path.isabs(each) and "\n" not in each], [_ROOT], args)
    else:
        folders = [os.path.join(_ROOT, folder) for folder in _readings(text, _CHANGES)]
        _stays_inside([other], folders, args)


def _check_arguments(args: dict[str, Any]) -> None:
    try:
        found = read_arguments(args)
    except TooManyArguments:
        return
    for leaf in found.leaves:
        looks_like_path(leaf.text)


def _from_file_url(path: str) -> str:
    return url2pathname(urlsplit(path).path) if path.lower().startswith("file:") else path


_CHANGES: list[Change] = [
    lambda path: path,
    str.strip,
    lambda path: path.strip("'\"`"),
    unquote,
    os.path.expanduser,
    os.path.expandvars,
    os.path.normpath,
    _from_file_url,
    lambda path: path.replace("\\", "/"),
    lambda path: normalize("NFKC", path),
]


def _readings(text: str, changes: Iterable[Change]) -> set[str]:
    changes = list(changes)
    found = {text}
    for _ in range(2):
        for path in list(found):
            for change in changes:
                try:
                    found.add(change(path))
                except ValueError:
                    continue  # a tool that makes this change fails
    return found


def _stays_inside(
    texts: Iterable[str], bases: Iterable[str], args: dict[str, Any], changes: Iterable[Change] = _CHANGES
) -> None:
    bases = list(bases)
    for text in texts:
        for reading in _readings(text, changes) if text else ():
            for base in bases:
                place = _place(base, reading)
                inside = place is None or place == _ROOT or place.startswith(_ROOT + "/") or place == "/dev/null"
                assert inside, f"{args} passes, but {reading!r} is {place}"


def _place(base: str, path: str) -> str | None:
    try:
        return os.path.realpath(os.path.join(base, path))
    except (ValueError, OSError):
        return None  # no file can have this name


def _files_of(args: dict[str, Any]) -> Iterator[str]:
    """
    The files that exist and that the words of a command name, and those that it would write.
    """
    if isinstance(args.get("cmd"), list) or "args" in args:
        words = args.get("cmd") or args["args"]
        yield from (word for word in words if _exists(word))
        return
    try:
        commands = parse(args["command"], pipelines=True)
    except Unreadable:
        raise AssertionError(f"a command passes that cannot be read: {args}") from None
    for command in commands:
        yield from (word.text for word in command.targets if word.glob < 0 and not word.tilde)
        for word in command.words:
            text = os.path.expanduser(word.text) if word.tilde else word.text
            matches = glob.glob(text, root_dir=_ROOT) if word.glob >= 0 else []
            for found in matches or [text]:
                values = (found[place + 1 :] for place, char in enumerate(found) if char == "=")
                yield from (name for name in (found, *values) if _exists(name))


def _exists(text: str) -> bool:
    try:
        return bool(text) and os.path.lexists(os.path.join(_ROOT, text))
    except ValueError:
        return False


def seeds() -> Iterator[bytes]:
    """
    The texts of the tests in every form.
    """
    for text in texts_in(TESTS / "test_sandbox.py", TESTS / "test_sandbox_mutations.py"):
        if len(text) < 100:
            for number in range(len(_FORMS)):
                yield bytes([number]) + f"{text}\0src/../x".encode("utf-8", "surrogateescape")


def words() -> list[str]:
    """
    Names in the folder, and what tools expand, decode or normalise.
    """
    names = [
        "src",
        "main.py",
        "notes.txt",
        "way-out",
        "leak.txt",
        "deep",
        "loop",
        "up",
        "secret",
        "https:",
        str(_TREE),
        _ROOT,
    ]
    signs = [
        "../",
        "/..",
        "..\\",
        "./",
        "//",
        "~",
        "~root",
        "%2e",
        "%2f",
        "%252e",
        "%5c",
        "%00",
        "file://",
        "FILE:",
        "C:\\",
        "C:",
    ]
    others = [
        "$OUT",
        "${OUT}",
        "$EMPTY",
        "$IN",
        "\uff0e",
        "\uff0f",
        "\u2025",
        "\u2024",
        "?",
        "*",
        "[",
        "{a,..}",
        ">",
        "<",
        "--x=",
        "@",
        "/dev/null",
        "/proc/self/cwd",
    ]
    return [*names, *signs, *others, *words_in(CORE / "sandbox" / "arguments.py")]
