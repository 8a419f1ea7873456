"""What a Solana virtual machine does with messages that nodes sign: their cost, and what it refuses."""

from hashlib import sha256

import pytest
from solders.account import Account as Stored
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, InitializeNonceAccountParams, initialize_nonce_account
from solders.system_program import create_account as create_system_account
from solders.token import ID as TOKENS
from solders.token.state import Mint, TokenAccount, TokenAccountState
from solders.transaction import Transaction
from solders.transaction_metadata import FailedTransactionMetadata

from policy.accounts import Account
from policy.decode.decoded import Cancel, Source, Transfer
from policy.decode.solana import decode, decode_cancel
from tests.unit import solana_house as house

SOL, NONCE_BYTES, UNITS = 10**9, 80, 40_000
MINT_KEY, OWNER_KEY, DECIMALS = Keypair.from_seed(b"\1" * 32), Keypair.from_seed(b"\2" * 32), 6
MINT, OWNER = bytes(MINT_KEY.pubkey()), bytes(OWNER_KEY.pubkey())


class Machine:
    """A wallet with SOL, tokens and a nonce account."""

    def __init__(self) -> None:
        self.svm = LiteSVM()
        self.key, self.nonce = Keypair.from_seed(b"\3" * 32), Keypair.from_seed(b"\4" * 32)
        self.payer = bytes(self.key.pubkey())
        self.svm.airdrop(self.key.pubkey(), 10 * SOL)
        created = CreateAccountParams(
            from_pubkey=self.key.pubkey(),
            to_pubkey=self.nonce.pubkey(),
            lamports=SOL // 10,
            space=NONCE_BYTES,
            owner=Pubkey.default(),
        )
        initialized = InitializeNonceAccountParams(
            nonce_pubkey=self.nonce.pubkey(), authority=self.key.pubkey()
        )
        made = [create_system_account(created), initialize_nonce_account(initialized)]
        message = Message.new_with_blockhash(made, self.key.pubkey(), self.svm.latest_blockhash())
        self._sent(Transaction([self.key, self.nonce], message, message.recent_blockhash))
        self._store(MINT, bytes(Mint(None, 10**9, DECIMALS, is_initialized=True, freeze_authority=None)))
        self.hold(self.payer, 1_000)

    def hold(self, owner: bytes, amount: int, *, really: bytes | None = None) -> None:
        """Tokens in the associated account of ``owner``, which belongs to ``really`` by now."""
        holder = Pubkey(really or owner)
        held = TokenAccount(
            mint=Pubkey(MINT),
            owner=holder,
            amount=amount,
            delegate=None,
            state=TokenAccountState.Initialized,
            is_native=None,
            delegated_amount=0,
            close_authority=None,
        )
        self._store(bytes(house.account_of(owner, MINT)), bytes(held))

    def _store(self, key: bytes, data: bytes) -> None:
        rent = self.svm.minimum_balance_for_rent_exemption(len(data))
        self.svm.set_account(Pubkey(key), Stored(lamports=rent, data=data, owner=TOKENS))

    @property
    def lamports(self) -> int:
        return self.svm.get_balance(self.key.pubkey()) or 0

    def tokens(self, owner: bytes) -> int:
        """What the owner's associated account has."""
        found = self.svm.get_account(house.account_of(owner, MINT))
        return 0 if found is None else TokenAccount.from_bytes(found.data).amount

    def message(self, *paid: Instruction, price: int | None) -> bytes:
        """A message under the nonce."""
        nonce = self.svm.get_account(self.nonce.pubkey())
        assert nonce is not None
        pair = [] if price is None else house.priority(UNITS, price)
        advance = house.advance(bytes(self.nonce.pubkey()), self.payer)
        return house.message(self.payer, nonce.data[40:72], advance, *pair, *paid)

    def read(self, tx: bytes) -> Transfer | Cancel:
        """What nodes read."""
        source = Source("solana:localnet", (Account("m", str(self.key.pubkey()), self.payer, 0, None),), bool)
        paid = decode(tx, source)
        read = paid if isinstance(paid, Transfer) else decode_cancel(tx, source)
        assert isinstance(read, Transfer | Cancel), (paid, read)
        return read

    def send(self, tx: bytes) -> bool:
        """Whether it lands and does what it says; the next slot has come by then."""
        message = Message.from_bytes(tx)
        sent = Transaction([self.key], message, message.recent_blockhash)
        self.svm.expire_blockhash()
        return not isinstance(self.svm.send_transaction(sent), FailedTransactionMetadata)

    def _sent(self, transaction: Transaction) -> None:
        assert not isinstance(self.svm.send_transaction(transaction), FailedTransactionMetadata)


@pytest.fixture
def machine() -> Machine:
    return Machine()


def tokens(machine: Machine, *, owner: bytes = OWNER, decimals: int = DECIMALS) -> list[Instruction]:
    return [*house.pay_tokens(machine.payer, owner, MINT, amount=7, decimals=decimals)]


@pytest.mark.parametrize("price", [None, 0, 1, 123_456])
def test_a_message_costs_what_nodes_say_it_costs_at_most(machine: Machine, price: int | None) -> None:
    before = machine.lamports
    tx = machine.message(house.pay(machine.payer, OWNER, SOL), price=price)

    assert machine.send(tx)
    assert before - machine.lamports == SOL + machine.read(tx).fee_max

    before, tx = machine.lamports, machine.message(price=price)

    assert machine.send(tx)
    assert before - machine.lamports == machine.read(tx).fee_max


@pytest.mark.parametrize("price", [None, 123_456])
def test_the_first_tokens_of_an_owner_cost_the_rent_and_later_ones_less(
    machine: Machine, price: int | None
) -> None:
    costs = []
    for _ in range(2):
        before, tx = machine.lamports, machine.message(*tokens(machine), price=price)

        assert machine.send(tx)
        costs.append(machine.read(tx).fee_max - (before - machine.lamports))

    assert costs == [0, machine.svm.minimum_balance_for_rent_exemption(165)]
    assert (machine.tokens(OWNER), machine.tokens(machine.payer)) == (14, 986)


def test_an_account_that_its_owner_handed_on_is_not_paid(machine: Machine) -> None:
    machine.hold(OWNER, 0, really=sha256(b"somebody else").digest())
    tx = machine.message(*tokens(machine), price=None)

    assert not machine.send(tx)
    assert isinstance(machine.read(tx), Transfer)
    assert machine.tokens(OWNER) == 0


@pytest.mark.parametrize("decimals", [0, DECIMALS - 1, DECIMALS + 1, 9])
def test_other_decimals_than_the_mints_pay_nothing(machine: Machine, decimals: int) -> None:
    assert not machine.send(machine.message(*tokens(machine, decimals=decimals), price=None))
    assert machine.tokens(machine.payer) == 1_000


def test_under_a_nonce_one_of_several_messages_is_taken(machine: Machine) -> None:
    made = [machine.message(*tokens(machine), price=price) for price in (None, 1, 2)]

    assert [machine.send(tx) for tx in made] == [True, False, False]
    assert machine.tokens(OWNER) == 7
