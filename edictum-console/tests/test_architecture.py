from __future__ import annotations

from pathlib import Path

import edictum_console
import pytest
from architecture import FOUNDATION, problems
from edictum_console.db.tables import ALL_TABLES, TenantTable
from piccolo.table import Table

PACKAGE = Path(edictum_console.__file__).parent

BYPASSES = {
    "tables outside a repository": ("service.py", "from edictum_console.db.tables import Users\n"),
    "tables by their module": ("service.py", "from edictum_console.db import tables\n"),
    "piccolo outside a repository": ("service.py", "import piccolo.query\n"),
    "a driver outside a repository": ("controllers.py", "from asyncpg import connect\n"),
    "raw SQL in a service": ("service.py", "async def f(database):\n    await database.fetch('SELECT 1')\n"),
    "a repository elsewhere": ("service.py", "class A(Repository):\n    pass\n"),
    "an unlisted system repository": ("repository.py", "class A(SystemRepository):\n    pass\n"),
    "a query without the scope": ("repository.py", "class A(Repository):\n    def f(self, t):\n        t.select()\n"),
    "raw SQL in a repository": (
        "repository.py",
        "class A(Repository):\n    def f(self):\n        self._scope.database.fetch('')\n",
    ),
}


def test_package_makes_every_query_through_a_scope() -> None:
    assert problems(PACKAGE) == []


@pytest.mark.parametrize("bypass", BYPASSES)
def test_check_finds(bypass: str, tmp_path: Path) -> None:
    name, text = BYPASSES[bypass]
    (tmp_path / "domains").mkdir()
    (tmp_path / "domains" / name).write_text(text)
    assert problems(tmp_path)


def test_check_excuses_only_modules_that_exist() -> None:
    assert [name for name in FOUNDATION if not (PACKAGE / name).is_file()] == []


def test_every_table_but_the_tenants_belongs_to_a_tenant() -> None:
    assert [table._meta.tablename for table in ALL_TABLES if not issubclass(table, TenantTable)] == ["tenants"]
    subclasses = {table for base in (Table, TenantTable) for table in base.__subclasses__()}
    declared = {table for table in subclasses if table.__module__ == "edictum_console.db.tables"} - {TenantTable}
    assert set(ALL_TABLES) == declared
