"""
Writing a ruleset as YAML: the same document is always the same text.

Everything that is no plain word is written as JSON writes it, which YAML reads alike.  What was written is read again
by the core and compared, so a ruleset never says something else than what was put together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edictum import EdictumConfigError
from edictum.ruleset.document import read_document

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_NO_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}

# Characters that the core does not read as they are; JSON escapes only some of them.
_HIDDEN = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")


def write_yaml(document: Mapping[str, Any]) -> str:
    """
    Write a document of mappings, lists, texts, numbers, booleans and null.

    Raises:
        EdictumConfigError: The core cannot read what it would be, or would read something else.
    """
    text = "".join(f"{line}\n" for line in _mapping(document, ""))
    if json.dumps(read_document(text).data) != json.dumps(document):
        raise EdictumConfigError("the ruleset cannot be written as YAML; look for unusual numbers in it")
    return text


def _mapping(values: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in values.items():
        yield from _entry(f"{indent}{_text(key)}:", value, f"{indent}  ")


def _list(values: Sequence[Any], indent: str) -> Iterator[str]:
    for value in values:
        if isinstance(value, Mapping) and value:
            first, *rest = _mapping(value, f"{indent}  ")
            yield f"{indent}- {first.lstrip()}"
            yield from rest
        else:
            yield from _entry(f"{indent}-", value, f"{indent}  ")


def _entry(head: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        yield head
        yield from _mapping(value, indent)
    elif isinstance(value, list) and value:
        yield head
        yield from _list(value, indent)
    else:
        yield f"{head} {_text(value) if isinstance(value, str) else json.dumps(value)}"


def _text(value: str) -> str:
    if _WORD.fullmatch(value) and value.lower() not in _NO_WORDS:
        return value
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
