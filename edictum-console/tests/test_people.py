from __future__ import annotations

import pytest
from consoles import EMAIL, PASSWORD, Console, Session, WithConsole
from edictum_console.security.actor import Role
from test_rulesets import TEXT

LOGIN = "/api/v1/auth/login"


def test_first_administrator_of_the_settings_can_sign_in(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in(f" {EMAIL.upper()} ")
        me = await ana.must("GET", "/api/v1/auth/me")
        assert (me["email"], me["role"], me["is_admin"]) == (EMAIL, "admin", True)
        assert (await console.anonymous.must("GET", "/api/v1/health")) == {"status": "ok", "bootstrap_complete": True}

    with_console(check)


def test_set_up_with_the_printed_token_works_once(with_console: WithConsole, caplog: pytest.LogCaptureFixture) -> None:
    async def check(console: Console) -> None:
        nobody = console.anonymous
        token = caplog.text.partition("/setup#")[2].split()[0]
        body = {"token": token, "email": "Bo@example.com", "password": PASSWORD}
        assert not (await nobody.must("GET", "/api/v1/health"))["bootstrap_complete"]
        assert (await nobody.post("/api/v1/setup", {**body, "token": "x"})).json()["code"] == "wrong_token"
        assert (await nobody.post("/api/v1/setup", body)).status_code == 201
        assert (await nobody.post("/api/v1/setup", body)).json()["code"] == "already_set_up"
        assert (await nobody.post("/api/v1/setup", body)).status_code == 429
        bo = await console.sign_in("bo@example.com")
        found = await bo.must("GET", "/api/v1/environments")
        assert [env["name"] for env in found["environments"]] == ["development", "production", "staging"]

    with_console(check, admin_email=None, admin_password=None)


def test_wrong_address_and_wrong_password_are_answered_alike(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        answers = [
            await console.anonymous.post(LOGIN, {"email": email, "password": "wrong wrong wrong"})
            for email in (EMAIL, "nobody@example.com")
        ]
        assert [answer.status_code for answer in answers] == [401, 401]
        texts = [{**answer.json(), "request_id": ""} for answer in answers]
        assert texts[0] == texts[1]

    with_console(check)


def test_logins_are_limited_by_person(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        wrong = {"email": EMAIL, "password": "wrong"}
        statuses = [(await console.anonymous.post(LOGIN, wrong)).status_code for _ in range(11)]
        assert statuses == [401] * 10 + [429]
        answer = await console.anonymous.post(LOGIN, {"email": EMAIL, "password": PASSWORD})
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0

    with_console(check)


def test_logins_are_limited_by_address(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        tries = [{"email": f"{number}@example.com", "password": "x"} for number in range(4)]
        assert [(await console.anonymous.post(LOGIN, one)).status_code for one in tries] == [401, 401, 401, 429]

    with_console(check, login_attempts=3)


def test_cookie_is_for_this_host_and_no_script(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        answer = await console.anonymous.post(LOGIN, {"email": EMAIL, "password": PASSWORD})
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-edictum_session=")
        assert all(word in cookie for word in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"))
        assert "Domain" not in cookie

    with_console(check, base_url="https://console.example.com")


def test_sign_out_ends_this_login_and_sign_out_everywhere_all(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        first, second, third = [await console.sign_in() for _ in range(3)]

        async def alive() -> list[bool]:
            return [(await one.get("/api/v1/auth/me")).status_code == 200 for one in (first, second, third)]

        await first.must("POST", "/api/v1/auth/logout", {})
        assert await alive() == [False, True, True]
        await second.must("POST", "/api/v1/auth/logout-all", {})
        assert await alive() == [False, False, False]

    with_console(check)


def test_password_change_needs_the_old_one_and_ends_other_logins(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        here, elsewhere = await console.sign_in(), await console.sign_in()
        new = "another long password"
        path = "/api/v1/auth/password"
        assert (await here.post(path, {"old_password": "wrong", "new_password": new})).status_code == 403
        await here.must("POST", path, {"old_password": PASSWORD, "new_password": new})
        assert (await here.get("/api/v1/auth/me")).status_code == 200
        assert (await elsewhere.get("/api/v1/auth/me")).status_code == 401
        assert (await console.anonymous.post(LOGIN, {"email": EMAIL, "password": PASSWORD})).status_code == 401
        await console.sign_in(password=new)

    with_console(check)


def test_change_with_a_cookie_must_prove_that_it_comes_from_the_console(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        cookie = {"Cookie": ana.headers["Cookie"]}
        path, body = "/api/v1/environments", {"name": "test"}

        async def status(**headers: str) -> int:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return (await Session(console.client, {**cookie, **named}).post(path, body)).status_code

        token = ana.headers["X-CSRF-Token"]
        other = (await console.sign_in()).headers["X-CSRF-Token"]
        assert await status() == 403
        assert await status(X_CSRF_Token="wrong", X_Requested_With="x") == 403
        assert await status(X_CSRF_Token=other) == 403
        assert await status(X_CSRF_Token=token, Origin="https://evil.example") == 403
        assert await status(X_CSRF_Token=token, Sec_Fetch_Site="cross-site") == 403
        assert await status(X_CSRF_Token=token, Origin="http://console.test", Sec_Fetch_Site="same-origin") == 201
        assert await status(X_Requested_With="script") == 409  # got in: there is one now

    with_console(check)


def test_role_and_disabling_hold_from_the_next_request_on(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, operator = await console.sign_in(), await console.person(Role.OPERATOR)
        users = (await ana.must("GET", "/api/v1/users"))["users"]
        path = f"/api/v1/users/{next(user['id'] for user in users if user['role'] == 'operator')}"
        assert (await operator.get("/api/v1/keys")).status_code == 200
        await ana.must("PATCH", path, {"role": "viewer"})
        assert (await operator.get("/api/v1/keys")).status_code == 401  # its logins are over
        viewer = await console.sign_in("operator@example.com")
        assert (await viewer.get("/api/v1/keys")).status_code == 403
        await ana.must("PATCH", path, {"disabled": True})
        assert (await viewer.get("/api/v1/auth/me")).status_code == 401
        again = await console.anonymous.post(LOGIN, {"email": "operator@example.com", "password": PASSWORD})
        assert again.status_code == 401

    with_console(check)


def test_person_who_is_removed_is_gone_with_what_they_used(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, operator = await console.sign_in(), await console.person(Role.OPERATOR)
        pair = await operator.must("POST", "/api/v1/auth/token", {})
        script = Session(console.client, {"Authorization": f"Bearer {pair['access_token']}"})
        await operator.must("POST", "/api/v1/contracts/import", {"yaml_content": TEXT})
        (row,) = [user for user in (await ana.must("GET", "/api/v1/users"))["users"] if user["role"] == "operator"]
        link = (await ana.must("POST", f"/api/v1/users/{row['id']}/reset-link"))["reset_link"].partition("#")[2]
        await ana.must("DELETE", f"/api/v1/users/{row['id']}")
        for session in (operator, script):
            assert (await session.get("/api/v1/auth/me")).status_code == 401
        for table in ("user_sessions", "script_tokens"):
            rows = await console.database.fetch(f"SELECT user_id FROM {table}")
            assert str(row["id"]) not in {str(found["user_id"]) for found in rows}
        reset = {"token": link, "new_password": PASSWORD}
        assert (await console.anonymous.post("/api/v1/auth/reset", reset)).status_code == 403
        again = await console.anonymous.post(LOGIN, {"email": "operator@example.com", "password": PASSWORD})
        assert again.status_code == 401
        gone = await ana.send("DELETE", f"/api/v1/users/{row['id']}")
        assert (gone.status_code, gone.json()["code"]) == (404, "user_not_found")
        # What they did keeps their name, and the address is free.
        contracts = (await ana.must("GET", "/api/v1/contracts"))["contracts"]
        assert {found["created_by"] for found in contracts} == {"operator@example.com"}
        newest = (await ana.must("GET", "/api/v1/audit-log?limit=1"))["entries"][0]
        assert (newest["action"], newest["object"]) == ("user.remove", "operator@example.com")
        await ana.must("POST", "/api/v1/users", {"email": "operator@example.com", "role": "viewer"})

    with_console(check)


def test_last_administrator_cannot_be_weakened(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        me = await ana.must("GET", "/api/v1/auth/me")
        for change in ({"role": "viewer"}, {"disabled": True}):
            answer = await ana.send("PATCH", f"/api/v1/users/{me['user_id']}", change)
            assert (answer.status_code, answer.json()["code"]) == (409, "last_admin")
        answer = await ana.send("DELETE", f"/api/v1/users/{me['user_id']}")
        assert (answer.status_code, answer.json()["code"]) == (409, "last_admin")
        assert (await ana.get("/api/v1/auth/me")).status_code == 200

    with_console(check)


def test_reset_link_works_once_and_not_when_it_was_changed(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        invited = await ana.must("POST", "/api/v1/users", {"email": "Bo@Example.com", "role": "viewer"})
        token = invited["reset_link"].partition("#")[2]
        path = "/api/v1/auth/reset"
        user_id, expiry, code = token.split(".")
        for bad in ("", "x", f"{user_id}.{int(expiry) + 1}.{code}", f"{user_id}.9{'9' * 20}.{code}"):
            answer = await console.anonymous.post(path, {"token": bad, "new_password": PASSWORD})
            assert answer.status_code == 403, bad
        await console.anonymous.must("POST", path, {"token": token, "new_password": PASSWORD})
        again = await console.anonymous.post(path, {"token": token, "new_password": PASSWORD})
        assert again.json()["code"] == "link_over"
        await console.sign_in("bo@example.com")
        twice = await ana.post("/api/v1/users", {"email": "BO@example.com", "role": "viewer"})
        assert twice.json()["code"] == "email_taken"

    with_console(check)


def test_administrators_log_is_chained_and_shows_a_changed_row(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        for name in ("one", "two", "three"):
            await ana.must("POST", "/api/v1/environments", {"name": name}, headers={"X-Request-Id": f"r-{name}"})
        page = await ana.must("GET", "/api/v1/audit-log?limit=2")
        assert [(entry["action"], entry["object"], entry["request_id"]) for entry in page["entries"]] == [
            ("environment.add", "three", "r-three"),
            ("environment.add", "two", "r-two"),
        ]
        rest = await ana.must("GET", f"/api/v1/audit-log?cursor={page['next_cursor']}")
        assert [entry["object"] for entry in rest["entries"]] == ["one", EMAIL]
        assert rest["next_cursor"] is None
        checked = await ana.must("GET", "/api/v1/audit-log/check")
        assert checked == {"intact": True, "entries": 4, "broken_at": None}
        await console.database.fetch("UPDATE admin_audit SET object = {} WHERE seq = {}", "other", 3)
        checked = await ana.must("GET", "/api/v1/audit-log/check")
        assert checked == {"intact": False, "entries": 2, "broken_at": 3}

    with_console(check)
