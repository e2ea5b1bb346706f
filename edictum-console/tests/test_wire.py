"""
What published clients send, sent to a console process and read by the rules that they read by.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from consoles import EMAIL, PASSWORD
from edictum_console.domains.stream.frames import OPENING, heartbeat
from edictum_console.domains.stream.hub import Rhythm
from edictum_console.security.actor import KeyScope
from edictum_console.settings import Settings
from test_http import routes
from test_routes import asked
from test_rulesets import STRICTER, TEXT
from test_serve import SECRETS, call, serving
from transcripts import LINE, Player, jsonschema, requests, transcripts

TRANSCRIPTS = transcripts()
SILENT_SECONDS = 15  # at most: the least patient client gives a silent stream up after 120, and proxies after 60
OF_AGENTS = {KeyScope.AGENT, KeyScope.EVENTS_READ, KeyScope.APPROVALS_DECIDE}


@pytest.fixture(scope="module", params=["embedded", "replicated"])
def player(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Player]:
    """
    A console process with two versions of a ruleset and two keys.
    """
    variables = {**SECRETS, "EDICTUM_ADMIN_EMAIL": EMAIL, "EDICTUM_ADMIN_PASSWORD": PASSWORD}
    if request.param == "replicated":
        redis = request.getfixturevalue("redis_server")
        redis.flush()
        variables["EDICTUM_DATABASE_URL"] = request.getfixturevalue("postgres").new_database()
        variables["EDICTUM_REDIS_URL"] = redis.url
    with serving(tmp_path_factory.mktemp("wire"), **variables) as (address, _, _process):
        me, cookie = call(address, "/api/v1/auth/login", {"email": EMAIL, "password": PASSWORD})
        made = Player(address, {"Cookie": cookie, "X-CSRF-Token": me["csrf_token"]}, {})
        for text in (TEXT, STRICTER):
            made.ask("POST", "/api/v1/bundles", {"yaml_content": text})
        for name, scopes in (("key", ["agent"]), ("script_key", ["events:read", "approvals:decide"])):
            made.kept[name] = made.ask("POST", "/api/v1/keys", {"env": "production", "scopes": scopes})["key"]
        yield made


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_client_reads_every_answer(player: Player, name: str) -> None:
    player.ask("POST", "/api/v1/bundles/docs-rules/1/deploy", {"env": "production"})
    player.play(TRANSCRIPTS[name])


def test_transcripts_have_every_route_of_agents(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, secret_key=b"s" * 32, sealing_key=b"k" * 32, base_url="http://console.test")
    sent = {
        (method, target.partition("?")[0])
        for transcript in TRANSCRIPTS.values()
        for method, target, _ in (step["request"]["line"].split(" ") for step in requests(transcript))
    }
    kinds = {"int": r"\d+", "str": "[^/]+", "uuid": r"(?:[0-9a-f-]{36}|\$\{approval\})", "path": ".+"}
    missing = []
    for method, route, handler in routes(settings):
        if method != "HEAD" and OF_AGENTS & (asked(handler).scopes or set()):
            pattern = re.sub(r"\{\w+:(\w+)\}", lambda match: kinds[match[1]], route)
            if not any(method == other and re.fullmatch(pattern, path) for other, path in sent):
                missing.append((method, route))
    assert missing == []
    assert ("GET", "/v1/health") in sent
    assert ("GET", "/api/v1/health") in sent


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_transcript_is_one_that_can_be_replayed(name: str) -> None:
    transcript: Any = TRANSCRIPTS[name]
    jsonschema.Draft202012Validator.check_schema({"$defs": transcript["reads"]})
    used = [step["answer"].get("reads") for step in requests(transcript) if "answer" in step]
    used += [inner.get("reads") for step in transcript["exchanges"] for inner in step.get("events", ())]
    named = {reads for reads in used if isinstance(reads, str)}
    inside = set(re.findall(r"'#/reads/([^']+)'", str(transcript)))
    assert named | inside == transcript["reads"].keys()
    names = [step["name"] for step in requests(transcript)]
    assert len(names) == len(set(names))


def test_stream_is_never_silent_for_longer_than_clients_wait() -> None:
    assert Rhythm().heartbeat <= SILENT_SECONDS  # that they come is in test_stream
    for text in (OPENING, heartbeat(1_767_607_200)):
        assert all(LINE.fullmatch(line) for line in text.splitlines(keepends=True))
