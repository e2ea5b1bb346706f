"""
Routes that providers of chats call.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from litestar import Controller, Request, Response, post
from litestar.background_tasks import BackgroundTask
from litestar.datastructures import State
from litestar.di import Provide
from litestar.params import FromPath

from edictum_console.domains.callbacks.service import CallbackService, From
from edictum_console.http.documenting import with_body
from edictum_console.http.headers import request_id
from edictum_console.http.parameters import Injected
from edictum_console.resources import Resources
from edictum_console.security import guards
from edictum_console.state.ports import Limit

_LARGEST_BODY = 256 * 1024
CALLS = Limit("callbacks", 600, timedelta(minutes=1))

_UPDATE: dict[str, Any] = {
    "type": "object",
    "required": ["update_id"],
    "properties": {"update_id": {"type": "integer"}, "callback_query": {"type": "object"}},
}
_INTERACTION: dict[str, Any] = {
    "type": "object",
    "required": ["payload"],
    "properties": {"payload": {"type": "string"}},
}

Call = Request[Any, str, Any]


def provide_service(resources: Injected[Resources], state: State) -> CallbackService:
    """
    Make the service.
    """
    return CallbackService(resources, state.messenger)


DEPENDENCIES = {"service": Provide(provide_service, sync_to_thread=False)}


class TelegramController(Controller):
    """
    What Telegram tells of bots.
    """

    path = "/telegram/webhook"
    tags = ("callbacks",)
    dependencies = DEPENDENCIES

    @post(
        "/{channel_id:uuid}",
        guards=[guards.anyone, guards.limited(CALLS)],
        status_code=200,
        request_max_body_size=_LARGEST_BODY,
        operation_class=with_body(_UPDATE),
        summary="Take a press of a button from Telegram",
    )
    async def update(
        self, service: Injected[CallbackService], request: Call, channel_id: FromPath[UUID]
    ) -> dict[str, Any]:
        """
        Take an update of the channel's bot, which shows the secret that Telegram was told.

        The answer says what Telegram is to show to whoever pressed.
        """
        secret = request.headers.get("x-telegram-bot-api-secret-token")
        outcome = await service.telegram(channel_id, secret, await request.body(), _origin(request))
        if outcome is None:
            return {}
        answer = {"callback_query_id": outcome.answer_to, "text": outcome.text, "show_alert": not outcome.decided}
        return {"method": "answerCallbackQuery", **answer}


class SlackController(Controller):
    """
    What Slack tells of messages.
    """

    path = "/slack/interactions"
    tags = ("callbacks",)
    dependencies = DEPENDENCIES

    @post(
        "/{channel_id:uuid}",
        guards=[guards.anyone, guards.limited(CALLS)],
        status_code=200,
        request_max_body_size=_LARGEST_BODY,
        operation_class=with_body(_INTERACTION, media_type="application/x-www-form-urlencoded"),
        summary="Take a press of a button from Slack",
    )
    async def interaction(
        self, service: Injected[CallbackService], request: Call, channel_id: FromPath[UUID]
    ) -> Response[dict[str, Any]]:
        """
        Take what happened in a message of the channel's app, signed with its secret.

        Whoever pressed in vain is told afterwards.
        """
        moment = request.headers.get("x-slack-request-timestamp")
        signature = request.headers.get("x-slack-signature")
        outcome = await service.slack(channel_id, moment, signature, await request.body(), _origin(request))
        after = None if outcome is None or outcome.decided else BackgroundTask(service.tell, outcome)
        return Response({}, background=after)


def _origin(request: Call) -> From:
    return From(request.auth, request_id(request.scope))
