"""
Changing compositions, and making rulesets of them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from edictum import EdictumConfigError

from edictum_console.db.outbox import Outbox
from edictum_console.db.scope import TenantScope
from edictum_console.domains.audit.service import AuditService
from edictum_console.domains.compositions.assembly import Assembled, assemble
from edictum_console.domains.compositions.repository import CompositionRepository
from edictum_console.domains.compositions.schemas import (
    Composition,
    CompositionChange,
    CompositionContent,
    CompositionItem,
    Compositions,
    CompositionSummary,
    DeployComposition,
    Mode,
    NewComposition,
    Preview,
    Running,
    UpdateStrategy,
)
from edictum_console.domains.compositions.writing import write_yaml
from edictum_console.domains.deployments.schemas import Deployment, NewDeployment
from edictum_console.domains.deployments.service import DeploymentService
from edictum_console.domains.environments.service import EnvironmentService
from edictum_console.domains.library.schemas import ContractUse
from edictum_console.domains.library.service import LibraryService
from edictum_console.domains.rulesets.reading import UnloadableError, read_ruleset, unloadable
from edictum_console.domains.rulesets.schemas import Diff, Upload
from edictum_console.domains.rulesets.service import RulesetService, difference, invalid_ruleset
from edictum_console.errors import ConflictError, ConsoleError, FieldProblem, InvalidError, NotFoundError, unfit
from edictum_console.http.bodies import unstructure
from edictum_console.ids import new_id
from edictum_console.resources import Caller
from edictum_console.security.sealing import Sealer

logger = logging.getLogger(__name__)

_LARGEST_PART = 64 * 1024


class CompositionService:
    """
    The compositions of one tenant.
    """

    def __init__(self, scope: TenantScope, sealer: Sealer) -> None:
        self._scope = scope
        self._rows = CompositionRepository(scope)
        self._library = LibraryService(scope)
        self._rulesets = RulesetService(scope)
        self._deployments = DeploymentService(scope, sealer)
        self._environments = EnvironmentService(scope)
        self._audit = AuditService(scope)

    async def all(self) -> Compositions:
        """
        Return all of them, by name.
        """
        found = [_summary(row) for row in await self._rows.all()]
        return Compositions(sorted(found, key=lambda one: one.name))

    async def find(self, name: str) -> Composition:
        """
        Return one.

        Raises:
            NotFoundError: There is none of that name.
        """
        return (await self._require(name))[1]

    async def users_of(self, contract_id: str) -> list[ContractUse]:
        """
        Return where a contract is used, by the name of the composition.
        """
        names = {row["id"]: row["name"] for row in await self._rows.all()}
        rows = await self._rows.users_of(contract_id)
        found = [ContractUse(names[row["composition_id"]], row["version"], bool(row["enabled"])) for row in rows]
        return sorted(found, key=lambda use: use.composition)

    async def create(self, new: NewComposition, caller: Caller) -> Composition:
        """
        Add one.

        Raises:
            ConflictError: There is one of that name.
            InvalidError: A contract that it names is not there, or is there too often.
        """
        async with self._scope.transaction():
            await self._library.lock()
            if await self._rows.find(new.name) is not None:
                raise ConflictError(f"there is a composition '{new.name}' already", "composition_exists")
            await self._check_content(new)
            now = await self._scope.database.now()
            made = {"id": new_id(), "name": new.name, "revision": 1, "created_at": now, "created_by": caller.name}
            changed = {"updated_at": now, "updated_by": caller.name}
            await self._rows.add({**made, **changed, **_values(new)}, _items(new))
            await self._tell(caller, "create", new.name, 1)
            return await self.find(new.name)

    async def change(self, name: str, change: CompositionChange, caller: Caller) -> Composition:
        """
        Change what one says.

        Raises:
            NotFoundError: There is none of that name.
            ConflictError: Another revision counts than was expected.
            InvalidError: A contract that it names is not there, or is there too often.
        """
        async with self._scope.transaction():
            await self._library.lock()
            row, present = await self._require(name)
            if change.expect_revision not in (None, present.revision):
                current = {"current_revision": present.revision}
                raise ConflictError("the composition was changed meanwhile", "stale_revision", current)
            await self._check_content(change)
            revision = present.revision + 1
            changed = {
                "revision": revision,
                "updated_at": await self._scope.database.now(),
                "updated_by": caller.name,
            }
            await self._rows.change(row["id"], {**changed, **_values(change)}, _items(change))
            await self._tell(caller, "update", name, revision)
            return await self.find(name)

    async def delete(self, name: str, caller: Caller) -> None:
        """
        Remove one; rulesets that it made stay.

        Raises:
            NotFoundError: There is none of that name.
        """
        async with self._scope.transaction():
            await self._library.lock()
            row, present = await self._require(name)
            await self._rows.delete(row["id"])
            await self._tell(caller, "delete", name, present.revision)

    async def preview(self, name: str, env: str | None) -> Preview:
        """
        Say what one makes now, and how that differs from what runs.

        Raises:
            NotFoundError: There is none of that name.
        """
        row, composition = await self._require(name)
        assembled = await self._assemble(composition)
        text, problems = "", []
        revision_hash: str | None = None
        try:
            text = _written(assembled.document)
            revision_hash = (await read_ruleset(text)).revision_hash
        except UnloadableError as error:
            problems = error.problems
        running, changes = await self._compare(row, text, revision_hash, env)
        return Preview(text, not problems, problems, revision_hash, assembled.contents, running, changes)

    async def deploy(self, name: str, new: DeployComposition, caller: Caller) -> Deployment:
        """
        Make a version of the ruleset and let it run.

        Raises:
            NotFoundError: The composition or the environment is not there.
            InvalidError: No agent could load what it makes.
            ConflictError: Another version runs there than was expected, or one that did not come from here.
            ForbiddenError: The environment is protected, and the caller is no administrator.
        """
        row, composition = await self._require(name)
        await self._environments.require_open_to(new.env, caller)
        assembled = await self._assemble(composition)
        try:
            text = _written(assembled.document)
            await read_ruleset(text)
        except UnloadableError as error:
            raise invalid_ruleset(error) from None
        expected = await self._expected(row, new)
        note = new.note or f"revision {composition.revision} of the composition"
        version, _ = await self._rulesets.upload(Upload(text, note), caller)
        async with self._scope.transaction():
            await self._library.lock()
            if (await self._rows.find(name) or {}).get("id") != row["id"]:
                raise ConflictError("the composition was removed meanwhile", "stale_revision")
            if not await self._rows.built(row["id"], version.id):
                contents = json.dumps([unstructure(part) for part in assembled.contents])
                await self._rows.add_build(row["id"], version.id, contents)
        # What was looked at above still runs there, or nothing is deployed.
        deployment = NewDeployment(new.env, new.note, expected)
        return await self._deployments.deploy(name, version.version, deployment, caller)

    async def follow(self, contract_ids: Sequence[str], caller: Caller) -> None:
        """
        Do what compositions say about new versions of their contracts, once these are stored.

        What cannot be deployed stays as it runs: whoever watches is told, and the log says why.
        """
        uses = {use.composition for one in contract_ids for use in await self.users_of(one) if use.takes_newest}
        for name in sorted(uses):
            composition = await self.find(name)
            if composition.update_strategy is UpdateStrategy.MANUAL:
                continue
            behind = await self._behind(name)
            if composition.update_strategy is UpdateStrategy.AUTO:
                behind = {
                    env: version for env, version in behind.items() if not await self._up(name, env, version, caller)
                }
            if behind:
                await self._note(name, composition.revision, "outdated")

    async def _behind(self, name: str) -> dict[str, int]:
        """
        The environments in which something else runs than the composition makes now, and its version there.
        """
        found = {}
        for env in sorted(env for env, running in await self._deployments.running() if running == name):
            running = (await self.preview(name, env)).running
            if running is not None and running.assembled_here and not running.same:
                found[env] = running.version
        return found

    async def _up(self, name: str, env: str, version: int, caller: Caller) -> bool:
        """
        Deploy what a composition makes now, unless its environment is protected; say whether that was done.
        """
        try:
            if (await self._environments.require(env)).protected:
                return False
            await self.deploy(name, DeployComposition(env, "a contract changed", version), caller)
        except ConsoleError as error:
            logger.warning("the composition %s could not follow its contracts in %s: %s", name, env, error.detail)
            return False
        return True

    async def _note(self, name: str, revision: int, change: str) -> None:
        async with self._scope.transaction():
            facts = {"name": name, "revision": revision, "change": change}
            await Outbox(self._scope).announce("composition_changed", facts)

    async def _expected(self, row: Mapping[str, Any], new: DeployComposition) -> int:
        """
        The version that may be replaced.
        """
        if new.expect_current is not None:
            return new.expect_current
        running = await self._deployments.in_force(row["name"], new.env)
        if running is None:
            return 0
        stored = await self._rulesets.find(row["name"], running.bundle_version)
        if not await self._rows.built(row["id"], stored.version.id):
            raise ConflictError(
                "what runs there did not come from this composition; name its version as expect_current to replace it",
                "foreign_version",
                {"current_version": running.bundle_version},
            )
        return running.bundle_version

    async def _compare(
        self, row: Mapping[str, Any], text: str, revision_hash: str | None, env: str | None
    ) -> tuple[Running | None, Diff | None]:
        running = None if env is None else await self._deployments.in_force(row["name"], env)
        if running is None:
            return None, None
        stored = await self._rulesets.find(row["name"], running.bundle_version)
        built = await self._rows.built(row["id"], stored.version.id)
        same = running.revision_hash == revision_hash
        changes = None if revision_hash is None else await difference(stored, 0, text)
        return Running(running.bundle_version, running.revision_hash, built, same), changes

    async def _assemble(self, composition: Composition) -> Assembled:
        contracts = await self._library.some([(item.contract_id, item.version) for item in composition.items])
        return assemble(composition, contracts)

    async def _check_content(self, content: CompositionContent) -> None:
        for part in ("tools", "observability"):
            if len(json.dumps(getattr(content, part))) > _LARGEST_PART:
                raise unfit((part,), f"is larger than {_LARGEST_PART // 1024} KiB")
        wanted = [(item.contract_id, item.version) for item in content.items]
        present = await self._library.some(wanted)
        problems = []
        seen: set[tuple[str, Mode | None]] = set()
        for number, (item, which) in enumerate(zip(content.items, wanted, strict=True)):
            place = ("items", number)
            if which not in present:
                problems.append(FieldProblem(place, "names a contract or a version that the library does not hold"))
            if (item.contract_id, item.mode) in seen:
                problems.append(FieldProblem(place, "names a contract a second time with the same mode"))
            seen.add((item.contract_id, item.mode))
        if problems:
            raise InvalidError(f"items.{problems[0].loc[1]}: {problems[0].msg}", problems)

    async def _require(self, name: str) -> tuple[dict[str, Any], Composition]:
        row = await self._rows.find(name)
        if row is None:
            raise NotFoundError(f"there is no composition '{name}'", "composition_not_found")
        return row, _composition(row, await self._rows.items(row["id"]))

    async def _tell(self, caller: Caller, done: str, name: str, revision: int) -> None:
        facts = {"name": name, "revision": revision}
        await self._audit.record(caller, f"composition.{done}", name, facts)
        await Outbox(self._scope).announce("composition_changed", {**facts, "change": done})


def _written(document: Mapping[str, Any]) -> str:
    try:
        return write_yaml(document)
    except EdictumConfigError as error:
        raise unloadable(error) from None


def _values(content: CompositionContent) -> dict[str, Any]:
    return {
        "description": content.description,
        "defaults_mode": content.defaults_mode.value,
        "update_strategy": content.update_strategy.value,
        "tools": json.dumps(content.tools),
        "observability": json.dumps(content.observability),
    }


def _items(content: CompositionContent) -> list[dict[str, Any]]:
    return [{**attrs.asdict(item), "mode": item.mode and item.mode.value} for item in content.items]


def _composition(row: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> Composition:
    same = ("name", "description", "revision", "created_by", "created_at", "updated_by", "updated_at")
    return Composition(
        defaults_mode=Mode(row["defaults_mode"]),
        update_strategy=UpdateStrategy(row["update_strategy"]),
        items=[_item(item) for item in items],
        tools=json.loads(row["tools"]),
        observability=json.loads(row["observability"]),
        **{name: row[name] for name in same},
    )


def _item(row: Mapping[str, Any]) -> CompositionItem:
    mode = None if row["mode"] is None else Mode(row["mode"])
    return CompositionItem(row["contract_id"], row["version"], mode, bool(row["enabled"]))


def _summary(row: Mapping[str, Any]) -> CompositionSummary:
    same = ("name", "description", "revision", "updated_by", "updated_at")
    mode, strategy = Mode(row["defaults_mode"]), UpdateStrategy(row["update_strategy"])
    return CompositionSummary(defaults_mode=mode, update_strategy=strategy, **{name: row[name] for name in same})
