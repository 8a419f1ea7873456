"""Jobs on Solana: one anchor and one message a request, and what tokens and priority fees count."""

import random

import pytest
from nacl.signing import VerifyKey
from solders.message import Message
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import Transaction

from policy import base58
from policy.addresses import solana_address
from policy.approval import Slot
from policy.holdings import OUTBOUND, flowing, place_of
from policy.keccak import keccak256
from policy.limits_audit import sum_afresh
from policy.state import CANCEL, PAYMENT, JobStatus, State
from policy.suites import FROST_ED25519
from policy.values import replace
from tests.simulation.world import DAY_MS, World, seed
from tests.unit.schnorr_house import NONCE, NONCE_ACCOUNT, SHARES, SOL, SOL_CUSTOMER, SchnorrBook, policy
from tests.unit.solana_house import advance, message, pay, pay_tokens, priority
from tests.unit.test_audit import checked, first_bad, published

WORLD = World()
SLOT = Slot(SOL, solana_address(NONCE_ACCOUNT), int.from_bytes(NONCE, "big"))


@pytest.fixture
def book() -> SchnorrBook:
    return SchnorrBook(WORLD)


def rule_of(book: SchnorrBook) -> str:
    assert book.last.verdict is not None
    return book.last.verdict.rule


# Anchors and fees.


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
    assert book.used("sol-daily") == 12_000 + 5_000  # for all that nodes know, both are taken


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


def test_cancellations_of_a_request_may_differ_and_cost_no_more_together_than_one_may() -> None:
    """Else a coordinator would have many of them taken under a recent blockhash, and the fee of each."""
    book = SchnorrBook(WORLD, cancel={"fee_ceiling": "16000"})
    request = book.ask("sol", 7_000)
    book.solana(request, price=1)
    book.advance(DAY_MS)
    used = 12_001
    for price, rule in (
        (None, "cancel"),
        (6_000_001, "fee-ceiling"),
        (6_000_000, "cancel"),
        (0, "fee-ceiling"),
    ):
        book.solana(request, purpose=CANCEL, price=price)
        used += {None: 5_000, 6_000_000: 11_000}.get(price, 0)

        assert (rule_of(book), book.used("sol-daily")) == (rule, used)

    again = book.solana(request, purpose=CANCEL, price=6_000_000)

    assert (rule_of(book), book.used("sol-daily")) == ("cancel", used)

    book.burn(again)
    book.solana(request, price=1)

    assert rule_of(book) == "request-expired"
    assert checked(published(book)).ok


def limited(amount_max: int) -> SchnorrBook:
    """A book whose limit of SOL is this."""
    limits = [
        one | {"amount_max": str(amount_max)} if one["name"] == "sol-daily" else one
        for one in policy(WORLD)["limits"]
    ]
    return SchnorrBook(WORLD, limits=limits, cancel={"fee_ceiling": "16000"})


@pytest.mark.parametrize(("asset", "costs"), [("sol", 7_000 + 5_000), ("tok", 5_000 + 2_039_280)])
def test_a_payment_that_fills_a_limit_does_not_keep_its_cancellation_off(asset: str, costs: int) -> None:
    """It holds what one costs from the first on: both may be taken, and the limit is not exceeded."""
    book = limited(costs + 5_000)
    request = book.ask("sol", 7_000, asset=asset, fee_ceiling=costs - (7_000 if asset == "sol" else 0))
    book.advance(DAY_MS - 1_000)
    book.finish(book.solana(request))
    book.advance(2_000)
    before = book.used("sol-daily")
    job = book.solana(request, purpose=CANCEL)

    assert rule_of(book) == "cancel"
    assert book.finish(job)
    assert before == book.used("sol-daily") == sum_afresh(book.state, ("sol-daily", "")) == costs + 5_000

    book.solana(request, purpose=CANCEL, price=0)

    assert rule_of(book) == "sol-daily"
    assert checked(published(book)).ok


def test_what_a_request_may_cost_beside_its_payment_is_within_the_limits() -> None:
    book = limited(16_999)
    book.ask("sol", 7_000, fee_ceiling=5_000)

    assert rule_of(book) == "sol-daily"

    book = limited(17_000)
    request = book.ask("sol", 7_000, fee_ceiling=5_000)
    book.solana(request)
    book.advance(DAY_MS)
    book.solana(request, purpose=CANCEL, price=1)

    assert rule_of(book) == "sol-daily"

    book.burn(book.state.requests[request].jobs[0])
    book.solana(request, purpose=CANCEL, price=1)

    assert rule_of(book) == "cancel"
    assert book.used("sol-daily") == 5_001


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
    assert book.used("sol-daily") == 17_000 + 5_000


# Tokens on Solana.


def test_a_token_is_paid_to_its_owner_and_the_account_that_is_made_counts_as_a_fee(book: SchnorrBook) -> None:
    request = book.ask("sol", 9_000_000, asset="tok", fee_ceiling=3_000_000)
    job = book.solana(request, price=1)

    assert book.last.accepted, book.last.reason
    assert book.finish(job)
    assert book.state.jobs[job].fee_max == 5_001 + 2_039_280
    assert book.used("sol-daily") == 5_001 + 2_039_280 + 5_000
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


# One message.


def payable(state: State, request: bytes) -> set[bytes]:
    """What nodes may have signed or still may: of a request all of it must be one message."""
    jobs = (state.jobs[job] for job in state.requests[request].jobs)
    return {job.tx for job in jobs if job.purpose == PAYMENT and job.status is not JobStatus.BURNED}


def at_most(state: State, request: bytes) -> int:
    """What a request can take out of the wallet in lamports, were each of its messages taken once."""
    intent, costs = state.requests[request].request.intent, dict[bytes, int]()
    for job in state.live_jobs(request):
        paid = intent.amount if job.purpose == PAYMENT and intent.asset == "sol" else 0
        costs[job.tx] = job.fee_max + paid
    return sum(costs.values())


def counts(state: State, request: bytes) -> int:
    """What a request counts in a limit: at most that, and with a payment at least one cancellation."""
    live = state.live_jobs(request)
    cancels = {job.tx: job.fee_max for job in live if job.purpose == CANCEL}
    held = 5_000 if any(job.purpose == PAYMENT for job in live) else 0
    return at_most(state, request) + max(0, held - sum(cancels.values()))


def going(state: State, request: bytes, asset: str) -> int:
    """What tiers take to go out of the wallet by a request."""
    found = flowing(state, state.requests[request], jobs=state.live_jobs(request))
    return found.get(place_of(OUTBOUND, "sol", asset=asset), 0)


def act(book: SchnorrBook, request: bytes, source: random.Random) -> None:
    """Whatever a coordinator may do next with a request, with a claim that fits."""
    jobs = book.state.requests[request].jobs
    price = source.choice((None, 0, 1, 2))
    match source.choice(("pay", "pay", "pay", "burn", "sign", "cancel", "repeat", "wait")):
        case "pay":
            book.solana(request, price=price)
        case "cancel":
            book.solana(request, price=price, purpose=CANCEL)
        case "burn" if jobs:
            book.burn(source.choice(jobs))
        case "sign" if jobs:
            book.finish(source.choice(jobs), signature=source.choice((None, None, bytes(64))))
        case "repeat":
            book.append(source.choice(book.entries[-5:]))
        case "wait":
            book.advance(source.choice((1, DAY_MS // 5)))
        case _:
            pass


@pytest.mark.parametrize("number", range(12))
@pytest.mark.parametrize("asset", ["sol", "tok"])
def test_whatever_a_coordinator_does_a_request_has_one_message_at_a_time_and_signs_one_ever(
    asset: str, number: int
) -> None:
    source = random.Random(f"{asset} {number}")
    book = SchnorrBook(WORLD, cancel={"fee_ceiling": "16000"})
    request = book.ask("sol", 7_000, asset=asset, fee_ceiling=3_000_000)
    signed: set[bytes] = set()
    for _ in range(25):
        act(book, request, source)
        jobs = [book.state.jobs[job] for job in book.state.requests[request].jobs]
        signed |= {job.tx for job in jobs if job.purpose == PAYMENT and job.status is JobStatus.SIGNED}

        assert len(payable(book.state, request)) <= 1
        assert len(signed) <= 1
        assert book.used("sol-daily") == counts(book.state, request)
        assert sum_afresh(book.state, ("sol-daily", "")) == counts(book.state, request)
        assert going(book.state, request, "sol") == at_most(book.state, request)


def test_a_second_message_would_be_seen_by_that_property(book: SchnorrBook) -> None:
    request = book.ask("sol", 7_000)
    other = book.branch()
    other.ask("sol", 1)
    first, second = book.solana(request), other.solana(request, price=1)
    one, two = book.state.jobs[first], other.state.jobs[second]
    state = replace(
        book.state,
        jobs=book.state.jobs.set(two.job_id, two),
        requests=book.state.requests.set(
            request, replace(book.state.requests[request], jobs=(one.job_id, two.job_id))
        ),
    )

    assert len(payable(state, request)) == 2


def test_the_audit_names_a_claim_that_a_second_message_was_allowed(book: SchnorrBook) -> None:
    request = book.ask("sol", 7_000)
    book.finish(book.solana(request))
    payer, to = book.account("sol", "m").public_key, base58.decode(SOL_CUSTOMER)
    dearer = message(payer, NONCE, advance(NONCE_ACCOUNT, payer), *priority(1_000, 1), pay(payer, to, 7_000))
    body = book.reservation_of(request, dearer, paths=("m",))
    book.log_reservation(body, claim={"outcome": "allow", "rule": "elsewhere"})

    assert not book.last.accepted
    assert first_bad(checked(published(book))) == (
        len(book.entries) - 1,
        "claims allow by elsewhere, the verdict is deny by message-fixed",
    )


def test_an_approval_bounds_the_priority_fee_and_names_no_message(book: SchnorrBook) -> None:
    document = policy(WORLD)
    document["rules"][-1]["then"] = {"outcome": "approve", "approvals": [{"group": "treasury", "count": 1}]}
    book = SchnorrBook(WORLD, rules=document["rules"])
    request = book.ask("sol", 7_000)
    book.log_approval(book.approval(request, "alice", nonce=0, slot=SLOT, fee_ceiling=5_001))

    assert book.last.accepted, book.last.reason

    book.solana(request, price=1_001)

    assert not book.last.accepted

    book.solana(request, price=1_000)

    assert book.last.accepted
