from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from edictum_console.domains.events.batches import read_batch, read_event
from edictum_console.domains.events.event import Event, Outcome, Rejection
from edictum_console.domains.events.fitting import LARGEST_EVENT
from edictum_console.domains.events.normalising import normalise
from edictum_console.domains.events.vocabulary import CLASSES, EventClass, canonical, class_of, older
from edictum_console.domains.events.wire import write, write_older
from edictum_console.errors import BadRequestError
from edictum_console.security.actor import KeyActor, KeyScope
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TIME = "2026-03-01T11:59:00.000001+00:00"
TENANT = UUID("018f4e5a-0000-7000-8000-000000000000")
ACTOR = KeyActor(TENANT, TENANT, "edk_production_abc", "production", frozenset({KeyScope.AGENT}), None, "bot")

FLAT = {
    "schema_version": "0.3.0",
    "call_id": "c-1",
    "agent_id": "docs-agent",
    "tool_name": "read_file",
    "tool_args": {"path": "a.txt"},
    "action": "call_allowed",
    "timestamp": TIME,
    "mode": "enforce",
}


def norm(raw: object, actor: KeyActor = ACTOR) -> Outcome:
    return normalise(raw, len(json.dumps(raw)), actor, NOW)


def event(raw: object) -> Event:
    outcome = norm(raw)
    assert isinstance(outcome, Event), outcome
    return outcome


def row(stored: Event) -> dict[str, Any]:
    return {**msgspec.structs.asdict(stored), "env": "production", "created_at": NOW}


leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)
names = st.sampled_from(
    [
        *FLAT,
        "verdict",
        "decision",
        "payload",
        "user",
        "callId",
        "toolArgs",
        "event_id",
        "run_id",
        "call_index",
        "duration_ms",
        "principal",
        "rules_evaluated",
        "contracts_evaluated",
        "workflow",
        "session_id",
        "reason",
        "policy_error",
        "id",
    ]
)
likely = st.fixed_dictionaries(
    {},
    optional={
        "action": st.sampled_from([*CLASSES, "deny", "would_deny", "odd_word", "No"]),
        "timestamp": st.datetimes(datetime(1999, 6, 1), datetime(2026, 3, 3)).map(datetime.isoformat),
        "agent_id": st.sampled_from(["bot", "a b", "gate:ana", ""]),
    },
)
anything = (
    values
    | st.dictionaries(names | st.text(), values, max_size=8)
    | st.builds(lambda base, more: {**more, **base}, likely, st.dictionaries(names | st.text(), values, max_size=8))
)


@pytest.mark.property
@given(anything)
def test_normalising_has_an_outcome_for_everything_and_again_the_same(raw: object) -> None:
    body = json.dumps({"events": [raw]}).encode()
    (item,) = read_batch(body).events
    outcome = norm(read_event(item))
    assert isinstance(outcome, Event | Rejection)
    if isinstance(outcome, Event):
        assert outcome == norm(read_event(item))
        written = write(row(outcome))
        again = norm(written)
        assert isinstance(again, Event)
        assert write(row(again)) == written
        assert again.id == outcome.id
        assert outcome.action == canonical(outcome.action)
        assert all(len(text) <= 255 for text in (outcome.call_id, outcome.tool_name, outcome.rule_name or ""))


@pytest.mark.property
@given(st.binary(max_size=60))
def test_reading_a_batch_ends_in_a_batch_or_one_error(body: bytes) -> None:
    for text in (body, b'{"events":[' + body + b"]}"):
        try:
            batch = read_batch(text)
        except BadRequestError:
            continue
        for raw in batch.events:
            try:
                value = read_event(raw)
            except ValueError:
                continue
            assert isinstance(norm(value), Event | Rejection)


@pytest.mark.parametrize(
    ("word", "stored", "kind"),
    [
        ("allow", "call_allowed", EventClass.ALLOWED),
        ("call_denied", "call_blocked", EventClass.BLOCKED),
        ("would_deny", "call_would_block", EventClass.OBSERVED),
        ("pending_approval", "call_asked", EventClass.ASKED),
        ("call_approval_denied", "call_approval_blocked", EventClass.APPROVAL),
        ("contracts_reloaded", "ruleset_reloaded", EventClass.LIFECYCLE),
        ("something_new", "something_new", EventClass.OTHER),
    ],
)
def test_action_has_one_word_and_one_class(word: str, stored: str, kind: EventClass) -> None:
    assert event({**FLAT, "action": word}).action == stored
    assert class_of(stored) is kind


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"action": None}, "invalid_action"),
        ({"action": "Not a word"}, "invalid_action"),
        ({"action": 3}, "invalid_action"),
        ({"timestamp": None}, "invalid_timestamp"),
        ({"timestamp": 1767225600}, "invalid_timestamp"),
        ({"timestamp": "yesterday, at about noon"}, "invalid_timestamp"),
        ({"timestamp": "1970-01-01T00:00:00Z"}, "invalid_timestamp"),
        ({"timestamp": "2026-03-03T12:00:00Z"}, "timestamp_in_future"),
        ({"agent_id": "a b"}, "invalid_agent_id"),
        ({"agent_id": 5}, "invalid_agent_id"),
    ],
)
def test_event_that_says_too_little_is_rejected(change: dict[str, Any], code: str) -> None:
    outcome = norm({**FLAT, **change})
    assert isinstance(outcome, Rejection)
    assert outcome.code == code


def test_event_of_an_agent_that_the_key_is_not_for_is_rejected() -> None:
    bound = KeyActor(TENANT, TENANT, "p", "production", frozenset({KeyScope.AGENT}), "docs-*", None)
    assert isinstance(norm(FLAT, bound), Event)
    assert norm({**FLAT, "agent_id": "other"}, bound) == Rejection("agent_mismatch", "the API key is for other agents")


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T11:59:00.000001Z",
        "2026-03-01T12:59:00.000001+01:00",
        "2026-03-01T11:59:00.000001",
        "2026-03-01t11:59:00.000001999z",
    ],
)
def test_time_is_read_in_all_spellings(text: str) -> None:
    assert event({**FLAT, "timestamp": text}).id == event(FLAT).id
    assert event(FLAT).day == 20260301


def test_events_of_one_call_are_told_apart_and_repeated_ones_are_known() -> None:
    executed, observed = {**FLAT, "action": "call_executed"}, {**FLAT, "decision_name": "rule"}
    later, other = {**FLAT, "timestamp": "2026-03-01T11:59:00.000002Z"}, {**FLAT, "agent_id": "other"}
    ids = [event(raw).id for raw in (FLAT, executed, observed, later, other)]
    assert len(set(ids)) == 5
    assert event({**FLAT, "reason": "told differently"}).id == ids[0]
    assert event(later).id > ids[0]
    named = {**FLAT, "event_id": "e-1"}
    assert event(named).id == event({**named, "call_id": "c-2"}).id != event({**named, "event_id": "e-2"}).id


def test_older_nested_event_is_made_flat() -> None:
    nested = {
        "call_id": "c-1",
        "agent_id": "docs-agent",
        "tool_name": "read_file",
        "verdict": "denied",
        "mode": "enforce",
        "timestamp": TIME,
        "payload": {"tool_args": {"path": "a"}, "decision_name": "no-a", "contracts_evaluated": [{"name": "no-a"}]},
    }
    stored = event(nested)
    assert (stored.action, stored.rule_name, stored.rules) == ("call_blocked", "no-a", ("no-a",))
    written = write_older(row(stored))
    assert (written["verdict"], written["payload"]["tool_args"]) == ("call_denied", {"path": "a"})
    assert older("call_allowed") == "call_allowed"


def test_line_of_a_gate_gets_an_agent_and_a_call() -> None:
    line = {"timestamp": TIME, "tool_name": "Bash", "decision": "block", "user": "ana b", "reason": "no"}
    stored = event(line)
    assert (stored.agent_id, stored.action, len(stored.call_id)) == ("gate:ana_b", "call_blocked", 64)
    assert event(line).id == stored.id != event({**line, "reason": "other"}).id
    assert event({**line, "user": None}).agent_id == "gate:edk_production_abc"


def test_camel_case_is_understood() -> None:
    camel = {"callId": "c-1", "agentId": "docs-agent", "toolName": "read_file", "toolArgs": {"path": "a.txt"}}
    stored = event({**camel, "action": "call_allowed", "timestamp": TIME, "decisionName": "rule"})
    assert (stored.call_id, stored.agent_id, stored.rule_name) == ("c-1", "docs-agent", "rule")
    assert json.loads(stored.payload)["tool_args"] == {"path": "a.txt"}


def test_agent_that_is_not_named_is_that_of_the_header() -> None:
    assert event({**FLAT, "agent_id": None}).agent_id == "bot"


def test_details_of_a_wrong_kind_are_left_out_and_named() -> None:
    stored = event(
        {**FLAT, "tool_name": 5, "duration_ms": "long", "principal": [], "call_index": 2.0, "new_field": [1]}
    )
    payload = json.loads(stored.payload)
    assert payload["invalid_fields"] == ["duration_ms", "principal", "tool_name"]
    assert (stored.tool_name, stored.duration_ms, payload["call_index"], payload["new_field"]) == ("", None, 2, [1])


def test_long_names_that_differ_stay_different() -> None:
    first, second = (event({**FLAT, "call_id": "c" * 300 + end}) for end in "ab")
    assert first.id != second.id
    assert len(first.call_id) == 255


def test_secrets_are_taken_out_and_noticed() -> None:
    secret = "sk-" + "a1B2c3D4" * 6
    for change in (
        {"tool_args": {"text": f"use {secret}"}},
        {"tool_args": {"deep": [{"password": secret}]}},
        {"reason": f"refused {secret}"},
        {"unknown": {"x": secret}},
        {"tool_args": {"a": {"b": [secret]}, "url": "https://x.example"}},
    ):
        stored = event({**FLAT, **change})
        assert stored.redacted
        assert secret not in stored.payload + str(stored.reason)
    assert not event({**FLAT, "tool_args": {"url": "https://x.example/no-prod", "max_tokens": 5}}).redacted


def test_text_that_no_database_stores_is_mended() -> None:
    stored = event({**FLAT, "tool_name": "a\0b", "reason": "x\0y", "tool_args": {"k": "a\0b"}})
    assert "\0" not in stored.tool_name + str(stored.reason) + stored.payload
    assert event({**FLAT, "rules_evaluated": [{"name": "a\0b"}]}).rules == ("a\ufffdb",)


def test_halves_of_characters_and_endless_numbers_do_not_spoil_a_batch() -> None:
    body = b'{"events":[{"a":"\\ud800"},{"a":1e999},{"b":2},{"c":NaN}]}'
    read = [read_event(raw) for raw in read_batch(body).events]
    assert read == [{"a": "?"}, {"a": "1e999"}, {"b": 2}, {"c": "NaN"}]


def test_event_that_is_too_large_is_cut_at_its_longest_texts() -> None:
    raw = {**FLAT, "tool_args": {"long": "word " * 80_000, "short": "kept", "middle": "x " * 3_000}, "reason": "why"}
    stored = event(raw)
    payload = json.loads(stored.payload)
    assert stored.truncated
    assert payload["truncated"] is True
    assert len(stored.payload) <= LARGEST_EVENT + 100
    assert payload["tool_args"]["short"] == "kept"
    assert payload["tool_args"]["middle"] == "x " * 3_000
    assert stored.reason == "why"
    numbers = event({**FLAT, "tool_args": {"n": list(range(80_000))}, "principal": {"user_id": "ana"}})
    assert len(numbers.payload) <= LARGEST_EVENT
    assert json.loads(numbers.payload)["principal"] == {"user_id": "ana"}
    assert event({**FLAT, **{f"name-{n}": n for n in range(30_000)}}).payload == '{"truncated":true}'


def test_nesting_ends_where_nobody_looks_any_more() -> None:
    deep: Any = "end"
    for _ in range(200):
        deep = {"d": deep}
    assert len(event({**FLAT, "tool_args": deep}).payload) < 1000
    bottomless = b'{"events":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}"
    with pytest.raises(BadRequestError):
        read_batch(bottomless)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"events":{}}', b'{"events":null}', b"nonsense", b"\xff"])
def test_body_that_is_no_batch_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequestError):
        read_batch(body)


def test_what_an_agent_says_about_a_batch_is_read_leniently() -> None:
    assert read_batch(b'{"events":[],"batch":{"id":"b-1","dropped_before":3}}').dropped_before == 3
    for odd in ("5", '{"id":5,"dropped_before":"many"}', '{"id":"","dropped_before":-1}'):
        batch = read_batch(f'{{"events":[],"batch":{odd}}}'.encode())
        assert (batch.id, batch.dropped_before) == (None, 0)


def test_time_of_an_event_may_be_a_day_ahead_of_the_console() -> None:
    ahead = (NOW + timedelta(hours=23)).isoformat()
    assert isinstance(norm({**FLAT, "timestamp": ahead}), Event)


def test_stored_payload_is_json() -> None:
    assert msgspec.json.decode(event(FLAT).payload) == {"schema_version": "0.3.0", "tool_args": {"path": "a.txt"}}
