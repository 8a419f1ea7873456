"""Cold machines with real tokens in a room without a network, and a scripted desk that writes their letters.

The desk does what a coordinator does in a ceremony, one pass at a time, so that a test can stop, repeat,
alter or lose anything between two of them.
"""

import json
import os
import secrets
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from policy.encoding import Json
from policy.entries import make_entry, signature_list
from policy.log.merkle import leaf_hash
from policy.roster import COORDINATOR
from policy.state import Outcome
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.card import parse_card
from signer_nodes.api.envelope import What, envelope, parse_reply
from signer_nodes.api.hello import Hello, verify_hello
from signer_nodes.api.letters import (
    CALL,
    HELLO,
    LETTER,
    LIFE_MS,
    REPLY,
    Frame,
    Header,
    Inbox,
    read_header,
    write_letter,
)
from signer_nodes.api.presignature_ids import names_of_batch
from signer_nodes.provisioning import Pinned, join
from tests.e2e.cluster import Cluster, ScriptedCoordinator, node_command, now_ms
from tests.e2e.deployment import ORIGIN, policy_document

COLD = ("cold-a", "cold-b", "cold-c")
SPARE = "cold-d"


def cold_policy() -> dict[str, Any]:
    """The tests' policy with a cold wallet for Solana (FROST) and one for the EVM chain (ECDSA)."""
    policy: dict[str, Any] = policy_document()  # type: ignore[assignment]
    for name, like in (("cold-sol", "sol"), ("cold-eth", "hot")):
        policy["keys"][name] = {**policy["keys"][like], "participants": list(COLD)}
        policy["wallets"][name] = {**policy["wallets"][like], "tier": "cold", "key": name}
    return policy


@dataclass
class Machine:
    """One cold machine: its folder, what it writes, and its program while it runs."""

    name: str
    folder: Path
    pin: str = field(repr=False)
    popen: "subprocess.Popen[str] | None" = None
    hello: bytes = b""

    def switch_on(self) -> None:
        """Start the program."""
        read, write = os.pipe()
        os.write(write, self.pin.encode())
        os.close(write)
        with (self.folder / "stderr.log").open("ab") as log:
            self.popen = subprocess.Popen(
                node_command(
                    *(
                        "cold",
                        "--config",
                        str(self.folder / "config.toml"),
                        "--out",
                        str(self.folder / "out"),
                    ),
                    *("--pin-fd", str(read)),
                ),
                pass_fds=(read,),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        os.close(read)

    def start(self) -> None:
        """Power on: the program shows its hello."""
        self.switch_on()
        self.greet()

    def greet(self) -> None:
        """Take the hello."""
        self.hello = Path(self.told()["written"]).read_bytes()

    def told(self) -> dict[str, Any]:
        """The next line of the program."""
        assert self.popen is not None and self.popen.stdout is not None
        line = self.popen.stdout.readline()
        assert line, f"{self.name} ended: {(self.folder / 'stderr.log').read_text()[-2000:]}"
        document: dict[str, Any] = json.loads(line)
        return document

    def say(self, line: str) -> None:
        """Type a line."""
        assert self.popen is not None and self.popen.stdin is not None
        self.popen.stdin.write(f"{line}\n")
        self.popen.stdin.flush()

    def give(self, letter: bytes) -> dict[str, Any]:
        """Bring a letter by file; what the program says next."""
        path = self.folder / f"in-{secrets.token_hex(4)}.letter"
        path.write_bytes(letter)
        self.say(str(path))
        return self.told()

    def read(self, letter: bytes, *, confirm: str = "") -> bytes:
        """Bring a letter and take the answer; a question is answered with ``confirm``."""
        told = self.give(letter)
        while "confirm" in told:
            self.say(confirm)
            told = self.told()
        assert "written" in told, told
        return Path(told["written"]).read_bytes()

    def kill(self) -> None:
        """Power off."""
        if self.popen is not None:
            self.popen.send_signal(signal.SIGKILL)
            self.popen.wait()
            for stream in (self.popen.stdin, self.popen.stdout):
                assert stream is not None
                stream.close()
            self.popen = None


class ColdRoom:
    """The cold machines of a deployment, provisioned but not joined."""

    def __init__(self, folder: Path, names: tuple[str, ...] = COLD) -> None:
        self.machines = {name: Machine(name, folder / name, secrets.token_hex(16)) for name in names}
        running = [self._provision(machine) for machine in self.machines.values()]
        assert [popen.wait(timeout=60) for popen in running] == [0] * len(running)

    def roster(self) -> list[Json]:
        """The cold nodes as a roster names them."""
        cards = [parse_card((one.folder / "card.json").read_bytes()) for one in self.machines.values()]
        return [{"name": card.name, "key": card.key.hex()} for card in cards]

    def join(self, cluster: Cluster) -> None:
        """Configure every machine for the deployment; it learns of no address."""
        for machine in self.machines.values():
            join(
                machine.folder,
                genesis=Pinned(cluster.folder / "genesis.json", leaf_hash(cluster.genesis).hex()),
                roster=None,
                coordinator=cluster.folder / "coordinator.pem",
                listen="",
                peers=[],
            )

    def start(self, *names: str) -> None:
        """Power on."""
        for name in names:
            self.machines[name].switch_on()
        for name in names:
            self.machines[name].greet()

    def kill_all(self) -> None:
        """Power off."""
        for machine in self.machines.values():
            machine.kill()

    @staticmethod
    def _provision(machine: Machine) -> "subprocess.Popen[bytes]":
        read, write = os.pipe()
        os.write(write, machine.pin.encode())
        os.close(write)
        try:
            return subprocess.Popen(
                node_command(
                    *("provision", "--dir", str(machine.folder), "--name", machine.name, "--role", "cold"),
                    *("--origin", ORIGIN, "--pin-fd", str(read)),
                ),
                pass_fds=(read,),
                stdout=subprocess.DEVNULL,
            )
        finally:
            os.close(read)


class Ceremony:
    """One ceremony of some machines, as a coordinator keeps it. ``passes`` counts the walks."""

    def __init__(self, coordinator: ScriptedCoordinator, room: ColdRoom, *names: str) -> None:
        self.coordinator = coordinator
        self.room = room
        self.names = names
        self.id = secrets.token_bytes(32)
        self.inbox = Inbox(COORDINATOR, ORIGIN, self.id, X25519PrivateKey.generate(), COORDINATOR, self.id)
        self.hellos: dict[str, Hello] = {}
        self.raw = {name: room.machines[name].hello for name in names}
        self.numbers = dict.fromkeys(names, 0)
        self.mail: dict[str, list[bytes]] = {name: [] for name in names}
        self.calls: dict[str, list[bytes]] = {name: [] for name in names}
        self.replies: dict[str, list[pb.Reply]] = {name: [] for name in names}
        self.passes = 0
        keys = coordinator.state.roster.cold
        for name, data in self.raw.items():
            self.hellos[name] = verify_hello(data, origin=ORIGIN, key=keys[name])
        self.sizes = {name: hello.boot.head_size for name, hello in self.hellos.items()}

    @property
    def boots(self) -> dict[str, bytes]:
        return {name: hello.boot.boot_id for name, hello in self.hellos.items()}

    def ask(self, call: What, *names: str) -> None:
        """Have a call go out with the next letters."""
        for name in names or self.names:
            numbered = envelope(call)
            numbered.call = len(self.replies[name]) + len(self.calls[name]) + 1
            self.calls[name].append(numbered.SerializeToString())

    def ship_log(self) -> None:
        """Have what each machine lacks of the log go out, up to the newest head of a quorum."""
        entries, note = self.coordinator.entries, self.coordinator.quorum_note
        for name in self.names:
            start, self.sizes[name] = self.sizes[name], len(entries)
            if start < len(entries):
                self.ask(pb.Append(start=start, entries=entries[start:], checkpoint=note), name)

    def letter(self, name: str, *, spend: bool = True, **changed: Any) -> bytes:
        """The next letter to a machine, with what waits for it; one that is not spent is written again."""
        self.numbers[name] += 1
        header = Header(
            **{
                "origin": ORIGIN,
                "ceremony": self.id,
                "sender": COORDINATOR,
                "recipient": name,
                "boot": self.boots[name],
                "number": self.numbers[name],
                "made_ms": now_ms(),
                "expires_ms": now_ms() + LIFE_MS,
                "reply_key": self.inbox.public_key,
                **changed,
            }
        )
        frames: list[Frame] = []
        if header.number == 1:
            frames += [(HELLO, self.raw[other]) for other in self.names if other != name]
        frames += [(LETTER, one) for one in self.mail[name]] + [(CALL, one) for one in self.calls[name]]
        if spend:
            self.mail[name], self.calls[name] = [], []
        else:
            self.numbers[name] -= 1
        sign = self.coordinator.cluster.identity.sign
        return write_letter(header, frames, key=self.hellos[name].key, sign=sign)

    def take(self, name: str, answer: bytes) -> None:
        """Take a machine's answer in."""
        keys = self.coordinator.state.roster.cold
        opened = self.inbox.open(answer, {name: keys[name]}, now_ms=now_ms())
        self.replies[name] += [parse_reply(data) for data in opened.of(REPLY)]
        for letter in opened.of(LETTER):
            self.mail[read_header(letter).recipient].append(letter)

    def walk(self, *, confirm: str = "") -> None:
        """One pass: a letter to each machine and its answer back."""
        self.passes += 1
        letters = {name: self.letter(name) for name in self.names}
        for name, letter in letters.items():
            self.take(name, self.room.machines[name].read(letter, confirm=confirm))

    def answers(self, kind: str) -> dict[str, Any]:
        """Each machine's newest answer to a kind of call; a refusal is an error of the test."""
        found = {}
        for name in self.names:
            refusals = [
                reply.refusal for reply in self.replies[name] if reply.WhichOneof("what") == "refusal"
            ]
            assert not refusals, f"{name}: {refusals}"
            of = [getattr(reply, kind) for reply in self.replies[name] if reply.WhichOneof("what") == kind]
            if of:
                found[name] = of[-1]
        return found

    def walk_until(self, kind: str, *, confirm: str = "") -> dict[str, Any]:
        """Walk until every machine has answered this kind of call."""
        while len(found := self.answers(kind)) < len(self.names):
            self.walk(confirm=confirm)
            assert self.passes < 12
        return found

    def make_key(self, key: str) -> Outcome:
        """Generate a key by letters, and log it."""
        self.ship_log()
        self.ask(pb.ChangeKey(key_id=key, attempt=now_ms(), change="generate"))
        replies = self.walk_until("change_key")
        assert len({reply.body for reply in replies.values()}) == 1
        signatures = {name: reply.signature for name, reply in replies.items()}
        body = json.loads(replies[self.names[0]].body)
        time_ms = max(now_ms(), self.coordinator.state.time_ms)
        return self.coordinator.add(
            make_entry("key", time_ms, body=body, signatures=signature_list(signatures))
        )

    def order_presignatures(self, key: str, *, count: int = 1) -> tuple[bytes, ...]:
        """Order a batch; the names that what it will hold has."""
        record, batch_id = self.coordinator.state.keys[key], now_ms()
        batch = 4 if record.suite.startswith("dkls") else count
        self.ask(
            pb.Presign(key_id=key, signers=self.names, epoch=record.epoch, batch_id=batch_id, batch=batch)
        )
        return names_of_batch(
            record.suite, key_id=key, epoch=record.epoch, batch_id=batch_id, boot_ids=self.boots, count=count
        )
