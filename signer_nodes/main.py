"""``quorumkeep-node``: provision a node, have it join a deployment, run it, examine its token.

The only file of a node that wires adapters to what decides.
"""

import argparse
import asyncio
import getpass
import json
import logging
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import uvloop

from policy.audit import parse_trust
from policy.encoding import parse_canonical, statement
from policy.entries import ENTRY_BYTES_MAX
from policy.errors import InvariantError, OperationalError, QuorumkeepError
from policy.ledger import UnknownVersion
from policy.roster import COORDINATOR, Roster, bound
from policy.settings import ConfigError
from signer_nodes.adapters.hardening import harden_process
from signer_nodes.adapters.links import PeerLinks
from signer_nodes.adapters.server import NodeServer
from signer_nodes.adapters.store import NodeStore
from signer_nodes.adapters.worker import COMPUTING_ENVIRONMENT, WorkerTemplate, start_template
from signer_nodes.api.arguments import Parser, descriptor
from signer_nodes.api.boot_statement import BootStatement
from signer_nodes.api.card import parse_card
from signer_nodes.api.certificates import Credentials, PinnedIdentity, read_certificate, tls_key_hash
from signer_nodes.api.client import Target
from signer_nodes.api.health import answering
from signer_nodes.api.issuing import make_boot_certificate
from signer_nodes.bench_arguments import add_bench
from signer_nodes.cold_run import Desk, run_cold
from signer_nodes.command_examples import show_examples
from signer_nodes.config import ROLES, STORE, HsmConfig, NodeConfig, load_config, load_to_run
from signer_nodes.config_check import add_check
from signer_nodes.disk import examine_disk, examine_store
from signer_nodes.hsm.device import Pkcs11Hsm
from signer_nodes.hsm.doctor import refuse_if_open
from signer_nodes.hsm.pins import pin_from_credential, pin_from_descriptor
from signer_nodes.hsm.seal import SealProfile
from signer_nodes.imports import (
    SECRET_LINE_BYTES_MAX,
    check_committee,
    dealt_envelopes,
    read_chain_code,
    read_private_key,
    verified_offers,
)
from signer_nodes.key_sessions import KeySessions, schnorr_in_loop
from signer_nodes.node_log import NodeLog
from signer_nodes.officers import check_officers
from signer_nodes.presignatures import PresignaturePool
from signer_nodes.provisioning import (
    PeerAddress,
    Pinned,
    acceptable,
    default_module,
    join,
    pinned_roster,
    provision_node,
)
from signer_nodes.recovery import (
    RETIRE,
    Answer,
    add_recovery,
    back_up,
    backup_answer,
    create_officer,
    key_in_log,
    read_officers,
    recover_key,
    write_new,
)
from signer_nodes.refused_pin import opened_or_held
from signer_nodes.runtime import NodeRuntime, Parts, clock_ms
from signer_nodes.sealed_keys import SealedKeys
from signer_nodes.signing import Signer
from signer_nodes.token_head import HEAD_RECORD, TokenHead
from signer_nodes.witness import Identity

OK, FAILED = 0, 1
PIN_CREDENTIAL: Final = "pin"
Gone: TypeAlias = "asyncio.Task[OperationalError]"
_OPEN: Final = partial(NodeStore, upgrade=False)
_LOG: Final = logging.getLogger("quorumkeep-node")


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    options = node_parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        return int(options.command(options))
    except (QuorumkeepError, OSError) as error:
        if getattr(options, "json", False):
            print(json.dumps({"ok": False, "code": type(error).__name__, "error": str(error)}))
        print(f"quorumkeep-node: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, ConfigError) else FAILED


def node_parser() -> argparse.ArgumentParser:
    """The arguments of a node's program."""
    parser: argparse.ArgumentParser = Parser(
        prog="quorumkeep-node",
        description="One signer node or witness.",
        epilog="example: quorumkeep-node run --config node-a/config.toml --pin-fd 3",
    )
    commands = parser.add_subparsers(required=True)
    provision = commands.add_parser("provision", help="make a node's folder, token, keys and card")
    provision.add_argument("--dir", type=Path, required=True, help="the node's folder, made if missing")
    provision.add_argument("--name", required=True)
    provision.add_argument("--role", choices=ROLES, default="node")
    provision.add_argument("--origin", required=True, help="the log's origin, as in log.example.com/treasury")
    provision.add_argument("--module", help="the PKCS#11 module; SoftHSM's where Debian puts it if not given")
    provision.set_defaults(command=_provision)
    joining = commands.add_parser("join", help="configure a provisioned node for a deployment")
    joining.add_argument("--dir", type=Path, required=True)
    joining.add_argument("--genesis", type=Path, required=True, help="the signed genesis entry")
    joining.add_argument("--fingerprint", required=True, help="the genesis fingerprint, compared by voice")
    joining.add_argument("--roster", type=Path, help="the roster document, if a newer one is in force")
    joining.add_argument("--roster-fingerprint", default="", help="its fingerprint, compared by voice")
    joining.add_argument("--coordinator", type=Path, required=True, help="its identity certificate (PEM)")
    joining.add_argument("--listen", default="", help="host:port to listen on; a cold node has none")
    joining.add_argument("--peer", action="append", default=[], metavar="NAME=HOST:PORT=CARD")
    joining.set_defaults(command=_join)
    run = commands.add_parser("run", help="run until SIGTERM; prints one JSON line when it listens")
    run.add_argument("--hold-refused-pin", dest="hold", action="store_true", help="wait for a better PIN")
    run.set_defaults(command=_run)
    cold = commands.add_parser("cold", help="run without a network: letters by path on standard input")
    cold.add_argument("--out", type=Path, required=True, help="the folder that answers are written to")
    cold.set_defaults(command=_cold)
    accept = commands.add_parser("accept", help="sign that this cosigner accepts a roster or a version")
    accept.add_argument("kind", choices=("roster", "ready"))
    accept.add_argument("--dir", type=Path, required=True, help="the folder it was provisioned in")
    accept.add_argument("--module", help="the PKCS#11 module; SoftHSM's where Debian puts it if not given")
    accept.add_argument("--change", type=Path, required=True, help="the file of quorumkeep admin draft")
    accept.add_argument("--fingerprint", required=True, help="the change's, as the administrators said it")
    accept.set_defaults(command=_accept)
    doctor = commands.add_parser("doctor", help="attempt what must be impossible; compare disk and token")
    doctor.set_defaults(command=_doctor)
    add_check(commands, wrong_with=partial(examine_store, open_disk=_OPEN))
    _add_split(commands)
    officer, backup, recovering = add_recovery(commands)
    for command, action in ((officer, _create_officer), (backup, _backup), (recovering, _recover)):
        command.set_defaults(command=action)
    for command in (run, cold, doctor):
        command.add_argument("--config", type=Path, required=True)
    for command in (provision, run, cold, accept, doctor, backup):
        command.add_argument("--pin-fd", type=descriptor, help="descriptor to read the PIN from")
    bench = add_bench(commands)
    bench.set_defaults(command=_bench)
    for command in (provision, joining, run, accept, doctor, officer, backup, recovering, bench):
        command.add_argument("--json", action="store_true", help="print one JSON object")
    show_examples(parser)
    return parser


def _add_split(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    splitting = commands.add_parser("split", help="split a private key for the nodes that offered to")
    splitting.add_argument("--offers", type=Path, required=True, help="the nodes' offers")
    splitting.add_argument("--trust", type=Path, required=True, help="the trust.json of the deployment")
    splitting.add_argument("--committee", required=True, help="who is to hold it: 2:node-a,node-b,node-c")
    splitting.add_argument("--secret-fd", type=descriptor, required=True, help="descriptor of 64 hex digits")
    splitting.add_argument("--seed", action="store_true", help="they are an Ed25519 seed, not a scalar")
    splitting.add_argument("--chain-code", default="", help="the wallet's BIP 32 chain code (64 hex digits)")
    splitting.set_defaults(command=_split)


def _provision(options: argparse.Namespace) -> int:
    card = provision_node(
        options.dir,
        (options.name, options.role, options.origin),
        module=options.module or default_module(),
        pin=_pin(options),
    )
    result = {"name": card.name, "card": str(options.dir / "card.json"), "fingerprint": card.fingerprint}
    _print(options, result, f"{card.role} {card.name} is ready; its card's fingerprint:\n{card.fingerprint}")
    return OK


def _join(options: argparse.Namespace) -> int:
    peers = [PeerAddress.parse(text) for text in options.peer]
    sentence = join(
        options.dir,
        genesis=Pinned(options.genesis, options.fingerprint),
        roster=Pinned(options.roster, options.roster_fingerprint) if options.roster else None,
        coordinator=options.coordinator,
        listen=options.listen,
        peers=peers,
    )
    _print(options, {"config": str(options.dir / "config.toml"), "cosigners": sentence}, sentence)
    return OK


def _accept(options: argparse.Namespace) -> int:
    """For a change of cosigners and for new rules, which need w of them; its operator has read the change."""
    card = parse_card((options.dir / "card.json").read_bytes())
    change = Pinned(options.change, options.fingerprint)
    body, sentence = acceptable(options.kind, change, origin=card.origin)
    module = Path(options.module or default_module())
    hsm = _open_hsm(HsmConfig(module, card.name, options.dir.resolve() / "softhsm2.conf"), _pin(options))
    try:
        signature = hsm.sign_statement(statement(options.kind, body)).hex()
    finally:
        hsm.close()
    result = {
        "name": card.name,
        "accepts": sentence,
        "fingerprint": bytes.fromhex(change.fingerprint).hex(),
        "signature": signature,
    }
    _print(options, result, f"accepted: {sentence}\n{card.name} {signature}")
    return OK


def _doctor(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    hsm = _open_hsm(config.hsm, _pin(options))
    try:
        record = hsm.read_record(HEAD_RECORD)
        head = None if record is None else TokenHead.from_bytes(record[1])
        store, genesis = config.data_dir / STORE, config.genesis_fingerprint
        disk = examine_disk(store, head, genesis=genesis, open_disk=_OPEN)
        findings, notices = (*hsm.doctor(), disk), hsm.notices()
    finally:
        hsm.close()
    ok = len(findings) > 1 and all(finding.ok for finding in findings)
    lines = [f"{'ok  ' if f.ok else 'OPEN'} {f.name}: {f.detail}" for f in findings]
    rows = [asdict(finding) for finding in findings]
    _print(options, {"ok": ok, "findings": rows, "notices": list(notices)}, "\n".join(lines))
    return OK if ok else FAILED


def _bench(options: argparse.Namespace) -> int:
    from signer_nodes.bench import Effort, measure
    from signer_nodes.start_bench import measure_start

    if options.start is not None:
        with tempfile.TemporaryDirectory() as folder:
            found = measure_start(options.start, Path(folder), open_store=NodeStore)
        _print(options, found, f"{found['start_s']} s for {found['entries']} entries")
        return OK
    if not COMPUTING_ENVIRONMENT.items() <= os.environ.items():  # it counts from the start of a process only
        sys.stdout.flush()
        command = [sys.executable, "-P", "-m", "signer_nodes.main", *sys.argv[1:]]
        os.execve(command[0], command, {**os.environ, **COMPUTING_ENVIRONMENT})  # noqa: S606 - no shell
    effort = Effort(4, 1) if options.quick else Effort(options.batch, options.repeat)
    figures = measure(effort, lambda line: print(line, file=sys.stderr, flush=True))
    lines = [f"{name:24} {json.dumps(figure)}" for name, figure in figures.items()]
    _print(options, figures, "\n".join(lines))
    return OK


def _split(options: argparse.Namespace) -> int:
    """The dealer of an import; it prints envelopes that only the nodes can open."""
    harden_process()
    trust = parse_trust(parse_canonical(options.trust.read_bytes(), bytes_max=ENTRY_BYTES_MAX))
    offers = verified_offers(options.offers.read_bytes(), trust)
    check_committee(offers, options.committee)
    with os.fdopen(options.secret_fd, "rb") as source:
        private_key = read_private_key(source.read(SECRET_LINE_BYTES_MAX))
    chain_code = read_chain_code(options.chain_code) if options.chain_code else None
    envelopes = dealt_envelopes(
        offers,
        private_key,
        chain_code=chain_code,
        randomness=secrets.token_bytes(32),
        is_seed=options.seed,
    )
    print(json.dumps({node: envelope.hex() for node, envelope in envelopes.items()}))
    return OK


def _create_officer(options: argparse.Namespace) -> int:
    return _answer(options, create_officer(options.dir, options.name))


def _backup(options: argparse.Namespace) -> int:
    config = load_config(options.config or options.dir / "config.toml")
    officers = read_officers(options.officer)
    check_officers(officers, options.quorum)
    harden_process()
    database = config.data_dir / STORE
    if not database.exists():
        raise OperationalError(f"there is no {database}: give the folder of a node that has run")
    template = start_template()
    try:
        with closing(NodeStore(database)) as store, closing(_open_hsm(config.hsm, _pin(options))) as hsm:
            key = key_in_log(store, options.key)
            sealed = SealedKeys(config.name, hsm, store)
            made = back_up(key, officers, quorum=options.quorum, sealed=sealed, workers=template)
            backup = asyncio.run(made)
    finally:
        template.close()
    write_new(options.out, backup.to_bytes())
    return _answer(options, backup_answer(backup, options.out))


def _recover(options: argparse.Namespace) -> int:
    harden_process()
    print(f"quorumkeep-node: {RETIRE}", file=sys.stderr)
    return _answer(
        options, recover_key(options.backups, options.officer_key, paths=options.path, out=options.out)
    )


def _run(options: argparse.Namespace) -> int:
    config = load_to_run(options.config)
    pin = _pin(options)
    for complaint in harden_process().complaints():
        _LOG.warning("%s", complaint)
    template = start_template() if config.role == "node" else None
    try:
        hsm = opened_or_held(config, lambda: _open_hsm(config.hsm, pin), pin=pin, hold=options.hold)
        refuse_if_open(hsm.doctor())
        for notice in hsm.notices():
            _LOG.warning("%s", notice)
        uvloop.run(_serve(config, hsm, template))
    finally:
        if template is not None:
            template.close()
    return OK


def _cold(options: argparse.Namespace) -> int:
    """A cold machine: no socket is opened; letters come by path, and a person confirms."""
    config = load_to_run(options.config)
    pin = _pin(options)
    for complaint in harden_process().complaints():
        _LOG.warning("%s", complaint)
    with closing(start_template()) as workers, closing(_open_hsm(config.hsm, pin)) as hsm:
        refuse_if_open(hsm.doctor())
        with closing(NodeStore(config.data_dir / STORE)) as store:
            asyncio.run(run_cold(config, hsm, store=store, workers=workers, desk=Desk(options.out)))
    return OK


async def _serve(config: NodeConfig, hsm: Pkcs11Hsm, template: WorkerTemplate | None) -> None:
    roster = pinned_roster(config)
    _LOG.info("%s", bound(roster))
    store = NodeStore(config.data_dir / STORE)
    identity = Identity(config.name, config.origin, config.genesis_fingerprint, roster.log_key)
    log = NodeLog(identity, hsm, store=store, skew_ms=config.clock_skew_ms)
    log.load()
    boot, credentials = _boot(config, hsm, log)
    peers = [_pinned(name, peer.certificate, roster) for name, peer in config.peers.items()]
    runtime: NodeRuntime | None = None

    def on_boot(name: str, statement: BootStatement) -> None:
        if runtime is not None:  # links are first dialled by the runtime itself
            runtime.peer_booted(name, statement)

    links = PeerLinks(
        [Target(config.peers[peer.name].address, peer, config.origin) for peer in peers],
        credentials,
        on_boot=on_boot,
    )
    pool = PresignaturePool()
    keys: KeySessions | None = None
    if template is not None:
        keys = KeySessions(
            name=config.name,
            boot_id=boot.boot_id,
            state=lambda: log.cosigner.state,
            hsm=hsm,
            store=store,
            peers=links,
            workers=template,
            pool=pool,
            quorum_size=lambda: (store.quorum() or (0, b""))[0],
        )
    signer = Signer(config.name, log, hsm, store, pool, schnorr_in_loop(keys))
    runtime = NodeRuntime(
        Parts(log, signer, store, links, keys, boot, roster, clock_ms, witnesses=config.witnesses)
    )
    coordinator = PinnedIdentity.of(COORDINATOR, config.coordinator_certificate.read_bytes())
    server = NodeServer(credentials, runtime, origin=config.origin, coordinator=coordinator, peers=peers)
    try:
        await _until_stopped(config, server, runtime, template)
    finally:
        await server.stop()
        await runtime.stop()
        await links.close()
        store.close()
        hsm.close()


async def _until_stopped(
    config: NodeConfig, server: NodeServer, runtime: NodeRuntime, template: WorkerTemplate | None
) -> None:
    port = await server.start(config.listen)
    print(json.dumps({"listening": port}), flush=True)
    if config.listen_file is not None:
        config.listen_file.write_text(f"{port}\n")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    ready = asyncio.create_task(runtime.become_ready())
    stopping = asyncio.create_task(stop.wait())
    gone = [asyncio.create_task(template.gone())] if template is not None else []
    async with runtime.disk_watched(), answering(config.data_dir, config.name, state=runtime.standing):
        await _first_end(stopping, ready, server.invariant_broken, runtime.must_upgrade, *gone)


async def _first_end(
    stopping: "asyncio.Task[bool]",
    ready: "asyncio.Task[None]",
    *fatal: "asyncio.Future[InvariantError] | asyncio.Future[UnknownVersion] | Gone",
) -> None:
    """Wait for the signal to stop, or for what must stop the node; raise that."""
    waiting: set[asyncio.Future[Any]] = {stopping, ready, *fatal}
    while not stopping.done():
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if ready in done:
            ready.result()
        for future in fatal:
            if future.done():
                raise future.result()
    ready.cancel()
    await asyncio.gather(ready, return_exceptions=True)


def _boot(config: NodeConfig, hsm: Pkcs11Hsm, log: NodeLog) -> tuple[BootStatement, Credentials]:
    """A fresh TLS key for this run of the process, and the identity's word for it."""
    boot_id = hsm.random(32)
    counter = hsm.raise_boot_counter(boot_id)
    key_pem, certificate_pem = make_boot_certificate(
        config.name,
        hsm.identity_public_key(),
        sign=hsm.sign_statement,
        not_before=datetime.now(UTC),
        serial=secrets.randbits(120) + 1,
    )
    boot = BootStatement(
        origin=config.origin,
        name=config.name,
        boot_counter=counter,
        boot_id=boot_id,
        tls_key=tls_key_hash(read_certificate(certificate_pem, "own TLS certificate")),
        head_size=log.cosigner.size,
        head_root=log.cosigner.frontier.root(),
    )
    signature = hsm.sign_statement(boot.message())
    return boot, Credentials(config.name, key_pem, certificate_pem, boot.to_bytes(), signature)


def _pinned(name: str, certificate: Path, roster: Roster) -> PinnedIdentity:
    pinned = PinnedIdentity.of(name, certificate.read_bytes())
    cosigner = roster.cosigners.get(name)
    if cosigner is None or cosigner.key != pinned.key:
        raise OperationalError(f"{certificate} is not the certificate of {name} in the roster")
    return pinned


def _open_hsm(config: HsmConfig, pin: Callable[[], str]) -> Pkcs11Hsm:
    if config.softhsm2_conf is not None and config.softhsm2_conf.exists():
        os.environ["SOFTHSM2_CONF"] = str(config.softhsm2_conf)
    return Pkcs11Hsm.open(str(config.module), config.token_label, pin=pin, profile=SealProfile.GCM)


def _pin(options: argparse.Namespace) -> Callable[[], str]:
    if options.pin_fd is not None:
        return pin_from_descriptor(options.pin_fd)
    if "CREDENTIALS_DIRECTORY" in os.environ:
        return pin_from_credential(PIN_CREDENTIAL, os.environ)
    if not sys.stdin.isatty():
        raise OperationalError("no PIN: give its descriptor with --pin-fd, or run on a terminal")
    pin = getpass.getpass("PIN of the token: ")
    return lambda: pin


def _answer(options: argparse.Namespace, answer: Answer) -> int:
    _print(options, answer.document, answer.text)
    return OK


def _print(options: argparse.Namespace, document: Mapping[str, object], text: str) -> None:
    print(json.dumps(document) if options.json else text)


if __name__ == "__main__":
    sys.exit(main())
