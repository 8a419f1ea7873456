"""Payments from keys whose nodes have no network: letters by file to real programs with real tokens."""

import os
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from solders.hash import Hash
from solders.message import Message
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import (
    AdvanceNonceAccountParams,
    TransferParams,
    advance_nonce_account,
    transfer,
)
from solders.transaction import Transaction

from policy import ecdsa, schnorr
from policy.accounts import account_at
from policy.ecdsa import Partial, SigningTask
from policy.encoding import Json
from policy.schnorr import SchnorrTask
from policy.state import JobStatus, Outcome
from signer_nodes.api import node_pb2 as pb
from tests.e2e.cluster import Cluster, ScriptedCoordinator, now_ms, scratch_folder
from tests.e2e.cold_room import COLD, Ceremony, ColdRoom, Machine, cold_policy
from tests.e2e.deployment import CUSTOMER, ETH, SOL_CUSTOMER
from tests.e2e.transactions import unsigned_transfer

TWO = COLD[:2]
FROST_PASSES, ECDSA_PASSES = 2, 4


@dataclass
class Deployment:
    """Online cosigners, and cold machines with the keys of the cold wallets."""

    cluster: Cluster
    room: ColdRoom


@pytest.fixture(scope="module")
async def deployment() -> AsyncIterator[Deployment]:
    """Everything running, and both cold keys made by letters; the cold machines are off."""
    folder = scratch_folder()
    room = ColdRoom(folder)
    cluster = Cluster(folder, policy=cold_policy(), cold=room.roster())
    room.join(cluster)
    try:
        cluster.start()
        coordinator = ScriptedCoordinator(cluster)
        await coordinator.ready()
        assert coordinator.add(cluster.genesis).accepted
        await coordinator.commit()
        for key in ("cold-sol", "cold-eth"):
            room.start(*COLD)
            outcome = Ceremony(coordinator, room, *COLD).make_key(key)
            assert outcome.accepted, outcome.reason
            await coordinator.commit()
            room.kill_all()
        await coordinator.close()
        yield Deployment(cluster, room)
    finally:
        room.kill_all()
        cluster.kill_all()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def coordinator(deployment: Deployment) -> AsyncIterator[ScriptedCoordinator]:
    """A coordinator that takes the log from the cosigners."""
    made = ScriptedCoordinator(deployment.cluster)
    await made.ready()
    await made.recover()
    yield made
    await made.close()


@pytest.fixture
def room(deployment: Deployment) -> Iterator[ColdRoom]:
    """The cold machines, off before and after."""
    yield deployment.room
    deployment.room.kill_all()


def solana_message(coordinator: ScriptedCoordinator, lamports: int) -> Message:
    payer = Pubkey(account_at(coordinator.state.keys["cold-sol"], "m", chain="solana:localnet").public_key)
    advance = AdvanceNonceAccountParams(nonce_pubkey=Pubkey(b"\x0a" * 32), authorized_pubkey=payer)
    pay = TransferParams(from_pubkey=payer, to_pubkey=Pubkey.from_string(SOL_CUSTOMER), lamports=lamports)
    nonce = Hash(os.urandom(32))
    return Message.new_with_blockhash([advance_nonce_account(advance), transfer(pay)], payer, nonce)


def asked(coordinator: ScriptedCoordinator, wallet: str, amount: int) -> bytes:
    """A request to pay a customer from a cold wallet."""
    asset, destination = {"cold-sol": ("sol", SOL_CUSTOMER), "cold-eth": ("eth", CUSTOMER)}[wallet]
    outcome = coordinator.request(amount=amount, destination=destination, wallet=wallet, asset=asset)
    assert outcome.accepted, outcome.reason
    return outcome.subject


def reserved(
    ceremony: Ceremony, request: bytes, tx: bytes, *, wallet: str, path: str, names: tuple[bytes, ...]
) -> Outcome:
    coordinator = ceremony.coordinator
    body: Json = {
        "request": request.hex(),
        "purpose": "payment",
        "tx": tx.hex(),
        "key": wallet,
        "epoch": coordinator.state.keys[wallet].epoch,
        "paths": [path],
        "signers": list(ceremony.names),
        "presignatures": [name.hex() for name in names],
    }
    outcome = coordinator.add_judged("reserve", body)
    assert outcome.accepted, outcome.reason
    return outcome


async def begun(ceremony: Ceremony, request: bytes, tx: bytes, *, wallet: str, path: str) -> bytes:
    """The job: its presignature ordered, reserved, cosigned, and the log on its way to the machines."""
    ceremony.ship_log()
    names = ceremony.order_presignatures(wallet)
    job = reserved(ceremony, request, tx, wallet=wallet, path=path, names=names).subject
    await ceremony.coordinator.commit()
    ceremony.ship_log()
    return job


async def finish(ceremony: Ceremony, job: bytes, *, confirm: str) -> dict[str, bytes]:
    """Order the partial signatures and walk for them."""
    rhos = openings(ceremony, job)
    assert rhos.keys() == set(ceremony.names), ceremony.replies
    listed = [pb.Opened(index=0, signer=name, rho=rho) for name, rho in rhos.items()]
    ceremony.ship_log()
    note = ceremony.coordinator.quorum_note
    ceremony.ask(pb.Finish(note=note, jobs=[pb.FinishJob(job=job, opened=listed)]))
    answers = ceremony.walk_until("finish", confirm=confirm)
    assert not any(answer.declined for answer in answers.values()), answers
    return {name: answer.partials[0].partial for name, answer in answers.items()}


def combined(ceremony: Ceremony, job_id: bytes, partials: dict[str, bytes]) -> bytes:
    state = ceremony.coordinator.state
    job = state.jobs[job_id]
    key, (signing,) = state.keys[job.key], job.signings
    rhos = {key.index_of(name): rho for name, rho in openings(ceremony, job_id).items()}
    numbered = {key.index_of(name): partial for name, partial in partials.items()}
    if job.suite.startswith("frost"):
        public = dict(enumerate(key.public_shares, start=1))
        task = SchnorrTask(
            job.suite, signing.message, key.group_key, signing.tweak, signing.merkle_root, job_id, 0
        )
        return schnorr.combine(numbered, openings=rhos, public_shares=public, task=task)
    point = ceremony.answers("presign")[ceremony.names[0]].nonce_points[0]
    read = {party: Partial.from_bytes(data) for party, data in numbered.items()}
    made = ecdsa.combine(
        read,
        R=point,
        rhos=rhos,
        task=SigningTask(signing.message, signing.tweak, signing.public_key, job_id, 0),
    )
    return made.to_bytes() + bytes([made.recovery_id])


def openings(ceremony: Ceremony, job: bytes) -> dict[str, bytes]:
    return {
        name: opening.rho
        for name, replies in ceremony.replies.items()
        for reply in replies
        for opening in reply.append.openings
        if opening.job == job
    }


async def test_a_solana_payment_is_signed_in_two_passes(
    coordinator: ScriptedCoordinator, room: ColdRoom
) -> None:
    request = asked(coordinator, "cold-sol", 1000)
    message = solana_message(coordinator, 1000)
    await coordinator.commit()
    room.start(*TWO)
    ceremony = Ceremony(coordinator, room, *TWO)

    job = await begun(ceremony, request, bytes(message), wallet="cold-sol", path="m")
    ceremony.walk()
    partials = await finish(ceremony, job, confirm=request.hex())

    signature = combined(ceremony, job, partials)
    assert ceremony.passes == FROST_PASSES
    Transaction.populate(message, [Signature(signature)]).verify()
    assert coordinator.sign_entry(job, signature).accepted
    await coordinator.commit()


async def test_an_evm_payment_is_signed_in_four_passes(
    coordinator: ScriptedCoordinator, room: ColdRoom
) -> None:
    request = asked(coordinator, "cold-eth", ETH // 100)
    await coordinator.commit()
    room.start(*TWO)
    ceremony = Ceremony(coordinator, room, *TWO)
    tx = unsigned_transfer(nonce=0, to=CUSTOMER, value=ETH // 100)

    job = await begun(ceremony, request, tx, wallet="cold-eth", path="m/0/0")
    while not openings(ceremony, job):
        ceremony.walk()
    partials = await finish(ceremony, job, confirm=request.hex())

    signature = combined(ceremony, job, partials)
    assert ceremony.passes == ECDSA_PASSES
    assert coordinator.sign_entry(job, signature).accepted
    await coordinator.commit()
    assert coordinator.state.jobs[job].status is JobStatus.SIGNED


def refusal(machine: Machine, letter: bytes) -> str:
    """By what name a machine refuses a letter."""
    told = machine.give(letter)
    assert "refused" in told, told
    return str(told["refused"])


async def test_what_is_no_right_letter_is_refused_by_name_and_the_ceremony_goes_on(
    coordinator: ScriptedCoordinator, room: ColdRoom
) -> None:
    request = asked(coordinator, "cold-sol", 1001)
    message = solana_message(coordinator, 1001)
    await coordinator.commit()
    room.start(*TWO)
    ceremony, machine = Ceremony(coordinator, room, *TWO), room.machines["cold-a"]
    job = await begun(ceremony, request, bytes(message), wallet="cold-sol", path="m")
    hour_ms, right = 3_600_000, ceremony.letter("cold-a", spend=False)
    other = Ceremony(coordinator, room, *TWO).letter("cold-a")

    wrong = {
        "truncated": right[:-1],
        "altered": right[:-1] + bytes([right[-1] ^ 1]),
        "foreign": ceremony.letter("cold-b", spend=False),
        "missing": ceremony.letter("cold-a", spend=False, number=2),
        "expired": ceremony.letter(
            "cold-a", spend=False, made_ms=now_ms() - hour_ms, expires_ms=now_ms() - 1
        ),
        "clock": ceremony.letter(
            "cold-a", spend=False, made_ms=now_ms() + hour_ms, expires_ms=now_ms() + 2 * hour_ms
        ),
        "malformed": b"this is no letter of a ceremony, whatever it is named",
    }
    refused = {name: refusal(machine, letter) for name, letter in wrong.items()}
    ceremony.walk()
    after = [refusal(machine, right), refusal(machine, other)]
    partials = await finish(ceremony, job, confirm=request.hex())

    assert refused == {name: name for name in wrong}
    assert after == ["replayed", "foreign"]
    Transaction.populate(message, [Signature(combined(ceremony, job, partials))]).verify()


async def test_another_start_of_the_program_takes_no_letter_of_before(
    coordinator: ScriptedCoordinator, room: ColdRoom
) -> None:
    request = asked(coordinator, "cold-sol", 1002)
    message = solana_message(coordinator, 1002)
    await coordinator.commit()
    room.start(*TWO)
    ceremony, machine = Ceremony(coordinator, room, *TWO), room.machines["cold-a"]
    await begun(ceremony, request, bytes(message), wallet="cold-sol", path="m")
    letter = ceremony.letter("cold-a")
    machine.kill()
    machine.start()

    assert refusal(machine, letter) == "foreign"


async def test_a_person_who_types_another_id_signs_nothing_and_the_job_can_be_burned(
    coordinator: ScriptedCoordinator, room: ColdRoom
) -> None:
    request = asked(coordinator, "cold-sol", 1003)
    message = solana_message(coordinator, 1003)
    await coordinator.commit()
    room.start(*TWO)
    ceremony = Ceremony(coordinator, room, *TWO)
    job = await begun(ceremony, request, bytes(message), wallet="cold-sol", path="m")
    ceremony.walk()

    with pytest.raises(AssertionError, match="did not want it signed"):
        await finish(ceremony, job, confirm="yes")

    ceremony.ask(pb.Burn(job=job))
    ceremony.walk()
    burns = {name: replies[-1].burn.signature for name, replies in ceremony.replies.items()}
    assert coordinator.burn_entry(job, burns).accepted
    await coordinator.commit()


async def test_a_machine_shows_what_it_decoded_itself_before_it_signs(
    coordinator: ScriptedCoordinator, room: ColdRoom
) -> None:
    request = asked(coordinator, "cold-sol", 1004)
    message = solana_message(coordinator, 1004)
    await coordinator.commit()
    room.start(*TWO)
    ceremony, machine = Ceremony(coordinator, room, *TWO), room.machines["cold-a"]
    job = await begun(ceremony, request, bytes(message), wallet="cold-sol", path="m")
    ceremony.walk()
    ceremony.ship_log()
    listed = [pb.Opened(index=0, signer=name, rho=rho) for name, rho in openings(ceremony, job).items()]
    finish_call = pb.Finish(note=coordinator.quorum_note, jobs=[pb.FinishJob(job=job, opened=listed)])
    ceremony.ask(finish_call)

    shown = machine.give(ceremony.letter("cold-a"))["confirm"]

    assert shown["intent"]["destination"] == SOL_CUSTOMER
    assert shown["intent"]["amount"] == "1004"
    assert shown["verdict"].startswith("allow by rule elsewhere")
    assert shown["log"]["size"] == len(coordinator.entries)
    assert shown["log"]["root"] == coordinator.frontier.root().hex()
    assert shown["request"] == request.hex()
    screen = (machine.folder / "stderr.log").read_text()
    assert f"request {request.hex()}, asked by payments" in screen


def test_a_cold_program_has_no_socket_to_a_network(room: ColdRoom) -> None:
    room.start("cold-a")
    popen = room.machines["cold-a"].popen
    assert popen is not None

    assert not network_sockets(popen.pid)


def test_a_socket_to_a_network_would_be_seen() -> None:
    with socket.create_server(("127.0.0.1", 0)):
        assert network_sockets(os.getpid())


def network_sockets(pid: int) -> set[str]:
    """The sockets of a process that the kernel lists among those of IP."""
    links = [os.readlink(one) for one in Path(f"/proc/{pid}/fd").iterdir() if one.is_symlink()]
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    tables = [Path(f"/proc/net/{table}").read_text() for table in ("tcp", "tcp6", "udp", "udp6", "raw")]
    return inodes & {line.split()[9] for table in tables for line in table.splitlines()[1:]}
