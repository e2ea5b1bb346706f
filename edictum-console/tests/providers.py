"""
Servers on this machine that stand for those to which the console sends, by HTTP and mail; each keeps what it gets.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeAlias

import attrs
from aiosmtpd.smtp import SMTP, AuthResult, Envelope
from aiosmtpd.smtp import Session as MailSession
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@attrs.frozen
class Received:
    """
    A request that a server got.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """
        What the body holds.
        """
        return json.loads(self.body)


Reply: TypeAlias = tuple[int, dict[str, str], bytes]
Answering: TypeAlias = Callable[[Received], Reply]


def said(body: Any = None, status: int = 200, **headers: str) -> Reply:
    """
    An answer with JSON.
    """
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(body or {}).encode()


@attrs.define
class HttpServer:
    """
    A server that answers as the test says.
    """

    answer: Answering
    address: str = ""
    port: int = 0
    requests: asyncio.Queue[Received] = attrs.field(factory=asyncio.Queue)
    connections: set[asyncio.StreamWriter] = attrs.field(factory=set)

    async def next(self) -> Received:
        """
        The next request that came.
        """
        async with asyncio.timeout(20):
            return await self.requests.get()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """
        Answer one request.
        """
        self.connections.add(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:]) if name}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            received = Received(method, path, headers, body)
            status, answered, text = self.answer(received)
            self.requests.put_nowait(received)
            lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(text)}", "Connection: close"]
            lines += [f"{name}: {value}" for name, value in answered.items()]
            writer.write("\r\n".join([*lines, "", ""]).encode() + text)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def http_server(
    answer: Answering = lambda received: said(), host: str = "127.0.0.1", context: ssl.SSLContext | None = None
) -> AsyncIterator[HttpServer]:
    """
    Run a server meanwhile.
    """
    found = HttpServer(answer)
    server = await asyncio.start_server(found.serve, host, 0, ssl=context)
    found.port = server.sockets[0].getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    found.address = f"{'https' if context else 'http'}://{shown}:{found.port}"
    async with server:
        yield found
    await _end([writer.transport for writer in found.connections])


@attrs.define
class MailBox:
    """
    A mail server that takes everything from whoever has the password.
    """

    port: int = 0
    messages: asyncio.Queue[tuple[Envelope, EmailMessage]] = attrs.field(factory=asyncio.Queue)
    refuse: str | None = None

    async def handle_DATA(self, server: Any, session: MailSession, envelope: Envelope) -> str:  # noqa: N802
        """
        Keep a message, or refuse it.
        """
        if self.refuse is not None:
            return self.refuse
        content = envelope.content
        assert isinstance(content, bytes)
        message = message_from_bytes(content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.messages.put_nowait((envelope, message))
        return "250 OK"

    async def next(self) -> tuple[Envelope, EmailMessage]:
        """
        The next message that came.
        """
        async with asyncio.timeout(20):
            return await self.messages.get()


@asynccontextmanager
async def mail_server(context: ssl.SSLContext | None = None, password: str | None = None) -> AsyncIterator[MailBox]:
    """
    Run a mail server meanwhile.

    Args:
        context: Its certificate, with which it offers to encrypt; None for one that cannot.
        password: What whoever sends has to show.
    """
    box = MailBox()

    def judge(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=password is not None and data.password == password.encode(), handled=False)

    protocols: list[SMTP] = []

    def protocol() -> SMTP:
        protocols.append(
            SMTP(
                box,
                hostname="mail.test",
                tls_context=context,
                authenticator=judge,
                auth_required=password is not None,
                auth_require_tls=context is not None,
                loop=asyncio.get_running_loop(),
            )
        )
        return protocols[-1]

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    async with server:
        yield box
    await _end([protocol.transport for protocol in protocols if protocol.transport is not None])


async def _end(transports: list[Any]) -> None:
    """
    End connections, and let the loop forget them.
    """
    for transport in transports:
        transport.abort()
    for _ in range(5):
        await asyncio.sleep(0)


def certificate(folder: Path, *names: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """
    Make a certificate for hosts or addresses.

    Returns:
        The context of a server that has it, and of a client that trusts it and nothing else.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = built.public_bytes(serialization.Encoding.PEM)
    file.write_bytes(private + public)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cadata=public.decode())


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
