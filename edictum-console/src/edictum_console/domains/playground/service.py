"""
Trying calls on rulesets.
"""

from __future__ import annotations

from edictum_console.db.scope import TenantScope
from edictum_console.domains.compositions.service import CompositionService
from edictum_console.domains.playground.process import Evaluator
from edictum_console.domains.playground.schemas import Evaluation, Trial
from edictum_console.domains.rulesets.reading import UnloadableError, read_ruleset
from edictum_console.domains.rulesets.service import RulesetService, invalid_ruleset
from edictum_console.errors import unfit
from edictum_console.http.bodies import structure, unstructure
from edictum_console.security.sealing import Sealer

_CALL = ("tool_name", "tool_args", "principal", "environment", "output", "session", "mode")


class PlaygroundService:
    """
    The playground of one tenant.
    """

    def __init__(self, scope: TenantScope, sealer: Sealer, evaluator: Evaluator) -> None:
        self._rulesets = RulesetService(scope)
        self._compositions = CompositionService(scope, sealer)
        self._evaluator = evaluator

    async def evaluate(self, trial: Trial) -> Evaluation:
        """
        Say what happens to a call.

        Raises:
            InvalidError: No agent can load the ruleset, the call makes no sense, or judging it costs too much.
            NotFoundError: The version or the composition is not there.
            UnavailableError: No process is to be had.
        """
        text = await self._text(trial)
        try:
            await read_ruleset(text)
        except UnloadableError as error:
            raise invalid_ruleset(error) from None
        given = unstructure(trial)
        call = {name: given[name] for name in _CALL}
        answer = await self._evaluator.judge({"text": text, **call})
        return structure(answer, Evaluation)

    async def _text(self, trial: Trial) -> str:
        given = [name for name in ("yaml_content", "name", "composition") if getattr(trial, name) is not None]
        if len(given) != 1:
            raise unfit(("yaml_content",), "give one of yaml_content, name with version, and composition")
        if (trial.name is None) != (trial.version is None):
            raise unfit(("version",), "belongs to a name, and a name to it")
        if trial.yaml_content is not None:
            return trial.yaml_content
        if trial.name is not None and trial.version is not None:
            return (await self._rulesets.find(trial.name, trial.version)).text
        preview = await self._compositions.preview(trial.composition or "", None)
        if preview.errors:
            raise invalid_ruleset(UnloadableError(preview.errors))
        return preview.yaml_content
