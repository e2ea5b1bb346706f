"""
Rulesets made by a program may be larger than those that people write.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from edictum import Edictum, EdictumConfigError, EdictumDenied


def many(count: int) -> dict[str, Any]:
    rules = [
        {
            "id": f"rule-{number}",
            "type": "pre",
            "tool": f"tool-{number}",
            "when": {"args.path": {"contains": "secret"}},
            "then": {"action": "block", "message": "no"},
        }
        for number in range(count)
    ]
    header: dict[str, Any] = {"apiVersion": "edictum/v1", "kind": "Ruleset", "metadata": {"name": "many"}}
    return {**header, "defaults": {"mode": "enforce"}, "rules": rules}


def test_ruleset_of_more_rules_than_usual_is_refused_unless_asked_for() -> None:
    with pytest.raises(EdictumConfigError, match="rules"):
        Edictum.from_bundle_dict(many(2_001))

    guard = Edictum.from_bundle_dict(many(2_001), max_rules=2_001)

    assert len(guard.describe()["rules"]) == 2_001
    with pytest.raises(EdictumDenied):
        asyncio.run(guard.run("tool-2000", {"path": "secret"}, print))


def test_reload_keeps_the_number_of_rules_allowed() -> None:
    guard = Edictum.from_bundle_dict(many(1), max_rules=2_001)

    asyncio.run(guard.reload(many(2_001)))

    assert len(guard.describe()["rules"]) == 2_001
