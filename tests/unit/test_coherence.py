"""A quorum that is asked for and that nobody can fill refuses to load, wherever it stands."""

from typing import Any

import pytest

from policy.coherence import check_coherent
from policy.document import parse_policy
from policy.errors import MalformedError
from policy.roster import parse_roster
from tests.simulation.world import CUSTOMER, DAY_MS, Book, World, cosigner_of, key_of, limit, public_key

WORLD = World()
ADMINISTRATORS = [key_of(name) for name in ("ada", "adam", "agnes")]
PRICES = {"unit": "usd", "decimals": 8, "max_age_ms": 60_000}


def approve(*needs: tuple[str, int], **more: Any) -> dict[str, Any]:
    approvals = [{"group": group, "count": count} for group, count in needs]
    return {"outcome": "approve", "approvals": approvals, **more}


def rule(then: dict[str, Any], **when: Any) -> dict[str, Any]:
    return {"rules": [{"name": "one", "when": when, "then": then}]}


def book(quorum: int) -> dict[str, Any]:
    customers = {"addresses": [CUSTOMER], "quorum": quorum, "cool_down_ms": 1}
    return {"lists": {"customers": customers, "sanctioned": []}}


def operators(**groups: list[str]) -> dict[str, Any]:
    """The operators of the world with other groups."""
    document: Any = WORLD.roster()
    return {"operators": [{**one, "groups": groups.get(one["name"], [])} for one in document["operators"]]}


def backends(**people: list[str]) -> dict[str, Any]:
    return {"initiators": [{**key_of(name), "people": behind} for name, behind in people.items()]}


def load(roster: dict[str, Any], policy: dict[str, Any]) -> None:
    check_coherent(parse_roster(WORLD.roster(**roster)), parse_policy(WORLD.policy(**policy)))


TREASURY = {name: ["treasury"] for name in ("alice", "bob", "carol")}
EMPTY: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    # Administrators.
    ({"administrators": {"quorum": 0, "members": ADMINISTRATORS}}, {}, "'quorum' must be an integer from 1"),
    ({"administrators": {"quorum": 1, "members": []}}, {}, "quorum of 1 among 0 administrators"),
    ({"administrators": {"quorum": 4, "members": ADMINISTRATORS}}, {}, "quorum of 4 among 3 administrators"),
    (
        {"administrators": {"quorum": 2, "members": [key_of("ada"), {**key_of("ada"), "name": "adam"}]}},
        {},
        "quorum of 2 among 1 administrators",
    ),
    # Cosigners.
    ({"w": 0}, {}, "'w' must be an integer from 1"),
    ({"w": 5}, {}, "w = 5 of c = 4 cosigners can never be reached"),
    ({"cosigners": [], "w": 1, "f": 0}, {}, "w = 1 of c = 0"),
    ({"w": 2}, {}, "two quorums may share no honest cosigner"),
    ({"f": 2}, {}, "two quorums may share no honest cosigner"),
    # Signers of a key.
    ({"cosigners": [cosigner_of(n, "witness") for n in WORLD.cosigners]}, {}, "node-1 is no node"),
    *(
        (
            {},
            {"keys": {"main": {"suite": "dkls23-secp256k1", "min_signers": signers, "participants": names}}},
            why,
        )
        for signers, names, why in (
            (0, ["node-1", "node-2"], "'min_signers' must be an integer from 2"),
            (1, ["node-1", "node-2"], "'min_signers' must be an integer from 2"),
            (3, ["node-1", "node-2"], "'min_signers' must be an integer from 2 to 2"),
            (2, [], "'participants' must be a list of 2"),
            (2, ["node-1"], "'participants' must be a list of 2"),
        )
    ),
    # Approvers.
    ({}, rule(approve()), "an approval by nobody is no approval"),
    ({}, rule(approve(("treasury", 0))), "'count' must be an integer from 1"),
    ({}, rule(approve(("board", 1))), "needs 1 of group board, which has 0 members"),
    ({}, rule(approve(("risk", 2))), "needs 2 of group risk, which has 1 members"),
    ({"operators": [], **backends(desk=[])}, rule(approve(("treasury", 1))), "which has 0 members"),
    ({}, rule({"outcome": "approve", "any_of": []}), "one way alone is no choice"),
    ({}, rule({"outcome": "approve", "any_of": [{"approvals": []}] * 2}), "an approval by nobody"),
    (
        {},
        rule(
            {
                "outcome": "approve",
                "any_of": [{"approvals": [{"group": g, "count": 1}]} for g in ("treasury", "board")],
            }
        ),
        "group board, which has 0 members",
    ),
    (
        operators(alice=["treasury", "risk"]),
        rule(approve(("treasury", 1), ("risk", 1))),
        "needs 2 of groups risk, treasury, which together have 1 members",
    ),
    (
        {**operators(**TREASURY), **backends(desk=["alice", "bob"])},
        rule(approve(("treasury", 2))),
        "needs 2 of group treasury, which has 1 members, not counting who stands behind whoever may ask",
    ),
    (
        {**operators(**TREASURY), **backends(desk=["alice", "bob"], backend=[])},
        rule(approve(("treasury", 2)), initiators=["desk"]),
        "not counting who stands behind",
    ),
    # Who may ask.
    ({}, rule({"outcome": "allow"}, initiators=[]), "'initiators' must be a list of 1"),
    ({}, rule({"outcome": "allow"}, initiators=["nobody"]), "no initiator nobody"),
    (
        {},
        rule({"outcome": "allow"}, initiator_groups=["desks"]),
        "no initiator .* in group desks",
    ),
    ({}, {"limits": [limit("l", "eth", 1, initiators=["nobody"])]}, "no initiator nobody"),
    # Lists.
    ({}, book(0), "'quorum' must be an integer from 1"),
    ({}, book(4), "lists.customers: a quorum of 4 among 3 administrators is unreachable"),
    # Observers.
    (
        {"observers": []},
        {"prices": PRICES},
        "prices need .* f [+] 1 = 2 observers, the roster has 0",
    ),
    ({"observers": [key_of("oskar")]}, {"prices": PRICES}, "the roster has 1"),
    *(
        ({"observers": []}, rule({"outcome": "allow"}, **when), "screenings need the word of f [+] 1 = 2")
        for when in ({"screenings": ["clear"]}, {"risk_min": 1}, {"risk_max": 1})
    ),
    (
        {"observers": [key_of("oskar")]},
        {"forbids": [{"name": "risky", "when": {"risk_min": 80}}]},
        "screenings need the word of f [+] 1 = 2 observers, the roster has 1",
    ),
    # Hours.
    ({}, rule({"outcome": "allow"}, hours=[]), r"rules\[0\].when.hours: no hours at all"),
]


@pytest.mark.parametrize(("roster", "policy", "why"), EMPTY)
def test_an_enabled_quorum_that_nobody_can_fill_refuses_to_load(
    roster: dict[str, Any], policy: dict[str, Any], why: str
) -> None:
    with pytest.raises(MalformedError, match=why):
        load(roster, policy)


FILLED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({}, book(3)),
    ({}, {"prices": PRICES}),
    ({"observers": [key_of("oskar")], "f": 0}, {"prices": PRICES}),
    ({}, rule({"outcome": "allow"}, risk_max=20, screenings=["clear"])),
    (operators(alice=["treasury", "risk"], bob=["risk"]), rule(approve(("treasury", 1), ("risk", 1)))),
    (
        {**operators(**TREASURY), **backends(desk=["alice", "bob"], backend=[])},
        rule(approve(("treasury", 2))),
    ),
    ({**operators(**TREASURY), **backends(desk=["alice"])}, rule(approve(("treasury", 2)))),
    ({"initiators": []}, {}),
]


@pytest.mark.parametrize(("roster", "policy"), FILLED)
def test_a_quorum_that_just_suffices_loads(roster: dict[str, Any], policy: dict[str, Any]) -> None:
    load(roster, policy)


def test_what_refuses_to_load_refuses_in_every_way_into_the_log() -> None:
    no_observers = WORLD.roster(observers=[])
    first = Book(WORLD, start=False)
    first.genesis(roster=no_observers, policy=WORLD.policy(prices=PRICES))
    assert "prices need the word" in first.last.reason
    with_policy = Book(WORLD)
    with_policy.change("roster", no_observers)
    with_policy.change("policy", WORLD.policy(prices=PRICES))
    assert with_policy.last.accepted, "until the roster is in effect the observers are there"
    with_policy.advance(DAY_MS)
    with_policy.idle()
    assert (with_policy.state.roster.observers, with_policy.state.policy.prices) == ({}, None)
    with_policy.change("policy", WORLD.policy(prices=PRICES, name="second"))

    assert "prices need the word" in with_policy.last.reason


# A key is one identity's for ever.


def changed(kind: str, **of: dict[str, Any]) -> dict[str, Any]:
    """The world's roster with fields of some of its people changed, by name."""
    document: Any = WORLD.roster()
    rows = [{**one, **of.get(one["name"], {})} for one in document[kind]]
    return WORLD.roster(**{kind: rows})


def without(name: str) -> dict[str, Any]:
    document: Any = WORLD.roster()
    for kind in ("initiators", "operators", "observers"):
        document[kind] = [one for one in document[kind] if one["name"] != name]
    for one in document["initiators"]:
        one["people"] = [person for person in one["people"] if person != name]
    return WORLD.roster(**{kind: document[kind] for kind in ("initiators", "operators", "observers")})


def in_effect(book: Book, roster: dict[str, Any]) -> Book:
    book.change("roster", roster)
    assert book.last.accepted, book.last.reason
    book.advance(DAY_MS)
    book.idle()
    return book


def as_another(name: str, other: str) -> dict[str, Any]:
    """The world's roster in which somebody stands under another name, with the keys they had."""
    document: Any = WORLD.roster()
    for kind in ("initiators", "operators", "observers"):
        document[kind] = [
            {**one, "name": other if one["name"] == name else one["name"]} for one in document[kind]
        ]
    return WORLD.roster(**{kind: document[kind] for kind in ("initiators", "operators", "observers")})


@pytest.mark.parametrize("name", ["alice", "backend", "oskar"])
def test_who_has_left_comes_back_under_their_own_name_only(name: str) -> None:
    book = in_effect(Book(WORLD), without(name))
    book.change("roster", as_another(name, "somebody-new"))
    assert f"of somebody-new was {name}'s: somebody-new needs a key of its own" in book.last.reason

    in_effect(book, WORLD.roster())
    assert book.state.roster == parse_roster(WORLD.roster())


@pytest.mark.parametrize(
    ("roster", "why"),
    [
        (lambda: changed("initiators", backend={"key": public_key("alice").hex()}), "was alice's"),
        (
            lambda: WORLD.roster(
                administrators={
                    "quorum": 2,
                    "members": [*ADMINISTRATORS, {"name": "new", "key": public_key("alice").hex()}],
                }
            ),
            "the identity key of new was alice's",
        ),
    ],
)
def test_a_key_of_one_who_left_is_nobody_elses_in_any_place(roster: Any, why: str) -> None:
    book = in_effect(Book(WORLD), without("alice"))
    document = roster()
    document["operators"] = without("alice")["operators"]
    book.change("roster", document)

    assert why in book.last.reason


def test_a_passkey_of_one_who_left_is_nobody_elses() -> None:
    everyone: Any = WORLD.roster()
    hers = next(one["credential"] for one in everyone["operators"] if one["name"] == "alice")
    book = in_effect(Book(WORLD), without("alice"))
    document: Any = without("alice")
    document["operators"] = [
        {**one, "credential": hers} if one["name"] == "bob" else one for one in document["operators"]
    ]
    book.change("roster", document)

    assert "the passkey key of bob was alice's" in book.last.reason


def test_a_vetoed_roster_takes_no_key() -> None:
    book = Book(WORLD)
    newcomer = {**key_of("newcomer"), "people": []}
    document: Any = WORLD.roster()
    change = book.change("roster", WORLD.roster(initiators=[*document["initiators"], newcomer]))
    book.order("veto", change)
    renamed = {**newcomer, "name": "other"}

    in_effect(book, WORLD.roster(initiators=[*document["initiators"], renamed]))
    assert book.state.roster.initiators["other"].key == public_key("newcomer")


# People who leave, a lost passkey, a backend's key.


def test_approvals_of_one_who_leaves_are_void_when_it_takes_effect() -> None:
    book = Book(WORLD)
    request = book.request(700, expires_ms=book.now_ms + 9 * DAY_MS)
    for operator in ("alice", "bob"):
        book.approve(request, operator, nonce=0, expires_ms=book.now_ms + 9 * DAY_MS)
    book.change("roster", without("alice"))
    assert len(book.state.requests[request].approvals) == 2, "not before it takes effect"
    book.advance(DAY_MS)
    book.reserve(request)

    assert [one.operator for one in book.state.requests[request].approvals] == ["bob"]
    assert book.last.verdict is not None and not book.last.accepted
    book.approve(request, "alice", nonce=0)
    assert "no operator alice" in book.last.reason


def test_one_who_is_needed_cannot_leave() -> None:
    book = in_effect(Book(WORLD), without("alice"))
    document: Any = without("alice")
    document["operators"] = [one for one in document["operators"] if one["name"] != "bob"]
    book.change("roster", document)

    assert "needs 2 of group treasury, which has 1 members" in book.last.reason


def test_a_backend_with_another_key_keeps_what_it_asked_and_asks_with_the_new_one() -> None:
    book = Book(WORLD)
    old = book.request(100, initiator="backend", expires_ms=book.now_ms + 9 * DAY_MS)
    in_effect(book, changed("initiators", backend={"key": public_key("backend-2").hex()}))
    book.reserve(old)
    assert book.last.accepted
    asked = book.asked(50, initiator="backend")
    book.log_request(asked, by="backend")
    assert not book.last.accepted
    book.log_request(asked, by="backend-2")

    assert book.last.accepted
