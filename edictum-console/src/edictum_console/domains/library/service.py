"""
Adding, changing, finding and removing contracts.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import attrs

from edictum_console.db.outbox import Outbox
from edictum_console.db.scope import TenantScope
from edictum_console.domains.audit.service import AuditService
from edictum_console.domains.library.reading import canonical, read_definition, take_apart
from edictum_console.domains.library.repository import ContractRepository
from edictum_console.domains.library.schemas import (
    Contract,
    ContractDetail,
    ContractRevision,
    Contracts,
    ContractSummary,
    ContractType,
    ContractUse,
    Import,
    Imported,
    NewContract,
)
from edictum_console.domains.rulesets.reading import UnloadableError
from edictum_console.domains.rulesets.service import invalid_ruleset
from edictum_console.errors import ConflictError, NotFoundError
from edictum_console.resources import Caller

# As many rules as a ruleset may have, so that a search through all of them stays cheap.
MOST_CONTRACTS = 2000


@attrs.frozen
class Wanted:
    """
    Which contracts are asked for; None asks for all.

    Attributes:
        kind: Of one type.
        tag: With a tag.
        search: With a text in the id, the name or the description, in any case.
    """

    kind: ContractType | None = None
    tag: str | None = None
    search: str | None = None

    def fits(self, contract: ContractSummary) -> bool:
        """
        Whether one is asked for; the type is left to the query.
        """
        if self.tag is not None and self.tag not in contract.tags:
            return False
        texts = (contract.contract_id, contract.name, contract.description)
        return self.search is None or any(self.search.casefold() in text.casefold() for text in texts)


class LibraryService:
    """
    The library of one tenant.
    """

    def __init__(self, scope: TenantScope) -> None:
        self._scope = scope
        self._rows = ContractRepository(scope)
        self._audit = AuditService(scope)
        self._outbox = Outbox(scope)

    async def lock(self) -> None:
        """
        Keep contracts, and who uses them, as they are until the end of the transaction.
        """
        await self._scope.database.lock(f"library:{self._scope.tenant_id}")

    async def page(self, wanted: Wanted, cursor: str | None, limit: int) -> Contracts:
        """
        Return some contracts, by id.
        """
        # Searched here: the databases do not agree on the case of letters, and there are few.
        found = [_summary(row) for row in await self._rows.newest(wanted.kind)]
        found = [one for one in found if wanted.fits(one)]
        found.sort(key=lambda one: one.contract_id)
        after = [one for one in found if cursor is None or one.contract_id > cursor]
        return Contracts(after[:limit], after[limit - 1].contract_id if len(after) > limit else None)

    async def find(self, contract_id: str, version: int | None = None) -> Contract:
        """
        Return one version, or the newest.

        Raises:
            NotFoundError: There is none.
        """
        row = await self._rows.find(contract_id, version) if (version or 1) < 2**31 else None
        if row is None:
            which = f"contract '{contract_id}'" if version is None else f"version {version} of '{contract_id}'"
            raise NotFoundError(f"there is no {which}", "contract_not_found")
        return _contract(row)

    async def detail(self, contract_id: str) -> ContractDetail:
        """
        Return the newest version with the list of all.

        Raises:
            NotFoundError: There is no such contract.
        """
        contract = await self.find(contract_id)
        return ContractDetail(contract, [_summary(row) for row in await self._rows.versions(contract_id)])

    async def some(self, wanted: Sequence[tuple[str, int | None]]) -> dict[tuple[str, int | None], Contract]:
        """
        Return contracts by id and version, the newest for None; those that are not there are left out.
        """
        ids = sorted({contract_id for contract_id, _ in wanted})
        rows = await self._rows.some(ids, sorted({version for _, version in wanted if version is not None}))
        found: dict[tuple[str, int | None], Contract] = {}
        for row in rows:
            contract = _contract(row)
            found[contract.contract_id, contract.version] = contract
            if row["is_latest"]:
                found[contract.contract_id, None] = contract
        return found

    async def create(self, new: NewContract, caller: Caller) -> Contract:
        """
        Add a contract.

        Raises:
            InvalidError: No agent can load the rule.
            ConflictError: There is one with that id, or there are too many.
        """
        rule = await read_definition(new.definition)
        async with self._scope.transaction():
            await self.lock()
            if await self._rows.find(rule["id"], None) is not None:
                raise ConflictError(f"there is a contract '{rule['id']}' already", "contract_exists")
            await self._check_room(1)
            await self._add(rule, new, 1, caller)
            await self._tell(rule["id"], 1, caller)
            return await self.find(rule["id"])

    async def revise(self, contract_id: str, revision: ContractRevision, caller: Caller) -> Contract:
        """
        Add a version; the same as the newest one is that version.

        Raises:
            InvalidError: No agent can load the rule.
            NotFoundError: There is no such contract.
            ConflictError: The rule has another id, or another version is the newest than was expected.
        """
        rule = await read_definition(revision.definition)
        if rule["id"] != contract_id:
            raise ConflictError("a contract keeps its id; create another one", "contract_id_differs")
        async with self._scope.transaction():
            await self.lock()
            newest = await self.find(contract_id)
            if revision.expect_version not in (None, newest.version):
                current = {"current_version": newest.version}
                raise ConflictError("the contract was changed meanwhile", "stale_version", current)
            if not _same(newest, rule, revision):
                await self._add(rule, revision, newest.version + 1, caller)
                await self._tell(contract_id, newest.version + 1, caller)
            return await self.find(contract_id)

    async def take_in(self, source: Import, caller: Caller) -> Imported:
        """
        Put all rules of a ruleset into the library, or none.

        Raises:
            InvalidError: No agent can load it.
            ConflictError: There would be too many.
        """
        try:
            parts = await take_apart(source.yaml_content)
        except UnloadableError as error:
            raise invalid_ruleset(error) from None
        done = Imported([], [], [], parts.others)
        async with self._scope.transaction():
            await self.lock()
            present = await self.some([(rule["id"], None) for rule in parts.rules])
            await self._check_room(sum((rule["id"], None) not in present for rule in parts.rules))
            for rule in parts.rules:
                newest = present.get((rule["id"], None))
                if newest is None:
                    await self._add(rule, NewContract(rule, tags=source.tags), 1, caller)
                    done.created.append(rule["id"])
                elif canonical(newest.definition) == canonical(rule):
                    done.unchanged.append(rule["id"])
                else:
                    kept = NewContract(rule, newest.name, newest.description, newest.tags)
                    await self._add(rule, kept, newest.version + 1, caller)
                    done.updated.append(rule["id"])
            if done.created or done.updated:
                facts = {"created": done.created, "updated": done.updated}
                await self._audit.record(caller, "contract.import", "", facts)
                await self._outbox.announce("contract_updated", {"contract_ids": done.created + done.updated})
        return done

    async def delete(
        self, contract_id: str, caller: Caller, users: Callable[[str], Awaitable[list[ContractUse]]]
    ) -> None:
        """
        Remove a contract that no composition uses.

        Args:
            contract_id: Which one.
            caller: Who does it.
            users: Says what uses it; asked while nothing can begin to.

        Raises:
            NotFoundError: There is no such contract.
            ConflictError: It is used.
        """
        async with self._scope.transaction():
            await self.lock()
            await self.find(contract_id)
            used_by = sorted({use.composition for use in await users(contract_id)})
            if used_by:
                raise ConflictError("compositions use this contract", "contract_in_use", {"used_by": used_by})
            await self._rows.delete(contract_id)
            await self._audit.record(caller, "contract.delete", contract_id)
            await self._outbox.announce("contract_deleted", {"contract_ids": [contract_id]})

    async def _check_room(self, more: int) -> None:
        if await self._rows.number() + more > MOST_CONTRACTS:
            raise ConflictError(f"the library holds at most {MOST_CONTRACTS} contracts", "library_full")

    async def _add(self, rule: Mapping[str, Any], new: NewContract, version: int, caller: Caller) -> None:
        values = {
            "contract_id": rule["id"],
            "version": version,
            "type": rule["type"],
            "name": new.name,
            "description": new.description,
            "tags": json.dumps(_tags(new)),
            "definition": canonical(rule),
            "created_by": caller.name,
        }
        await self._rows.add(values)

    async def _tell(self, contract_id: str, version: int, caller: Caller) -> None:
        facts = {"contract_id": contract_id, "version": version}
        done = "create" if version == 1 else "update"
        await self._audit.record(caller, f"contract.{done}", contract_id, facts)
        await self._outbox.announce(f"contract_{done}d", {"contract_ids": [contract_id]})


def _tags(new: NewContract) -> list[str]:
    return sorted(set(new.tags))


def _same(present: Contract, rule: Mapping[str, Any], new: NewContract) -> bool:
    words = (present.name, present.description, present.tags)
    return words == (new.name, new.description, _tags(new)) and canonical(present.definition) == canonical(rule)


def _summary(row: Mapping[str, Any]) -> ContractSummary:
    return ContractSummary(**_fields(row))


def _contract(row: Mapping[str, Any]) -> Contract:
    return Contract(**_fields(row), definition=json.loads(row["definition"]))


def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    same = ("contract_id", "version", "name", "description", "created_at", "created_by")
    return {"type": ContractType(row["type"]), "tags": json.loads(row["tags"]), **{name: row[name] for name in same}}
