"""Jobs on Solana and Bitcoin: one signature or many, under keys that BIP 340 and Ed25519 verify."""

import pytest
from coincurve import PublicKeyXOnly
from embit.psbt import PSBT
from embit.transaction import SIGHASH
from nacl.signing import SigningKey, VerifyKey
from solders.message import Message
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import Transaction

from custody.combining import combine
from policy import base58, signatures
from policy.accounts import account_at
from policy.addresses import solana_address
from policy.approval import Slot
from policy.ciphersuites import ciphersuite
from policy.encoding import Json
from policy.entries import make_entry
from policy.errors import CallerError, FaultyParticipant, UnknownFault
from policy.keccak import keccak256
from policy.state import CANCEL, JobStatus
from policy.suites import FROST_ED25519, FROST_SECP256K1, FROST_TAPROOT
from policy.values import replace
from tests.simulation.world import CUSTOMER, DAY_MS, World, seed
from tests.unit.schnorr_house import (
    BTC,
    BTC_CUSTOMER,
    LIMITS,
    NONCE,
    NONCE_ACCOUNT,
    SHARES,
    SOL,
    SOL_CUSTOMER,
    SchnorrBook,
    both_rounds,
    frost_signature,
)
from tests.unit.solana_house import advance, message, pay_tokens
from tests.unit.test_audit import checked, first_bad, published

WORLD = World()


@pytest.fixture
def book() -> SchnorrBook:
    return SchnorrBook(WORLD)


def rule_of(book: SchnorrBook) -> str:
    assert book.last.verdict is not None
    return book.last.verdict.rule


# Solana.


def test_a_solana_payment_is_signed_and_another_library_takes_it(book: SchnorrBook) -> None:
    job = book.solana(book.ask("sol", 7_000))

    assert book.last.accepted, book.last.reason
    assert book.finish(job)

    made = book.state.jobs[job]
    assert (made.status, made.suite) == (JobStatus.SIGNED, FROST_ED25519)
    assert made.anchor == Slot(SOL, solana_address(NONCE_ACCOUNT), int.from_bytes(NONCE, "big"))
    assert made.signings[0].message == made.tx
    VerifyKey(made.signings[0].public_key).verify(made.tx, made.signatures[0])
    message = Message.from_bytes(made.tx)
    Transaction.populate(message, [Signature(made.signatures[0])]).verify()
    assert message.account_keys[0] == Pubkey(SHARES["sol"][1].group_key)


@pytest.mark.parametrize(("length", "taken"), [(32, False), (64, True)])
def test_a_transaction_is_named_as_its_chain_names_it(book: SchnorrBook, length: int, taken: bool) -> None:
    job = book.solana(book.ask("sol", 7_000))
    book.finish(job)
    name = book.state.jobs[job].signatures[0][:length].hex()

    assert book.settle(job, tx_hash=name).accepted is taken
    assert book.state.requests[book.state.jobs[job].request_id].closed is taken


@pytest.mark.parametrize("length", [0, 31, 33, 63, 65])
def test_a_name_of_a_length_that_no_chain_has_is_malformed(book: SchnorrBook, length: int) -> None:
    job = book.solana(book.ask("sol", 7_000))
    book.finish(job)

    assert book.settle(job, tx_hash="ab" * length).kind == "malformed"


def test_a_durable_nonce_serves_one_request(book: SchnorrBook) -> None:
    first = book.ask("sol", 7_000)
    book.solana(first)
    book.solana(book.ask("sol", 8_000))

    assert rule_of(book) == "anchor-taken"

    book.solana(first, nonce=seed("another value"))

    assert rule_of(book) == "anchor-changed"

    book.solana(first)

    assert book.last.accepted


def test_advancing_the_nonce_cancels_an_expired_request(book: SchnorrBook) -> None:
    request = book.ask("sol", 7_000)
    book.solana(request)
    book.advance(DAY_MS)
    job = book.solana(request, purpose=CANCEL)

    assert rule_of(book) == "cancel"
    assert book.finish(job)
    assert book.used("sol-daily") == 12_000  # the request counts its largest job


@pytest.mark.parametrize("asset", ["sol", "tok"])
@pytest.mark.parametrize("prices", [(None, 0), (None, 1), (5, None), (5, 6)])
def test_a_request_is_paid_by_one_message(
    book: SchnorrBook, asset: str, prices: tuple[int | None, int | None]
) -> None:
    """Under a recent blockhash in place of a durable nonce the chain would take both, and pay twice."""
    request = book.ask("sol", 7_000, asset=asset, fee_ceiling=3_000_000)
    first = book.solana(request, price=prices[0])

    assert book.last.accepted, book.last.reason

    book.solana(request, price=prices[1])

    assert rule_of(book) == "message-fixed"
    assert book.finish(first)

    book.solana(request, price=prices[1])

    assert rule_of(book) == "message-fixed"

    again = book.solana(request, price=prices[0])

    assert again not in (b"", first)
    assert book.finish(again)
    assert {book.state.jobs[job].tx for job in (first, again)} == {book.state.jobs[first].tx}


def test_a_burned_message_leaves_the_request_to_another_one(book: SchnorrBook) -> None:
    request = book.ask("sol", 7_000)
    first, again = book.solana(request), book.solana(request)
    book.burn(first)
    book.solana(request, price=5)

    assert rule_of(book) == "message-fixed"  # it is reserved once more

    book.burn(again)
    dearer = book.solana(request, price=5)

    assert book.last.accepted
    assert book.finish(dearer)

    book.solana(request)

    assert rule_of(book) == "message-fixed"


def test_a_signed_message_is_never_burned_and_stays_the_only_one(book: SchnorrBook) -> None:
    request = book.ask("sol", 7_000)
    job = book.solana(request)
    book.finish(job)

    assert not book.burn(job).accepted

    book.solana(request, price=5)

    assert rule_of(book) == "message-fixed"


def test_each_branch_of_a_log_fixes_its_own_message_and_none_takes_the_others(book: SchnorrBook) -> None:
    """Who leaves a branch has burned what it bound: what was reserved there comes never again."""
    request = book.ask("sol", 7_000)
    one, other = book, book.branch()
    other.ask("sol", 1)  # so that its presignatures are others
    one.solana(request, price=1)
    other.solana(request, price=2)

    assert one.last.accepted and other.last.accepted

    one.append(other.entries[-1])
    other.solana(request, price=1)

    assert rule_of(one) == rule_of(other) == "message-fixed"


def test_cancellations_of_a_request_may_differ_for_they_pay_nobody(book: SchnorrBook) -> None:
    request = book.ask("sol", 7_000)
    book.solana(request, price=1)
    book.advance(DAY_MS)
    for price in (None, 0, 1_000_000):
        book.solana(request, purpose=CANCEL, price=price)

        assert rule_of(book) == ("cancel" if price != 1_000_000 else "fee-ceiling")

    book.solana(request, price=1)

    assert rule_of(book) == "request-expired"


def test_a_message_of_another_chains_request_may_change(book: SchnorrBook) -> None:
    """On Bitcoin, as on EVM, the anchor itself keeps two transactions of a request apart."""
    request = book.ask("btc", 20_000)
    book.bitcoin(request, fee=1_000)
    book.bitcoin(request, fee=2_000)

    assert book.last.accepted


def test_a_priority_fee_counts_and_is_bounded_by_the_requests_ceiling(book: SchnorrBook) -> None:
    book.solana(book.ask("sol", 7_000), price=5_000_001)

    assert rule_of(book) == "fee-ceiling"

    book.solana(book.ask("sol", 7_000), price=5_000_000)

    assert book.last.accepted
    assert book.used("sol-daily") == 17_000


# Tokens on Solana.


def test_a_token_is_paid_to_its_owner_and_the_account_that_is_made_counts_as_a_fee(book: SchnorrBook) -> None:
    request = book.ask("sol", 9_000_000, asset="tok", fee_ceiling=3_000_000)
    job = book.solana(request, price=1)

    assert book.last.accepted, book.last.reason
    assert book.finish(job)
    assert book.state.jobs[job].fee_max == 5_001 + 2_039_280
    assert book.used("sol-daily") == 5_001 + 2_039_280
    assert book.used("tok-daily") == 9_000_000
    assert (SOL, SOL_CUSTOMER) in book.state.paid


def test_the_account_that_is_made_for_a_token_is_within_the_requests_fee(book: SchnorrBook) -> None:
    book.solana(book.ask("sol", 9, asset="tok", fee_ceiling=5_000 + 2_039_279))

    assert rule_of(book) == "fee-ceiling"


@pytest.mark.parametrize("decimals", [0, 5, 7, 9])
def test_a_token_has_the_decimals_that_the_policy_says(book: SchnorrBook, decimals: int) -> None:
    """The chain takes only those of the mint, so that amounts which people saw are what is paid."""
    book.solana(book.ask("sol", 9, asset="tok", fee_ceiling=3_000_000), decimals=decimals)

    assert rule_of(book) == "intent-mismatch"
    assert f"the bytes say {decimals} decimals" in book.last.reason


def test_a_token_that_the_policy_does_not_know_is_not_paid(book: SchnorrBook) -> None:
    request = book.ask("sol", 9, asset="tok", fee_ceiling=3_000_000)
    payer, to = book.account("sol", "m").public_key, base58.decode(SOL_CUSTOMER)
    other = pay_tokens(payer, to, seed("other mint"), amount=9)
    book.reserved(request, message(payer, NONCE, advance(NONCE_ACCOUNT, payer), *other), paths=("m",))

    assert rule_of(book) == "intent-mismatch"
    assert "an unknown asset" in book.last.reason


def test_an_approval_of_a_token_on_solana_binds_no_calldata(book: SchnorrBook) -> None:
    request = book.ask("sol", 9, asset="tok")
    intent = book.state.requests[request].request.intent

    assert intent.calldata_hash(native=False) == intent.calldata_hash(native=True) == keccak256(b"")


def test_a_payment_to_somebody_else_is_no_payment_of_the_request(book: SchnorrBook) -> None:
    request, other = book.ask("sol", 7_000), book.ask("sol", 7_001)
    reserved = book.solana(other)
    tx = book.state.jobs[reserved].tx
    book.reserved(request, tx, paths=("m",))

    assert rule_of(book) == "anchor-taken"

    book = SchnorrBook(WORLD)
    book.reserved(book.ask("sol", 7_000), tx, paths=("m",))

    assert rule_of(book) == "intent-mismatch"


# Bitcoin.


def test_a_job_is_signed_when_all_its_signatures_are_there(book: SchnorrBook) -> None:
    job = book.bitcoin(book.ask("btc", 60_000))
    assert book.last.accepted, book.last.reason
    assert book.used("btc-daily") == 61_000

    assert book.finish(job, 1)

    half = book.state.jobs[job]
    assert (half.status, half.signatures[0]) == (JobStatus.RESERVED, b"")
    book.advance(2 * DAY_MS)
    assert book.used("btc-daily") == 61_000  # held until it is whole
    assert not book.finish(job, 1)
    assert not book.finish(job, 0, signature=half.signatures[1])
    assert not book.finish(job, 2, signature=half.signatures[1])

    assert book.finish(job, 0)

    whole = book.state.jobs[job]
    assert (whole.status, whole.suite, len(whole.signatures)) == (JobStatus.SIGNED, FROST_TAPROOT, 2)
    assert whole.signed_ms == book.now_ms


def test_the_signatures_are_those_that_bitcoin_verifies(book: SchnorrBook) -> None:
    job = book.bitcoin(book.ask("btc", 60_000))
    for index in (0, 1):
        book.finish(job, index)

    made = book.state.jobs[job]
    theirs = PSBT.parse(made.tx)
    for index, signature in enumerate(made.signatures):
        message = theirs.sighash(index, sighash=SIGHASH.DEFAULT)
        output_key = theirs.inputs[index].witness_utxo.script_pubkey.data[2:]
        assert PublicKeyXOnly(output_key).verify(signature, message)
    assert made.anchor == Slot(BTC, f"{theirs.tx.vin[0].txid.hex()}:0", 0)


def test_an_outpoint_serves_one_request_and_a_request_one_outpoint(book: SchnorrBook) -> None:
    request = book.ask("btc", 20_000)
    book.bitcoin(request, paths=("m/0/0",))
    book.bitcoin(book.ask("btc", 20_000), paths=("m/0/0",))

    assert rule_of(book) == "anchor-taken"

    book.bitcoin(request, paths=("m/0/0",), first=5)

    assert rule_of(book) == "anchor-changed"

    book.bitcoin(request, paths=("m/0/0", "m/0/1"), fee=2_000)

    assert book.last.accepted


def test_what_goes_back_into_the_wallet_cancels_an_expired_request(book: SchnorrBook) -> None:
    request = book.ask("btc", 20_000)
    book.bitcoin(request)
    book.advance(DAY_MS)
    book.bitcoin(request, purpose=CANCEL, fee=5_001)

    assert rule_of(book) == "fee-ceiling"

    book.bitcoin(request, purpose=CANCEL, fee=5_000)

    assert rule_of(book) == "cancel"


def test_a_cancellation_costs_no_more_than_its_chain_allows() -> None:
    small_in_wei = {"fee_ceiling": str(10**16)}
    book = SchnorrBook(WORLD, cancel=small_in_wei)
    request = book.ask("btc", 20_000)
    book.bitcoin(request)
    book.advance(DAY_MS)
    book.bitcoin(request, purpose=CANCEL, fee=10_001)

    assert rule_of(book) == "fee-ceiling"

    book.bitcoin(request, purpose=CANCEL, fee=10_000)

    assert rule_of(book) == "cancel"


@pytest.mark.parametrize(
    "paths", [("m/0/0",), ("m/0/1", "m/0/0"), ("m/0/0", "m/0/0"), ("m/0/0", "m/0/1", "m/0/0")]
)
def test_the_paths_are_those_of_the_inputs(book: SchnorrBook, paths: tuple[str, ...]) -> None:
    request = book.ask("btc", 20_000)
    tx = SchnorrBook(WORLD)
    job = tx.bitcoin(tx.ask("btc", 20_000))
    book.reserved(request, tx.state.jobs[job].tx, paths=paths)

    assert rule_of(book) == "undecodable"


def test_limits_hold_on_every_chain(book: SchnorrBook) -> None:
    book.ask("sol", LIMITS["sol"])

    assert rule_of(book) == "sol-daily"

    book.bitcoin(book.ask("btc", 60_000))
    book.ask("btc", 40_000)

    assert rule_of(book) == "btc-daily"


@pytest.mark.parametrize(("wallet", "to"), [("sol", BTC_CUSTOMER), ("btc", CUSTOMER)])
def test_an_address_of_another_chain_is_no_destination(book: SchnorrBook, wallet: str, to: str) -> None:
    request = replace(book.asked(), initiator="backend").body()
    assert isinstance(request, dict)
    body = {**request, "chain": {"sol": SOL, "btc": BTC}[wallet], "destination": to, "asset": wallet}
    verdict: Json = {"outcome": "allow", "rule": "elsewhere"}
    book.append(make_entry("request", book.now_ms, body=body, signature="00" * 64, verdict=verdict))

    assert book.last.kind == "malformed"
    assert "destination" in book.last.reason


# Accounts.


def test_an_account_is_of_a_key_of_its_chains_suite(book: SchnorrBook) -> None:
    keys = book.state.keys
    for key, chain in (("sol", BTC), ("btc", "evm:1"), ("main", SOL)):
        with pytest.raises(CallerError, match="needs one of"):
            account_at(keys[key], "m", chain=chain)
    with pytest.raises(CallerError, match="one account"):
        account_at(keys["sol"], "m/0", chain=SOL)


# Combining.


@pytest.mark.parametrize("wallet", ["sol", "btc"])
def test_the_combiner_names_the_signer_of_a_bad_partial_signature(book: SchnorrBook, wallet: str) -> None:
    request = book.ask(wallet, 20_000)
    reserved = book.solana(request) if wallet == "sol" else book.bitcoin(request)
    job = book.state.jobs[reserved]
    openings, partials = both_rounds(job, 0, book.state.keys)
    key = book.state.keys[wallet]

    good = combine(job, 0, key=key, nonce_point=b"", openings=openings, partials=partials)

    assert good == frost_signature(job, 0, book.state.keys)
    partials[2] = partials[1]
    with pytest.raises(FaultyParticipant) as caught:
        combine(job, 0, key=key, nonce_point=b"", openings=openings, partials=partials)
    assert caught.value.participant == 2
    with pytest.raises(UnknownFault):
        combine(
            job,
            0,
            key=key,
            nonce_point=b"",
            openings=dict.fromkeys(openings, openings[1]),
            partials=partials,
        )


# Auditing.


def test_the_audit_verifies_schnorr_signatures(book: SchnorrBook) -> None:
    book.finish(book.solana(book.ask("sol", 7_000)))
    job = book.bitcoin(book.ask("btc", 60_000))
    for index in (0, 1):
        book.finish(job, index)

    report = checked(published(book))

    assert report.ok, report.first_bad
    assert report.inert == 0


@pytest.mark.parametrize("sign", [1, -1])
def test_the_audit_finds_a_nonce_that_two_schnorr_signatures_share(book: SchnorrBook, sign: int) -> None:
    jobs = [book.solana(book.ask("sol", 7_000 + count), nonce=seed(f"value {count}")) for count in range(2)]
    for job in jobs:
        signature = reused_nonce(book.state.jobs[job].tx, sign=1 if job == jobs[0] else sign)
        assert book.finish(job, signature=signature) == (job == jobs[0])

    assert "repeats a nonce" in book.last.reason
    assert "repeats a nonce" in first_bad(checked(published(book)))[1]


@pytest.mark.parametrize("name", [FROST_ED25519, FROST_SECP256K1, FROST_TAPROOT])
def test_a_nonce_and_its_negative_are_one(name: str) -> None:
    suite = ciphersuite(name)
    points = [suite.group.base_mul(nonce) for nonce in (42, suite.group.order - 42, 43)]
    one, negative, other = (signatures.nonce(name, suite.signature(point, 7)) for point in points)

    assert one == negative != other


def reused_nonce(message: bytes, *, sign: int = 1) -> bytes:
    """A signature by the whole key, which the shares were made of, under a nonce that never changes."""
    suite, secret = ciphersuite(FROST_ED25519), 123456789
    nonce = sign * 42 % suite.group.order
    point = suite.group.base_mul(nonce)
    c = suite.challenge(point, message, public_key=SHARES["sol"][1].group_key)
    return suite.signature(point, (nonce + c * secret) % suite.group.order)


def test_a_signature_under_another_key_is_not_taken_in(book: SchnorrBook) -> None:
    job = book.solana(book.ask("sol", 7_000))
    signature = SigningKey(seed("somebody")).sign(book.state.jobs[job].tx).signature

    assert not book.finish(job, signature=signature)
    assert not book.finish(job, signature=signature + b"\0")
    assert not book.finish(job, signature=signature[:32])
