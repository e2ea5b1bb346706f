"""
Reading what providers tell of a press: who pressed what, and where.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs

import attrs

from edictum_console.errors import BadRequestError
from edictum_console.http.bodies import read_json

_USER = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22}")


@attrs.frozen
class Press:
    """
    A press of a button.

    Attributes:
        user: What the provider calls whoever pressed it.
        token: What the button holds.
        answer_to: Where whoever pressed it is told what came of it: an id at Telegram, an address at Slack.
        chat: The chat that it happened in: its number and its public name, at Telegram.
    """

    user: str
    token: str = attrs.field(repr=False)
    answer_to: str | None = attrs.field(repr=False)
    chat: frozenset[str] = frozenset()


def telegram_update(body: bytes) -> tuple[str, Press | None]:
    """
    Read an update.

    Returns:
        Its number, and the press that it tells of, if it does.

    Raises:
        BadRequestError: It is none.
    """
    update = _object(read_json(body))
    number = update.get("update_id")
    if not isinstance(number, int) or isinstance(number, bool):
        raise BadRequestError("the body is no update of a bot")
    query = _object(update.get("callback_query"))
    user, data, answer_to = _object(query.get("from")).get("id"), query.get("data"), query.get("id")
    chat = _object(_object(query.get("message")).get("chat"))
    if not isinstance(user, int) or not _is_token(data) or not isinstance(answer_to, str):
        return str(number), None
    name = chat.get("username")
    named = {f"@{name}".lower()} if isinstance(name, str) else set()
    return str(number), Press(str(user), str(data), answer_to, frozenset({str(chat.get("id")), *named}))


def slack_interaction(body: bytes) -> Press | None:
    """
    Read what happened in a message; None where it is nothing that decides.

    Raises:
        BadRequestError: It is none.
    """
    try:
        fields = parse_qs(body.decode(), strict_parsing=True, max_num_fields=10)
        (text,) = fields["payload"]
    except (KeyError, ValueError):
        raise BadRequestError("the body is no interaction") from None
    payload = _object(read_json(text.encode()))
    actions = payload.get("actions")
    user, answer_to = _object(payload.get("user")).get("id"), payload.get("response_url")
    if payload.get("type") != "block_actions" or not isinstance(actions, list) or len(actions) != 1:
        return None
    token = _object(actions[0]).get("value")
    if not isinstance(user, str) or not _USER.fullmatch(user) or not _is_token(token):
        return None
    return Press(user, str(token), answer_to if isinstance(answer_to, str) else None)


def _is_token(value: Any) -> bool:
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
