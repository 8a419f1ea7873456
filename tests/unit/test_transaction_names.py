"""What a chain calls the transaction of a signed job: as other libraries name it, and as it is sent."""

from typing import Any

import pytest
import rlp
from eth_account import Account
from eth_utils.address import to_checksum_address

from custody.chains.families import transactions
from policy.errors import MalformedError
from policy.state import Job, JobStatus
from policy.transaction_names import transaction_name
from policy.values import replace
from tests.simulation.world import CUSTOMER, Book, World, seed
from tests.unit.schnorr_house import SchnorrBook

CHAIN_ID = 31337


@pytest.fixture(scope="module")
def evm() -> Job:
    book = Book(World())
    job = book.pay(nonce=0)
    return book.state.jobs[job]


def test_the_name_is_that_of_what_the_coordinator_sends(evm: Job) -> None:
    book = SchnorrBook(World())
    solana, bitcoin = book.solana(book.ask("sol", 7_000)), book.bitcoin(book.ask("btc", 10_000))
    book.finish(solana)
    for index in range(len(book.state.jobs[bitcoin].signings)):
        book.finish(bitcoin, index)

    for job in (evm, book.state.jobs[solana], book.state.jobs[bitcoin]):
        assert job.status is JobStatus.SIGNED
        assert transaction_name(job) == transactions(job.anchor.chain).finished(job)[1]


@pytest.mark.parametrize("is_legacy", [False, True])
@pytest.mark.parametrize("value", [0, 127, 128, 2**70])
@pytest.mark.parametrize("length", [0, 1, 55, 56, 300])
def test_the_name_of_an_evm_transaction_is_that_of_another_library(
    evm: Job, is_legacy: bool, value: int, length: int
) -> None:
    offer = {"gasPrice": 9} if is_legacy else {"maxFeePerGas": 9, "maxPriorityFeePerGas": 0}
    asked = {"chainId": CHAIN_ID, "nonce": length, "gas": 90_000, "value": value, **offer}
    to, data = to_checksum_address(CUSTOMER), b"\x7f" * length
    signed = Account.from_key(seed("someone")).sign_transaction({**asked, "to": to, "data": data})

    assert transaction_name(_as_job(evm, signed, is_legacy)) == bytes(signed.hash)


def test_a_recovery_id_that_no_chain_takes_has_no_name(evm: Job) -> None:
    with pytest.raises(MalformedError, match="recovery id"):
        transaction_name(replace(evm, signatures=(evm.signatures[0][:64] + b"\x02",)))


def _as_job(evm: Job, signed: Any, is_legacy: bool) -> Job:
    """A job of what another library signed: its unsigned bytes, and the signature."""
    raw = bytes(signed.raw_transaction)
    if is_legacy:
        tx = rlp.encode([*rlp.decode(raw)[:6], CHAIN_ID, 0, 0])
    else:
        tx = b"\x02" + rlp.encode(rlp.decode(raw[1:])[:9])
    parity = signed.v - 35 - 2 * CHAIN_ID if is_legacy else signed.v
    signature = signed.r.to_bytes(32, "big") + signed.s.to_bytes(32, "big") + bytes([parity])
    return replace(evm, tx=tx, signatures=(signature,))
