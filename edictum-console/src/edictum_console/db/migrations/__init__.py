"""
Bringing a database to the schema of this version.

A migration is a file ``NNNN_name.sql`` for both databases, and, where they differ, ``NNNN_name.sqlite.sql`` and
``NNNN_name.postgres.sql`` that run after it.  Its statements end in a semicolon at the end of a line.  Migrations only
add, so that replicas of the version before go on while it runs; one that was released is never edited.

All that are missing run in one transaction, under a lock that makes other replicas wait and then find nothing to do.
"""

from __future__ import annotations

import re
from importlib.resources import files
from importlib.resources.abc import Traversable

import attrs

from edictum_console.db.database import Database
from edictum_console.errors import SchemaError

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)(?:\.(sqlite|postgres))?\.sql")
_STATEMENT = re.compile(r"(.+?);\s*$", re.DOTALL | re.MULTILINE)
_BOOKKEEPING = (
    "CREATE TABLE IF NOT EXISTS schema_migrations "
    "(version INTEGER PRIMARY KEY, name VARCHAR(128) NOT NULL, applied_at TIMESTAMPTZ NOT NULL)"
)


@attrs.frozen
class Migration:
    """
    One step of the schema.

    Attributes:
        version: Its number; they have no gaps.
        name: What it brings.
        statements: The statements, in order, for one database.
    """

    version: int
    name: str
    statements: tuple[str, ...]


def migrations(dialect: str, folder: Traversable | None = None) -> tuple[Migration, ...]:
    """
    Return all migrations that this version knows, in order.

    Args:
        dialect: Which database they are for.
        folder: Where their files are, for tests.
    """
    found: dict[int, Migration] = {}
    for file in sorted((folder or files(__package__)).iterdir(), key=lambda file: file.name.removesuffix(".sql")):
        match = _FILE.fullmatch(file.name)
        if match is None or match[3] not in (None, dialect):
            continue
        version = int(match[1])
        statements = tuple(map(str.strip, _STATEMENT.findall(_without_comments(file.read_text()))))
        before = found.get(version, Migration(version, match[2], ()))
        found[version] = attrs.evolve(before, statements=before.statements + statements)
    return tuple(found[version] for version in sorted(found))


async def migrate(database: Database, known: tuple[Migration, ...] | None = None) -> list[str]:
    """
    Run what is missing.

    Args:
        database: An open database.
        known: All migrations, for tests; usually those of this version.

    Returns:
        The names of those that ran.

    Raises:
        SchemaError: The database is newer than this version.
    """
    known = migrations(database.dialect) if known is None else known
    async with database.transaction():
        await database.lock("migrations")
        await database.fetch(_BOOKKEEPING)
        applied = await _newest(database)
        _refuse_newer(applied, known)
        now = await database.now()
        missing = [migration for migration in known if migration.version > applied]
        for migration in missing:
            for statement in migration.statements:
                await database.fetch(statement)
            await database.fetch(
                "INSERT INTO schema_migrations (version, name, applied_at) VALUES ({}, {}, {})",
                migration.version,
                migration.name,
                now,
            )
    return [f"{migration.version:04} {migration.name}" for migration in missing]


async def check_schema(database: Database, known: tuple[Migration, ...] | None = None) -> None:
    """
    Make sure that the schema is the one that this version needs, without changing anything.

    Raises:
        SchemaError: It is older or newer.
    """
    known = migrations(database.dialect) if known is None else known
    applied = await _newest(database) if await _has_bookkeeping(database) else 0
    _refuse_newer(applied, known)
    if applied < known[-1].version:
        raise SchemaError(
            f"the database has schema {applied} and this version needs {known[-1].version}, so "
            f"{known[-1].version - applied} migrations are missing; run: edictum-console migrate"
        )


def _refuse_newer(applied: int, known: tuple[Migration, ...]) -> None:
    if applied > known[-1].version:
        raise SchemaError(
            f"the database has schema {applied}, and this version knows {known[-1].version} at most; "
            "start the newer version that migrated it, or restore a backup from before"
        )


async def _newest(database: Database) -> int:
    (row,) = await database.fetch("SELECT coalesce(max(version), 0) AS version FROM schema_migrations")
    version: int = row["version"]
    return version


async def _has_bookkeeping(database: Database) -> bool:
    return "schema_migrations" in await database.table_names()


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
