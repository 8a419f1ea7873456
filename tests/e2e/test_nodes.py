"""Real nodes, real tokens, a scripted coordinator: the two rounds and what must keep working."""

import ecdsa
import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_keys.datatypes import Signature

from policy.bip32 import ethereum_address
from policy.encoding import canonical, statement
from policy.log.merkle import leaf_hash
from policy.log.note import verify_ed25519
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.client import Refused
from signer_nodes.api.health import READY, ask
from signer_nodes.witness import Branch
from tests.e2e.cluster import Cluster, ScriptedCoordinator
from tests.e2e.deployment import CUSTOMER, ETH, ORIGIN, STRANGER, WITNESS
from tests.e2e.transactions import unsigned_transfer
from tests.unit.typed_data_house import permit
from tests.waiting import WAIT_S

AGAIN = pb.ChangeKey(key_id="hot", attempt=9, change="generate")


async def sign_payment(
    coordinator: ScriptedCoordinator, *signers: str, nonce: int, committers: tuple[str, ...] = ()
) -> bytes:
    """One whole payment by ``signers``; the signature, verified by two libraries that are not ours."""
    presignatures = await coordinator.presign(*signers)
    request = coordinator.request(amount=ETH // 100)
    tx = unsigned_transfer(nonce=nonce, to=CUSTOMER, value=ETH // 100)
    job = coordinator.reserve(request.subject, tx, presignatures[0], *signers)
    assert job.accepted, job.reason
    replies = await coordinator.commit(*committers)
    finished = await coordinator.finish(job.subject, replies)
    signature = coordinator.combine(job.subject, replies, finished)
    assert coordinator.sign_entry(job.subject, signature).accepted
    await coordinator.commit(*committers)
    (made,) = coordinator.state.jobs[job.subject].signings
    verifier = ecdsa.VerifyingKey.from_string(made.public_key, curve=ecdsa.SECP256k1)
    assert verifier.verify_digest(signature[:64], made.message)
    recovered = Signature(signature).recover_public_key_from_msg_hash(made.message)
    assert recovered.to_compressed_bytes() == made.public_key
    return signature


async def test_every_pair_signs_and_other_libraries_accept_it(coordinator: ScriptedCoordinator) -> None:
    for nonce, signers in enumerate((("node-a", "node-b"), ("node-a", "node-c"), ("node-b", "node-c"))):
        assert len(await sign_payment(coordinator, *signers, nonce=nonce)) == 65


async def test_a_reservation_of_other_bytes_is_opened_by_nobody(coordinator: ScriptedCoordinator) -> None:
    presignatures = await coordinator.presign("node-a", "node-b")
    request = coordinator.request(amount=ETH // 2)
    tampered = unsigned_transfer(nonce=10, to=STRANGER, value=ETH // 2)

    outcome = coordinator.reserve_claiming(
        "allow", "small", request.subject, tampered, presignatures[0], "node-a", "node-b"
    )
    replies = await coordinator.commit()

    assert not outcome.accepted and "intent-mismatch" in outcome.reason
    assert not any(reply.openings for reply in replies.values())


async def test_typed_data_is_signed_and_a_changed_field_is_opened_by_nobody(
    coordinator: ScriptedCoordinator,
) -> None:
    presignatures = await coordinator.presign("node-a", "node-b")
    document = permit(CUSTOMER, spender=CUSTOMER)
    document["domain"] |= {"chainId": "31337", "verifyingContract": STRANGER}
    asked = canonical(document)
    request = coordinator.request(amount=0, destination=STRANGER, fee_ceiling="0", typed_data=asked.hex())
    changed = asked.replace(b'"value":"5"', b'"value":"6"')
    other = coordinator.reserve_claiming(
        "allow", "permits", request.subject, changed, presignatures[0], "node-a", "node-b"
    )
    nothing = await coordinator.commit()
    job = coordinator.reserve(request.subject, asked, presignatures[1], "node-a", "node-b")
    replies = await coordinator.commit()
    finished = await coordinator.finish(job.subject, replies)
    signature = coordinator.combine(job.subject, replies, finished)

    assert not other.accepted and not any(reply.openings for reply in nothing.values())
    assert coordinator.sign_entry(job.subject, signature).accepted
    domain = {**document["domain"], "chainId": 31337}
    message = document["message"] | {n: int(document["message"][n]) for n in ("value", "nonce", "deadline")}
    theirs = encode_typed_data(full_message={**document, "domain": domain, "message": message})
    (made,) = coordinator.state.jobs[job.subject].signings
    signer = Account.recover_message(theirs, signature=signature[:64] + bytes([27 + signature[64]]))
    assert signer.lower() == ethereum_address(made.public_key)


async def test_round_two_needs_a_quorum_of_cosignatures(coordinator: ScriptedCoordinator) -> None:
    presignatures = await coordinator.presign("node-a", "node-b")
    request = coordinator.request(amount=ETH // 100)
    tx = unsigned_transfer(nonce=11, to=CUSTOMER, value=ETH // 100)
    job = coordinator.reserve(request.subject, tx, presignatures[0], "node-a", "node-b")

    replies = await coordinator.commit("node-a", "node-b")

    with pytest.raises(Refused, match="quorum"):
        await coordinator.finish(job.subject, replies)


async def test_a_partial_is_given_again_byte_for_byte_and_excludes_a_burn(
    coordinator: ScriptedCoordinator,
) -> None:
    presignatures = await coordinator.presign("node-a", "node-b")
    request = coordinator.request(amount=ETH // 100)
    tx = unsigned_transfer(nonce=12, to=CUSTOMER, value=ETH // 100)
    job = coordinator.reserve(request.subject, tx, presignatures[0], "node-a", "node-b")
    replies = await coordinator.commit()

    first = await coordinator.finish(job.subject, replies)
    second = await coordinator.finish(job.subject, replies)

    assert [p.partial for p in first["node-a"].partials] == [p.partial for p in second["node-a"].partials]
    with pytest.raises(Refused, match="out already"):
        await coordinator.clients["node-a"].burn(job.subject)


async def test_a_burned_job_is_never_signed_and_its_limit_comes_back(
    coordinator: ScriptedCoordinator, cluster: Cluster
) -> None:
    presignatures = await coordinator.presign("node-a", "node-b")
    request = coordinator.request(amount=ETH // 100)
    tx = unsigned_transfer(nonce=13, to=CUSTOMER, value=ETH // 100)
    job = coordinator.reserve(request.subject, tx, presignatures[0], "node-a", "node-b")
    replies = await coordinator.commit()

    burns = {name: await coordinator.clients[name].burn(job.subject) for name in ("node-a", "node-b")}
    finished = await coordinator.finish(job.subject, replies)
    logged = coordinator.burn_entry(job.subject, burns)
    await coordinator.commit()

    message = statement("burn", {"origin": ORIGIN, "job": job.subject.hex()})
    verify_ed25519(cluster.cards["node-a"].key, burns["node-a"], message=message, author="node-a")
    assert all("burned" in reply.declined[0].reason for reply in finished.values())
    assert logged.accepted


async def test_one_presignature_serves_one_job(coordinator: ScriptedCoordinator) -> None:
    presignatures = await coordinator.presign("node-a", "node-b")
    first = coordinator.request(amount=ETH // 100)
    second = coordinator.request(amount=ETH // 100)
    txs = [unsigned_transfer(nonce=nonce, to=CUSTOMER, value=ETH // 100) for nonce in (14, 15)]

    used = coordinator.reserve(first.subject, txs[0], presignatures[0], "node-a", "node-b")
    again = coordinator.reserve(second.subject, txs[1], presignatures[0], "node-a", "node-b")
    await coordinator.commit()

    assert used.accepted
    assert again.verdict is not None and again.verdict.rule == "presignature-used"


async def test_a_batch_id_is_used_once(coordinator: ScriptedCoordinator) -> None:
    await coordinator.presign("node-a", "node-b")
    coordinator.batch_id -= 1

    with pytest.raises(Refused, match="only rise"):
        await coordinator.presign("node-a", "node-b")


async def test_a_second_share_of_a_key_is_refused(coordinator: ScriptedCoordinator) -> None:
    with pytest.raises(Refused, match="one share of a key"):
        await coordinator.clients["node-a"].change_key(
            pb.ChangeKey(key_id="hot", attempt=9, change="generate"), timeout_s=20
        )


async def test_a_witness_holds_no_share(coordinator: ScriptedCoordinator) -> None:
    with pytest.raises(Refused, match="witness"):
        await coordinator.clients[WITNESS].change_key(
            pb.ChangeKey(key_id="hot", attempt=9, change="generate"), timeout_s=20
        )


async def test_one_node_down_and_back_while_another_restarts(
    coordinator: ScriptedCoordinator, cluster: Cluster
) -> None:
    up = ("node-a", "node-b", WITNESS)
    cluster.processes["node-c"].kill()
    await sign_payment(coordinator, "node-a", "node-b", nonce=20, committers=up)

    cluster.start("node-c")
    cluster.processes["node-b"].kill()
    await coordinator.ready("node-c")
    head = await coordinator.clients["node-c"].head()
    await coordinator.ready("node-a", "node-c", WITNESS)
    signature = await sign_payment(
        coordinator, "node-a", "node-c", nonce=21, committers=("node-a", "node-c", WITNESS)
    )
    cluster.start("node-b")
    await coordinator.ready()
    await coordinator.commit()

    assert head.size > 0
    assert len(signature) == 65


async def test_a_coordinator_killed_between_two_cosigners_goes_on(
    coordinator: ScriptedCoordinator, cluster: Cluster
) -> None:
    request = coordinator.request(amount=ETH // 100)
    coordinator.checkpoint()
    await coordinator.append_to("node-a")
    await coordinator.close()

    successor = ScriptedCoordinator(cluster)
    await successor.ready()
    await successor.recover()
    known = request.subject in successor.state.requests
    await successor.commit()
    signature = await sign_payment(successor, "node-b", "node-c", nonce=30)
    await successor.close()

    assert known, "the longest branch that anyone cosigned is the one that goes on"
    assert len(signature) == 65


async def test_a_restarted_node_has_no_presignatures_and_declines(
    coordinator: ScriptedCoordinator, cluster: Cluster
) -> None:
    presignatures = await coordinator.presign("node-a", "node-b")
    cluster.processes["node-b"].kill()
    cluster.start("node-b")
    await coordinator.ready()
    request = coordinator.request(amount=ETH // 100)
    tx = unsigned_transfer(nonce=40, to=CUSTOMER, value=ETH // 100)

    job = coordinator.reserve(request.subject, tx, presignatures[0], "node-a", "node-b")
    replies = await coordinator.commit()

    assert job.accepted
    assert not replies["node-b"].openings
    assert "does not hold the presignature" in replies["node-b"].declined[0].reason


async def test_malformed_calls_stop_no_node(coordinator: ScriptedCoordinator) -> None:
    client = coordinator.clients["node-a"]
    calls = [
        client.append(pb.Append(start=0, entries=[b"\xff" * 70_000], checkpoint=b"garbage")),
        client.append(pb.Append(start=2**63, entries=[b"{}"], checkpoint=coordinator.note)),
        client.finish(pb.Finish(note=b"", jobs=[pb.FinishJob(job=b"short")])),
        client.burn(b"short"),
        client.quorum(b"\x00" * 5000),
        client.abandon(b"{}"),
        client.leave((b"[]",)),
    ]

    for call in calls:
        with pytest.raises(Refused):
            await call

    assert (await client.head()).size == coordinator.frontier.size


async def test_a_cosigner_leaves_a_branch_on_the_statements_of_the_others(
    coordinator: ScriptedCoordinator, cluster: Cluster
) -> None:
    presignatures = await coordinator.presign("node-a", "node-b")
    q_size, q_root = coordinator.frontier.size, coordinator.frontier.root()
    await coordinator.tell_quorum()
    request = coordinator.request(amount=ETH // 100)
    tx = unsigned_transfer(nonce=60, to=CUSTOMER, value=ETH // 100)
    job = coordinator.reserve(request.subject, tx, presignatures[0], "node-a", "node-b")
    coordinator.checkpoint()
    await coordinator.append_to("node-a")
    other = ScriptedCoordinator(cluster)
    await other.ready()
    await other.recover_from("node-b")
    for amount in (1, 2, 3):
        assert other.request(amount=ETH // 100 + amount).accepted
    others = ("node-b", "node-c", WITNESS)
    await other.commit(*others)

    branch = Branch(q_size, q_root, leaf_hash(coordinator.entries[q_size]))
    bodies = {name: branch.body(ORIGIN, name) for name in others}
    statements = [
        canonical(
            {
                "body": body,
                "signature": (await other.clients[name].abandon(canonical(body))).hex(),
            }
        )
        for name, body in bodies.items()
    ]
    with pytest.raises(Refused, match="need statements of 3"):
        await other.clients["node-a"].leave(tuple(statements[:2]))
    with pytest.raises(Refused, match="was itself on that branch"):
        await other.clients["node-a"].abandon(canonical(branch.body(ORIGIN, "node-a")))
    await other.clients["node-a"].leave(tuple(statements))
    await other.commit()
    signature = await sign_payment(other, "node-a", "node-c", nonce=60)
    with pytest.raises(Refused, match="was itself on that branch"):
        await other.clients["node-a"].abandon(canonical(branch.body(ORIGIN, "node-a")))
    await other.close()

    assert job.accepted
    assert len(signature) == 65


async def test_a_supervisor_is_told_that_nodes_and_witness_serve(
    coordinator: ScriptedCoordinator, cluster: Cluster
) -> None:
    await coordinator.ready()

    told = [ask(process.folder) for process in cluster.processes.values()]

    assert told == [{"name": name, "state": READY} for name in cluster.processes]


async def test_a_disk_of_yesterday_signs_nothing(coordinator: ScriptedCoordinator, cluster: Cluster) -> None:
    node = cluster.processes["node-c"]
    node.kill()
    names = [path.name for path in node.folder.iterdir() if path.name.startswith("node.db")]
    yesterday = {name: (node.folder / name).read_bytes() for name in names}
    cluster.start("node-c")
    await coordinator.ready()
    await sign_payment(coordinator, "node-b", "node-c", nonce=50)
    node.kill()
    for path in list(node.folder.glob("node.db*")):
        path.unlink()
    for name, data in yesterday.items():
        (node.folder / name).write_bytes(data)
        (node.folder / name).chmod(0o600)

    examined = node.doctor()
    node.start()
    assert node.popen is not None
    code = node.popen.wait(timeout=WAIT_S)

    assert (code, examined.returncode) == (1, 1)
    assert b"OPEN disk" in examined.stdout and b"enrol this machine as a new node" in examined.stdout
    assert "enrol this machine as a new node" in (node.folder / "stderr.log").read_text()
