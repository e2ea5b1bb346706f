"""
One guard and its console: making the parts, keeping the ruleset up to date, and ending in order.

    start     fetch the ruleset (or wait until one is assigned), check it, make the guard, then listen and report
    change    notice -> fetch -> check -> ``guard.reload`` -> report; what fails leaves the ruleset in force
    end       stop listening, say so, send what waits, close
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

import attrs
from edictum import ApprovalBackend, AuditSink, Edictum, EdictumConfigError, StorageBackend

from edictum_client.approvals import ServerApprovalBackend
from edictum_client.cache import DEFAULT_AGE, Cache, Kept
from edictum_client.client import EdictumServerClient, __version__
from edictum_client.errors import BufferFullError, BundleVerificationError, ServerUnreachableError
from edictum_client.events import DEFAULT_SPOOL_BYTES, LossPolicy, ServerAuditSink
from edictum_client.loop import at_exit, client_loop, generation, on_client_loop, wait_for
from edictum_client.sessions import ServerBackend
from edictum_client.source import ServerContractSource, Update
from edictum_client.status import Reporter
from edictum_client.stream import Notice
from edictum_client.verification import Trust
from edictum_client.wire import CurrentRuleset, Desired

logger = logging.getLogger(__name__)

G = TypeVar("G", bound=Edictum)

DEFAULT_ASSIGNMENT_SECONDS = 30.0
_EXIT_SECONDS = 5.0

_open: WeakSet[Connection] = WeakSet()


@attrs.frozen(kw_only=True)
class Options:
    """
    How a guard is connected; see :meth:`edictum.Edictum.from_server`.
    """

    url: str
    api_key: str = attrs.field(repr=False)
    agent_id: str
    env: str = "production"
    bundle_name: str | None = None
    tags: Mapping[str, str] | None = None
    audit_sink: AuditSink | list[AuditSink] | None = None
    approval_backend: ApprovalBackend | None = None
    storage_backend: StorageBackend | None = None
    auto_watch: bool = True
    allow_insecure: bool = False
    verify_signatures: bool = False
    signing_public_key: str | None = None
    trust_rotation: bool = False
    assignment_timeout: float = DEFAULT_ASSIGNMENT_SECONDS
    loss_policy: LossPolicy = "drop_oldest"
    spool_dir: str | os.PathLike[str] | None = None
    max_spool_bytes: int = DEFAULT_SPOOL_BYTES
    cache_dir: str | os.PathLike[str] | None = None
    cache_max_age: float = DEFAULT_AGE

    def __attrs_post_init__(self) -> None:
        if self.bundle_name is None and not self.auto_watch:
            raise EdictumConfigError(
                "without bundle_name the console assigns the ruleset, and says so to those who listen: "
                "name the ruleset, or leave auto_watch on"
            )
        if self.verify_signatures and self.signing_public_key is None:
            raise EdictumConfigError("verify_signatures needs signing_public_key: whose signatures are believed")
        if self.cache_dir is not None and self.signing_public_key is None:
            raise EdictumConfigError("cache_dir needs signing_public_key: only what is signed may be kept on disk")
        if self.cache_max_age <= 0 or self.assignment_timeout <= 0:
            raise EdictumConfigError("cache_max_age and assignment_timeout are more than 0 seconds")
        if self.audit_sink is not None and (self.spool_dir is not None or self.loss_policy != "drop_oldest"):
            raise EdictumConfigError(
                "spool_dir and loss_policy are about the console's sink, which audit_sink replaces"
            )


class Connection:
    """
    The parts that connect one guard.

    Args:
        options: How.

    Attributes:
        client: The way to the console.
        source: Where the ruleset comes from.

    Raises:
        EdictumConfigError: An option makes no sense.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self.client = EdictumServerClient(
            options.url,
            options.api_key,
            agent_id=options.agent_id,
            env=options.env,
            bundle_name=options.bundle_name,
            tags=options.tags,
            allow_insecure=options.allow_insecure,
        )
        trust = Trust(options.signing_public_key, follow_rotation=options.trust_rotation)
        self.source = ServerContractSource(self.client, trust)
        self.source.on_notice = self._heed
        self._reporter = Reporter(self.client, self._facts, self._compare)
        self._cache = (
            None
            if options.cache_dir is None
            else Cache(Path(options.cache_dir), self.client.base_url, options.agent_id)
        )
        self._approvals = ServerApprovalBackend(self.client) if options.approval_backend is None else None
        self._storage = ServerBackend(self.client) if options.storage_backend is None else None
        # Last, because it takes files that another process could send.
        self._sink = (
            ServerAuditSink(
                self.client,
                loss_policy=options.loss_policy,
                spool_dir=options.spool_dir,
                max_spool_bytes=options.max_spool_bytes,
            )
            if options.audit_sink is None
            else None
        )
        self._guard: Edictum | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._compared: Desired | None = None
        self._generation = generation()
        self._closing: asyncio.Task[None] | None = None

    # --- the start ------------------------------------------------------------------------------

    async def open(self, guard_class: type[G], guard_options: dict[str, Any]) -> G:
        """
        Fetch the ruleset and make the guard.

        Args:
            guard_class: What to make.
            guard_options: Options of :meth:`edictum.Edictum.from_yaml_string`.

        Raises:
            EdictumConfigError: No ruleset is deployed or assigned, it is invalid, or an option makes no sense.
            EdictumServerError: The console cannot be asked, or cannot be believed.
        """
        try:
            ruleset, content = await self._first_ruleset()
            given = {
                "environment": self._options.env,
                "audit_sink": self._options.audit_sink if self._sink is None else self._sink,
                "backend": self._options.storage_backend if self._storage is None else self._storage,
                "approval_backend": self._options.approval_backend if self._approvals is None else self._approvals,
                **({"audit_failure": "block"} if self._options.loss_policy == "block_calls" else {}),
                **guard_options,
            }
            guard = await asyncio.to_thread(guard_class.from_yaml_string, content, **given)
            self.source.accept(ruleset)
            self._keep(ruleset)
            self._guard = guard
            await on_client_loop(self._begin())
            return guard
        except BaseException:
            # Nothing is new, so nothing is sent: what earlier processes left in a spool stays there.
            await on_client_loop(self._close_once(0.0))
            raise

    async def _first_ruleset(self) -> tuple[CurrentRuleset, bytes]:
        options = self._options
        remembered = self._remembered()
        try:
            if options.bundle_name is None:
                await self.source.connect()
                await self.source.assigned(options.assignment_timeout)
            return await self.source.fetch()
        except (ServerUnreachableError, EdictumConfigError) as error:
            unreachable = error if isinstance(error, ServerUnreachableError) else await self._why_unassigned()
            if unreachable is None or remembered is None:
                raise
            if isinstance(remembered, BundleVerificationError):
                raise remembered from error
            if remembered.age > options.cache_max_age:
                raise ServerUnreachableError(
                    f"{unreachable}; the ruleset kept on disk is {remembered.age / 3600:.1f} hours old, and "
                    f"cache_max_age is {options.cache_max_age / 3600:.1f}"
                ) from error
            kept = remembered.ruleset
            content = self.source.trust.check(kept, kept.name, options.env)
            logger.error("starting with the ruleset kept on disk, %.0f seconds old: %s", remembered.age, unreachable)
            self.source.name = kept.name
            return kept, content

    def _remembered(self) -> Kept | BundleVerificationError | None:
        """
        What was kept on disk; an error where that is damaged, which matters only if the console is away.
        """
        if self._cache is None:
            return None
        try:
            kept = self._cache.find(self._options.env, self._options.bundle_name)
        except BundleVerificationError as error:
            logger.error("%s", error)
            return error
        if kept is not None:
            # What was accepted before a restart is not forgotten by it.
            for name, number in kept.newest.items():
                self.source.trust.accepted(name, self._options.env, number)
        return kept

    async def _why_unassigned(self) -> ServerUnreachableError | None:
        """
        Tell a console that has assigned nothing from one that could not be reached.
        """
        if self._options.bundle_name is not None:
            return None
        try:
            await self.client.get("/v1/health")
        except ServerUnreachableError as error:
            return error
        return None

    async def _begin(self) -> None:
        if self._options.auto_watch:
            await self.source.connect()
            self._watcher = asyncio.get_running_loop().create_task(self._watch())
        self._reporter.say("applied")
        self._reporter.start()
        _open.add(self)

    # --- changes --------------------------------------------------------------------------------

    async def _watch(self) -> None:
        async for update in self.source.watch():
            try:
                await self._apply(update)
            except Exception:
                logger.exception("a change of the ruleset failed; the one in force stays")

    async def _apply(self, update: Update) -> None:
        guard = self._guard
        assert guard is not None
        if update.ruleset is None:
            await self._reject(update.name, None, update.refusal or "it cannot be believed")
            return
        try:
            await guard.reload(update.content)
        except Exception as error:
            if not isinstance(error, EdictumConfigError):
                logger.exception("a new ruleset could not be loaded")
            await self._reject(update.name, update.ruleset.revision_hash, str(error) or type(error).__name__)
            return
        before = self.source.applied
        self.source.accept(update.ruleset)
        self._keep(update.ruleset)
        logger.info("ruleset %r, version %d, is in force", update.name, update.ruleset.version)
        self._reporter.say("applied")
        more = {"version": update.ruleset.version, "before": None if before is None else before.revision_hash}
        await self._note("ruleset_reloaded", update.name, None, more)

    async def _reject(self, name: str, revision: str | None, why: str) -> None:
        logger.error("a new ruleset %r was rejected, and the one in force stays: %s", name, why)
        self._reporter.say("rejected", why)
        await self._note("ruleset_rejected", name, why, {"rejected_revision": revision})

    async def _note(self, action: str, name: str, reason: str | None, more: dict[str, Any]) -> None:
        """
        Write to the decision log what became of a ruleset; the revision is that of the one in force.
        """
        if self._sink is not None:
            applied = self.source.applied
            facts = {
                "action": action,
                "decision_name": name,
                "reason": reason,
                "policy_version": None if applied is None else applied.revision_hash,
                "metadata": more,
            }
            try:
                await self._sink.note(facts)
            except (BufferFullError, OSError) as error:
                logger.error("%s of %r is not in the decision log: %s", action, name, error)

    def _keep(self, ruleset: CurrentRuleset) -> None:
        if self._cache is not None:
            newest = self.source.trust.newest(self._options.env)
            self._cache.keep(self._options.env, self._options.bundle_name, ruleset, newest)

    def _heed(self, notice: Notice) -> None:
        if notice.kind in ("approval_decided", "approval_timeout") and self._approvals is not None:
            self._approvals.decided(str(notice.data.get("approval_id")))

    def _compare(self, desired: Desired) -> None:
        """
        Fetch again if the console wants another ruleset than the one in force, should no notice have come.
        """
        applied = self.source.applied
        if self._watcher is None or applied is None or (desired == self._compared and not self.source.missed):
            return
        self._compared = desired
        if (desired.bundle_name, desired.revision_hash) != (applied.name, applied.revision_hash):
            self.source.name = desired.bundle_name
            self.source.refresh()

    def _facts(self) -> dict[str, Any]:
        applied, sink = self.source.applied, self._sink
        return {
            "bundle_name": None if applied is None else applied.name,
            "policy_version": None if applied is None else applied.revision_hash,
            "buffered_events": 0 if sink is None else sink.buffered,
            "dropped_events": 0 if sink is None else sink.dropped,
            "client": f"edictum-client/{__version__}",
            "tags": self.client.tags or None,
        }

    # --- the end --------------------------------------------------------------------------------

    async def close(self) -> None:
        """
        End everything: what waits is sent first, as far as the console can be reached.
        """
        if self._generation == generation():
            await on_client_loop(self._close_once())

    async def _close_once(self, seconds: float | None = None) -> None:
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(seconds))
        await asyncio.shield(self._closing)

    async def _close(self, seconds: float | None) -> None:
        _open.discard(self)
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        await self.source.close()
        if self._storage is not None:
            await self._storage.close()
        if self._sink is not None:
            await (self._sink.close() if seconds is None else self._sink.close(seconds))
        await self._reporter.stop()
        await self.client.close()


async def connect(guard_class: type[G], **options: Any) -> tuple[G, Connection]:
    """
    Make a guard that is connected to a console.

    Args:
        guard_class: What to make.
        **options: Those of :class:`Options`; all others are options of the guard.
    """
    ours = {field.name for field in attrs.fields(Options)}
    connection = Connection(Options(**{name: value for name, value in options.items() if name in ours}))
    others = {name: value for name, value in options.items() if name not in ours}
    return await connection.open(guard_class, others), connection


def connect_sync(guard_class: type[G], **options: Any) -> tuple[G, Connection]:
    """
    :func:`connect` for synchronous code, also inside a running event loop.
    """
    return wait_for(connect(guard_class, **options))


def _close_all() -> None:
    """
    At the end of the interpreter: send what waits in guards that nobody closed.
    """
    left = [connection for connection in _open if connection._generation == generation()]
    if not left:
        return
    closing = [asyncio.run_coroutine_threadsafe(each._close(_EXIT_SECONDS), client_loop()) for each in left]
    for future in closing:
        try:
            future.result(_EXIT_SECONDS + 3)
        except Exception as error:
            logger.warning("a connection with the console did not end in order: %s", error)


at_exit(_close_all)
