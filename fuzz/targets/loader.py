"""
Rulesets from bytes: any document is loaded, or refused with one kind of error that says where each problem is.

The same document as parsed data must be the same ruleset, or have the same problems.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from edictum.errors import EdictumConfigError
from edictum.loading import load_contents
from edictum.redaction import RedactionPolicy
from edictum.ruleset.document import Document, from_mapping, read_document
from edictum.ruleset.expressions import Names
from edictum.ruleset.reader import read_ruleset
from edictum.ruleset.syntax import Ruleset
from harvest import CORE, TESTS, documents, texts_in, words_in

LONGEST = 4_096
SECONDS = 60

_NAMES = Names(environ={"HOME": "/home/user"})
_REDACTION = RedactionPolicy()
_HEAD = "apiVersion: edictum/v1\nkind: Ruleset\nmetadata: {name: base}\ndefaults: {mode: enforce}\n"
_RULESETS = {
    "base": _HEAD + "rules: [{id: a, type: session, limits: {max_attempts: 9}, then: {action: block, message: m}}]\n",
    "circle": _HEAD + "extends: circle\n",
}
_LINE_BREAK = re.compile(r"\r\n|\r|\n")


def target(data: bytes) -> None:
    """
    Read the bytes, and what could be read load in both vocabularies.
    """
    try:
        document = read_document(data)
    except EdictumConfigError as error:
        check_problems(error, data)
        return
    for legacy in ("reject", "upgrade"):
        try:
            load_contents([data], _NAMES, _REDACTION, legacy=legacy, rulesets=_RULESETS)
        except EdictumConfigError as error:
            check_problems(error, data)
    _compare_forms(document)


def check_problems(error: EdictumConfigError, data: bytes) -> None:
    """
    Check that the error shows each problem on one line and where it stands in the text.
    """
    assert error.errors, f"an error without a problem: {error}"
    lines = _LINE_BREAK.split(data.decode("utf-8", "replace").removeprefix("\ufeff"))
    for problem in error.errors:
        assert problem.message.isprintable(), f"a message that is not printable: {problem.message!r}"
        assert problem.path.isprintable(), f"a path that is not printable: {problem.path!r}"
        assert problem.line is not None, f"a problem without a line: {problem}"
        assert problem.column is not None, f"a problem without a column: {problem}"
        if problem.file is not None:
            continue  # in a ruleset that it extends
        assert 1 <= problem.line <= len(lines), f"a line that is not there: {problem}"
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1, f"a column that is not there: {problem}"


def _compare_forms(document: Document) -> None:
    if not isinstance(document.data, dict):
        return
    try:
        parsed = from_mapping(document.data)
    except EdictumConfigError:  # NaN, which only YAML has
        assert isinstance(_ruleset(document), list), "text is taken that is refused as data"
        return
    assert _ruleset(document) == _ruleset(parsed), "data is read differently"
    assert _ruleset(document) == _ruleset(read_document(json.dumps(document.data))), "JSON is read differently"


def _ruleset(document: Document) -> Ruleset | list[tuple[str, str]]:
    try:
        return read_ruleset(document)
    except EdictumConfigError as error:
        return sorted((problem.path, problem.message) for problem in error.errors)


def seeds() -> Iterator[bytes]:
    """
    All rulesets of the repository, and the damaged documents of the tests.
    """
    damaged = texts_in(TESTS / "test_document.py", TESTS / "test_reader.py", TESTS / "test_migrate.py")
    for text in (*documents(), *damaged, *_RULESETS.values()):
        yield text.encode("utf-8", "surrogatepass")


def words() -> list[str]:
    """
    The vocabulary of rulesets.
    """
    files = ["vocabulary.py", "reader.py", "rules_reader.py", "expressions_reader.py", "composition.py"]
    return words_in(*(CORE / "ruleset" / file for file in files))
