"""
URLs and hosts in any text: where one is read, every other reader finds the same host or none.

Other readers are the standard library and that of browsers and Node (the URL standard of the WHATWG, by ``ada-url``).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import ada_url
from at_length import at_most, repeated
from edictum import create_tool_call
from edictum.ruleset.syntax import SandboxRule
from edictum.sandbox.check import Sandbox
from edictum.sandbox.hosts import BadHost, HostList, Target, is_private, is_url, target_of_host, target_of_url, urls_in
from edictum.sandbox.shell import parse
from harvest import CORE, TESTS, texts_in, words_in

LONGEST = 256
SECONDS = 300

_ALLOWED = "a.com"
_BOX = Sandbox(SandboxRule("box", "enforce", "m", domains=(_ALLOWED,)), {})
_CARELESS = re.compile(r"(?:https?|wss?|ftp)://[^\s\"'<>]+", re.IGNORECASE)
_PROSE = ".,;:!?)]}`'\""  # no top-level domain ends so
_WEB = ("http", "https", "ws", "wss", "ftp")


def target(data: bytes) -> None:
    """
    Read a text as a URL, as a host, as prose with URLs, and as the entry of a list.
    """
    text = data.decode("utf-8", "surrogateescape")
    is_url(text)
    for read in (target_of_url, target_of_host):
        for written in (text, f"http://{text}"):
            _check_target(read, written)
    _check_list(text)
    _check_private(text)
    assert all(is_url(url) for url in urls_in(text)), "a URL that is none"
    _check_sandbox(text)
    if (long := repeated(data, text, 100_000)) is not None:
        with at_most(30, f"{text!r} repeated"):
            for args in ({"url": long}, {"note": long}):
                _BOX.why(create_tool_call("tool", args))
            is_private(long)


def _check_target(read: object, text: str) -> None:
    hosts = set()
    for userinfo in (False, True):
        try:
            found = read(text, userinfo=userinfo)
        except BadHost as reason:
            assert len(str(reason)) < 90, "a reason that may show the text"
            continue
        hosts.add(found)
        _check_canonical(found)
        if read is target_of_url:
            for name, host in _other_readers(text):
                assert host == found.host, f"{text!r} is {found.host!r} here, {host!r} to {name}"
    assert len(hosts) < 2, "a user name changes the host"


def _check_canonical(found: Target) -> None:
    host = f"[{found.host}]" if ":" in found.host else found.host
    assert found.host.isascii(), "a host that is not in ASCII"
    assert target_of_host(host).host == found.host, "reading a canonical host changes it"
    assert HostList([host]).admits(found), "a host is not on a list that consists of it"


def _other_readers(text: str, base: str | None = None) -> Iterator[tuple[str, str]]:
    """
    The hosts that other readers find, in canonical form; none from one that refuses the text.
    """
    try:
        parts = urlsplit(text)
        host = _canonical(parts.hostname or "")
    except ValueError:
        parts, host = None, ""
    if parts and host and (parts.scheme, host) != ("file", "localhost"):
        yield "urllib", host
    if not text.isprintable() and any("\ud800" <= char <= "\udfff" for char in text):
        return  # no UTF-8
    try:
        url = ada_url.URL(text, base) if base else ada_url.URL(text)
    except ValueError:
        return
    if url.hostname and url.protocol.removesuffix(":") in _WEB:
        yield "a browser", _canonical(url.hostname)


def _canonical(host: str) -> str:
    """
    A host that a reader found, in the form of this package; independent of its code.
    """
    host = host.removeprefix("[").removesuffix("]")
    if ":" in host:
        address = ipaddress.IPv6Address(host)
        return str(address.ipv4_mapped or address)
    if not host.isascii():
        host = host.encode("idna").decode()
    if not host.strip("."):
        return ""
    try:
        return ada_url.URL(f"http://{host}/").hostname.rstrip(".")  # numbers of all forms
    except ValueError:
        return ""


def _check_list(text: str) -> None:
    try:
        hosts = HostList([text])
    except ValueError as error:
        assert type(error) is ValueError, f"{type(error).__name__} for an entry"
        return
    hosts.admits(Target("http", _ALLOWED, None))
    hosts.names(Target("", "10.0.0.1", 80))


def _check_private(text: str) -> None:
    private = is_private(text)
    try:
        address = ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return
    assert private or address.is_global, "an address that is not global counts as public"


def _check_sandbox(text: str) -> None:
    """
    What a sandbox for one host lets pass leads a tool to no other host.
    """
    if _BOX.why(create_tool_call("tool", {"url": text})) is None:
        _only_allowed(text, _other_readers(text, f"https://{_ALLOWED}/folder/page"))
    if _BOX.why(create_tool_call("tool", {"note": text})) is None:
        for url in _CARELESS.findall(text):
            _only_allowed(text, _other_readers(url))
    if _BOX.why(create_tool_call("tool", {"command": f"curl {text}"})) is None:
        for command in parse(f"curl {text}"):
            for word in command.words:
                _only_allowed(word.text, _other_readers(word.text))


def _only_allowed(text: str, readers: Iterator[tuple[str, str]]) -> None:
    for name, host in readers:
        assert host.rstrip(_PROSE) == _ALLOWED, f"{text!r} passes a sandbox for {_ALLOWED}, but is {host!r} to {name}"


def seeds() -> Iterator[bytes]:
    """
    The hosts and URLs of the tests, as they are and with the one that the sandbox knows.
    """
    for text in texts_in(
        TESTS / "test_sandbox_hosts.py", TESTS / "test_sandbox_mutations.py", TESTS / "test_sandbox.py"
    ):
        for written in {text, text.replace("github.com", _ALLOWED).replace("api.example.com", _ALLOWED)}:
            yield written.encode("utf-8", "surrogateescape")


def words() -> list[str]:
    """
    Parts of URLs, and characters that readers disagree about.
    """
    signs = [
        "://",
        "//",
        "\\\\",
        ":\\",
        "@",
        "%40",
        "%2e",
        "#",
        "?",
        "[::1]",
        "0x7f.1",
        "127.1",
        "2130706433",
        "xn--",
        "...",
    ]
    strange = [
        "\u3002",
        "\uff0e",
        "\uff0f",
        "\uff20",
        "\u2100",
        "\u00ad",
        "\u200d",
        "\u00df",
        "\u212a",
        "\u0130",
        "\ufeff",
        "\x85",
        "\u2028",
    ]
    schemes = [f"{scheme}://{_ALLOWED}" for scheme in _WEB]
    return [*signs, *strange, *schemes, "http:", "file:", "evil.com", *words_in(CORE / "sandbox" / "hosts.py")]
