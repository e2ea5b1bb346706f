"""
Messages by e-mail, in plain text.
"""

from __future__ import annotations

from email.message import EmailMessage
from email.utils import formatdate

from edictum_console.domains.notifications.configs import EmailConfig
from edictum_console.domains.notifications.notices import on_one_line
from edictum_console.domains.notifications.senders.parts import Message
from edictum_console.outbound.http import Outbound
from edictum_console.outbound.mail import send_mail

_LONGEST_SUBJECT = 150


async def send(outbound: Outbound, config: EmailConfig, message: Message) -> None:
    """
    Send a message.
    """
    notice = message.notice
    mail = EmailMessage()
    mail["From"] = config.from_address
    mail["To"] = ", ".join(config.to_addresses)
    mail["Subject"] = on_one_line(f"{notice.title}: {notice.tool_name} ({notice.env})")[:_LONGEST_SUBJECT]
    mail["Date"] = formatdate(usegmt=True)
    mail["Message-ID"] = f"<{message.id}@{config.from_address.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    lines = [notice.title, "", *(f"{name}: {value}" for name, value in notice.facts), "", notice.message]
    lines += ["", notice.arguments] if notice.arguments else []
    mail.set_content("\n".join([*lines, "", message.link, ""]))
    await send_mail(outbound, config.server, config.from_address, config.to_addresses, mail)
