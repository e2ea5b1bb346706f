"""
E-mail, over a mail server that somebody names.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from enum import StrEnum

import aiosmtplib
import attrs

from edictum_console.outbound.errors import OutboundError, RefusedTargetError, UnreachableError
from edictum_console.outbound.http import Outbound


class MailTls(StrEnum):
    """
    How the connection to a mail server is encrypted.

    ``starttls`` begins in the clear and goes on encrypted or not at all; ``tls`` is encrypted from the beginning.
    """

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


@attrs.frozen
class MailServer:
    """
    A mail server.
    """

    host: str
    port: int
    tls: MailTls
    user: str | None
    password: str | None = attrs.field(repr=False)


def check_server(outbound: Outbound, server: MailServer) -> None:
    """
    Look at a mail server without connecting.

    Raises:
        RefusedTargetError: The connection would not be encrypted, and nothing allows that.
    """
    if server.tls is MailTls.NONE and not outbound.plaintext:
        raise RefusedTargetError("the connection to the mail server would not be encrypted")


async def send_mail(
    outbound: Outbound, server: MailServer, sender: str, recipients: Sequence[str], message: EmailMessage
) -> None:
    """
    Hand a message to a mail server.

    Raises:
        RefusedTargetError: The server must not be called.
        UnreachableError: It does not answer, or not in time.
        OutboundError: It does not take the message.
    """
    check_server(outbound, server)
    context = outbound.context  # made before the time begins to count
    try:
        async with asyncio.timeout(outbound.timeout):
            await _send(outbound, context, server, sender, recipients, message)
    except TimeoutError:
        raise UnreachableError(f"the mail server did not answer within {outbound.timeout:g} seconds") from None
    except aiosmtplib.SMTPAuthenticationError:
        raise OutboundError("the mail server does not take the user name and password") from None
    except aiosmtplib.SMTPRecipientsRefused:
        raise OutboundError("the mail server takes none of the recipients") from None
    except aiosmtplib.SMTPResponseException as error:
        raise OutboundError(f"the mail server answered {error.code}") from None
    except (aiosmtplib.SMTPException, OSError, ValueError):
        raise UnreachableError("the connection to the mail server failed") from None


async def _send(
    outbound: Outbound,
    context: ssl.SSLContext,
    server: MailServer,
    sender: str,
    recipients: Sequence[str],
    message: EmailMessage,
) -> None:
    connection = await outbound.targets.connect(server.host, server.port)
    try:
        client = aiosmtplib.SMTP(
            hostname=server.host,  # whose name the certificate has to have; the connection is there already
            sock=connection,
            username=server.user,
            password=server.password,
            local_hostname=sender.rpartition("@")[2],  # instead of the name of this machine
            use_tls=server.tls is MailTls.TLS,
            start_tls=None if server.tls is MailTls.TLS else server.tls is MailTls.STARTTLS,
            tls_context=context,
            timeout=outbound.timeout,
        )
    except ValueError:
        connection.close()
        raise
    try:
        async with client:
            await client.send_message(message, sender=sender, recipients=list(recipients))
    finally:
        client.close()  # which closes the connection, too
