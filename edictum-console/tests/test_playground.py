"""
The playground: the only evaluation of the console, for people.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from consoles import Console, Session, WithConsole
from edictum_console.domains.playground import evaluator
from edictum_console.domains.playground.process import Evaluator
from edictum_console.errors import InvalidError
from edictum_console.security.actor import KeyScope, Role
from test_compositions import compose
from test_library import add
from test_rulesets import OLDER, TEXT, upload

EVALUATE = "/api/v1/bundles/evaluate"

RULES = (
    TEXT
    + """\
  - id: ask-deletes
    type: pre
    tool: delete
    when:
      args.table: {exists: true}
    then: {action: ask, message: a person decides}
  - id: no-secrets
    type: post
    tool: read_file
    when:
      output.text: {matches: "sk-[a-z]+"}
    then: {action: redact, message: a secret was cut out}
  - id: enough
    type: session
    limits: {max_tool_calls: 4, max_calls_per_tool: {read_file: 2}}
    then: {action: block, message: enough}
  - id: home
    type: pre
    tool: env
    when:
      env.EDICTUM_SECRET_KEY: {exists: true}
    then: {action: block, message: the console shows its variables}
tools:
  read_file: {side_effect: read}
"""
)


async def evaluate(who: Session, tool: str = "read_file", text: str | None = RULES, **others: Any) -> Any:
    given = {} if text is None else {"yaml_content": text}
    return await who.must("POST", EVALUATE, {"tool_name": tool, **given, **others})


def request(**others: Any) -> dict[str, Any]:
    session = {"attempts": 0, "executions": 0, "tool_executions": 0}
    fields: dict[str, Any] = {
        "tool_name": "read_file",
        "tool_args": {},
        "principal": None,
        "environment": "e",
        "output": None,
    }
    return {"text": RULES, "session": session, "mode": None, **fields, **others}


def test_trial_says_what_an_agent_would_do(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        viewer = await console.person(Role.VIEWER)
        blocked = await evaluate(viewer, tool_args={"path": "a/.env"})
        assert (blocked["decision"], blocked["decision_name"], blocked["reason"]) == (
            "block",
            "no-env",
            "not this file",
        )
        (rule,) = [one for one in blocked["rules_evaluated"] if one["rule_id"] == "no-env"]
        assert (rule["passed"], rule["action"], rule["error"]) == (False, "block", None)
        allowed = await evaluate(viewer, tool_args={"path": "a.txt"})
        assert (allowed["decision"], allowed["decision_name"], allowed["policy_error"]) == ("allow", None, False)
        assert (await evaluate(viewer, "delete", tool_args={"table": "users"}))["decision"] == "ask"
        unjudged = await evaluate(viewer, tool_args={"path": 5})
        assert (unjudged["decision"], unjudged["policy_error"]) == ("block", True)
        redacted = await evaluate(viewer, tool_args={"path": "a"}, output="key sk-abc")
        assert (redacted["decision"], redacted["findings"][0]["rule_id"]) == ("redact", "no-secrets")
        assert "sk-abc" not in redacted["output"]
        full = await evaluate(viewer, tool_args={"path": "a"}, session={"attempts": 9, "executions": 4})
        assert (full["decision"], full["reason"]) == ("block", "enough")
        per_tool = await evaluate(viewer, tool_args={"path": "a"}, session={"executions": 2, "tool_executions": 2})
        assert per_tool["decision"] == "block"
        observed = await evaluate(viewer, tool_args={"path": ".env"}, mode="observe")
        assert (observed["decision"], observed["enforced"], observed["mode"]) == ("allow", "block", "observe")

    with_console(check)


def test_trial_takes_a_text_a_version_or_a_composition(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        await upload(ana)
        await add(ana, "no-env", ".env")
        await compose(ana, {"contract_id": "no-env"})
        await ana.must("POST", "/api/v1/compositions", {"name": "empty"})
        others: dict[str, Any] = {"tool_args": {"path": ".env"}}
        sources: list[dict[str, Any]] = [{"name": "docs-rules", "version": 1}, {"composition": "docs-rules"}]
        for source in sources:
            assert (await evaluate(ana, text=None, **source, **others))["decision_name"] == "no-env"
        assert (await evaluate(ana, text=OLDER, **others))["decision"] == "block"
        bodies: list[tuple[dict[str, Any], int]] = [
            ({}, 422),
            ({"yaml_content": TEXT, "composition": "docs-rules"}, 422),
            ({"name": "docs-rules"}, 422),
            ({"yaml_content": TEXT, "version": 1}, 422),
            ({"name": "docs-rules", "version": 2}, 404),
            ({"name": "docs-rules", "version": -1}, 404),
            ({"composition": "other"}, 404),
            ({"composition": "empty"}, 422),
            ({"yaml_content": "a: ["}, 422),
            ({"yaml_content": TEXT, "tool_name": "a/b"}, 422),
            ({"yaml_content": TEXT, "mode": "off"}, 422),
        ]
        for body, status in bodies:
            answer = await ana.post(EVALUATE, {"tool_name": "t", **body})
            assert answer.status_code == status, (body, answer.text)

    with_console(check)


def test_playground_is_closed_to_keys_of_every_scope(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent = await console.agent(scopes=[scope.value for scope in KeyScope])
        refused = await agent.post(EVALUATE, {"tool_name": "t", "yaml_content": TEXT})
        assert (refused.status_code, refused.json()["code"]) == (403, "people_only")

    with_console(check)


def test_trials_are_limited_for_each_person(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        answers = [await ana.post(EVALUATE, {"tool_name": "t"}) for _ in range(61)]
        assert [answer.status_code for answer in answers] == [422] * 60 + [429]
        assert (await (await console.person(Role.VIEWER)).post(EVALUATE, {"tool_name": "t"})).status_code == 422

    with_console(check)


@pytest.mark.security
def test_trial_sees_no_variable_and_writes_no_file_of_the_console(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDICTUM_SECRET_KEY", "s" * 32)
    log = tmp_path / "events.jsonl"
    text = f"{RULES}observability: {{file: {log}, stdout: true}}\n"
    done = asyncio.run(Evaluator(10).judge(request(text=text, tool_name="env")))
    assert done["decision"] == "allow"
    assert not log.exists()


def test_trial_follows_links_as_an_agent_on_the_same_machine_does(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "way-out").symlink_to("/etc")
    rule = {"id": "home", "type": "sandbox", "tool": "t", "within": [f"{tmp_path}/home"], "message": "stay"}
    head = {"apiVersion": "edictum/v1", "kind": "Ruleset", "metadata": {"name": "n"}, "defaults": {"mode": "enforce"}}
    text = json.dumps({**head, "rules": [rule]})

    async def decision(path: str) -> str:
        trial = request(text=text, tool_name="t", tool_args={"path": f"{tmp_path}/home/{path}"})
        return str((await Evaluator(30).judge(trial))["decision"])

    assert asyncio.run(decision("notes.txt")) == "allow"
    assert asyncio.run(decision("way-out/passwd")) == "block"


@pytest.mark.security
@pytest.mark.parametrize(
    "deed",
    [
        "import socket; socket.socket()",
        "import socket; socket.getaddrinfo('localhost', 80)",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.fork()",
        "import os; os.system('true')",
        "open('{tmp}/made', 'w').write('x' * 100000)",
        "open('/etc/passwd').read()",
        "bytearray(1 << 30)",
        "while True: pass",
    ],
)
def test_process_that_gave_up_its_means_cannot(deed: str, tmp_path: Path) -> None:
    """
    As if a ruleset could run code, which none can: what would stop it then.
    """
    code = f"from edictum_console.domains.playground import evaluator\nevaluator._give_up_means()\n{deed}"

    async def run() -> int | None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            code.replace("{tmp}", str(tmp_path)),
            stderr=asyncio.subprocess.DEVNULL,
        )
        return await asyncio.wait_for(process.wait(), 60)

    assert asyncio.run(run()) != 0
    made = tmp_path / "made"
    assert not made.exists() or not made.read_text()


@pytest.mark.security
def test_trial_that_costs_too_much_ends_and_the_console_goes_on() -> None:
    async def check() -> None:
        slow = Evaluator(seconds=0.0)
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        with pytest.raises(InvalidError) as caught:
            await slow.judge(request())
        assert caught.value.code == "trial_too_slow"
        ticking.cancel()
        assert ticks > 100  # the loop was free meanwhile
        big = {f"k{number}": "x" * 1000 for number in range(300_000)}
        with pytest.raises(InvalidError) as caught:
            await Evaluator(60).judge(request(tool_args=big))
        assert caught.value.code == "trial_too_large"

    asyncio.run(check())


def test_trial_that_is_given_up_leaves_no_process() -> None:
    async def check() -> None:
        evaluating = Evaluator(60)
        trial = asyncio.create_task(evaluating.judge(request()))
        async with asyncio.timeout(30):
            while evaluator.__name__ not in await _children():
                pass
        trial.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trial
        assert evaluator.__name__ not in await _children()
        assert (await evaluating.judge(request(tool_args={"path": "a"})))["decision"] == "allow"

    asyncio.run(check())


async def _children() -> str:
    process = await asyncio.create_subprocess_exec(
        "ps", "-ww", "-o", "args=", "--ppid", str(os.getpid()), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return output.decode()


class Counting(Evaluator):
    """
    Notes how many trials were judged at once.
    """

    running = most = 0

    async def _judge(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            return await super()._judge(request)
        finally:
            self.running -= 1


def test_trials_at_once_take_turns() -> None:
    async def check() -> None:
        evaluating = Counting(30)
        done = await asyncio.gather(*(evaluating.judge(request(tool_args={"path": ".env"})) for _ in range(5)))
        assert [one["decision"] for one in done] == ["block"] * 5
        assert evaluating.most == 2

    asyncio.run(check())
