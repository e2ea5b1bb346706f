"""
Putting a ruleset together from contracts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import attrs

from edictum_console.domains.compositions.schemas import (
    Composition,
    CompositionItem,
    Ingredient,
    Mode,
)
from edictum_console.domains.library.schemas import Contract

OBSERVED_COPY = "-obs"


@attrs.frozen
class Assembled:
    """
    What a composition makes.

    Attributes:
        document: The ruleset.
        contents: Which version of a contract each rule is, in the order of the rules.
    """

    document: dict[str, Any]
    contents: list[Ingredient]


def assemble(composition: Composition, contracts: Mapping[tuple[str, int | None], Contract]) -> Assembled:
    """
    Make a ruleset.

    Args:
        composition: What is to be in it.
        contracts: All contracts that it names, by id and version.
    """
    used = [item for item in composition.items if item.enabled]
    often = Counter(item.contract_id for item in used)
    rules, contents = [], []
    for item in used:
        contract = contracts[item.contract_id, item.version]
        rule = _rule(contract, item, composition.defaults_mode, copied=often[item.contract_id] > 1)
        rules.append(rule)
        contents.append(Ingredient(rule["id"], contract.contract_id, contract.version))
    metadata = {"name": composition.name}
    if composition.description:
        metadata["description"] = composition.description
    document: dict[str, Any] = {
        "apiVersion": "edictum/v1",
        "kind": "Ruleset",
        "metadata": metadata,
        "defaults": {"mode": composition.defaults_mode.value},
        "rules": rules,
    }
    for name in ("tools", "observability"):
        if getattr(composition, name):
            document[name] = getattr(composition, name)
    return Assembled(document, contents)


def _rule(contract: Contract, item: CompositionItem, default: Mode, *, copied: bool) -> dict[str, Any]:
    rule = dict(contract.definition)
    if item.mode is not None:
        rule["mode"] = item.mode.value
    if copied and rule.get("mode", default.value) == Mode.OBSERVE.value:
        rule["id"] += OBSERVED_COPY
    return rule
