"""
Where the console sends to, and what it never reaches; the servers are real, and only names are resolved by the test.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from email.message import EmailMessage
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from edictum_console.outbound.errors import OutboundError, RefusedTargetError, UnreachableError
from edictum_console.outbound.http import Outbound
from edictum_console.outbound.mail import MailServer, MailTls, send_mail
from edictum_console.outbound.targets import Targets, is_public, resolve
from providers import certificate, http_server, mail_server, said

pytestmark = pytest.mark.security

LOOPBACK = (ip_network("127.0.0.1/32"),)


def resolving(*answers: Sequence[str]) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    """
    A resolver that gives these answers, one after the other; it fails if it is asked more often.
    """
    left = iter(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        return next(left)

    return resolve


def inside(**others: Any) -> Outbound:
    """
    A connector that may reach one address of this machine, without TLS.
    """
    return Outbound(Targets(LOOPBACK), plaintext=True, **others)


async def post(outbound: Outbound, url: str) -> bytes:
    return (await outbound.send("POST", url, {}, b"x")).body


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",  # where clouds keep credentials
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "2001::1",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "nonsense",
    ],
)
def test_address_that_is_not_public_is_refused(address: str) -> None:
    assert not Targets().allows(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "64:ff9b::808:808"])
def test_address_that_is_public_is_allowed(address: str) -> None:
    assert Targets().allows(address)
    assert is_public(ip_address(address))


def test_networks_of_the_operator_are_reached_and_no_others() -> None:
    targets = Targets((ip_network("10.1.0.0/16"), ip_network("fd00::/64")))
    assert targets.allows("10.1.2.3")
    assert targets.allows("fd00::1")
    assert not targets.allows("10.2.0.1")
    assert not targets.allows("::ffff:10.1.2.3")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0177.0.0.1", "0x7f.1", "127.1", "[::1]", "[::ffff:127.0.0.1]", "0"],
)
def test_this_machine_is_not_reached_however_it_is_written(host: str) -> None:
    async def check() -> None:
        async with http_server() as server:
            outbound = Outbound(Targets(), plaintext=True)
            with pytest.raises((RefusedTargetError, UnreachableError)) as caught:
                await post(outbound, f"http://{host}:{server.port}/")
            assert server.requests.empty()
            assert caught.type is RefusedTargetError or "not known" in caught.value.text

    asyncio.run(check())


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://user@example.com/",
        "https://user:word@example.com/",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com\\@127.0.0.1/",
        "https://exa mple.com/",
        "https://example.com/\r\nX: y",
        "https://[::1/",
        "//example.com/",
        "example.com",
        "",
    ],
)
def test_url_that_is_not_called_is_refused_before_anything_is_resolved(url: str) -> None:
    async def check() -> None:
        with pytest.raises(RefusedTargetError):
            await post(Outbound(Targets(resolve=resolving())), url)

    asyncio.run(check())


def test_name_with_one_address_that_is_not_public_is_refused() -> None:
    async def check() -> None:
        targets = Targets(resolve=resolving(["8.8.8.8", "10.0.0.1"]))
        with pytest.raises(RefusedTargetError, match="not public"):
            await post(Outbound(targets), "https://example.com/")

    asyncio.run(check())


def test_name_that_changes_its_mind_is_asked_once_and_reached_where_it_was_judged() -> None:
    async def check() -> None:
        async with http_server() as first, http_server(host="127.0.0.2") as second:
            # The first answer is allowed; a second question, to which the answer is not, fails the test.
            targets = Targets(LOOPBACK, resolving(["127.0.0.1"]))
            url = f"http://rebinding.test:{first.port}/hook"
            await post(Outbound(targets, plaintext=True), url)
            received = await first.next()
            assert (received.path, received.headers["host"]) == ("/hook", f"rebinding.test:{first.port}")
            assert second.requests.empty()
            rebound = Targets(LOOPBACK, resolving(["127.0.0.2"]))
            with pytest.raises(RefusedTargetError):
                await post(Outbound(rebound, plaintext=True), f"http://rebinding.test:{second.port}/")
            assert second.requests.empty()

    asyncio.run(check())


def test_redirect_is_a_failure_and_is_not_followed() -> None:
    async def check() -> None:
        async with (
            http_server(host="127.0.0.2") as secret,
            http_server(lambda _: said(status=302, Location=f"http://127.0.0.2:{secret.port}/")) as server,
        ):
            with pytest.raises(OutboundError, match="the answer was 302"):
                await post(inside(), server.address)
            await server.next()
            assert secret.requests.empty()

    asyncio.run(check())


def test_answer_is_read_to_its_limit_and_an_error_does_not_repeat_it() -> None:
    async def check() -> None:
        async with http_server(lambda r: (200 if r.path == "/" else 500, {}, b"canary" * 100_000)) as server:
            assert len(await post(inside(), f"{server.address}/")) == 64 * 1024
            with pytest.raises(OutboundError) as caught:
                await post(inside(), f"{server.address}/fails")
            assert "canary" not in repr(caught.value)
            assert caught.value.text == "the answer was 500"

    asyncio.run(check())


@pytest.mark.parametrize(
    ("header", "expected"),
    [("17", 17.0), ("999999999999", 3600.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("x", None)],
)
def test_wish_to_be_left_alone_is_read(header: str, expected: float | None) -> None:
    async def check() -> None:
        async with http_server(lambda _: said(status=429, Retry_After=header)) as server:
            with pytest.raises(OutboundError) as caught:
                await post(inside(), server.address)
            assert caught.value.retry_after == expected

    asyncio.run(check())


def test_server_that_says_nothing_is_given_up() -> None:
    async def check() -> None:
        ended = asyncio.Semaphore(0)

        async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()
            await writer.wait_closed()
            ended.release()

        silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        async with silent:
            outbound, server = inside(timeout=1), MailServer("127.0.0.1", port, MailTls.NONE, None, None)
            tries = (post(outbound, f"http://127.0.0.1:{port}/"), deliver(outbound, server))
            for failure in await asyncio.gather(*tries, return_exceptions=True):
                assert isinstance(failure, UnreachableError)
                assert "within 1 seconds" in failure.text
            async with asyncio.timeout(20):
                for _ in range(2):
                    await ended.acquire()

    asyncio.run(check())


def test_host_that_is_not_there_is_named_in_the_consoles_own_words() -> None:
    async def check() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # and does not listen
            with pytest.raises(UnreachableError, match="does not take connections"):
                await post(inside(), f"http://127.0.0.1:{taken.getsockname()[1]}/")
        with pytest.raises(UnreachableError, match="not known"):
            await resolve("nowhere.invalid", 443)
        with pytest.raises(UnreachableError, match="not known"):
            await resolve("x" * 64 + ".example.com", 443)

    asyncio.run(check())


def test_certificate_is_checked_for_the_name_and_not_for_the_address(tmp_path: Path) -> None:
    async def check() -> None:
        context, trusting = certificate(tmp_path, "hooks.test")
        async with http_server(context=context) as server:
            targets = Targets(LOOPBACK, resolving(*[["127.0.0.1"]] * 3))
            await post(Outbound(targets, context=trusting), f"https://hooks.test:{server.port}/")
            with pytest.raises(UnreachableError, match="certificate"):
                await post(Outbound(targets, context=trusting), f"https://other.test:{server.port}/")
            with pytest.raises(UnreachableError, match="certificate"):
                await post(Outbound(targets), f"https://hooks.test:{server.port}/")

    asyncio.run(check())


def mail() -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "console@example.com", "ana@example.com", "hello"
    message.set_content("text")
    return message


async def deliver(outbound: Outbound, server: MailServer) -> None:
    await send_mail(outbound, server, "console@example.com", ["ana@example.com"], mail())


def test_mail_goes_encrypted_or_not_at_all(tmp_path: Path) -> None:
    async def check() -> None:
        context, trusting = certificate(tmp_path, "mail.test")
        async with mail_server(context, "hunter2") as box, mail_server() as plain:
            targets = Targets(LOOPBACK, resolving(*[["127.0.0.1"]] * 5))
            outbound = Outbound(targets, context=trusting)
            await deliver(outbound, MailServer("mail.test", box.port, MailTls.STARTTLS, "ana", "hunter2"))
            envelope, message = await box.next()
            assert (envelope.mail_from, envelope.rcpt_tos) == ("console@example.com", ["ana@example.com"])
            assert message["Subject"] == "hello"
            with pytest.raises(OutboundError, match="user name and password"):
                await deliver(outbound, MailServer("mail.test", box.port, MailTls.STARTTLS, "ana", "wrong"))
            with pytest.raises(OutboundError, match="connection to the mail server failed"):
                await deliver(outbound, MailServer("other.test", box.port, MailTls.STARTTLS, "ana", "hunter2"))
            with pytest.raises(OutboundError, match="connection to the mail server failed"):
                await deliver(outbound, MailServer("mail.test", plain.port, MailTls.STARTTLS, "ana", "hunter2"))
            with pytest.raises(RefusedTargetError, match="not be encrypted"):
                await deliver(outbound, MailServer("mail.test", plain.port, MailTls.NONE, None, None))
            assert box.messages.empty()
            assert plain.messages.empty()

    asyncio.run(check())


def test_mail_server_is_judged_like_every_other_host() -> None:
    async def check() -> None:
        async with mail_server() as box:
            outbound = Outbound(Targets(), plaintext=True)
            for host in ("127.0.0.1", "localhost", "2130706433"):
                with pytest.raises(RefusedTargetError):
                    await deliver(outbound, MailServer(host, box.port, MailTls.NONE, None, None))
            assert box.messages.empty()
            await deliver(inside(), MailServer("127.0.0.1", box.port, MailTls.NONE, None, None))
            await box.next()
            box.refuse = "554 canary"
            with pytest.raises(OutboundError) as caught:
                await deliver(inside(), MailServer("127.0.0.1", box.port, MailTls.NONE, None, None))
            assert caught.value.text == "the mail server answered 554"

    asyncio.run(check())
