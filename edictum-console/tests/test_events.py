from __future__ import annotations

import asyncio
import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from consoles import Console, Session, WithConsole
from edictum_console.security.actor import Role
from test_tenants import second_tenant

PATH = "/v1/events"
NOW = datetime.now(UTC).replace(microsecond=0)


def happened(number: int = 0, **changes: Any) -> dict[str, Any]:
    """
    One event, a second before the one of the number before.
    """
    return {
        "schema_version": "0.3.0",
        "call_id": f"call-{number}",
        "agent_id": "bot",
        "tool_name": "read_file",
        "tool_args": {"path": f"{number}.txt"},
        "action": "call_allowed",
        "timestamp": (NOW - timedelta(seconds=number)).isoformat(),
        "run_id": "run-1",
        "session_id": "session-1",
        "mode": "enforce",
        "policy_version": "a" * 64,
        "rules_evaluated": [{"name": "no-secrets", "passed": True}],
        **changes,
    }


async def deliver(agent: Session, *events: Any, **others: Any) -> dict[str, Any]:
    done: dict[str, Any] = await agent.must("POST", PATH, {"events": list(events), **others})
    return done


async def listed(reader: Session, query: str = "") -> list[str]:
    page = await reader.must("GET", f"/api/v1/events{query}")
    return [event["call_id"] for event in page["events"]]


def test_one_bad_event_among_fifty_is_named_and_the_others_are_stored(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent, ana = await console.agent(), await console.sign_in()
        events: list[Any] = [happened(number) for number in range(50)]
        events[17]["timestamp"] = "noon"
        done = await deliver(agent, *events, batch={"id": "b-1"})
        assert (done["accepted"], done["duplicates"], done["batch_id"]) == (49, 0, "b-1")
        assert [(one["index"], one["code"]) for one in done["rejected"]] == [(17, "invalid_timestamp")]
        assert "noon" not in json.dumps(done)
        assert await listed(ana) == [f"call-{number}" for number in range(50) if number != 17]

    with_console(check)


def test_batch_that_comes_again_is_all_duplicates_also_in_parts_and_at_once(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent = await console.agent()
        events = [happened(number) for number in range(30)]
        assert (await deliver(agent, *events[:10]))["accepted"] == 10
        mixed = await deliver(agent, *events[5:15], events[14])
        assert (mixed["accepted"], mixed["duplicates"]) == (5, 6)
        done = await asyncio.gather(*(deliver(agent, *events) for _ in range(6)))
        assert sum(one["accepted"] for one in done) == 15
        assert sum(one["duplicates"] for one in done) == 6 * 30 - 15
        (row,) = await console.database.fetch("SELECT count(*) AS n FROM events")
        assert row["n"] == 30

    with_console(check)


def test_two_events_of_one_call_in_one_batch_are_both_stored(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent, ana = await console.agent(), await console.sign_in()
        executed = happened(action="call_executed", tool_success=True, duration_ms=12)
        assert (await deliver(agent, happened(), executed))["accepted"] == 2
        events = (await ana.must("GET", "/api/v1/events"))["events"]
        assert {(event["call_id"], event["class"]) for event in events} == {
            ("call-0", "allowed"),
            ("call-0", "executed"),
        }

    with_console(check)


def test_whole_buffer_after_an_outage_is_taken_at_once_and_packed(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent = await console.agent()
        events = [happened(number, event_id=f"e-{number}") for number in range(2500)]
        packed = gzip.compress(json.dumps({"events": events}).encode())
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        done = await agent.must("POST", PATH, content=packed, headers=headers)
        assert (done["accepted"], done["duplicates"], done["rejected"]) == (2500, 0, [])
        again = await agent.must("POST", PATH, content=packed, headers=headers)
        assert (again["accepted"], again["duplicates"]) == (0, 2500)
        broken = await agent.send("POST", PATH, content=packed[:-20], headers=headers)
        assert (broken.status_code, broken.json()["code"]) == (400, "invalid_gzip")
        odd = await agent.send("POST", PATH, content=packed, headers={**headers, "Content-Encoding": "br"})
        assert (odd.status_code, odd.json()["code"]) == (400, "unknown_encoding")

    with_console(check)


def test_more_than_one_request_may_hold_is_refused_unpacked_or_not(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent = await console.agent()
        many = await agent.post(PATH, {"events": [happened(number) for number in range(6)]})
        assert (many.status_code, many.json()["code"]) == (413, "too_large")
        assert (await deliver(agent, *(happened(number) for number in range(5))))["accepted"] == 5
        large = json.dumps({"events": [happened(tool_args={"text": "x" * 200_000})]}).encode()
        assert (await agent.send("POST", PATH, content=large)).status_code == 413
        packed = await agent.send("POST", PATH, content=gzip.compress(large), headers={"Content-Encoding": "gzip"})
        assert packed.status_code == 413

    with_console(check, events_per_batch=5, events_body=100_000)


def test_tenant_that_delivers_too_much_keeps_its_events_and_is_told_when_to_come_back(
    with_console: WithConsole,
) -> None:
    async def check(console: Console) -> None:
        agent, ana = await console.agent(), await console.sign_in()
        assert (await deliver(agent, *(happened(number) for number in range(8))))["accepted"] == 8
        refused = await agent.post(PATH, {"events": [happened(number) for number in range(8, 12)]})
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert int(refused.headers["retry-after"]) > 0
        assert len(await listed(ana)) == 8
        assert (await deliver(agent))["accepted"] == 0

    with_console(check, events_per_minute=10)


def test_body_that_is_no_batch_is_refused_and_names_nothing_of_it(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent = await console.agent()
        for body, code in ((b"{", "invalid_json"), (b'{"events":"secret"}', "invalid_batch"), (b"[]", "invalid_batch")):
            answer = await agent.send("POST", PATH, content=body)
            assert (answer.status_code, answer.json()["code"]) == (400, code)
            assert "secret" not in answer.text

    with_console(check)


def test_older_agent_delivers_and_reads_nested_events(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent, reader = await console.agent(), await console.agent(scopes=["events:read"])
        nested = {
            **{name: happened()[name] for name in ("call_id", "agent_id", "tool_name", "mode", "timestamp")},
            "verdict": "denied",
            "payload": {"tool_args": {"path": "a"}, "decision_name": "no-a", "reason": "not a"},
        }
        done = await agent.must("POST", "/api/v1/events", {"events": [nested, happened(1)]})
        assert (done["accepted"], done["duplicates"]) == (2, 0)
        assert (await deliver(agent, nested))["duplicates"] == 1
        (found,) = await reader.must("GET", "/api/v1/events?verdict=denied")
        assert (found["verdict"], found["call_id"], found["payload"]["reason"]) == ("call_denied", "call-0", "not a")
        assert [one["call_id"] for one in await reader.must("GET", "/api/v1/events?limit=1&offset=1")] == ["call-1"]
        page = await reader.must("GET", PATH)
        assert [event["action"] for event in page["events"]] == ["call_blocked", "call_allowed"]

    with_console(check)


def test_key_reads_events_of_its_environment_and_agents_only(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent, staging = await console.agent(), await console.agent("staging")
        await deliver(agent, happened(0), happened(1, agent_id="docs-1"))
        await deliver(staging, happened(2))
        assert (await agent.get(PATH)).json()["code"] == "scope_missing"
        reader = await console.agent(agent_id=None, scopes=["events:read"])
        page = await reader.must("GET", PATH)
        assert [event["call_id"] for event in page["events"]] == ["call-0", "call-1"]
        assert (await reader.get(f"{PATH}?env=staging")).json()["code"] == "env_mismatch"
        bound = await console.agent(agent_id=None, scopes=["events:read"], agent_pattern="docs-*")
        assert [event["call_id"] for event in (await bound.must("GET", PATH))["events"]] == ["call-1"]
        shown = f"/api/v1/events/{page['events'][0]['id']}"
        assert (await reader.must("GET", shown))["tool_args"] == {"path": "0.txt"}
        for other in (bound, await console.agent("staging", scopes=["events:read"])):
            assert (await other.get(shown)).status_code == 404
        assert (await bound.get("/api/v1/stats/overview")).json()["code"] == "agent_mismatch"
        assert (await reader.get("/api/v1/events/facets")).json()["code"] == "people_only"

    with_console(check)


def test_list_is_filtered_by_one_of_several_values_and_by_all_facets(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent, viewer = await console.agent(agent_id=None), await console.person(Role.VIEWER)
        await deliver(
            agent,
            happened(0, action="call_blocked", decision_name="no-secrets", reason="Holds 100% of_it"),
            happened(1, tool_name="send_mail", session_id="session-2", parent_session_id="session-1"),
            happened(2, agent_id="docs", mode="observe", principal={"user_id": "ben"}),
            happened(3, tool_name="search", policy_version=None, session_id=None),
        )
        for query, calls in {
            "": [0, 1, 2, 3],
            "?agent_id=docs": [2],
            "?tool_name=send_mail&tool_name=search": [1, 3],
            "?tool_name=search&agent_id=docs": [],
            "?action=denied": [0],
            "?rule=no-secrets": [0],
            "?session_id=session-2": [1],
            "?parent_session_id=session-1": [1],
            "?mode=observe": [2],
            "?principal=ben": [2],
            "?env=staging": [],
            f"?policy_version={'a' * 64}&tool_name=read_file": [0, 2],
            "?q=SEND": [1],
            "?q=100%25": [0],
            "?q=f_i": [0],
            "?q=s_a": [],
            f"?since={(NOW - timedelta(seconds=1)).isoformat()}".replace("+00:00", "Z"): [0, 1],
            f"?until={(NOW - timedelta(seconds=1)).isoformat()}".replace("+00:00", "Z"): [2, 3],
            f"?since={(NOW - timedelta(seconds=2)).replace(tzinfo=None).isoformat()}": [0, 1, 2],
        }.items():
            assert await listed(viewer, query) == [f"call-{number}" for number in calls], query
        for query in ("?since=noon", "?limit=0", "?cursor=5", f"?q={'x' * 256}", "?since="):
            assert (await viewer.get(f"/api/v1/events{query}")).status_code == 422, query

    with_console(check)


def test_pages_follow_each_other_while_newer_events_come(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent, ana = await console.agent(), await console.sign_in()
        await deliver(agent, *(happened(number) for number in range(10)))
        seen, cursor = [], ""
        while True:
            page = await ana.must("GET", f"/api/v1/events?limit=4{cursor}")
            seen += [event["call_id"] for event in page["events"]]
            await deliver(agent, happened(-len(seen)))
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert seen == [f"call-{number}" for number in range(10)]

    with_console(check)


def test_event_reads_as_it_was_written_and_with_what_the_console_knows(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent, ana = await console.agent(), await console.sign_in()
        written = happened(principal={"user_id": "ana", "claims": {"a": [1, None]}}, new_field={"x": "ü\u2028"})
        await deliver(agent, written)
        (read,) = (await ana.must("GET", "/api/v1/events"))["events"]
        assert {name: read[name] for name in written} == {**written, "timestamp": read["timestamp"]}
        assert datetime.fromisoformat(read["timestamp"]) == NOW
        assert (read["env"], read["class"], read["reason"], read["duration_ms"]) == (
            "production",
            "allowed",
            None,
            None,
        )
        assert abs(datetime.fromisoformat(read["received_at"]) - datetime.now(UTC)) < timedelta(minutes=5)

    with_console(check)


@pytest.mark.parametrize("narrow", ["", "&q=o", "&session_id=session-1"])
def test_facets_and_histogram_count_the_same_from_counts_and_from_events(
    with_console: WithConsole, narrow: str
) -> None:
    async def check(console: Console) -> None:
        agent, viewer = await console.agent(agent_id=None), await console.person(Role.VIEWER)
        hour = NOW.replace(minute=30, second=0) - timedelta(hours=3)
        events = []
        for number in range(12):
            moment = hour + timedelta(minutes=5 * number)
            action = ("call_allowed", "call_blocked", "odd_word")[number % 3]
            rule = "no-secrets" if action == "call_blocked" else None
            more = {"action": action, "decision_name": rule, "agent_id": ("bot", "docs-o")[number % 2]}
            events.append(happened(number, timestamp=moment.isoformat(), **more))
        await deliver(agent, *events)
        window = f"?since={hour.isoformat()}&until={(hour + timedelta(hours=1)).isoformat()}".replace("+00:00", "Z")
        facets = (await viewer.must("GET", f"/api/v1/events/facets{window}{narrow}"))["facets"]
        counts = {name: {one["value"]: one["count"] for one in found} for name, found in facets.items()}
        assert counts == {
            "agent_id": {"bot": 6, "docs-o": 6},
            "tool_name": {"read_file": 12},
            "action": {"call_allowed": 4, "call_blocked": 4, "odd_word": 4},
            "mode": {"enforce": 12},
            "rule": {"no-secrets": 4},
            "env": {"production": 12},
        }
        chosen = (await viewer.must("GET", f"/api/v1/events/facets{window}{narrow}&agent_id=bot"))["facets"]
        assert {one["value"]: one["count"] for one in chosen["agent_id"]} == {"bot": 6, "docs-o": 6}
        assert [one["count"] for one in chosen["action"]] == [2, 2, 2]
        shown = await viewer.must("GET", f"/api/v1/events/histogram{window}{narrow}&bucket_seconds=1800")
        assert [bucket["counts"] for bucket in shown["buckets"]] == [{"allowed": 2, "blocked": 2, "other": 2}] * 2
        starts = [datetime.fromisoformat(bucket["start"]) for bucket in shown["buckets"]]
        assert starts == [hour, hour + timedelta(minutes=30)]

    with_console(check)


def test_histogram_refuses_buckets_that_are_too_many_or_no_minutes(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        path = "/api/v1/events/histogram?since=2026-01-01T00:00:00Z&until=2026-02-01T00:00:00Z&bucket_seconds="
        assert (await ana.must("GET", f"{path}3600"))["buckets"] == []
        for seconds in (60, 59, 3601, 86_460):
            assert (await ana.get(f"{path}{seconds}")).status_code == 422, seconds
        backwards = "/api/v1/events/histogram?since=2026-02-01T00:00:00Z&until=2026-01-01T00:00:00Z"
        assert (await ana.get(backwards)).status_code == 422

    with_console(check)


def test_gap_that_an_agent_reports_is_in_the_log_once(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent, ana = await console.agent(), await console.sign_in()
        for _ in range(2):
            await deliver(agent, happened(1), happened(0), batch={"id": "b-1", "dropped_before": 7})
        (gap,) = (await ana.must("GET", "/api/v1/events?action=events_dropped"))["events"]
        assert (gap["dropped_before"], gap["class"], gap["agent_id"]) == (7, "lifecycle", "bot")
        assert (await ana.must("GET", "/api/v1/stats/overview"))["events_dropped"] == 7

    with_console(check)


def test_figures_of_the_home_page_and_of_rules_are_those_of_the_events(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent, viewer = await console.agent(agent_id=None), await console.person(Role.VIEWER)
        empty = await viewer.must("GET", "/api/v1/stats/overview")
        assert (empty["decisions"], empty["block_rate"], empty["duration_ms"]["of"]) == (0, None, 0)
        blocked = {"action": "call_blocked", "decision_name": "no-secrets"}
        await deliver(
            agent,
            *(happened(number) for number in range(6)),
            *(happened(number, action="call_executed", duration_ms=10 * number) for number in range(6)),
            happened(6, **blocked),
            happened(7, **blocked, agent_id="docs"),
            happened(8, action="postcondition_warning", decision_name="pii", rules_evaluated=[{"name": "pii"}]),
        )
        await deliver(agent, happened(6, **blocked))
        await agent.must("POST", "/v1/approvals", {"tool_name": "t", "message": "m"})
        figures = await viewer.must("GET", "/api/v1/stats/overview?env=production")
        assert figures["counts"] == {"allowed": 6, "blocked": 2, "executed": 6, "finding": 1}
        assert (figures["decisions"], figures["block_rate"]) == (8, 0.25)
        assert (figures["pending_approvals"], figures["active_agents"]) == (1, 2)
        assert figures["duration_ms"] == {"p50": 20.0, "p95": 50.0, "of": 6}
        assert (await viewer.must("GET", "/api/v1/stats/overview?env=staging"))["counts"] == {}
        rules = (await viewer.must("GET", "/api/v1/stats/contracts"))["rules"]
        names = ("rule", "evaluated", "blocked", "asked", "observed", "warned")
        assert [tuple(one[name] for name in names) for one in rules] == [
            ("no-secrets", 14, 2, 0, 0, 0),
            ("pii", 1, 0, 0, 0, 1),
        ]

    with_console(check)


def test_name_of_a_rule_that_no_database_stores_does_not_stop_the_counts(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent, ana = await console.agent(), await console.sign_in()
        done = await deliver(agent, happened(rules_evaluated=[{"name": "a\0b", "passed": True}]), happened(1))
        assert done["accepted"] == 2
        assert (await ana.must("GET", "/api/v1/events/histogram"))["buckets"]

    with_console(check)


def test_last_workflow_state_of_a_session_is_kept_whatever_the_order(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent, ana = await console.agent(), await console.sign_in()
        first, last = ({"name": "review", "active_stage": stage} for stage in ("read", "write"))
        await deliver(agent, happened(0, workflow=last), happened(2, workflow=first))
        await deliver(agent, happened(1, workflow=first))
        path = "/v1/agents/bot/workflow-state?session_id=session-1"
        assert (await agent.must("GET", path))["workflow"] == last
        assert (await ana.must("GET", f"/api{path}"))["workflow"] == last
        assert (await agent.must("GET", "/v1/agents/bot/workflow-state"))["session_id"] == "session-1"
        for missing in ("/v1/agents/bot/workflow-state?session_id=other", "/v1/agents/other/workflow-state"):
            assert (await agent.get(missing)).json()["code"] == "workflow_state_not_found"
        staging = await console.agent("staging")
        assert (await staging.get(path)).status_code == 404

    with_console(check)


def test_secret_that_an_agent_left_in_is_nowhere(with_console: WithConsole) -> None:
    secret = "sk-" + "a1B2c3D4" * 6

    async def check(console: Console) -> None:
        agent, ana = await console.agent(), await console.sign_in()
        await deliver(agent, happened(tool_args={"text": f"with {secret}"}, reason=f"saw {secret}"))
        (event,) = (await ana.must("GET", "/api/v1/events"))["events"]
        assert event["tool_args"]["text"].startswith("with ")
        rows = await console.database.fetch("SELECT * FROM events")
        assert secret not in str(rows)
        assert secret not in str(event)

    with_console(check)


def test_events_of_another_tenant_are_neither_seen_nor_in_the_way(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        other = await second_tenant(console)
        ana, agent = await console.sign_in(), await console.agent()
        made = await other.must("POST", "/api/v1/keys", {"env": "theirs"})
        theirs = Session(console.client, {"Authorization": f"Bearer {made['key']}"})
        assert (await deliver(agent, happened(workflow={"name": "w"})))["accepted"] == 1
        assert (await deliver(theirs, happened(workflow={"name": "w"})))["accepted"] == 1
        for person in (ana, other):
            assert len(await listed(person)) == 1
            assert (await person.must("GET", "/api/v1/stats/overview"))["decisions"] == 1

    with_console(check)
