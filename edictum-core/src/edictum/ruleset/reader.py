"""
From a document to a valid ruleset tree.

The only module that builds :mod:`edictum.ruleset.syntax` values.  All problems of a document are found in one run;
a document with a problem gives no ruleset at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, cast

from edictum.ruleset.document import Document
from edictum.ruleset.expressions_reader import ExpressionReader
from edictum.ruleset.problems import Path, Problems, quote
from edictum.ruleset.rules_reader import RulesReader
from edictum.ruleset.syntax import API_VERSION, KIND, Mode, Observability, Ruleset, ToolDef
from edictum.ruleset.vocabulary import (
    METADATA_NAME,
    MODES,
    OLD_KIND,
    OLD_MODES,
    OLD_RULES_KEY,
    OLD_SHADOW_PREFIX,
    OTEL_PROTOCOLS,
    SIDE_EFFECTS,
)
from edictum.tools import SideEffect

_DOCUMENT_KEYS = frozenset(
    (
        "apiVersion",
        "kind",
        "metadata",
        "defaults",
        "rules",
        "extends",
        "tools",
        "observability",
        "observe_alongside",
    )
)
_REQUIRED = ("apiVersion", "kind", "metadata", "defaults", "rules")
_METADATA_KEYS = frozenset(("name", "description"))
_DEFAULTS_KEYS = frozenset(("mode",))
_TOOL_KEYS = frozenset(("side_effect", "idempotent"))
_OBSERVABILITY_KEYS = frozenset(("otel", "stdout", "file"))
_OTEL_KEYS = frozenset(("enabled", "endpoint", "protocol", "service_name", "insecure", "resource_attributes"))

_NAME = re.compile(METADATA_NAME)


@dataclass(frozen=True, slots=True)
class KnownNames:
    """
    Names that the caller registered besides the built-in ones.
    """

    operators: frozenset[str] = frozenset()
    selectors: frozenset[str] = frozenset()


_NO_CUSTOM_NAMES = KnownNames()


def read_ruleset(
    document: Document,
    *,
    custom: KnownNames | None = _NO_CUSTOM_NAMES,
    composed: bool = False,
    extending: bool = False,
) -> Ruleset:
    """
    Validate a document.

    Args:
        document: What was read.
        custom: Registered operators and selectors; None when operators and selector roots are not to be checked.
        composed: Whether it was made of several documents and may hold candidates.
        extending: Whether it may extend another one, with which the caller merges it.

    Returns:
        The ruleset with defaults filled in and synonyms resolved.

    Raises:
        EdictumConfigError: The document is not a valid ruleset; ``errors`` has every problem.
    """
    problems = Problems(document)
    data = document.data
    if type(data) is not dict:
        problems.wrong_type((), "a mapping with apiVersion, kind, metadata, defaults and rules", data)
    elif not _note_old_document(data, problems):
        operators = custom.operators if custom is not None else None
        selectors = custom.selectors if custom is not None else None
        expressions = ExpressionReader(problems, operators, selectors)
        ruleset = _DocumentReader(problems, expressions, composed, extending).read(data)
        problems.raise_if_any()
        return ruleset
    raise problems.as_error()


def _note_old_document(data: dict[str, Any], problems: Problems) -> bool:
    """
    Whether the document as a whole is of the older vocabulary; its details would only repeat that.
    """
    if data.get("kind") == OLD_KIND:
        problems.old_vocabulary(("kind",), OLD_KIND, KIND)
        return True
    for key in data:
        if key == OLD_RULES_KEY:
            problems.old_vocabulary((key,), key, "rules")
            return True
        if key.startswith(OLD_SHADOW_PREFIX):
            problems.old_vocabulary((key,), key, "observe" + key.removeprefix(OLD_SHADOW_PREFIX))
            return True
    return False


class _DocumentReader:
    """
    Reads everything but the rules, which :class:`RulesReader` reads.
    """

    def __init__(self, problems: Problems, expressions: ExpressionReader, composed: bool, extending: bool) -> None:
        self._problems = problems
        self._expressions = expressions
        self._composed = composed
        self._extending = extending

    def read(self, data: dict[str, Any]) -> Ruleset:
        problems = self._problems
        required = tuple(key for key in _REQUIRED if key != "rules" or "extends" not in data)
        problems.keys(data, (), _DOCUMENT_KEYS, required)
        problems.choice(data, "apiVersion", (), (API_VERSION,), default=API_VERSION)
        problems.choice(data, "kind", (), (KIND,), default=KIND)
        name, description = self._metadata(data)
        mode = self._default_mode(data)
        if "extends" in data:
            self._extends(data)
        rules, disabled = RulesReader(problems, self._expressions, mode, self._composed).read(data)
        return Ruleset(
            name=name,
            mode=mode,
            rules=rules,
            description=description,
            tools=self._tools(data),
            observability=self._observability(data),
            observe_alongside=problems.boolean(data, "observe_alongside", (), default=False),
            disabled=disabled,
        )

    def _metadata(self, data: dict[str, Any]) -> tuple[str, str | None]:
        metadata = self._problems.mapping(data, "metadata", ())
        if metadata is None:
            return "", None
        path: Path = ("metadata",)
        self._problems.keys(metadata, path, _METADATA_KEYS, ("name",))
        allowed = "lower-case letters, digits, dots, hyphens and underscores, a letter or digit first"
        name = self._problems.named(metadata, "name", path, _NAME, allowed)
        if "description" not in metadata:
            return name, None
        return name, self._problems.text(metadata, "description", path, shortest=0)

    def _default_mode(self, data: dict[str, Any]) -> Mode:
        defaults = self._problems.mapping(data, "defaults", ())
        if defaults is None:
            return "enforce"
        self._problems.keys(defaults, ("defaults",), _DEFAULTS_KEYS, ("mode",))
        mode = self._problems.choice(defaults, "mode", ("defaults",), MODES, default="enforce", old=OLD_MODES)
        return cast(Mode, mode)

    def _extends(self, data: dict[str, Any]) -> None:
        noted = len(self._problems)
        parent = self._problems.text(data, "extends", ())
        if len(self._problems) > noted:
            return
        if not _NAME.fullmatch(parent):
            self._problems.add(("extends",), f"{quote(parent)} is not the name of a ruleset; write a name, not a path")
        elif not self._extending:
            self._problems.add(
                ("extends",), "the ruleset that this one extends is not known here; load it from a file beside it"
            )

    def _tools(self, data: dict[str, Any]) -> dict[str, ToolDef]:
        tools = self._problems.mapping(data, "tools", ()) or {}
        found: dict[str, ToolDef] = {}
        for tool in tools:
            entry = self._problems.mapping(tools, tool, ("tools",))
            if entry is None:
                continue
            path: Path = ("tools", tool)
            self._problems.keys(entry, path, _TOOL_KEYS, ("side_effect",))
            side_effect = self._problems.choice(
                entry, "side_effect", path, SIDE_EFFECTS, default=SideEffect.IRREVERSIBLE.value
            )
            idempotent = self._problems.boolean(entry, "idempotent", path, default=False)
            found[tool] = ToolDef(SideEffect(side_effect), idempotent)
        return found

    def _observability(self, data: dict[str, Any]) -> Observability:
        settings = self._problems.mapping(data, "observability", ())
        if settings is None:
            return Observability()
        path: Path = ("observability",)
        self._problems.keys(settings, path, _OBSERVABILITY_KEYS)
        stdout = None
        if "stdout" in settings:
            stdout = self._problems.boolean(settings, "stdout", path, default=True)
        file = None
        if settings.get("file") is not None:
            file = self._problems.text(settings, "file", path, shortest=0) or None
        return Observability(stdout, file, self._otel(settings, path))

    def _otel(self, settings: dict[str, Any], path: Path) -> dict[str, Any] | None:
        otel = self._problems.mapping(settings, "otel", path)
        if otel is None:
            return None
        path = (*path, "otel")
        self._problems.keys(otel, path, _OTEL_KEYS)
        self._problems.boolean(otel, "enabled", path, default=False)
        self._problems.boolean(otel, "insecure", path, default=True)
        self._problems.text(otel, "endpoint", path)
        self._problems.text(otel, "service_name", path)
        self._problems.choice(otel, "protocol", path, OTEL_PROTOCOLS, default="grpc")
        attributes = self._problems.mapping(otel, "resource_attributes", path) or {}
        for name in attributes:
            self._problems.text(attributes, name, (*path, "resource_attributes"), shortest=0)
        return otel
