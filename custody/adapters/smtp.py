"""Handing mails to an SMTP server: over TLS, with a password from a file that nobody else can read."""

import asyncio
import smtplib
import ssl
from email.message import EmailMessage
from typing import Final

from custody.mail import MailConfig
from custody.secret_files import read_password
from policy.errors import OperationalError

TIMEOUT_S: Final = 10.0


class SmtpPostman:
    """Implements ``custody.mail.Postman``: one connection a mail, beside the event loop."""

    def __init__(self, config: MailConfig) -> None:
        self._config = config
        self._password = (
            read_password(config.password_file, of="the mail server") if config.password_file else ""
        )
        self._trusted = _trusted(config)

    async def send(self, message: EmailMessage) -> None:
        """Have one mail taken."""
        try:
            await asyncio.to_thread(self._send, message)
        except smtplib.SMTPAuthenticationError as error:  # its words may repeat what was sent
            raise OperationalError(f"{self._place} does not know the user: mend [mail]") from error
        except (smtplib.SMTPException, ssl.SSLError, OSError) as error:
            reason = f"{type(error).__name__}: {str(error)[:200]}"
            raise OperationalError(f"{self._place} took no mail ({reason}): it is sent again") from error

    @property
    def _place(self) -> str:
        return f"{self._config.host}:{self._config.port}"

    def _send(self, message: EmailMessage) -> None:
        config = self._config
        with self._connected() as server:
            if config.security == "starttls":
                server.starttls(context=self._trusted)
            if config.user:
                server.login(config.user, self._password)
            server.send_message(message)

    def _connected(self) -> smtplib.SMTP:
        config = self._config
        if config.security == "tls":
            return smtplib.SMTP_SSL(config.host, config.port, timeout=TIMEOUT_S, context=self._trusted)
        return smtplib.SMTP(config.host, config.port, timeout=TIMEOUT_S)


def _trusted(config: MailConfig) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=config.certificate)
    except (OSError, ssl.SSLError) as error:
        raise OperationalError(f"mail: {config.certificate}: {error}") from error
