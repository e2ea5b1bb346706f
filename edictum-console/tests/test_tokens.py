"""
Tokens with which people's scripts use the console.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from consoles import EMAIL, PASSWORD, Console, Session, WithConsole
from edictum_console.ids import new_id
from edictum_console.security.actor import Role
from edictum_console.security.script_tokens import LIFETIME, ScriptClaims, TokenSigner
from hypothesis import given
from hypothesis import strategies as st
from test_tenants import second_tenant

TOKEN = "/api/v1/auth/token"
REFRESH = "/api/v1/auth/token/refresh"
TOKENS = "/api/v1/auth/tokens"
ME = "/api/v1/auth/me"

CLAIMS = ScriptClaims(new_id(), new_id(), new_id(), Role.OPERATOR)


def script(console: Console, pair: dict[str, Any]) -> Session:
    return Session(console.client, {"Authorization": f"Bearer {pair['access_token']}"})


async def status(session: Session) -> int:
    return (await session.get(ME)).status_code


def unpacked(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=="))


def test_token_says_whose_it_is_and_works_without_cookie_and_csrf(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        pair = await ana.must("POST", TOKEN, {"label": "nightly"})
        me = await ana.must("GET", ME)
        header, body, _ = pair["access_token"].split(".")
        assert unpacked(header) == {"alg": "HS256", "typ": "JWT"}
        facts = unpacked(body)
        assert (facts["sub"], facts["tid"], facts["aud"]) == (me["user_id"], me["tenant_id"], "edictum-console")
        assert (facts["exp"] - facts["iat"], facts["sid"]) == (pair["expires_in"], pair["id"])
        nightly = script(console, pair)
        assert (await nightly.must("GET", ME)) == {**me, "csrf_token": ""}
        await nightly.must("POST", "/api/v1/environments", {"name": "nightly"})
        both = Session(console.client, {**nightly.headers, "Cookie": ana.headers["Cookie"]})
        await both.must("POST", "/api/v1/environments", {"name": "both"})
        log = await ana.must("GET", "/api/v1/audit-log")
        assert log["entries"][0]["actor"] == EMAIL
        scripts = {entry["object"]: entry["details"].get("script") for entry in log["entries"]}
        assert (scripts["nightly"], scripts["both"], scripts[EMAIL]) == (pair["id"], pair["id"], None)
        (listed,) = (await ana.must("GET", TOKENS))["tokens"]
        assert (listed["id"], listed["label"], listed["role"]) == (pair["id"], "nightly", "admin")

    with_console(check)


def test_token_is_made_with_a_password_and_throttled_like_a_login(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        good = {"email": EMAIL.upper(), "password": PASSWORD, "role": "viewer"}
        pair = await console.anonymous.must("POST", TOKEN, good)
        assert await status(script(console, pair)) == 200
        for body in ({}, {"email": EMAIL}, {"password": PASSWORD}):
            assert (await console.anonymous.post(TOKEN, body)).json()["code"] == "not_signed_in"
        wrong = [await console.anonymous.post(TOKEN, {**good, "password": "wrong"}) for _ in range(10)]
        assert [answer.status_code for answer in wrong] == [401] * 9 + [429]

    with_console(check)


def test_token_may_do_what_its_role_and_its_person_may(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, operator = await console.sign_in(), await console.person(Role.OPERATOR)
        reading = script(console, await ana.must("POST", TOKEN, {"role": "viewer"}))
        assert (await reading.must("GET", ME))["role"] == "viewer"
        assert (await reading.post("/api/v1/environments", {"name": "no"})).json()["code"] == "role_missing"
        assert (await operator.post(TOKEN, {"role": "admin"})).json()["code"] == "role_missing"
        writing = script(console, await operator.must("POST", TOKEN, {}))
        (row,) = [user for user in (await ana.must("GET", "/api/v1/users"))["users"] if user["role"] == "operator"]
        assert (await writing.must("GET", ME))["role"] == "operator"
        await ana.must("PATCH", f"/api/v1/users/{row['id']}", {"role": "viewer"})
        assert await status(writing) == 401  # a change of the role ends them, like logins

    with_console(check)


def test_script_cannot_do_what_needs_a_login(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        pair = await ana.must("POST", TOKEN, {})
        bot = script(console, pair)
        for method, path in [
            ("POST", TOKEN),
            ("GET", TOKENS),
            ("DELETE", f"{TOKENS}/{pair['id']}"),
            ("POST", "/api/v1/auth/logout"),
            ("POST", "/api/v1/auth/logout-all"),
            ("POST", "/api/v1/auth/password"),
        ]:
            answer = await bot.send(method, path, {} if method == "POST" else None)
            assert (answer.status_code, answer.json()["code"]) == (403, "login_only"), path
        assert (await (await console.agent()).post(TOKEN)).json()["code"] == "login_only"
        cookie_only = Session(console.client, {"Cookie": ana.headers["Cookie"]})
        assert (await cookie_only.post(TOKEN)).json()["code"] == "csrf_token_missing"

    with_console(check)


def test_refresh_token_works_once_and_shown_again_ends_the_token(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        first = await ana.must("POST", TOKEN, {"role": "viewer"})
        second = await console.anonymous.must("POST", REFRESH, {"refresh_token": first["refresh_token"]})
        assert (second["id"], second["role"]) == (first["id"], "viewer")
        assert first["refresh_token"] != second["refresh_token"]
        third = await console.anonymous.must("POST", REFRESH, {"refresh_token": second["refresh_token"]})
        bot = script(console, third)
        guessed = third["refresh_token"].rpartition(".")[0] + ".guess"
        for text in (guessed, "", "a.b.c", "x", first["refresh_token"]):
            answer = await console.anonymous.post(REFRESH, {"refresh_token": text})
            assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
            assert await status(bot) == 200
        stolen = await console.anonymous.post(REFRESH, {"refresh_token": second["refresh_token"]})
        assert stolen.status_code == 401
        assert await status(bot) == 401
        assert (await console.anonymous.post(REFRESH, {"refresh_token": third["refresh_token"]})).status_code == 401

    with_console(check)


def test_refreshes_at_once_give_one_pair(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        body = {"refresh_token": (await ana.must("POST", TOKEN, {}))["refresh_token"]}
        answers = await asyncio.gather(*(console.anonymous.post(REFRESH, body) for _ in range(6)))
        assert sorted(answer.status_code for answer in answers) == [201] + [401] * 5

    with_console(check)


@pytest.mark.parametrize("deed", ["revoke", "password", "logout-all", "disable"])
def test_token_ends_at_once(with_console: WithConsole, deed: str) -> None:
    async def check(console: Console) -> None:
        ana, operator = await console.sign_in(), await console.person(Role.OPERATOR)
        pair = await operator.must("POST", TOKEN, {})
        others = script(console, await ana.must("POST", TOKEN, {}))
        bot = script(console, pair)
        assert await status(bot) == 200
        if deed == "revoke":
            assert (await ana.send("DELETE", f"{TOKENS}/{pair['id']}")).status_code == 404  # another person's
            await operator.must("DELETE", f"{TOKENS}/{pair['id']}")
            await operator.must("DELETE", f"{TOKENS}/{pair['id']}")  # again, without an effect
            assert (await operator.must("GET", TOKENS))["tokens"] == []
        elif deed == "password":
            body = {"old_password": PASSWORD, "new_password": PASSWORD + "!"}
            await operator.must("POST", "/api/v1/auth/password", body)
        elif deed == "logout-all":
            await operator.must("POST", "/api/v1/auth/logout-all", {})
        else:
            me = await operator.must("GET", ME)
            for disabled in (True, False):
                await ana.must("PATCH", f"/api/v1/users/{me['user_id']}", {"disabled": disabled})
        assert await status(bot) == 401
        refreshed = await console.anonymous.post(REFRESH, {"refresh_token": pair["refresh_token"]})
        assert refreshed.status_code == 401
        assert await status(others) == 200

    with_console(check)


def test_token_whose_time_is_over_is_refused_and_its_row_removed(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        bot = script(console, await ana.must("POST", TOKEN, {}))
        past = datetime.now(UTC) - timedelta(seconds=1)
        await console.database.fetch("UPDATE script_tokens SET expires_at = {}", past)
        assert await status(bot) == 401
        assert (await ana.must("GET", TOKENS))["tokens"] == []
        (leftovers,) = [worker for worker in console.app.state.workers if worker.name == "leftovers"]
        await leftovers.work()
        assert await console.database.fetch("SELECT id FROM script_tokens") == []

    with_console(check)


def test_person_has_so_many_tokens_and_no_more(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        answers = [await ana.post(TOKEN) for _ in range(51)]
        assert [answer.status_code for answer in answers] == [201] * 50 + [409]

    with_console(check)


def test_token_of_another_tenant_reaches_nothing_here(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        eve, ana = await second_tenant(console), await console.sign_in()
        pair = await ana.must("POST", TOKEN, {})
        assert (await eve.send("DELETE", f"{TOKENS}/{pair['id']}")).status_code == 404
        their_tenant = (await eve.must("GET", ME))["tenant_id"].replace("-", "")
        moved = ".".join([their_tenant, *pair["refresh_token"].split(".")[1:]])
        assert (await console.anonymous.post(REFRESH, {"refresh_token": moved})).status_code == 401
        assert await status(script(console, pair)) == 200

    with_console(check)


def test_token_that_this_console_did_not_write_is_refused(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        text = (await ana.must("POST", TOKEN, {}))["access_token"]
        header, body, signature = text.split(".")
        none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
        for forged in (
            f"{none}.{body}.",
            f"{none}.{body}.{signature}",
            f"{header}.{body}.{signature[:-2]}xx",
            f"{header}.{body[:-2]}xx.{signature}",
            f"{header}.{body}.",
            "a.b.c",
            "..",
        ):
            answer = await Session(console.client, {"Authorization": f"Bearer {forged}"}).get(ME)
            assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token"), forged

    with_console(check)


def test_token_is_read_by_its_writer_within_its_time_only() -> None:
    signer, now = TokenSigner(b"a" * 32), datetime.now(UTC)
    text = signer.write(CLAIMS, now)
    assert signer.read(text) == CLAIMS
    assert TokenSigner(b"b" * 32).read(text) is None
    assert signer.read(signer.write(CLAIMS, now - LIFETIME)) is None
    # Signed with the secret itself, as other parts of the console sign: not by the key that is made for tokens.
    signed = text.rpartition(".")[0]
    direct = base64.urlsafe_b64encode(hmac.digest(b"a" * 32, signed.encode(), "sha256")).rstrip(b"=").decode()
    assert signer.read(f"{signed}.{direct}") is None


@pytest.mark.property
@given(st.text(max_size=80) | st.text(".abc=", max_size=20))
def test_any_text_is_no_token(text: str) -> None:
    assert TokenSigner(b"a" * 32).read(text) is None
