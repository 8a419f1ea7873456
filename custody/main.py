"""The coordinator's process: ``python -m custody.main --config FILE``. Adapters are wired here alone."""

import asyncio
import contextlib
import gc
import json
import logging
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from custody import coordinator
from custody.adapters.api_server import CustodyServicer, ServerTls, start_server
from custody.adapters.database import StoreThread
from custody.adapters.identity import boot_credentials, load_identity
from custody.adapters.node_link import NodeLink
from custody.adapters.relay import Relay
from custody.adapters.shadow_store import ShadowStore
from custody.adapters.smtp import SmtpPostman
from custody.adapters.state_pages import StatePages
from custody.adapters.store import Store
from custody.auditors import read_auditors
from custody.ceremonies import Ceremonies
from custody.chains.agreement import Doubted
from custody.chains.bitcoin.agreement import BitcoinNodes
from custody.chains.bitcoin.chain import BitcoinChain, Rates
from custody.chains.bitcoin.rpc import BitcoinRpc
from custody.chains.config import ChainConfig
from custody.chains.evm.agreement import AgreeingEndpoints
from custody.chains.evm.chain import EvmChain
from custody.chains.evm.rpc import EvmRpc
from custody.chains.solana.agreement import SolanaNodes
from custody.chains.solana.chain import Options, SolanaChain
from custody.chains.solana.rpc import SolanaRpc
from custody.config import Config, ConsoleConfig, HttpConfig
from custody.config_reading import load_to_run
from custody.duties import Duties
from custody.ending import ends_within
from custody.expiring import endings
from custody.following import Followed
from custody.indicators.kept import Indicators
from custody.indicators.thresholds import load_thresholds
from custody.lease import LEASE_MS, held, holder_of, take_lease
from custody.log_clock import LogClock
from custody.log_key import LogKey
from custody.mail import Mailer
from custody.metrics import Metrics
from custody.parts import Parts, Patience
from custody.pools import Pools
from custody.ports import Chain
from custody.publish import Publisher
from custody.quarantine import FILE as QUARANTINE
from custody.quarantine import Quarantine
from custody.replication import Replication
from custody.rising import Rising
from custody.sequencer import Sequencer
from custody.service import Service
from custody.shadow import Shadow
from custody.signing import Signing
from custody.standby import Door, stand_by
from custody.stored_tip import STATE_FILE, StoredTip
from custody.webhooks import Deliverer, Hooks
from custody.witnesses import Asking, Witnesses, nobody
from policy.errors import OperationalError, QuorumkeepError
from policy.log.merkle import leaf_hash
from policy.settings import ConfigError
from signer_nodes.api.arguments import Parser
from signer_nodes.api.certificates import Credentials, PinnedIdentity
from signer_nodes.api.client import NodeClient, Target
from signer_nodes.api.client import Service as Face
from signer_nodes.api.health import READY, STALLED, STANDBY, STARTING, answering

STOP_GRACE_S = 1.0
API, HTTP, CONSOLE = "api", "http", "console"  # the doors, as a coordinator that stands by names them
DAY_MS = 86_400_000
STALLED_S = 2 * LEASE_MS / 1000
_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class Standing:
    """What a supervisor is told that this coordinator does."""

    state: str = STARTING
    clock: Callable[[], float] = time.monotonic
    renewed_s: float = 0.0

    def renewed(self) -> None:
        """The lease was renewed."""
        self.renewed_s = self.clock()

    def told(self) -> str:
        """Its state; stalled once it has not renewed its lease for so long that another one may have it."""
        late = self.state == READY and self.clock() - self.renewed_s > STALLED_S
        return STALLED if late else self.state


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Exits 1 on a failure that a restart or an operator must mend.

    Exits 2 on a configuration that cannot be used, which no restart helps, and 75 where what it names may
    be there by itself later: a disk that is not mounted yet, a port that is held still.
    """
    parser = Parser(prog="quorumkeep coordinator run", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the TOML file")
    parser.add_argument("--json", action="store_true", help="print how it ended as one JSON object")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    failures: list[BaseException] = []
    try:
        config = load_to_run(options.config)
        with take_lease(config.data_dir):
            uvloop.run(serve(config))
    except* (QuorumkeepError, OSError) as errors:
        failures = _flat(errors)
    for failure in failures:
        unsaid = isinstance(failure, OSError) and failure.errno is None  # a defect, such as a time limit
        _LOG.error("stopped: %s", failure, exc_info=failure if unsaid else None)
    if options.json:
        sys.stdout.write(json.dumps(_ended(failures)) + "\n")
    misused = [failure.exit_code for failure in failures if isinstance(failure, ConfigError)]
    return min(misused) if misused else 1 if failures else 0


def _ended(failures: list[BaseException]) -> dict[str, object]:
    if not failures:
        return {"ok": True}
    code = getattr(failures[0], "code", type(failures[0]).__name__)
    return {"ok": False, "code": code, "error": "; ".join(map(str, failures))}


async def serve(config: Config) -> None:
    """Start everything, serve until a signal, and stop."""
    identity = load_identity(config.identity_key)
    credentials = boot_credentials(config.name, identity)
    parts = build(config, credentials, identity=identity)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    standing, ending = Standing(), contextlib.ExitStack()
    try:
        async with answering(config.data_dir, config.name, state=standing.told):
            running = asyncio.create_task(_run(config, parts, credentials=credentials, standing=standing))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
            ending.enter_context(ends_within())
            if running.done():
                await running
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
    finally:
        with ending:
            try:
                await asyncio.gather(*(node.close() for node in parts.nodes.values()))
            finally:
                parts.database.close()


def build(config: Config, credentials: Credentials, *, identity: Ed25519PrivateKey) -> Parts:
    """Wire the adapters of a configuration; nothing is asked or sent yet."""
    metrics, now_ms = Metrics(), LogClock(_wall_ms, lambda: time.monotonic_ns() // 1_000_000)
    quarantine = Quarantine(config.data_dir / QUARANTINE)
    quarantine.look()
    database = StoreThread(open_store(config))
    nodes = {name: NodeLink(_client(config, name, credentials)) for name in config.nodes}
    signing = Signing(nodes, timeout_s=config.signing_timeout_ms / 1000)
    log_key = LogKey.load(config.log_key)
    replication = Replication(database, nodes, on_answer=signing.answered, metrics=metrics)
    return Parts(
        database=database,
        feeds=database,
        sequencer=Sequencer(database, replication, log_key=log_key, now_ms=now_ms, metrics=metrics),
        replication=replication,
        duties=Duties(database, now_ms=now_ms, metrics=metrics),
        pools=Pools(
            database,
            nodes,
            sizes=config.pools,
            now_ms=now_ms,
            metrics=metrics,
            quarantine=quarantine,
        ),
        signing=signing,
        nodes=nodes,
        chains={name: _chain(name, chain, metrics.doubted) for name, chain in config.chains.items()},
        log_key=log_key,
        metrics=metrics,
        now_ms=now_ms,
        wall_ms=_wall_ms,
        attempts=Rising(now_ms),
        ceremonies=Ceremonies(identity.sign),
        confirmations={name: chain.confirmations for name, chain in config.chains.items()},
        poll_ms={name: chain.poll_ms for name, chain in config.chains.items()},
        patience={
            name: Patience(chain.replace_after_ms, chain.replacements_max)
            for name, chain in config.chains.items()
        },
        shadow=build_shadow(config, metrics),
        auditors={one.name: one for one in read_auditors(config.auditors)},
        hooks=_hooks(config),
        indicators=Indicators(load_thresholds(config.indicators)),
        quarantine=quarantine,
        hear_clocks=now_ms.hear,
        addresses_claimed=config.addresses_claimed,
    )


def build_shadow(config: Config, metrics: Metrics) -> Shadow | None:
    """The shadow policy, if there is one that can be read; without it the coordinator runs all the same."""
    if config.shadow_policy is None:
        return None
    try:
        document = json.loads(_read(config.shadow_policy))
        return Shadow(document, ShadowStore(config.data_dir / "shadow.db"), metrics=metrics)
    except Exception as error:  # noqa: BLE001 - it has no authority to keep the coordinator down either
        _LOG.error("no shadow policy: %s: %s; correct it and restart", config.shadow_policy, error)
        metrics.shadow_errors.inc()
        return None


def _chain(name: str, config: ChainConfig, doubted: Doubted) -> Chain:
    """A chain by its endpoints, called by their hosts."""
    hosts, agree = config.hosts, config.agree
    if config.bitcoin is not None:
        options = config.bitcoin
        rates = Rates(
            options.fee_blocks, options.fee_rate_max, options.coins_max, options.consolidate_rate_max
        )
        known = zip(config.urls, options.credentials, strict=True)
        cores = [BitcoinRpc(name, url, credentials=who) for url, who in known]
        ends = dict(zip(hosts, cores, strict=True))
        return BitcoinChain(BitcoinNodes(name, ends, agree=agree, doubted=doubted), rates)
    if config.solana is not None:
        sure = config.solana.commitment
        members = [SolanaRpc(name, url, commitment=sure) for url in config.urls]
        nodes = SolanaNodes(name, dict(zip(hosts, members, strict=True)), agree=agree, doubted=doubted)
        return SolanaChain(nodes, Options(config.solana.nonce_accounts, config.solana.priority_fee_max))
    rpcs = {host: EvmRpc(name, url, head=config.head) for host, url in zip(hosts, config.urls, strict=True)}
    return EvmChain(AgreeingEndpoints(name, rpcs, agree=agree, doubted=doubted))


def _hooks(config: Config) -> Hooks:
    if config.webhooks is None:
        return Hooks()
    return Hooks(config.webhooks.to, load_identity(config.webhooks.key))


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


async def _run(config: Config, parts: Parts, *, credentials: Credentials, standing: Standing) -> None:
    genesis = _read(config.genesis)
    pages = StatePages(config.data_dir / STATE_FILE)
    with contextlib.closing(StoredTip(leaf_hash(genesis), pages)) as stored:
        followed = Followed(parts.database, stored)
        if config.advertise:
            standing.state = STANDBY
            await stand_by(parts.database, parts.now_ms, doors=_relays(config), followed=followed)
            standing.state = STARTING
        await coordinator.start(parts, genesis, followed=followed)
        await _work(config, parts, credentials=credentials, standing=standing)


async def _work(config: Config, parts: Parts, *, credentials: Credentials, standing: Standing) -> None:
    """Open the doors, and do all that is to be done, until cancelled."""
    async with contextlib.AsyncExitStack() as doors:
        async with held(parts.database, parts.now_ms):
            _watch_certificates(config, parts.metrics)
            gc.freeze()  # the log's state has no cycles and stays: no search for them need go through it
            parts.metrics.serve(config.metrics_port, config.metrics_address)
            await _open_doors(config, parts, credentials=credentials, doors=doors)
            publisher = _publisher(config, parts, doors)
            deliverer = await _deliverer(parts, doors)
            mailer, kept = _mailer(config, parts), config.retention
        standing.renewed()
        standing.state = READY
        await coordinator.run(
            parts, publisher, deliverer=deliverer, mailer=mailer, kept=kept, renewed_lease=standing.renewed
        )


async def _open_doors(
    config: Config, parts: Parts, *, credentials: Credentials, doors: contextlib.AsyncExitStack
) -> None:
    service = Service(parts)
    tls = ServerTls(credentials.certificate_pem, credentials.key_pem)
    server, port = await start_server(CustodyServicer(service, parts), config.listen, tls=tls)
    doors.push_async_callback(server.stop, STOP_GRACE_S)
    _announce(config.listen_file, port)
    ports = {API: port}
    if config.http is not None:
        ports[HTTP] = await _open_http(config.http, service, parts, tls=tls, doors=doors)
    if config.console is not None:
        ports[CONSOLE] = await _open_console(config.console, service, parts, doors=doors)
    if config.advertise:
        shown = {name: f"{config.advertise}:{bound}" for name, bound in ports.items()}
        await parts.database.show_doors(shown)


def _watch_certificates(config: Config, metrics: Metrics) -> None:
    for ending in endings(config):
        left = metrics.certificate_left_seconds.labels(ending.key)
        left.set_function(partial(_left_s, ending.end_s))
        if warning := ending.warning(_wall_ms() // 1000):
            _LOG.warning("%s", warning)


def _left_s(end_s: int) -> float:
    return end_s - time.time()


def _mailer(config: Config, parts: Parts) -> Mailer | None:
    return Mailer(parts, config.mail, postman=SmtpPostman(config.mail)) if config.mail is not None else None


def _publisher(config: Config, parts: Parts, doors: contextlib.AsyncExitStack) -> Publisher | None:
    if config.publish_dir is None:
        return None
    ask: Asking = nobody
    if config.witnesses:
        from custody.adapters.witness_poster import WitnessPoster

        poster = WitnessPoster()
        doors.push_async_callback(poster.close)
        ask = Witnesses(config.witnesses, poster).cosigned
        parts.replication.expect_witnesses()
    publisher = Publisher(config.publish_dir, ask=ask)
    publisher.load()
    return publisher


async def _deliverer(parts: Parts, doors: contextlib.AsyncExitStack) -> Deliverer | None:
    if not parts.hooks.webhooks:
        return None
    from custody.adapters.webhook_sender import WebhookSender

    sender = WebhookSender(parts.hooks.webhooks)
    doors.push_async_callback(sender.close)
    return Deliverer(parts.feeds, parts.hooks, poster=sender, now_ms=parts.now_ms, metrics=parts.metrics)


async def _open_http(
    config: HttpConfig,
    service: Service,
    parts: Parts,
    *,
    tls: ServerTls,
    doors: contextlib.AsyncExitStack,
) -> int:
    from custody.adapters.http.app import build_app  # half a second that only this door is worth
    from custody.adapters.http.server import start_http_server

    server = await start_http_server(build_app(service, parts), config.listen, tls=tls)
    doors.push_async_callback(server.stop)
    _announce(config.listen_file, server.port)
    return server.port


async def _open_console(
    config: ConsoleConfig, service: Service, parts: Parts, *, doors: contextlib.AsyncExitStack
) -> int:
    from custody.adapters.http.server import start_http_server
    from custody.console.app import build_console

    tls = None
    if config.certificate is not None and config.certificate_key is not None:
        tls = ServerTls(_read(config.certificate), _read(config.certificate_key))
    app = build_console(service, parts, site=config.origin)
    server = await start_http_server(app, config.listen, tls=tls)
    doors.push_async_callback(server.stop)
    _announce(config.listen_file, server.port)
    return server.port


def _relays(config: Config) -> dict[str, Door]:
    """The doors of a coordinator that stands by."""
    listens = {API: config.listen}
    if config.http is not None:
        listens[HTTP] = config.http.listen
    if config.console is not None:
        listens[CONSOLE] = config.console.listen
    return {name: Relay(listen) for name, listen in listens.items()}


def _client(config: Config, name: str, credentials: Credentials) -> NodeClient:
    node = config.nodes[name]
    identity = PinnedIdentity.of(name, _read(node.certificate))
    target = Target(node.address, identity, config.origin)
    return NodeClient(target, credentials, service=Face.COORDINATE)


def open_store(config: Config) -> Store:
    """The database of a configuration."""
    config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    holder = holder_of(config.data_dir)  # beside the host, so that a copied folder is another holder
    return Store(config.database, holder=f"{config.advertise}/{holder}" if config.advertise else holder)


def _announce(file: Path | None, port: int) -> None:
    _LOG.info("listening on port %d", port)
    if file is not None:
        partial = file.with_name(f".{file.name}.new")
        partial.write_text(f"{port}\n")
        partial.replace(file)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OperationalError(f"cannot read {path}: {error}; correct the configuration") from error


def _flat(errors: BaseExceptionGroup[QuorumkeepError | OSError]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in errors.exceptions:
        found += _flat(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


if __name__ == "__main__":
    sys.exit(main())
