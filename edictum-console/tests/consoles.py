"""
A console in the test's own process, and those who talk to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import attrs
import httpx
from edictum_console.app import Prepare, create_app
from edictum_console.db.database import Database
from edictum_console.domains.notifications.senders.parts import Providers
from edictum_console.domains.stream.hub import Rhythm
from edictum_console.security.actor import Role
from edictum_console.security.passwords import Hasher
from edictum_console.settings import Settings

EMAIL = "ana@example.com"
PASSWORD = "correct horse battery"


@attrs.frozen
class Session:
    """
    Somebody who sends the same headers with every request.
    """

    client: Any
    headers: dict[str, str]

    async def send(self, method: str, path: str, body: Any = None, **others: Any) -> httpx.Response:
        """
        Send a request; a body is sent as JSON.
        """
        headers = {**self.headers, **others.pop("headers", {})}
        self.client.cookies.clear()  # the client's own; a session's cookie is among its headers
        if body is not None:
            others["json"] = body
        response: httpx.Response = await self.client.request(method, path, headers=headers, **others)
        return response

    async def get(self, path: str, **others: Any) -> httpx.Response:
        """
        Read.
        """
        return await self.send("GET", path, **others)

    async def post(self, path: str, body: Any = None, **others: Any) -> httpx.Response:
        """
        Send a body, an empty object where none is given.
        """
        return await self.send("POST", path, {} if body is None else body, **others)

    async def must(self, method: str, path: str, body: Any = None, **others: Any) -> Any:
        """
        Send a request that succeeds, and return what the answer holds.
        """
        response = await self.send(method, path, body, **others)
        assert response.is_success, (response.status_code, response.text)
        return response.json()


@attrs.frozen
class Console:
    """
    A console that is running.
    """

    app: Any
    client: Any

    @property
    def database(self) -> Database:
        """
        Its database, to look behind the scenes.
        """
        found: Database = self.app.state.database
        return found

    @property
    def anonymous(self) -> Session:
        """
        Nobody that is known.
        """
        return Session(self.client, {})

    async def sign_in(self, email: str = EMAIL, password: str = PASSWORD) -> Session:
        """
        Sign a person in.
        """
        response = await self.anonymous.post("/api/v1/auth/login", {"email": email, "password": password})
        assert response.status_code == 200, response.text
        (cookie,) = response.headers.get_list("set-cookie")
        token = response.json()["csrf_token"]
        return Session(self.client, {"Cookie": cookie.split(";")[0], "X-CSRF-Token": token})

    async def person(self, role: Role) -> Session:
        """
        Let a person in and sign them in.
        """
        email = f"{role}@example.com"
        admin = await self.sign_in()
        invited = await admin.must("POST", "/api/v1/users", {"email": email, "role": role})
        token = invited["reset_link"].partition("#")[2]
        await self.anonymous.must("POST", "/api/v1/auth/reset", {"token": token, "new_password": PASSWORD})
        return await self.sign_in(email)

    async def agent(self, env: str = "production", agent_id: str | None = "bot", **others: Any) -> Session:
        """
        Make an API key.
        """
        admin = await self.sign_in()
        made = await admin.must("POST", "/api/v1/keys", {"env": env, **others})
        named = {} if agent_id is None else {"X-Edictum-Agent-Id": agent_id}
        return Session(self.client, {"Authorization": f"Bearer {made['key']}", **named})


WithConsole: TypeAlias = Callable[..., Any]
Check: TypeAlias = Callable[[Console], Awaitable[Any]]


@asynccontextmanager
async def running(
    settings: Settings,
    rhythm: Rhythm | None = None,
    prepare: Prepare | None = None,
    providers: Providers | None = None,
) -> AsyncIterator[Console]:
    """
    Run a console with cheap hashes.
    """
    app = create_app(settings, hasher=Hasher(cost=4), rhythm=rhythm, prepare=prepare, providers=providers)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)  # type: ignore[arg-type]  # Litestar's own types
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url=settings.base_url) as client:
        yield Console(app, client)
