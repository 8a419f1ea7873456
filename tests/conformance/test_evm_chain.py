"""The EVM adapter against a real chain, and our transaction bytes against a library of others."""

import asyncio
import json
import shutil
import subprocess
import time
import traceback
from pathlib import Path

import pytest
import rlp
from eth_account import Account
from web3 import HTTPProvider, Web3
from web3.types import RPCEndpoint

from custody.chains.evm.agreement import AgreeingEndpoints
from custody.chains.evm.endpoint import EvmEndpoint, Fees
from custody.chains.evm.rpc import EvmRpc
from custody.chains.evm.transaction import (
    attach_signature,
    cancellation,
    payment,
    transaction_hash,
    with_nonce,
)
from custody.ports import Receipt
from policy import accounts
from policy.approval import Slot
from policy.decode.abi import encode_call, parse_method
from policy.decode.decoded import Call, Cancel, Source, Transfer
from policy.decode.evm import decode, decode_call, decode_cancel
from policy.errors import CallerError, MalformedError, OperationalError
from policy.intent import Intent
from policy.keccak import keccak256
from policy.values import replace
from tests.fixtures_anvil import CHAIN_ID, FUNDED, ROOT, Anvil
from tests.unit.custody_cluster import ANVIL_CHAIN, ETHER, PAYEE, WALLET, make_request
from tests.unit.custody_house import House
from tests.waiting import found

pytest_plugins = ("tests.fixtures_anvil",)

TOKEN = ROOT / "cli/demo/token"
KEY = Account.from_key("0x" + "42" * 32)
FEES = Fees(fee_per_gas=3 * 10**9, priority_per_gas=10**9, gas=21_000)
TOKEN_FEES = Fees(fee_per_gas=3 * 10**9, priority_per_gas=10**9, gas=80_000)
CEILING = 10**16


def intent(amount: int = 5, asset: str = "eth") -> Intent:
    return Intent(ANVIL_CHAIN, WALLET, asset, amount, PAYEE)


def signed(tx: bytes) -> bytes:
    signature = KEY.unsafe_sign_hash(keccak256(tx))
    return attach_signature(tx, r=signature.r, s=signature.s, recovery_id=signature.v - 27)


def fund(anvil: Anvil, account: str, amount: int = 100 * ETHER) -> Web3:
    web3 = Web3(HTTPProvider(anvil.url))
    sent = web3.eth.send_transaction(
        {
            "from": Web3.to_checksum_address(FUNDED),
            "to": Web3.to_checksum_address(account),
            "value": Web3.to_wei(amount, "wei"),
        }
    )
    web3.eth.wait_for_transaction_receipt(sent)
    return web3


async def mined(chain: EvmEndpoint, raw: bytes) -> Receipt:
    """The receipt of a transaction; anvil answers before it has mined."""
    receipt = await found(lambda: chain.receipt(transaction_hash(raw)))
    assert receipt is not None
    return receipt


SOURCE = Source(ANVIL_CHAIN, (accounts.Account("m/0/0", PAYEE, b"", 0, None),), lambda _: False)


def deploy(web3: Web3, supply: int) -> str:
    """The demo's token, owned by the funded account."""
    artifact = json.loads((TOKEN / "Token.json").read_text())
    contract = web3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"])
    sent = contract.constructor(supply).transact({"from": Web3.to_checksum_address(FUNDED)})
    return str(web3.eth.wait_for_transaction_receipt(sent)["contractAddress"]).lower()


def test_a_payment_decodes_to_its_intent() -> None:
    tx = payment(intent(7), contract=None, nonce=3, fees=FEES)

    decoded = decode(tx, SOURCE)

    assert isinstance(decoded, Transfer)
    assert (decoded.recipient, decoded.amount, decoded.anchor.nonce, decoded.contract) == (PAYEE, 7, 3, None)
    assert decoded.fee_max == FEES.total_max


def test_a_token_payment_decodes_to_its_intent() -> None:
    token = "0x" + "77" * 20

    decoded = decode(payment(intent(7), contract=token, nonce=0, fees=FEES), SOURCE)

    assert isinstance(decoded, Transfer)
    assert (decoded.recipient, decoded.amount, decoded.contract) == (PAYEE, 7, token)


def test_a_cancellation_uses_up_its_nonce_and_moves_nothing() -> None:
    tx = cancellation(ANVIL_CHAIN, account=PAYEE, nonce=9, fees=FEES)

    decoded = decode_cancel(tx, SOURCE)

    assert isinstance(decoded, Cancel)
    assert decoded.anchor == Slot(ANVIL_CHAIN, PAYEE, 9)


@pytest.mark.parametrize("nonce", [0, 1, 127, 128, 2**32])
def test_another_nonce_changes_nothing_else(nonce: int) -> None:
    tx = payment(intent(), contract=None, nonce=0, fees=FEES)

    assert with_nonce(tx, nonce) == payment(intent(), contract=None, nonce=nonce, fees=FEES)


def test_a_signed_transaction_is_what_another_library_makes() -> None:
    tx = payment(intent(), contract=None, nonce=1, fees=FEES)
    theirs = KEY.sign_transaction(
        {
            "type": 2,
            "chainId": CHAIN_ID,
            "nonce": 1,
            "to": Web3.to_checksum_address(PAYEE),
            "value": 5,
            "data": b"",
            "gas": FEES.gas,
            "maxFeePerGas": FEES.fee_per_gas,
            "maxPriorityFeePerGas": FEES.priority_per_gas,
        }
    )

    raw = signed(tx)

    assert raw == bytes(theirs.raw_transaction)
    assert transaction_hash(raw) == bytes(theirs.hash)


@pytest.mark.parametrize("tx", [b"", b"\x02", b"\x02\xff", b"\x01" + rlp.encode([b""] * 9), b"\x02\xc0"])
def test_only_an_unsigned_transaction_takes_a_signature(tx: bytes) -> None:
    with pytest.raises(MalformedError):
        attach_signature(tx, r=1, s=1, recovery_id=0)


def test_a_recovery_id_that_evm_lacks_is_refused() -> None:
    with pytest.raises(CallerError, match="0 or 1"):
        attach_signature(payment(intent(), contract=None, nonce=0, fees=FEES), r=1, s=1, recovery_id=2)


async def test_a_payment_is_mined_and_repeating_it_is_harmless(anvil: Anvil) -> None:
    fund(anvil, KEY.address)
    chain = EvmRpc(ANVIL_CHAIN, anvil.url)
    await chain.check()
    account = KEY.address.lower()
    fees = await chain.fees(intent(), account=account, contract=None, ceiling=CEILING)
    raw = signed(payment(intent(), contract=None, nonce=await chain.account_nonce(account), fees=fees))
    before = await chain.receipt(transaction_hash(raw))

    await chain.broadcast(raw)
    await chain.broadcast(raw)
    receipt = await mined(chain, raw)

    assert before is None
    assert receipt.success
    assert await chain.balance(PAYEE) == 5
    assert await chain.account_nonce(account) == 1
    await chain.close()


async def test_a_payment_is_mined_with_one_of_three_endpoints_dead(anvil: Anvil) -> None:
    fund(anvil, KEY.address)
    urls = (anvil.url, "http://127.0.0.1:9", anvil.url + "/")
    ends = {url: EvmRpc(ANVIL_CHAIN, url, timeout_s=2) for url in urls}
    several = AgreeingEndpoints(ANVIL_CHAIN, ends, agree=2)
    account = KEY.address.lower()
    fees = await several.fees(intent(), account=account, contract=None, ceiling=CEILING)
    raw = signed(payment(intent(), contract=None, nonce=await several.account_nonce(account), fees=fees))

    await several.broadcast(raw)
    receipt = await mined(several, raw)

    assert receipt.success
    assert await several.balance(PAYEE) == 5
    for chain in ends.values():
        await chain.close()


async def test_confirmations_are_counted_from_the_head_that_is_asked_for(anvil: Anvil) -> None:
    web3 = fund(anvil, KEY.address)
    latest, final = (EvmRpc(ANVIL_CHAIN, anvil.url, head=head) for head in ("latest", "finalized"))
    raw = signed(payment(intent(), contract=None, nonce=0, fees=FEES))
    await latest.broadcast(raw)
    receipt = await mined(latest, raw)
    fresh = await final.receipt(receipt.tx_hash)
    web3.provider.make_request(RPCEndpoint("anvil_mine"), ["0x50"])
    deep = await final.receipt(receipt.tx_hash)

    assert (receipt.confirmations, fresh and fresh.confirmations) == (1, 0)
    assert deep is not None and deep.confirmations > 0
    for chain in (latest, final):
        await chain.close()


async def test_another_transaction_at_a_used_nonce_is_an_error(anvil: Anvil) -> None:
    fund(anvil, KEY.address)
    chain = EvmRpc(ANVIL_CHAIN, anvil.url)
    await chain.broadcast(signed(payment(intent(1), contract=None, nonce=0, fees=FEES)))

    with pytest.raises(OperationalError, match="look up its nonce"):
        await chain.broadcast(signed(payment(intent(2), contract=None, nonce=0, fees=FEES)))
    await chain.close()


@pytest.mark.parametrize("head", ["latest", "finalized"])
async def test_what_used_a_nonce_is_found_however_deep_it_is(anvil: Anvil, head: str) -> None:
    chain, web3 = EvmRpc(ANVIL_CHAIN, anvil.url, head=head), fund(anvil, KEY.address)
    sent = [payment(intent(amount), contract=None, nonce=amount, fees=FEES) for amount in range(3)]
    for tx, blocks in zip(sent, (5, 40, 70), strict=True):
        await chain.broadcast(signed(tx))
        await mined(EvmRpc(ANVIL_CHAIN, anvil.url), signed(tx))
        web3.provider.make_request(RPCEndpoint("anvil_mine"), [hex(blocks)])

    for nonce, tx in enumerate(sent):
        found = await chain.sent_at(KEY.address.lower(), nonce)

        assert found is not None and found.tx == tx
        (signature,) = found.signatures
        r, s = (int.from_bytes(signature[at : at + 32], "big") for at in (0, 32))
        assert attach_signature(tx, r=r, s=s, recovery_id=signature[64]) == signed(tx)
        assert found.receipt == await chain.receipt(transaction_hash(signed(tx)))
    assert await chain.sent_at(KEY.address.lower(), 3) is None
    await chain.close()


async def test_an_account_without_money_is_an_error_that_says_so(anvil: Anvil) -> None:
    chain = EvmRpc(ANVIL_CHAIN, anvil.url)

    with pytest.raises(OperationalError, match="fund the account"):
        await chain.broadcast(signed(payment(intent(1), contract=None, nonce=0, fees=FEES)))
    await chain.close()


async def test_fees_stay_below_the_ceiling_or_say_what_would_do(anvil: Anvil) -> None:
    chain = EvmRpc(ANVIL_CHAIN, anvil.url)
    fees = await chain.fees(intent(), account=FUNDED, contract=None, ceiling=CEILING)

    with pytest.raises(OperationalError, match="ask anew with a ceiling of"):
        await chain.fees(intent(), account=FUNDED, contract=None, ceiling=21_000)

    assert fees.total_max <= CEILING
    assert fees.gas == 21_000
    await chain.close()


async def test_a_token_payment_moves_tokens_and_a_failed_one_is_seen(anvil: Anvil) -> None:
    web3 = fund(anvil, KEY.address)
    token = deploy(web3, 1_000)
    artifact = json.loads((TOKEN / "Token.json").read_text())
    contract = web3.eth.contract(Web3.to_checksum_address(token), abi=artifact["abi"])
    contract.functions.transfer(KEY.address, 10).transact({"from": Web3.to_checksum_address(FUNDED)})
    chain = EvmRpc(ANVIL_CHAIN, anvil.url)
    account = KEY.address.lower()
    good = await chain.fees(intent(5), account=account, contract=token, ceiling=CEILING)
    bad = await chain.fees(intent(50), account=account, contract=token, ceiling=CEILING)

    paid = signed(payment(intent(5), contract=token, nonce=0, fees=good))
    failed = signed(payment(intent(50), contract=token, nonce=1, fees=bad))
    await chain.broadcast(paid)
    await chain.broadcast(failed)

    receipts = [await mined(chain, raw) for raw in (paid, failed)]
    assert [receipt.success for receipt in receipts] == [True, False]
    assert await chain.balance(PAYEE, token) == 5
    assert 21_000 < good.gas <= 200_000
    await chain.close()


async def test_a_chain_of_another_id_is_noticed(anvil: Anvil) -> None:
    chain = EvmRpc("evm:1", anvil.url)

    with pytest.raises(OperationalError, match="is chain 31337, not evm:1"):
        await chain.account_nonce(FUNDED)
    await chain.close()


async def test_an_endpoint_that_does_not_answer_is_an_operational_error() -> None:
    chain = EvmRpc(ANVIL_CHAIN, "http://127.0.0.1:9", timeout_s=1)

    with pytest.raises(OperationalError, match="asked again"):
        await chain.account_nonce(FUNDED)
    await chain.close()


async def test_an_error_names_the_endpoints_host_and_not_the_key_in_its_path() -> None:
    chain = EvmRpc(ANVIL_CHAIN, "http://user:word@127.0.0.1:9/v3/customer-key", timeout_s=1)

    with pytest.raises(OperationalError, match=r"127\.0\.0\.1:9") as caught:
        await chain.account_nonce(FUNDED)
    told = "".join(traceback.format_exception(caught.value))
    assert "customer-key" not in told
    assert "word" not in told
    await chain.close()


async def test_a_request_settles_on_a_real_chain(anvil: Anvil, tmp_path: Path) -> None:
    house = House(tmp_path)
    house.chain = chain = EvmRpc(ANVIL_CHAIN, anvil.url)
    async with house.with_key() as running:
        account, _, _ = running.service.address(WALLET, "")
        await asyncio.to_thread(fund, anvil, account.address)
        _, body, signature = make_request("one", amount=ETHER, now_ms=time.time_ns() // 1_000_000)

        request = (await running.service.submit(body, signature)).request
        settled = await running.until(request, "settled")

        assert await chain.balance(PAYEE) == ETHER
        assert settled.block > 0
    await chain.close()


def test_the_committed_token_is_what_its_source_compiles_to() -> None:
    node = shutil.which("node")
    if node is None or not (ROOT / "node_modules/solc").is_dir():
        pytest.skip("no solc: run npm ci --ignore-scripts")

    compiled = subprocess.run(
        [node, str(TOKEN / "compile.js")], capture_output=True, check=True, timeout=60
    ).stdout

    assert json.loads(compiled) == json.loads((TOKEN / "Token.json").read_text())


async def test_a_call_of_a_contract_is_mined_and_one_that_would_fail_is_not_built(anvil: Anvil) -> None:
    web3 = fund(anvil, KEY.address)
    token = deploy(web3, 1_000)
    approve = parse_method("approve(address spender,uint256 amount)")
    data = encode_call(approve, {"spender": PAYEE, "amount": 9})
    call = Intent(ANVIL_CHAIN, WALLET, "eth", 0, token, data)
    chain, account = EvmRpc(ANVIL_CHAIN, anvil.url), KEY.address.lower()
    fees = await chain.fees(call, account=account, contract=None, ceiling=CEILING)
    tx = payment(call, contract=None, nonce=0, fees=fees)
    raw = signed(tx)
    await chain.broadcast(raw)
    receipt = await mined(chain, raw)
    artifact = json.loads((TOKEN / "Token.json").read_text())
    contract = web3.eth.contract(Web3.to_checksum_address(token), abi=artifact["abi"])
    unknown = replace(call, calldata=bytes.fromhex("f2fde38b") + bytes(32))

    assert receipt.success
    assert contract.functions.allowance(KEY.address, Web3.to_checksum_address(PAYEE)).call() == 9
    decoded = decode_call(tx, SOURCE)
    assert isinstance(decoded, Call) and (decoded.contract, decoded.data) == (token, data)
    with pytest.raises(OperationalError, match="would fail now"):
        await chain.fees(unknown, account=account, contract=None, ceiling=CEILING)
    await chain.close()
