"""Deposits at the coordinator: gathered from observers, logged once, told to whom the address was given."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from custody.api.errors import CallRefused, Code
from custody.client import AsyncHttpClient, HttpEndpoint, verify_deposit
from custody.enacting import Signed
from custody.gathering import EACH_MAX, Gathering
from custody.observing.desk import ObserverDesk
from custody.observing.stating import Contradicted
from custody.webhooks import Hooks, Webhook
from policy.encoding import Json, canonical, statement
from policy.entries import signature_list
from policy.errors import InvalidSignatureError, MalformedError
from policy.roster import parse_roster
from tests.unit.custody_certificates import identity_certificate
from tests.unit.custody_cluster import ANVIL_CHAIN, ETHER, ORIGIN, WALLET, identity, public, roster_document
from tests.unit.custody_cluster import make_request as made
from tests.unit.custody_house import House, Running
from tests.unit.http_house import HttpDoor, http_opened
from tests.unit.test_custody_api import opened
from tests.unit.test_http_addresses import give
from tests.unit.test_webhooks import Receiver, receiving
from tests.waiting import until

PLACE = f"/v1/wallets/{WALLET}/deposits"
OBSERVERS = ("eve", "ivan", "mallory")
ROSTER = roster_document(observers=[{"name": one, "key": public(one).hex()} for one in OBSERVERS])


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[HttpDoor]:
    async with http_opened(House(tmp_path, roster=ROSTER)) as found:
        yield found


def deposit(address: str, **changed: Json) -> dict[str, Json]:
    return {
        "origin": ORIGIN,
        "fact": "confirmed",
        "chain": ANVIL_CHAIN,
        "tx": "ab" * 32,
        "index": 0,
        "wallet": WALLET,
        "address": address,
        "asset": "eth",
        "amount": str(ETHER),
        "block": 7,
        "turn": 0,
        **changed,
    }


async def state(running: Running, kind: str, body: dict[str, Json], by: str, **changed: Any) -> Any:
    """One observer hands in its word."""
    signature = identity(changed.get("key", by)).sign(statement(kind, body))
    proof: Json = {"signatures": signature_list({by: signature})}
    return json.loads(await running.service.enact(by, Signed(kind, canonical(body), canonical(proof))))


async def test_a_deposit_is_logged_when_f_plus_one_observers_have_said_the_same(door: HttpDoor) -> None:
    body = deposit((await give(door, "ann"))["address"])
    size = door.running.parts.sequencer.state.size

    first = await state(door.running, "deposit", body, "eve")
    again = await state(door.running, "deposit", body, "eve")
    assert first["left"] == again["left"] == {"observers": 1}
    assert door.running.parts.sequencer.state.size == size

    second = await state(door.running, "deposit", body, "ivan")
    late = await state(door.running, "deposit", body, "mallory")
    assert not second["left"] and not second["was_done"]
    assert late["was_done"] and late["subject"] == second["subject"]
    assert door.running.parts.sequencer.state.size == size + 1


async def test_who_states_otherwise_what_the_log_has_is_told_so_and_people_see_it(
    door: HttpDoor, caplog: pytest.LogCaptureFixture
) -> None:
    body = deposit((await give(door, "ann"))["address"])
    for name in OBSERVERS[:2]:
        await state(door.running, "deposit", body, name)
    size, shown = door.running.parts.sequencer.state.size, (await door.ask("GET", PLACE)).json()

    otherwise = {**body, "amount": str(2 * ETHER)}
    codes = []
    for key in ("mallory", "eve"):
        with pytest.raises(CallRefused, match="mallory" if key == "eve" else "something else") as refused:
            await state(door.running, "deposit", otherwise, "mallory", key=key)
        codes.append(refused.value.code)

    assert codes == ["statement-differs", "bad-signature"]
    warned = [one.getMessage() for one in caplog.records if "what others do not" in one.getMessage()]
    assert len(warned) == 1 and warned[0].startswith("mallory") and str(2 * ETHER) in warned[0]
    counted = door.running.parts.metrics.contradictions.labels(observer="mallory")
    assert counted._value.get() == 1
    assert door.running.parts.sequencer.state.size == size
    assert (await door.ask("GET", PLACE)).json() == shown


async def test_an_observers_program_knows_that_it_was_contradicted(tmp_path: Path) -> None:
    async with opened(House(tmp_path, roster=ROSTER)) as grpc:
        given = await grpc.ask("shop", lambda client: client.give_address(WALLET, "ann"))
        body = deposit(given.address)

        async def stated(by: str, said: dict[str, Json]) -> bool:
            mine = {by: identity(by).sign(statement("deposit", said))}
            return await grpc.ask(
                by, lambda client: ObserverDesk(client).state("deposit", said, signatures=mine)
            )

        assert [await stated(name, body) for name in OBSERVERS] == [False, True, True]
        with pytest.raises(Contradicted, match="pays something else by the log"):
            await stated("mallory", {**body, "amount": str(2 * ETHER)})


async def test_what_the_log_had_before_it_had_something_else_contradicts_nothing(door: HttpDoor) -> None:
    body = deposit((await give(door, "ann"))["address"])
    gone, anew = {**body, "turn": 1, "fact": "gone"}, {**body, "turn": 2, "amount": str(2 * ETHER)}
    for stated in (body, gone, anew):
        for name in OBSERVERS[:2]:
            await state(door.running, "deposit", stated, name)

    for stated in (body, gone):
        assert (await state(door.running, "deposit", stated, "mallory"))["was_done"]
    with pytest.raises(CallRefused, match="statement-differs"):
        await state(door.running, "deposit", {**body, "turn": 2}, "mallory")


async def test_a_deposit_for_another_log_is_refused_whether_ours_has_it_or_not(door: HttpDoor) -> None:
    body = deposit((await give(door, "ann"))["address"])
    foreign = {**body, "origin": "log.example.com/other"}
    codes = []
    for known in (False, True):
        for name in OBSERVERS[: 2 * known]:
            await state(door.running, "deposit", body, name)
        with pytest.raises(CallRefused, match=r"log\.example\.com/other") as refused:
            await state(door.running, "deposit", foreign, "eve")
        codes.append(refused.value.code)

    assert codes == ["foreign-origin"] * 2


async def test_whom_the_address_was_given_is_told_and_nobody_else(door: HttpDoor) -> None:
    body = deposit((await give(door, "ann"))["address"])
    for name in OBSERVERS[:2]:
        await state(door.running, "deposit", body, name)

    told = (await door.ask("GET", "/v1/events")).json()["events"]
    shown = (await door.ask("GET", PLACE)).json()["deposits"]
    assert [(one["event"], one["deposit"]) for one in told] == [("deposit.confirmed", shown[0])]
    assert (shown[0]["label"], shown[0]["amount"], shown[0]["gone"]) == ("ann", str(ETHER), False)
    assert (await door.ask("GET", "/v1/events", name="desk")).json()["events"] == []
    assert (await door.ask("GET", PLACE, name="desk")).json()["deposits"] == []
    assert (await door.ask("GET", PLACE, name="otto")).json()["deposits"] == shown


async def test_a_deposit_that_is_gone_is_told_and_shown_as_gone(door: HttpDoor) -> None:
    body = deposit((await give(door, "ann"))["address"])
    for turn, fact in enumerate(("confirmed", "gone")):
        for name in OBSERVERS[:2]:
            await state(door.running, "deposit", {**body, "turn": turn, "fact": fact}, name)

    told = (await door.ask("GET", "/v1/events")).json()["events"]
    assert [one["event"] for one in told] == ["deposit.confirmed", "deposit.gone"]
    (shown,) = (await door.ask("GET", PLACE)).json()["deposits"]
    assert shown["gone"]


async def test_what_a_transaction_pays_less_of_in_another_block_is_told_and_shown_so(door: HttpDoor) -> None:
    body = deposit((await give(door, "ann"))["address"])
    turns: list[dict[str, Json]] = [
        {},
        {"turn": 1, "fact": "gone"},
        {"turn": 2, "amount": str(ETHER // 2), "block": 9},
    ]
    for changed in turns:
        for name in OBSERVERS[:2]:
            await state(door.running, "deposit", {**body, **changed}, name)

    told = (await door.ask("GET", "/v1/events")).json()["events"]
    (shown,) = (await door.ask("GET", PLACE)).json()["deposits"]
    assert (shown["amount"], shown["block"], shown["gone"]) == (str(ETHER // 2), 9, False)
    assert told[-1]["deposit"] == shown
    keys = {name: public(name) for name in OBSERVERS}
    assert verify_deposit(shown, origin=ORIGIN, observers=keys, needed=2) == {"eve", "ivan"}


async def test_a_deposit_at_an_address_that_nobody_was_given_is_shown_to_people(door: HttpDoor) -> None:
    address = door.running.service.address(WALLET, "")[0].address
    for name in OBSERVERS[:2]:
        await state(door.running, "deposit", deposit(address), name)

    (shown,) = (await door.ask("GET", PLACE, name="olga")).json()["deposits"]
    assert (shown["address"], shown["label"]) == (address, "")
    assert (await door.ask("GET", PLACE)).json()["deposits"] == []


async def test_the_backends_webhook_is_told(tmp_path: Path, receiver: Receiver) -> None:
    house = House(tmp_path, roster=ROSTER)
    house.hooks = Hooks({"orders": Webhook("orders", "shop", receiver.url)}, identity("webhooks"))
    async with http_opened(house) as door:
        body = deposit((await give(door, "ann"))["address"])
        await door.running.parts.feeds.queue_deliveries(
            "orders", "shop", now_ms=1
        )  # it begins with what comes
        for turn, fact in enumerate(("confirmed", "gone")):
            for name in OBSERVERS[:2]:
                await state(door.running, "deposit", {**body, "turn": turn, "fact": fact}, name)
        await until(lambda: len(receiver.told) == 2)

    assert [one["event"] for one in receiver.told] == ["deposit.confirmed", "deposit.gone"]


async def test_a_client_over_http_is_told_of_deposits_among_requests(door: HttpDoor) -> None:
    body = deposit((await give(door, "ann"))["address"])
    for name in OBSERVERS[:2]:
        await state(door.running, "deposit", body, name)
    certificate = identity_certificate(identity("coordinator"))
    endpoint = HttpEndpoint(door.url.removeprefix("https://"), certificate, ORIGIN)

    async with AsyncHttpClient(endpoint, "shop", key=identity("shop")) as client:
        (event,), _ = await client.events()
        (shown,) = await client.deposits(WALLET)
    assert (event.request, event.state, event.document["deposit"]) == ("", "", shown)


async def test_a_backend_checks_a_deposit_by_the_observers_and_not_by_the_coordinators_word(
    door: HttpDoor,
) -> None:
    body = deposit((await give(door, "ann"))["address"])
    for name in OBSERVERS[:2]:
        await state(door.running, "deposit", body, name)
    (shown,) = (await door.ask("GET", PLACE)).json()["deposits"]
    keys = {name: public(name) for name in OBSERVERS}

    assert verify_deposit(shown, origin=ORIGIN, observers=keys, needed=2) == set(OBSERVERS[:2])
    for changed in ({"amount": str(10 * ETHER)}, {"gone": True}, {"address": "0x" + "11" * 20}, {"block": 8}):
        with pytest.raises(MalformedError):
            verify_deposit({**shown, **changed}, origin=ORIGIN, observers=keys, needed=2)
    with pytest.raises(MalformedError):
        verify_deposit(shown, origin="log.example.com/other", observers=keys, needed=2)
    for observers, needed in ((keys, 3), ({"eve": public("eve")}, 2), ({**keys, "eve": public("shop")}, 2)):
        with pytest.raises(InvalidSignatureError):
            verify_deposit(shown, origin=ORIGIN, observers=observers, needed=needed)
    with pytest.raises(MalformedError):
        verify_deposit({**shown, "statement": ""}, origin=ORIGIN, observers=keys, needed=2)


async def test_deposits_are_listed_page_by_page(door: HttpDoor) -> None:
    address = (await give(door, "ann"))["address"]
    for index in range(3):
        for name in OBSERVERS[:2]:
            await state(door.running, "deposit", deposit(address, index=index), name)

    first = (await door.ask("GET", f"{PLACE}?limit=2")).json()["deposits"]
    rest = (await door.ask("GET", f"{PLACE}?after={first[-1]['id']}")).json()["deposits"]
    assert [one["index"] for one in (*first, *rest)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("by", "changed", "code"),
    [
        ("eve", {"key": "mallory"}, Code.BAD_SIGNATURE),
        ("shop", {}, Code.BAD_SIGNATURE),
        ("coordinator", {"key": "log"}, Code.BAD_SIGNATURE),
    ],
)
async def test_only_signatures_of_the_rosters_observers_are_gathered(
    door: HttpDoor, by: str, changed: dict[str, str], code: Code
) -> None:
    body = deposit((await give(door, "ann"))["address"])

    with pytest.raises(CallRefused) as refused:
        await state(door.running, "deposit", body, by, **changed)
    assert refused.value.code is code


async def test_what_the_log_would_not_take_in_is_not_logged(door: HttpDoor) -> None:
    size = door.running.parts.sequencer.state.size
    body = deposit("0x" + "11" * 20)
    await state(door.running, "deposit", body, "eve")

    with pytest.raises(CallRefused, match="no account"):
        await state(door.running, "deposit", body, "ivan")
    assert door.running.parts.sequencer.state.size == size


async def test_observers_confirm_what_the_coordinator_settled(door: HttpDoor) -> None:
    running = door.running
    _, document, signature = made("one", amount=ETHER // 100, now_ms=door.house.now_ms())
    record = await running.service.submit(document, signature)
    settled = await running.until(record.request, "settled")
    body: dict[str, Json] = {
        "origin": ORIGIN,
        "fact": "settled",
        "request": record.request.hex(),
        "job": settled.job.hex(),
        "tx_hash": settled.tx_hash.hex(),
        "block": settled.block,
        "success": True,
    }

    assert (await state(running, "observation", body, "eve"))["left"]
    assert not (await state(running, "observation", body, "ivan"))["left"]
    assert (await state(running, "observation", body, "mallory"))["was_done"]
    assert running.parts.sequencer.state.requests[record.request].observed == settled.job
    assert (await running.service.get(record.request)).state == "settled"


async def test_deposits_are_the_same_in_a_database_made_anew_from_the_log(tmp_path: Path) -> None:
    house = House(tmp_path, roster=ROSTER)
    async with house.with_key() as running:
        body = deposit(running.service.address(WALLET, "")[0].address)
        for name in OBSERVERS[:2]:
            await state(running, "deposit", body, name)
        await running.cosigned()
        before = await running.service.deposits("olga", WALLET)
    house.database = f"sqlite:///{tmp_path / 'anew.db'}"

    async with house.running() as running:
        assert await running.service.deposits("olga", WALLET) == before


def test_one_who_says_much_crowds_out_nobody() -> None:
    roster, gathering = parse_roster(ROSTER), Gathering()
    body = deposit("0x" + "11" * 20)

    def said(by: str, about: dict[str, Json]) -> dict[str, bytes]:
        signature = identity(by).sign(statement("deposit", about))
        return gathering.add("deposit", about, signatures={by: signature}, roster=roster)

    said("eve", body)
    for index in range(EACH_MAX // 64):
        said("mallory", {**body, "index": index + 1})
    assert set(said("ivan", body)) == {"eve", "ivan"}


def test_a_signature_by_a_key_that_the_roster_has_no_more_counts_no_more() -> None:
    gathering, body = Gathering(), deposit("0x" + "11" * 20)
    signature = identity("eve").sign(statement("deposit", body))
    gathering.add("deposit", body, signatures={"eve": signature}, roster=parse_roster(ROSTER))
    other: list[Json] = [
        {"name": "eve", "key": public("another").hex()},
        {"name": "ivan", "key": public("ivan").hex()},
    ]

    changed = parse_roster(roster_document(observers=other))
    ivan = {"ivan": identity("ivan").sign(statement("deposit", body))}
    assert set(gathering.add("deposit", body, signatures=ivan, roster=changed)) == {"ivan"}
