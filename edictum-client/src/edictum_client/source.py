"""
Where an agent's ruleset comes from: the console says that something changed, the agent fetches it and checks it.

What the stream says is a notice only.  The ruleset is fetched as often as it takes, so a notice that is lost, doubled
or wrong costs a request and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

import attrs
from edictum import EdictumConfigError

from edictum_client.client import EdictumServerClient, identifier, quoted
from edictum_client.errors import (
    BundleVerificationError,
    EdictumServerError,
    ServerProtocolError,
    ServerRefusedError,
)
from edictum_client.loop import on_client_loop
from edictum_client.retries import RULESET, Backoff
from edictum_client.stream import Notice, notices
from edictum_client.verification import Trust
from edictum_client.wire import CurrentRuleset, SigningKeys, read

logger = logging.getLogger(__name__)


@attrs.frozen
class Update:
    """
    What the console wants the agent to run.

    Attributes:
        name: The ruleset.
        ruleset: The console's answer, verified; None where it cannot be believed or there is none.
        content: Its bytes; empty where it cannot be believed.
        refusal: Why it cannot be believed.
    """

    name: str
    ruleset: CurrentRuleset | None
    content: bytes
    refusal: str | None = None


class ServerContractSource:
    """
    The rulesets of one agent, verified.

    Args:
        client: The way to the console; its ``bundle_name`` is the ruleset, None leaves that to the console.
        trust: What is believed; by default what the console says.

    Attributes:
        trust: What is believed.
        name: The ruleset; None as long as the console has not assigned one.
        applied: What is in force.
        missed: Whether the last look of :meth:`watch` brought no answer, and is not repeated by itself.
        on_notice: Hears what else the console says.
    """

    def __init__(self, client: EdictumServerClient, trust: Trust | None = None) -> None:
        self._client = client
        self.trust = trust if trust is not None else Trust(None)
        self.name = client.bundle_name
        self.applied: CurrentRuleset | None = None
        self.missed = False
        self.on_notice: Callable[[Notice], None] = _nothing
        self._look = asyncio.Event()
        self._named = asyncio.Event()
        self._refusal: ServerRefusedError | None = None
        self._listener: asyncio.Task[None] | None = None

    async def fetch(self) -> tuple[CurrentRuleset, bytes]:
        """
        Fetch what is deployed, and check it.

        Returns:
            The console's answer, and the bytes of the ruleset.

        Raises:
            BundleVerificationError: It cannot be believed.
            EdictumConfigError: Nothing of this name is deployed.
            EdictumServerError: The console could not be asked, or refused.
        """
        return await on_client_loop(self._fetch())

    async def _fetch(self) -> tuple[CurrentRuleset, bytes]:
        name, env = self.name, self._client.env
        if name is None:
            raise EdictumConfigError("no ruleset is named, and the console has not assigned one")
        path = f"/v1/rulesets/{quoted(name)}/current"
        answer = await self._client.request("GET", path, query={"env": env}, schedule=RULESET, besides=(404,))
        if answer.status == 404:
            raise EdictumConfigError(
                f"no ruleset {name!r} is deployed to {env!r} at {self._client.base_url}; deploy one, or check the names"
            )
        ruleset = read(answer.body, CurrentRuleset, f"ruleset {name!r}")
        if self.trust.lacks_key_of(ruleset):
            keys = await self._client.request("GET", "/v1/signing-keys", schedule=RULESET)
            self.trust.learn(read(keys.body, SigningKeys, "the signing keys").signing_keys)
        return ruleset, self.trust.check(ruleset, name, env)

    def accept(self, ruleset: CurrentRuleset) -> None:
        """
        Say that a ruleset is in force; nothing older is accepted from now on.
        """
        self.applied = ruleset
        self.trust.accepted(ruleset.name, ruleset.env, ruleset.deployment_seq)

    def refresh(self) -> None:
        """
        Have :meth:`watch` fetch again, from the client's loop.
        """
        self._look.set()

    async def connect(self) -> None:
        """
        Begin to listen.
        """
        await on_client_loop(self._connect())

    async def _connect(self) -> None:
        if self._listener is None:
            self._listener = asyncio.get_running_loop().create_task(self._listen())

    async def assigned(self, timeout: float) -> str:
        """
        Wait until the console has assigned a ruleset, and return its name.

        Raises:
            EdictumConfigError: It has not, in this many seconds.
            ServerRefusedError: It does not let this agent listen.
        """
        return await on_client_loop(self._assigned(timeout))

    async def _assigned(self, timeout: float) -> str:
        try:
            async with asyncio.timeout(timeout):
                await self._named.wait()
        except TimeoutError:
            raise EdictumConfigError(
                f"{self._client.base_url} has assigned no ruleset to agent {self._client.agent_id!r} in {timeout:g} "
                "seconds; add an assignment rule there, or name the ruleset with bundle_name"
            ) from None
        if self.name is None:
            assert self._refusal is not None
            raise self._refusal
        return self.name

    async def watch(self) -> AsyncGenerator[Update]:
        """
        What is to be run from now on, each time that this changes; on the client's loop, for ever.

        Whoever applies an update says so by :meth:`accept`.
        """
        backoff = Backoff()
        while True:
            await self._look.wait()
            self._look.clear()
            self.missed = False
            try:
                ruleset, content = await self._fetch()
            except BundleVerificationError as error:
                yield Update(self.name or "", None, b"", str(error))
            except (EdictumConfigError, ServerRefusedError, ServerProtocolError) as error:
                # A notice comes again, or the comparison after a report.
                self.missed = True
                logger.error("the ruleset in force stays: %s", error)
            except EdictumServerError as error:
                logger.warning("the ruleset in force stays for now: %s", error)
                await asyncio.sleep(backoff.pause())
                self._look.set()
            except Exception:
                logger.exception("fetching the ruleset failed, and is tried again; the one in force stays for now")
                await asyncio.sleep(backoff.pause())
                self._look.set()
            else:
                backoff.reset()
                if not self._in_force(ruleset):
                    yield Update(ruleset.name, ruleset, content)

    def _in_force(self, ruleset: CurrentRuleset) -> bool:
        applied = self.applied
        if applied is None or (applied.name, applied.revision_hash) != (ruleset.name, ruleset.revision_hash):
            return False
        self.accept(ruleset)  # deployed again, or signed anew: the same bytes
        return True

    async def close(self) -> None:
        """
        Stop listening.
        """
        await on_client_loop(self._close())

    async def _close(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)

    # --- listening ------------------------------------------------------------------------------

    async def _listen(self) -> None:
        async with aclosing(notices(self._client, self._introduction, self._refused)) as heard:
            async for notice in heard:
                try:
                    self._heed(notice)
                    self.on_notice(notice)
                except Exception:
                    logger.exception("a notice of the console could not be understood: %s", notice.kind)

    def _refused(self, error: ServerRefusedError) -> None:
        self._refusal = error
        self._named.set()  # whoever waits for a name waits for nothing

    def _introduction(self) -> Mapping[str, str]:
        said = {"env": self._client.env}
        if self._client.bundle_name is not None:
            said["bundle_name"] = self._client.bundle_name
        if self.applied is not None:
            said["policy_version"] = self.applied.revision_hash
        if self._client.tags:
            said["tags"] = json.dumps(self._client.tags, separators=(",", ":"))
        return said

    def _heed(self, notice: Notice) -> None:
        data = notice.data
        if notice.kind == "assignment_changed" or data.get("_assignment_changed"):
            self._rename(data.get("bundle_name"))
        elif notice.kind in ("contract_update", "ruleset_updated"):
            name = data.get("name") or data.get("bundle_name")
            if name == self.name and data.get("env") == self._client.env:
                self._look.set()
        elif notice.kind == "resync":
            self._look.set()
        elif notice.kind == "key_revoked":
            logger.error("the API key of this agent was revoked; it keeps its rules and learns of no changes")

    def _rename(self, name: object) -> None:
        if name is None or name == "":
            logger.warning("the console assigns no ruleset any more; the one in force stays")
            return
        self.name = identifier("bundle_name", name)
        # Also if it is the same: the console says so at each connection, and what was deployed meanwhile is not said.
        self._look.set()
        self._named.set()


def _nothing(notice: Notice) -> None:
    pass
