"""
Pages of lists that are ordered by an id or a number, newest first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from edictum_console.errors import InvalidError, unfit

_LARGEST_NUMBER = 2**31 - 1


def cursor_id(cursor: str | None) -> UUID | None:
    """
    Read the cursor of a list that is ordered by id.

    Raises:
        InvalidError: It is none that such a list gave.
    """
    try:
        return UUID(cursor) if cursor else None
    except ValueError:
        raise _foreign() from None


def cursor_number(cursor: str | None) -> int | None:
    """
    Read the cursor of a list that is ordered by a number.

    Raises:
        InvalidError: It is none that such a list gave.
    """
    if not cursor:
        return None
    if not cursor.isascii() or not cursor.isdigit() or not int(cursor[:11]) <= _LARGEST_NUMBER:
        raise _foreign()
    return int(cursor)


def cut(rows: Sequence[Mapping[str, Any]], limit: int, column: str) -> tuple[list[Mapping[str, Any]], str | None]:
    """
    Cut a page out of one row more than it may have.

    Returns:
        The rows of the page, and the cursor of the next one if there is one.
    """
    return list(rows[:limit]), str(rows[limit - 1][column]) if len(rows) > limit else None


def _foreign() -> InvalidError:
    return unfit(("cursor",), "is not one that this list gave")
