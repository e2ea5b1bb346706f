"""
Filling an empty console with the demo.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from datetime import timedelta

import attrs

from edictum_console.app import Prepare
from edictum_console.demo.agents import play_agents
from edictum_console.demo.content import AGENTS, CODING, PIPELINE, SUPPORT, text_of
from edictum_console.domains.accounts.schemas import Invitation
from edictum_console.domains.accounts.service import UserService
from edictum_console.domains.assignment.schemas import NewRule
from edictum_console.domains.assignment.service import AssignmentService
from edictum_console.domains.deployments.schemas import NewDeployment
from edictum_console.domains.deployments.service import DeploymentService
from edictum_console.domains.environments.schemas import EnvironmentChange
from edictum_console.domains.environments.service import EnvironmentService
from edictum_console.domains.keys.schemas import CreatedKey, NewKey
from edictum_console.domains.keys.service import KeyService
from edictum_console.domains.rulesets.schemas import Upload
from edictum_console.domains.rulesets.service import RulesetService
from edictum_console.domains.tenants.service import SetupService
from edictum_console.errors import ConflictError, StartError
from edictum_console.resources import Caller, Resources
from edictum_console.security.actor import Anonymous, KeyActor, KeyScope, PersonActor, Role
from edictum_console.settings import Settings

logger = logging.getLogger(__name__)

EMAIL = "demo@example.com"
_MARK = "demo"

_DEPLOYMENTS = (
    ("production", SUPPORT, 1, "first version"),
    ("production", SUPPORT, 2, "people decide about larger refunds"),
    ("staging", SUPPORT, 2, "to be tried"),
    ("staging", SUPPORT, 3, "stricter limits, to be tried"),
    ("development", CODING, 1, "first version"),
    ("development", CODING, 2, "people decide about pushes"),
    ("staging", PIPELINE, 1, "watches only"),
)
_ENVIRONMENTS = ("development", "staging", "production")

_RULES = (
    NewRule("production", "support-*", SUPPORT, note="everybody who answers customers"),
    NewRule("staging", "support-*", SUPPORT),
    NewRule("staging", "*", PIPELINE, {"team": "data"}, note="by what agents say about themselves"),
    NewRule("development", "assistant-*", CODING),
    NewRule("production", "*", SUPPORT, {"team": "data"}, trusted_tags_only=True, enabled=False, note="not yet"),
)


def demo_of(settings: Settings) -> Prepare:
    """
    Return what fills an empty console with the demo, or says how to sign in to the one that is there.

    Raises:
        StartError: These settings are for something else.
    """
    if settings.production:
        raise StartError("--demo is refused in production; leave it out, or set EDICTUM_ENV_NAME to development")
    if settings.admin_email is not None:
        raise StartError(
            "--demo makes an administrator of its own; unset EDICTUM_ADMIN_EMAIL and EDICTUM_ADMIN_PASSWORD"
        )
    return _prepare


async def refuse_half_a_demo(resources: Resources) -> None:
    """
    Do not serve a demo that was not finished: nobody knows how to sign in to it.

    Raises:
        StartError: There is one.
    """
    if False in (await SetupService(resources).marks(_MARK)).values():
        raise StartError(
            "the demo in this database was not finished; start with --demo to make it anew, or name another "
            "EDICTUM_DATA_DIR or EDICTUM_DATABASE_URL"
        )


async def _prepare(resources: Resources) -> None:
    """
    Fill the console, unless that was done before.

    It takes many transactions, so the tenant is marked from its first one on as not finished.  What a process left that
    was ended meanwhile is removed, and the demo made anew: nobody was told how to sign in to it, so nothing in it is
    anybody's.

    Raises:
        StartError: There is somebody already.
    """
    settings, setup = resources.settings, SetupService(resources)
    password = _password(settings)
    login = f"sign in at {settings.base_url} as {EMAIL} with the password {password}"
    async with resources.scopes.database.alone(_MARK):
        for tenant_id, finished in (await setup.marks(_MARK)).items():
            if finished:
                logger.warning("this is the demo: %s; API keys are shown only when they are made", login)
                return
            logger.warning("a demo was not finished; it is removed and made anew")
            await setup.remove(tenant_id)
        key = await _make(resources, password)
    logger.warning("the demo is ready: %s", login)
    logger.warning("an agent of it, in %s, may use the API key %s", key.api_key.env, key.key)


async def _make(resources: Resources, password: str) -> CreatedKey:
    caller, setup = Caller(Anonymous(), "local", "demo"), SetupService(resources)
    try:
        made = await setup.create(EMAIL, password, "Demo", caller, {_MARK: False})
    except ConflictError:
        raise StartError(
            "--demo is for an empty database, and this one has people; name another EDICTUM_DATA_DIR or "
            "EDICTUM_DATABASE_URL, or leave --demo out"
        ) from None
    logger.warning("the demo is being made, which takes some seconds")
    person = PersonActor(made.tenant_id, made.user_id, EMAIL, Role.ADMIN, "")
    key = await _Seeding(resources, attrs.evolve(caller, actor=person), person).run()
    await setup.mark(made.tenant_id, _MARK)
    return key


def _password(settings: Settings) -> str:
    """
    The same at every start, known to whoever can read the console's output, and to nobody else.
    """
    return hmac.new(settings.secret_key, b"demo", hashlib.sha256).hexdigest()[:24]


class _Seeding:
    """
    What people do before agents come.
    """

    def __init__(self, resources: Resources, caller: Caller, person: PersonActor) -> None:
        self._resources = resources
        self._caller = caller
        self._person = person
        self._scope = resources.scopes.of(person.tenant_id)

    async def run(self) -> CreatedKey:
        """
        Do all of it, and let the agents play.

        Returns:
            The API key of the agents in production.
        """
        people = UserService(self._scope, self._resources)
        for email, role in (("operator@example.com", Role.OPERATOR), ("viewer@example.com", Role.VIEWER)):
            await people.invite(Invitation(email, role), self._caller)
        for name, colour in (("staging", "orange"), ("production", "red")):
            change = EnvironmentChange(colour=colour, protected=name == "production")
            await EnvironmentService(self._scope).change(name, change, self._caller)
        keys = await self._keys()
        await self._rulesets()
        actors = {agent.agent_id: _actor(keys[agent.env], agent.agent_id, self._person) for agent in AGENTS}
        await play_agents(self._resources, self._scope, actors, self._caller)
        return keys["production"]

    async def _keys(self) -> dict[str, CreatedKey]:
        service = KeyService(self._scope, self._resources.hasher, self._resources.stores.bus)
        keys = {env: await service.create(NewKey(env, f"agents in {env}"), self._caller) for env in _ENVIRONMENTS}
        over = await self._scope.database.now() + timedelta(days=30)
        reading = NewKey("production", "report of the week", [KeyScope.EVENTS_READ], expires_at=over)
        await service.create(reading, self._caller)
        lost = await service.create(NewKey("staging", "on a laptop that was lost"), self._caller)
        await service.revoke(lost.api_key.id, self._caller)
        return keys

    async def _rulesets(self) -> None:
        rulesets = RulesetService(self._scope)
        for name, versions in ((SUPPORT, 3), (CODING, 2), (PIPELINE, 1)):
            for version in range(1, versions + 1):
                await rulesets.upload(Upload(text_of(name, version), f"version {version}"), self._caller)
        deployments = DeploymentService(self._scope, self._resources.sealer)
        for env, name, version, note in _DEPLOYMENTS:
            await deployments.deploy(name, version, NewDeployment(env, note), self._caller)
        for rule in _RULES:
            await AssignmentService(self._scope).add(rule, self._caller)


def _actor(key: CreatedKey, agent_id: str, person: PersonActor) -> KeyActor:
    made = key.api_key
    return KeyActor(
        person.tenant_id, made.id, made.prefix, made.env, frozenset(made.scopes), made.agent_pattern, agent_id
    )
