"""Calls of contracts: only methods that the policy has, with arguments inside its bounds, byte for byte."""

from typing import Any

import pytest

from policy.decode.abi import Argument, encode_call, parse_method
from policy.document import parse_policy
from policy.errors import MalformedError
from policy.intent import Intent, Request, request_id
from policy.values import replace
from tests.simulation.world import CHAIN, CUSTOMER, ORIGIN, STRANGER, TOKEN, Book, World, unsigned

WORLD = World()
VAULT = "0x" + "77" * 20
DEPOSIT = "deposit(uint256 amount,address beneficiary)"
SWAP = "swap(address from,address to,uint128 amount)"
BATCH = "batch(address[] to,uint256[] amounts,bytes data)"
METHODS = {"deposit": DEPOSIT, "swap": SWAP, "batch": BATCH}
CONTRACTS = {"vault": {"chain": CHAIN, "address": VAULT, "methods": METHODS}}
ALLOW = {"outcome": "allow"}
DEPOSITS = {
    "name": "deposits",
    "when": {
        "methods": ["vault.deposit"],
        "arguments": [
            {"argument": "amount", "max": "100"},
            {"argument": "beneficiary", "destinations": ["customers"]},
        ],
    },
    "then": ALLOW,
}
PAYMENTS = {"name": "payments", "when": {}, "then": ALLOW}


def book_with(*rules: dict[str, Any], **changed: Any) -> Book:
    book = Book(WORLD, start=False)
    book.genesis(policy=WORLD.policy(rules=list(rules), contracts=CONTRACTS, **changed))
    assert book.last.accepted, book.last.reason
    book.key()
    return book


def deposit(amount: int = 5, beneficiary: str = CUSTOMER) -> bytes:
    return encode_call(parse_method(DEPOSIT), {"amount": amount, "beneficiary": beneficiary})


def ask(book: Book, data: bytes, *, value: int = 0, to: str = VAULT, asset: str = "eth") -> bytes:
    intent = Intent(CHAIN, "hot", asset, value, to, data)
    request = Request(
        ORIGIN, "backend", intent, 100, f"call {len(book.entries)}", book.now_ms, book.now_ms + 10**6
    )
    book.log_request(request)
    return request_id(request.body())


def rule_of(book: Book) -> tuple[str, str]:
    verdict = book.last.verdict
    assert verdict is not None, book.last.reason
    return verdict.outcome.name.lower(), verdict.rule


def test_a_call_inside_its_bounds_is_signed_as_it_was_asked() -> None:
    book = book_with(DEPOSITS)
    request = ask(book, deposit(), value=7)
    job = book.reserve(request, tx=unsigned(VAULT, 7, nonce=0, fee=10, data=deposit()))
    book.sign(job)

    assert book.last.accepted
    assert book.used() == 17  # what the contract is sent, and the fee


def test_a_call_with_lists_is_signed_in_its_one_encoding() -> None:
    lists: dict[str, Argument] = {"to": (CUSTOMER, STRANGER), "amounts": (1, 2), "data": "abcd"}
    data = encode_call(parse_method(BATCH), lists)
    moved = data[:4] + (128).to_bytes(32, "big") + data[36:]
    book = book_with({"name": "batches", "when": {"methods": ["vault.batch"]}, "then": ALLOW})
    book.reserve(ask(book, data), tx=unsigned(VAULT, 0, nonce=0, fee=10, data=data))
    first = rule_of(book)
    book.reserve(ask(book, moved), tx=unsigned(VAULT, 0, nonce=1, fee=10, data=moved))

    assert (first, rule_of(book)[0]) == (("allow", "batches"), "deny")


@pytest.mark.parametrize(
    "data",
    [
        deposit(amount=101),
        deposit(beneficiary=STRANGER),
        encode_call(parse_method(SWAP), {"from": CUSTOMER, "to": CUSTOMER, "amount": 1}),
    ],
)
def test_a_call_outside_its_bounds_is_denied(data: bytes) -> None:
    book = book_with(DEPOSITS)
    ask(book, data)

    assert rule_of(book) == ("deny", "no-rule-matches")


@pytest.mark.parametrize(
    ("data", "changed"),
    [
        (bytes.fromhex("f2fde38b") + bytes(32), {}),
        (deposit() + b"\0", {}),
        (deposit()[:-1], {}),
        (deposit()[:36] + b"\1" + deposit()[37:], {}),
        (deposit(), {"to": STRANGER}),
        (deposit(), {"asset": "usdc"}),
    ],
    ids=["ownership", "longer", "shorter", "padding", "contract", "token"],
)
def test_what_the_policy_cannot_read_is_denied_whatever_its_rules_say(
    data: bytes, changed: dict[str, Any]
) -> None:
    book = book_with({"name": "all", "when": {"kinds": ["call"]}, "then": ALLOW})
    ask(book, deposit())
    assert rule_of(book) == ("allow", "all")

    ask(book, data, **changed)
    assert rule_of(book) == ("deny", "error")


@pytest.mark.parametrize(
    "tx",
    [
        unsigned(VAULT, 7, nonce=0, fee=10, data=deposit(amount=6)),
        unsigned(VAULT, 8, nonce=0, fee=10, data=deposit()),
        unsigned(STRANGER, 7, nonce=0, fee=10, data=deposit()),
        unsigned(VAULT, 7, nonce=0, fee=10),
    ],
    ids=["arguments", "value", "contract", "no data"],
)
def test_other_bytes_than_were_asked_are_denied(tx: bytes) -> None:
    book = book_with(DEPOSITS)
    book.reserve(ask(book, deposit(), value=7), tx=tx)

    assert rule_of(book)[0] == "deny"
    assert not book.state.jobs


def test_a_rule_that_says_nothing_of_calls_allows_none_and_a_denial_denies_them_too() -> None:
    book = book_with(PAYMENTS, forbids=[])
    ask(book, deposit())
    payments = rule_of(book)
    book = book_with(
        {"name": "all", "when": {"kinds": ["call"]}, "then": ALLOW}, forbids=[{"name": "no", "when": {}}]
    )
    ask(book, deposit())

    assert payments == ("deny", "no-rule-matches")
    assert rule_of(book) == ("deny", "no")


def test_an_approval_is_of_the_calls_bytes() -> None:
    ask_first = {
        "name": "ask",
        "when": {"contracts": ["vault"]},
        "then": {"outcome": "approve", "approvals": [{"group": "treasury", "count": 1}]},
    }
    book = book_with(ask_first)
    request = ask(book, deposit())
    other = ask(book, deposit(amount=6))
    stolen = book.approval(other, "alice", nonce=0)
    book.log_approval(replace(stolen, request=request))
    assert not book.last.accepted

    tx = unsigned(VAULT, 0, nonce=0, fee=10, data=deposit())
    book.reserve(request, tx=tx)
    assert rule_of(book) == ("wait", "ask")
    book.approve(request, "alice", nonce=0)
    book.reserve(request, tx=tx)
    assert rule_of(book) == ("allow", "ask")


def test_a_call_counts_as_one_and_its_cancellation_as_none() -> None:
    often = {"name": "often", "window_ms": 1000, "per": [], "count_max": 1}
    book = book_with(DEPOSITS, limits=[often])
    book.reserve(ask(book, deposit()), tx=unsigned(VAULT, 0, nonce=0, fee=10, data=deposit()))
    ask(book, deposit())

    assert rule_of(book) == ("deny", "often")


def one(**changed: Any) -> dict[str, Any]:
    contract = {"chain": CHAIN, "address": VAULT, "methods": {}, **changed}
    return {"contracts": {"x": contract}}


def when(**conditions: Any) -> dict[str, Any]:
    return {"contracts": CONTRACTS, "rules": [{"name": "r", "when": conditions, "then": ALLOW}]}


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (one(methods={"pay": "transfer(address to,uint256 amount)"}), "is a payment"),
        (one(methods={"m": "m(uint7 a)"}), "no type that is decoded"),
        (one(methods={"m": "m(bytes)"}), "no parameter such as"),
        (one(methods={"m": 5}), "no method such as"),
        (one(chain="evm:7"), "unknown chain 'evm:7'"),
        (when(methods=["vault.none"]), "unknown method"),
        (when(methods=["vault"]), "a method such as 'vault.deposit'"),
        (when(arguments=[{"argument": "amount", "max": "1"}]), "say under 'methods'"),
        (when(methods=["vault.swap"], arguments=[{"argument": "to", "max": "1"}]), "no uint called 'to'"),
        (when(methods=["vault.batch"], arguments=[{"argument": "amounts", "max": "1"}]), "no uint called"),
        (
            when(methods=["vault.batch"], arguments=[{"argument": "to", "destinations": ["customers"]}]),
            "no add",
        ),
        (when(methods=["vault.swap"], arguments=[{"argument": "to"}]), "'min', 'max' or 'destinations'"),
    ],
)
def test_a_contract_that_cannot_be_meant_is_refused(part: dict[str, Any], message: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_policy(WORLD.policy(**part))

    assert message in str(caught.value)


def test_a_call_of_a_token_may_give_an_allowance_only_if_the_policy_names_it() -> None:
    approve = parse_method("approve(address spender,uint256 amount)")
    data = encode_call(approve, {"spender": CUSTOMER, "amount": 3})
    token = {"token": {"chain": CHAIN, "address": TOKEN, "methods": {"approve": approve.signature}}}
    rules = [{"name": "allowance", "when": {"methods": ["token.approve"]}, "then": ALLOW}]
    book = book_with(DEPOSITS)
    ask(book, data, to=TOKEN)
    unnamed = rule_of(book)
    book = Book(WORLD, start=False)
    book.genesis(policy=WORLD.policy(contracts=token, rules=rules))
    book.key()
    ask(book, data, to=TOKEN)

    assert unnamed == ("deny", "error")
    assert rule_of(book) == ("allow", "allowance")
