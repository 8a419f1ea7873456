"""Reserves that are shown by a log: which accounts their keys signed for, and what observers state of them.

An account is proven by an EIP-712 statement that its key signed through the log like all else, under a policy
that declares it: it names account, log, a head of the log, the auditor's challenge and the root of what is
owed. The domain's contract is an address that nobody has a key or code for: it is good for nothing else.

A wallet is proven when all its accounts are. What a wallet holds is what observers stated last, less all that
may still go out: the least. More than that is never said.
"""

from dataclasses import dataclass
from typing import Any, Final

from policy.accounts import account_at
from policy.bip32 import ethereum_address
from policy.decode.eip712 import TypedData, parse_typed_data
from policy.decode.typed_data import Declaration, read_declaration
from policy.encoding import Json
from policy.entries import RequestEntry, ReserveEntry, SignatureEntry
from policy.errors import CallerError, MalformedError
from policy.fact_entries import HoldingsEntry
from policy.fields import Fields
from policy.holdings import wallet_held
from policy.ids import EVM, family
from policy.keccak import keccak256
from policy.log.merkle import frontier_at
from policy.log.tiles import Read, tile_hash_reader
from policy.model import Wallet
from policy.proven import POLICY, ROSTER, Origins
from policy.replay import Step
from policy.state import State

NAME: Final = "proof-of-reserves"
CONTRACT: Final = "0x" + keccak256(b"quorumkeep/proof-of-reserves")[-20:].hex()
DOMAIN: Final[dict[str, Json]] = {"name": "Quorumkeep proof of reserves", "version": "1"}
PRIMARY_TYPE: Final = "ProofOfReserves"
MEMBERS: Final = (
    ("account", "address"),
    ("origin", "string"),
    ("size", "uint64"),
    ("root", "bytes32"),
    ("challenge", "string"),
    ("liabilities", "bytes32"),
)
NOTHING_OWED: Final = bytes(32)
"""In a statement: what is owed was not told."""
CHALLENGE_LENGTH_MAX: Final = 128


def declared_on(chain: str) -> dict[str, Json]:
    """What a policy declares under ``typed_data`` so that statements of this chain's accounts are signed."""
    members: list[Json] = [{"name": name, "type": kind} for name, kind in MEMBERS]
    return {
        "chain": chain,
        "contract": CONTRACT,
        "domain": DOMAIN,
        "primary_type": PRIMARY_TYPE,
        "types": {PRIMARY_TYPE: members},
    }


def declaration(chain: str) -> Declaration:
    """The same, read."""
    return read_declaration(NAME, Fields(declared_on(chain), NAME))


@dataclass(frozen=True, slots=True)
class Asked:
    """What every account is asked to sign: the auditor's words, a head of the log, and what is owed."""

    challenge: str
    origin: str
    size: int
    root: bytes
    liabilities: bytes = NOTHING_OWED

    def document(self, chain: str, account: str) -> bytes:
        """The canonical document for one account."""
        return declaration(chain).document(
            {
                "account": account,
                "origin": self.origin,
                "size": str(self.size),
                "root": f"0x{self.root.hex()}",
                "challenge": self.challenge,
                "liabilities": f"0x{self.liabilities.hex()}",
            }
        )


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that the log has with its signature; the entries that show it by index."""

    chain: str
    account: str
    asked: Asked
    document: bytes
    signature: bytes
    public_key: bytes
    entries: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Held:
    """What a wallet holds of an asset at least, by the entry ``index``; None if nothing new is stated."""

    wallet: str
    asset: str
    index: int | None
    stated: int
    least: int | None


@dataclass(frozen=True, slots=True)
class WalletShown:
    """A wallet's accounts, each with its statement or None; ``why`` it is not proven, empty if it is."""

    wallet: Wallet
    accounts: tuple[tuple[str, Statement | None], ...]
    why: str


class Reserves:
    """Hears of every entry of a log, for ``policy.audit.audit``, and keeps what one challenge came to."""

    def __init__(self, challenge: str, liabilities: bytes = NOTHING_OWED) -> None:
        self._challenge, self._liabilities = challenge, liabilities
        self._origins = Origins()
        self._requests: dict[bytes, tuple[int, TypedData]] = {}
        self._jobs: dict[bytes, tuple[int, bytes]] = {}
        self._statements: list[Statement] = []
        self._stated: dict[tuple[str, str], tuple[int, int]] = {}
        self.state: State | None = None

    def __call__(self, step: Step) -> None:
        """Hear of one entry."""
        self._origins.follow(step)
        self.state = step.after
        if not step.outcome.accepted:
            return
        match step.timed.entry:
            case RequestEntry() as entry if entry.request.intent.typed_data is not None:
                self._ask(step, entry)
            case ReserveEntry() as entry if entry.request in self._requests:
                self._jobs[step.outcome.subject] = (step.index, entry.request)
            case SignatureEntry() as entry if entry.job in self._jobs:
                self._sign(step, entry)
            case HoldingsEntry() as entry:
                self._stated[entry.wallet, entry.asset] = (step.index, self._origins.at[ROSTER])
            case _:
                pass

    def _ask(self, step: Step, entry: RequestEntry) -> None:
        intent = entry.request.intent
        typed = parse_typed_data(intent.typed_data or b"")
        if intent.destination == CONTRACT and declaration(intent.chain).is_of(typed):
            self._requests[step.outcome.subject] = (step.index, typed)

    def _sign(self, step: Step, entry: SignatureEntry) -> None:
        """Keep a signature that the fold found to be the account's, if the statement is of this challenge."""
        reserved, request = self._jobs[entry.job]
        asked_at, typed = self._requests[request]
        intent = step.after.requests[request].request.intent
        key = step.after.jobs[entry.job].signings[entry.index].public_key
        found = _asked(typed)
        named = ethereum_address(key) == typed.message["account"] and found.origin == step.after.origin
        if named and (found.challenge, found.liabilities) == (self._challenge, self._liabilities):
            document, indexes = intent.typed_data or b"", (asked_at, reserved, step.index)
            account = str(typed.message["account"])
            self._statements.append(
                Statement(intent.chain, account, found, document, entry.signature, key, indexes)
            )

    def wallets(self, read: Read, *, size: int) -> list[WalletShown]:
        """Every wallet of the policy in force; a statement counts if its head is one of this log's."""
        good = {
            (one.chain, one.account): one for one in self._statements if _is_of(read, one.asked, size=size)
        }
        state = self._known()
        return [_shown(state, wallet, good) for _, wallet in sorted(state.policy.wallets.items())]

    def held(self) -> list[Held]:
        """What every wallet holds at least of every asset of its chain, at the log's end."""
        state = self._known()
        return [
            self._held(state, wallet.name, asset.name)
            for _, wallet in sorted(state.policy.wallets.items())
            for _, asset in sorted(state.policy.assets.items())
            if wallet.chain == asset.chain
        ]

    def cited(self, wallets: list[WalletShown]) -> set[int]:
        """The entries that show it all: statements, keys, holdings, and what they are read by."""
        state = self._known()
        keys = {key.index for shown in wallets if (key := state.keys.get(shown.wallet.key))}
        signed = {
            index
            for shown in wallets
            for _, one in shown.accounts
            if one is not None
            for index in one.entries
        }
        stated = {index for pair in self._stated.values() for index in pair}
        return {0, self._origins.at[POLICY], self._origins.at[ROSTER], *keys, *signed, *stated}

    def roster_of(self, held: Held) -> int:
        """The entry from which the roster came whose observers stated it."""
        return self._stated[held.wallet, held.asset][1]

    @property
    def policy_at(self) -> int:
        """The entry from which the policy in force came."""
        return self._origins.at[POLICY]

    def _held(self, state: State, wallet: str, asset: str) -> Held:
        index = self._stated.get((wallet, asset), (None, 0))[0]
        holding = state.holdings.get((wallet, asset))
        now = wallet_held(state, wallet, asset=asset, without=b"", time_ms=state.time_ms)
        if now is None or holding is None:
            return Held(wallet, asset, None, 0, None)
        return Held(wallet, asset, index, holding.amount, now.low)

    def _known(self) -> State:
        if self.state is None:
            raise CallerError("nothing was heard of a log yet")
        return self.state


def _asked(typed: TypedData) -> Asked:
    message: dict[str, Any] = typed.message
    root, liabilities = (bytes.fromhex(message[name]) for name in ("root", "liabilities"))
    return Asked(message["challenge"], message["origin"], message["size"], root, liabilities)


def _is_of(read: Read, asked: Asked, *, size: int) -> bool:
    """Whether the log had this head, so that the statement was made after it."""
    if not 1 <= asked.size <= size:
        return False
    try:
        return frontier_at(tile_hash_reader(read, size), asked.size).root() == asked.root
    except MalformedError:
        return False


def _shown(state: State, wallet: Wallet, good: dict[tuple[str, str], Statement]) -> WalletShown:
    if family(wallet.chain) != EVM:
        return WalletShown(wallet, (), f"{wallet.chain} has no statement that moves nothing: not supported")
    key = state.keys.get(wallet.key)
    if key is None:
        return WalletShown(wallet, (), f"the key {wallet.key} is not made yet")
    addresses = [account_at(key, path, chain=wallet.chain).address for path in wallet.paths]
    accounts = tuple((one, good.get((wallet.chain, one))) for one in addresses)
    missing = [account for account, one in accounts if one is None]
    why = (
        f"{len(missing)} of {len(accounts)} accounts signed no such statement: {missing[0]}"
        if missing
        else ""
    )
    return WalletShown(wallet, accounts, why)
