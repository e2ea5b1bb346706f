"""
From a document to a compiled ruleset; the steps that all factories and reloads share.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from os.path import dirname, join
from typing import Any, Literal, NoReturn, TypeAlias

from edictum.audit import AuditSink
from edictum.errors import ConfigProblem, EdictumConfigError
from edictum.redaction import RedactionPolicy
from edictum.ruleset.compiler import compile_ruleset
from edictum.ruleset.composition import CANDIDATE, MAX_ANCESTORS, CompositionReport, compose_bundles, inherit
from edictum.ruleset.document import Document, from_mapping, read_document, read_file
from edictum.ruleset.expressions import Names
from edictum.ruleset.layer_check import Family, check_layers
from edictum.ruleset.policy import Policy
from edictum.ruleset.reader import KnownNames, read_ruleset
from edictum.ruleset.syntax import Observability, Ruleset
from edictum.ruleset.vocabulary import MAX_RULES, METADATA_NAME
from edictum.sinks import FileAuditSink, StdoutAuditSink

logger = logging.getLogger(__name__)

Legacy: TypeAlias = Literal["reject", "upgrade"]
Rulesets: TypeAlias = Mapping[str, str | PathLike[str] | Mapping[str, Any]]
"""Rulesets that others may extend, by name: a file, the text of a document (more than one line), or parsed data."""

_NO_RULESETS: Rulesets = {}
_NAME = re.compile(METADATA_NAME)
_ENDINGS = (".yaml", ".yml", ".json")


def load_files(
    paths: Sequence[str | PathLike[str]],
    names: Names,
    redaction: RedactionPolicy,
    legacy: Legacy = "reject",
    rulesets: Rulesets = _NO_RULESETS,
) -> tuple[Policy, CompositionReport]:
    """
    Read ruleset files and compile them as one.

    What a file extends is looked for in ``rulesets``, then beside the file.

    Raises:
        FileNotFoundError: A file does not exist.
        EdictumConfigError: A file is invalid.
    """
    labels = [fspath(path) for path in paths]
    families = [_family(read_file(path), rulesets, legacy, dirname(fspath(path))) for path in paths]
    return compile_layers(families, labels, names, redaction, source=", ".join(labels))


def load_contents(
    contents: Sequence[str | bytes | Mapping[str, Any]],
    names: Names,
    redaction: RedactionPolicy,
    legacy: Legacy = "reject",
    version: str | None = None,
    max_rules: int = MAX_RULES,
    rulesets: Rulesets = _NO_RULESETS,
) -> tuple[Policy, CompositionReport]:
    """
    Read rulesets given as text, bytes or parsed data and compile them as one.

    What one extends is looked for in ``rulesets``.

    Raises:
        EdictumConfigError: One of them is invalid.
    """
    documents = [
        read_document(content)
        if isinstance(content, (str, bytes))
        else from_mapping(content, digest=version, max_rules=max_rules)
        for content in contents
    ]
    labels = [f"layer {number}" for number in range(1, len(documents) + 1)]
    families = [_family(document, rulesets, legacy) for document in documents]
    return compile_layers(families, labels, names, redaction)


def compile_layers(
    families: Sequence[Family],
    labels: Sequence[str],
    names: Names,
    redaction: RedactionPolicy,
    source: str | None = None,
) -> tuple[Policy, CompositionReport]:
    """
    Validate documents, merge each with what it extends, compose the results and compile the whole.

    The identity of one document is that of its bytes, also when it is upgraded.  That of a document with parents is the
    SHA-256 of all names and hashes, that of several layers the SHA-256 of their hashes, joined by colons.

    Args:
        families: For each layer, from the first to the last: documents by name, the oldest parent first.
        labels: What to call the layers in the report.
        names: Custom operators and selectors.
        redaction: Says which values messages must not show.
        source: Names of the files, for :meth:`Edictum.describe`.

    Raises:
        EdictumConfigError: One of them is invalid.
    """
    known = KnownNames(frozenset(names.operators), frozenset(names.selectors))
    documents = [document for family in families for _, document in family]
    rulesets = _read_all(documents, known)
    report = CompositionReport()
    if len(documents) == 1:
        ruleset, digest = rulesets[0], documents[0].digest
    else:
        layers = [inherit([(doc.source or name, doc) for name, doc in family]) for family in families]
        composed = compose_bundles(*zip(layers, labels, strict=True))
        report = composed.report
        digests = [_digest(family) for family in families]
        digest = digests[0] if len(digests) == 1 else hashlib.sha256(":".join(digests).encode()).hexdigest()
        most = max(document.max_rules for document in documents)
        whole = from_mapping(composed.bundle, digest=digest, max_rules=most)
        ruleset = read_ruleset(whole, custom=known, composed=True)
        report.weakened = check_layers(families, layers, labels, known)
    try:
        return compile_ruleset(ruleset, names, redaction, version=digest, source=source), report
    except EdictumConfigError as error:
        rules = {rule.path: rule.id for rule in ruleset.rules}
        problems = [_placed(problem, rules.get(problem.path, ""), documents) for problem in error.errors]
        raise EdictumConfigError.from_problems(problems) from error


def _placed(problem: ConfigProblem, rule_id: str, documents: Sequence[Document]) -> ConfigProblem:
    """
    A problem that was found when a rule was compiled, with the place of the rule in the document that it came from.
    """
    candidate = rule_id.endswith(CANDIDATE)
    for document in reversed(documents):
        ids = [rule["id"] for rule in document.data.get("rules", [])]
        watching = document is not documents[0] and document.data.get("observe_alongside", False)
        if watching is candidate and rule_id.removesuffix(CANDIDATE) in ids:
            number = ids.index(rule_id.removesuffix(CANDIDATE))
            line, column = document.locate(("rules", number))
            return ConfigProblem(f"rules[{number}]", problem.message, document.source, line, column)
    return problem


@dataclass(frozen=True, slots=True)
class Resolved:
    """
    A ruleset file and what it says together with everything that it extends, for tools that read rulesets.

    Attributes:
        own: The file itself, with positions.
        data: The document merged with those it extends, without ``extends``.
        ruleset: The tree of ``data``.
        family: The file and what it extends.
    """

    own: Document
    data: dict[str, Any]
    ruleset: Ruleset
    family: Family


def resolve_file(path: str | PathLike[str]) -> Resolved:
    """
    :func:`resolve_document` for a file.

    Raises:
        FileNotFoundError: The file does not exist.
        EdictumConfigError: It is invalid, or one that it extends is.
    """
    return resolve_document(read_file(path), dirname(fspath(path)))


def resolve_document(document: Document, folder: str) -> Resolved:
    """
    Validate a document with what it extends, without compiling it.

    Names of operators and selectors are not checked, because nobody has said which are registered.

    Args:
        document: The document.
        folder: Where the files are looked for that it extends.

    Raises:
        EdictumConfigError: It is invalid, or one that it extends is.
    """
    family = _family(document, _NO_RULESETS, "reject", folder)
    trees = _read_all([member for _, member in family], None)
    if len(family) == 1:
        return Resolved(document, document.data, trees[0], family)
    data = inherit([(member.source or name, member) for name, member in family])
    return Resolved(document, data, read_ruleset(from_mapping(data), custom=None, composed=True), family)


def _digest(family: Family) -> str:
    if len(family) == 1:
        return family[0][1].digest
    return hashlib.sha256(":".join(f"{name}:{document.digest}" for name, document in family).encode()).hexdigest()


def _family(document: Document, rulesets: Rulesets, legacy: Legacy, folder: str | None = None) -> Family:
    """
    A document and what it extends, by name, the oldest parent first.

    Raises:
        EdictumConfigError: A parent is not known, or they go in a circle.
    """
    family = [("", _upgraded(document, legacy))]
    while True:
        _, child = family[0]
        parent = child.data.get("extends") if isinstance(child.data, dict) else None
        if not isinstance(parent, str) or not _NAME.fullmatch(parent):
            return family  # what is wrong with it the reader says
        if any(parent == name for name, _ in family):
            _refuse_parent(child, f"{parent!r} extends itself, directly or through others; remove one of the links")
        if len(family) > MAX_ANCESTORS:
            _refuse_parent(child, f"more than {MAX_ANCESTORS} rulesets extend each other; merge some of them")
        family.insert(0, (parent, _upgraded(_parent(parent, child, rulesets, folder), legacy)))


def _parent(name: str, child: Document, rulesets: Rulesets, folder: str | None) -> Document:
    given = rulesets.get(name)
    if isinstance(given, Mapping):
        return from_mapping(given)
    if isinstance(given, str) and "\n" in given:
        return read_document(given, name=name)
    if given is not None:
        return read_file(given)
    for ending in _ENDINGS if folder is not None else ():
        try:
            return read_file(join(folder or "", name + ending))
        except FileNotFoundError:
            continue
    beside = "" if folder is None else f" and there is no {join(folder, name + _ENDINGS[0])!r}"
    _refuse_parent(child, f"there is no ruleset {name!r}: it is not among the given rulesets{beside}")


def _refuse_parent(child: Document, message: str) -> NoReturn:
    line, column = child.locate(("extends",))
    raise EdictumConfigError.from_problems([ConfigProblem("extends", message, child.source, line, column)])


def _upgraded(document: Document, legacy: Legacy) -> Document:
    if legacy != "upgrade":
        return document
    from edictum.migrate import upgrade_document

    return upgrade_document(document)


def _read_all(documents: Sequence[Document], known: KnownNames | None) -> list[Ruleset]:
    """
    Validate each document by itself, so that every problem is found, with its place in its own file.
    """
    rulesets: list[Ruleset] = []
    refused: list[EdictumConfigError] = []
    for document in documents:
        try:
            rulesets.append(read_ruleset(document, custom=known, extending=True))
        except EdictumConfigError as error:
            refused.append(error)
    if len(refused) > 1:
        raise EdictumConfigError.from_problems(problem for error in refused for problem in error.errors)
    if refused:
        raise refused[0]
    return rulesets


def sinks_of(observability: Observability | None, redaction: RedactionPolicy) -> list[AuditSink] | None:
    """
    The sinks that a ruleset asks for, or None.  Printing needs an explicit ``stdout: true``.
    """
    if observability is None:
        return None
    sinks: list[AuditSink] = []
    if observability.file:
        sinks.append(FileAuditSink(observability.file, redaction))
    if observability.stdout:
        sinks.append(StdoutAuditSink(redaction))
    return sinks or None


def start_telemetry(observability: Observability | None) -> None:
    """
    Set OpenTelemetry up as a ruleset asks for, unless the process has done so already.

    Raises:
        EdictumConfigError: The settings make no sense.
    """
    if observability is None or observability.otel is None or not observability.otel.get("enabled"):
        return
    from edictum.otel import configure_otel

    settings = {name: value for name, value in observability.otel.items() if name != "enabled"}
    try:
        configure_otel(**settings)
    except EdictumConfigError as error:
        raise EdictumConfigError(f"observability.otel: {error}") from None
