"""
Which ruleset an agent is to run, and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import pytest
from consoles import Console, Session, WithConsole
from edictum_console.domains.assignment.resolution import Resolution, Rule, Source, Subject, resolve, steps
from edictum_console.domains.assignment.tags import from_query
from edictum_console.ids import new_id
from edictum_console.security.actor import Role
from hypothesis import given
from hypothesis import strategies as st
from test_rulesets import TEXT, upload
from test_tenants import second_tenant

RULES = "/api/v1/assignment-rules"

names = st.sampled_from(["a-rules", "b-rules"])
tags = st.dictionaries(st.sampled_from(["team", "zone"]), st.sampled_from(["red", "blue"]))
subjects = st.builds(
    Subject, st.sampled_from(["docs-1", "Docs-1", "ops"]), st.none() | names, st.none() | names, tags, tags
)
rules = st.builds(
    Rule,
    st.builds(new_id),
    st.just(0),
    st.sampled_from(["*", "docs-*", "ops", "o?s"]),
    tags,
    st.booleans(),
    names,
    st.booleans(),
)


def naive(subject: Subject, tried: Sequence[Rule], rules_first: bool) -> Resolution:
    """
    The same in other words: all that match, then the first.
    """
    both = dict(subject.reported_tags)
    both.update(subject.operator_tags)
    found = []
    for rule in tried:
        known = subject.operator_tags if rule.trusted_tags_only else both
        if rule.enabled and fnmatchcase(subject.agent_id, rule.pattern) and rule.tag_match.items() <= known.items():
            found.append(Resolution(rule.bundle_name, Source.RULE, rule.id))
    if subject.requested is not None:
        found.insert(len(found) if rules_first else 0, Resolution(subject.requested, Source.CLIENT))
    if subject.explicit is not None:
        found.insert(0, Resolution(subject.explicit, Source.EXPLICIT))
    return (found or [Resolution(None, Source.NONE)])[0]


@pytest.mark.property
@given(subjects, st.lists(rules, max_size=6), st.booleans())
def test_resolution_is_the_first_that_matches(subject: Subject, tried: list[Rule], rules_first: bool) -> None:
    resolution = resolve(subject, tried, rules_first)
    assert resolution == naive(subject, tried, rules_first)
    matching = [step for step in steps(subject, tried, rules_first) if step.obstacle is None]
    assert (matching[0].bundle_name if matching else None) == resolution.bundle_name


@pytest.mark.security
@given(subjects, st.lists(rules, max_size=6), tags)
def test_reported_tags_never_stand_for_those_of_operators(subject: Subject, tried: list[Rule], other: Any) -> None:
    trusting = [rule for rule in tried if rule.trusted_tags_only]
    said = Subject(subject.agent_id, subject.explicit, subject.requested, subject.operator_tags, other)
    assert resolve(said, trusting) == resolve(subject, trusting)
    shadowed = {**other, **subject.operator_tags}
    quiet = Subject(subject.agent_id, subject.explicit, subject.requested, subject.operator_tags, shadowed)
    assert resolve(said, tried) == resolve(quiet, tried)


@pytest.mark.parametrize(
    "text",
    ["[]", "{", '{"a": 1}', '{"a": "\\n"}', '{"": "x"}', '{"a": "' + "x" * 257 + '"}', "[" * 100_000, '"\ud800"'],
)
def test_tags_that_are_none_are_not_read(text: str) -> None:
    assert from_query(text) is None
    assert from_query('{"team": "red"}') == {"team": "red"}


async def rule(session: Session, pattern: str = "*", bundle_name: str = "docs-rules", **others: Any) -> Any:
    body = {"env": "production", "pattern": pattern, "bundle_name": bundle_name, **others}
    return await session.must("POST", RULES, body)


async def explained(session: Session, agent_id: str, query: str = "") -> Any:
    return await session.must("GET", f"{RULES}/resolve/{agent_id}?env=production{query}")


def test_rules_are_tried_in_their_order_and_explained(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        operator = await console.person(Role.OPERATOR)
        for name in ("docs-rules", "red-rules"):
            await upload(operator, TEXT.replace("docs-rules", name))
        red = await rule(operator, "docs-*", "red-rules", tag_match={"team": "red"})
        every = await rule(operator)
        other = await rule(operator, env="staging")
        assert [red["priority"], every["priority"], other["priority"]] == [1, 2, 1]
        found = await explained(operator, "docs-1")
        assert (found["bundle_name"], found["source"], found["rule_id"]) == ("docs-rules", "rule", every["id"])
        assert (found["known"], found["deployed"]) == (False, False)
        assert [(step["source"], step["wins"]) for step in found["steps"]] == [
            ("explicit", False),
            ("client", False),
            ("rule", False),
            ("rule", True),
        ]
        assert "team" in found["steps"][2]["obstacle"]
        tagged = "&tags=%7B%22team%22%3A%22red%22%7D"
        assert (await explained(operator, "docs-1", tagged))["rule_id"] == red["id"]
        assert (await explained(operator, "Docs-1", tagged))["rule_id"] == every["id"]
        await operator.must("PATCH", f"{RULES}/{red['id']}", {"trusted_tags_only": True})
        assert (await explained(operator, "docs-1", tagged))["rule_id"] == every["id"]
        await operator.must("PATCH", f"{RULES}/{red['id']}", {"tag_match": {}, "note": "all of them"})
        assert (await explained(operator, "docs-1"))["rule_id"] == red["id"]
        order = {"env": "production", "rule_ids": [every["id"], red["id"]]}
        ordered = await operator.must("POST", f"{RULES}/reorder", order)
        assert [(found["id"], found["priority"]) for found in ordered["assignment_rules"]] == [
            (every["id"], 1),
            (red["id"], 2),
        ]
        assert (await explained(operator, "docs-1"))["rule_id"] == every["id"]
        await operator.must("PATCH", f"{RULES}/{every['id']}", {"enabled": False})
        assert (await explained(operator, "docs-1"))["rule_id"] == red["id"]
        await operator.must("DELETE", f"{RULES}/{red['id']}")
        assert (await explained(operator, "docs-1"))["bundle_name"] is None
        listed = await operator.must("GET", f"{RULES}?env=production")
        assert [found["id"] for found in listed["assignment_rules"]] == [every["id"]]
        assert len((await operator.must("GET", RULES))["assignment_rules"]) == 2

    with_console(check)


def test_rules_that_make_no_sense_are_refused(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        await upload(ana)
        first, second = await rule(ana, "a"), await rule(ana, "b")
        body = {"env": "production", "pattern": "*", "bundle_name": "docs-rules"}
        for changed, status in (
            ({"bundle_name": "nothing"}, 422),
            ({"env": "nowhere"}, 404),
            ({"pattern": ""}, 422),
            ({"tag_match": {"a": "\n"}}, 422),
            ({"tag_match": {"a": 1}}, 422),
        ):
            assert (await ana.post(RULES, {**body, **changed})).status_code == status, changed
        for ids in ([first["id"]], [first["id"]] * 2, [first["id"], second["id"], str(new_id())]):
            refused = await ana.post(f"{RULES}/reorder", {"env": "production", "rule_ids": ids})
            assert (refused.status_code, refused.json()["code"]) == (409, "rules_differ")
        assert (await ana.get(f"{RULES}/resolve/bot")).status_code == 422
        assert (await ana.get(f"{RULES}/resolve/bot?env=production&tags=x")).status_code == 422

    with_console(check)


@pytest.mark.security
def test_rules_of_a_protected_environment_are_for_administrators(with_console: WithConsole) -> None:
    """
    Giving agents a laxer ruleset is as much as deploying one.
    """

    async def check(console: Console) -> None:
        ana, operator, viewer = (
            await console.sign_in(),
            await console.person(Role.OPERATOR),
            await console.person(Role.VIEWER),
        )
        await upload(ana)
        made = await rule(operator)
        agent = await console.agent()
        await agent.must("POST", "/v1/agents/self/status", {})
        (seen,) = (await ana.must("GET", "/api/v1/agents"))["agents"]
        await ana.must("PATCH", "/api/v1/environments/production", {"protected": True})
        body = {"env": "production", "pattern": "*", "bundle_name": "docs-rules"}
        registration = f"/api/v1/agent-registrations/{seen['id']}"
        assign = {"env": "production", "agent_ids": ["bot"], "bundle_name": "docs-rules"}
        for session, code in ((viewer, "role_missing"), (operator, "protected")):
            for method, path, sent in (
                ("POST", RULES, body),
                ("PATCH", f"{RULES}/{made['id']}", {"enabled": False}),
                ("DELETE", f"{RULES}/{made['id']}", None),
                ("POST", f"{RULES}/reorder", {"env": "production", "rule_ids": [made["id"]]}),
                ("PATCH", registration, {"bundle_name": "docs-rules"}),
                ("PATCH", registration, {"operator_tags": {}}),
                ("POST", "/api/v1/agent-registrations/bulk-assign", assign),
            ):
                refused = await session.send(method, path, sent)
                assert (refused.status_code, refused.json()["code"]) == (403, code), (method, path)
        await operator.must("PATCH", registration, {"display_name": "The bot"})
        await ana.must("PATCH", registration, {"bundle_name": "docs-rules"})
        await ana.must("POST", RULES, body)

    with_console(check)


@pytest.mark.security
def test_explanation_knows_nothing_of_other_tenants(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        other, ana = await second_tenant(console), await console.sign_in()
        await upload(other)
        await other.must("POST", RULES, {"env": "theirs", "pattern": "*", "bundle_name": "docs-rules"})
        found = await ana.must("GET", f"{RULES}/resolve/bot?env=theirs")
        assert (found["bundle_name"], len(found["steps"])) == (None, 2)

    with_console(check)
