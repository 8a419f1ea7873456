"""Jobs on Solana and Bitcoin: one signature or many, under keys that BIP 340 and Ed25519 verify."""

import pytest
from coincurve import PublicKeyXOnly
from embit.psbt import PSBT
from embit.transaction import SIGHASH
from nacl.signing import SigningKey

from custody.combining import combine
from policy import signatures
from policy.accounts import account_at
from policy.approval import Slot
from policy.ciphersuites import ciphersuite
from policy.encoding import Json
from policy.entries import make_entry
from policy.errors import CallerError, FaultyParticipant, UnknownFault
from policy.state import CANCEL, JobStatus
from policy.suites import FROST_ED25519, FROST_SECP256K1, FROST_TAPROOT
from policy.values import replace
from tests.simulation.world import CUSTOMER, DAY_MS, World, seed
from tests.unit.schnorr_house import (
    BTC,
    BTC_CUSTOMER,
    LIMITS,
    SATOSHI,
    SHARES,
    SOL,
    SchnorrBook,
    both_rounds,
    frost_signature,
    psbt,
)
from tests.unit.test_audit import checked, first_bad, published

WORLD = World()


@pytest.fixture
def book() -> SchnorrBook:
    return SchnorrBook(WORLD)


def rule_of(book: SchnorrBook) -> str:
    assert book.last.verdict is not None
    return book.last.verdict.rule


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


@pytest.mark.parametrize(
    ("less", "to", "rule"),
    [(0, "m/0/1", ""), (900, "m/0/1", ""), (-1, "m/0/1", "intent-mismatch"), (900, "", "intent-mismatch")],
)
def test_coins_that_become_one_may_arrive_as_less_by_a_higher_fee_and_payments_to_others_may_not(
    less: int, to: str, rule: str
) -> None:
    anywhere = {"name": "coins", "when": {"assets": ["btc"]}, "then": {"outcome": "allow"}}
    book = SchnorrBook(WORLD, limits=[], rules=[anywhere])
    destination = book.account("btc", to).address if to else BTC_CUSTOMER
    amount = 2 * SATOSHI - 1_000
    request = book.ask("btc", amount, to=destination)
    spent = [book.account("btc", path).address for path in ("m/0/0", "m/0/1")]
    book.reserved(request, psbt(spent, [(destination, amount - less)], first=0), paths=("m/0/0", "m/0/1"))

    assert book.last.accepted is not bool(rule)
    assert not rule or rule_of(book) == rule
