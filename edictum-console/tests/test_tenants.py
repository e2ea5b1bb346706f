from __future__ import annotations

from consoles import PASSWORD, Console, Session, WithConsole
from edictum_console.db.scope import Scopes
from edictum_console.domains.accounts.service import add_person
from edictum_console.domains.environments.service import EnvironmentService
from edictum_console.domains.signing.service import SigningService
from edictum_console.domains.tenants.repository import TenantRepository
from edictum_console.ids import new_id
from edictum_console.resources import Caller
from edictum_console.security.actor import Anonymous, Role
from edictum_console.security.passwords import Hasher
from edictum_console.security.sealing import Sealer

SEALER = Sealer(b"k" * 32)  # as the console's settings in tests
OTHER = "eve@example.com"


async def second_tenant(console: Console) -> Session:
    """
    Make a tenant with an administrator and an environment that nobody else has.
    """

    async def wake(tenant: object) -> None:
        pass

    tenant_id = new_id()
    scope = Scopes(console.database, wake).of(tenant_id)
    password_hash = await Hasher(cost=4).hash(PASSWORD)
    async with scope.transaction():
        await TenantRepository(console.database).add(tenant_id, "other")
        await EnvironmentService(scope).add_first()
        await SigningService(scope, SEALER).add_first()
        await add_person(scope, OTHER, password_hash, Role.ADMIN, Caller(Anonymous(), "local", "test"))
    session = await console.sign_in(OTHER)
    await session.must("POST", "/api/v1/environments", {"name": "theirs"})
    return session


def test_tenants_do_not_see_each_other(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        eve, ana = await second_tenant(console), await console.sign_in()
        await eve.must("POST", "/api/v1/keys", {"env": "theirs"})
        assert (await ana.must("GET", "/api/v1/keys"))["api_keys"] == []
        assert len((await ana.must("GET", "/api/v1/users"))["users"]) == 1
        assert "theirs" not in (await ana.get("/api/v1/environments")).text
        assert "theirs" not in (await ana.get("/api/v1/audit-log")).text
        taken = await ana.post("/api/v1/users", {"email": OTHER, "role": "viewer"})
        assert taken.json()["code"] == "email_taken"
        assert (await ana.must("GET", "/api/v1/audit-log/check"))["intact"]
        assert (await eve.must("GET", "/api/v1/audit-log/check"))["intact"]

    with_console(check)
