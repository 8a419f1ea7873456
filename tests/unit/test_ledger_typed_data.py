"""Typed data: only what the policy declares, inside its bounds, once, and never as a bare hash."""

from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from policy.approval import DIGEST_SLOT_MIN, digest_slot
from policy.decode.eip712 import parse_typed_data
from policy.document import parse_policy
from policy.encoding import Json, canonical
from policy.errors import MalformedError
from policy.explain import facts_of, receipt
from policy.intent import request_id
from policy.ledger import judge, weigh
from policy.state import CANCEL
from policy.values import replace
from tests.simulation.world import (
    CHAIN,
    CUSTOMER,
    DAY_MS,
    OTHER,
    STRANGER,
    TOKEN,
    Book,
    World,
    unsigned,
)
from tests.unit.typed_data_house import (
    ALLOW,
    PERMITS,
    TYPED_DATA,
    Document,
    order,
    permit,
    policy_of,
    request_of,
)

WORLD = World()
ANY = {"name": "any", "when": {"kinds": ["typed_data"]}, "then": ALLOW}
PAYMENTS = {"name": "payments", "when": {}, "then": ALLOW}


def book_with(*rules: Document, **changed: Any) -> Book:
    book = Book(WORLD, start=False)
    book.genesis(policy=policy_of(WORLD, *rules, **changed))
    assert book.last.accepted, book.last.reason
    book.key()
    return book


def ask(book: Book, document: Document, **changed: Any) -> bytes:
    request = request_of(document, key=f"sign {len(book.entries)}", now_ms=book.now_ms, **changed)
    book.log_request(request)
    return request_id(request.body())


def own(**changed: Any) -> Document:
    return permit(WORLD.account(), **changed)


def reserve(book: Book, request: bytes, document: Document, **changed: Any) -> bytes:
    return book.reserve(request, tx=canonical(document), **changed)


def rule_of(book: Book) -> tuple[str, str]:
    verdict = book.last.verdict
    assert verdict is not None, book.last.reason
    return verdict.outcome.name.lower(), verdict.rule


def edited(document: Document, path: str, value: Any) -> Document:
    """A copy of a document with one field set."""
    *outer, last = path.split(".")
    copy: Document = {**document}
    inner = copy
    for name in outer:
        inner[name] = {**inner[name]}
        inner = inner[name]
    inner[last] = value
    return copy


def test_declared_typed_data_is_signed_for_whoever_verifies_it_by_the_standard() -> None:
    book = book_with(PERMITS)
    document = own(value=100)
    request = ask(book, document)
    job = reserve(book, request, document)
    book.sign(job)

    assert book.last.accepted
    made = book.state.jobs[job].signatures[0]
    signature = made[:64] + bytes([27 + made[64]])
    message = {**document["message"], "value": 100, "nonce": 0, "deadline": 2**256 - 1}
    theirs = encode_typed_data(
        full_message={**document, "domain": {**document["domain"], "chainId": 1}, "message": message}
    )
    assert Account.recover_message(theirs, signature=signature).lower() == WORLD.account()


def test_its_signature_closes_the_request_and_counts_nothing_but_itself() -> None:
    book = book_with(PERMITS)
    request = ask(book, own())
    book.sign(reserve(book, request, own()))

    assert book.state.requests[request].closed
    assert book.used() == 0
    assert not book.state.paid
    reserve(book, request, own())
    assert rule_of(book) == ("deny", "request-closed")


@pytest.mark.parametrize(
    "document",
    [own(value=101), own(spender=STRANGER), order()],
    ids=["value", "spender", "other kind"],
)
def test_fields_outside_their_bounds_are_denied(document: Document) -> None:
    book = book_with(PERMITS)
    ask(book, document)

    assert rule_of(book) == ("deny", "no-rule-matches")


MORE = {**own()["types"], "Permit": [*own()["types"]["Permit"], {"name": "more", "type": "bool"}]}


@pytest.mark.parametrize(
    "document",
    [
        edited(own(), "domain.name", "USD Coins"),
        edited(own(), "domain.version", "1"),
        edited(own(), "domain.verifyingContract", CUSTOMER),
        edited(edited(own(), "types", MORE), "message.more", True),
        edited(own(), "types.Permit", own()["types"]["Permit"][::-1]),
        edited(own(), "types.Permit", [*own()["types"]["Permit"][:4], {"name": "deadline", "type": "uint64"}])
        | {"message": {**own()["message"], "deadline": "1"}},
        edited(
            edited(own(), "types", {"Permit2": MORE["Permit"], "EIP712Domain": MORE["EIP712Domain"]}),
            "primaryType",
            "Permit2",
        )
        | {"message": {**own()["message"], "more": False}},
    ],
    ids=[
        "name",
        "version",
        "contract",
        "one field more",
        "order of fields",
        "type of a field",
        "primary type",
    ],
)
def test_what_the_policy_does_not_declare_is_denied_whatever_its_rules_say(document: Document) -> None:
    book = book_with(ANY)
    ask(book, own())
    assert rule_of(book) == ("allow", "any")

    ask(book, document)
    assert rule_of(book) == ("deny", "error")


@pytest.mark.parametrize(
    ("document", "changed"),
    [
        (edited(own(), "domain.chainId", "5"), {}),
        (own(), {"destination": CUSTOMER}),
        (own(), {"amount": 1}),
        (own(), {"chain": "solana:mainnet", "destination": "11111111111111111111111111111111"}),
        (edited(own(), "message.more", "1"), {}),
        (edited(own(), "message.value", 5), {}),
        (edited(own(), "types.Unused", [{"name": "a", "type": "bool"}]), {}),
        (
            edited(own(), "domain", {"name": "USD Coin", "version": "2", "chainId": "1"})
            | {"types": {**own()["types"], "EIP712Domain": own()["types"]["EIP712Domain"][:3]}},
            {},
        ),
        (edited(own(), "domain.name", "USD Coin" * 1000), {}),
    ],
    ids=["chain", "contract", "amount", "solana", "field", "number", "type", "no contract", "too long"],
)
def test_what_cannot_be_read_as_typed_data_of_its_contract_is_no_request(
    document: Document, changed: dict[str, Any]
) -> None:
    book = book_with(ANY)
    request = request_of(document, key="sign", now_ms=book.now_ms, **changed)
    body: Any = request.body()
    book.write("request", body, signature="00" * 64, verdict={"outcome": "allow", "rule": "any"})

    assert (book.last.kind, book.last.accepted) == ("malformed", False)
    with pytest.raises(MalformedError):
        judge(book.state, "request", body=body, time_ms=book.now_ms)


def test_a_fee_for_a_signature_is_no_request() -> None:
    book = book_with(ANY)
    body = replace(request_of(own(), key="sign", now_ms=book.now_ms), fee_ceiling=1).body()

    with pytest.raises(MalformedError, match="costs no fee"):
        judge(book.state, "request", body=body, time_ms=book.now_ms)


@pytest.mark.parametrize(
    "tx",
    [
        canonical(own(value=6)),
        canonical(edited(own(), "domain.name", "USD")),
        canonical(own())[:-1],
        unsigned(TOKEN, 0, nonce=0, fee=0),
        parse_typed_data(canonical(own())).digest,
    ],
    ids=["message", "domain", "cut off", "a transaction", "a bare hash"],
)
def test_other_bytes_than_were_asked_are_denied(tx: bytes) -> None:
    book = book_with(ANY)
    book.reserve(ask(book, own()), tx=tx)

    assert rule_of(book)[0] == "deny"
    assert not book.state.jobs


def test_typed_data_is_no_bytes_of_a_payment_or_a_call() -> None:
    book = book_with(ANY, PAYMENTS)
    payment = book.request(5)
    reserve(book, payment, own())

    assert rule_of(book) == ("deny", "undecodable")


def test_one_digest_under_one_account_is_of_one_request() -> None:
    book = book_with(ANY)
    first, second, other = ask(book, own()), ask(book, own()), ask(book, own(nonce=1))
    job = reserve(book, first, own())
    reserve(book, second, own())
    taken = rule_of(book)
    reserve(book, second, own(), paths=["m/0/1"])
    elsewhere = rule_of(book)
    reserve(book, other, own(nonce=1))

    assert (taken, elsewhere, rule_of(book)) == (("deny", "anchor-taken"), ("allow", "any"), ("allow", "any"))
    assert book.state.jobs[job].anchor.nonce >= DIGEST_SLOT_MIN


def test_a_retry_is_of_the_same_digest_and_takes_no_other_anchor() -> None:
    book = book_with(ANY)
    request = ask(book, own())
    first = reserve(book, request, own())
    book.burn(first)
    second = reserve(book, request, own())
    reserve(book, request, own(), paths=["m/0/1"])

    assert rule_of(book) == ("deny", "anchor-changed")
    assert book.state.jobs[first].anchor == book.state.jobs[second].anchor


def test_no_transaction_of_an_account_is_in_the_way_of_its_signatures() -> None:
    book = book_with(ANY, PAYMENTS)
    book.sign(reserve(book, ask(book, own()), own()))
    book.pay(5, nonce=0)

    assert book.last.accepted


def test_a_signature_cannot_be_cancelled() -> None:
    book = book_with(ANY)
    request = ask(book, own())
    job = reserve(book, request, own())
    book.advance(DAY_MS)
    book.reserve(request, nonce=0, purpose=CANCEL)
    early = rule_of(book)
    reserve(book, request, own(), purpose=CANCEL)

    assert early == rule_of(book) == ("deny", "cancel-impossible")
    book.sign(job)
    book.reserve(request, nonce=0, purpose=CANCEL)
    assert rule_of(book) == ("deny", "request-closed")


@pytest.mark.parametrize("when", [{}, {"destinations": ["tokens"]}, {"kinds": ["call", "transfer"]}])
def test_a_rule_that_says_nothing_of_typed_data_allows_none(when: dict[str, Any]) -> None:
    book = book_with({"name": "wide", "when": when, "then": ALLOW}, lists={"tokens": [TOKEN]}, forbids=[])
    ask(book, own())

    assert rule_of(book) == ("deny", "no-rule-matches")


def test_forbids_and_denials_are_about_typed_data_too() -> None:
    book = book_with(ANY, lists={"sanctioned": [TOKEN]})
    ask(book, own())
    forbidden = rule_of(book)
    book = book_with({"name": "none", "when": {}, "then": {"outcome": "deny"}}, ANY)
    ask(book, own())

    assert (forbidden, rule_of(book)) == (("deny", "sanctions"), ("deny", "none"))


def test_a_limit_on_how_many_counts_signatures() -> None:
    book = book_with(ANY, limits=[{"name": "often", "window_ms": 1000, "per": [], "count_max": 1}])
    reserve(book, ask(book, own()), own())
    ask(book, own(nonce=1))

    assert rule_of(book) == ("deny", "often")


def test_an_approval_is_of_the_digest_and_of_nothing_else() -> None:
    then = {"outcome": "approve", "approvals": [{"group": "treasury", "count": 1}]}
    book = book_with({**ANY, "then": then})
    request, other = ask(book, own()), ask(book, own(value=6))
    digest = parse_typed_data(canonical(own())).digest
    slot = digest_slot(CHAIN, WORLD.account(), digest=digest)
    stolen = book.approval(other, "alice", nonce=0, slot=slot)
    book.log_approval(replace(stolen, request=request))
    assert not book.last.accepted
    book.log_approval(replace(stolen, request=request, intent=book.state.requests[request].request.intent))
    assert not book.last.accepted

    book.approve(request, "alice", nonce=0)  # for a transaction's number
    reserve(book, request, own())
    assert rule_of(book) == ("wait", "any")
    book.approve(request, "alice", nonce=0, slot=slot)
    reserve(book, request, own())
    assert rule_of(book) == ("allow", "any")
    assert book.approval(request, "alice", nonce=0).calldata_hash == digest


def test_a_slot_between_transactions_and_digests_is_none() -> None:
    then = {"outcome": "approve", "approvals": [{"group": "treasury", "count": 1}]}
    book = book_with({**ANY, "then": then})
    request = ask(book, own())
    book.approve(request, "alice", nonce=2**64)

    assert (book.last.kind, book.last.accepted) == ("malformed", False)


def test_a_receipt_of_typed_data_gives_the_verdict_again() -> None:
    book = book_with(PERMITS, ANY)
    for document in (own(), order()):
        body: Json = request_of(document, key="sign", now_ms=book.now_ms).body()
        weighed = weigh(book.state, "request", body=body, time_ms=book.now_ms)
        assert weighed.facts is not None
        found = receipt(
            book.state.policy, weighed.facts, verdict=weighed.verdict, policy_hash=bytes(32), book_hash=b""
        )
        again = facts_of(found)

        assert (again.kind, again.typed_data) == ("typed_data", weighed.facts.typed_data)
        assert again.arguments == weighed.facts.arguments


def test_structs_of_a_message_are_read_and_hashed_but_no_condition_is_about_them() -> None:
    book = book_with(ANY)
    job = reserve(book, ask(book, order()), order())

    assert rule_of(book) == ("allow", "any")
    (signing,) = book.state.jobs[job].signings
    assert signing.message == parse_typed_data(canonical(order())).digest
    declared = book.state.policy.typed_data["order"]
    assert [name for _, name in declared.parameters] == ["sums", "open", "note"]


def entry(**changed: Any) -> dict[str, Any]:
    return {"typed_data": {"x": {**TYPED_DATA["permit"], **changed}}}


def doubling(count: int) -> Document:
    """Each struct is made of the next one, twice."""
    names = ["Permit", *(f"S{number}" for number in range(count - 1))]
    inner = [*names[1:], "bool"]
    return {
        name: [{"name": "a", "type": kind}, {"name": "b", "type": kind}]
        for name, kind in zip(names, inner, strict=True)
    }


def when(**conditions: Any) -> dict[str, Any]:
    return {"typed_data": TYPED_DATA, "rules": [{"name": "r", "when": conditions, "then": ALLOW}]}


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (entry(chain="evm:7"), "unknown chain 'evm:7'"),
        (entry(chain="solana:mainnet"), "an EVM chain"),
        (entry(contract="0x12"), "40 lower-case hex digits"),
        (entry(primary_type="Order"), "primaryType must be one of its types"),
        (entry(primary_type="EIP712Domain"), "and not EIP712Domain"),
        (entry(types={"EIP712Domain": [], **TYPED_DATA["permit"]["types"]}), "which 'domain' says"),
        (entry(types={"Permit": [{"name": "a", "type": "uint"}]}), "write uint256"),
        (entry(types={"Permit": [{"name": "a", "type": "B"}]}), "no type that is decoded"),
        (entry(types={**TYPED_DATA["permit"]["types"], **TYPED_DATA["order"]["types"]}), "does not need"),
        (entry(domain={"name": "USD Coin", "chainId": "1"}), "unknown field 'chainId'"),
        (entry(types={"Permit": [{"name": "a", "type": "Permit"}]}), "Permit is made of itself"),
        (
            entry(types={"Permit": [{"name": "a", "type": "B[]"}], "B": [{"name": "b", "type": "B[2]"}]}),
            "B is made of itself",
        ),
        (entry(types={"Permit": [{"name": "a", "type": "uint8[256][256][256]"}]}), "need 16777216 values"),
        (entry(types=doubling(30)), "30 deep"),
        (entry(types={"Permit": [{"name": "a" * 60 + str(i), "type": "uint8"} for i in range(60)]}), "least"),
        (entry(domain={"salt": "07"}), "exactly 32 bytes"),
        ({"typed_data": {"x": TYPED_DATA["permit"], "y": TYPED_DATA["permit"]}}, "is already at"),
        (when(typed_data=["none"]), "unknown typed data 'none'"),
        (when(typed_data=["permit"], kinds=["signature"]), "unknown kind"),
        (
            when(typed_data=["permit"], arguments=[{"argument": "owner", "max": "1"}]),
            "no uint called 'owner'",
        ),
        (when(typed_data=["order"], arguments=[{"argument": "sums", "max": "1"}]), "no uint called 'sums'"),
        (
            when(typed_data=["order"], arguments=[{"argument": "maker", "destinations": ["customers"]}]),
            "no address called 'maker'",
        ),
        (when(arguments=[{"argument": "value", "max": "1"}]), "'methods' or 'typed_data'"),
        (when(typed_data=["permit"], contracts=["vault"]), "unknown contract 'vault'"),
    ],
)
def test_typed_data_that_cannot_be_meant_is_refused(part: dict[str, Any], message: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_policy(WORLD.policy(**part))

    assert message in str(caught.value)


def test_a_rule_is_about_calls_or_about_typed_data() -> None:
    vault = {"vault": {"chain": CHAIN, "address": OTHER, "methods": {"pause": "pause()"}}}
    part = {**when(typed_data=["permit"], methods=["vault.pause"]), "contracts": vault}

    with pytest.raises(MalformedError, match="write a rule for each"):
        parse_policy(WORLD.policy(**part))
