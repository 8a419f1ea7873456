"""The coordinator's configuration: one TOML file. Relative paths start at its folder.

```toml
name = "coordinator"                  # as nodes and clients pin it
origin = "log.example.com/treasury"
listen = "127.0.0.1:7600"             # port 0: any
listen_file = "port"                  # optional: where the bound port is written
data_dir = "data"                     # database and lease
database = "sqlite:///data/custody.db"  # or postgresql+psycopg://... (docs/several-coordinators.md)
advertise = "custody-1.example.com"   # optional: its host for others on the same PostgreSQL, to take over
publish_dir = "log"                   # optional: the log as static files
shadow_policy = "new.json"            # optional: a policy to judge by beside the real one, without authority
indicators = "indicators.toml"        # optional: thresholds and weights of the risk indicators
addresses_claimed = "3f9a2c1b"        # after a restore, once backends have claimed theirs: docs/backup.md
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

[auditors]                            # optional: people who read everything and sign nothing
cards = ["anna.json"]                 # as the page /enrol or quorumkeep identity create auditor makes them

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
url = "http://127.0.0.1:8545"         # or urls = [...], of which agree = 2 must say the same (default: most)
confirmations = 1
head = "latest"                       # where confirmations are counted from; or "safe", "finalized"
poll_ms = 500
replace_after_ms = 180000             # a transaction that waits longer is made dearer; 0: never
replacements_max = 3

[chains."bitcoin:mainnet"]            # a Bitcoin Core node with txindex=1; see docs/chains.md
url = "http://127.0.0.1:8332"         # or urls = [...], as above, with a list of credentials
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

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from custody.chains.config import ChainConfig
from custody.mail import MailConfig
from custody.pools import PoolSizes
from custody.webhooks import Webhook
from custody.witnesses import Witness


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
    addresses_claimed: str
    genesis: Path
    identity_key: Path
    log_key: Path
    metrics_port: int
    metrics_address: str
    signing_timeout_ms: int
    pools: PoolSizes
    http: HttpConfig | None
    console: ConsoleConfig | None
    auditors: tuple[Path, ...]
    webhooks: WebhooksConfig | None
    mail: MailConfig | None
    retention: RetentionConfig
    witnesses: Mapping[str, Witness]
    nodes: Mapping[str, NodeConfig]
    chains: Mapping[str, ChainConfig]
