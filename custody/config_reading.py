"""Reading the coordinator's configuration: every problem at once, each with its line and its fix."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from custody.chains.config import check_coins, read_chain
from custody.config import (
    Config,
    ConsoleConfig,
    HttpConfig,
    NodeConfig,
    RetentionConfig,
    WebhooksConfig,
)
from custody.config_looking import doors_of, look_around
from custody.mail import MailConfig, Security
from custody.pools import PoolSizes
from custody.webhooks import Webhook
from custody.witnesses import Witness
from policy.errors import MalformedError
from policy.ids import CHAIN, ORIGIN
from policy.log.checkpoint import TYPE_COSIGNATURE, parse_vkey
from policy.settings import ConfigError, Settings, parse_settings, unlike
from signer_nodes.api import surroundings as around

NODES_MAX, CHAINS_MAX, WITNESSES_MAX, WEBHOOKS_MAX = 64, 64, 16, 64
AUDITORS_MAX, OPERATORS_MAX = 64, 100
DAYS_MAX, HELD_MAX = 36_500, 1000
HTTP_LISTEN, CONSOLE_LISTEN = "127.0.0.1:7601", "127.0.0.1:7602"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
TEXT: Final = re.compile(r"[^\x00-\x1f\x7f]{1,1000}")
DATABASE: Final = re.compile(
    r"(sqlite:///(?!:memory:)[^\x00-\x1f\x7f]{1,1000}|postgresql(\+psycopg)?://[^\x00-\x1f\x7f]{1,1000})"
)
DATABASES: Final = "sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME"
HOST: Final = re.compile(r"[A-Za-z0-9._:\[\]-]{1,253}")
WITNESS: Final = re.compile(r"[!-*,-~]{1,255}")
MAIL_ADDRESS: Final = re.compile(r"(?=.{1,254}$)[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
DOUBT: Final = re.compile(r"[0-9a-f]{8}")
REQUEST_ID: Final = re.compile(r"[0-9a-f]{64}")


def load_config(path: Path) -> Config:
    """Read a configuration file. Raises ``ConfigError`` with all its problems."""
    settings, config = _parsed(path)
    return _sound(path, settings, config)


def load_to_run(path: Path) -> Config:
    """The same for a coordinator that is to run: whatever it names must be there, and its ports free."""
    settings, config = _parsed(path)
    look_around(config, settings)
    return _sound(path, settings, config)


def read_to_check(path: Path, *, runs: Callable[[Path], bool]) -> tuple[Config, Settings, bool]:
    """What there is to be said of a file, as problems of its settings, instead of an end at them.

    Ports are those of the coordinator that ``runs`` on its data folder, if one does.
    """
    settings, config = _parsed(path)
    running = runs(config.data_dir)
    look_around(config, settings, ports=not running)
    return config, settings, running


def _sound(path: Path, settings: Settings, config: Config) -> Config:
    if settings.problems:
        raise ConfigError(str(path), settings.problems)
    return config


def _parsed(path: Path) -> tuple[Settings, Config]:
    settings = parse_settings(around.read_text(path), str(path))
    config = _read(settings, path.resolve().parent)
    settings.done()
    _check_doors(config, settings)
    check_coins(settings.section("chains"), config.chains, presignatures=config.pools.low)
    nodes = settings.section("nodes")
    unlike(
        ((nodes.section(name), "address", node.address) for name, node in config.nodes.items()),
        what="address",
    )
    return settings, config


def _read(table: Settings, folder: Path) -> Config:
    data_dir = folder / table.file("data_dir")
    own = f"sqlite:///{data_dir / 'custody.db'}"
    return Config(
        name=table.name("name", default="coordinator"),
        origin=table.text("origin", ORIGIN, expected="the log's origin, such as 'log.example.com/treasury'"),
        listen=table.address("listen", port_min=0),
        listen_file=_optional(table, "listen_file", folder),
        data_dir=data_dir,
        database=table.text("database", DATABASE, expected=DATABASES, default=own, shown=False),
        advertise=table.text("advertise", HOST, expected="this machine's host", default=""),
        publish_dir=_optional(table, "publish_dir", folder),
        shadow_policy=_optional(table, "shadow_policy", folder),
        indicators=_optional(table, "indicators", folder),
        addresses_claimed=table.text("addresses_claimed", DOUBT, expected="8 hex digits", default=""),
        genesis=folder / table.file("genesis"),
        identity_key=folder / table.file("identity_key"),
        log_key=folder / table.file("log_key"),
        metrics_port=table.integer("metrics_port", default=0, high=65535),
        metrics_address=table.text("metrics_address", HOST, expected="a host", default="127.0.0.1"),
        signing_timeout_ms=table.integer("signing_timeout_ms", default=2000, low=100, high=60_000),
        pools=_pool_sizes(table.section("pools")),
        http=_http(table.section("http"), folder) if table.has("http") else None,
        console=_console(table.section("console"), folder) if table.has("console") else None,
        auditors=_auditors(table.section("auditors"), folder) if table.has("auditors") else (),
        webhooks=_webhooks(table.section("webhooks"), folder) if table.has("webhooks") else None,
        mail=_mail(table.section("mail"), folder) if table.has("mail") else None,
        retention=_retention(table.section("retention")),
        witnesses=_witnesses(table),
        nodes={
            name: NodeConfig(node.address("address", port_min=1), folder / node.file("certificate"))
            for name, node in table.section("nodes").sections(count_max=NODES_MAX)
        },
        chains={
            name: read_chain(name, chain, folder=folder)
            for name, chain in table.section("chains").sections(
                CHAIN, expected="a chain such as 'evm:1'", count_max=CHAINS_MAX
            )
            if CHAIN.fullmatch(name)
        },
    )


def _check_doors(config: Config, settings: Settings) -> None:
    """Doors have different ports, and those of one of several coordinators stay what they are."""
    doors = doors_of(config, settings)
    unlike((door for door in doors if not door[2].endswith(":0")), what="address")
    for table, key, listen in doors:
        if config.advertise and listen.endswith(":0"):
            table.problem(key, "has port 0: one of several coordinators (advertise) needs a port of its own")


def _witnesses(table: Settings) -> dict[str, Witness]:
    if not table.has("witnesses"):
        return {}
    section = table.section("witnesses")
    if not table.has("publish_dir"):
        table.problem("witnesses", "need publish_dir, as what they are shown is published: add it")
    found = {
        name: _witness(name, part)
        for name, part in section.sections(WITNESS, expected="a witness's name", count_max=WITNESSES_MAX)
    }
    unlike(((section.section(name), "vkey", one.key) for name, one in found.items()), what="key")
    return found


def _witness(name: str, part: Settings) -> Witness:
    url = part.text("url", TEXT, expected="an https URL", shown=False)
    if url and not _private(url):
        part.problem("url", "is not https (http to this machine alone): correct it")
    text = part.text("vkey", TEXT, expected="the line that witness init printed")
    key = b""
    try:
        vkey = parse_vkey(text)
        key = vkey.public_key
        if (vkey.name, vkey.key_type) != (name, TYPE_COSIGNATURE):
            part.problem("vkey", f"is of {vkey.name}, or not of a cosigner: copy what witness init printed")
    except MalformedError as error:
        if text:
            part.problem("vkey", f"cannot be used: {error}; copy what witness init printed")
    return Witness(name, key, url)


def _pool_sizes(table: Settings) -> PoolSizes:
    low = table.integer("low", default=16, high=10_000)
    batch = table.integer("batch", default=32, low=4, high=128)
    if batch % 4:
        table.problem("batch", f"is {batch}: set it to a multiple of 4")
    return PoolSizes(
        low=low,
        high=table.integer("high", default=max(48, low), low=low, high=20_000),
        batch=batch,
        parallel=table.integer("parallel", default=2, low=1, high=64),
    )


def _retention(table: Settings) -> RetentionConfig:
    days = table.integer("events_days", default=0, high=DAYS_MAX)
    hold = table.take("hold")
    listed = hold if isinstance(hold, list) else []
    found = [one for one in listed if isinstance(one, str) and REQUEST_ID.fullmatch(one)]
    if hold is not None and (hold != found or len(found) > HELD_MAX):
        table.problem(
            "hold", f"is no list of at most {HELD_MAX} ids of requests, of 64 hex digits: correct it"
        )
    return RetentionConfig(days, tuple(map(bytes.fromhex, found)))


def _http(table: Settings, folder: Path) -> HttpConfig:
    listen = table.address("listen", port_min=0, default=HTTP_LISTEN)
    return HttpConfig(listen, _optional(table, "listen_file", folder))


def _console(table: Settings, folder: Path) -> ConsoleConfig:
    console = ConsoleConfig(
        origin=table.text("origin", TEXT, expected="https://HOST or https://HOST:PORT"),
        listen=table.address("listen", port_min=0, default=CONSOLE_LISTEN),
        listen_file=_optional(table, "listen_file", folder),
        certificate=_optional(table, "certificate", folder),
        certificate_key=_optional(table, "certificate_key", folder),
    )
    if console.origin and not _is_origin(console.origin):
        table.problem("origin", "must be https://HOST or https://HOST:PORT (http for localhost alone)")
    if (console.certificate is None) != (console.certificate_key is None):
        table.problem("certificate", "and certificate_key come together: give both or none")
    if console.certificate is None and console.listen.rpartition(":")[0].strip("[]") not in LOOPBACK:
        table.problem(
            "listen",
            "is reached without a certificate only on this machine alone: give certificate and "
            "certificate_key, or listen on 127.0.0.1",
        )
    return console


def _auditors(table: Settings, folder: Path) -> tuple[Path, ...]:
    names = table.take("cards")
    listed = names if isinstance(names, list) else []
    found = [name for name in listed if isinstance(name, str) and TEXT.fullmatch(name)]
    if not found or found != names or len(set(found)) != len(found) or len(found) > AUDITORS_MAX:
        table.problem("cards", f"must be a list of 1 to {AUDITORS_MAX} different cards, such as anna.json")
    return tuple(folder / name for name in found)


def _is_origin(origin: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    known = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname == "localhost")
    return bool(
        known and parts.hostname and origin == f"{parts.scheme}://{parts.netloc}" and "@" not in origin
    )


def _webhooks(table: Settings, folder: Path) -> WebhooksConfig:
    hooks = sorted(table.section("to").sections(count_max=WEBHOOKS_MAX), key=lambda hook: hook[0])
    to = {name: _webhook(name, hook, folder=folder) for name, hook in hooks}
    return WebhooksConfig(folder / table.file("key"), to)


def _webhook(name: str, table: Settings, *, folder: Path) -> Webhook:
    url = table.text("url", TEXT, expected="https://HOST/PATH", shown=False)
    if url and not _callable(url):
        table.problem("url", "must be https://HOST/PATH (http to this machine alone), without user")
    return Webhook(name, table.name("initiator"), url, _optional(table, "certificate", folder))


def _callable(url: str) -> bool:
    """Whether a webhook may be at a URL: nobody on the way can read it, and it carries no secret."""
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return _private(url) and named and parts.username is None and not parts.fragment


def _private(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)


def _mail(table: Settings, folder: Path) -> MailConfig:
    words: dict[str, Security] = {one: one for one in ("tls", "starttls", "insecure-plain")}
    mail = MailConfig(
        host=table.text("host", TEXT, expected="the mail server's host"),
        port=table.integer("port", default=465, low=1, high=65535),
        security=words.get(table.choice("security", *words, default="tls"), "tls"),
        user=table.text("user", TEXT, expected="the user at the mail server", default=""),
        password_file=_optional(table, "password_file", folder),
        certificate=_optional(table, "certificate", folder),
        sender=_mail_address(table, "sender"),
        to=_operators(table.section("to")),
    )
    if bool(mail.user) != bool(mail.password_file):
        table.problem("user", "and password_file: user and password_file come together, give both or none")
    if mail.security == "insecure-plain" and mail.host not in LOOPBACK:
        table.problem("security", "is without TLS, which goes to this machine alone: use tls or starttls")
    return mail


def _mail_address(table: Settings, key: str) -> str:
    return table.text(key, MAIL_ADDRESS, expected="a mail address such as otto@example.com")


def _operators(table: Settings) -> dict[str, str]:
    if len(table.values) > OPERATORS_MAX:
        table.problem("", f"has more than {OPERATORS_MAX} operators: remove some")
    return {name: _mail_address(table, name) for name in sorted(table.values)}


def _optional(table: Settings, key: str, folder: Path) -> Path | None:
    name = table.optional_file(key)
    return folder / name if name else None
