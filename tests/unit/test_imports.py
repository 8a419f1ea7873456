"""Whom an import's dealer splits a key for: the committee it names, whoever else offers."""

from typing import Any, cast

import pytest

from policy.audit import Trust
from policy.errors import OperationalError
from signer_nodes.imports import Offer, check_committee, encode_offer, verified_offers
from tests.simulation.world import ORIGIN, public_key, signatures

NODES = ("node-a", "node-b", "node-c", "node-d")
TRUST = Trust(ORIGIN, public_key("log"), bytes(32), {name: public_key(name) for name in NODES}, 3)


def signature_of(offer: Offer) -> bytes:
    listed = cast("Any", signatures("import-offer", offer.body(), [offer.node]))
    return bytes.fromhex(listed[0]["signature"])


def offers_of(*names: str, min_signers: int = 2) -> tuple[Offer, ...]:
    """What these nodes sign and say when they offer themselves as the whole committee."""
    made = [
        Offer(ORIGIN, "old", "dkls23-secp256k1", min_signers, names, bytes(32), name, public_key(name))
        for name in names
    ]
    signed = [encode_offer(offer, signature_of(offer)) for offer in made]
    return verified_offers(b"[" + b",".join(signed) + b"]", TRUST)


def test_the_committee_that_the_dealer_names_is_dealt_to() -> None:
    check_committee(offers_of(*NODES[:3]), "2:node-c,node-a,node-b")


@pytest.mark.parametrize(
    "committee", ["3:node-a,node-b,node-c,node-d", "2:node-a,node-b,node-c", "3:node-a,node-b", "2:node-a"]
)
def test_two_nodes_that_call_themselves_the_committee_get_nothing(committee: str) -> None:
    with pytest.raises(OperationalError, match="are for 2 of node-a, node-b, not the committee"):
        check_committee(offers_of("node-a", "node-b"), committee)


@pytest.mark.parametrize("text", ["", "2", "2:", "x:node-a", "2:node-a,,node-b", "2:node-a,node-a"])
def test_what_is_no_committee_is_refused(text: str) -> None:
    with pytest.raises(OperationalError, match="is no committee"):
        check_committee(offers_of("node-a", "node-b"), text)
