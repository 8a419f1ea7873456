"""The families of chains: what their transactions are once nodes have signed. Pure; one line a family."""

from collections.abc import Mapping
from typing import Protocol

from custody.chains.bitcoin import transaction as bitcoin
from custody.chains.evm import transaction as evm
from custody.chains.solana import transaction as solana
from policy.ids import BITCOIN, EVM, SOLANA, family
from policy.model import Wallet
from policy.state import Job, KeyRecord


class Transactions(Protocol):
    """One family's transactions as bytes; a module ``transaction`` in its package."""

    def paths(self, tx: bytes, *, key: KeyRecord, wallet: Wallet, path: str) -> tuple[str, ...]:
        """The path of each signature that ``tx`` needs, in order; ``path`` is the paying account's."""

    def finished(self, job: Job) -> tuple[bytes, bytes]:
        """A signed job's transaction as the chain takes it, and its name there: 32 bytes, on Solana 64."""


FAMILIES: Mapping[str, Transactions] = {EVM: evm, BITCOIN: bitcoin, SOLANA: solana}


def transactions(chain: str) -> Transactions:
    """What a chain's transactions are."""
    return FAMILIES[family(chain)]
