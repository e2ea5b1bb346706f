"""
Storing and deploying rulesets.
"""

from __future__ import annotations

from edictum_console.commands.opening import Opened
from edictum_console.domains.deployments.schemas import Deployment, NewDeployment
from edictum_console.domains.deployments.service import DeploymentService
from edictum_console.domains.rulesets.schemas import Draft, RulesetProblem, RulesetVersion, Upload
from edictum_console.domains.rulesets.service import RulesetService
from edictum_console.errors import CommandError, ConflictError
from edictum_console.http.bodies import structure


async def push_ruleset(
    console: Opened, tenant: str | None, file: str, content: bytes, note: str
) -> tuple[RulesetVersion, bool]:
    """
    Store a file as the next version of the ruleset that it names.

    Args:
        console: What the command works with.
        tenant: Whose; None for the only one.
        file: What the file is called, in problems.
        content: What is in it.
        note: What its author says about it.

    Returns:
        The version, and whether it is new: the same bytes as those of the newest one are that version.

    Raises:
        CommandError: It cannot be loaded.
    """
    service = RulesetService(await console.scope(tenant))
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise CommandError(f"{file}: is not UTF-8 from byte {error.start} on; save it as UTF-8") from None
    upload = structure({"yaml_content": text, "note": note}, Upload)
    # Asked first, because it says lines and columns.
    read = await service.validate(Draft(upload.yaml_content))
    if not read.valid:
        lines = [_line(file, problem) for problem in read.errors]
        raise CommandError(f"{file} is no ruleset that an agent can load; nothing was stored", lines)
    return await service.upload(upload, console.caller)


async def deploy_ruleset(
    console: Opened, tenant: str | None, name: str, version: int, *, env: str, note: str, expect_current: int | None
) -> Deployment:
    """
    Let a version run in an environment.

    Args:
        console: What the command works with.
        tenant: Whose; None for the only one.
        name: The ruleset.
        version: Its version.
        env: The environment.
        note: Why.
        expect_current: The version that is to run there now; 0 for none, None for any.

    Raises:
        CommandError: Another version runs there than was expected.
    """
    new = structure({"env": env, "note": note, "expect_current": expect_current}, NewDeployment)
    service = DeploymentService(await console.scope(tenant), console.resources.sealer)
    try:
        return await service.deploy(name, version, new, console.caller)
    except ConflictError as error:
        running = (error.current or {}).get("current_version")
        raise CommandError(f"{error.detail}: {f'version {running}' if running else 'none'}; look again") from None


def _line(file: str, problem: RulesetProblem) -> str:
    place = file if problem.line is None else f"{file}:{problem.line}:{problem.column}"
    return f"{place}: {f'{problem.path}: ' if problem.path else ''}{problem.message}"
