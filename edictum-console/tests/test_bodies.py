"""
Bodies that come all the time are read by a short way; what it says is what the long way says.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from edictum_console.domains.sessions.schemas import SessionOperations
from edictum_console.errors import ConsoleError
from edictum_console.http.bodies import read_json, reader, structure
from hypothesis import given
from hypothesis import strategies as st

SHORT = reader(SessionOperations)

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["get", "increment", "1", "", "\0", "a\0b", "\ud800", "ü", "\x01"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["op", "key", "new"]), inner, max_size=3)
    ),
    max_leaves=8,
)
FITTING = {
    "op": st.sampled_from(["get", "put", "delete", "increment", "compare_and_set"]),
    "key": st.sampled_from(["a", "s:run:attempts", "ü"]),
    "amount": st.integers(-5, 5) | st.sampled_from([0.5, 2.0**60, 1e300]),
    "max": st.none() | st.integers(0, 9),
    "expect": st.none() | st.sampled_from(["", "x"]),
    "value": st.none() | st.sampled_from(["", "1"]),
    "ttl_seconds": st.none() | st.sampled_from([1, 60, 30 * 86_400]),
}
OPERATION = st.fixed_dictionaries(
    {}, optional={name: one | ANYTHING for name, one in FITTING.items()}
) | st.fixed_dictionaries(
    {"op": FITTING["op"], "key": FITTING["key"]}, optional={name: FITTING[name] for name in list(FITTING)[2:]}
)
BODY = st.fixed_dictionaries(
    {"ops": st.lists(OPERATION, max_size=4)}, optional={"session_id": ANYTHING, "new": ANYTHING}
)


def found(read: Any, body: bytes) -> object:
    try:
        return read(body)
    except ConsoleError as error:
        return error.body()


def long(body: bytes) -> SessionOperations:
    return structure(read_json(body), SessionOperations)


@pytest.mark.property
@given(BODY | ANYTHING, st.booleans())
def test_short_way_says_what_the_long_way_says(body: Any, ascii_only: bool) -> None:
    written = json.dumps(body, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert found(long, written) == found(SHORT, written)


@pytest.mark.parametrize(
    "body",
    [
        b'{"ops":[{"op":"get","key":"a\\u0000"}]}',
        b'{"ops":[{"op":"get","key":"a"}],"new":' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"ops":[{"op":"get","key":"a"}],"new":{' + b",".join(b'"%d":0' % number for number in range(10_001)) + b"}}",
        b'{"ops":[{"op":"get","key":"a"}],"ops":[{"op":"put"}]}',
        b'{"ops":[{"op":"get","key":"a","ttl_seconds":5.0}]}',
        b'{"ops":[{"op":"get","key":"a","amount":1e999}]}',
        b'{"ops":[{"op":"get","key":"\xff"}]}',
        b'{"ops":[]}',
        b'{"ops":[' + b",".join([b'{"op":"get","key":"a"}'] * 101) + b"]}",
        b"",
    ],
)
def test_short_way_refuses_what_the_long_way_refuses(body: bytes) -> None:
    refusal = found(long, body)
    assert isinstance(refusal, dict)
    assert refusal == found(SHORT, body)


def test_short_way_reads_what_fits() -> None:
    body = b'{"ops":[{"op":"increment","key":"s:a:attempts","max":5,"new":1}],"session_id":"a"}'
    assert long(body) == SHORT(body)
    assert SHORT(body).ops[0].max == 5
