"""Real nodes, real tokens, a scripted coordinator: the two rounds and what must keep working."""

import shutil
from collections.abc import Iterator

import ecdsa
import pytest
from eth_keys.datatypes import Signature

from tests.e2e.cluster import CUSTOMER, ETH, Cluster, ScriptedCoordinator, scratch_folder
from tests.e2e.transactions import unsigned_transfer


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    folder = scratch_folder()
    made = Cluster(folder)
    try:
        made.start()
        yield made
    finally:
        made.kill_all()
        shutil.rmtree(folder, ignore_errors=True)


async def test_two_of_three_sign_and_other_libraries_accept_it(cluster: Cluster) -> None:
    coordinator = ScriptedCoordinator(cluster)
    await coordinator.ready()
    assert coordinator.add(cluster.genesis).accepted
    await coordinator.commit()
    assert (await coordinator.create_key()).accepted
    await coordinator.commit()
    presignatures = await coordinator.presign("node-a", "node-b")
    request = coordinator.request(amount=ETH // 2)
    tx = unsigned_transfer(nonce=0, to=CUSTOMER, value=ETH // 2)

    job = coordinator.reserve(request.subject, tx, presignatures[0], "node-a", "node-b")
    replies = await coordinator.commit()
    finished = await coordinator.finish(job.subject, replies)
    signature = coordinator.combine(job.subject, replies, finished)
    logged = coordinator.sign_entry(job.subject, signature)
    await coordinator.commit()

    assert job.accepted and logged.accepted
    digest = coordinator.state.jobs[job.subject].signing_hash
    public = coordinator.state.jobs[job.subject].derived_key
    verifier = ecdsa.VerifyingKey.from_string(public, curve=ecdsa.SECP256k1)
    assert verifier.verify_digest(signature[:64], digest)
    recovered = Signature(signature).recover_public_key_from_msg_hash(digest)
    assert recovered.to_compressed_bytes() == public
    await coordinator.close()
