"""
Which places in the file system a text may name, and whether they lie inside a set of roots.

A tool may decode, expand or normalise what it is given, and nobody knows which tool does.  So a text is read in every
way that some tool reads it, and all of them must lie inside.  Between this look and the tool's own, a link may be
changed by somebody else; only the operating system can close that gap.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from unicodedata import normalize

MAX_PATH = 16_384  # far beyond what a system takes; longer ones would take long to follow
_SHORT = 4_096
_MAX_DECODINGS = 3

# Nothing in such a text is read differently by different tools.
_PLAIN = re.compile(r"(?![A-Za-z]:|(?i:file:)|[ '\"`])[^%\\$~\x00-\x1f\x7f]*(?<![ '\"`])").fullmatch
_QUOTES = " '\"`"  # what models put around a path, and tools take off
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_ESCAPED = re.compile(r"%[0-9A-Fa-f]{2}")
_DRIVE = re.compile(r"[A-Za-z]:")
_FILE = re.compile(r"file:(?://([^/]*))?", re.IGNORECASE)
_VARIABLE = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")


class BadPath(ValueError):  # noqa: N818  an answer, not a malfunction
    """
    A text that no honest path looks like, or whose meaning cannot be known.
    """


def spellings(text: str, environ: Mapping[str, str]) -> list[str]:
    """
    All paths that a text may mean.

    As it is, percent-decoded, with slashes for backslashes, without blanks and quotes around it, without ``file:``
    or a drive letter, with ``~`` and variables expanded.

    Raises:
        BadPath: It holds a control character, also an encoded one, an undecodable sequence, more than three layers
            of encoding, an unknown user or variable, or a file on another host.
    """
    if len(text) < _SHORT and text.isascii() and _PLAIN(text):
        return [text]
    if len(text) > MAX_PATH:
        raise BadPath("a path that is too long")
    found = _decoded(text)
    if not text.isascii():
        found += [normalize("NFKC", path) for path in found]
    found += [path.replace("\\", "/") for path in found if "\\" in path]
    for path in found:
        if _CONTROL.search(path):
            raise BadPath("a control character in a path")
    found += [path.strip().strip(_QUOTES) for path in found]
    found += [_without_scheme(path) for path in found if _FILE.match(path)]
    found += [path[2:] for path in found if _DRIVE.match(path)]
    # Some programs take out "./" before they look for a tilde.
    found += [os.path.normpath(path) for path in found if "~" in path]
    found += [_expanded(path, environ) for path in found if path.startswith("~") or "$" in path]
    return list(dict.fromkeys(found))


def _decoded(text: str) -> list[str]:
    found = [text]
    while _ESCAPED.search(found[-1]):
        if len(found) > _MAX_DECODINGS:
            raise BadPath("a path that is percent-encoded more than three times")
        raw = found[-1].encode("utf-8", "surrogateescape")
        plain = re.sub(rb"%([0-9A-Fa-f]{2})", lambda match: bytes((int(match[1], 16),)), raw)
        try:
            found.append(plain.decode())
        except UnicodeDecodeError as error:
            raise BadPath("an undecodable percent sequence in a path") from error
    return found


def _without_scheme(path: str) -> str:
    match = _FILE.match(path)
    assert match is not None
    if match[1] and match[1].lower() != "localhost":
        raise BadPath("a file on another host")
    return re.split("[?#]", path[match.end() :], maxsplit=1)[0]


def _expanded(path: str, environ: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in environ:
            raise BadPath("an unknown variable in a path")
        return environ[name]

    path = _VARIABLE.sub(value, path)
    if not path.startswith("~"):
        return path
    user, _, rest = path.partition("/")
    home = environ.get("HOME") if user == "~" else None
    home = home or os.path.expanduser(user)
    if home.startswith("~"):
        raise BadPath("an unknown user in a path")
    return f"{home}/{rest}"


def places_of(path: str, base: str) -> list[str]:
    """
    The absolute places of a path, links followed as far as it exists.

    There are two where ``..`` follows a link: some programs take the step up in the text, before they follow the link.

    Args:
        path: One spelling.
        base: Where a relative path starts.

    Raises:
        BadPath: The file system has no such name.
    """
    whole = os.path.join(base, path)
    try:
        places = [_real(whole)]
        if ".." in path:
            places.append(_real(os.path.normpath(whole)))
    except ValueError as error:
        raise BadPath("a path that cannot be a name of a file") from error
    # POSIX leaves the meaning of exactly two leading slashes open; here they are one.
    return [place[1:] if place.startswith("//") else place for place in places]


def _real(path: str) -> str:
    if sys.platform != "linux":
        return os.path.realpath(path)
    place = _by_kernel(path)
    if place is None and not os.path.lexists(path):
        # A file to be made: its folder is there, most of the time.
        folder, name = os.path.split(path)
        parent = _by_kernel(folder) if name not in ("", ".", "..") else None
        place = None if parent is None else os.path.join(parent, name)
    return os.path.realpath(path) if place is None else place


def _by_kernel(path: str) -> str | None:
    """
    The place of a path that exists, its links followed by the kernel: five times faster than realpath.
    """
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        place = os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return place if place.startswith("/") and not place.endswith(" (deleted)") else None


class Roots:
    """
    Directories and everything below them.

    Args:
        texts: Their paths; relative ones start at the working directory of this moment.
        environ: Where ``~`` is looked up.

    Raises:
        ValueError: A root cannot be a path.
    """

    __slots__ = ("_fixed", "_moving")

    def __init__(self, texts: Iterable[str], environ: Mapping[str, str]) -> None:
        fixed: list[str] = []
        self._moving: list[str] = []
        for text in texts:
            path = os.path.abspath(_expanded(text, environ) if text.startswith("~") else text)
            real = os.path.realpath(path)
            if real == path and os.path.exists(path):
                fixed.append(real)
            else:
                # A link, or nothing yet: where it leads is looked up at each call.
                self._moving.append(path)
        self._fixed = tuple(fixed)

    def __bool__(self) -> bool:
        return bool(self._fixed or self._moving)

    def hold(self, place: str) -> bool:
        """
        Whether a place is one of the roots or lies below one.
        """
        for root in self._fixed:
            if _below(place, root):
                return True
        return any(_below(place, os.path.realpath(path)) for path in self._moving) if self._moving else False


def _below(place: str, root: str) -> bool:
    return place.startswith(root) and (len(place) == len(root) or root[-1] == "/" or place[len(root)] == "/")
