from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from edictum_console.cli import main
from edictum_console.db.database import Database
from edictum_console.db.migrations import Migration, check_schema, migrate, migrations
from edictum_console.db.tables import ALL_TABLES
from edictum_console.errors import SchemaError

NewDatabase = Callable[[], Database]

FIRST = Migration(1, "first", ("CREATE TABLE one (a INTEGER NOT NULL)",))
SECOND = Migration(2, "second", ("CREATE TABLE two (a INTEGER NOT NULL)", "CREATE INDEX two_a ON two (a)"))
BROKEN = attrs.evolve(SECOND, statements=("CREATE TABLE two (a INTEGER NOT NULL)", "CREATE NONSENSE"))


def run(new_database: NewDatabase, *steps: Callable[[Database], object]) -> None:
    async def main() -> None:
        database = new_database()
        await database.open()
        try:
            for step in steps:
                await step(database)  # type: ignore[misc]
        finally:
            await database.close()

    asyncio.run(main())


def test_migrate_runs_each_migration_once_and_in_order(new_database: NewDatabase) -> None:
    async def check(database: Database) -> None:
        assert await migrate(database, (FIRST,)) == ["0001 first"]
        assert await migrate(database, (FIRST, SECOND)) == ["0002 second"]
        assert await migrate(database, (FIRST, SECOND)) == []
        assert {"one", "two"} <= await database.table_names()
        await check_schema(database, (FIRST, SECOND))

    run(new_database, check)


def test_migration_that_fails_leaves_nothing_of_itself(new_database: NewDatabase) -> None:
    async def check(database: Database) -> None:
        with pytest.raises(Exception, match="NONSENSE"):
            await migrate(database, (FIRST, BROKEN))
        assert not {"one", "two"} & await database.table_names()
        assert await migrate(database, (FIRST, SECOND)) == ["0001 first", "0002 second"]

    run(new_database, check)


def test_newer_schema_is_refused_and_not_touched(new_database: NewDatabase) -> None:
    async def check(database: Database) -> None:
        await migrate(database, (FIRST, SECOND))
        with pytest.raises(SchemaError, match="start the newer version"):
            await migrate(database, (FIRST,))
        with pytest.raises(SchemaError, match="start the newer version"):
            await check_schema(database, (FIRST,))

    run(new_database, check)


def test_older_or_empty_schema_is_refused_with_the_command_to_run(new_database: NewDatabase) -> None:
    async def check(database: Database) -> None:
        with pytest.raises(SchemaError, match="edictum-console migrate"):
            await check_schema(database)
        await migrate(database, (FIRST,))
        with pytest.raises(SchemaError, match="edictum-console migrate"):
            await check_schema(database, (FIRST, SECOND))

    run(new_database, check)


def test_replicas_that_start_together_migrate_once(request: pytest.FixtureRequest) -> None:
    from edictum_console.db.postgres import PostgresDatabase

    url = request.getfixturevalue("postgres").new_database()

    async def main() -> None:
        replicas = [PostgresDatabase(url) for _ in range(4)]
        for replica in replicas:
            await replica.open()
        try:
            done = await asyncio.gather(*(migrate(replica, (FIRST, SECOND)) for replica in replicas))
        finally:
            for replica in replicas:
                await replica.close()
        assert sorted(done, key=len) == [[], [], [], ["0001 first", "0002 second"]]

    asyncio.run(main())


def test_migrations_are_numbered_without_gaps_and_alike_on_both_databases() -> None:
    names = [[(step.version, step.name) for step in migrations(dialect)] for dialect in ("sqlite", "postgres")]
    assert names[0] == names[1]
    assert [version for version, _ in names[0]] == list(range(1, len(names[0]) + 1))


def test_migration_files_of_one_database_run_after_the_common_one(tmp_path: Path) -> None:
    (tmp_path / "0001_x.postgres.sql").write_text("CREATE p;\n")
    (tmp_path / "0001_x.sql").write_text("-- A reason; with a semicolon.\nCREATE a;\n\nCREATE\n  b;\n")
    (tmp_path / "0001_x.sqlite.sql").write_text("CREATE s;\n")
    assert migrations("postgres", tmp_path)[0].statements == ("CREATE a", "CREATE\n  b", "CREATE p")
    assert migrations("sqlite", tmp_path)[0].statements == ("CREATE a", "CREATE\n  b", "CREATE s")


def test_schema_has_the_columns_of_the_tables_and_no_others(new_database: NewDatabase) -> None:
    async def columns(database: Database, table: str) -> dict[str, bool]:
        """
        Names, and whether they may be empty.
        """
        if database.dialect == "sqlite":
            rows = await database.fetch('SELECT name, "notnull" = 0 AS empty, pk FROM pragma_table_info({})', table)
            return {row["name"]: bool(row["empty"]) and not row["pk"] for row in rows}
        rows = await database.fetch(
            "SELECT column_name, is_nullable = 'YES' AS empty FROM information_schema.columns WHERE table_name = {}",
            table,
        )
        return {row["column_name"]: row["empty"] for row in rows}

    async def check(database: Database) -> None:
        await migrate(database)
        for table in ALL_TABLES:
            expected = {column._meta.name: column._meta.null for column in table._meta.columns}
            assert expected == await columns(database, table._meta.tablename), table._meta.tablename
        made = await database.table_names() - {"schema_migrations"}
        assert {table._meta.tablename for table in ALL_TABLES} == {name for name in made if "sqlite_" not in name}

    run(new_database, check)


def test_every_table_is_found_by_its_tenant_first(new_database: NewDatabase) -> None:
    """
    Each table has an index that begins with the tenant, so that one tenant's rows cost nothing to another.
    """

    async def check(database: Database) -> None:
        if database.dialect == "sqlite":
            rows = await database.fetch(
                "SELECT DISTINCT m.name FROM sqlite_master AS m, pragma_index_list(m.name) AS i, "
                "pragma_index_info(i.name) AS c WHERE m.type = 'table' AND c.seqno = 0 AND c.name = 'tenant_id'"
            )
        else:
            rows = await database.fetch(
                "SELECT DISTINCT t.relname AS name FROM pg_index AS i JOIN pg_class AS t ON t.oid = i.indrelid "
                "JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = i.indkey[0] WHERE a.attname = 'tenant_id'"
            )
        assert {table._meta.tablename for table in ALL_TABLES} - {"tenants"} <= {row["name"] for row in rows}

    async def migrated(database: Database) -> None:
        await migrate(database)

    run(new_database, migrated, check)


def test_migrate_command_says_what_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDICTUM_DATA_DIR", str(tmp_path))
    assert main(["migrate"]) == 0
    assert "applied 0001" in capsys.readouterr().out
    assert main(["migrate"]) == 0
    assert capsys.readouterr().out == "the schema is up to date\n"
