"""
One suite for everything that keeps shared state.
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import Context
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
import pytest
from edictum_console.db.database import Database
from edictum_console.db.migrations import migrate
from edictum_console.db.postgres import PostgresDatabase
from edictum_console.db.scope import Scopes
from edictum_console.db.sqlite import SqliteDatabase
from edictum_console.db.tables import Tenants, Users
from edictum_console.errors import ConflictError, InvalidError, UnavailableError
from edictum_console.ids import new_id
from edictum_console.state.database import DatabaseLogins, DatabaseSessionValues
from edictum_console.state.memory import LocalMemory, MemoryBus, MemoryPresence, MemoryRateLimits
from edictum_console.state.operations import (
    Applied,
    CompareAndSet,
    Delete,
    Get,
    Increment,
    Operation,
    Outcome,
    Put,
    compute,
)
from edictum_console.state.ports import (
    Bus,
    Limit,
    Logins,
    Memory,
    Once,
    Place,
    Presence,
    Present,
    RateLimits,
    SessionValues,
    Signal,
)
from edictum_console.state.redis import (
    RedisBus,
    RedisLogins,
    RedisMemory,
    RedisPresence,
    check_redis,
    client_of,
)
from edictum_console.state.redis_limits import RedisRateLimits
from edictum_console.state.redis_values import RedisSessionValues
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.exceptions import ResponseError
from servers import Postgres

HOUR = timedelta(hours=1)
PRESENT = timedelta(seconds=2)  # for how long a stream counts


@attrs.frozen
class Stores:
    values: SessionValues
    logins: Logins
    limits: RateLimits
    bus: Bus
    presence: Presence
    memory: Memory
    place: Place
    user_id: UUID


WithStores = Callable[[Callable[[Stores], Awaitable[Any]]], Any]


async def no_wake(tenant: UUID) -> None:
    pass


@asynccontextmanager
async def opened(database: Database) -> AsyncIterator[tuple[Database, Place]]:
    """
    A database with its schema and a tenant.
    """
    await database.open()
    try:
        await migrate(database)
        tenant, _ = await with_person(database)
        yield database, Place(tenant, "production")
    finally:
        await database.close()


async def with_person(database: Database) -> tuple[UUID, UUID]:
    tenant, user = new_id(), new_id()
    await database.table(Tenants).insert(database.table(Tenants)(id=tenant, name="x"))
    users = database.table(Users)
    email = f"{user}@example.com"
    await users.insert(users(id=user, tenant_id=tenant, email=email, password_hash="-", role="viewer"))
    return tenant, user


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def with_stores(request: pytest.FixtureRequest, tmp_path: Path) -> WithStores:
    kind = request.param
    redis_url = request.getfixturevalue("redis_server").url if kind == "redis" else ""
    url = request.getfixturevalue("postgres").new_database() if kind == "postgres" else ""

    async def in_redis(function: Callable[[Stores], Awaitable[Any]]) -> Any:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(client_of(redis_url))
            bus = RedisBus(client)
            await stack.enter_async_context(bus.running())
            place = Place(new_id(), "production")
            logins = RedisLogins(client, HOUR * 24)
            values, presence = RedisSessionValues(client), RedisPresence(client, PRESENT)
            return await function(
                Stores(values, logins, RedisRateLimits(client), bus, presence, RedisMemory(client), place, new_id())
            )

    async def in_database(function: Callable[[Stores], Awaitable[Any]]) -> Any:
        database = PostgresDatabase(url) if url else SqliteDatabase(tmp_path / "console.db")

        async def wake(tenant: UUID) -> None:
            pass

        await database.open()
        try:
            await migrate(database)
            tenant, user = await with_person(database)
            values, logins = DatabaseSessionValues(Scopes(database, wake)), DatabaseLogins(database)
            place = Place(tenant, "production")
            presence = MemoryPresence(PRESENT)
            return await function(
                Stores(values, logins, MemoryRateLimits(), MemoryBus(), presence, LocalMemory(), place, user)
            )
        finally:
            await database.close()

    return lambda function: asyncio.run((in_redis if redis_url else in_database)(function))


async def value(stores: Stores, key: str) -> str | None:
    return (await stores.values.read(stores.place, [key]))[key]


def test_values_are_read_as_they_were_written_and_missing_ones_are_none(with_stores: WithStores) -> None:
    async def check(stores: Stores) -> None:
        key, text = "s:a:workflow://x/ü%2F'\"{}:state", 'Zoë \u2028 {"a": [1]} \x01'
        await stores.values.apply(stores.place, [Put(key, text)])
        assert {key: text, "other": None} == await stores.values.read(stores.place, [key, "other"])

    with_stores(check)


def test_keys_differ_by_every_character(with_stores: WithStores) -> None:
    async def check(stores: Stores) -> None:
        keys = ["a/b", "a//b", "a/b/", "A/b", "a/b ", " a/b"]
        await stores.values.apply(stores.place, [Put(key, str(number)) for number, key in enumerate(keys)])
        assert {key: str(number) for number, key in enumerate(keys)} == await stores.values.read(stores.place, keys)

    with_stores(check)


def test_values_of_another_environment_or_tenant_are_not_seen(with_stores: WithStores) -> None:
    async def check(stores: Stores) -> None:
        await stores.values.apply(stores.place, [Put("k", "1")])
        for place in (Place(stores.place.tenant_id, "staging"), Place(new_id(), "production")):
            assert await stores.values.read(place, ["k"]) == {"k": None}

    with_stores(check)


def test_concurrent_increments_count_each_once(with_stores: WithStores) -> None:
    async def check(stores: Stores) -> None:
        done = await asyncio.gather(*(stores.values.apply(stores.place, [Increment("n")]) for _ in range(100)))
        assert {str(number) for number in range(1, 101)} == {applied.outcomes[0].value for applied in done}
        assert await value(stores, "n") == "100"

    with_stores(check)


def test_concurrent_increments_with_a_maximum_pass_exactly_that_often(with_stores: WithStores) -> None:
    async def check(stores: Stores) -> None:
        operations = [Increment("tries"), Increment("runs", maximum=20)]
        done = await asyncio.gather(*(stores.values.apply(stores.place, operations) for _ in range(80)))
        assert sum(applied.applied for applied in done) == 20
        assert await stores.values.read(stores.place, ["tries", "runs"]) == {"tries": "20", "runs": "20"}

    with_stores(check)


def test_request_that_is_repeated_is_done_once_and_answered_alike(with_stores: WithStores) -> None:
    async def check(stores: Stores) -> None:
        operations: list[Operation] = [Put("p", 'ü"\\\x01'), Increment("n"), Get("none"), Delete("none")]
        once = Once(new_id(), "try 1", "d" * 64)
        done = await asyncio.gather(*(stores.values.apply(stores.place, operations, once) for _ in range(20)))
        assert {Applied((Outcome('ü"\\\x01'), Outcome("1"), Outcome(None), Outcome(None, False)))} == set(done)
        assert await value(stores, "n") == "1"
        full: list[Operation] = [Get("none"), Increment("n", maximum=1)]
        second = attrs.evolve(once, key="try 2")
        first = await stores.values.apply(stores.place, full, second)
        await stores.values.apply(stores.place, [Put("n", "0"), Put("none", "1")])
        assert first == await stores.values.apply(stores.place, full, second)
        assert not first.applied
        await stores.values.apply(stores.place, operations, attrs.evolve(once, owner=new_id()))
        assert await value(stores, "n") == "1"

    with_stores(check)


def test_name_of_a_request_is_not_for_another_one(with_stores: WithStores) -> None:
    async def check(stores: Stores) -> None:
        once = Once(new_id(), "try 1", "d" * 64)
        await stores.values.apply(stores.place, [Increment("n")], once)
        with pytest.raises(ConflictError) as caught:
            await stores.values.apply(stores.place, [Increment("n")], attrs.evolve(once, digest="e" * 64))
        assert caught.value.code == "idempotency_key_reused"
        assert await value(stores, "n") == "1"

    with_stores(check)


def test_one_of_many_concurrent_comparisons_wins(with_stores: WithStores) -> None:
    async def check(stores: Stores) -> None:
        await stores.values.apply(stores.place, [Put("stage", "plan")])
        tries = [[CompareAndSet("stage", "plan", f"build {number}")] for number in range(30)]
        done = await asyncio.gather(*(stores.values.apply(stores.place, operations) for operations in tries))
        won = [applied.outcomes[0].value for applied in done if applied.outcomes[0].done]
        assert [await value(stores, "stage")] == won

    with_stores(check)


def test_requests_that_are_done_together_each_get_their_own_answer(with_stores: WithStores) -> None:
    async def check(stores: Stores) -> None:
        await stores.values.apply(stores.place, [Put("text", "x")])
        once, other = Once(new_id(), "try", "d" * 64), Place(stores.place.tenant_id, "staging")
        asked: list[tuple[Place, list[Operation], Once | None]] = [
            (stores.place, [Increment("n")], None),
            (stores.place, [Put("left", "1"), Increment("text")], None),
            (stores.place, [Increment("n", 2), Get("n")], once),
            (other, [Increment("n", 10)], None),
            (stores.place, [Put("left", "1"), Increment("n", 1, maximum=3)], None),
            (stores.place, [Increment("n", 2), Get("n")], once),
            (stores.place, [Increment("n", 2)], attrs.evolve(once, digest="e" * 64)),
            (stores.place, [Delete("n"), Increment("n", 2.0**53)], None),
            (stores.place, [Increment("n"), Put("seen", "1"), Delete("text")], None),
            (stores.place, [Get("text"), Get("n"), Get("left")], None),
        ]
        calls = [stores.values.apply(place, operations, name) for place, operations, name in asked]
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert [one.code if isinstance(one, ConflictError | InvalidError) else one for one in found] == [
            Applied((Outcome("1"),)),
            "not_a_number",
            Applied((Outcome("3"), Outcome("3"))),
            Applied((Outcome("10"),)),
            Applied((Outcome(None, False), Outcome("3", False)), applied=False),
            Applied((Outcome("3"), Outcome("3"))),
            "idempotency_key_reused",
            "number_too_large",
            Applied((Outcome("4"), Outcome("1"), Outcome(None))),
            Applied((Outcome(None), Outcome("4"), Outcome(None))),
        ]
        left = {"n": "4", "seen": "1", "text": None, "left": None}
        assert left == await stores.values.read(stores.place, list(left))

    with_stores(check)


@pytest.mark.parametrize("text", ["", "x", "0x10", " 5", "5 ", "1_000", "٣", "nan", "inf", "1e", "--1", "1.2.3"])
def test_increment_of_what_is_no_number_is_refused_and_nothing_is_done(with_stores: WithStores, text: str) -> None:
    async def check(stores: Stores) -> None:
        await stores.values.apply(stores.place, [Put("k", text)])
        with pytest.raises(ConflictError) as caught:
            await stores.values.apply(stores.place, [Put("other", "1"), Increment("k")])
        assert caught.value.code == "not_a_number"
        assert {"k": text, "other": None} == await stores.values.read(stores.place, ["k", "other"])

    with_stores(check)


@pytest.mark.parametrize(("start", "amount"), [("0", 2.0**53), ("9007199254740991", 1), ("-9007199254740991", -1)])
def test_counter_beyond_exact_numbers_is_refused(with_stores: WithStores, start: str, amount: float) -> None:
    async def check(stores: Stores) -> None:
        await stores.values.apply(stores.place, [Put("k", start)])
        with pytest.raises(InvalidError):
            await stores.values.apply(stores.place, [Increment("k", amount)])
        assert await value(stores, "k") == start

    with_stores(check)


def test_value_ends_with_its_lifetime(with_stores: WithStores) -> None:
    async def check(stores: Stores) -> None:
        await stores.values.apply(stores.place, [Put("k", "1", timedelta(milliseconds=50)), Put("kept", "1")])
        while await value(stores, "k") is not None:
            await asyncio.sleep(0.01)
        applied = await stores.values.apply(stores.place, [Increment("k"), Increment("kept")])
        assert [Outcome("1"), Outcome("2")] == list(applied.outcomes)

    with_stores(check)


NUMBERS = st.one_of(st.integers(-1000, 1000), st.sampled_from([0.5, 0.1, -0.3, 1e-7, 2.0**52, -(2.0**53), 1e15]))
KEYS = st.sampled_from(["a", "b", "c"])
TEXTS = st.sampled_from(["", "1", "0.1", "-3", "x", "1e3", "9007199254740991", "1e999", "007", "-0"])
OPERATIONS = st.one_of(
    st.builds(Get, KEYS),
    st.builds(Put, KEYS, TEXTS),
    st.builds(Delete, KEYS),
    st.builds(Increment, KEYS, NUMBERS, st.none() | st.integers(-5, 50) | st.just(0.35)),
    st.builds(CompareAndSet, KEYS, st.none() | TEXTS, TEXTS),
)


@pytest.mark.property
def test_store_does_what_the_sequential_model_does(with_stores: WithStores) -> None:
    examples: list[list[list[Operation]]] = []

    @settings(max_examples=40, deadline=None, database=None)
    @given(st.lists(st.lists(OPERATIONS, min_size=1, max_size=6), min_size=1, max_size=8))
    def collect(steps: list[list[Operation]]) -> None:
        examples.append(steps)

    collect()

    async def check(stores: Stores) -> None:
        for steps in examples:
            place = Place(stores.place.tenant_id, f"e{new_id()}")
            model: dict[str, str | None] = dict.fromkeys("abc")
            for operations in steps:
                expected: Any
                try:
                    expected, writes = compute(model, operations)
                except (ConflictError, InvalidError) as error:
                    expected, writes = error.code, {}
                found: Any
                try:
                    found = await stores.values.apply(place, operations)
                except (ConflictError, InvalidError) as error:
                    found = error.code
                assert expected == found, operations
                model |= {key: write.value for key, write in writes.items()}
                assert model == await stores.values.read(place, ["a", "b", "c"]), operations

    with_stores(check)


@pytest.mark.property
def test_requests_that_come_at_once_are_done_as_if_one_after_the_other(with_stores: WithStores) -> None:
    examples: list[list[list[Operation]]] = []

    @settings(max_examples=25, deadline=None, database=None)
    @given(st.lists(st.lists(OPERATIONS, min_size=1, max_size=4), min_size=2, max_size=10))
    def collect(requests: list[list[Operation]]) -> None:
        examples.append(requests)

    collect()

    async def check(stores: Stores) -> None:
        for requests in examples:
            place = Place(stores.place.tenant_id, f"e{new_id()}")
            model: dict[str, str | None] = dict.fromkeys("abc")
            expected: list[object] = []
            for operations in requests:
                try:
                    applied, writes = compute(model, operations)
                except (ConflictError, InvalidError) as error:
                    expected.append(error.code)
                else:
                    expected.append(applied)
                    model |= {key: write.value for key, write in writes.items()}
            calls = [stores.values.apply(place, operations) for operations in requests]
            found = await asyncio.gather(*calls, return_exceptions=True)
            said = [one.code if isinstance(one, ConflictError | InvalidError) else one for one in found]
            assert expected == said, requests
            assert model == await stores.values.read(place, ["a", "b", "c"]), requests

    with_stores(check)


@pytest.mark.property
@given(st.lists(OPERATIONS, max_size=8))
def test_model_that_is_not_applied_says_what_was_found_and_writes_nothing(operations: list[Operation]) -> None:
    values = dict.fromkeys("abc", "3")
    try:
        applied, writes = compute(values, operations)
    except (ConflictError, InvalidError):
        return
    assert len(applied.outcomes) == len(operations)
    if not applied.applied:
        assert writes == {}
        assert {"3"} == {outcome.value for outcome in applied.outcomes}
        increments = [index for index, operation in enumerate(operations) if isinstance(operation, Increment)]
        full = next(index for index in increments if not applied.outcomes[index].done)
        assert compute(values, operations[:full])[0].applied
        assert not compute(values, operations[: full + 1])[0].applied
    for outcome in applied.outcomes:
        assert not (outcome.value or "").endswith(".0")


def test_refused_list_marks_first_the_counter_that_is_full(with_stores: WithStores) -> None:
    async def check(stores: Stores) -> None:
        await stores.values.apply(stores.place, [Put("a", "1"), Put("c", "3")])
        cases: list[tuple[list[Operation], list[Outcome]]] = [
            (
                [Increment("a"), Get("b"), Increment("c", maximum=3), Delete("b"), Increment("a")],
                [Outcome("1"), Outcome(None), Outcome("3", False), Outcome(None, False), Outcome("1", False)],
            ),
            (  # full only by what comes before it in the list
                [Put("b", "9"), Increment("c", -1), Increment("b", maximum=9), Increment("c", maximum=2)],
                [Outcome(None, False), Outcome("3"), Outcome(None, False), Outcome("3", False)],
            ),
            (  # with room only by what comes before it
                [Increment("c", -1), Increment("c", maximum=3), Increment("c", maximum=3)],
                [Outcome("3"), Outcome("3"), Outcome("3", False)],
            ),
        ]
        for operations, outcomes in cases:
            found = await stores.values.apply(stores.place, operations)
            assert Applied(tuple(outcomes), applied=False) == found
        once = Once(new_id(), "try-1", "d" * 64)
        assert [found, found] == [await stores.values.apply(stores.place, operations, once) for _ in range(2)]
        assert await stores.values.read(stores.place, ["a", "b", "c"]) == {"a": "1", "b": None, "c": "3"}

    with_stores(check)


def test_login_is_found_until_it_is_removed(with_stores: WithStores) -> None:
    async def check(stores: Stores) -> None:
        tenant, user = stores.place.tenant_id, stores.user_id
        for number in range(3):
            await stores.logins.add(f"hash {number}", tenant, user, f"record {number}", HOUR)
        assert await stores.logins.find("hash 1", HOUR) == "record 1"
        assert await stores.logins.find("another", HOUR) is None
        await stores.logins.remove("hash 1")
        assert await stores.logins.find("hash 1", HOUR) is None
        await stores.logins.remove_all(tenant, user, keep="hash 2")
        assert await stores.logins.find("hash 0", HOUR) is None
        assert await stores.logins.find("hash 2", HOUR) == "record 2"
        await stores.logins.remove_all(tenant, user)
        assert await stores.logins.find("hash 2", HOUR) is None

    with_stores(check)


def test_login_that_is_used_lives_on_and_one_that_is_not_ends(with_stores: WithStores) -> None:
    async def check(stores: Stores) -> None:
        short = timedelta(milliseconds=200)
        await stores.logins.add("used", stores.place.tenant_id, stores.user_id, "record", short)
        await stores.logins.add("idle", stores.place.tenant_id, stores.user_id, "record", short)
        assert await stores.logins.find("used", HOUR) == "record"
        await asyncio.sleep(0.25)  # the time is what this is about
        assert await stores.logins.find("used", HOUR) == "record"
        assert await stores.logins.find("idle", HOUR) is None

    with_stores(check)


def test_limit_passes_exactly_its_count_at_once_and_says_when_again(with_stores: WithStores) -> None:
    async def check(stores: Stores) -> None:
        limit = Limit(f"test {new_id()}", 20, timedelta(minutes=5))
        waits = await asyncio.gather(*(stores.limits.take(limit, "a") for _ in range(60)))
        assert waits.count(0) == 20
        assert all(0 < wait <= 330 for wait in waits if wait)
        assert await stores.limits.take(limit, "b") == 0

    with_stores(check)


def test_limit_counts_the_cost_and_lets_the_largest_pass_alone(with_stores: WithStores) -> None:
    async def check(stores: Stores) -> None:
        limit = Limit(f"test {new_id()}", 100, timedelta(minutes=1))
        assert await stores.limits.take(limit, "a", 60) == 0
        assert await stores.limits.take(limit, "a", 60) > 0
        assert await stores.limits.take(limit, "a", 40) == 0
        assert await stores.limits.take(limit, "b", 1000) == 0
        assert await stores.limits.take(limit, "b", 1) > 0

    with_stores(check)


def test_limit_that_is_given_back_passes_again(with_stores: WithStores) -> None:
    async def check(stores: Stores) -> None:
        limit = Limit(f"test {new_id()}", 2, timedelta(minutes=5))
        for _ in range(5):
            assert await stores.limits.take(limit, "a") == 0
            await stores.limits.give_back(limit, "a")
        assert [await stores.limits.take(limit, "a") > 0 for _ in range(3)] == [False, False, True]

    with_stores(check)


def test_limits_that_are_asked_for_at_once_count_each_and_tell_each_its_own(with_stores: WithStores) -> None:
    async def check(stores: Stores) -> None:
        few, many = (Limit(f"test {new_id()}", count, timedelta(minutes=1)) for count in (3, 1000))
        asked = [stores.limits.take(limit, name) for _ in range(20) for limit in (few, many) for name in "ab"]
        waits = await asyncio.gather(*asked, stores.limits.give_back(few, "a"), stores.limits.take(few, "a"))
        for at, passed in ((0, 3), (1, 3), (2, 20), (3, 20)):
            assert [wait == 0 for wait in waits[at:80:4]] == [number < passed for number in range(20)]
        assert waits[-1] == 0
        assert await stores.limits.take(few, "a") > 0

    with_stores(check)


def test_limit_of_a_request_that_ended_takes_no_other_along(with_stores: WithStores) -> None:
    async def check(stores: Stores) -> None:
        limit = Limit(f"test {new_id()}", 5, timedelta(minutes=1))
        tasks = [asyncio.create_task(stores.limits.take(limit, "a")) for _ in range(4)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        tasks[2].cancel()
        assert await tasks[1] == await tasks[3] == 0

    with_stores(check)


def test_limit_passes_again_after_its_time(with_stores: WithStores) -> None:
    async def check(stores: Stores) -> None:
        limit = Limit(f"test {new_id()}", 3, timedelta(milliseconds=200))
        assert [await stores.limits.take(limit, "a") for _ in range(3)] == [0, 0, 0]
        while wait := await stores.limits.take(limit, "a"):
            await asyncio.sleep(wait)

    with_stores(check)


@pytest.mark.property
@given(st.lists(st.tuples(st.floats(0, 40), st.integers(1, 7)), max_size=60))
def test_limit_never_lets_more_pass_within_any_window(steps: list[tuple[float, int]]) -> None:
    now = 1000.0
    limits, limit = MemoryRateLimits(lambda: now), Limit("test", 10, timedelta(seconds=100))
    passed: list[tuple[float, int]] = []

    async def play() -> None:
        nonlocal now
        for pause, cost in steps:
            now += pause
            wait = await limits.take(limit, "a", cost)
            if wait:
                now += math.nextafter(wait, math.inf) + 1e-6
                assert await limits.take(limit, "a", cost) == 0
            passed.append((now, cost))

    asyncio.run(play())
    for start, _ in passed:
        assert sum(cost for at, cost in passed if start <= at < start + 100) <= 10


def test_stream_is_present_until_it_leaves(with_stores: WithStores) -> None:
    async def check(stores: Stores) -> None:
        tenant, other = new_id(), new_id()
        streams = [Present("production", f"a.b_c-{number % 700}", str(number)) for number in range(1200)]

        async def present(whose: UUID) -> list[Present]:
            await stores.presence.keep(tenant, streams)
            return sorted(await stores.presence.all(whose), key=str)

        assert sorted(streams, key=str) == await present(tenant)
        assert await present(other) == []
        gone = [streams.pop() for _ in range(600)]
        await stores.presence.leave(tenant, [*gone, Present("production", "stranger", "0")])
        assert sorted(streams, key=str) == await present(tenant)

    with_stores(check)


def test_stream_that_is_not_kept_is_present_no_more(with_stores: WithStores) -> None:
    async def check(stores: Stores) -> None:
        tenant = new_id()
        kept, forgotten = Present("production", "a", "1"), Present("production", "a", "2")
        await stores.presence.keep(tenant, [kept, forgotten])
        async with asyncio.timeout(20):
            while forgotten in await stores.presence.all(tenant):
                await stores.presence.keep(tenant, [kept])
        assert await stores.presence.all(tenant) == [kept]

    with_stores(check)


def test_what_is_remembered_is_the_first_once_until_it_is_forgotten(with_stores: WithStores) -> None:
    async def check(stores: Stores) -> None:
        what = str(new_id())
        tries = await asyncio.gather(*(stores.memory.first(what, HOUR) for _ in range(20)))
        assert sorted(tries) == [False] * 19 + [True]
        assert await stores.memory.first(f"{what}-other", timedelta(milliseconds=1))
        async with asyncio.timeout(10):
            while not await stores.memory.first(f"{what}-other", timedelta(milliseconds=1)):
                await asyncio.sleep(0.001)

    with_stores(check)


def test_memory_of_this_process_forgets_what_is_over() -> None:
    async def check() -> None:
        now = 0.0
        memory = LocalMemory(lambda: now)
        for number in range(2000):
            assert await memory.first(str(number), timedelta(seconds=1))
            now += 0.01
        assert len(memory._until) < 1200
        assert not await memory.first("1999", timedelta(seconds=1))

    asyncio.run(check())


def test_signal_reaches_every_listener_until_it_stops(with_stores: WithStores) -> None:
    async def check(stores: Stores) -> None:
        first: asyncio.Queue[Signal] = asyncio.Queue()
        second: asyncio.Queue[Signal] = asyncio.Queue()
        stores.bus.listen(first.put_nowait)
        stop = stores.bus.listen(second.put_nowait)
        signals = [Signal("wake", new_id()), Signal("key", new_id())]
        await stores.bus.send(signals[0])
        assert signals[0] == await first.get() == await second.get()
        stop()
        await stores.bus.send(signals[1])
        assert signals[1] == await first.get()
        assert second.empty()

    with_stores(check)


@pytest.mark.fault
def test_redis_that_goes_away_is_unavailable_and_the_bus_comes_back_by_itself(redis_server: Any) -> None:
    async def check() -> None:
        async with client_of(redis_server.url) as client, client_of(redis_server.url) as other:
            bus, place = RedisBus(client), Place(new_id(), "production")
            heard: asyncio.Queue[Signal] = asyncio.Queue()
            bus.listen(heard.put_nowait)
            async with bus.running():
                assert Signal("missed") == await heard.get()
                values, limits = RedisSessionValues(client), RedisRateLimits(client)
                await values.apply(place, [Increment("n")])
                await asyncio.to_thread(redis_server.kill)
                try:
                    with pytest.raises(UnavailableError):
                        await values.apply(place, [Increment("n")])
                    with pytest.raises(UnavailableError):
                        await bus.send(Signal("wake", new_id()))
                    with pytest.raises(UnavailableError):
                        await limits.take(Limit("login", 1, HOUR, strict=True), "a")
                    with pytest.raises(UnavailableError):
                        await RedisMemory(client).first("a", HOUR)
                    assert [await limits.take(Limit("events", 1, HOUR), "a") > 0 for _ in range(2)] == [False, True]
                finally:
                    await asyncio.to_thread(redis_server.start)
                assert Signal("missed") == await heard.get()  # so listeners look at everything anew
                applied = await values.apply(place, [Increment("n")])
                assert applied.outcomes == (Outcome("2"),)
                signal = Signal("wake", new_id())
                await RedisBus(other).send(signal)
                assert signal == await heard.get()

    asyncio.run(check())


async def in_turn(values: SessionValues, place: Place, *asked: Sequence[Operation]) -> list[asyncio.Task[Applied]]:
    """
    Ask for operations, each once those before it wait.
    """
    tasks = []
    for operations in asked:
        tasks.append(asyncio.create_task(values.apply(place, operations), context=Context()))
        for _ in range(5):
            await asyncio.sleep(0)
    return tasks


@pytest.mark.fault
def test_database_that_ends_a_transaction_fails_all_of_it_and_nothing_is_done(postgres: Postgres) -> None:
    async def check() -> None:
        async with opened(PostgresDatabase(postgres.new_database())) as (database, place):
            values = DatabaseSessionValues(Scopes(database, no_wake))
            async with database.transaction():
                await database.lock(f"session:{place.tenant_id}:{place.env}:held")
                tasks = await in_turn(values, place, [Increment("n"), Get("held")], *[[Increment("n")]] * 5)
                ended: list[Any] = []
                while not ended:
                    ended = await database.fetch(
                        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                    )
                found = await asyncio.gather(*tasks, return_exceptions=True)
            assert [UnavailableError] * 6 == [type(one) for one in found]
            assert await values.read(place, ["n"]) == {"n": None}
            assert (await values.apply(place, [Increment("n")])).outcomes == (Outcome("1"),)

    asyncio.run(check())


def test_request_that_the_database_refuses_does_not_keep_its_neighbours_out(tmp_path: Path) -> None:
    async def check() -> None:
        async with opened(SqliteDatabase(tmp_path / "console.db")) as (database, place):
            await database.fetch(
                "CREATE TRIGGER refuse BEFORE INSERT ON session_values WHEN NEW.key = 'bad' "
                "BEGIN SELECT RAISE(ABORT, 'refused'); END"
            )
            values = DatabaseSessionValues(Scopes(database, no_wake))
            asked: list[list[Operation]] = [[Increment("n")]] * 3
            tasks = await in_turn(values, place, *asked, [Increment("n"), Put("bad", "1")], *asked)
            found = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(found.pop(3), sqlite3.IntegrityError)
            assert {str(number) for number in range(1, 7)} == {one.outcomes[0].value for one in found}  # type: ignore[union-attr]
            assert await values.read(place, ["n", "bad"]) == {"n": "6", "bad": None}

    asyncio.run(check())


def test_request_that_redis_refuses_does_not_keep_its_neighbours_out(redis_server: Any) -> None:
    async def check() -> None:
        async with client_of(redis_server.url) as client:
            values, place, once = (
                RedisSessionValues(client),
                Place(new_id(), "production"),
                Once(new_id(), "a", "d" * 64),
            )
            await client.lpush(f"edictum:{place.tenant_id}:once:{once.owner}:{once.key}", "no answer")
            names = [None, None, once, None]
            calls = [values.apply(place, [Increment("n")], name) for name in names]
            found = await asyncio.gather(*calls, return_exceptions=True)
            assert isinstance(found.pop(2), ResponseError)
            assert [Applied((Outcome(str(number)),)) for number in (1, 2, 3)] == found

    asyncio.run(check())


def test_redis_that_is_not_there_at_start_says_which_variable() -> None:
    from edictum_console.errors import StartError
    from servers import free_port

    async def check() -> None:
        async with client_of(f"redis://:hunter2@127.0.0.1:{free_port()}/0") as client:
            await check_redis(client)

    with pytest.raises(StartError, match="EDICTUM_REDIS_URL") as caught:
        asyncio.run(check())
    assert "hunter2" not in str(caught.value)
