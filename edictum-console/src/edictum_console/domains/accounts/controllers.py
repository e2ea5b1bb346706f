"""
Routes of people and their logins.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.datastructures import Cookie
from litestar.di import Provide
from litestar.params import FromPath, JSONBody

from edictum_console.db.scope import TenantScope
from edictum_console.domains.accounts.schemas import (
    Credentials,
    Invitation,
    Invited,
    Me,
    PasswordChange,
    PasswordReset,
    ResetLink,
    User,
    UserChange,
    Users,
)
from edictum_console.domains.accounts.service import LoginService, UserService
from edictum_console.http.bodies import Done, unstructure
from edictum_console.http.parameters import Injected
from edictum_console.resources import Caller, Resources
from edictum_console.security import guards
from edictum_console.security.actor import PersonActor, Role
from edictum_console.security.authentication import cookie_name
from edictum_console.security.logins import LONGEST
from edictum_console.settings import Settings


def provide_logins(resources: Injected[Resources]) -> LoginService:
    """
    Make the service for signing in.
    """
    return LoginService(resources)


def provide_users(scope_of_caller: Injected[TenantScope], resources: Injected[Resources]) -> UserService:
    """
    Make the service for the tenant of the caller.
    """
    return UserService(scope_of_caller, resources)


class LoginController(Controller):
    """
    Signing in and out.
    """

    path = "/auth"
    tags = ("accounts",)
    dependencies = {"service": Provide(provide_logins, sync_to_thread=False)}  # noqa: RUF012

    @post("/login", guards=[guards.anyone], status_code=200, summary="Sign in")
    async def sign_in(
        self,
        service: Injected[LoginService],
        resources: Injected[Resources],
        caller: Injected[Caller],
        data: JSONBody[Credentials],
    ) -> Response[Me]:
        """
        Sign in; the answer sets the cookie.
        """
        token, me = await service.sign_in(data, caller)
        return Response(unstructure(me), cookies=[_cookie(resources.settings, token)])

    @post("/logout", guards=[guards.login], status_code=200, summary="Sign out")
    async def sign_out(
        self,
        service: Injected[LoginService],
        resources: Injected[Resources],
        request: Request[PersonActor, str, Any],
    ) -> Response[Done]:
        """
        End this login.
        """
        await service.sign_out(request.user)
        return Response(unstructure(Done()), cookies=[_cookie(resources.settings, None)])

    @post("/logout-all", guards=[guards.login], status_code=200, summary="Sign out everywhere")
    async def sign_out_everywhere(
        self,
        service: Injected[LoginService],
        resources: Injected[Resources],
        request: Request[PersonActor, str, Any],
    ) -> Response[Done]:
        """
        End all logins of this person, and all tokens of their scripts.
        """
        await service.sign_out_everywhere(request.user)
        return Response(unstructure(Done()), cookies=[_cookie(resources.settings, None)])

    @get("/me", guards=[guards.person(Role.VIEWER)], summary="Say who is signed in")
    async def me(self, service: Injected[LoginService], request: Request[PersonActor, str, Any]) -> Me:
        """
        Say who is signed in, with the token that changes must send.
        """
        return service.describe(request.user)

    @post("/password", guards=[guards.login], status_code=200, summary="Change the own password")
    async def change_password(
        self,
        service: Injected[LoginService],
        request: Request[PersonActor, str, Any],
        caller: Injected[Caller],
        data: JSONBody[PasswordChange],
    ) -> Done:
        """
        Change the own password, which ends the person's other logins.
        """
        await service.change_password(request.user, data, caller)
        return Done()

    @post("/reset", guards=[guards.anyone], status_code=200, summary="Choose a password with a reset link")
    async def reset_password(
        self, service: Injected[LoginService], caller: Injected[Caller], data: JSONBody[PasswordReset]
    ) -> Done:
        """
        Choose a password with the token of a reset link.
        """
        await service.reset_password(data, caller)
        return Done()


class UserController(Controller):
    """
    People.
    """

    path = "/users"
    tags = ("accounts",)
    dependencies = {"service": Provide(provide_users, sync_to_thread=False)}  # noqa: RUF012

    @get(guards=[guards.person(Role.ADMIN)], summary="List people")
    async def list_users(self, service: Injected[UserService]) -> Users:
        """
        List all people, by address.
        """
        return await service.all()

    @post(guards=[guards.person(Role.ADMIN)], summary="Let a person in")
    async def invite(
        self, service: Injected[UserService], caller: Injected[Caller], data: JSONBody[Invitation]
    ) -> Invited:
        """
        Let a person in; the answer has the link by which they choose a password.
        """
        return await service.invite(data, caller)

    @patch("/{user_id:uuid}", guards=[guards.person(Role.ADMIN)], summary="Change a person")
    async def change(
        self,
        service: Injected[UserService],
        caller: Injected[Caller],
        user_id: FromPath[UUID],
        data: JSONBody[UserChange],
    ) -> User:
        """
        Change what a person may do, or whether they may sign in; ends their logins.
        """
        return await service.change(user_id, data, caller)

    @delete("/{user_id:uuid}", guards=[guards.person(Role.ADMIN)], status_code=200, summary="Remove a person")
    async def remove(self, service: Injected[UserService], caller: Injected[Caller], user_id: FromPath[UUID]) -> Done:
        """
        Remove a person for good, with their logins and the tokens of their scripts; the address can be invited again.
        """
        await service.remove(user_id, caller)
        return Done()

    @post("/{user_id:uuid}/reset-link", guards=[guards.person(Role.ADMIN)], summary="Make a reset link")
    async def reset_link(
        self, service: Injected[UserService], caller: Injected[Caller], user_id: FromPath[UUID]
    ) -> ResetLink:
        """
        Make a link by which a person chooses a new password, once, within two days.
        """
        return await service.reset_link(user_id, caller)


def _cookie(settings: Settings, token: str | None) -> Cookie:
    return Cookie(
        key=cookie_name(settings),
        value=token or "",
        max_age=0 if token is None else int(LONGEST.total_seconds()),
        httponly=True,
        secure=settings.secure,
        samesite="lax",
        path="/",
    )
