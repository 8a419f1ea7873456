"""The ``[chains]`` sections of the coordinator's configuration, by the kind of chain."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from policy.entries import JOB_SIGNATURES_MAX
from policy.errors import MalformedError
from policy.fields import Fields
from policy.ids import BITCOIN, SOLANA, family

TEXT_MAX = 1000


@dataclass(frozen=True, slots=True)
class BitcoinConfig:
    """What a chain of Bitcoin needs beside: who we are to its node, and how fees and coins are chosen."""

    credentials: Path | None
    fee_blocks: int
    fee_rate_max: int
    consolidate_rate_max: int
    coins_max: int


@dataclass(frozen=True, slots=True)
class ChainConfig:
    """The endpoint of a chain, when a transaction on it is settled, and when it is stuck."""

    url: str
    confirmations: int
    poll_ms: int
    replace_after_ms: int
    replacements_max: int
    bitcoin: BitcoinConfig | None = None


@dataclass(frozen=True, slots=True)
class Defaults:
    """By the time between blocks, and how deep reorganisations go."""

    confirmations: int
    poll_ms: int
    replace_after_ms: int


_DEFAULTS = {BITCOIN: Defaults(6, 10_000, 3_600_000)}
_EVM_DEFAULTS = Defaults(1, 500, 180_000)


def read_chain(name: str, fields: Fields, *, folder: Path) -> ChainConfig:
    """One section. Raises ``MalformedError``, also for a family that nothing is sent on."""
    kind = family(name)
    if kind == SOLANA:
        raise MalformedError(f"chains.{name}: nothing is sent on {kind} yet: leave it out")
    usual = _DEFAULTS.get(kind, _EVM_DEFAULTS)
    chain = ChainConfig(
        url=fields.text("url", length_max=TEXT_MAX),
        confirmations=_integer(fields, "confirmations", usual.confirmations, low=1, high=10_000),
        poll_ms=_integer(fields, "poll_ms", usual.poll_ms, low=10, high=600_000),
        replace_after_ms=_integer(fields, "replace_after_ms", usual.replace_after_ms, high=86_400_000),
        replacements_max=_integer(fields, "replacements_max", 3, high=20),
        bitcoin=_bitcoin(fields, folder) if kind == BITCOIN else None,
    )
    fields.done()
    return chain


def check_coins(chains: Mapping[str, ChainConfig], *, presignatures: int) -> None:
    """Raises ``MalformedError`` where a transaction may want more presignatures than a stock is sure of."""
    for name, chain in chains.items():
        if chain.bitcoin is not None and chain.bitcoin.coins_max > presignatures:
            raise MalformedError(
                f"chains.{name}.coins_max is {chain.bitcoin.coins_max}, above pools.low, {presignatures}: a "
                f"transaction takes a presignature for each coin"
            )


def _bitcoin(fields: Fields, folder: Path) -> BitcoinConfig:
    named = fields.text("credentials", length_max=TEXT_MAX) if fields.has("credentials") else None
    return BitcoinConfig(
        credentials=None if named is None else folder / named,
        fee_blocks=_integer(fields, "fee_blocks", 3, low=1, high=1008),
        fee_rate_max=_integer(fields, "fee_rate_max", 200, low=1, high=10_000),
        consolidate_rate_max=_integer(fields, "consolidate_rate_max", 0, high=10_000),
        coins_max=_integer(fields, "coins_max", 16, low=1, high=JOB_SIGNATURES_MAX),
    )


def _integer(fields: Fields, name: str, default: int, *, low: int = 0, high: int) -> int:
    return fields.integer(name, low=low, high=high) if fields.has(name) else default
