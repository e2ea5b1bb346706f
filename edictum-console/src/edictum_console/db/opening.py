"""
Which database the settings ask for.
"""

from __future__ import annotations

from edictum_console.db.database import Database
from edictum_console.db.postgres import PostgresDatabase
from edictum_console.db.sqlite import SqliteDatabase
from edictum_console.settings import Settings


def database_of(settings: Settings) -> Database:
    """
    Make the database of the settings; it is not open yet.
    """
    if settings.database_url is None:
        return SqliteDatabase(settings.data_dir / "console.db")
    return PostgresDatabase(settings.database_url)
