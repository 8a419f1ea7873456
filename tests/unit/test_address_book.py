"""Lists that change address by address: who signs, what waits how long, and what a new policy makes of it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.document import ADDRESSES_MAX, normalise_document, parse_policy
from policy.encoding import document_hash
from policy.errors import MalformedError
from policy.governance import change_hash
from policy.ledger import fold, initial
from policy.listing import parse_listing
from policy.values import replace
from tests.simulation.world import (
    ADMINISTRATORS,
    CUSTOMER,
    DAY_MS,
    OTHER,
    SANCTIONED,
    STRANGER,
    Book,
    World,
)

WORLD = World()
HOUR_MS = 3_600_000
ANOTHER = "0x" + "77" * 20


def books(**changed: Any) -> dict[str, Any]:
    """A policy whose lists have a quorum of their own, of one and of two."""
    lists = {
        "customers": {"addresses": [CUSTOMER, OTHER, SANCTIONED], "quorum": 1, "cool_down_ms": HOUR_MS},
        "sanctioned": {"addresses": [SANCTIONED], "quorum": 2, "cool_down_ms": 2 * HOUR_MS},
        **changed.pop("lists", {}),
    }
    return WORLD.policy(lists=lists, **changed)


def started(**changed: Any) -> Book:
    book = Book(WORLD, start=False)
    book.genesis(policy=books(**changed))
    book.key()
    assert book.last.accepted, book.last.reason
    return book


@pytest.fixture
def book() -> Book:
    return started()


def later(book: Book, milliseconds: int = HOUR_MS) -> Book:
    book.advance(milliseconds)
    book.idle()
    return book


def asks(book: Book, to: str) -> str:
    """What the log says of a small payment to an address."""
    book.request(1, to=to)
    assert book.last.verdict is not None
    return book.last.verdict.rule


# What waits.


def test_an_address_is_paid_after_the_cool_down_to_the_millisecond(book: Book) -> None:
    book.list_address("add", STRANGER)
    assert book.last.accepted
    later(book, HOUR_MS - 1)
    assert asks(book, STRANGER) == "no-rule-matches"
    later(book, 1)

    assert asks(book, STRANGER) == "small"
    assert book.state.policy.labels[f"customers {STRANGER}"] == "Acme"


def test_an_address_is_taken_off_at_once(book: Book) -> None:
    book.list_address("remove", CUSTOMER)

    assert book.last.accepted
    assert not book.state.pending
    assert asks(book, CUSTOMER) == "no-rule-matches"


def test_on_a_list_that_keeps_out_it_is_the_other_way_round(book: Book) -> None:
    book.list_address("add", OTHER, list="sanctioned", by=["ada", "adam"])
    assert asks(book, OTHER) == "sanctions"
    book.list_address("remove", SANCTIONED, list="sanctioned", by=["ada", "adam"])
    later(book, 2 * HOUR_MS - 1)
    assert asks(book, SANCTIONED) == "sanctions"
    later(book, 1)

    assert asks(book, SANCTIONED) == "small"


@pytest.mark.parametrize(
    ("forbids", "then", "add_waits", "remove_waits"),
    [
        ([], {"outcome": "allow"}, True, False),
        ([{"name": "no", "when": {"not_destinations": ["customers"]}}], {"outcome": "allow"}, True, False),
        ([{"name": "no", "when": {"destinations": ["customers"]}}], {"outcome": "deny"}, False, True),
        ([{"name": "no", "when": {"destinations": ["customers"]}}], {"outcome": "allow"}, True, True),
    ],
)
def test_what_could_let_something_through_waits(
    forbids: Any, then: Any, add_waits: bool, remove_waits: bool
) -> None:
    rules = [{"name": "one", "when": {"destinations": ["customers"]}, "then": then}]
    book = started(forbids=forbids, rules=rules)
    book.list_address("add", STRANGER)
    assert bool(book.state.pending) == add_waits
    book.list_address("remove", CUSTOMER)

    assert len(book.state.pending) == add_waits + remove_waits


def test_an_address_on_a_list_that_no_rule_names_waits_all_the_same() -> None:
    book = started(lists={"spare": {"addresses": [], "quorum": 1, "cool_down_ms": HOUR_MS}})
    book.list_address("add", STRANGER, list="spare")

    assert [change.kind for change in book.state.pending] == ["address"]


# Who signs.


@pytest.mark.parametrize(
    ("name", "by", "accepted"),
    [
        ("customers", ["agnes"], True),
        ("customers", [], False),
        ("customers", ["alice"], False),
        ("customers", ["node-1"], False),
        ("customers", ["ada", "desk"], False),
        ("sanctioned", ["ada"], False),
        ("sanctioned", ["ada", "agnes"], True),
        ("sanctioned", ["ada", "node-1"], False),
    ],
)
def test_a_list_needs_so_many_administrators_as_it_says(
    book: Book, name: str, by: list[str], accepted: bool
) -> None:
    book.list_address("add", STRANGER, list=name, by=by)

    assert book.last.accepted == accepted


def test_one_administrator_can_veto_while_the_cool_down_runs(book: Book) -> None:
    change = book.list_address("add", STRANGER)
    signed = book.entries[-1]
    assert change == book.state.pending[0].document_hash
    book.order("veto", change, by=["agnes"])
    assert book.last.accepted
    book.append(signed)
    assert "taken in before" in book.last.reason
    later(book)

    assert asks(book, STRANGER) == "no-rule-matches"


def test_signatures_put_no_address_back_that_was_taken_off(book: Book) -> None:
    book.list_address("add", STRANGER)
    signed = book.entries[-1]
    later(book)
    book.list_address("remove", STRANGER)
    book.append(signed)
    assert not book.last.accepted
    assert asks(later(book), STRANGER) == "no-rule-matches"
    book.list_address("add", STRANGER)

    assert asks(later(book), STRANGER) == "small"


def test_two_changes_of_one_address_never_wait_together(book: Book) -> None:
    book.list_address("add", STRANGER)
    book.list_address("add", STRANGER, label="Acme again")

    assert "veto that first" in book.last.reason


@pytest.mark.parametrize(
    ("action", "address", "changed", "why"),
    [
        ("add", CUSTOMER, {}, "already on list"),
        ("remove", STRANGER, {}, "not on list"),
        ("add", STRANGER, {"list": "nowhere"}, "no list nowhere"),
        ("add", STRANGER, {"policy": "00" * 32}, "another policy"),
        ("add", STRANGER, {"origin": "log.example.com/other"}, "signed for"),
        ("add", STRANGER.upper(), {}, "canonical form"),
        ("add", "0x" + "AB" * 20, {}, "canonical form"),
        ("add", STRANGER, {"label": ""}, "label"),
        ("add", STRANGER, {"label": " Acme"}, "begin or end with a space"),
        ("replace", STRANGER, {"label": "Acme"}, "one of add, remove"),
        ("remove", CUSTOMER, {"label": "Acme"}, "unknown field"),
    ],
)
def test_a_change_that_means_nothing_is_inert(
    book: Book, action: str, address: str, changed: dict[str, Any], why: str
) -> None:
    before = book.state.policy
    book.list_address(action, address, **changed)

    assert not book.last.accepted
    assert why in book.last.reason
    assert book.state.policy == before


def test_a_list_without_a_quorum_of_its_own_changes_with_the_policy_alone() -> None:
    book = Book(WORLD)
    book.list_address("add", STRANGER, by=ADMINISTRATORS)

    assert "change the policy" in book.last.reason


def test_addresses_that_wait_leave_room_for_a_policy_and_are_bounded(book: Book) -> None:
    for number in range(64):
        book.list_address("add", f"0x{number:040x}")
        assert book.last.accepted
    book.list_address("add", STRANGER)
    assert "64 changes of lists are pending" in book.last.reason
    book.change("policy", books(name="second"))

    assert book.last.accepted


def test_a_list_holds_so_many_addresses_at_most() -> None:
    rows: list[Any] = [f"0x{number:040x}" for number in range(ADDRESSES_MAX)]
    policy = parse_policy(books(lists={"customers": rows}))
    assert len(policy.lists["customers"]) == ADDRESSES_MAX

    with pytest.raises(MalformedError, match="list of 0 to 10000"):
        parse_policy(books(lists={"customers": [*rows, STRANGER]}))


# The hash and the digest.


def test_the_policy_keeps_its_hash_and_approvals_stay(book: Book) -> None:
    request = book.request(700, expires_ms=book.now_ms + 9 * DAY_MS)
    for operator in ("alice", "bob"):
        book.approve(request, operator, nonce=0, expires_ms=book.now_ms + 9 * DAY_MS)
    old = book.state.policy_hash
    book.list_address("add", STRANGER)
    later(book)
    book.reserve(request)

    assert book.state.policy_hash == old == document_hash("policy", books())
    assert book.last.accepted


def test_a_payment_to_an_address_taken_off_is_not_signed_any_more(book: Book) -> None:
    request = book.request(100)
    book.list_address("remove", CUSTOMER)
    book.reserve(request)

    assert book.last.verdict is not None and book.last.verdict.rule == "no-rule-matches"


def test_a_cosigner_that_sees_another_book_has_another_digest(book: Book) -> None:
    book.list_address("add", STRANGER)
    book.advance(HOUR_MS)
    vetoed = book.fork()
    vetoed.state = replace(vetoed.state, pending=())
    for branch in (book, vetoed):
        branch.idle()

    assert book.state.book and not vetoed.state.book
    assert book.state.digest != vetoed.state.digest
    assert book.entries == vetoed.entries


def test_what_people_compare_is_what_a_veto_names(book: Book) -> None:
    change = book.list_address("add", STRANGER)

    assert change == change_hash("address", book.state.pending[0].document) == book.last.subject


# A new policy.


def test_a_new_policy_drops_what_waits_and_keeps_what_was_added(book: Book) -> None:
    book.list_address("add", STRANGER)
    later(book)
    book.list_address("remove", OTHER)
    book.change("policy", books(name="second"))
    book.advance(DAY_MS - 1)
    book.list_address("add", ANOTHER)
    later(book)

    assert book.state.policy.name == "second"
    assert book.state.policy.lists["customers"] == {CUSTOMER, SANCTIONED, STRANGER}
    assert not book.state.pending


def test_what_a_policy_lists_itself_it_also_takes_off(book: Book) -> None:
    book.list_address("add", STRANGER)
    later(book)
    with_it = {"addresses": [CUSTOMER, STRANGER], "quorum": 1, "cool_down_ms": HOUR_MS}
    without = {"addresses": [CUSTOMER], "quorum": 1, "cool_down_ms": HOUR_MS}
    for name, customers in (("second", with_it), ("third", without)):
        book.change("policy", books(name=name, lists={"customers": customers}))
        later(book, DAY_MS)

    assert book.state.policy.lists["customers"] == {CUSTOMER}
    assert not book.state.book


@pytest.mark.parametrize("customers", [[CUSTOMER], None])
def test_a_list_that_loses_its_quorum_loses_what_was_added(book: Book, customers: Any) -> None:
    book.list_address("add", STRANGER)
    later(book)
    new = books(name="second", lists={"customers": customers or []})
    if customers is None:
        del new["lists"]["customers"]
        new["rules"] = []
    book.change("policy", new)
    later(book, DAY_MS)
    book.change("policy", books(name="third"))
    later(book, DAY_MS)

    assert book.state.policy.name == "third"
    assert STRANGER not in book.state.policy.lists["customers"]


def test_what_was_taken_off_stays_off_while_policies_go_on_listing_it(book: Book) -> None:
    book.list_address("remove", OTHER)
    book.change("policy", books(name="second"))
    later(book, DAY_MS)
    assert asks(book, OTHER) == "no-rule-matches"
    book.list_address("add", OTHER)

    assert asks(later(book), OTHER) == "small"


def test_pending_changes_take_effect_in_the_order_of_their_time(book: Book) -> None:
    book.change("policy", books(name="second"))
    book.list_address("add", STRANGER)
    busy, quiet = book.fork(), book.fork()
    later(busy)
    for branch in (busy, quiet):
        branch.now_ms = book.now_ms
        later(branch, DAY_MS)

    assert busy.state.policy == quiet.state.policy
    assert STRANGER in quiet.state.policy.lists["customers"]


def test_a_roster_too_small_for_a_list_is_refused(book: Book) -> None:
    document: Any = WORLD.roster()
    document["administrators"] = {"quorum": 1, "members": document["administrators"]["members"][:1]}
    book.change("roster", document)

    assert "lists.sanctioned: a quorum of 2 among 1 administrators" in book.last.reason


# Properties.

STEPS = st.tuples(
    st.sampled_from(["add", "remove", "policy", "wait"]),
    st.sampled_from([CUSTOMER, OTHER, STRANGER, ANOTHER]),
    st.sampled_from(["customers", "sanctioned"]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=12))
def test_the_policy_in_force_is_its_document_with_the_book(steps: list[tuple[str, str, str]]) -> None:
    book = started()
    for number, (what, address, name) in enumerate(steps):
        if what == "policy":
            book.change("policy", books(name=f"policy-{number}"))
        elif what == "wait":
            later(book, DAY_MS // 2)
        else:
            book.list_address(what, address, list=name, by=["ada", "adam"])
    state, written = initial(), parse_policy(book.state.policy_document)
    for entry in book.entries:
        state, _ = fold(state, entry)
    for name in ("customers", "sanctioned"):
        mine = {address: label for (place, address), label in book.state.book.items() if place == name}
        expected = (written.lists[name] | mine.keys()) - {a for a, label in mine.items() if not label}
        assert book.state.policy.lists[name] == expected

    assert state == book.state


# The document.


@pytest.mark.parametrize(
    ("spoilt", "why"),
    [
        ({"quorum": 0}, "lists.customers: field 'quorum'"),
        ({"cool_down_ms": 0}, "lists.customers: field 'cool_down_ms'"),
        ({"cool_down_ms": 31 * DAY_MS}, "lists.customers: field 'cool_down_ms'"),
        ({"quorum": "1"}, "lists.customers: field 'quorum'"),
        ({"more": 1}, "lists.customers: unknown field 'more'"),
        ({"addresses": ["0x12"]}, r"lists.customers.addresses\[0\]"),
        ({"addresses": [CUSTOMER, CUSTOMER]}, r"lists.customers.addresses\[1\]"),
        ({"addresses": {}}, r"lists.*customers.addresses"),
    ],
)
def test_a_list_with_a_quorum_is_read_strictly(spoilt: dict[str, Any], why: str) -> None:
    customers = {"addresses": [CUSTOMER], "quorum": 1, "cool_down_ms": HOUR_MS, **spoilt}

    with pytest.raises(MalformedError, match=why):
        parse_policy(books(lists={"customers": customers}))


def test_addresses_written_by_people_are_normalised_in_both_forms() -> None:
    mixed = "0x8ba1f109551bD432803012645Ac136ddd64DBA72"
    labelled = {"address": mixed, "label": "Acme"}
    document: Any = normalise_document(
        books(lists={"customers": {"addresses": [labelled], "quorum": 1, "cool_down_ms": HOUR_MS}})
    )
    policy = parse_policy(document)

    assert policy.lists["customers"] == {mixed.lower()}
    assert policy.labels == {f"customers {mixed.lower()}": "Acme"}
    with pytest.raises(MalformedError, match=r"lists.customers.addresses\[0\].address: .*checksum"):
        labelled["address"] = mixed.replace("bD", "Bd")
        normalise_document(books(lists={"customers": {"addresses": [labelled]}}))


def test_a_listing_is_for_addresses_of_every_chain() -> None:
    for address in ("11111111111111111111111111111111", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"):
        body: Any = {
            "origin": "log.example.com/custody",
            "policy": "00" * 32,
            "list": "customers",
            "action": "remove",
            "address": address,
            "nonce": "00" * 32,
        }

        assert parse_listing(body).address == address
