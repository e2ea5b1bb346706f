"""
Loading and compiling rulesets without a guard: the names that programs for the published package use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

from edictum.limits import OperationLimits
from edictum.options import make_names
from edictum.redaction import RedactionPolicy
from edictum.ruleset.compiler import compile_ruleset
from edictum.ruleset.composition import (
    ComposedBundle,
    CompositionOverride,
    CompositionReport,
    ObserveContract,
    compose_bundles,
    resolve_ruleset_extends,
)
from edictum.ruleset.document import MAX_BUNDLE_SIZE, Document, from_mapping, read_document, read_file
from edictum.ruleset.policy import CompiledRule
from edictum.ruleset.reader import KnownNames, read_ruleset

if TYPE_CHECKING:
    from edictum.ruleset.operators import CustomOperator
    from edictum.ruleset.selectors import CustomSelector
    from edictum.ruleset.syntax import Mode, ToolDef

__all__ = [
    "MAX_BUNDLE_SIZE",
    "BundleHash",
    "CompiledBundle",
    "ComposedBundle",
    "CompositionOverride",
    "CompositionReport",
    "ObserveContract",
    "compile_contracts",
    "compose_bundles",
    "load_bundle",
    "load_bundle_string",
    "resolve_ruleset_extends",
]


@dataclass(frozen=True, slots=True)
class BundleHash:
    """
    Identity of a document.

    Attributes:
        hex: SHA-256 of its bytes, 64 lower-case hexadecimal digits; also what ``str()`` gives.
    """

    hex: str

    def __str__(self) -> str:
        return self.hex


@dataclass(frozen=True, slots=True)
class CompiledBundle:
    """
    A compiled ruleset, by type of rule.

    Attributes:
        preconditions: Pre rules.
        postconditions: Post rules.
        session_contracts: Session rules.
        sandbox_contracts: Sandbox rules.
        limits: The limits that the session rules set; defaults where they set none.
        default_mode: ``enforce`` or ``observe``.
        tools: What the document says about tools.
    """

    preconditions: tuple[CompiledRule, ...]
    postconditions: tuple[CompiledRule, ...]
    session_contracts: tuple[CompiledRule, ...]
    sandbox_contracts: tuple[CompiledRule, ...]
    limits: OperationLimits
    default_mode: Mode
    tools: Mapping[str, ToolDef]


def load_bundle(path: str | PathLike[str]) -> tuple[dict[str, Any], BundleHash]:
    """
    Read and validate a ruleset file, YAML or JSON.

    Names of operators and selectors are not checked, because nobody has said which are registered.

    Returns:
        The parsed document and its identity.

    Raises:
        FileNotFoundError: There is no such file.
        EdictumConfigError: It is invalid.
    """
    return _validated(read_file(path))


def load_bundle_string(content: str | bytes) -> tuple[dict[str, Any], BundleHash]:
    """
    Read and validate the text of a ruleset; see :func:`load_bundle`.
    """
    return _validated(read_document(content))


def _validated(document: Document) -> tuple[dict[str, Any], BundleHash]:
    read_ruleset(document, custom=None)
    return document.data, BundleHash(document.digest)


def compile_contracts(
    bundle: Mapping[str, Any],
    *,
    custom_operators: Mapping[str, CustomOperator] | None = None,
    custom_selectors: Mapping[str, CustomSelector] | None = None,
) -> CompiledBundle:
    """
    Compile a parsed document, also one made by :func:`compose_bundles`.

    Args:
        bundle: The document.
        custom_operators: Operators for expressions.
        custom_selectors: Selectors for expressions.

    Raises:
        EdictumConfigError: It is invalid, or names an operator or selector that is not registered.
    """
    from edictum.engine.plan import Limits

    names = make_names(custom_operators, custom_selectors, None)
    known = KnownNames(frozenset(names.operators), frozenset(names.selectors))
    ruleset = read_ruleset(from_mapping(bundle), custom=known, composed=True)
    policy = compile_ruleset(ruleset, names, RedactionPolicy(), version=None)
    by_kind: dict[str, tuple[CompiledRule, ...]] = {
        kind: tuple(rule for rule in policy.rules if rule.kind == kind)
        for kind in ("precondition", "postcondition", "session_contract", "sandbox")
    }
    return CompiledBundle(
        by_kind["precondition"],
        by_kind["postcondition"],
        by_kind["session_contract"],
        by_kind["sandbox"],
        Limits.merge(None, by_kind["session_contract"]).numbers(),
        policy.mode,
        policy.tools,
    )
