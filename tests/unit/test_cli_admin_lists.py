"""Addresses of a list, and rosters that have a name: drafted, signed, handed in, and in effect."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cli.admin.change_file import read_change
from cli.identities import CARD, parse_person_card
from cli.main import invoke
from cli.results import Misuse
from custody.adapters.api_server import CustodyServicer, ServerTls, start_server
from custody.adapters.identity import boot_credentials
from custody.address_lists import SHOWN_MAX, lists_shown
from custody.api.errors import CallRefused
from policy.address_book import with_book
from policy.document import parse_policy
from policy.errors import OperationalError
from policy.state import State
from tests.unit.custody_cluster import PAYEE, identity, make_request, policy_document, roster_document
from tests.unit.custody_house import Clock, House
from tests.unit.test_cli_admin_drafts import DELAY_MS, Desk
from tests.unit.test_custody_enacting import ADMINISTRATORS
from tests.waiting import until

COOL_DOWN_MS = 600_000
ACME = "0x8ba1f109551bD432803012645Ac136ddd64DBA72"


def listed() -> Any:
    """The policy of the house, under which only customers are paid."""
    document: Any = policy_document()
    document["lists"] = {"customers": {"addresses": [], "quorum": 2, "cool_down_ms": COOL_DOWN_MS}}
    document["forbids"] = [{"name": "strangers", "when": {"not_destinations": ["customers"]}}]
    return document


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    roster = roster_document(administrators=ADMINISTRATORS, policy_delay_ms=DELAY_MS)
    house = House(tmp_path, policy=listed(), roster=roster)
    house.now_ms = clock = Clock()
    mine = boot_credentials("coordinator", identity("coordinator"))
    async with house.running() as running:
        servicer = CustodyServicer(running.service, running.parts)
        tls = ServerTls(mine.certificate_pem, mine.key_pem)
        server, port = await start_server(servicer, "127.0.0.1:0", tls=tls)
        yield Desk(tmp_path, running, clock).opened(port)
        await server.stop(0)


def state_of(desk: Desk) -> State:
    return desk.running.parts.sequencer.state


async def enacted(desk: Desk, path: Path, *, after_ms: int = 0) -> dict[str, Any]:
    """A draft signed by two and handed in; then the time passes, if it has to."""
    desk.sign(path, "admin", "second")
    outcome: dict[str, Any] = (await desk.run("submit", str(path))).document
    if after_ms:
        await passed(desk, after_ms)
    return outcome


async def passed(desk: Desk, milliseconds: int) -> None:
    """The log reaches a later time, and what waited is in effect; then calls are in time again."""
    desk.clock.ahead_ms = milliseconds
    await until(lambda: not state_of(desk).pending)
    desk.clock.ahead_ms = 0


def said_of(path: Path) -> str:
    """What a change says of itself."""
    return "\n".join(map(str, invoke("admin", "show", str(path)).text))


async def status_lines(desk: Desk) -> str:
    more = ("--as", str(desk.folder / "admin"), "--client", str(desk.folder / "client.json"))
    result = await asyncio.to_thread(invoke, "status", *more)
    return "\n".join(map(str, result.text))


# Addresses.


async def test_an_address_is_drafted_signed_and_in_effect_when_its_cool_down_is_over(
    desk: Desk,
) -> None:
    given = ("address", "--list", "customers", "--add", ACME, "--label", "Acme Ltd")
    path = desk.folder / "address-change.json"
    drafted = "\n".join(map(str, (await desk.run("draft", *given, "--out", str(path))).text))
    shown = said_of(path)
    outcome = await enacted(desk, path)
    again = (await desk.run("submit", str(path))).document
    waiting = await status_lines(desk)
    (pending,) = state_of(desk).pending
    await passed(desk, COOL_DOWN_MS)
    done = (await desk.run("submit", str(path))).document
    in_effect = await status_lines(desk)

    assert "It waits the cool-down." in drafted
    assert f"{ACME}, of 'Acme Ltd', is put on the list customers." in shown
    assert outcome["subject"] == pending.document_hash.hex() == read_change(path).fingerprint
    assert outcome["effective_ms"] == pending.effective_ms == again["effective_ms"]
    assert [outcome["was_done"], again["was_done"], done["was_done"]] == [False, True, True]
    assert f"add {ACME.lower()} (Acme Ltd) to customers" in waiting
    assert "list customers: 0 addresses" in waiting
    assert "list customers: 1 addresses, 1 added and 0 removed" in in_effect
    assert f"+ {ACME} Acme Ltd" in in_effect
    assert state_of(desk).policy.lists["customers"] == {ACME.lower()}


async def test_one_command_vetoes_an_address_and_anybody_can_read_it_before(desk: Desk) -> None:
    path = await desk.draft("address", "--list", "customers", "--add", ACME, "--label", "Acme Ltd")
    pending = str((await enacted(desk, path))["subject"])
    out = desk.folder / "pending.json"
    fetched = (await desk.run("fetch", pending[:8], "--out", str(out))).document
    await desk.run("veto", pending[:8], "--reason", "not a customer")

    assert fetched["hash"] == pending
    assert json.loads(out.read_text())["address"] == ACME.lower()
    assert not state_of(desk).pending
    with pytest.raises(CallRefused, match="taken in before"):
        await desk.run("submit", str(path))


async def test_an_address_is_taken_off_at_once(desk: Desk) -> None:
    added = await desk.draft("address", "--list", "customers", "--add", PAYEE, "--label", "Acme Ltd")
    await enacted(desk, added, after_ms=COOL_DOWN_MS)
    path = await desk.draft("address", "--list", "customers", "--remove", PAYEE, name="off.json")
    outcome = await enacted(desk, path)

    assert outcome["effective_ms"] == 0
    assert state_of(desk).policy.lists["customers"] == frozenset()
    assert "0 added and 1 removed" in await status_lines(desk)


async def test_a_list_needs_its_own_number_of_administrators(desk: Desk) -> None:
    path = await desk.draft("address", "--list", "customers", "--add", ACME, "--label", "Acme Ltd")
    desk.sign(path, "admin")

    with pytest.raises(CallRefused, match="list customers needs 2 administrators, got 1: nothing was logged"):
        await desk.run("submit", str(path))
    with pytest.raises(Misuse, match="needs no new files"):
        await desk.run("hand-out", str(path), "--dir", str(desk.folder))


NO_CHANGES: list[tuple[tuple[str, ...], type[Exception], str]] = [
    (("--list", "customers"), Misuse, "say what changes"),
    (("--list", "customers", "--add", ACME, "--remove", ACME), Misuse, "say what changes"),
    (("--list", "customers", "--add", ACME), Misuse, "say whose address"),
    (("--list", "customers", "--remove", ACME, "--label", "x"), Misuse, "say whose address"),
    (("--list", "suppliers", "--add", ACME, "--label", "x"), OperationalError, "it has: customers"),
    (("--list", "customers", "--add", "nonsense", "--label", "x"), OperationalError, "no node would"),
    (("--list", "customers", "--add", ACME.swapcase(), "--label", "x"), OperationalError, "no node would"),
    (
        ("--list", "customers", "--add", ACME.replace("bD", "Bd"), "--label", "x"),
        OperationalError,
        "checksum",
    ),
    (("--list", "customers", "--add", ACME, "--label", "a" * 101), OperationalError, "no node would"),
]


async def test_what_makes_no_change_of_a_list_is_not_drafted(desk: Desk) -> None:
    for given, error, why in NO_CHANGES:
        with pytest.raises(error, match=why):
            await desk.draft("address", *given)
    assert not list(desk.folder.glob("address-change.json"))


def test_status_shows_so_many_addresses_of_a_list_and_says_how_many_there_are() -> None:
    book = {("customers", f"0x{number:040x}"): "one" for number in range(SHOWN_MAX + 5)}
    policy = with_book(parse_policy(listed()), book)
    (shown,) = lists_shown(State(policy_or_none=policy, book=State().book.update(book)))
    assert isinstance(shown, dict) and isinstance(shown["added"], list)

    assert (len(shown["added"]), shown["added_count"], shown["addresses"]) == (SHOWN_MAX, 25, 25)


# People.


def carded(desk: Desk, kind: str, name: str) -> tuple[str, str, bytes]:
    """A new identity's card, the fingerprint that its owner says, and its key."""
    folder = desk.folder / f"new-{name}"
    made = invoke("identity", "create", kind, name, "--dir", str(folder)).document
    key = parse_person_card((folder / CARD).read_bytes()).key
    return str(folder / CARD), str(made["fingerprint"]), key


async def test_an_operator_leaves_by_one_draft(desk: Desk) -> None:
    path = await desk.draft("remove-operator", "olga")
    said = said_of(path)
    await enacted(desk, path, after_ms=DELAY_MS)
    roster = state_of(desk).roster

    assert "olga leaves: what olga approved and is not signed by then is void." in said
    assert "olga" not in roster.operators
    assert roster.initiators["shop"].people == frozenset()


async def test_an_operator_who_is_needed_does_not_leave(desk: Desk) -> None:
    await enacted(desk, await desk.draft("remove-operator", "olga"), after_ms=DELAY_MS)

    with pytest.raises(OperationalError, match="needs 1 of group desk, which has 0 members"):
        await desk.draft("remove-operator", "otto", name="second.json")
    with pytest.raises(OperationalError, match="'shop' is none of the roster's operators"):
        await desk.draft("remove-operator", "shop", name="third.json")


async def test_a_lost_passkey_is_replaced_by_the_card_whose_fingerprint_was_told(desk: Desk) -> None:
    before = state_of(desk).roster.operators["otto"]
    card, told, key = carded(desk, "operator", "otto")
    path = await desk.draft("replace-passkey", "otto", "--card", card, "--fingerprint", told)
    said = said_of(path)
    await enacted(desk, path, after_ms=DELAY_MS)
    after = state_of(desk).roster.operators["otto"]

    assert "otto has another passkey: approvals given with the old one are void." in said
    assert after.credential != before.credential and after.groups == before.groups
    assert after.key == key


async def test_a_backends_key_is_rotated_and_only_the_new_one_asks(desk: Desk) -> None:
    card, told, key = carded(desk, "backend", "shop")
    path = await desk.draft("rotate-backend", "shop", "--card", card, "--fingerprint", told)
    said = said_of(path)
    await enacted(desk, path, after_ms=DELAY_MS)
    _, body, old = make_request("after", amount=5, now_ms=desk.clock())
    with pytest.raises(CallRefused, match="does not verify under the initiator's key"):
        await desk.running.service.submit(body, old)

    assert "shop has another key: requests in the log stay, new ones need the new key." in said
    assert state_of(desk).roster.initiators["shop"].people == {"olga"}
    assert state_of(desk).roster.initiators["shop"].key == key


async def test_a_key_of_one_who_left_is_refused_under_another_name(desk: Desk) -> None:
    old: Any = desk.running.parts.sequencer.state.roster_document
    hers = next(one for one in old["operators"] if one["name"] == "olga")
    await enacted(desk, await desk.draft("remove-operator", "olga"), after_ms=DELAY_MS)
    new: Any = json.loads(json.dumps(state_of(desk).roster_document))
    new["operators"].append({**hers, "name": "ottilie"})
    (desk.folder / "roster.json").write_text(json.dumps(new))
    path = await desk.draft("roster", "--document", str(desk.folder / "roster.json"))
    desk.sign(path, "admin", "second")

    with pytest.raises(CallRefused, match="of ottilie was olga's: ottilie needs a key of its own"):
        await desk.run("submit", str(path))


async def test_a_card_of_another_person_or_with_another_fingerprint_changes_nothing(desk: Desk) -> None:
    card, told, _ = carded(desk, "operator", "otto")
    for name, command, fingerprint, error, why in (
        ("otto", "replace-passkey", "00" * 32, OperationalError, "not the one you were told"),
        ("olga", "replace-passkey", told, Misuse, "is the card of the operator otto"),
        ("otto", "rotate-backend", told, Misuse, "not of the backend otto"),
    ):
        with pytest.raises(error, match=why):
            await desk.draft(command, name, "--card", card, "--fingerprint", fingerprint)
    backend, said, _ = carded(desk, "backend", "store")
    with pytest.raises(OperationalError, match="'store' is none of the roster's initiators"):
        await desk.draft("rotate-backend", "store", "--card", backend, "--fingerprint", said)
    assert not list(desk.folder.glob("*-change.json"))
