"""
From a document to a compiled ruleset; the steps that all factories and reloads share.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike, fspath
from typing import Any, Literal, TypeAlias

from edictum.audit import AuditSink
from edictum.errors import EdictumConfigError
from edictum.redaction import RedactionPolicy
from edictum.ruleset.compiler import compile_ruleset
from edictum.ruleset.composition import CompositionReport, compose_bundles
from edictum.ruleset.document import Document, from_mapping, read_document, read_file
from edictum.ruleset.expressions import Names
from edictum.ruleset.policy import Policy
from edictum.ruleset.reader import KnownNames, read_ruleset
from edictum.ruleset.syntax import Observability, Ruleset
from edictum.ruleset.vocabulary import MAX_RULES
from edictum.sinks import FileAuditSink, StdoutAuditSink

logger = logging.getLogger(__name__)

Legacy: TypeAlias = Literal["reject", "upgrade"]


def load_files(
    paths: Sequence[str | PathLike[str]], names: Names, redaction: RedactionPolicy, legacy: Legacy = "reject"
) -> tuple[Policy, CompositionReport]:
    """
    Read ruleset files and compile them as one.

    Raises:
        FileNotFoundError: A file does not exist.
        EdictumConfigError: A file is invalid.
    """
    labels = [fspath(path) for path in paths]
    documents = [read_file(path) for path in paths]
    return compile_layers(documents, labels, names, redaction, legacy, source=", ".join(labels))


def load_contents(
    contents: Sequence[str | bytes | Mapping[str, Any]],
    names: Names,
    redaction: RedactionPolicy,
    legacy: Legacy = "reject",
    version: str | None = None,
    max_rules: int = MAX_RULES,
) -> tuple[Policy, CompositionReport]:
    """
    Read rulesets given as text, bytes or parsed data and compile them as one.

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
    return compile_layers(documents, labels, names, redaction, legacy)


def compile_layers(
    documents: Sequence[Document],
    labels: Sequence[str],
    names: Names,
    redaction: RedactionPolicy,
    legacy: Legacy = "reject",
    source: str | None = None,
) -> tuple[Policy, CompositionReport]:
    """
    Validate documents, compose them and compile the result.

    The identity of one document is that of its bytes, also when it is upgraded; that of several is the SHA-256 of
    theirs, joined by colons.

    Args:
        documents: From the first layer to the last.
        labels: What to call them in the report.
        names: Custom operators and selectors.
        redaction: Says which values messages must not show.
        legacy: ``upgrade`` accepts the older vocabulary.
        source: Names of the files, for :meth:`Edictum.describe`.

    Raises:
        EdictumConfigError: One of them is invalid.
    """
    if legacy == "upgrade":
        from edictum.migrate import upgrade_ruleset

        documents = [replace(document, data=upgrade_ruleset(document.data)[0]) for document in documents]
    known = KnownNames(frozenset(names.operators), frozenset(names.selectors))
    rulesets = _read_all(documents, known)
    report = CompositionReport()
    if len(documents) == 1:
        ruleset, digest = rulesets[0], documents[0].digest
    else:
        composed = compose_bundles(*((document.data, label) for document, label in zip(documents, labels, strict=True)))
        report = composed.report
        digest = hashlib.sha256(":".join(document.digest for document in documents).encode()).hexdigest()
        most = max(document.max_rules for document in documents)
        whole = from_mapping(composed.bundle, digest=digest, max_rules=most)
        ruleset = read_ruleset(whole, custom=known, composed=True)
    return compile_ruleset(ruleset, names, redaction, version=digest, source=source), report


def _read_all(documents: Sequence[Document], known: KnownNames) -> list[Ruleset]:
    """
    Validate each document by itself, so that every problem is found, with its place in its own file.
    """
    rulesets: list[Ruleset] = []
    refused: list[EdictumConfigError] = []
    for document in documents:
        try:
            rulesets.append(read_ruleset(document, custom=known))
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
    if observability.otel is not None and observability.otel.get("enabled"):
        logger.warning("observability.otel is not supported by this version; no telemetry is sent")
    sinks: list[AuditSink] = []
    if observability.file:
        sinks.append(FileAuditSink(observability.file, redaction))
    if observability.stdout:
        sinks.append(StdoutAuditSink(redaction))
    return sinks or None
