"""A key's epochs among real nodes with real tokens: refreshed, signed with, and the old epoch destroyed."""

import json

from tests.e2e.cluster import ScriptedCoordinator
from tests.e2e.deployment import NODES
from tests.e2e.test_nodes import sign_payment


async def test_a_refreshed_key_signs_and_the_old_epoch_is_destroyed(coordinator: ScriptedCoordinator) -> None:
    before = coordinator.state.keys["hot"]

    assert (await coordinator.change_key("refresh", attempt=7)).accepted
    await coordinator.commit()
    await coordinator.tell_quorum()
    await sign_payment(coordinator, "node-a", "node-c", nonce=0)

    after = coordinator.state.keys["hot"]
    assert (after.group_key, after.epoch) == (before.group_key, 1)
    assert not set(after.public_shares) & set(before.public_shares)
    for name in NODES:
        status = json.loads(await coordinator.clients[name].status())
        assert [shred["body"]["epoch"] for shred in status["shreds"]] == [0]
