"""
Findings as SARIF 2.1.0, the format that code scanners exchange.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from edictum import __version__

if TYPE_CHECKING:
    from edictum.lint import Check, LintFinding

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_FINGERPRINT = "edictumFinding/v1"


def to_sarif(found: Sequence[tuple[str, LintFinding]], checks: Sequence[Check]) -> dict[str, Any]:
    """
    Findings of files as one SARIF log with one run.

    Args:
        found: Each finding with the path of its file.
        checks: Every check that was made, whether or not it found anything.
    """
    places = {check.id: place for place, check in enumerate(checks)}
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "edictum",
                        "semanticVersion": __version__,
                        "rules": [_rule(check) for check in checks],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(path, finding, places[finding.check]) for path, finding in found],
            }
        ],
    }


def _rule(check: Check) -> dict[str, Any]:
    return {
        "id": check.id,
        "shortDescription": {"text": f"{check.title[0].upper()}{check.title[1:]}."},
        "fullDescription": {"text": check.why},
        "help": {"text": f"{check.why} {check.fix}"},
        "defaultConfiguration": {"level": check.severity},
    }


def _result(path: str, finding: LintFinding, place: int) -> dict[str, Any]:
    where: dict[str, Any] = {"artifactLocation": {"uri": _uri(path)}}
    if finding.line is not None:
        where["region"] = {"startLine": finding.line, "startColumn": finding.column}
    location: dict[str, Any] = {"physicalLocation": where}
    if finding.path:
        location["logicalLocations"] = [{"fullyQualifiedName": finding.path}]
    about = "\0".join((finding.check, finding.rule or finding.path, finding.message))
    return {
        "ruleId": finding.check,
        "ruleIndex": place,
        "level": finding.severity,
        "message": {"text": f"{finding.message}. {finding.fix}"},
        "locations": [location],
        # So that a finding is the same one after lines were added above it.
        "partialFingerprints": {_FINGERPRINT: hashlib.sha256(about.encode("utf-8", "replace")).hexdigest()[:32]},
    }


def _uri(path: str) -> str:
    """
    A reference relative to the current folder where the file lies below it, else an absolute one.
    """
    relative = os.path.relpath(path)
    if relative.split(os.sep)[0] == os.pardir:
        return Path(os.path.abspath(path)).as_uri()
    return quote(Path(relative).as_posix())
