"""
YAML from text: both parsers give the same values at the same places, and what is JSON means what it means as JSON.

Short texts only, because the slower parser is really slow.  Its code is watched by the fuzzer too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edictum.errors import EdictumConfigError
from edictum.ruleset import json_text, yaml
from edictum.ruleset.document import Document, read_document
from harvest import TESTS, texts_in

from targets.loader import check_problems

LONGEST = 200
SECONDS = 60


def target(data: bytes) -> None:
    """
    Read a text with either parser, and as JSON.
    """
    try:
        document = read_document(data)
    except EdictumConfigError as error:
        check_problems(error, data)
        return
    with _pure_parser():
        assert _shape(document) == _shape(read_document(data)), "the two parsers read it differently"
    text = data.decode("utf-8").removeprefix("\ufeff")
    try:
        from_json = json_text.compose(text).root
        from_yaml = yaml.compose(text).root
    except (json.JSONDecodeError, EdictumConfigError):
        return
    assert repr(from_json) == repr(from_yaml), "JSON and YAML read it differently"


@contextmanager
def _pure_parser() -> Iterator[None]:
    original = yaml._open_c_parser
    yaml._open_c_parser = lambda text: None
    try:
        yield
    finally:
        yaml._open_c_parser = original


def _shape(document: Document) -> Any:
    """
    Values with their places, in a form in which NaN equals itself and True is not 1.
    """
    return [(path, document.locate(path), repr(value)) for path, value in _values(document.data, ())]


def _values(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, dict | list):
        yield path, type(value)
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _values(item, (*path, key))
    else:
        yield path, value


def seeds() -> Iterator[bytes]:
    """
    The short documents of the tests.
    """
    for text in texts_in(TESTS / "test_document.py", TESTS / "test_reader.py"):
        yield text.encode("utf-8", "surrogatepass")


def words() -> list[str]:
    """
    The signs of YAML and JSON.
    """
    signs = [
        "- ",
        ": ",
        "? ",
        "|\n",
        "|2-\n",
        ">-\n",
        ">+\n",
        "{",
        "}",
        "[",
        "]",
        "&a ",
        "*a",
        "!!str ",
        "---\n",
        "...\n",
    ]
    escapes = [
        '"\\u0000"',
        '"\\ud800"',
        '"\\UFFFFFFFF"',
        '"\\x85"',
        '"\\_"',
        "'a'",
        '"a"',
        '"\\\n',
        "\r\n",
        "\r",
        "\t",
        " #",
    ]
    return [
        *signs,
        *escapes,
        "0x",
        "0o7",
        ".nan",
        "-.inf",
        "1e999",
        "null",
        "true",
        "~",
        "<<: ",
        "%YAML 1.1\n",
        "\n  ",
        "\ufeff",
    ]
