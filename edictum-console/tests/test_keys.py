from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from consoles import Console, Session, WithConsole
from edictum_console.security.api_keys import prefix_of

ME = "/api/v1/keys"  # for people, so a key that is known is answered 403 and one that is not 401


async def known(session: Session) -> bool:
    status = (await session.get(ME)).status_code
    assert status in (401, 403)
    return status == 403


def test_key_is_shown_once_and_lists_show_its_prefix_only(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        made = await ana.must("POST", "/api/v1/keys", {"env": "staging", "label": "bot"})
        text = await ana.get("/api/v1/keys")
        (listed,) = text.json()["api_keys"]
        assert made["key"].startswith("edk_staging_")
        assert listed["prefix"] == prefix_of(made["key"])
        assert made["key"] not in text.text
        assert listed["scopes"] == ["agent"]
        assert "hash" not in text.text

    with_console(check)


def test_key_is_known_until_it_is_revoked_everywhere(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent()
        assert await known(agent)
        (listed,) = (await ana.must("GET", "/api/v1/keys"))["api_keys"]
        assert listed["last_used_at"] is not None
        await ana.must("DELETE", f"/api/v1/keys/{listed['id']}")
        async with asyncio.timeout(5):
            while await known(agent):
                await asyncio.sleep(0)
        await ana.must("DELETE", f"/api/v1/keys/{listed['id']}")  # again, without an effect

    with_console(check)


def test_key_that_is_no_key_is_refused(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        key = (await console.agent()).headers["Authorization"].split()[1]
        flipped = key[:-1] + ("a" if key[-1] != "a" else "b")
        shapes = ["", "Bearer", "Bearer ", f"Basic {key}", f"Bearer {key}x", f"Bearer {flipped}", "Bearer edk_x_y"]
        for shape in shapes:
            answer = await Session(console.client, {"Authorization": shape}).get(ME)
            assert (answer.status_code, answer.json()["code"]) == (401, "invalid_key"), shape
            assert answer.headers["www-authenticate"].startswith("Bearer")
        for scheme in ("Bearer", "bearer", "BEARER"):
            assert await known(Session(console.client, {"Authorization": f"{scheme} {key}"}))

    with_console(check)


def test_failed_keys_are_limited_and_good_ones_are_not(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agents = [await console.agent() for _ in range(3)]
        key = agents[0].headers["Authorization"]
        wrong = Session(console.client, {"Authorization": key[:-3] + "xyz"})
        statuses = [(await wrong.get(ME)).status_code for _ in range(11)]
        assert statuses == [401] * 10 + [429]
        assert all([await known(agent) for agent in agents[1:]])

    with_console(check)


def test_key_of_an_environment_with_underscores_is_split_at_the_last_one(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        await ana.must("POST", "/api/v1/environments", {"name": "pre_prod_2"})
        agent = await console.agent("pre_prod_2")
        assert await known(agent)

    with_console(check)


def test_key_for_some_agents_refuses_others(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent = await console.agent(agent_pattern="docs-*", agent_id="docs-1")
        assert (await agent.get(ME)).json()["code"] == "people_only"
        other = Session(console.client, {**agent.headers, "X-Edictum-Agent-Id": "Docs-1"})
        assert (await other.get(ME)).json()["code"] == "agent_mismatch"
        odd = Session(console.client, {**agent.headers, "X-Edictum-Agent-Id": "docs-1/../x"})
        assert (await odd.get(ME)).status_code == 400

    with_console(check)


def test_expired_key_is_refused_although_it_is_remembered(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
        agent = await console.agent(expires_at=soon)
        async with asyncio.timeout(20):
            while await known(agent):
                await asyncio.sleep(0.02)

    with_console(check)


def test_rotated_key_and_its_successor_both_work_until_the_grace_is_over(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent(label="bot", agent_pattern="b*")
        (old,) = (await ana.must("GET", "/api/v1/keys"))["api_keys"]
        made = await ana.must("POST", f"/api/v1/keys/{old['id']}/rotate", {"grace_seconds": 60})
        new = Session(console.client, {"Authorization": f"Bearer {made['key']}", "X-Edictum-Agent-Id": "bot"})
        same = ("env", "label", "scopes", "agent_pattern")
        assert [old[name] for name in same] == [made["api_key"][name] for name in same]
        assert await known(agent)
        assert await known(new)
        await ana.must("POST", f"/api/v1/keys/{made['api_key']['id']}/rotate", {"grace_seconds": 0})
        async with asyncio.timeout(5):
            while await known(new):
                await asyncio.sleep(0)
        again = await ana.post(f"/api/v1/keys/{made['api_key']['id']}/rotate")
        assert again.json()["code"] == "key_ended"

    with_console(check)


def test_key_that_makes_no_sense_is_refused_with_the_field(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        past = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        for body, field in [
            ({"env": "nowhere"}, "env"),
            ({"env": "staging", "scopes": []}, "scopes"),
            ({"env": "staging", "expires_at": past}, "expires_at"),
            ({"env": "staging", "expires_at": "2030-01-01T00:00:00"}, "expires_at"),
        ]:
            answer = await ana.post("/api/v1/keys", body)
            assert (answer.status_code, [field]) == (422, answer.json()["errors"][0]["loc"]), body

    with_console(check)


def test_keys_are_listed_in_pages(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        labels = [f"{number}" for number in range(7)]
        for label in labels:
            await ana.must("POST", "/api/v1/keys", {"env": "staging", "label": label})
            await asyncio.sleep(0.002)  # so that their order is known
        seen: list[str] = []
        path = "/api/v1/keys?limit=3"
        page = await ana.must("GET", path)
        seen += [key["label"] for key in page["api_keys"]]
        while page["next_cursor"]:
            page = await ana.must("GET", f"{path}&cursor={page['next_cursor']}")
            seen += [key["label"] for key in page["api_keys"]]
        assert labels[::-1] == seen

    with_console(check)


def test_environment_that_a_key_is_for_stays(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        made = await ana.must("POST", "/api/v1/keys", {"env": "staging"})
        answer = await ana.send("DELETE", "/api/v1/environments/staging")
        assert answer.json()["code"] == "environment_in_use"
        await ana.must("DELETE", f"/api/v1/keys/{made['api_key']['id']}")
        await ana.must("DELETE", "/api/v1/environments/staging")
        assert (await ana.send("DELETE", "/api/v1/environments/staging")).status_code == 404

    with_console(check)


def test_good_keys_that_arrive_together_do_not_limit_each_other(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agents = [await console.agent() for _ in range(4)]
        assert all(await asyncio.gather(*(known(agent) for agent in agents * 15)))

    with_console(check)
