"""
Shared state in Redis, for several replicas.

Whatever checks and then writes is a script, so it happens in one step inside Redis.  Nothing is tried twice: a command
whose answer was lost may have been done, and counting twice would be wrong.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from importlib.resources import files
from typing import Any
from uuid import UUID

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from edictum_console.errors import StartError, UnavailableError
from edictum_console.state.memory import MemoryBus
from edictum_console.state.ports import (
    PRESENCE_LIFETIME,
    Listener,
    Present,
    Signal,
)

logger = logging.getLogger(__name__)

PREFIX = "edictum"
EVICTS = "Redis may evict counters, which resets limits; set its maxmemory-policy to noeviction"
_CHANNEL = f"{PREFIX}:signals"
_TIMEOUT_SECONDS = 5
MEMBERS = 500  # of anything in one command
_QUIET_SECONDS = 5  # after which the bus asks whether the connection still lives
_SHORTEST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0


def client_of(url: str) -> Redis:
    """
    Make a client, which connects when it is first used.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=32,
        timeout=_TIMEOUT_SECONDS,
        socket_timeout=_TIMEOUT_SECONDS,
        socket_connect_timeout=_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )
    return Redis.from_pool(pool)  # which is closed with the client


async def check_redis(client: Redis) -> None:
    """
    Make sure at start that Redis can be used, and warn of an eviction policy that loses counters.

    Raises:
        StartError: It cannot be reached, or is too old.
    """
    if await may_evict(client):
        logger.warning(EVICTS)


async def may_evict(client: Redis) -> bool:
    """
    Make sure that Redis can be used, and say whether it has an eviction policy that loses counters.

    Raises:
        StartError: It cannot be reached, or is too old.
    """
    try:
        version = (await client.info("server"))["redis_version"]
        policy = (await client.info("memory")).get("maxmemory_policy", "noeviction")
    except (RedisError, OSError) as error:
        raise StartError(f"EDICTUM_REDIS_URL: Redis cannot be used: {type(error).__name__}; is it running?") from error
    if int(version.split(".")[0]) < 6:
        raise StartError(f"EDICTUM_REDIS_URL: Redis {version} is too old; use 6 or later")
    return bool(policy != "noeviction")


async def ping(client: Redis) -> None:
    """
    Ask for an answer.

    Raises:
        UnavailableError: There is none.
    """
    with reaching():
        await client.ping()


@contextmanager
def reaching() -> Iterator[None]:
    """
    Say in the console's own words that Redis is not there.
    """
    try:
        yield
    except ResponseError as error:
        raise failure(error) from error
    except (RedisError, OSError) as error:
        raise UnavailableError("the shared state cannot be reached at the moment", "state_unavailable") from error


def failure(error: ResponseError) -> Exception:
    """
    What Redis refuses while it starts or is full is the operator's; anything else is ours, and trying again no help.
    """
    if "loading" in str(error).lower() or "memory" in str(error).lower():
        return UnavailableError("the shared state cannot be used at the moment", "state_unavailable")
    return error


def script(client: Redis, name: str) -> Any:
    """
    Read one of the scripts beside this module; it is called as a function.
    """
    return client.register_script((files(__package__) / name).read_text())


def milliseconds(time: timedelta) -> int:
    """
    A time as Redis takes it.
    """
    return max(1, int(time.total_seconds() * 1000))


class RedisLogins:
    """
    Logins in Redis: a record for each, and for each person the set of their hashes.
    """

    def __init__(self, client: Redis, longest: timedelta) -> None:
        self._client = client
        self._longest = milliseconds(longest)

    async def add(self, token_hash: str, tenant_id: UUID, user_id: UUID, record: str, idle: timedelta) -> None:
        """
        Remember a login.
        """
        person = _person_key(tenant_id, user_id)
        with reaching():
            async with self._client.pipeline(transaction=True) as pipeline:
                pipeline.set(_login_key(token_hash), record, px=milliseconds(idle))
                pipeline.sadd(person, token_hash)
                pipeline.pexpire(person, self._longest)
                await pipeline.execute()

    async def find(self, token_hash: str, idle: timedelta) -> str | None:
        """
        Return the record and keep it alive.
        """
        with reaching():
            record: Any = await self._client.getex(_login_key(token_hash), px=milliseconds(idle))
        return None if record is None else str(record)

    async def remove(self, token_hash: str) -> None:
        """
        Forget a login.
        """
        with reaching():
            await self._client.delete(_login_key(token_hash))

    async def remove_all(self, tenant_id: UUID, user_id: UUID, keep: str | None = None) -> None:
        """
        Forget all logins of a person but one.
        """
        person = _person_key(tenant_id, user_id)
        with reaching():
            found: Any = await self._client.smembers(person)
            hashes = [str(token_hash) for token_hash in found if token_hash != keep]
            if hashes:
                async with self._client.pipeline(transaction=True) as pipeline:
                    pipeline.delete(*map(_login_key, hashes))
                    pipeline.srem(person, *hashes)
                    await pipeline.execute()


def _login_key(token_hash: str) -> str:
    return f"{PREFIX}:login:{token_hash}"


def _person_key(tenant_id: UUID, user_id: UUID) -> str:
    return f"{PREFIX}:logins:{tenant_id}:{user_id}"


class RedisMemory:
    """
    Remembers in Redis.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def first(self, what: str, lifetime: timedelta) -> bool:
        """
        Remember something for some time; say whether it was not remembered yet.
        """
        with reaching():
            done: Any = await self._client.set(f"{PREFIX}:seen:{what}", "1", px=milliseconds(lifetime), nx=True)
        return bool(done)


class RedisPresence:
    """
    Knows the streams of all replicas: for each tenant, a set that is ordered by when each stream ends to count.
    """

    def __init__(self, client: Redis, lifetime: timedelta = PRESENCE_LIFETIME) -> None:
        self._client = client
        self._lifetime = milliseconds(lifetime)
        self._keep = script(client, "keep.lua")
        self._all = script(client, "present.lua")

    async def keep(self, tenant_id: UUID, streams: Sequence[Present]) -> None:
        """
        Say that streams are open.
        """
        for start in range(0, len(streams), MEMBERS):
            members = list(map(_member, streams[start : start + MEMBERS]))
            with reaching():
                await self._keep(keys=[_presence_key(tenant_id)], args=[self._lifetime, *members])

    async def leave(self, tenant_id: UUID, streams: Sequence[Present]) -> None:
        """
        Say that streams are closed.
        """
        for start in range(0, len(streams), MEMBERS):
            members = list(map(_member, streams[start : start + MEMBERS]))
            with reaching():
                await self._client.zrem(_presence_key(tenant_id), *members)

    async def all(self, tenant_id: UUID) -> list[Present]:
        """
        The streams of a tenant.
        """
        with reaching():
            members = await self._all(keys=[_presence_key(tenant_id)], args=[])
        return [Present(*member.split(" ")) for member in members]


def _presence_key(tenant_id: UUID) -> str:
    return f"{PREFIX}:{tenant_id}:present"


def _member(stream: Present) -> str:
    return f"{stream.env} {stream.agent_id} {stream.stream_id}"  # none of which has a space


class RedisBus:
    """
    Carries hints between replicas.

    One task reads.  When its connection is lost it connects again, for ever, and then says that signals were missed.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._local = MemoryBus()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """
        Call a function for every signal, until the one that is returned is called.
        """
        return self._local.listen(listener)

    async def send(self, signal: Signal) -> None:
        """
        Tell every replica, this one by way of Redis, too.
        """
        with reaching():
            said = json.dumps(signal.said) if signal.said else ""
            await self._client.publish(_CHANNEL, f"{signal.kind}:{signal.id or ''}:{said}")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """
        Read signals meanwhile; entered once the first connection listens.
        """
        subscribed = asyncio.Event()
        task = asyncio.create_task(self._read_forever(subscribed), name="bus")
        try:
            await subscribed.wait()
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _read_forever(self, subscribed: asyncio.Event) -> None:
        pause = _SHORTEST_PAUSE_SECONDS
        while True:
            try:
                async with self._client.pubsub() as channel:
                    await channel.subscribe(_CHANNEL)
                    pause = _SHORTEST_PAUSE_SECONDS
                    await self._read(channel, subscribed)
            except (RedisError, OSError) as error:
                logger.warning("the bus lost its connection (%s); connecting again", type(error).__name__)
                # The others were lost with it, and each would fail once when it is used.
                await self._client.connection_pool.disconnect(inuse_connections=False)
            await asyncio.sleep(pause * random.uniform(0.5, 1))
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _read(self, channel: Any, subscribed: asyncio.Event) -> None:
        quiet = 0
        while quiet < 3:
            message = await channel.get_message(timeout=_QUIET_SECONDS)
            if message is None:
                quiet += 1
                await channel.ping()
                continue
            quiet = 0
            if message["type"] == "subscribe":
                self._local.deliver(Signal("missed"))
                subscribed.set()
            elif message["type"] == "message":
                self._deliver(message["data"])
        logger.warning("the bus hears nothing; connecting again")

    def _deliver(self, text: str) -> None:
        kind, identifier, said = (*text.split(":", 2), "", "")[:3]
        try:
            match kind:
                case "wake":
                    self._local.deliver(Signal("wake", UUID(identifier)))
                case "key":
                    self._local.deliver(Signal("key", UUID(identifier)))
                case "happened":
                    happened = [(str(name), dict(facts)) for name, facts in json.loads(said)]
                    self._local.deliver(Signal("happened", UUID(identifier) if identifier else None, happened))
        except (TypeError, ValueError):
            logger.warning("the bus carried something that is no signal")
