from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import attrs
import msgspec
import pytest
from edictum_console.domains.events.batches import read_event
from edictum_console.domains.events.event import LARGEST_DURATION, LARGEST_NUMBER, Event, Outcome
from edictum_console.domains.events.normalising import normalise
from edictum_console.domains.events.plain import plain_events
from edictum_console.domains.events.shapes import KINDS, LENGTHS
from edictum_console.domains.events.vocabulary import CLASSES
from edictum_console.security.actor import KeyActor, KeyScope
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TENANT = UUID("018f4e5a-0000-7000-8000-000000000000")
ACTOR = KeyActor(TENANT, TENANT, "edk_production_abc", "production", frozenset({KeyScope.AGENT}), None, "bot")
SECRET = "sk-proj-abcdefghijklmnopqrstuvwxyz012345"

# As an agent writes it that leaves nothing out.
WRITTEN: dict[str, Any] = {
    **dict.fromkeys(KINDS),
    "schema_version": "0.4.0",
    "event_id": "e-1",
    "run_id": "run-1",
    "call_id": "c-1",
    "call_index": 3,
    "session_id": "session-1",
    "agent_id": "docs-agent",
    "tool_name": "read_file",
    "tool_args": {"path": "a.txt", "limits": [1, 2.5, {"deep": None}]},
    "principal": {"user_id": "ben", "claims": {}},
    "side_effect": "read",
    "environment": "production",
    "action": "call_executed",
    "decision_name": "no-secrets",
    "decision_source": "precondition",
    "reason": 'said "no"\n',
    "hooks_evaluated": [],
    "rules_evaluated": [{"name": "no-secrets", "passed": True}, {"id": "other"}, "odd"],
    "mode": "enforce",
    "policy_version": "a" * 64,
    "policy_error": False,
    "timestamp": "2026-03-01T11:59:00.000001+00:00",
    "duration_ms": 12,
    "workflow": {"name": "w", "active_stage": "one"},
    "tool_success": True,
    "session_attempt_count": 4,
    "metadata": {"note": "\u00e9\u4e16"},
}


def short(event: Any, actor: KeyActor = ACTOR) -> Event | None:
    raw = msgspec.Raw(event if isinstance(event, bytes) else json.dumps(event).encode())
    (found,) = plain_events([raw], actor, NOW)
    beside = plain_events([msgspec.Raw(b"{}"), raw, msgspec.Raw(b'{"odd":1}')], actor, NOW)
    assert beside == [None, found, None]
    return found


def long(event: Any, actor: KeyActor = ACTOR) -> Outcome:
    raw = event if isinstance(event, bytes) else json.dumps(event).encode()
    return normalise(read_event(msgspec.Raw(raw)), len(raw), actor, NOW)


def same(one: Event, other: Outcome) -> bool:
    """
    Whether two events are stored alike; the order of fields in an object says nothing.
    """
    if not isinstance(other, Event):
        return False
    texts = ("payload", "workflow")
    read = [{name: json.loads(getattr(event, name) or "null") for name in texts} for event in (one, other)]
    plain = [msgspec.structs.replace(event, payload="", workflow="") for event in (one, other)]
    return read[0] == read[1] and plain[0] == plain[1]


def test_event_as_agents_write_it_is_read_the_short_way_and_alike() -> None:
    few = {name: WRITTEN[name] for name in ("call_id", "agent_id", "tool_name", "tool_args", "action", "timestamp")}
    for event in (
        WRITTEN,
        few,
        {**few, "contracts_evaluated": [{"name": "no-secrets"}]},
        {**few, "contracts_evaluated": [{"name": "older"}], "rules_evaluated": [{"name": "newer"}]},
        {**few, "action": "deny", "reason": "see https://example.com/a"},
        {**few, "tool_args": {"url": "https://example.com/a?b=c"}},
        {**few, "call_index": 2, "duration_ms": 7, "timestamp": "2026-03-01 11:59:00z"},
        {**few, "session_id": "", "mode": "", "tool_name": "", "principal": {"id": "x" * 300}},
        {**few, "workflow": {}, "action": "odd_word", "duration_ms": LARGEST_DURATION, "seq": LARGEST_NUMBER},
        {**few, "agent_id": "gate:ana", "tool_name": "n" * 255},
    ):
        found = short(event)
        assert found is not None, event
        assert same(found, long(event)), event


@pytest.mark.parametrize(
    "change",
    [
        {"tool_args": {"text": SECRET}},
        {"tool_args": {"password": "x"}},
        {"metadata": {"list": [{"apiKey": "x"}]}},
        {"reason": f"has {SECRET}"},
        {"result_summary": SECRET},
        {"error": "postgresql://ana:geheim@db/x"},
        {"rules_evaluated": [SECRET]},
        {"tool_args": {"text": "a\0"}},
        {"tool_name": "a\0"},
        {"tool_args": {"text": "x" * 300_000}},
        {"tool_args": {"a": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}},
        {"tool_args": "no object"},
        {"policy_error": 1},
        {"duration_ms": 1.5},
        {"call_index": 2.0},
        {"duration_ms": -1},
        {"duration_ms": LARGEST_DURATION + 1},
        {"seq": LARGEST_NUMBER + 1},
        {"tool_name": "n" * 256},
        {"toolArgs": {}},
        {"verdict": "deny", "payload": {}},
        {"unknown": 1},
        {"id": "theirs"},
        {"call_id": ""},
        {"call_id": None},
        {"agent_id": None},
    ],
)
def test_event_that_needs_a_closer_look_has_no_short_way(change: dict[str, Any]) -> None:
    event = {**WRITTEN, **change}
    assert short(event) is None
    assert isinstance(long(event), Event)


@pytest.mark.parametrize(
    "change",
    [
        {"action": None},
        {"action": "No"},
        {"timestamp": "noon"},
        {"timestamp": None},
        {"timestamp": (NOW + timedelta(days=1, seconds=1)).isoformat()},
        {"timestamp": "1999-12-31T23:59:59Z"},
        {"agent_id": "a b"},
        {"agent_id": "other"},
    ],
)
def test_event_that_is_none_has_no_short_way(change: dict[str, Any]) -> None:
    actor = attrs.evolve(ACTOR, agent_pattern="docs-*")
    assert short({**WRITTEN, **change}, actor) is None
    assert not isinstance(long({**WRITTEN, **change}, actor), Event)


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from([SECRET, "https://example.com", "a\0b", "n" * 256, "2026-03-01T11:00:00", "docs-agent"])
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9) | st.just("api_key"), inner, max_size=3)
    ),
    max_leaves=8,
)
times = st.datetimes(datetime(1999, 6, 1), datetime(2026, 3, 3)).map(datetime.isoformat)
changes = st.dictionaries(st.sampled_from([*KINDS, "contracts_evaluated", "unknown"]), values, max_size=4)
more = st.fixed_dictionaries(
    {}, optional={"timestamp": times, "action": st.sampled_from([*CLASSES, "deny", "odd_word"])}
)


@pytest.mark.property
@given(changes, more, st.sets(st.sampled_from(list(LENGTHS))), st.booleans())
def test_both_ways_say_the_same_wherever_the_short_one_says_something(
    changed: dict[str, Any], said: dict[str, Any], missing: set[str], ascii_only: bool
) -> None:
    event = {name: value for name, value in WRITTEN.items() if name not in missing} | changed | said
    raw = json.dumps(event, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    found = short(raw)
    assert found is None or same(found, long(raw))
