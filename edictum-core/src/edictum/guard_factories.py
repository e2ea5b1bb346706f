"""
Where guards come from: files, texts, parsed documents, templates, and other guards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, Self, cast, overload

from edictum.errors import EdictumConfigError
from edictum.guard_parts import GuardParts
from edictum.options import one_of, reading_options, with_workflow
from edictum.ruleset.policy import Policy
from edictum.ruleset.vocabulary import MAX_RULES

if TYPE_CHECKING:
    from edictum.loading import Rulesets
    from edictum.ruleset.composition import CompositionReport
    from edictum.template_files import TemplateDirs, TemplateInfo


class GuardFactories(GuardParts):
    """
    The ways to make a guard, and to give it another ruleset.
    """

    @overload
    @classmethod
    def from_yaml(
        cls,
        *paths: str | PathLike[str],
        legacy: Literal["reject", "upgrade"] = "reject",
        rulesets: Rulesets | None = None,
        return_report: Literal[False] = False,
        **options: Any,
    ) -> Self: ...

    @overload
    @classmethod
    def from_yaml(
        cls,
        *paths: str | PathLike[str],
        legacy: Literal["reject", "upgrade"] = "reject",
        rulesets: Rulesets | None = None,
        return_report: Literal[True],
        **options: Any,
    ) -> tuple[Self, CompositionReport]: ...

    @classmethod
    def from_yaml(
        cls,
        *paths: str | PathLike[str],
        legacy: Literal["reject", "upgrade"] = "reject",
        rulesets: Rulesets | None = None,
        return_report: bool = False,
        **options: Any,
    ) -> Self | tuple[Self, CompositionReport]:
        """
        Make a guard from ruleset files, YAML or JSON.

        Several files are layers: a later one replaces the default mode, tools and rules of the same id, and adds its
        other rules; one with ``observe_alongside: true`` is only measured beside the others.

        Args:
            *paths: The files.
            legacy: ``upgrade`` accepts the older vocabulary (``contracts``, ``effect``).
            rulesets: What the files may extend, by name: a file, the text of a document, or parsed data.  A parent
                that is not named here is looked for beside the file.
            return_report: Return also what the layers did to each other.
            **options: Options of the constructor.  Instead of ``workflow_runtime`` it may be ``workflow_path`` or
                ``workflow_content``, the document of a workflow, and ``workflow_exec_evaluator_enabled=True`` where
                that runs programs.

        Raises:
            EdictumConfigError: A file is invalid, or none was given.
            FileNotFoundError: A file does not exist.
        """
        from edictum import loading

        if not paths:
            raise EdictumConfigError("from_yaml needs the path of a ruleset")
        names, redaction = reading_options(options)
        policy, report = loading.load_files(paths, names, redaction, legacy, rulesets or {})
        guard = cls._from_policy(policy, options | {"redaction": redaction}, legacy, rulesets)
        guard._sources = tuple(str(path) for path in paths)
        return (guard, report) if return_report else guard

    @classmethod
    def from_yaml_string(
        cls,
        content: str | bytes,
        *,
        legacy: Literal["reject", "upgrade"] = "reject",
        rulesets: Rulesets | None = None,
        **options: Any,
    ) -> Self:
        """
        Make a guard from the text of a ruleset, YAML or JSON; see :meth:`from_yaml`.
        """
        from edictum import loading

        names, redaction = reading_options(options)
        policy, _ = loading.load_contents([content], names, redaction, legacy, rulesets=rulesets or {})
        return cls._from_policy(policy, options | {"redaction": redaction}, legacy, rulesets)

    @classmethod
    def from_bundle_dict(
        cls,
        bundle: Mapping[str, Any],
        policy_version: str | None = None,
        *,
        legacy: Literal["reject", "upgrade"] = "reject",
        max_rules: int = MAX_RULES,
        rulesets: Rulesets | None = None,
        **options: Any,
    ) -> Self:
        """
        Make a guard from a ruleset that is already parsed; see :meth:`from_yaml`.

        Args:
            bundle: The document.
            policy_version: Its identity; None takes the SHA-256 of its canonical JSON.
            legacy: See :meth:`from_yaml`.
            max_rules: How many rules the document may have, for rulesets made by a program.
            rulesets: See :meth:`from_yaml`.
            **options: Options of the constructor.
        """
        from edictum import loading

        names, redaction = reading_options(options)
        policy, _ = loading.load_contents([bundle], names, redaction, legacy, policy_version, max_rules, rulesets or {})
        guard = cls._from_policy(policy, options | {"redaction": redaction}, legacy, rulesets)
        guard._max_rules = max_rules
        return guard

    @classmethod
    def from_template(cls, name: str, *, template_dirs: TemplateDirs | None = None, **options: Any) -> Self:
        """
        Make a guard from a template: a shipped ruleset, or one in a folder of your own.

        Args:
            name: Name of the template, for example ``file-agent``; see :meth:`list_templates`.
            template_dirs: Folders that are searched before the shipped templates, the first one first.
            **options: Options of :meth:`from_yaml`.

        Raises:
            EdictumConfigError: There is no such template, or it is invalid.
        """
        from edictum.template_files import find_template

        return cls.from_yaml(find_template(name, template_dirs).path, return_report=False, **options)

    @staticmethod
    def list_templates(template_dirs: TemplateDirs | None = None) -> list[TemplateInfo]:
        """
        The templates that :meth:`from_template` finds; see :func:`edictum.template_files.list_templates`.
        """
        from edictum.template_files import list_templates

        return list_templates(template_dirs)

    @classmethod
    async def from_server(cls, url: str, api_key: str, agent_id: str, **options: Any) -> Self:
        """
        Make a guard that follows a console: its ruleset, shared session state, approvals, and the decision log.

        Needs the package ``edictum-client``.  Call :meth:`~edictum.guard.Edictum.close` at the end, or use the guard
        in ``async with``.

        Args:
            url: Where the console is; ``https``, or ``http`` on this machine.
            api_key: The agent's API key.
            agent_id: What the agent calls itself.
            **options: ``env`` ("production"); ``bundle_name``, the ruleset, None where the console assigns one, which
                is waited for for ``assignment_timeout`` seconds (30); ``tags`` for assignment rules; ``auto_watch``
                (True), follow changes; ``allow_insecure``, send the key unencrypted to other hosts.

                ``signing_public_key``, whose signatures are believed, and with it ``verify_signatures``,
                ``trust_rotation``, and ``cache_dir`` and ``cache_max_age`` (a day), to start while the console
                cannot be reached.

                ``loss_policy``, what happens to events that cannot be sent: ``drop_oldest`` or ``block_calls``;
                ``spool_dir`` and ``max_spool_bytes``, to keep them on disk.

                ``audit_sink``, ``approval_backend`` and ``storage_backend`` replace one part.  All others are options
                of :meth:`from_yaml_string`.

        Raises:
            EdictumConfigError: The package is missing, an option makes no sense, no ruleset is deployed or assigned,
                or it is invalid.
            EdictumServerError: The console cannot be reached, refuses, or cannot be believed.
        """
        from edictum.server import connecting

        connected = await connecting().connect(cls, url=url, api_key=api_key, agent_id=agent_id, **options)
        guard, guard._connection = connected
        return cast(Self, guard)

    @classmethod
    def from_server_sync(cls, url: str, api_key: str, agent_id: str, **options: Any) -> Self:
        """
        :meth:`from_server` for synchronous code; also inside a running event loop, which it holds up meanwhile.
        """
        from edictum.server import connecting

        connected = connecting().connect_sync(cls, url=url, api_key=api_key, agent_id=agent_id, **options)
        guard, guard._connection = connected
        return cast(Self, guard)

    @classmethod
    def from_multiple(cls, guards: Sequence[GuardParts], *, merge: Literal["first", "strictest"] = "first") -> Self:
        """
        Merge the rules of several guards into one.

        A rule id that occurs twice counts once, from the first guard that has it.  All configuration comes
        from the first guard; hooks and principal are not carried over.

        Args:
            guards: At least one.
            merge: ``strictest`` takes the smallest limits, the more dangerous class of each tool, and a
                policy version that names all of them.

        Raises:
            EdictumConfigError: No guard was given.
        """
        from edictum.merging import merge_guards

        one_of("merge", merge, ("first", "strictest"))
        return merge_guards(cls, guards, strictest=merge == "strictest")

    @classmethod
    def _from_policy(
        cls,
        policy: Policy,
        options: dict[str, Any],
        legacy: Literal["reject", "upgrade"],
        rulesets: Rulesets | None,
    ) -> Self:
        from edictum import loading

        if options.get("audit_sink") is None:
            options["audit_sink"] = loading.sinks_of(policy.observability, options["redaction"])
        guard = cls(**with_workflow(options), policy=policy)
        if guard._telemetry is not False:
            loading.start_telemetry(policy.observability)
        guard._legacy = legacy
        guard._rulesets = dict(rulesets or {})
        return guard

    # --- reload and end -------------------------------------------------------------------------

    async def reload(self, content: str | bytes | Mapping[str, Any], *layers: str | bytes | Mapping[str, Any]) -> None:
        """
        Replace the ruleset; everything else the guard was made with stays.

        The document is read and compiled in a worker thread and then swapped in as a whole.  Calls that have
        begun end under the ruleset they began with.

        Args:
            content: The document.
            *layers: More documents, composed with it as :meth:`from_yaml` composes files.

        Raises:
            EdictumConfigError: A document is invalid; the ruleset in force stays.
        """
        import asyncio

        from edictum import loading

        if not self._reloadable:
            raise EdictumConfigError(
                "a guard made by from_multiple cannot be reloaded; reload its parts and merge them again"
            )
        contents = (content, *layers)
        policy, _ = await asyncio.to_thread(
            loading.load_contents,
            contents,
            self._names,
            self.redaction,
            self._legacy,
            None,
            self._max_rules,
            self._rulesets,
        )
        self._state = self._make_state(policy)

    async def reload_from_disk(self) -> None:
        """
        Read the files of :meth:`from_yaml` again and replace the ruleset with them.

        Raises:
            EdictumConfigError: The guard was not made from files, or one is invalid.
            FileNotFoundError: A file is gone.
        """
        import asyncio

        from edictum import loading

        if not self._sources:
            raise EdictumConfigError("this guard was not made by from_yaml, so there is no file to read again")
        policy, _ = await asyncio.to_thread(
            loading.load_files, self._sources, self._names, self.redaction, self._legacy, self._rulesets
        )
        self._state = self._make_state(policy)
