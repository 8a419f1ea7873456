"""Addresses to be paid at, over HTTP: the wallet's own, each given out once."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from custody.enacting import Signed
from policy.accounts import account_at
from policy.encoding import Json, canonical, statement
from policy.entries import signature_list
from tests.unit.custody_cluster import ANVIL_CHAIN, KEY, ORIGIN, WALLET, identity, policy_document
from tests.unit.custody_house import House
from tests.unit.http_house import HttpDoor, http_opened
from tests.waiting import until

PLACE = f"/v1/wallets/{WALLET}/addresses"


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[HttpDoor]:
    async with http_opened(House(tmp_path)) as found:
        yield found


async def give(door: HttpDoor, label: str, *, name: str = "shop", **more: Any) -> dict[str, Any]:
    answer = await door.ask("POST", PLACE, {"label": label, **more}, name=name)
    return dict(answer.json())


async def test_each_label_has_one_address_of_the_wallet_and_no_other_has_it(door: HttpDoor) -> None:
    one, two, again = [await give(door, label) for label in ("ann", "ben", "ann")]
    key = door.running.parts.sequencer.state.keys[KEY]
    own = {path: account_at(key, path, chain=ANVIL_CHAIN).address for path in ("m/0/1", "m/0/2")}

    assert one == again
    assert (one["label"], one["wallet"], one["chain"]) == ("ann", WALLET, ANVIL_CHAIN)
    assert {one["path"]: one["address"], two["path"]: two["address"]} == own
    assert (await door.ask("GET", PLACE)).json()["addresses"] == [one, two]


async def test_no_path_is_given_that_the_policy_does_not_give_the_wallet(door: HttpDoor) -> None:
    for label in ("ann", "ben"):
        await give(door, label)

    assert (await give(door, "carl"))["code"] == "no-address-left"
    assert (await give(door, "carl", path="m/0/3"))["code"] == "unknown-wallet"
    assert (await give(door, "carl", path="m/0/1"))["code"] == "no-address-left"


async def test_two_backends_are_never_given_the_same_address(door: HttpDoor) -> None:
    shop, desk = await give(door, "ann"), await give(door, "ann", name="desk")

    assert shop["address"] != desk["address"]
    assert (await door.ask("GET", PLACE, name="desk")).json()["addresses"] == [desk]
    changed = await door.ask("PUT", f"{PLACE}/{shop['address']}", {"label": "mine"}, name="desk")
    assert changed.json()["code"] == "unknown-address"


async def test_an_address_is_asked_for_by_its_path_when_the_labels_are_lost(door: HttpDoor) -> None:
    one = await give(door, "ben", path="m/0/2")

    assert one["path"] == "m/0/2"
    assert (await give(door, "ann"))["path"] == "m/0/1"
    assert (await give(door, "ben", path="m/0/1"))["code"] == "label-taken"


async def test_a_label_can_be_changed_to_one_that_is_free(door: HttpDoor) -> None:
    one = await give(door, "ann")
    await give(door, "ben")

    changed = await door.ask("PUT", f"{PLACE}/{one['address']}", {"label": "anna"})
    taken = await door.ask("PUT", f"{PLACE}/{one['address']}", {"label": "ben"})

    assert changed.json() == {**one, "label": "anna"}
    assert (taken.status_code, taken.json()["code"]) == (409, "label-taken")
    assert await give(door, "anna") == changed.json()


async def test_a_list_goes_on_after_an_address(door: HttpDoor) -> None:
    one, two = await give(door, "ann"), await give(door, "ben")

    first = (await door.ask("GET", f"{PLACE}?limit=1")).json()["addresses"]
    rest = (await door.ask("GET", f"{PLACE}?limit=1&after={one['address']}")).json()["addresses"]

    assert (first, rest) == ([one], [two])


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"{PLACE}?after=0x{'77' * 20}", "unknown-address"),
        (f"{PLACE.removesuffix('addresses')}deposits?after={'77' * 32}", "unknown-deposit"),
        (f"/v1/requests?before={'77' * 32}", "unknown-request"),
    ],
)
async def test_a_list_that_is_to_go_on_after_nothing_of_it_is_refused(
    door: HttpDoor, path: str, code: str
) -> None:
    """An empty page would say that there is nothing more."""
    await give(door, "ann")
    answer = await door.ask("GET", path)

    assert (answer.status_code, answer.json()["code"]) == (404, code)


async def test_the_wallets_of_the_policy_are_listed(door: HttpDoor) -> None:
    listed = (await door.ask("GET", "/v1/wallets")).json()

    assert listed == {"wallets": [{"name": WALLET, "chain": ANVIL_CHAIN, "tier": "hot", "paths": 3}]}


@pytest.mark.parametrize("label", ["", "a" * 129, "a\nb", 7, None, ["ann"], "\u202eann"])
async def test_a_label_is_a_short_visible_text(door: HttpDoor, label: Any) -> None:
    assert (await give(door, label))["code"] == "malformed"
    assert (await door.ask("GET", PLACE)).json()["addresses"] == []


async def test_an_address_that_the_policy_takes_away_is_not_given_again(door: HttpDoor) -> None:
    one, other = await give(door, "ann"), await give(door, "ben")
    await without_path(door, one["path"])

    again = await give(door, "ann")
    listed = (await door.ask("GET", PLACE)).json()["addresses"]

    assert (again["code"], one["address"] in again["detail"]) == ("label-taken", True)
    assert [(each["address"], each["in_policy"]) for each in listed] == [
        (one["address"], False),
        (other["address"], True),
    ]


async def without_path(door: HttpDoor, path: str) -> None:
    """Have the administrator take a path from the wallet."""
    state = door.running.parts.sequencer.state
    policy: Any = policy_document()
    policy["wallets"][WALLET]["paths"].remove(path)
    body: Json = {"origin": ORIGIN, "policy": policy, "previous": state.policy_hash.hex()}
    signed = signature_list({"admin": identity("admin").sign(statement("policy", body))})
    change = Signed("policy", canonical(body), canonical({"signatures": signed}))
    await door.running.service.enact("admin", change)
    await until(lambda: len(door.running.parts.sequencer.state.policy.wallets[WALLET].paths) == 2)


async def test_an_unknown_wallet_has_no_addresses(door: HttpDoor) -> None:
    place = "/v1/wallets/cold/addresses"
    answers = [await door.ask("POST", place, {"label": "ann"}), await door.ask("GET", place)]

    assert [answer.json()["code"] for answer in answers] == ["unknown-wallet"] * 2
