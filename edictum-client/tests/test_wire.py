"""
What the client sends, compared with the transcripts that the console is tried with (``edictum-console/tests/wire``).

Whatever the client sends - a path, a header, a word of a query, a field of a body - is in a transcript, so that a
console which passes them knows all that agents send.  The transcripts may have more.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from consoles import Console, rules
from edictum import Edictum, EdictumDenied
from edictum_client import EdictumServerClient, client

TRANSCRIPTS = sorted((Path(__file__).parents[2] / "edictum-console" / "tests" / "wire").glob("edictum-client*.json"))

Parts = Mapping[str, set[str]]

_ID = re.compile(r"\$\{\w+\}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def parts_of(
    method: str, target: str, query: Iterable[str], headers: Iterable[str], body: Any
) -> Mapping[str, set[str]]:
    """
    A request, as sets of what it has.
    """
    names = _ID.sub("*", re.sub(r"(?<=/rulesets/)[^/]+", "*", target))
    found: dict[str, set[str]] = defaultdict(set, {f"{method} {names}": set()})
    found[f"{method} {names}: query"] |= set(query)
    found[f"{method} {names}: headers"] |= {name.lower() for name in headers}
    for field, value in (body or {}).items():
        found[f"{method} {names}: body"].add(field)
        for each in value if isinstance(value, list) else [value] if field == "batch" else []:
            kind = f" {each['op']}" if "op" in each else ""
            found[f"{method} {names}: {field}{kind}"] |= set(each)
    return found


def known() -> dict[str, set[str]]:
    """
    What the transcripts have.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for transcript in [json.loads(path.read_text()) for path in TRANSCRIPTS]:
        for exchange in transcript["exchanges"]:
            request = exchange.get("request")
            if request is not None:
                method, target, _ = request["line"].split()
                parts, headers = urlsplit(target), {**transcript["headers"], **request.get("headers", {})}
                query = [name for name, _ in parse_qsl(parts.query)]
                for what, names in parts_of(method, parts.path, query, headers, request.get("body")).items():
                    found[what] |= names
    return found


def test_the_transcripts_have_all_that_the_client_sends(
    monkeypatch: pytest.MonkeyPatch, console: Console, key: str, agent_id: str, name: str
) -> None:
    sent: dict[str, set[str]] = defaultdict(set)
    once = EdictumServerClient._once

    async def noting(self: EdictumServerClient, *request: Any) -> client.Answer:
        method, path, query, body, _, headers, _ = request
        fields = None if body is None or headers.get("Content-Encoding") else json.loads(body)
        for what, names in parts_of(method, path, query or (), {**self._headers, **headers}, fields).items():
            sent[what] |= names
        return await once(self, *request)

    async def check() -> None:
        connected = {"bundle_name": name, "tags": {"team": "docs"}}
        async with await Edictum.from_server(console.address, key, agent_id, **connected) as guard:
            await guard.run("read_file", {"path": "a"}, lambda path: "done", session_id=agent_id)
            with pytest.raises(EdictumDenied):
                await guard.run("send_money", {"amount": 500}, lambda amount: "done", session_id=agent_id)

    monkeypatch.setattr(EdictumServerClient, "_once", noting)
    console.deploy(rules(name, timeout=1))
    asyncio.run(check())
    found = known()
    missing = {what: names - found[what] for what, names in sent.items() if what not in found or names - found[what]}
    assert missing == {}
