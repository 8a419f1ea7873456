"""Mail: a coordinator in memory tells a real SMTP server on loopback."""

import asyncio
import contextlib
import dataclasses
import datetime
import ipaddress
import json
import logging
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from custody.adapters.smtp import SmtpPostman
from custody.approvals import drafts
from custody.mail import MailConfig, Mailer, Security
from policy.errors import OperationalError
from tests.unit.custody_cluster import ETHER, complete_approval, make_request
from tests.unit.custody_house import Clock, House, Running
from tests.waiting import found, until

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH")  # TLS is there before SMTP begins
PASSWORD = "correct horse battery staple"
TO = {"otto": "otto@example.com", "olga": "olga@example.com", "clerk": "clerk@example.com"}


@dataclass
class Office:
    """What the mail server was given; it answers as it is set to."""

    taken: list[EmailMessage] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    users: list[tuple[str, str]] = field(default_factory=list)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.ids.append(str(message["Message-ID"]))
        if self.answers:
            return self.answers.pop(0)
        assert [message["To"]] == envelope.rcpt_tos
        self.taken.append(message)
        return "250 OK"

    def authenticate(self, _server: Any, _session: Any, _envelope: Any, _kind: Any, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.users.append((data.login.decode(), data.password.decode()))
        good = data.password == PASSWORD.encode()
        return AuthResult(success=good, handled=good)


@dataclass(frozen=True)
class Server:
    """A mail server with TLS, and how to reach it."""

    office: Office
    config: MailConfig


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of localhost that signs itself."""
    key, name = (
        generate_private_key(SECP256R1()),
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")]),
    )
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day)
    made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    (folder / "mail.pem").write_bytes(made.sign(key, SHA256()).public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "mail-key.pem").write_bytes(private)
    (folder / "mail-key.pem").chmod(0o600)
    return folder / "mail.pem", folder / "mail-key.pem"


@contextlib.contextmanager
def serving(folder: Path, security: Security) -> Iterator[Server]:
    """A mail server that takes mail of one user over TLS alone."""
    office, (cert, key) = Office(), certificate(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    tls: dict[str, Any] = {"ssl_context": context, "auth_require_tls": False}
    if security == "starttls":
        tls = {"tls_context": context, "require_starttls": True}
    controller = Controller(
        office, hostname="127.0.0.1", port=0, authenticator=office.authenticate, auth_required=True, **tls
    )
    with contextlib.suppress(ConnectionError):  # it rings at port 0 to see whether it is up
        controller.start()
    listening: Any = controller.server
    port = listening.sockets[0].getsockname()[1]
    password = folder / "password"
    password.write_text(PASSWORD + "\n")
    password.chmod(0o600)
    try:
        sender = "custody@example.com"
        yield Server(office, MailConfig("localhost", port, security, "custody", password, cert, sender, TO))
    finally:
        for end in (listening.close, controller.loop.stop):  # in its own thread, where connections end
            controller.loop.call_soon_threadsafe(end)


@pytest.fixture(params=["tls", "starttls"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path, request.param) as made:
        yield made


@contextlib.asynccontextmanager
async def telling(house: House, config: MailConfig) -> AsyncIterator[Running]:
    """A running coordinator that has a mailer."""
    async with house.with_key() as running:
        mailer = Mailer(running.parts, config, postman=SmtpPostman(config))
        running.parts.duties.on_changed.append(mailer.changed)
        for queue in mailer.queues:  # each begins with what comes after it
            await running.parts.feeds.queue_deliveries(queue, "", now_ms=1)
        task = asyncio.create_task(mailer.run())
        try:
            yield running
            if task.done():
                task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def ask(running: Running, key: str = "mailed", *, ether: int = 5) -> bytes:
    _, body, signature = make_request(key, amount=ether * ETHER, now_ms=running.parts.now_ms())
    return (await running.service.submit(body, signature)).request


async def test_whoever_can_approve_is_told_once_and_nobody_else(server: Server, tmp_path: Path) -> None:
    async with telling(House(tmp_path), server.config) as running:
        await running.until(await ask(running, "small", ether=1), "settled")
        request = await ask(running)
        await until(lambda: bool(server.office.taken))
        await asyncio.sleep(0.3)

    (mail,) = server.office.taken  # olga is behind the shop, and clerk is of another group
    assert (mail["To"], mail["From"]) == ("otto@example.com", "custody@example.com")
    assert request.hex() in mail.get_content()
    assert server.office.users == [("custody", PASSWORD)]


async def test_a_mail_has_no_link_and_nothing_of_the_payment(tmp_path: Path) -> None:
    with serving(tmp_path, "tls") as server:
        async with telling(House(tmp_path), server.config) as running:
            await ask(running, "a secret customer")
            await until(lambda: bool(server.office.taken))
    text = server.office.taken[0].as_string() + server.office.taken[0].get_content()

    assert not re.search(r"https?:|href|eth\b|0x|shop|hot-wallet|secret|1111", text)


async def test_a_request_that_expires_beyond_all_calendars_ends_nothing(tmp_path: Path) -> None:
    with serving(tmp_path, "tls") as server:
        async with telling(House(tmp_path), server.config) as running:
            now = running.parts.now_ms()
            _, body, signature = make_request("late", amount=5 * ETHER, now_ms=now, expires_ms=2**53 - 1)
            await running.service.submit(body, signature)
            await until(lambda: bool(server.office.taken))

    assert f"{2**53 - 1} ms" in server.office.taken[0].get_content()


async def test_what_is_not_taken_is_sent_again_with_the_same_id(tmp_path: Path) -> None:
    with serving(tmp_path, "tls") as server:
        server.office.answers = ["451 later", "554 no"]
        async with telling(House(tmp_path), server.config) as running:
            await ask(running)
            await until(lambda: bool(server.office.taken))
            await until_owed(running, waiting=0)

    assert len(server.office.ids) == 3
    assert len(set(server.office.ids)) == len(server.office.taken) == 1


async def test_what_is_owed_survives_a_coordinator(tmp_path: Path) -> None:
    house = House(tmp_path)
    with serving(tmp_path, "tls") as server:
        dead = dataclasses.replace(server.config, port=9)
        async with telling(house, dead) as running:
            await ask(running)
            await until_owed(running)
        clock = house.now_ms
        assert isinstance(clock, Clock)
        clock.ahead_ms += 10_000
        async with telling(house, server.config):
            await until(lambda: bool(server.office.taken))

    assert len(server.office.taken) == 1


async def test_what_waits_no_more_is_not_told(tmp_path: Path) -> None:
    house = House(tmp_path)
    with serving(tmp_path, "tls") as server:
        async with telling(house, dataclasses.replace(server.config, port=9)) as running:
            request = await ask(running)
            await until_owed(running)
            (draft,) = await drafts(running.parts, "otto")
            body, assertion = complete_approval(json.loads(draft), "otto")
            await running.service.approve(body, assertion)
            await running.until(request, "settled")
        clock = house.now_ms
        assert isinstance(clock, Clock)
        clock.ahead_ms += 10_000
        async with telling(house, server.config) as running:
            await until_owed(running, waiting=0)

    assert server.office.ids == []


async def until_owed(running: Running, *, waiting: int = 1) -> None:
    """Once a mail to otto failed, or is not owed any more."""
    await found(
        lambda: running.parts.feeds.backlog("mail/otto"),
        lambda backlog: backlog.waiting == waiting and bool(backlog.error) == bool(waiting),
    )


async def test_a_server_that_is_not_the_certificates_gets_neither_mail_nor_password(
    tmp_path: Path,
) -> None:
    (tmp_path / "other").mkdir()
    other, _ = certificate(tmp_path / "other")
    with serving(tmp_path, "tls") as server:
        config = dataclasses.replace(server.config, certificate=other)
        with pytest.raises(OperationalError, match="SSLCertVerificationError"):
            await SmtpPostman(config).send(EmailMessage())

    assert (server.office.users, server.office.taken) == ([], [])


async def test_a_password_is_in_no_error_log_or_repr(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(tmp_path, "tls") as server:
        secret = tmp_path / "password"
        secret.write_text("another secret")
        postman = SmtpPostman(server.config)
        with pytest.raises(OperationalError, match="does not know the user") as refused:
            await postman.send(EmailMessage())

    assert set(server.office.users) == {("custody", "another secret")}
    said = f"{refused.value}{refused.value.__cause__!r}{postman!r}{server.config!r}"
    assert "another secret" not in said + "".join(one.getMessage() for one in caplog.records)
