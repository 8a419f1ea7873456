"""What custodians lost money by, played against the real fold and the nodes' own gate.

Each docstring names the control that stops it; docs/incidents.md has them in one table.
"""

import shutil
from functools import partial
from pathlib import Path

import pytest

from cli.places import shared_places
from policy.approval import approval_digest
from policy.document import parse_policy
from policy.encoding import canonical
from policy.errors import MalformedError
from policy.intent import request_id
from policy.state import Outcome as FoldOutcome
from signer_nodes.node_log import RolledBack
from tests.incidents.scene import ALLOWED, COLD_PATH, Scene, cold_wallet
from tests.simulation.cluster import Coordinator, attempt, refusal
from tests.simulation.node_faults import PARTNER, Machine, dealt
from tests.simulation.node_faults import WORLD as MACHINE_WORLD
from tests.simulation.world import (
    CHAIN,
    CUSTOMER,
    DAY_MS,
    OTHER,
    STRANGER,
    TOKEN,
    Book,
    authenticator,
    limit,
    unsigned,
)
from tests.unit.test_cli_deployment import Place
from tests.unit.test_ledger_calls import ask
from tests.unit.typed_data_house import PERMITS, TYPED_DATA, permit, request_of

HOUR_MS, MINUTE_MS = 3_600_000, 60_000
ALLOW = {"outcome": "allow"}
SAFE = "0x" + "5a" * 20
EXEC_TRANSACTION, TRANSFER_OWNERSHIP = bytes.fromhex("6a761202"), bytes.fromhex("f2fde38b")
SAFE_PAUSE = {"safe": {"chain": CHAIN, "address": SAFE, "methods": {"pause": "pause()"}}}
INIT_WALLET, KILL = bytes.fromhex("e46dcfeb"), bytes.fromhex("cbf0b0c0")


def word(value: int) -> bytes:
    """A word of calldata."""
    return value.to_bytes(32, "big")


def address_word(address: str) -> bytes:
    """An address in calldata."""
    return bytes(12) + bytes.fromhex(address[2:])


def test_without_an_attack_the_payment_is_signed() -> None:
    """The counterpart of every test below: in this scene an honest payment gets its signature."""
    scene = Scene()

    assert scene.signed(scene.approved(700, "alice", "bob"), nonce=0)
    assert scene.signed(scene.book.request(50, asset="usdc"), nonce=1)


# Bytes that do something else than people see.


def test_bybit_a_delegatecall_behind_an_honest_screen_is_signed_by_nobody() -> None:
    """Control: nodes decode the bytes and sign what was asked for; what a screen says is no input."""
    scene = Scene()
    request = scene.approved(700, "alice", "bob")
    call = (
        EXEC_TRANSACTION + address_word(STRANGER) + word(0) + word(320) + word(1)
    )  # operation 1: delegatecall

    rule, partials = scene.forced(request, tx=unsigned(SAFE, 0, nonce=0, fee=10, data=call))

    assert (rule, partials) == ("undecodable", 0)
    assert "calls 0x6a761202, not transfer(address,uint256)" in scene.book.last.reason


def test_bybit_an_approval_of_the_hidden_calldata_is_no_approval() -> None:
    """Control: an approval carries the hash of the only calldata that carries out its intent."""
    scene = Scene()
    request = scene.book.request(700)
    scene.book.approve(request, "alice", nonce=0, calldata_hash=b"\x66" * 32)

    assert not scene.book.last.accepted
    assert "calldata hash is not what the intent encodes to" in scene.book.last.reason


def test_wazirx_approvals_of_failed_transactions_serve_nothing_else() -> None:
    """Control: a passkey signs one request, slot and policy with a one-time id; none is moved or reused."""
    scene = Scene(limits=[])
    failed = scene.approved(700, "alice", "bob", nonce=0)
    harvested = [entry for entry in scene.book.entries if b'"kind":"approval"' in entry]
    job = scene.reserve(failed, nonce=0)
    scene.book.sign(job)
    scene.book.settle(job, success=False)
    attack = scene.book.request(701, to=OTHER)

    replayed = [scene.book.append(entry).reason for entry in harvested]
    moved = [_moved(scene.book, failed, attack, operator).reason for operator in ("alice", "bob")]
    signed = scene.signed(attack, nonce=1, claim=ALLOWED)

    assert replayed == ["this approval id has been used"] * 2
    assert ["challenge" in reason for reason in moved] == [True, True], moved
    assert (scene.rule, signed) == ("large", False)
    assert "got 0" in scene.book.last.reason


def _moved(book: Book, failed: bytes, request: bytes, operator: str) -> FoldOutcome:
    """Log an approval of ``request`` with the passkey's assertion over one of ``failed``."""
    given = authenticator(operator).assert_(approval_digest(book.approval(failed, operator, nonce=0).body()))
    return book.write("approval", book.approval(request, operator, nonce=1).body(), assertion=given.body())


def test_wazirx_a_payload_that_differs_from_what_was_approved_is_signed_by_nobody() -> None:
    """Control: the bytes must move exactly the intent that the approvals carry."""
    for tx in (
        unsigned(STRANGER, 700, nonce=0, fee=10),
        unsigned(CUSTOMER, 7000, nonce=0, fee=10),
        unsigned(
            TOKEN, 0, nonce=0, fee=10, data=bytes.fromhex("a9059cbb") + address_word(CUSTOMER) + word(700)
        ),
    ):
        scene = Scene()
        assert scene.forced(scene.approved(700, "alice", "bob"), tx=tx) == ("intent-mismatch", 0)


def test_radiant_a_transfer_of_ownership_is_signed_by_nobody_whoever_approves() -> None:
    """Control: only methods that the policy lists can be asked for, so no other is approved or signed."""
    scene = Scene(contracts=SAFE_PAUSE)
    request = scene.approved(700, "alice", "bob")
    call = TRANSFER_OWNERSHIP + address_word(STRANGER)
    tx = unsigned(SAFE, 0, nonce=0, fee=10, data=call)
    behind = scene.forced(request, tx=tx)
    openly = ask(scene.book, call, to=SAFE)

    assert behind == ("undecodable", 0)
    assert scene.rule == "error" and "no method" in scene.book.last.reason
    assert openly not in scene.book.state.requests


@pytest.mark.parametrize(
    "tx",
    [
        unsigned(SAFE, 0, nonce=0, fee=10, data=INIT_WALLET + word(96) + word(1) + word(0) + word(0)),
        unsigned(SAFE, 0, nonce=0, fee=10, data=KILL + address_word(STRANGER)),
        unsigned(SAFE, 100, nonce=0, fee=10, data=KILL + address_word(STRANGER)),
        unsigned("0x", 0, nonce=0, fee=10, data=b"\x60\x80"),
        unsigned("0x", 100, nonce=0, fee=10),
    ],
    ids=["init", "kill", "kill-with-value", "create", "create-with-value"],
)
def test_parity_a_call_of_a_library_and_a_creation_are_signed_by_nobody(tx: bytes) -> None:
    """Control: what is no listed call has no calldata but an ERC-20 transfer's, and 'to' is an account."""
    scene = Scene()

    assert scene.forced(scene.book.request(100), tx=tx) == ("undecodable", 0)


def test_permit_phishing_an_unlimited_permit_is_signed_by_nobody() -> None:
    """Control: only typed data that the policy declares is signed, with its fields inside a rule's bounds."""
    scene = Scene(typed_data=TYPED_DATA, rules=[PERMITS])
    honest, drain = permit(scene.world.account()), permit(scene.world.account(), value=2**256 - 1)
    now_ms = scene.book.now_ms
    request = request_of(honest, key="honest", now_ms=now_ms)
    scene.book.log_request(request)
    behind = scene.forced(request_id(request.body()), tx=canonical(drain))
    openly = []
    for phished in (drain, permit(scene.world.account(), spender=STRANGER)):
        scene.book.log_request(request_of(phished, key="phished", now_ms=now_ms))
        openly.append((scene.rule, scene.book.last.accepted))

    assert behind == ("intent-mismatch", 0)
    assert openly == [("no-rule-matches", False)] * 2
    assert scene.signed(request_id(request.body()), nonce=0, tx=canonical(honest))


# What was agreed is altered later.


def test_dmm_a_request_altered_after_the_initiators_signature_is_void() -> None:
    """Control: the initiator's key signs the whole request, and its id is the hash of all of it."""
    scene = Scene()
    elsewhere = scene.book.fork()
    elsewhere.request(100, to=CUSTOMER)
    genuine = elsewhere.entries[-1]
    for altered in (genuine.replace(CUSTOMER.encode(), OTHER.encode()), genuine.replace(b'"100"', b'"101"')):
        scene.book.append(altered)

        assert not scene.book.last.accepted
        assert "signature does not verify under the initiator's key" in scene.book.last.reason
    assert scene.book.append(genuine).accepted


def test_dmm_bytes_altered_after_the_request_was_logged_are_signed_by_nobody() -> None:
    """Control: every node compares the bytes with the request in the log before it binds a presignature."""
    scene = Scene()
    request = scene.book.request(100)

    assert scene.forced(request, tx=unsigned(OTHER, 100, nonce=0, fee=10)) == ("intent-mismatch", 0)
    assert scene.signed(request, nonce=0)


# People and machines that should no longer count, or never did.


def test_ronin_a_leavers_approvals_are_void_and_no_new_ones_count() -> None:
    """Control: approvals are by the roster in force; a new roster voids those of whoever left."""
    scene = Scene()
    long_ms = scene.book.now_ms + 3 * DAY_MS
    request = scene.approved(700, "alice", "bob", initiator="backend", expires_ms=long_ms)
    roster = scene.world.roster()
    staying = [one for one in _members(roster["operators"]) if one["name"] != "bob"]
    scene.book.change("roster", scene.world.roster(operators=staying))
    scene.coordinator.send()  # every cosigner has it for its delay
    scene.advance(DAY_MS)
    scene.book.approve(request, "bob", nonce=0)
    refused = scene.book.last.reason
    signed = scene.signed(request, nonce=0, claim=ALLOWED)

    assert refused == "the roster has no operator bob"
    assert [record.operator for record in scene.book.state.requests[request].approvals] == ["alice"]
    assert (scene.rule, signed) == ("large", False)


def test_ronin_a_removed_initiator_is_paid_nothing_that_it_asked_for_before() -> None:
    """Control: the initiator is looked up again in the roster in force at every reservation."""
    scene = Scene()
    request = scene.book.request(100, initiator="backend", expires_ms=scene.book.now_ms + 3 * DAY_MS)
    roster = scene.world.roster()
    staying = [one for one in _members(roster["initiators"]) if one["name"] != "backend"]
    scene.book.change("roster", scene.world.roster(initiators=staying))
    scene.coordinator.send()  # every cosigner has it for its delay
    scene.advance(DAY_MS)
    signed = scene.signed(request, nonce=0, claim=ALLOWED)

    assert (scene.rule, signed) == ("initiator-unknown", False)


def _members(listed: object) -> list[dict[str, object]]:
    assert isinstance(listed, list)
    return listed


@pytest.mark.parametrize("amount", [10, 100])
def test_harmony_fourteen_fast_drains_end_at_the_rolling_limits(amount: int) -> None:
    """Control: limits of amounts and of counts over a rolling window, counted at the reservation."""
    few = {"name": "few", "count_max": 5, "window_ms": DAY_MS, "per": []}
    scene = Scene(limits=[limit("daily", "eth", 420), few])
    drains = [scene.book.request(amount, fee_ceiling=10) for _ in range(14)]  # all before any is reserved
    signed = []
    for nonce, request in enumerate(drains):
        signed.append(scene.signed(request, nonce=nonce, fee=5, claim=ALLOWED))
        scene.advance(MINUTE_MS)

    assert all(request in scene.book.state.requests for request in drains)
    assert sum(signed) == (5 if amount == 10 else 4)
    assert signed == sorted(signed, reverse=True)
    assert scene.rule == ("few" if amount == 10 else "daily")


def test_multichain_nodes_on_one_machine_are_called_out_before_anything_is_signed(tmp_path: Path) -> None:
    """Control: the genesis draft says which host could sign alone; whose the hosts are, people must see."""
    place = Place(tmp_path)
    place.enroll_all()  # every node at 127.0.0.1
    warnings = place.draft()["warnings"]

    assert "node-a, node-b, node-c are all on 127.0.0.1: whoever has that machine can sign" in warnings[0]
    assert "more than f = 1 cosigners, and no limit holds" in warnings[-1]


def test_multichain_nodes_apart_are_not_called_out() -> None:
    """Control: as above; a host that alone has neither min_signers nor more than f is no fault."""
    scene = Scene()
    policy, roster = scene.book.state.policy, scene.book.state.roster
    apart = {name: f"10.0.0.{at}:7700" for at, name in enumerate(roster.cosigners)}
    together = apart | {"node-2": "10.0.0.9:7700", "node-3": "10.0.0.9:7701"}

    assert shared_places(apart, policy=policy, roster=roster) == ()
    assert [line.split(":")[0] for line in shared_places(together, policy=policy, roster=roster)] == [
        "node-2, node-3 are all on 10.0.0.9"
    ] * 2


# An account above the rules.


@pytest.mark.parametrize("who", ["ada", "alice", "oskar", "node-1", "coordinator", "root"])
def test_ftx_no_identity_is_above_the_policy(who: str) -> None:
    """Control: only the roster's initiators ask, all are judged alike, and nobody else makes a job."""
    scene = Scene()
    asked = scene.book.asked(100, initiator=who)
    scene.book.log_request(asked, claim=ALLOWED)
    request = request_id(asked.body())

    assert (scene.rule, scene.book.last.accepted) == ("initiator-unknown", False)
    scene.book.log_reservation(
        scene.book.reservation(request, tx=unsigned(CUSTOMER, 100, nonce=0, fee=10)), claim=ALLOWED
    )
    assert (scene.rule, len(scene.book.state.jobs)) == ("request-unknown", 0)


def test_ftx_no_initiator_is_exempt_from_a_limit() -> None:
    """Control: a limit is a number for everybody it names; there is no negative one and no exception."""
    scene = Scene()
    paid = scene.signed(scene.book.request(580, initiator="backend"), nonce=0)
    for who in ("backend", "desk"):
        scene.book.request(420, initiator=who, fee_ceiling=10)

        assert scene.rule == "daily"
    assert paid
    for exempt in ({"except": ["backend"]}, {"allow_negative": True}):
        with pytest.raises(MalformedError, match="unknown field"):
            parse_policy(scene.world.policy(limits=[limit("daily", "eth", 1000, **exempt)]))
    with pytest.raises(MalformedError, match="amount_max"):
        parse_policy(scene.world.policy(limits=[limit("daily", "eth", -1)]))


def test_ftx_a_tier_follows_from_the_keys_derivation_and_is_nobodys_word() -> None:
    """Control: an own account is what the key derives at a path of the policy; a request has no tier."""
    refill = {
        "name": "refill",
        "when": {"kinds": ["tier_move"], "destination_tiers": ["cold"]},
        "then": ALLOW,
    }
    scene = Scene(rules=[refill], wallets=cold_wallet())
    genuine = scene.world.account(COLD_PATH)

    assert scene.signed(scene.book.request(100, to=genuine), nonce=0)
    scene.book.request(100, to=STRANGER)
    assert scene.rule == "no-rule-matches"
    scene.book.request(100, to=scene.world.account("m/1/1"))  # of the key, but no account of the policy
    assert scene.rule == "no-rule-matches"


def test_ftx_one_account_in_two_tiers_is_no_policy() -> None:
    """Control: a policy in which an account has two wallets, to choose the laxer from, is refused."""
    scene = Scene()
    wallets = cold_wallet()
    twice = wallets | {"cold": {**_fields(wallets["cold"]), "paths": ["m/0/1"]}}

    with pytest.raises(MalformedError, match="already at"):
        parse_policy(scene.world.policy(wallets=twice))


def _fields(document: object) -> dict[str, object]:
    assert isinstance(document, dict)
    return document


# Disks, logs and prices.


async def test_a_restored_old_disk_signs_nothing(tmp_path: Path) -> None:
    """Control: the token remembers the disk's head and marks, so that an older disk does not start."""
    machine = Machine(tmp_path / "node", Book(MACHINE_WORLD))
    await machine.send(machine.book)
    machine.down()
    shutil.copytree(machine.folder, tmp_path / "yesterday")
    number = machine.dealt + 1
    await machine.up()
    machine.pair()
    presignature = dealt(number)[PARTNER].presign_id.hex()
    job = machine.book.reserve(machine.book.request(7), nonce=0, presignatures=[presignature])
    note = await machine.send(machine.book)
    signed = await machine.finish(note, job, number=number)
    machine.down()
    shutil.rmtree(machine.folder)
    shutil.copytree(tmp_path / "yesterday", machine.folder)

    assert signed is not None
    with pytest.raises(RolledBack, match="enrol this machine as a new node"):
        await machine.up()
    machine.down()


def test_of_a_forked_log_one_branch_at_most_is_signed() -> None:
    """Control: each of c cosigners extends one head, 2w > c + f, and a partial needs w cosignatures."""
    scene = Scene()
    other = Coordinator(scene.book.fork(), scene.nodes)
    first = scene.coordinator.pay(600, nonce=0, presignature=scene.presignatures.pop())
    second = other.pay(590, nonce=1, presignature=scene.presignatures.pop())
    left = scene.coordinator.send("node-1", "node-3", "witness-1")
    right = other.send("node-2")

    assert refusal(scene.nodes["node-2"].finish, right, second) == "quorum"
    assert [attempt(partial(other.send, name)) for name in ("node-1", "node-3", "witness-1")] == [False] * 3
    assert attempt(partial(scene.nodes["node-1"].finish, left, first))
    assert not attempt(partial(scene.nodes["node-1"].finish, left, second))


PRICED = {"unit": "usd", "decimals": 2, "max_age_ms": HOUR_MS}
ETHER = 10**18


def _priced() -> Scene:
    """At most 1,000.00 dollars a day, and nothing else in the way."""
    worth = {"name": "worth", "value_max": "100000", "window_ms": DAY_MS, "per": []}
    everything = [{"name": "all", "when": {}, "then": ALLOW}]
    return Scene(rules=everything, limits=[worth], prices=PRICED)


def test_a_price_that_falls_for_a_moment_opens_no_limit() -> None:
    """Control: the highest price of the age allowed counts, and f + 1 observers must have signed it."""
    scene = _priced()
    assert scene.book.price(300_000).accepted
    scene.advance(MINUTE_MS)
    alone = scene.book.price(1, by=["oskar"]).accepted
    crashed = scene.book.price(1).accepted
    scene.book.request(ETHER)
    spiked, reason = scene.rule, scene.book.last.reason
    scene.book.request(ETHER // 4)

    assert (alone, crashed) == (False, True)
    assert spiked == "worth" and "300001 asked is above 100000 usd" in reason
    assert scene.rule == "all"


def test_a_price_too_old_denies() -> None:
    """Control: a price counts for the age that the policy allows; without one the answer is no."""
    scene = _priced()
    scene.book.price(300_000)
    scene.advance(HOUR_MS)
    scene.book.request(ETHER // 4)

    assert scene.rule == "worth"
    assert "no price of eth or of the fee is new enough" in scene.book.last.reason
