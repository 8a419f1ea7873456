"""The coordinator's configuration: one TOML file. Relative paths start at its folder.

```toml
name = "coordinator"                  # as nodes and clients pin it
origin = "log.example.com/treasury"
listen = "127.0.0.1:7600"             # port 0: any
listen_file = "port"                  # optional: where the bound port is written
data_dir = "data"                     # database and lease
database = "sqlite:///data/custody.db"  # optional: a SQLAlchemy URL; postgresql+psycopg://... for several
advertise = "custody-1.example.com"   # optional: its host for others on the same PostgreSQL, to take over
publish_dir = "log"                   # optional: the log as static files
shadow_policy = "new.json"            # optional: a policy to judge by beside the real one, without authority
indicators = "indicators.toml"        # optional: thresholds and weights of the risk indicators
genesis = "genesis.json"              # the genesis entry, byte for byte
identity_key = "identity.pem"         # Ed25519; its certificate is what others pin
log_key = "log-key.pem"               # Ed25519; signs checkpoints
metrics_port = 0                      # 0: off
metrics_address = "127.0.0.1"
signing_timeout_ms = 2000

[pools]
low = 16                              # a set with fewer presignatures is filled
high = 48                             # up to this
batch = 32                            # a multiple of 4
parallel = 2                          # batches under way at once: nodes have several cores

[retention]                           # optional: what is forgotten in time; never the log
events_days = 90                      # events of the feed older than this; 0 or left out: none
hold = []                             # requests (ids) of which nothing is forgotten: legal hold

[http]                                # optional: the HTTP door; off without this section
listen = "127.0.0.1:7601"             # this unless another is given
listen_file = "http-port"             # optional

[console]                             # optional: the console for operators; off without this section
origin = "https://custody.example.com"  # what browsers call it; its host is what passkeys are bound to
listen = "127.0.0.1:7602"             # this unless another is given
listen_file = "console-port"          # optional
certificate = "console.pem"           # its certificate and key, which browsers trust; without them it speaks
certificate_key = "console-key.pem"   # plain HTTP to this machine alone, where something in front has TLS
auditors = ["anna.json"]              # optional: cards of people who read everything and sign nothing

[webhooks]                            # optional: where backends are told of what becomes of their requests
key = "webhook-key.pem"               # Ed25519; signs what they are told

[webhooks.to.shop]
initiator = "shop"                    # whose requests
url = "https://shop.example.com/custody"  # http to this machine alone
certificate = "shop.pem"              # optional: the authority of the receiver's certificate

[mail]                                # optional: operators are told by mail of what waits for them
host = "mail.example.com"
port = 465
security = "tls"                      # or "starttls"; "insecure-plain" to this machine alone
user = "custody"                      # optional, with the file of its password, which nobody else can read
password_file = "mail-password"
certificate = "mail.pem"              # optional: the authority of the server's certificate
sender = "custody@example.com"

[mail.to]                             # operators of the roster, and their addresses
otto = "otto@example.com"

# Witnesses of others may be asked for each published checkpoint, and then payments wait for them:
# [witnesses."auditor.example.com/watch"]
# url = "https://watch.example.com"   # http to this machine alone
# vkey = "auditor.example.com/watch+4d1f0a97+..."  # as witness init printed it

[nodes.node-a]
address = "node-a.example.com:7700"
certificate = "node-a.pem"

[chains."evm:1"]
url = "http://127.0.0.1:8545"
confirmations = 1
poll_ms = 500
replace_after_ms = 180000             # a transaction that waits longer is made dearer; 0: never
replacements_max = 3

[chains."bitcoin:mainnet"]            # a Bitcoin Core node with txindex=1; see docs/chains.md
url = "http://127.0.0.1:8332"
credentials = "/var/lib/bitcoind/.cookie"  # optional: a file with user:password
confirmations = 6
poll_ms = 10000
replace_after_ms = 3600000
replacements_max = 3
fee_blocks = 3                        # for how many blocks fees are estimated
fee_rate_max = 200                    # satoshi a virtual byte; no transaction offers more
consolidate_rate_max = 0              # up to this rate payments spend small coins along; 0: never
coins_max = 16                        # spent by one transaction; no more than pools.low
```
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from custody.chains.config import ChainConfig, check_coins, read_chain
from custody.mail import MailConfig, Security
from custody.pools import PoolSizes
from custody.webhooks import Webhook
from custody.witnesses import Witness
from policy.encoding import Json
from policy.errors import MalformedError, OperationalError
from policy.fields import NAME, Fields
from policy.ids import CHAIN
from policy.log.checkpoint import TYPE_COSIGNATURE, parse_vkey

NODES_MAX, CHAINS_MAX, WITNESSES_MAX = 64, 64, 16
WITNESS = re.compile(r"[!-*,-~]{1,255}")
TEXT_MAX, HOST_MAX = 1000, 253
WEBHOOKS_MAX = 64
HTTP_LISTEN, CONSOLE_LISTEN = "127.0.0.1:7601", "127.0.0.1:7602"
AUDITORS_MAX = 64
OPERATORS_MAX = 100
MAIL_ADDRESS = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
DAYS_MAX, HELD_MAX = 36_500, 1000
REQUEST_ID = re.compile(r"[0-9a-f]{64}")
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """Where a cosigner listens, and the identity certificate it is known by."""

    address: str
    certificate: Path


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """Where the HTTP door listens."""

    listen: str
    listen_file: Path | None


@dataclass(frozen=True, slots=True)
class ConsoleConfig:
    """Where the console listens, and what browsers call it; ``certificate`` and its key come together."""

    origin: str
    listen: str
    listen_file: Path | None
    certificate: Path | None
    certificate_key: Path | None
    auditors: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class WebhooksConfig:
    """Whom to tell of what becomes of requests, and the file of the key that signs it."""

    key: Path
    to: Mapping[str, Webhook]


@dataclass(frozen=True, slots=True)
class RetentionConfig:
    """How long what is not the log is kept; 0 for ever. Of requests on ``hold`` nothing is forgotten."""

    events_days: int
    hold: tuple[bytes, ...] = ()


FOR_EVER = RetentionConfig(0)


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the coordinator is told from outside; paths are absolute. See the module's docstring."""

    name: str
    origin: str
    listen: str
    listen_file: Path | None
    data_dir: Path
    database: str = field(repr=False)
    advertise: str
    publish_dir: Path | None
    shadow_policy: Path | None
    indicators: Path | None
    genesis: Path
    identity_key: Path
    log_key: Path
    metrics_port: int
    metrics_address: str
    signing_timeout_ms: int
    pools: PoolSizes
    http: HttpConfig | None
    console: ConsoleConfig | None
    webhooks: WebhooksConfig | None
    mail: MailConfig | None
    retention: RetentionConfig
    witnesses: Mapping[str, Witness]
    nodes: Mapping[str, NodeConfig]
    chains: Mapping[str, ChainConfig]


def load_config(path: Path) -> Config:
    """Read a configuration file. Raises ``OperationalError`` naming the field to correct."""
    try:
        document = tomllib.loads(path.read_text())
        return _read(Fields(document, ""), path.resolve().parent)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, MalformedError) as error:
        raise OperationalError(f"{path}: {error}; correct the file") from error


def _read(fields: Fields, folder: Path) -> Config:
    pools = Fields(_optional(fields, "pools", {}), "pools")
    published = fields.has("publish_dir")
    data_dir = folder / fields.text("data_dir", length_max=TEXT_MAX)
    config = Config(
        name=fields.name("name") if fields.has("name") else "coordinator",
        origin=fields.origin("origin"),
        listen=fields.text("listen", length_max=TEXT_MAX),
        listen_file=_optional_path(fields, "listen_file", folder),
        data_dir=data_dir,
        database=_text(fields, "database", f"sqlite:///{data_dir / 'custody.db'}"),
        advertise=fields.text("advertise", length_max=HOST_MAX) if fields.has("advertise") else "",
        publish_dir=_optional_path(fields, "publish_dir", folder),
        shadow_policy=_optional_path(fields, "shadow_policy", folder),
        indicators=_optional_path(fields, "indicators", folder),
        genesis=folder / fields.text("genesis", length_max=TEXT_MAX),
        identity_key=folder / fields.text("identity_key", length_max=TEXT_MAX),
        log_key=folder / fields.text("log_key", length_max=TEXT_MAX),
        metrics_port=_integer(fields, "metrics_port", 0, high=65535),
        metrics_address=_text(fields, "metrics_address", "127.0.0.1"),
        signing_timeout_ms=_integer(fields, "signing_timeout_ms", 2000, low=100, high=60_000),
        pools=_pool_sizes(pools),
        http=_http(fields.nested("http"), folder) if fields.has("http") else None,
        console=_console(fields.nested("console"), folder) if fields.has("console") else None,
        webhooks=_webhooks(fields.nested("webhooks"), folder) if fields.has("webhooks") else None,
        mail=_mail(fields.nested("mail"), folder) if fields.has("mail") else None,
        retention=_retention(Fields(_optional(fields, "retention", {}), "retention")),
        witnesses=_witnesses(fields, published=published),
        nodes={
            name: _node(Fields(value, f"nodes.{name}"), folder)
            for name, value in fields.mapping("nodes", count_max=NODES_MAX, keys=NAME).items()
        },
        chains={
            name: read_chain(name, Fields(value, f"chains.{name}"), folder=folder)
            for name, value in fields.mapping("chains", count_max=CHAINS_MAX, keys=CHAIN).items()
        },
    )
    pools.done()
    fields.done()
    _check_doors(config)
    check_coins(config.chains, presignatures=config.pools.low)
    return config


def _check_doors(config: Config) -> None:
    """A coordinator that may stand by has the same ports before and after it takes over."""
    doors = {"listen": config.listen}
    if config.http is not None:
        doors["http.listen"] = config.http.listen
    if config.console is not None:
        doors["console.listen"] = config.console.listen
    loose = [name for name, listen in doors.items() if listen.endswith(":0")]
    if config.advertise and loose:
        raise MalformedError(f"{loose[0]}: one of several coordinators (advertise) needs a port of its own")


def _witnesses(fields: Fields, *, published: bool) -> dict[str, Witness]:
    found: dict[str, Witness] = {}
    if not fields.has("witnesses"):
        return found
    if not published:
        raise MalformedError("witnesses need publish_dir: what they are shown is published")
    for name, value in fields.mapping("witnesses", count_max=WITNESSES_MAX, keys=WITNESS).items():
        part = Fields(value, f"witnesses.{name}")
        vkey, url = parse_vkey(part.text("vkey", length_max=TEXT_MAX)), part.text("url", length_max=TEXT_MAX)
        part.done()
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise MalformedError(f"witnesses.{name}: url {url!r} is not https")
        if (vkey.name, vkey.key_type) != (name, TYPE_COSIGNATURE):
            raise MalformedError(f"witnesses.{name}: vkey is of {vkey.name}, or not of a cosigner")
        found[name] = Witness(name, vkey.public_key, url)
    return found


def _pool_sizes(fields: Fields) -> PoolSizes:
    low = _integer(fields, "low", 16, high=10_000)
    sizes = PoolSizes(
        low=low,
        high=_integer(fields, "high", max(48, low), low=low, high=20_000),
        batch=_integer(fields, "batch", 32, low=4, high=128),
        parallel=_integer(fields, "parallel", 2, low=1, high=64),
    )
    if sizes.batch % 4:
        raise MalformedError(f"pools.batch is {sizes.batch}: it must be a multiple of 4")
    return sizes


def _retention(fields: Fields) -> RetentionConfig:
    days = _integer(fields, "events_days", 0, high=DAYS_MAX)
    hold = fields.items("hold", _request_id, count_max=HELD_MAX) if fields.has("hold") else ()
    fields.done()
    return RetentionConfig(days, hold)


def _request_id(value: Json) -> bytes:
    if not isinstance(value, str) or not REQUEST_ID.fullmatch(value):
        raise MalformedError(f"retention.hold: {str(value)[:64]!r} is no id of a request: 64 hex digits")
    return bytes.fromhex(value)


def _http(fields: Fields, folder: Path) -> HttpConfig:
    http = HttpConfig(_text(fields, "listen", HTTP_LISTEN), _optional_path(fields, "listen_file", folder))
    fields.done()
    return http


def _console(fields: Fields, folder: Path) -> ConsoleConfig:
    origin = fields.text("origin", length_max=TEXT_MAX)
    parts = urlsplit(origin)
    known = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname == "localhost")
    if not known or not parts.hostname or origin != f"{parts.scheme}://{parts.netloc}" or "@" in origin:
        raise MalformedError(
            f"{fields.path('origin')}: must be https://HOST or https://HOST:PORT (http for localhost alone)"
        )
    console = ConsoleConfig(
        origin=origin,
        listen=_text(fields, "listen", CONSOLE_LISTEN),
        listen_file=_optional_path(fields, "listen_file", folder),
        certificate=_optional_path(fields, "certificate", folder),
        certificate_key=_optional_path(fields, "certificate_key", folder),
        auditors=tuple(
            folder / name
            for name in (
                fields.texts("auditors", length_max=TEXT_MAX, count_max=AUDITORS_MAX)
                if fields.has("auditors")
                else ()
            )
        ),
    )
    fields.done()
    if (console.certificate is None) != (console.certificate_key is None):
        raise MalformedError("console: certificate and certificate_key come together")
    if console.certificate is None and console.listen.rpartition(":")[0].strip("[]") not in LOOPBACK:
        raise MalformedError(
            "console: without a certificate it listens on this machine alone: give certificate and "
            "certificate_key, or listen on 127.0.0.1"
        )
    return console


def _webhooks(fields: Fields, folder: Path) -> WebhooksConfig:
    webhooks = WebhooksConfig(
        folder / fields.text("key", length_max=TEXT_MAX),
        fields.table("to", lambda name, inner: _webhook(name, inner, folder=folder), count_max=WEBHOOKS_MAX),
    )
    fields.done()
    return webhooks


def _webhook(name: str, fields: Fields, *, folder: Path) -> Webhook:
    url = fields.text("url", length_max=TEXT_MAX)
    if not _callable(url):
        raise MalformedError(
            f"{fields.path('url')}: must be https://HOST/PATH (http to this machine alone), without user"
        )
    return Webhook(name, fields.name("initiator"), url, _optional_path(fields, "certificate", folder))


def _callable(url: str) -> bool:
    """Whether a webhook may be at a URL: nobody on the way can read it, and it carries no secret."""
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    known = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    return known and named and parts.username is None and not parts.fragment


def _mail(fields: Fields, folder: Path) -> MailConfig:
    mail = MailConfig(
        host=fields.text("host", length_max=TEXT_MAX),
        port=_integer(fields, "port", 465, low=1, high=65535),
        security=_security(fields),
        user=_text(fields, "user", ""),
        password_file=_optional_path(fields, "password_file", folder),
        certificate=_optional_path(fields, "certificate", folder),
        sender=_address(fields, "sender"),
        to=_addresses(fields),
    )
    fields.done()
    if bool(mail.user) != bool(mail.password_file):
        raise MalformedError("mail: user and password_file come together")
    if mail.security == "insecure-plain" and mail.host not in LOOPBACK:
        raise MalformedError(
            "mail.security: without TLS mail goes to this machine alone: use tls or starttls"
        )
    return mail


def _security(fields: Fields) -> Security:
    words: dict[str, Security] = {one: one for one in ("tls", "starttls", "insecure-plain")}
    return words[fields.choice("security", *words)] if fields.has("security") else "tls"


def _addresses(fields: Fields) -> dict[str, str]:
    found = fields.mapping("to", count_max=OPERATORS_MAX)
    names = Fields(found, fields.path("to"))
    return {name: _address(names, name) for name in sorted(found)}


def _address(fields: Fields, name: str) -> str:
    address = fields.text(name, length_max=254)
    if not MAIL_ADDRESS.fullmatch(address):
        raise MalformedError(f"{fields.path(name)}: must be a mail address such as otto@example.com")
    return address


def _node(fields: Fields, folder: Path) -> NodeConfig:
    node = NodeConfig(
        fields.text("address", length_max=TEXT_MAX), folder / fields.text("certificate", length_max=TEXT_MAX)
    )
    fields.done()
    return node


def _optional(fields: Fields, name: str, default: Json) -> Json:
    return fields.raw(name) if fields.has(name) else default


def _text(fields: Fields, name: str, default: str) -> str:
    return fields.text(name, length_max=TEXT_MAX) if fields.has(name) else default


def _integer(fields: Fields, name: str, default: int, *, low: int = 0, high: int) -> int:
    return fields.integer(name, low=low, high=high) if fields.has(name) else default


def _optional_path(fields: Fields, name: str, folder: Path) -> Path | None:
    return folder / fields.text(name, length_max=TEXT_MAX) if fields.has(name) else None
