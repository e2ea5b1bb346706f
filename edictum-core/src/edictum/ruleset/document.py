"""
From bytes, text, a file or a mapping to plain data with a digest and positions.

Everything that reads policy text starts here, so the limits and refusals of this module hold for all of it: size,
encoding, control characters, depth, number of values, duplicate keys.  YAML needs the ``yaml`` extra; JSON and
mappings need only the standard library.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from edictum.errors import ConfigProblem, EdictumConfigError
from edictum.ruleset import json_text, yaml
from edictum.ruleset.plain import Place, Positions, Unfit, plain_copy
from edictum.ruleset.problems import render
from edictum.ruleset.vocabulary import MAX_DOCUMENT_BYTES, MAX_DOCUMENT_NODES, MAX_RULES

MAX_BUNDLE_SIZE = MAX_DOCUMENT_BYTES

# Raw characters that no document may hold: controls, the breaks that only some readers know, bidirectional
# overrides (https://trojansource.codes), a byte-order mark inside the text, noncharacters.
_FORBIDDEN = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")
_LINE_BREAK = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Document:
    """
    A parsed document.

    Attributes:
        data: Tree of dict, list, str, int, float, bool and None.
        digest: SHA-256, lower-case hex, of the raw bytes as supplied; for a mapping, of its canonical JSON.
        source: File name for errors, or None.
        positions: Where the values stand, or None when the document did not come from text.
        max_rules: How many rules it may have.
    """

    data: Any
    digest: str
    source: str | None = None
    positions: Positions | None = field(default=None, repr=False, compare=False)
    max_rules: int = MAX_RULES

    def locate(self, path: Sequence[str | int]) -> tuple[int | None, int | None]:
        """
        Find a value in the text.

        Args:
            path: Keys and indexes from the root.

        Returns:
            1-based line and column of the value or, where the path leaves the document, of the deepest container
            on the way; (None, None) when the document did not come from text.
        """
        return self.positions.locate(path) if self.positions is not None else (None, None)


def read_document(source: str | bytes, *, name: str | None = None) -> Document:
    """
    Read one YAML or JSON document.

    A text that starts with ``{`` is read as JSON when it is JSON, and otherwise as YAML.

    Args:
        source: The text or its UTF-8 bytes.
        name: File name for errors; the ending ``.json`` rules YAML out.

    Raises:
        EdictumConfigError: The document is too large or cannot be read.
    """
    raw = _as_bytes(source, name)
    if len(raw) > MAX_BUNDLE_SIZE:
        _refuse(f"the document is larger than {MAX_BUNDLE_SIZE} bytes; split it", name)
    digest = hashlib.sha256(raw).hexdigest()
    text = _decode(raw, name)
    only_json = name is not None and name.lower().endswith(".json")
    if only_json or text.lstrip()[:1] == "{":
        try:
            positions = json_text.compose(text, name)
            return Document(positions.root, digest, name, positions)
        except json.JSONDecodeError as error:
            if only_json or not yaml.available():
                _refuse(f"this is not valid JSON: {error.msg}", name, _place_at(text, error.pos))
    positions = yaml.compose(text, name)
    return Document(positions.root, digest, name, positions)


def read_file(path: str | os.PathLike[str]) -> Document:
    """
    Read a file, and never more of it than a document may have.

    Args:
        path: The file; the ending ``.json`` says that it is JSON.

    Raises:
        FileNotFoundError: There is no such file.
        EdictumConfigError: The document is too large or cannot be read.
    """
    name = os.path.basename(path)
    with open(path, "rb") as stream:
        # The byte too many shows that the file is too large, also where no size is known beforehand (a pipe).
        raw = stream.read(MAX_BUNDLE_SIZE + 1)
    return read_document(raw, name=name)


def from_mapping(data: Mapping[str, Any], *, digest: str | None = None, max_rules: int = MAX_RULES) -> Document:
    """
    Take a document that is already parsed; later changes to ``data`` do not reach the copy.

    Args:
        data: Mappings, lists, tuples, text, numbers, booleans and None, nested.
        digest: Identity to use instead of the hash of the canonical JSON (sorted keys, no spaces, UTF-8).
        max_rules: How many rules it may have; more than the default also raises the number of values allowed.

    Raises:
        EdictumConfigError: Something in it has no place in a document; the path is named.
    """
    if not isinstance(data, Mapping):
        raise TypeError(f"a parsed document is a mapping, not {type(data).__name__}")
    try:
        copy = plain_copy(data, MAX_DOCUMENT_NODES * max(1, max_rules // MAX_RULES))
    except Unfit as error:
        raise EdictumConfigError.from_problems([ConfigProblem(render(error.path), error.message)]) from None
    if digest is None:
        canonical = json.dumps(copy, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        digest = hashlib.sha256(canonical.encode("utf-8")).hexdigest()
    return Document(copy, digest, max_rules=max_rules)


def _refuse(message: str, name: str | None, place: Place | None = None) -> NoReturn:
    line, column = place or (None, None)
    raise EdictumConfigError.from_problems([ConfigProblem("", message, name, line, column)])


def _place_at(text: str, offset: int) -> Place:
    before = text[:offset]
    breaks = list(_LINE_BREAK.finditer(before))
    return len(breaks) + 1, offset - (breaks[-1].end() if breaks else 0) + 1


def _as_bytes(source: str | bytes, name: str | None) -> bytes:
    if isinstance(source, bytes):
        return source
    if not isinstance(source, str):
        raise TypeError(f"a document is str or bytes, not {type(source).__name__}")
    try:
        return source.encode("utf-8")
    except UnicodeEncodeError as error:
        _refuse("the text holds half of a surrogate pair; remove it", name, _place_at(source, error.start))


def _decode(raw: bytes, name: str | None) -> str:
    """
    Text without byte-order mark and without characters that could hide something.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        readable = raw[: error.start].decode("utf-8")
        _refuse("the document is not UTF-8; save it in that encoding", name, _place_at(readable, len(readable)))
    text = text.removeprefix("\ufeff")
    found = _FORBIDDEN.search(text)
    if found is not None:
        _refuse(
            f"the character U+{ord(found.group()):04X} is not allowed here; remove it, or write it as an escape",
            name,
            _place_at(text, found.start()),
        )
    return text
