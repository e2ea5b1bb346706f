"""
From a document to a compiled ruleset; the steps that all factories and reloads share.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike, fspath
from typing import Any, Literal, TypeAlias

from edictum.audit import AuditSink
from edictum.redaction import RedactionPolicy
from edictum.ruleset.compiler import compile_ruleset
from edictum.ruleset.document import Document, from_mapping, read_document, read_file
from edictum.ruleset.expressions import Names
from edictum.ruleset.policy import Policy
from edictum.ruleset.reader import KnownNames, read_ruleset
from edictum.ruleset.syntax import Observability
from edictum.ruleset.vocabulary import MAX_RULES
from edictum.sinks import FileAuditSink, StdoutAuditSink

logger = logging.getLogger(__name__)

Legacy: TypeAlias = Literal["reject", "upgrade"]


def load_file(path: str | PathLike[str], names: Names, redaction: RedactionPolicy, legacy: Legacy = "reject") -> Policy:
    """
    Read and compile a ruleset file.

    Raises:
        FileNotFoundError: There is no such file.
        EdictumConfigError: It is invalid.
    """
    return compile_document(read_file(path), names, redaction, legacy, source=fspath(path))


def load_content(
    content: str | bytes | Mapping[str, Any],
    names: Names,
    redaction: RedactionPolicy,
    legacy: Legacy = "reject",
    version: str | None = None,
    max_rules: int = MAX_RULES,
) -> Policy:
    """
    Read and compile a ruleset given as text, bytes or parsed data.

    Raises:
        EdictumConfigError: It is invalid.
    """
    document = (
        read_document(content)
        if isinstance(content, (str, bytes))
        else from_mapping(content, digest=version, max_rules=max_rules)
    )
    return compile_document(document, names, redaction, legacy)


def compile_document(
    document: Document,
    names: Names,
    redaction: RedactionPolicy,
    legacy: Legacy = "reject",
    source: str | None = None,
) -> Policy:
    """
    Validate and compile a document.  Its identity stays that of the bytes, also when it is upgraded.

    Raises:
        EdictumConfigError: It is invalid.
    """
    if legacy == "upgrade":
        from edictum.migrate import upgrade_ruleset

        upgraded, _ = upgrade_ruleset(document.data)
        document = replace(document, data=upgraded)
    known = KnownNames(frozenset(names.operators), frozenset(names.selectors))
    ruleset = read_ruleset(document, custom=known)
    return compile_ruleset(ruleset, names, redaction, version=document.digest, source=source)


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
