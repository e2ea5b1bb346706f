from __future__ import annotations

import copy
from typing import Any

import pytest
from edictum.errors import EdictumConfigError
from edictum.migrate import upgrade_ruleset
from edictum.ruleset.document import from_mapping
from edictum.ruleset.reader import read_ruleset
from edictum.testing.strategies import rulesets
from hypothesis import HealthCheck, given, settings

OLD: dict[str, Any] = {
    "apiVersion": "edictum/v1",
    "kind": "ContractBundle",
    "metadata": {"name": "old"},
    "defaults": {"mode": "shadow"},
    "shadow_alongside": False,
    "contracts": [
        {
            "id": "no-env",
            "type": "pre",
            "tool": "read_file",
            "mode": "enforce",
            "when": {"args.path": {"contains": "deny"}},
            "then": {"effect": "deny", "message": "approve nothing", "metadata": {"effect": "deny"}},
        },
        {
            "id": "ask-first",
            "type": "pre",
            "tool": "bash",
            "when": {"args.command": {"exists": True}},
            "then": {"effect": "approve", "message": "m", "timeout": 5, "timeout_effect": "deny"},
        },
        {"id": "w", "type": "post", "tool": "*", "when": {"output.text": {"contains": "x"}},
         "then": {"effect": "warn", "message": "m"}},
        {"id": "box", "type": "sandbox", "enabled": False, "tool": "*", "within": ["/w"], "message": "m",
         "outside": "deny", "timeout_effect": "allow"},
    ],
}  # fmt: skip

NEW: dict[str, Any] = {
    "apiVersion": "edictum/v1",
    "kind": "Ruleset",
    "metadata": {"name": "old"},
    "defaults": {"mode": "observe"},
    "observe_alongside": False,
    "rules": [
        {
            "id": "no-env",
            "type": "pre",
            "tool": "read_file",
            "mode": "enforce",
            "when": {"args.path": {"contains": "deny"}},
            "then": {"action": "block", "message": "approve nothing", "metadata": {"effect": "deny"}},
        },
        {
            "id": "ask-first",
            "type": "pre",
            "tool": "bash",
            "when": {"args.command": {"exists": True}},
            "then": {"action": "ask", "message": "m", "timeout": 5, "timeout_action": "block"},
        },
        {"id": "w", "type": "post", "tool": "*", "when": {"output.text": {"contains": "x"}},
         "then": {"action": "warn", "message": "m"}},
        {"id": "box", "type": "sandbox", "enabled": False, "tool": "*", "within": ["/w"], "message": "m",
         "outside": "block", "timeout_action": "allow"},
    ],
}  # fmt: skip


def test_upgrade_old_document_becomes_a_valid_ruleset() -> None:
    upgraded, _ = upgrade_ruleset(OLD)
    assert upgraded == NEW
    assert list(NEW) == list(upgraded)
    assert [rule.id for rule in read_ruleset(from_mapping(upgraded)).rules] == ["no-env", "ask-first", "w"]


def test_upgrade_reports_every_change_where_it_stood() -> None:
    _, changes = upgrade_ruleset(OLD)
    expected = {
        "kind: ContractBundle -> Ruleset",
        "defaults.mode: shadow -> observe",
        "shadow_alongside: shadow_alongside -> observe_alongside",
        "contracts: contracts -> rules",
        "contracts[0].then.effect: deny -> block",
        "contracts[0].then.effect: effect -> action",
        "contracts[1].then.effect: approve -> ask",
        "contracts[1].then.effect: effect -> action",
        "contracts[1].then.timeout_effect: deny -> block",
        "contracts[1].then.timeout_effect: timeout_effect -> timeout_action",
        "contracts[2].then.effect: effect -> action",
        "contracts[3].outside: deny -> block",
        "contracts[3].timeout_effect: timeout_effect -> timeout_action",
    }
    assert sorted(expected) == sorted(map(str, changes))


def test_upgrade_leaves_the_callers_data_alone() -> None:
    before = copy.deepcopy(OLD)
    upgrade_ruleset(OLD)
    assert before == OLD


def test_upgrade_again_changes_nothing() -> None:
    assert upgrade_ruleset(NEW) == (NEW, [])


@pytest.mark.property
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rulesets(for_readers=True))
def test_upgrade_of_todays_document_is_the_identity(data: dict[str, Any]) -> None:
    assert (data, []) == upgrade_ruleset(data)


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"contracts": [], "rules": []}, "contracts"),
        ({"rules": [{"then": {"effect": "deny", "action": "block"}}]}, "rules[0].then.effect"),
        (
            {"rules": [{"then": {"timeout_effect": "deny", "timeout_action": "allow"}}]},
            "rules[0].then.timeout_effect",
        ),
        ({"shadow_alongside": True, "observe_alongside": True}, "shadow_alongside"),
    ],
)
def test_upgrade_one_thing_in_both_vocabularies_is_refused(data: dict[str, Any], path: str) -> None:
    with pytest.raises(EdictumConfigError, match="they mean the same") as caught:
        upgrade_ruleset(data)
    assert [path] == [problem.path for problem in caught.value.errors]


def test_upgrade_both_timeout_words_that_agree_are_one() -> None:
    then = {"action": "ask", "timeout_action": "block", "timeout_effect": "deny"}
    upgraded, changes = upgrade_ruleset({"rules": [{"then": then}]})
    assert upgraded == {"rules": [{"then": {"action": "ask", "timeout_action": "block"}}]}
    assert [change.path for change in changes] == ["rules[0].then.timeout_effect"] * 2


@pytest.mark.parametrize("data", [None, [], "text", 3])
def test_upgrade_something_else_than_a_mapping_is_a_config_error(data: Any) -> None:
    with pytest.raises(EdictumConfigError, match="must be a mapping"):
        upgrade_ruleset(data)


def test_upgrade_odd_shapes_are_left_to_the_reader() -> None:
    data: dict[str, Any] = {
        "rules": ["text", {"then": 3, "mode": ["shadow"]}, {"then": {"effect": ["deny"]}}],
        "defaults": None,
    }
    upgraded, _ = upgrade_ruleset(data)
    assert {**data, "rules": [*data["rules"][:2], {"then": {"action": ["deny"]}}]} == upgraded
