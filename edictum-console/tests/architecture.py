"""
What the console's modules may do, read from their source: the check behind the tenant scope.

Run it by ``python architecture.py FOLDER``; it prints one line for each bypass and ends with code 1 if there is any.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

# Each looks before a tenant is known, or across all tenants; the reason is what a reviewer has to agree with.
SYSTEM_REPOSITORIES = {
    "ChannelLookup": "the address that a chat's provider calls names the channel only",
    "DueDeliveries": "the worker sends what is due for all tenants",
    "DueApprovals": "the worker ends what is over for all tenants",
    "Leftovers": "the worker removes what is over for all tenants",
    "EventUpkeep": "workers make room for the events of all tenants, and remove what is over",
    "OperationsRepository": "asks about the database as a whole",
    "RollupTenants": "workers add the counts of all tenants up",
    "Overlaps": "the worker ends signing keys whose time is over for all tenants",
    "TenantRepository": "makes tenants",
    "TenantSettingsRepository": "a tenant's own row has no tenant beside its id, which each query names",
    "KeyLookup": "the prefix of a key is all that is known of who asks",
    "PeopleLookup": "an e-mail address is all that is known of who signs in, and the first person has no tenant yet",
    "LoginRepository": "the hash of a token is all that is known of who asks",
}

# Modules below the scope, which make queries possible.
FOUNDATION = {"db/database.py", "db/migrations/__init__.py", "db/outbox.py", "db/postgres.py", "db/scope.py"}
FOUNDATION |= {"db/sqlite.py", "db/tables.py"}

# Repositories that do not belong to a domain.
REPOSITORIES = {"db/leftovers.py", "state/database.py"}

_QUERIES = {"count", "delete", "exists", "insert", "objects", "raw", "select", "update"}


def problems(folder: Path) -> list[str]:
    """
    Say what goes around the scope.

    Args:
        folder: The package ``edictum_console``.
    """
    found: list[str] = []
    for file in sorted(folder.rglob("*.py")):
        name = file.relative_to(folder).as_posix()
        if name not in FOUNDATION:
            found += (f"{name}:{line}: {text}" for line, text in _problems(name, ast.parse(file.read_text())))
    return found


def _problems(name: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    repository = name.endswith("/repository.py") or name in REPOSITORIES
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import) and not repository:
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            for module in modules:
                if module == "asyncpg.pgproto":
                    continue  # types of values; a query needs a connection
                if (
                    module.split(".")[0] in ("piccolo", "asyncpg", "aiosqlite")
                    or module.endswith(".db.tables")
                    or (module.endswith(".db") and any(alias.name == "tables" for alias in node.names))
                ):
                    yield node.lineno, f"imports {module}; only a repository.py queries"
        if isinstance(node, ast.Attribute) and node.attr in ("fetch", "_engine") and not repository:
            yield node.lineno, f"uses .{node.attr}; only a repository.py queries"
        if isinstance(node, ast.ClassDef):
            yield from _class_problems(node, repository)


def _class_problems(node: ast.ClassDef, repository: bool) -> Iterator[tuple[int, str]]:
    bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
    if bases & {"Repository", "SystemRepository"} and not repository:
        yield node.lineno, f"{node.name} is a repository and does not stand in a repository.py"
    if "SystemRepository" in bases and node.name not in SYSTEM_REPOSITORIES:
        yield node.lineno, f"{node.name} sees all tenants and is not listed with a reason"
    if "Repository" not in bases:
        return
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and inner.attr in _QUERIES | {"fetch", "table", "_database", "database"}:
            yield inner.lineno, f"{node.name} uses .{inner.attr}; a scope's helpers add the tenant"


def main() -> int:
    """
    Print the problems of the folder that is named.
    """
    found = problems(Path(sys.argv[1]))
    print("\n".join(found) or "every query goes through a tenant scope")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
