"""
Several rulesets as one: layers of files, candidates, inheritance, and what is reported about them.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from edictum import CompositionReport, Edictum, EdictumConfigError, EdictumDenied
from edictum.yaml_engine import (
    BundleHash,
    CompositionOverride,
    ObserveContract,
    compile_contracts,
    compose_bundles,
    load_bundle,
    load_bundle_string,
    resolve_ruleset_extends,
)
from guards import Tool, actions, events_of, post, pre, run, session_rule

Data = dict[str, Any]


def layer(*rules: Data, mode: str = "enforce", **top: Any) -> Data:
    head = {"apiVersion": "edictum/v1", "kind": "Ruleset", "metadata": {"name": "layer"}, "defaults": {"mode": mode}}
    return {**head, "rules": list(rules) or [pre("idle", tool="no-such-tool")], **top}


def files(folder: Path, *layers: Data) -> list[Path]:
    paths = [folder / f"{number}.json" for number in range(len(layers))]
    for path, data in zip(paths, layers, strict=True):
        path.write_text(json.dumps(data))
    return paths


def ids(bundle: Data) -> list[str]:
    return [rule["id"] for rule in bundle["rules"]]


# --- layers --------------------------------------------------------------------------------------


def test_compose_later_layer_replaces_in_place_and_appends() -> None:
    first = layer(pre("a"), pre("b"), pre("c"))
    second = layer(pre("b", message="new"), pre("d"))
    composed = compose_bundles((first, "one"), (second, "two"))
    assert ids(composed.bundle) == ["a", "b", "c", "d"]
    assert composed.bundle["rules"][1]["then"]["message"] == "new"
    assert composed.report.overridden_rules == [CompositionOverride("b", "two", "one")]
    assert composed.report.added_rules == [("d", "two")]


def test_compose_third_layer_names_the_layer_it_replaces() -> None:
    layers = [(layer(pre("a")), "one"), (layer(pre("a")), "two"), (layer(pre("a")), "three")]
    overridden = compose_bundles(*layers).report.overridden_rules
    assert overridden == [CompositionOverride("a", "two", "one"), CompositionOverride("a", "three", "two")]


def test_compose_settings_are_replaced_by_their_own_rules() -> None:
    first = layer(
        metadata={"name": "one", "description": "d"},
        tools={"a": {"side_effect": "read"}, "b": {"side_effect": "read"}},
        observability={"stdout": True, "file": "x"}, limits={"max_attempts": 1},
    )  # fmt: skip
    second = layer(
        mode="observe", metadata={"name": "two"}, tools={"b": {"side_effect": "write"}, "c": {"side_effect": "pure"}},
        observability={"stdout": False}, limits={"max_attempts": 2}, apiVersion="ignored",
    )  # fmt: skip
    composed = compose_bundles((first, "one"), (second, "two"))
    bundle = composed.bundle
    assert bundle["metadata"] == {"name": "two", "description": "d"}
    assert {name: tool["side_effect"] for name, tool in bundle["tools"].items()} == {
        "a": "read",
        "b": "write",
        "c": "pure",
    }
    assert (bundle["observability"], bundle["limits"]) == ({"stdout": False}, {"max_attempts": 2})
    assert (bundle["defaults"], bundle["apiVersion"]) == ({"mode": "observe"}, "edictum/v1")
    assert composed.report.tool_overrides == [("b", "two")]
    assert composed.report.mode_changes == [("enforce", "observe", "two")]


def test_compose_watching_layer_adds_candidates_and_nothing_else() -> None:
    first = layer(pre("a"), observability={"stdout": True})
    second = layer(
        pre("a"), pre("b"), mode="observe", observe_alongside=True, observability={"file": "x"},
        tools={"t": {"side_effect": "read"}},
    )  # fmt: skip
    composed = compose_bundles((first, "one"), (second, "two"))
    assert ids(composed.bundle) == ["a", "a:candidate", "b:candidate"]
    assert all(rule["mode"] == "observe" and rule["_observe"] for rule in composed.bundle["rules"][1:])
    assert (composed.bundle["defaults"], composed.bundle["observability"]) == ({"mode": "enforce"}, {"stdout": True})
    assert "t" in composed.bundle["tools"]
    assert composed.report.observe_rules == [ObserveContract("a", "one", "two"), ObserveContract("b", "", "two")]


def test_compose_leaves_its_inputs_alone_and_copies_a_single_one() -> None:
    first, second = layer(pre("a")), layer(pre("a"), pre("b"))
    before = copy.deepcopy((first, second))
    compose_bundles((first, "one"), (second, "two")).bundle["rules"][0]["then"]["message"] = "changed"
    alone = compose_bundles((first, "one"))
    assert alone.bundle == first
    assert alone.bundle["rules"] is not first["rules"]
    assert alone.report == CompositionReport()
    assert before == (first, second)


def test_compose_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to compose"):
        compose_bundles()


def test_report_is_plain_data_on_request() -> None:
    report = compose_bundles((layer(pre("a")), "one"), (layer(pre("a")), "two")).report.to_dict()
    assert json.loads(json.dumps(report))["overridden_rules"] == [
        {"rule_id": "a", "overridden_by": "two", "original_source": "one"}
    ]


# --- guards from several files -------------------------------------------------------------------


def test_from_yaml_composes_files_and_reports(tmp_path: Path) -> None:
    paths = files(tmp_path, layer(pre("a", tool="read")), layer(pre("a", tool="write"), pre("b", tool="send")))
    guard, report = Edictum.from_yaml(*paths, return_report=True)
    assert [guard.evaluate(tool, {}).decision for tool in ("read", "write", "send")] == ["allow", "block", "block"]
    assert report.overridden_rules == [CompositionOverride("a", str(paths[1]), str(paths[0]))]
    digests = ":".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    assert guard.policy_version == hashlib.sha256(digests.encode()).hexdigest()
    assert guard.describe()["sources"] == [str(path) for path in paths]


def test_from_yaml_of_one_file_has_an_empty_report_and_its_own_hash(tmp_path: Path) -> None:
    (path,) = files(tmp_path, layer(pre("a"), observe_alongside=True))
    guard, report = Edictum.from_yaml(path, return_report=True)
    assert report == CompositionReport()
    assert guard.policy_version == hashlib.sha256(path.read_bytes()).hexdigest()
    assert guard.evaluate("any", {}).decision == "block"


def test_from_yaml_names_the_problems_of_all_files(tmp_path: Path) -> None:
    paths = files(tmp_path, layer(pre("A")), layer(), layer(pre("b", mode="loud")))
    with pytest.raises(EdictumConfigError) as refused:
        Edictum.from_yaml(*paths)
    assert {(problem.file, problem.path) for problem in refused.value.errors} == {
        ("0.json", "rules[0].id"), ("2.json", "rules[0].mode"),
    }  # fmt: skip
    with pytest.raises(FileNotFoundError):
        Edictum.from_yaml(paths[1], tmp_path / "missing.json")


def test_later_default_mode_applies_to_earlier_rules_without_one(tmp_path: Path) -> None:
    paths = files(tmp_path, layer(pre("a"), pre("b", mode="enforce", tool="x")), layer(mode="observe"))
    guard = Edictum.from_yaml(*paths)
    assert guard.mode == "observe"
    assert {rule["id"]: rule["mode"] for rule in guard.describe()["rules"]} == {
        "a": "observe", "b": "enforce", "idle": "observe",
    }  # fmt: skip


def test_candidates_are_logged_and_never_decide(tmp_path: Path) -> None:
    watching = layer(
        pre("a"), session_rule("few", limits={"max_tool_calls": 1}), post("c"), observe_alongside=True,
    )  # fmt: skip
    guard = Edictum.from_yaml(*files(tmp_path, layer(), watching))
    for _ in range(3):
        assert run(guard, Tool("hunter2")) == "hunter2"
    assert actions(guard)[:4] == ["call_allowed", "call_would_deny", "call_allowed", "call_executed"]
    assert {event.decision_name for event in events_of(guard)} >= {"a:candidate", "few:candidate"}
    assert guard.limits.max_tool_calls == 200


def test_reload_takes_layers_and_reload_from_disk_all_files(tmp_path: Path) -> None:
    paths = files(tmp_path, layer(pre("a", tool="read")), layer(pre("b", tool="write")))
    guard = Edictum.from_yaml(*paths)
    asyncio.run(guard.reload(layer(pre("x", tool="one")), json.dumps(layer(pre("y", tool="two")))))
    assert [guard.evaluate(tool, {}).decision for tool in ("read", "one", "two")] == ["allow", "block", "block"]
    paths[1].write_text(json.dumps(layer(pre("b", tool="send"))))
    asyncio.run(guard.reload_from_disk())
    assert [guard.evaluate(tool, {}).decision for tool in ("read", "write", "send")] == ["block", "allow", "block"]


def test_composed_rule_ids_with_a_colon_are_refused_in_files(tmp_path: Path) -> None:
    paths = files(tmp_path, layer(pre("a:candidate")), layer())
    with pytest.raises(EdictumConfigError, match="not a valid"):
        Edictum.from_yaml(*paths)


# --- inheritance ---------------------------------------------------------------------------------


def test_extends_puts_the_parents_rules_first() -> None:
    family = {
        "root": layer(pre("a"), tools={"t": {"side_effect": "read"}}),
        "parent": layer(pre("b"), extends="root", metadata={"name": "parent"}),
        "child": layer(pre("c"), extends="parent", mode="observe"),
    }
    before = copy.deepcopy(family)
    resolved = resolve_ruleset_extends(family, "child")
    assert ids(resolved) == ["a", "b", "c"]
    assert "extends" not in resolved
    assert (resolved["defaults"], resolved["tools"]) == ({"mode": "observe"}, {"t": {"side_effect": "read"}})
    resolved["rules"][0]["id"] = "changed"
    assert family == before
    assert [
        rule["mode"] for rule in Edictum.from_bundle_dict(resolve_ruleset_extends(family, "child")).describe()["rules"]
    ] == ["observe"] * 3


def test_extends_in_a_circle_or_to_nowhere_is_an_error() -> None:
    with pytest.raises(ValueError, match="in a circle: a -> b -> a"):
        resolve_ruleset_extends({"a": layer(extends="b"), "b": layer(extends="a")}, "a")
    with pytest.raises(KeyError, match="no ruleset 'b', which 'a' extends"):
        resolve_ruleset_extends({"a": layer(extends="b")}, "a")
    with pytest.raises(KeyError, match="no ruleset 'x'"):
        resolve_ruleset_extends({}, "x")


def test_extends_is_bounded() -> None:
    def chain(length: int) -> Data:
        return {str(number): layer(pre(f"r{number}"), extends=str(number + 1)) for number in range(length)} | {
            str(length): layer(pre(f"r{length}"))
        }

    assert len(resolve_ruleset_extends(chain(50), "0")["rules"]) == 51
    with pytest.raises(ValueError, match="more than 50"):
        resolve_ruleset_extends(chain(51), "0")


# --- extends in files ----------------------------------------------------------------------------


def test_file_extends_the_file_of_that_name_beside_it(tmp_path: Path) -> None:
    (tmp_path / "base.json").write_text(json.dumps(layer(pre("a", tool="read"), pre("b", tool="send"))))
    child = tmp_path / "child.json"
    child.write_text(json.dumps(layer(pre("c", tool="write"), extends="base", mode="enforce")))
    guard = Edictum.from_yaml(child)
    assert [rule["id"] for rule in guard.describe()["rules"]] == ["a", "b", "c"]
    hashes = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("base.json", "child.json")]
    assert guard.policy_version == hashlib.sha256(f"base:{hashes[0]}::{hashes[1]}".encode()).hexdigest()
    (tmp_path / "base.json").write_text(json.dumps(layer(pre("new", tool="read"))))
    asyncio.run(guard.reload_from_disk())
    assert [rule["id"] for rule in guard.describe()["rules"]] == ["new", "c"]


def test_child_may_have_no_rules_and_silence_its_parent(tmp_path: Path) -> None:
    child = {key: value for key, value in layer(extends="base", mode="observe").items() if key != "rules"}
    guard = Edictum.from_bundle_dict(child, rulesets={"base": layer(pre("a"))})
    assert guard.evaluate("any", {}).decision == "allow"
    assert [rule["mode"] for rule in guard.describe()["rules"]] == ["observe"]


def test_parents_are_found_by_name_as_data_text_or_file(tmp_path: Path) -> None:
    path = tmp_path / "somewhere.json"
    path.write_text(json.dumps(layer(pre("c"))))
    rulesets = {
        "one": layer(pre("a"), extends="two"),
        "two": json.dumps(layer(pre("b"), extends="three"), indent=1),
        "three": path,
    }
    guard = Edictum.from_yaml_string(json.dumps(layer(pre("d"), extends="one")), rulesets=rulesets)
    assert [rule["id"] for rule in guard.describe()["rules"]] == ["c", "b", "a", "d"]
    asyncio.run(guard.reload(layer(pre("x"), extends="three")))
    assert [rule["id"] for rule in guard.describe()["rules"]] == ["c", "x"]


def test_parent_that_is_not_known_is_an_error_and_never_an_empty_policy(tmp_path: Path) -> None:
    child = tmp_path / "child.json"
    child.write_text(json.dumps(layer(extends="base"), indent=1))
    with pytest.raises(EdictumConfigError, match=r"there is no ruleset 'base'.*base.yaml") as refused:
        Edictum.from_yaml(child)
    (problem,) = refused.value.errors
    assert (problem.file, problem.path, problem.line is not None) == ("child.json", "extends", True)
    with pytest.raises(EdictumConfigError, match="there is no ruleset 'base'"):
        Edictum.from_bundle_dict(layer(extends="base"))
    with pytest.raises(EdictumConfigError, match="is not the name of a ruleset"):
        Edictum.from_bundle_dict(layer(extends="../base"), rulesets={"../base": layer()})


def test_parents_in_a_circle_are_an_error() -> None:
    rulesets = {"a": layer(extends="b"), "b": layer(extends="a")}
    with pytest.raises(EdictumConfigError, match="'a' extends itself"):
        Edictum.from_bundle_dict(layer(extends="a"), rulesets=rulesets)


def test_inherited_rule_is_replaced_only_on_purpose() -> None:
    rulesets = {"base": layer(pre("a", message="old"), pre("z"))}
    child = layer({**pre("a", message="new"), "override": True}, pre("b"), extends="base")
    guard = Edictum.from_bundle_dict(child, rulesets=rulesets)
    assert [rule["id"] for rule in guard.describe()["rules"]] == ["a", "z", "b"]
    assert guard.evaluate("any", {}).block_reasons[0] == "new"
    with pytest.raises(EdictumConfigError, match=r"rules\[0\].id: the rule 'a' is inherited; add override: true"):
        Edictum.from_bundle_dict(layer(pre("a"), extends="base"), rulesets=rulesets)
    with pytest.raises(EdictumConfigError, match="no inherited rule 'x' to override"):
        Edictum.from_bundle_dict(layer({**pre("x"), "override": True}, extends="base"), rulesets=rulesets)


def test_override_that_is_wrong_is_named_with_its_line() -> None:
    child = json.dumps(layer({**pre("x"), "override": True}, pre("a"), extends="base"), indent=0)
    with pytest.raises(EdictumConfigError) as refused:
        Edictum.from_yaml_string(child, rulesets={"base": layer(pre("a"))})
    found = [(problem.path, child.splitlines()[(problem.line or 0) - 1]) for problem in refused.value.errors]
    assert found == [("rules[0].override", '"override": true'), ("rules[1].id", '"id": "a",')]


def test_problem_in_a_parent_is_named_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "base.json").write_text(json.dumps(layer(pre("A"))))
    child = tmp_path / "child.json"
    child.write_text(json.dumps(layer(extends="base")))
    with pytest.raises(EdictumConfigError) as refused:
        Edictum.from_yaml(child)
    assert [(problem.file, problem.path) for problem in refused.value.errors] == [("base.json", "rules[0].id")]


def test_layers_may_extend_others(tmp_path: Path) -> None:
    paths = files(tmp_path, layer(pre("a"), extends="base"), layer(pre("base-rule", message="replaced")))
    (tmp_path / "base.json").write_text(json.dumps(layer(pre("base-rule", message="old"))))
    guard, report = Edictum.from_yaml(*paths, return_report=True)
    assert [rule["id"] for rule in guard.describe()["rules"]] == ["base-rule", "a"]
    assert guard.evaluate("any", {}).block_reasons[0] == "replaced"
    assert [override.rule_id for override in report.overridden_rules] == ["base-rule"]


# --- loading without a guard ---------------------------------------------------------------------


def test_load_bundle_gives_the_document_and_its_hash(tmp_path: Path) -> None:
    (path,) = files(tmp_path, layer(pre("a")))
    data, identity = load_bundle(path)
    assert data == layer(pre("a"))
    assert str(identity) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_bundle_string(path.read_text()) == (data, BundleHash(identity.hex))
    with pytest.raises(EdictumConfigError):
        load_bundle_string("{}")


def test_load_bundle_leaves_unknown_operators_to_the_compiler() -> None:
    data, _ = load_bundle_string(json.dumps(layer(pre("a", when={"args.x": {"twice": 1}}))))
    with pytest.raises(EdictumConfigError, match="twice"):
        compile_contracts(data)
    compiled = compile_contracts(data, custom_operators={"twice": lambda value, operand: value == 2 * operand})
    assert [rule.id for rule in compiled.preconditions] == ["a"]


def test_compile_contracts_sorts_rules_and_merges_limits() -> None:
    box = {"id": "box", "type": "sandbox", "tool": "*", "within": ["/x"], "message": "m"}
    data = layer(pre("a"), post("b"), session_rule("c"), box, mode="observe", tools={"t": {"side_effect": "read"}})
    compiled = compile_contracts(data)
    assert [rules[0].id for rules in (
        compiled.preconditions, compiled.postconditions, compiled.session_contracts, compiled.sandbox_contracts
    )] == ["a", "b", "c", "box"]  # fmt: skip
    assert (compiled.default_mode, list(compiled.tools)) == ("observe", ["t"])
    enforced = compile_contracts(layer(session_rule("c", limits={"max_tool_calls": 7})))
    assert enforced.limits.max_tool_calls == 7


def test_composed_document_compiles_with_its_candidates() -> None:
    composed = compose_bundles((layer(pre("a")), "one"), (layer(pre("a"), observe_alongside=True), "two"))
    assert [rule.candidate for rule in compile_contracts(composed.bundle).preconditions] == [False, True]


def test_blocked_call_of_a_composed_guard_names_the_replacing_rule(tmp_path: Path) -> None:
    guard = Edictum.from_yaml(*files(tmp_path, layer(pre("a", message="old")), layer(pre("a", message="new"))))
    with pytest.raises(EdictumDenied, match="new"):
        run(guard)
