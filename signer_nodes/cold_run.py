"""The program of a cold machine: no socket, letters by path on standard input, a person at the keyboard.

Each line of standard input is the path of a letter, or ``end``; the answer is written beside the hello in
the folder that was given. Before a partial signature is computed the job is shown, and the next line must
be the id of its request, or its beginning; the third wrong one is a no. Standard output has one JSON object
a line, for programs and for the record; what people read goes to standard error.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, TextIO

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from policy.encoding import Json
from policy.errors import OperationalError
from policy.roster import COORDINATOR, Roster
from signer_nodes.api.boot_statement import BootStatement
from signer_nodes.api.certificates import PinnedIdentity
from signer_nodes.api.hello import NO_TLS, Hello
from signer_nodes.api.letters import LETTER_BYTES_MAX, Inbox, LetterRefused
from signer_nodes.cold import SITTING_MS_MAX, ColdNode, ColdParts
from signer_nodes.cold_peers import ColdPeers
from signer_nodes.cold_screen import TYPED_MIN, is_request, job_shown, lines
from signer_nodes.config import COLD, NodeConfig
from signer_nodes.hsm.device import Pkcs11Hsm
from signer_nodes.key_sessions import KeySessions, schnorr_in_loop
from signer_nodes.node_log import NodeLog
from signer_nodes.ports import RuntimeStore, SecretStore, Workers
from signer_nodes.presignatures import PresignaturePool
from signer_nodes.provisioning import pinned_roster
from signer_nodes.runtime import NodeRuntime, Parts, clock_ms
from signer_nodes.signing import Signer
from signer_nodes.witness import Identity

LINE_CHARACTERS_MAX: Final = 4096
END: Final = "end"
NO: Final = "no"
TRIES_MAX: Final = 3


class ColdStore(RuntimeStore, SecretStore, Protocol):
    """The disk of a cold node."""


@dataclass(frozen=True, slots=True)
class Started:
    """This start of the program: what it shows, the key of its letters, the roster it was joined with."""

    hello: Hello
    private_key: X25519PrivateKey = field(repr=False)
    roster: Roster
    witnesses: Mapping[str, bytes]


@dataclass(slots=True)
class Desk:
    """The person's side: where lines come from and where files and lines go."""

    folder: Path

    async def line(self) -> str | None:
        """The next line; None when there are no more."""
        read = await asyncio.to_thread(sys.stdin.readline, LINE_CHARACTERS_MAX)
        return read.strip() if read else None

    def tell(self, document: Mapping[str, Json]) -> None:
        """One JSON line, for a program; a terminal is a person's, who is shown the same in words."""
        if not sys.stdout.isatty():
            _line(sys.stdout, json.dumps(document))

    def show(self, text: str) -> None:
        """For a person."""
        _line(sys.stderr, text)

    def write(self, name: str, data: bytes) -> None:
        """A file that is carried to the coordinator; none is written over."""
        path = self.folder / name
        with path.open("xb") as file:
            file.write(data)
        self.tell({"written": str(path), "bytes": len(data)})
        self.show(f"Bring {path} to the coordinator: quorumkeep cold import")


def _line(stream: TextIO, text: str) -> None:
    stream.write(f"{text}\n")
    stream.flush()


async def run_cold(
    config: NodeConfig, hsm: Pkcs11Hsm, *, store: ColdStore, workers: Workers, desk: Desk
) -> None:
    """One boot of a cold node, until standard input ends."""
    desk.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    roster = pinned_roster(config)
    log = _load_log(config, hsm, store, roster)
    started = _new_boot(config, hsm, log, roster)
    hello = started.hello
    peers = ColdPeers()
    inbox = Inbox(config.name, config.origin, hello.boot.boot_id, started.private_key, COORDINATOR)
    coordinator = PinnedIdentity.of(COORDINATOR, config.coordinator_certificate.read_bytes())
    runtime = _runtime(log, hsm, store=store, workers=workers, peers=peers, started=started)

    async def confirm(job_id: bytes) -> bool:
        return await _confirm(desk, log, job_id)

    parts = ColdParts(runtime, log, hsm, inbox, peers, hello, coordinator.key, roster, clock_ms, confirm)
    node = ColdNode(parts)
    desk.write(f"{config.name}-{hello.boot.boot_counter}.hello", node.hello())
    desk.show("Type the path of each letter, and 'end' when the ceremony is over.")
    try:
        await _serve(node, desk, f"{config.name}-{hello.boot.boot_counter}")
    finally:
        await node.close()


async def _serve(node: ColdNode, desk: Desk, name: str) -> None:
    number = 0
    while (line := await desk.line()) is not None:
        if line == END:
            return
        if not line:
            continue
        try:
            answer = await node.read(_letter(Path(line)))
        except LetterRefused as error:
            desk.tell({"refused": error.code, "reason": error.reason})
            hint = f"; its answer is in {desk.folder} already" if error.code == "replayed" else ""
            desk.show(f"refused: {error}{hint}")
            continue
        except OSError as error:
            desk.tell({"refused": "unreadable", "reason": str(error)})
            desk.show(f"refused: {error}; type the path of a letter, or 'end'")
            continue
        number += 1
        desk.write(f"{name}-{number}.letter", answer)


def _letter(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LETTER_BYTES_MAX + 1)


async def _confirm(desk: Desk, log: NodeLog, job_id: bytes) -> bool:
    """Show a job; whether the person then typed the id of its request. A slip may be mended."""
    state = log.cosigner.state
    job = state.jobs[job_id]
    shown = job_shown(state, job, root=log.cosigner.frontier.root())
    desk.show("\n".join(lines(shown)))
    for left in range(TRIES_MAX, 0, -1):
        desk.show(
            f"To sign it type the request's id, from your papers ({TYPED_MIN} digits of it do), or '{NO}':"
        )
        desk.tell({"confirm": shown, "tries": left})
        line = await desk.line()
        if line is None or line == NO:
            return False
        if is_request(line, job.request_id.hex()):
            return True
        desk.show("That is not this request's id. Look at the screen and at your papers.")
    return False


def _load_log(config: NodeConfig, hsm: Pkcs11Hsm, store: RuntimeStore, roster: Roster) -> NodeLog:
    """The log as this node has it, open at once: it goes on by what quorums cosigned alone."""
    if config.role != COLD or config.name not in roster.cold:
        raise OperationalError(
            f"{config.name} is no cold node of the roster it was configured with: join it as one"
        )
    identity = Identity(config.name, config.origin, config.genesis_fingerprint, roster.log_key)
    log = NodeLog(identity, hsm, store=store, skew_ms=config.clock_skew_ms, cosigns=False)
    log.load()
    log.ready = True
    return log


def _new_boot(config: NodeConfig, hsm: Pkcs11Hsm, log: NodeLog, roster: Roster) -> Started:
    private_key = X25519PrivateKey.generate()
    boot_id = hsm.random(32)
    boot = BootStatement(
        origin=config.origin,
        name=config.name,
        boot_counter=hsm.raise_boot_counter(boot_id),
        boot_id=boot_id,
        tls_key=NO_TLS,
        head_size=log.cosigner.size,
        head_root=log.cosigner.frontier.root(),
    )
    hello = Hello(boot, private_key.public_key().public_bytes_raw(), clock_ms())
    return Started(hello, private_key, roster, config.witnesses)


def _runtime(
    log: NodeLog,
    hsm: Pkcs11Hsm,
    *,
    store: ColdStore,
    workers: Workers,
    peers: ColdPeers,
    started: Started,
) -> NodeRuntime:
    pool, sitting_s = PresignaturePool(), SITTING_MS_MAX / 1000
    boot = started.hello.boot
    keys = KeySessions(
        name=log.name,
        boot_id=boot.boot_id,
        state=lambda: log.cosigner.state,
        hsm=hsm,
        store=store,
        peers=peers,
        workers=workers,
        pool=pool,
        quorum_size=lambda: (store.quorum() or (0, b""))[0],
        change_timeout_s=sitting_s,
        presign_timeout_s=sitting_s,
    )
    signer = Signer(log.name, log, hsm, store, pool, schnorr_in_loop(keys), SITTING_MS_MAX)
    return NodeRuntime(
        Parts(log, signer, store, peers, keys, boot, started.roster, clock_ms, COLD, started.witnesses)
    )
