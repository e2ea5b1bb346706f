"""
The line of the decision log: its fields, its JSON form and the names of its actions.
"""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from edictum.audit import AuditAction, AuditEvent, AuditSink, canonical_action, to_json_line
from edictum.snapshot import Notes, freeze_args
from hypothesis import given
from hypothesis import strategies as st

PUBLISHED_FIELDS = [
    "schema_version",
    "timestamp",
    "run_id",
    "call_id",
    "call_index",
    "parent_call_id",
    "session_id",
    "parent_session_id",
    "tool_name",
    "tool_args",
    "side_effect",
    "environment",
    "principal",
    "action",
    "decision_source",
    "decision_name",
    "reason",
    "hooks_evaluated",
    "contracts_evaluated",
    "workflow",
    "tool_success",
    "postconditions_passed",
    "duration_ms",
    "error",
    "result_summary",
    "session_attempt_count",
    "session_execution_count",
    "mode",
    "policy_version",
    "policy_error",
    "metadata",
    "observed_action",
    "warnings",
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
all_characters = st.text(st.characters(exclude_categories=()), max_size=40)


def test_event_fields_keep_the_published_order() -> None:
    """
    The guard passes them by position, and readers in other languages know them by name.
    """
    assert [field.name for field in dataclasses.fields(AuditEvent)] == PUBLISHED_FIELDS


def test_to_dict_every_field_lands_under_its_own_name() -> None:
    values: dict[str, Any] = {name: f"value of {name}" for name in PUBLISHED_FIELDS}
    values["timestamp"] = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    values["action"] = AuditAction.CALL_FAILED

    found = AuditEvent(**values).to_dict()

    expected = {**values, "timestamp": "2026-01-02T03:04:05.000000+00:00", "action": "call_failed"}
    assert list(expected.items()) == list(found.items())
    assert type(found["action"]) is str


def test_event_defaults_describe_nothing_yet() -> None:
    found = AuditEvent().to_dict()
    found.pop("timestamp")

    empty: dict[str, Any] = dict.fromkeys(PUBLISHED_FIELDS)
    empty.pop("timestamp")
    empty.update(schema_version="0.4.0", action="call_denied", mode="enforce", policy_error=False)
    empty.update(run_id="", call_id="", tool_name="", side_effect="", environment="", tool_args={})
    empty.update(hooks_evaluated=[], contracts_evaluated=[])
    empty.update(call_index=0, duration_ms=0, session_attempt_count=0, session_execution_count=0)
    assert empty == found


def test_event_defaults_are_not_shared_between_events() -> None:
    first = AuditEvent()
    first.hooks_evaluated.append("hook")
    first.contracts_evaluated.append("rule")
    first.tool_args["path"] = "x"

    second = AuditEvent()

    assert (second.hooks_evaluated, second.contracts_evaluated, second.tool_args) == ([], [], {})


def test_event_timestamp_default_is_now_in_utc() -> None:
    before = datetime.now(UTC)
    stamp = AuditEvent().timestamp
    after = datetime.now(UTC)

    assert before <= stamp <= after
    assert timedelta(0) == stamp.utcoffset()


@pytest.mark.parametrize(
    ("stamp", "text"),
    [
        (datetime(2026, 5, 6, 7, 8, 9, 10, tzinfo=UTC), "2026-05-06T07:08:09.000010+00:00"),
        (datetime(2026, 5, 6, tzinfo=timezone(timedelta(hours=2))), "2026-05-06T00:00:00.000000+02:00"),
        (datetime(2026, 5, 6), "2026-05-06T00:00:00.000000+00:00"),
    ],
)
def test_to_dict_timestamp_has_an_offset(stamp: datetime, text: str) -> None:
    assert text == AuditEvent(timestamp=stamp).to_dict()["timestamp"]


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_to_json_plain_values_read_back_unchanged(args: dict[str, Any]) -> None:
    event = AuditEvent(tool_args=args)

    assert event.to_dict() == json.loads(event.to_json())


@given(all_characters, all_characters)
def test_to_json_any_text_stays_one_harmless_line(key: str, value: str) -> None:
    """
    Also with lone surrogates, which UTF-8 cannot express, and with controls that JSON leaves raw.
    """
    text = AuditEvent(tool_args={key: value}, reason=value).to_json()

    assert [text] == text.splitlines()
    assert text == text.encode().decode()
    assert not set("\x7f\x80\x9b\u061c\u200b\u202e\ufeff") & set(text)
    value_in_utf16 = value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    assert value_in_utf16 == json.loads(text)["reason"]


@given(st.data())
def test_to_json_any_values_in_fields_equal_the_line_of_the_dict(data: st.DataObject) -> None:
    texts, numbers = st.text() | st.none(), st.integers() | st.booleans() | st.floats()
    values = st.recursive(
        texts | numbers, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5
    )
    args = freeze_args(data.draw(st.dictionaries(st.text(), values)), Notes())
    for _ in range(2):  # what is read-only is remembered
        event = AuditEvent(
            tool_args=args,
            reason=data.draw(texts),
            metadata=data.draw(st.none() | st.dictionaries(st.text(), values)),
            session_attempt_count=data.draw(numbers),
        )
        assert event.to_json() == to_json_line(event.to_dict())


def test_to_json_letters_of_other_scripts_stay_readable() -> None:
    assert '"reason":"Grüße, 世界 🙂"' in AuditEvent(reason="Grüße, 世界 🙂").to_json()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({1}, "{1}"),
        (b"raw", "b'raw'"),
        (datetime(2026, 1, 1), "2026-01-01 00:00:00"),
        (float("nan"), "nan"),
        ([float("-inf"), 1.5], ["-inf", 1.5]),
        ((1, "two"), [1, "two"]),
        ({("a", 1): None}, {"('a', 1)": None}),
        (AuditAction.CALL_FAILED, "call_failed"),
    ],
)
def test_to_json_line_what_json_lacks_becomes_text(value: Any, expected: Any) -> None:
    assert {"value": expected} == json.loads(to_json_line({"value": value}))


def test_to_json_line_integer_too_long_for_decimal_becomes_hexadecimal() -> None:
    number = 1 << 20_000

    assert {"value": hex(number)} == json.loads(to_json_line({"value": number}))


def test_to_json_line_a_cycle_ends_with_a_note() -> None:
    cycle: dict[str, Any] = {}
    cycle["again"] = cycle

    assert '"[nested too deep]"' in to_json_line(cycle)


def test_to_json_line_nesting_beyond_the_recursion_limit_ends_with_a_note() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]

    assert '"[nested too deep]"' in to_json_line({"nested": nested})


def test_to_json_line_a_value_that_cannot_be_shown_raises() -> None:
    """
    An event that cannot be written is an error for the caller, never a silently thinner event.
    """

    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    with pytest.raises(RuntimeError, match="no text"):
        to_json_line({"value": Broken()})


@pytest.mark.parametrize(
    ("wire", "canonical"),
    [
        ("call_denied", "call_blocked"),
        ("call_would_deny", "call_would_block"),
        ("call_allowed", "call_allowed"),
        ("call_executed", "call_executed"),
        ("call_failed", "call_failed"),
        ("call_approval_requested", "call_asked"),
        ("call_approval_granted", "call_approval_granted"),
        ("call_approval_denied", "call_approval_blocked"),
        ("call_approval_timeout", "call_approval_timeout"),
        ("workflow_stage_advanced", "workflow_stage_advanced"),
        ("workflow_completed", "workflow_completed"),
        ("workflow_state_updated", "workflow_state_updated"),
        ("postcondition_warning", "postcondition_warning"),
    ],
)
def test_action_both_vocabularies_name_the_same_action(wire: str, canonical: str) -> None:
    assert canonical == canonical_action(wire)
    assert canonical == canonical_action(canonical)
    assert canonical == canonical_action(AuditAction(wire))
    assert AuditAction(wire) is AuditAction(canonical)
    assert wire == AuditAction(canonical).value


def test_action_list_is_complete() -> None:
    assert len(AuditAction) == 13
    assert {action.value.upper() for action in AuditAction} == set(AuditAction.__members__)


@pytest.mark.parametrize("value", ["", "call_blocked ", "CALL_DENIED", "tool_called"])
def test_canonical_action_unknown_name_raises(value: str) -> None:
    with pytest.raises(ValueError, match="AuditAction"):
        canonical_action(value)


def test_audit_sink_is_recognised_by_its_method() -> None:
    class Sink:
        async def emit(self, event: AuditEvent) -> None: ...

    assert isinstance(Sink(), AuditSink)
    assert not isinstance(object(), AuditSink)
