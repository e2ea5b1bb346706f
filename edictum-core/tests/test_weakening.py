"""
Layers and children that make rules weaker: reported, and refused where the rule is locked.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from edictum import CompositionReport, Edictum, EdictumConfigError
from guards import post, pre, session_rule
from test_composition import files, layer

Data = dict[str, Any]


def box(**fields: Any) -> Data:
    return {"id": "box", "type": "sandbox", "tool": "*", "within": ["/w"], "message": "stay", **fields}


def both(tmp_path: Path, old: Data, new: Data, **top: Any) -> CompositionReport:
    paths = files(tmp_path, layer(old), layer(new, **top))
    return Edictum.from_yaml(*paths, return_report=True)[1]


CONDITION = {"args.path": {"contains_any": ["a", "b"]}}
ALLOWING = {"action": "ask", "timeout_action": "allow"}

WEAKER = {
    "observes": (pre("r"), pre("r", mode="observe"), "it only observes"),
    "disabled": (pre("r"), pre("r", enabled=False), "it is disabled"),
    "asks": (pre("r"), pre("r", action="ask"), "its action is ask instead of block"),
    "allows unanswered": (pre("r", action="ask"), pre("r", **ALLOWING), "it allows the call when nobody answers"),
    "tool": (pre("r", tool="mcp_*"), pre("r", tool="mcp_a*"), "it no longer concerns the tool 'mcp_*'"),
    "tools": (
        {**pre("r"), "tools": ["a", "b"]} | {"tool": None},
        {**pre("r"), "tools": ["a"]} | {"tool": None},
        "it no longer concerns the tool 'b'",
    ),
    "condition": (
        pre("r", when=CONDITION),
        pre("r", when={"args.path": {"contains": "a"}}),
        "its condition may fire for fewer calls",
    ),
    "conjunction": (
        pre("r", when=CONDITION),
        pre("r", when={"all": [CONDITION, {"environment": {"equals": "x"}}]}),
        "its condition may fire for fewer calls",
    ),
    "warns": (post("r", action="redact"), post("r"), "its action is warn instead of redact"),
    "limit": (
        session_rule("r", limits={"max_tool_calls": 5}),
        session_rule("r", limits={"max_tool_calls": 6}),
        "its limit max_tool_calls is 6 instead of 5",
    ),
    "limit gone": (
        session_rule("r", limits={"max_attempts": 5}),
        session_rule("r", limits={"max_tool_calls": 5}),
        "its limit max_attempts is gone",
    ),
    "limit of a tool": (
        session_rule("r", limits={"max_calls_per_tool": {"a": 1, "b": 1}}),
        session_rule("r", limits={"max_calls_per_tool": {"a": 2}}),
        "its limit max_calls_per_tool.a is 2 instead of 1",
    ),
    "type": (pre("box"), box(), "it is a rule of another type"),
    "root": (box(), box(within=["/w", "/x"]), "within also holds '/x'"),
    "writing": (box(read_within=["/x"]), box(write_within=["/x"]), "write_within also holds '/x'"),
    "no roots": (
        box(allows={"commands": ["ls"]}),
        {key: value for key, value in box(allows={"commands": ["ls"]}).items() if key != "within"},
        "it no longer limits paths",
    ),
    "closed root": (box(not_within=["/w/x"]), box(), "not_within no longer holds '/w/x'"),
    "command": (
        box(allows={"commands": ["ls"]}),
        box(allows={"commands": ["ls", "rm"]}),
        "commands also holds 'rm'",
    ),
    "any command": (box(allows={"commands": ["ls"]}), box(), "it no longer limits commands"),
    "bar": (box(require_match=True), box(), "require_match is off"),
    "door": (box(), box(allow_pipelines=True), "allow_pipelines is on"),
    "base": (box(base="/w"), box(base="/x"), "relative paths start at another folder"),
    "outside": (box(), box(outside="ask"), "its action is ask instead of block"),
}
WEAKER = {
    name: tuple({k: v for k, v in part.items() if v is not None} if isinstance(part, dict) else part for part in row)
    for name, row in WEAKER.items()
}  # type: ignore[assignment]

AS_STRICT = {
    "same": (pre("r", when=CONDITION), pre("r", when=CONDITION, message="other words", tags=["t"])),
    "enforces": (pre("r", mode="observe"), pre("r")),
    "blocks": (pre("r", action="ask"), pre("r")),
    "wider tool": (pre("r", tool="mcp_a*"), pre("r", tool="mcp_*")),
    "every tool": (pre("r", tool="[ab]*"), pre("r", tool="*")),
    "wider condition": (pre("r", when=CONDITION), pre("r", when={"any": [{"environment": {"in": ["x"]}}, CONDITION]})),
    "longer list": (pre("r", when=CONDITION), pre("r", when={"args.path": {"contains_any": ["b", "x", "a"]}})),
    "withholds": (post("r", action="redact"), post("r", action="block")),
    "lower limit": (session_rule("r"), session_rule("r", limits={"max_tool_calls": 1, "max_attempts": 9})),
    "smaller": (box(within=["/w", "/x"]), box(within=["/w"], not_within=["/w/x"], require_match=True)),
    "first list": (box(), box(allows={"commands": ["ls"]})),
    "reading only": (box(within=["/w"]), {**box(read_within=["/w"]), "within": ["/w"]}),
}


@pytest.mark.parametrize("name", WEAKER)
def test_rule_that_became_weaker_is_reported(tmp_path: Path, name: str) -> None:
    old, new, how = WEAKER[name]

    report = both(tmp_path, old, new)

    assert how in [item.how for item in report.weakened]
    assert {item.weakened_by for item in report.weakened} == {str(tmp_path / "1.json")}
    assert report.to_dict()["weakened"][0]["rule_id"] == old["id"]


@pytest.mark.parametrize("name", WEAKER)
@pytest.mark.security
def test_locked_rule_cannot_become_weaker(tmp_path: Path, name: str) -> None:
    old, new, how = WEAKER[name]

    with pytest.raises(EdictumConfigError) as caught:
        both(tmp_path, {**old, "locked": True}, new)

    assert "is locked" in str(caught.value)
    assert how in " ".join(problem.message for problem in caught.value.errors)
    assert caught.value.errors[0].file == "1.json"
    assert caught.value.errors[0].line is not None


@pytest.mark.parametrize("name", AS_STRICT)
def test_rule_that_stayed_as_strict_is_not_reported_and_may_be_locked(tmp_path: Path, name: str) -> None:
    old, new = AS_STRICT[name]

    assert both(tmp_path, {**old, "locked": True}, new).weakened == []


def test_lock_outlives_the_layer_that_replaced_the_rule(tmp_path: Path) -> None:
    layers = [layer({**pre("r"), "locked": True}), layer(pre("r")), layer(pre("r", action="ask"))]
    paths = files(tmp_path, *layers)

    with pytest.raises(EdictumConfigError, match=r"2\.json.*is locked"):
        Edictum.from_yaml(*paths)


def test_default_mode_of_a_later_layer_silences_no_locked_rule(tmp_path: Path) -> None:
    paths = files(tmp_path, layer({**pre("r"), "locked": True}), layer(pre("other"), mode="observe"))

    with pytest.raises(EdictumConfigError) as caught:
        Edictum.from_yaml(*paths)

    assert [problem.path for problem in caught.value.errors] == ["defaults.mode"]


def test_child_that_silences_its_parent_is_reported_or_refused(tmp_path: Path) -> None:
    child = layer(mode="observe", extends="base")
    (tmp_path / "child.json").write_text(json.dumps(child))
    base = layer(pre("r"))

    _, report = Edictum.from_yaml(tmp_path / "child.json", rulesets={"base": base}, return_report=True)

    assert [(item.rule_id, item.how) for item in report.weakened] == [("r", "it only observes")]
    with pytest.raises(EdictumConfigError, match=r"child\.json.*locked"):
        Edictum.from_yaml(tmp_path / "child.json", rulesets={"base": layer({**pre("r"), "locked": True})})


def test_layer_that_only_watches_weakens_nothing(tmp_path: Path) -> None:
    report = both(tmp_path, {**pre("r"), "locked": True}, pre("r", action="ask"), observe_alongside=True)

    assert report.weakened == []


def test_class_of_a_tool_that_frees_its_result_is_reported(tmp_path: Path) -> None:
    old = layer({**post("r", action="block"), "locked": True}, tools={"t": {"side_effect": "read"}})
    new = layer(pre("other", tool="x"), tools={"t": {"side_effect": "irreversible"}})

    with pytest.raises(EdictumConfigError, match="the tool 't' is irreversible"):
        Edictum.from_yaml(*files(tmp_path, old, new))


def test_disabled_rules_are_listed(tmp_path: Path) -> None:
    assert both(tmp_path, pre("r"), pre("r", enabled=False)).disabled_rules == [("r", str(tmp_path / "1.json"))]


def test_reload_with_a_weaker_layer_keeps_the_ruleset_in_force() -> None:
    guard = Edictum.from_bundle_dict(layer({**pre("r"), "locked": True}))

    with pytest.raises(EdictumConfigError, match="locked"):
        asyncio.run(guard.reload(layer({**pre("r"), "locked": True}), layer(pre("r", mode="observe"))))

    assert guard.evaluate("x", {}).decision == "block"
