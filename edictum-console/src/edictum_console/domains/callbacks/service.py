"""
Deciding requests by buttons in chats.

Each channel has an address of its own, so one secret of one tenant is looked at, and a button of another channel is not
found.  Whoever pressed is a person of the console, if an administrator said so, and else nobody that is known; whether
they may decide, and what is recorded, the service of approvals says.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import timedelta
from uuid import UUID

import attrs

from edictum_console.domains.accounts.service import StoredPeople
from edictum_console.domains.approvals.service import ApprovalService
from edictum_console.domains.callbacks.payloads import Press, slack_interaction, telegram_update
from edictum_console.domains.callbacks.verification import is_from_slack, is_from_telegram
from edictum_console.domains.notifications.configs import SlackAppConfig, TelegramConfig
from edictum_console.domains.notifications.presses import find_button, find_channel, person_behind
from edictum_console.domains.notifications.senders import slack
from edictum_console.domains.notifications.sending import Messenger, OpenChannel
from edictum_console.errors import ConflictError, ForbiddenError, NotFoundError
from edictum_console.outbound.errors import OutboundError
from edictum_console.resources import Caller, Resources
from edictum_console.security.actor import ChatActor, PersonActor
from edictum_console.security.sealing import SealBrokenError

logger = logging.getLogger(__name__)

_REMEMBERED = timedelta(minutes=10)
_OVER = "This request is decided already, or its time is over."
_ENDED = "You may not sign in to the console any more."


@attrs.frozen
class From:
    """
    Where a call came from, for records.
    """

    address: str
    request_id: str


@attrs.frozen
class Outcome:
    """
    What came of a press, for whoever pressed.

    Attributes:
        decided: Whether it decided the request.
        text: What they are told.
        answer_to: Where they are told.
    """

    decided: bool
    text: str
    answer_to: str | None = attrs.field(repr=False)


class CallbackService:
    """
    Presses in all channels, before a tenant is known.
    """

    def __init__(self, resources: Resources, messenger: Messenger) -> None:
        self._resources = resources
        self._messenger = messenger

    async def telegram(self, channel_id: UUID, secret: str | None, body: bytes, origin: From) -> Outcome | None:
        """
        Take an update of a bot.

        Args:
            channel_id: The channel that it is sent to.
            secret: What it shows.
            body: The update.
            origin: Where it came from.

        Returns:
            What came of the press; None if it is none, or was told before.

        Raises:
            ForbiddenError: It does not come from Telegram, or from another chat.
            BadRequestError: It is no update.
        """
        tenant_id, channel = await self._channel(channel_id)
        config = None if channel is None else channel.config
        known = channel is not None and isinstance(config, TelegramConfig)
        if not is_from_telegram(channel.webhook_secret if known and channel else None, secret):
            raise _refused()
        assert channel is not None
        assert isinstance(config, TelegramConfig)
        number, press = telegram_update(body)
        if press is None:
            return None
        if config.chat_id.lower() not in press.chat:
            raise _refused()
        # Telegram tells again what it believes not to have been heard; a second answer would be about nothing.
        if not await self._resources.stores.memory.first(f"telegram:{channel_id}:{number}", _REMEMBERED):
            return None
        return await self._decide(tenant_id, channel, "telegram", press, origin)

    async def slack(
        self, channel_id: UUID, moment: str | None, signature: str | None, body: bytes, origin: From
    ) -> Outcome | None:
        """
        Take what happened in a message.

        Args:
            channel_id: The channel that it is sent to.
            moment: The time that it says.
            signature: What it is signed with.
            body: What happened.
            origin: Where it came from.

        Returns:
            What came of the press; None if it is none.

        Raises:
            ForbiddenError: It does not come from Slack, is old, or came before.
            BadRequestError: It cannot be read.
        """
        tenant_id, channel = await self._channel(channel_id)
        config = None if channel is None else channel.config
        secret = config.signing_secret if isinstance(config, SlackAppConfig) else None
        now = await self._resources.scopes.database.now()
        if not is_from_slack(secret, moment, signature, body, now):
            raise _refused()
        assert channel is not None
        shown = hashlib.sha256((signature or "").encode()).hexdigest()
        if not await self._resources.stores.memory.first(f"slack:{channel_id}:{shown}", _REMEMBERED):
            raise _refused()
        press = slack_interaction(body)
        return None if press is None else await self._decide(tenant_id, channel, "slack", press, origin)

    async def tell(self, outcome: Outcome) -> None:
        """
        Tell whoever pressed a button in Slack why nothing came of it; the request was answered before.
        """
        if outcome.answer_to is not None:
            try:
                await slack.reply(self._messenger.outbound, outcome.answer_to, outcome.text)
            except OutboundError as error:
                logger.warning("whoever pressed a button could not be told: %s", error.text)

    async def _channel(self, channel_id: UUID) -> tuple[UUID, OpenChannel | None]:
        row = await find_channel(self._resources.scopes.database, channel_id)
        if row is None:
            return channel_id, None
        try:
            return row["tenant_id"], self._messenger.open(row)
        except SealBrokenError:
            return row["tenant_id"], None

    async def _decide(
        self, tenant_id: UUID, channel: OpenChannel, provider: str, press: Press, origin: From
    ) -> Outcome:
        scope = self._resources.scopes.of(tenant_id)
        button = await find_button(scope, channel.id, press.token)
        if button is None:
            return Outcome(False, _OVER, press.answer_to)
        user_id = await person_behind(scope, channel.id, press.user)
        actor: PersonActor | ChatActor | None = ChatActor(tenant_id, provider, press.user)
        if user_id is not None:
            actor = await StoredPeople(self._resources.scopes).find(tenant_id, user_id, "")
        if actor is None:
            return Outcome(False, _ENDED, press.answer_to)
        stores = self._resources.stores
        approvals = ApprovalService(scope, stores.limits, stores.bus, self._resources.metrics)
        caller = Caller(actor, origin.address, origin.request_id)
        try:
            await approvals.decide(button.approval_id, button.approved, None, caller, provider)
        except (ConflictError, NotFoundError):
            return Outcome(False, _OVER, press.answer_to)
        except ForbiddenError as error:
            return Outcome(False, f"Refused: {error.detail}.", press.answer_to)
        return Outcome(True, "Approved." if button.approved else "Denied.", press.answer_to)


def _refused() -> ForbiddenError:
    # The same for a channel that is not there, another secret, and what is old or came before.
    return ForbiddenError("this is not taken", "callback_refused")
