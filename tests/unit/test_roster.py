"""A roster says who exists; numbers under which two quorums might share no honest cosigner are refused."""

from typing import Any, cast

import pytest

from policy.encoding import Json
from policy.errors import InvalidSignatureError, MalformedError
from policy.roster import bound, parse_roster, verified_signers
from tests.simulation.world import World, cosigner_of, key_of, public_key, state_as

WORLD = World()


def refused(**changed: Any) -> str:
    with pytest.raises(MalformedError) as caught:
        parse_roster(WORLD.roster(**changed))
    return str(caught.value)


def test_the_numbers_say_what_they_give() -> None:
    roster = parse_roster(WORLD.roster())

    assert (roster.c, roster.w, roster.f, roster.leave_count) == (4, 3, 1, 3)
    assert bound(roster) == (
        "3 of 4 cosigners: limits are exact while at most 1 of them are corrupt; "
        "signing goes on while at most 1 of them are down"
    )


@pytest.mark.parametrize("c", range(1, 12))
def test_two_quorums_always_share_an_honest_cosigner(c: int) -> None:
    cosigners = [cosigner_of(f"node-{i}", "node") for i in range(c)]
    for w in range(1, c + 2):
        for f in range(c + 1):
            possible = w <= c and 2 * w - c > f
            document = WORLD.roster(cosigners=cosigners, w=w, f=f)
            if possible:
                assert parse_roster(document).f == f
            else:
                with pytest.raises(MalformedError):
                    parse_roster(document)


def test_three_nodes_alone_bear_no_corrupt_one() -> None:
    cosigners = [cosigner_of(name, "node") for name in WORLD.nodes]

    assert "share no honest cosigner" in refused(cosigners=cosigners, w=2, f=1)


def test_a_key_has_one_role() -> None:
    shared = {"name": "desk", "key": public_key("node-1").hex(), "people": []}

    assert "one key stands in two places" in refused(initiators=[shared])


def test_a_node_may_observe_but_nobody_is_two_observers() -> None:
    node = {"name": "watch-1", "key": public_key("node-1").hex()}

    assert parse_roster(WORLD.roster(observers=[node])).observers == {"watch-1": public_key("node-1")}
    assert "two places" in refused(observers=[node, {**node, "name": "watch-2"}])


def test_every_identity_has_a_name_of_its_own() -> None:
    assert "name of its own" in refused(initiators=[{**key_of("x"), "name": "node-1", "people": []}])
    assert "name of its own" in refused(
        initiators=[{"name": "coordinator", "key": public_key("x").hex(), "people": []}]
    )
    assert "stands there twice" in refused(
        administrators={"quorum": 1, "members": [key_of("ada"), key_of("ada")]}
    )


def test_an_unreachable_quorum_is_refused() -> None:
    members = [key_of("ada")]

    assert "unreachable" in refused(administrators={"quorum": 2, "members": members})
    assert "can never be reached" in refused(w=5, f=0)


def test_an_initiator_names_people_who_exist() -> None:
    assert "unknown operator nobody" in refused(initiators=[{**key_of("desk"), "people": ["nobody"]}])


def test_a_strangers_or_wrong_signature_refuses_the_whole_document() -> None:
    keys, body = {"ada": public_key("ada")}, cast("Json", {"a": 1})
    good = state_as("veto", body, "ada")

    assert verified_signers("veto", body, signatures={"ada": good}, keys=keys) == {"ada"}
    for signatures in (
        {"ada": good, "eve": good},
        {"ada": state_as("freeze", body, "ada")},
        {"ada": bytes(64)},
    ):
        with pytest.raises(InvalidSignatureError):
            verified_signers("veto", body, signatures=signatures, keys=keys)


COLD = [{"name": "cold-a", "key": public_key("cold-a").hex()}]


def test_a_cold_node_is_known_and_counts_in_no_number() -> None:
    roster = parse_roster(WORLD.roster(cold=COLD))

    assert roster.cold == {"cold-a": public_key("cold-a")}
    assert roster.share_keys()["cold-a"] == public_key("cold-a")
    assert "cold-a" not in roster.cosigner_keys()
    assert (roster.c, roster.w) == (4, 3)


def test_a_cold_node_has_a_name_and_a_key_of_its_own() -> None:
    same_name = [{"name": "node-1", "key": public_key("cold-a").hex()}]
    same_key = [{"name": "cold-a", "key": public_key("node-1").hex()}]

    assert "every identity needs a name of its own" in refused(cold=same_name)
    assert "one key stands in two places" in refused(cold=same_key)
