"""
What the console writes on standard error: messages, and a line for each request.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import msgspec

from edictum_console.settings import Settings

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def configure_logging(settings: Settings, *, quiet: bool = False) -> None:
    """
    Write messages of the console to standard error, from the level of the settings on and in their format.

    Those of libraries only from INFO on: the driver of SQLite, for one, writes every value that it is given at DEBUG.

    Args:
        settings: Which level and format.
        quiet: Whether only what somebody should look at is written, for commands that say themselves what they did.
    """
    level = logging.getLevelNamesMapping()[settings.log_level]
    if quiet:
        level = max(level, logging.WARNING)
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if settings.log_json else logging.Formatter(_TEXT))
    logging.basicConfig(level=max(level, logging.INFO), handlers=[handler])
    logging.getLogger("edictum_console").setLevel(level)


class JsonLines(logging.Formatter):
    """
    Writes each message as one line of JSON, with the ``facts`` that were logged with it as fields.
    """

    def format(self, record: logging.LogRecord) -> str:
        """
        The line, without its end.
        """
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return msgspec.json.encode(line).decode()
