"""
The worker that sends what waits.

A message is taken by moving the time at which it is due, which one of all replicas does; should that process end
meanwhile, it is due again.  So a message may come twice, and none is lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from edictum_console.db.outbox import Outbox
from edictum_console.db.scope import Scopes, TenantScope
from edictum_console.domains.notifications.notices import Notice, read
from edictum_console.domains.notifications.repository import (
    ActionTokenRepository,
    ChannelRepository,
    DeliveryRepository,
    DueDeliveries,
)
from edictum_console.domains.notifications.senders.parts import Buttons, Message, interactive
from edictum_console.domains.notifications.sending import Messenger, OpenChannel
from edictum_console.domains.notifications.tokens import new_token, token_hash
from edictum_console.errors import ConsoleError
from edictum_console.ids import new_id
from edictum_console.metrics import Metrics
from edictum_console.outbound.errors import OutboundError
from edictum_console.security.sealing import SealBrokenError
from edictum_console.state.ports import Signal

logger = logging.getLogger(__name__)

PAUSES = (timedelta(seconds=5), timedelta(seconds=30), timedelta(minutes=2), timedelta(minutes=10))
MOST_FAILURES = 20

_TAKEN_FOR = timedelta(seconds=30)  # longer than sending may take
_AT_ONCE = 20
_OF_ONE_CHANNEL = 5  # so that one that does not answer holds up no other
_LOOKED_AT = 200


class Deliverer:
    """
    Sends the messages of all tenants.

    Attributes:
        woken: Set when there may be something to send.
    """

    def __init__(self, scopes: Scopes, messenger: Messenger, metrics: Metrics) -> None:
        self.woken = asyncio.Event()
        self._scopes = scopes
        self._messenger = messenger
        self._metrics = metrics
        self._due = DueDeliveries(scopes.database)
        self._one_at_a_time = asyncio.Lock()

    def heed(self, signal: Signal) -> None:
        """
        Listen to the bus: what changed may be something to tell.
        """
        if signal.kind in ("wake", "missed"):
            self.woken.set()

    async def send_due(self) -> int:
        """
        Send some of what is due.

        Returns:
            How many messages were tried.
        """
        async with self._one_at_a_time:
            taken = await self._take()
            async with asyncio.TaskGroup() as group:
                for row in taken:
                    group.create_task(self._deliver(row))
        if taken:
            self.woken.set()  # there may be more
        return len(taken)

    async def _take(self) -> list[dict[str, Any]]:
        now = await self._scopes.database.now()
        taken: list[dict[str, Any]] = []
        of_channel: Counter[Any] = Counter()
        for found in await self._due.find(now, _LOOKED_AT):
            if len(taken) == _AT_ONCE:
                break
            if of_channel[found["channel_id"]] == _OF_ONE_CHANNEL:
                continue
            row = await self._due.claim(found["id"], found["next_at"], now + _TAKEN_FOR)
            if row is not None:
                of_channel[row["channel_id"]] += 1
                taken.append(row)
        return taken

    async def _deliver(self, row: Mapping[str, Any]) -> None:
        scope = self._scopes.of(row["tenant_id"])
        try:
            await _Attempt(scope, self._messenger, self._metrics, row).make()
        except Exception:
            # Whatever it is, the others go on; this one is due again.
            logger.exception("the message %s could not be handled", row["id"])


class _Attempt:
    """
    One attempt to send one message.
    """

    def __init__(self, scope: TenantScope, messenger: Messenger, metrics: Metrics, row: Mapping[str, Any]) -> None:
        self._scope = scope
        self._messenger = messenger
        self._metrics = metrics
        self._row = row
        self._channels = ChannelRepository(scope)
        self._deliveries = DeliveryRepository(scope)

    async def make(self) -> None:
        """
        Send it, or note why not.
        """
        row, now = self._row, await self._scope.database.now()
        channel = await self._channels.find(row["channel_id"])
        if channel is None or not channel["enabled"]:
            await self._drop("the channel is not used")
            return
        if row["expires_at"] is not None and row["expires_at"] <= now:
            await self._drop("its time was over")
            return
        edits = None
        if row["edits"] is not None:
            first = await self._deliveries.find(row["edits"])
            edits = None if first is None else first["external_ref"]
            if edits is None:
                if first is not None and first["status"] == "dropped" and first["next_at"] > now:
                    # It may be on its way just now; then there will be something to change.
                    await self._deliveries.change_waiting(row["id"], {"next_at": first["next_at"]})
                else:
                    await self._drop("there is no message to be changed")
                return
        try:
            reference = await self._send(self._messenger.open(channel), edits)
        except OutboundError as error:
            await self._failed(channel, error.text, error.retry_after)
        except (ConsoleError, SealBrokenError):
            await self._failed(channel, "how the channel is reached cannot be read", None)
        except Exception:
            logger.exception("the message %s could not be sent", row["id"])
            await self._failed(channel, "the console failed to send it", None)
        else:
            await self._sent(reference)

    async def _send(self, channel: OpenChannel, edits: str | None) -> str | None:
        notice = read(self._row["content"])
        pending = notice.status == "pending" and interactive(channel.type, self._messenger.secure)
        buttons = await self._buttons(notice) if pending else None
        message = Message(str(self._row["id"]), notice, self._messenger.link(notice.approval_id), buttons, edits)
        return await self._messenger.send(channel, message)

    async def _buttons(self, notice: Notice) -> Buttons:
        buttons = Buttons(new_token(), new_token())
        expires_at: datetime = self._row["expires_at"]
        values = [
            {
                "id": new_id(),
                "created_at": await self._scope.database.now(),
                "approval_id": self._row["subject_id"],
                "channel_id": self._row["channel_id"],
                "decision": decision,
                "token_hash": token_hash(token),
                "expires_at": expires_at,
            }
            for decision, token in (("approved", buttons.approve), ("denied", buttons.deny))
        ]
        await ActionTokenRepository(self._scope).add(values)
        return buttons

    async def _sent(self, reference: str | None) -> None:
        values = {"status": "sent", "sent_at": await self._scope.database.now(), "error": None}
        async with self._scope.transaction():
            # Also one that was dropped meanwhile: it is there, and has to be changed.
            await self._deliveries.change(self._row["id"], {**values, "external_ref": reference})
            await self._channels.succeeded(self._row["channel_id"])
        self._metrics.add("edictum_deliveries_total", outcome="sent")

    async def _failed(self, channel: Mapping[str, Any], text: str, retry_after: float | None) -> None:
        row = self._row
        now = await self._scope.database.now()
        values: dict[str, Any] = {"error": text}
        if row["attempt"] <= len(PAUSES):
            values["next_at"] = now + max(PAUSES[row["attempt"] - 1], timedelta(seconds=retry_after or 0))
        if "next_at" not in values or (row["expires_at"] is not None and values["next_at"] >= row["expires_at"]):
            values["status"] = "failed"
        async with self._scope.transaction():
            await self._deliveries.change_waiting(row["id"], values)
            failures = await self._channels.failed(channel["id"])
            if failures >= MOST_FAILURES:
                reason = f"{failures} attempts in a row failed; the last one: {text}"[:255]
                if await self._channels.disable(channel["id"], reason):
                    facts = {"channel_id": str(channel["id"]), "name": channel["name"], "reason": reason}
                    await Outbox(self._scope).announce("channel_failed", facts)
        self._metrics.add("edictum_deliveries_total", outcome="failed")
        logger.warning("a message to the channel %s was not sent: %s", channel["id"], text)

    async def _drop(self, text: str) -> None:
        await self._deliveries.change_waiting(self._row["id"], {"status": "dropped", "error": text})
