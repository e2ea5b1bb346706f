"""
Storing versions of rulesets and comparing them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import attrs
from edictum.ruleset.comparison import Change, ComparedRule

from edictum_console.db.outbox import Outbox
from edictum_console.db.scope import TenantScope
from edictum_console.domains.audit.service import AuditService
from edictum_console.domains.rulesets.reading import UnloadableError, compare, read_ruleset
from edictum_console.domains.rulesets.repository import RulesetRepository
from edictum_console.domains.rulesets.schemas import (
    Diff,
    Draft,
    RuleChange,
    RulesetName,
    RulesetNames,
    RulesetVersion,
    RulesetVersions,
    Upload,
    Validation,
)
from edictum_console.domains.signing.service import Signer
from edictum_console.errors import ConflictError, FieldProblem, InvalidError, NotFoundError
from edictum_console.http.paging import cursor_number, cut
from edictum_console.ids import new_id
from edictum_console.resources import Caller


@attrs.frozen
class StoredRuleset:
    """
    A version with its text.
    """

    version: RulesetVersion
    text: str


class RulesetService:
    """
    The rulesets of one tenant.
    """

    def __init__(self, scope: TenantScope) -> None:
        self._scope = scope
        self._rows = RulesetRepository(scope)
        self._audit = AuditService(scope)

    async def validate(self, draft: Draft) -> Validation:
        """
        Say whether a text can be loaded, without storing it.
        """
        try:
            read = await read_ruleset(draft.yaml_content)
        except UnloadableError as error:
            return Validation(False, error.problems)
        return Validation(True, [], read.name, read.revision_hash, read.rule_count)

    async def upload(self, upload: Upload, caller: Caller) -> tuple[RulesetVersion, bool]:
        """
        Store a text as the next version of the ruleset that it names.

        Returns:
            The version, and whether it is new: the same bytes as those of the newest one are that version.

        Raises:
            InvalidError: It cannot be loaded.
        """
        try:
            read = await read_ruleset(upload.yaml_content)
        except UnloadableError as error:
            raise invalid_ruleset(error) from None
        values: dict[str, Any] = {
            "id": new_id(),
            "name": read.name,
            "revision_hash": read.revision_hash,
            "yaml_text": upload.yaml_content,
            "rule_count": read.rule_count,
            "note": upload.note,
            "uploaded_by": caller.name,
        }
        async with self._scope.transaction():
            await self._scope.database.lock(f"ruleset:{self._scope.tenant_id}:{read.name}")
            newest = await self._rows.versions(read.name, None, 1)
            if newest and newest[0]["revision_hash"] == read.revision_hash:
                return _version(newest[0]), False
            version = newest[0]["version"] + 1 if newest else 1
            await self._rows.add({**values, "version": version})
            facts = {"name": read.name, "version": version, "revision_hash": read.revision_hash}
            await self._audit.record(caller, "ruleset.upload", read.name, facts)
            await Outbox(self._scope).announce("bundle_uploaded", facts)
            return (await self.find(read.name, version)).version, True

    async def names(self) -> RulesetNames:
        """
        Return all rulesets.
        """
        rows = await self._rows.names()
        return RulesetNames([RulesetName(row["name"], row["latest"], row["versions"]) for row in rows])

    async def only_name(self) -> str:
        """
        Return the name of the tenant's only ruleset.

        Raises:
            NotFoundError: There is none.
            ConflictError: There are several.
        """
        rows = await self._rows.names()
        if not rows:
            raise NotFoundError("there is no ruleset", "ruleset_not_found")
        if len(rows) > 1:
            raise ConflictError("there are several rulesets; name one in the path", "several_rulesets")
        return str(rows[0]["name"])

    async def versions(self, name: str, cursor: str | None, limit: int) -> RulesetVersions:
        """
        Return some versions of a ruleset, newest first.

        Raises:
            NotFoundError: There is no such ruleset.
        """
        before = cursor_number(cursor)
        rows, more = cut(await self._rows.versions(name, before, limit + 1), limit, "version")
        if not rows and before is None:
            raise NotFoundError(f"there is no ruleset '{name}'", "ruleset_not_found")
        return RulesetVersions([_version(row) for row in rows], more)

    async def exists(self, name: str) -> bool:
        """
        Whether there is a ruleset of that name.
        """
        return bool(await self._rows.versions(name, None, 1))

    async def find(self, name: str, version: int) -> StoredRuleset:
        """
        Return a version with its text.

        Raises:
            NotFoundError: There is none.
        """
        row = await self._rows.find(name, version) if 0 < version < 2**31 else None
        if row is None:
            raise NotFoundError(f"there is no version {version} of a ruleset '{name}'", "version_not_found")
        return StoredRuleset(_version(row), row["yaml_text"])

    async def signature(self, stored: StoredRuleset, signer: Signer) -> str:
        """
        Return the signature of a version, made when it is first asked for; in the transaction that is open.
        """
        found = await self._rows.signature(stored.version.id, signer.key_id)
        if found is None:
            found = signer.sign(stored.text.encode())
            await self._rows.add_signature(stored.version.id, signer.key_id, found)
        return found

    async def signature_of(self, version: RulesetVersion, key_id: str) -> str | None:
        """
        Return the signature of a version by a key, if that signed it.
        """
        return await self._rows.signature(version.id, key_id)

    async def diff(self, name: str, before: int, after: int) -> Diff:
        """
        Say what differs between two versions.

        Raises:
            NotFoundError: One of them is not there.
        """
        old, new = await self.find(name, before), await self.find(name, after)
        return await difference(old, after, new.text)


async def difference(old: StoredRuleset, after: int, text: str) -> Diff:
    """
    Say what differs between a version and a text that loads.

    Args:
        old: The version before.
        after: The number of the version after; 0 if it is not stored.
        text: Its text.
    """
    name, before = old.version.name, old.version.version
    compared = await compare(old.text, text)
    # At line feeds only, and with the last one: who applies the lines to the version before gets the other one.
    lines = difflib.unified_diff(
        old.text.split("\n"), text.split("\n"), f"{name} {before}", f"{name} {after}", lineterm=""
    )
    return Diff(
        name,
        before,
        after,
        [_change(rule) for rule in compared.added],
        [_change(rule) for rule in compared.removed],
        [_change(rule) for rule in compared.changed],
        list(compared.moved),
        [_path(change) for change in compared.settings],
        "\n".join(lines),
    )


def _version(row: Mapping[str, Any]) -> RulesetVersion:
    return RulesetVersion(**{field.name: row[field.name] for field in attrs.fields(RulesetVersion)})


def _change(rule: ComparedRule) -> RuleChange:
    return RuleChange(rule.id, rule.type, [_path(change) for change in rule.changes])


def _path(change: Change) -> str:
    return ".".join(map(str, change.path))


def invalid_ruleset(error: UnloadableError) -> InvalidError:
    """
    Make the answer to a text that cannot be loaded.
    """
    first = error.problems[0]
    place = f"line {first.line}: " if first.line is not None else ""
    problems = []
    for problem in error.problems:
        where = "" if problem.line is None else f"line {problem.line}, column {problem.column}: "
        path = f"{problem.path}: " if problem.path else ""
        problems.append(FieldProblem(("yaml_content",), f"{where}{path}{problem.message}"))
    return InvalidError(f"{place}{first.message}", problems, "invalid_ruleset")
