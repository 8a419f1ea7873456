"""The ``[chains]`` sections of the coordinator's configuration, by the kind of chain."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from custody.chains.solana.rpc import ACCOUNTS_MAX, COMMITMENTS, CONFIRMED, FINALIZED
from policy.addresses import is_address
from policy.entries import JOB_SIGNATURES_MAX
from policy.ids import BITCOIN, SOLANA, family
from policy.settings import Settings

ENDPOINTS_MAX: Final = 8
HEADS: Final = ("latest", "safe", "finalized")
_PORTS: Final = {"http": 80, "https": 443}
URL: Final = re.compile(r"[^\x00-\x1f\x7f]{1,1000}")


@dataclass(frozen=True, slots=True)
class BitcoinConfig:
    """What a chain of Bitcoin needs beside: who we are to each node, and how fees and coins are chosen."""

    credentials: tuple[Path | None, ...]
    fee_blocks: int
    fee_rate_max: int
    consolidate_rate_max: int
    coins_max: int


@dataclass(frozen=True, slots=True)
class SolanaConfig:
    """What a cluster needs beside: how sure a slot has to be, the nonce accounts, and the price of haste."""

    commitment: str
    nonce_accounts: tuple[str, ...]
    priority_fee_max: int


@dataclass(frozen=True, slots=True)
class ChainConfig:
    """The endpoints of a chain, when a transaction on it is settled, and when it is stuck.

    Of ``urls``, ``agree`` must say the same; ``confirmations`` are counted from the block called ``head``.
    Another head than the latest block is for EVM chains.
    """

    urls: tuple[str, ...]
    agree: int
    head: str
    confirmations: int
    poll_ms: int
    replace_after_ms: int
    replacements_max: int
    bitcoin: BitcoinConfig | None = None
    solana: SolanaConfig | None = None

    @property
    def hosts(self) -> tuple[str, ...]:
        """What the endpoints are called, in their order: an URL may have a password."""
        return tuple(map(_host, self.urls))


@dataclass(frozen=True, slots=True)
class Defaults:
    """By the time between blocks, and how deep reorganisations go."""

    confirmations: int
    poll_ms: int
    replace_after_ms: int


_DEFAULTS = {BITCOIN: Defaults(6, 10_000, 3_600_000), SOLANA: Defaults(3, 1_000, 60_000)}
_EVM_DEFAULTS = Defaults(1, 500, 180_000)


def read_chain(name: str, table: Settings, *, folder: Path) -> ChainConfig:
    """One section; its problems are noted."""
    kind = family(name)
    usual = _DEFAULTS.get(kind, _EVM_DEFAULTS)
    urls = _endpoints(table) if table.has("urls") else (_endpoint(table),)
    solana = _solana(name, table) if kind == SOLANA else None
    return ChainConfig(
        urls=urls,
        agree=_agree(table, len(urls)),
        head="latest" if kind in (BITCOIN, SOLANA) else table.choice("head", *HEADS, default="latest"),
        confirmations=_confirmations(table, usual, solana),
        poll_ms=table.integer("poll_ms", default=usual.poll_ms, low=10, high=600_000),
        replace_after_ms=table.integer("replace_after_ms", default=usual.replace_after_ms, high=86_400_000),
        replacements_max=table.integer("replacements_max", default=3, high=20),
        bitcoin=_bitcoin(table, folder, count=len(urls)) if kind == BITCOIN else None,
        solana=solana,
    )


def check_coins(chains: Settings, configs: Mapping[str, ChainConfig], *, presignatures: int) -> None:
    """Note where a transaction may want more presignatures than a stock is sure of."""
    for name, chain in configs.items():
        if chain.bitcoin is not None and chain.bitcoin.coins_max > presignatures:
            chains.section(name).problem(
                "coins_max",
                f"is {chain.bitcoin.coins_max}, above pools.low, {presignatures}, and a transaction takes a "
                "presignature for each coin: lower the one or raise the other",
            )


def _bitcoin(table: Settings, folder: Path, *, count: int) -> BitcoinConfig:
    return BitcoinConfig(
        credentials=tuple(folder / one if one else None for one in _credentials(table, count)),
        fee_blocks=table.integer("fee_blocks", default=3, low=1, high=1008),
        fee_rate_max=table.integer("fee_rate_max", default=200, low=1, high=10_000),
        consolidate_rate_max=table.integer("consolidate_rate_max", default=0, high=10_000),
        coins_max=table.integer("coins_max", default=16, low=1, high=JOB_SIGNATURES_MAX),
    )


def _credentials(table: Settings, count: int) -> tuple[str, ...]:
    """A file for each URL, empty for none: no node is told the password of another one."""
    if not isinstance(table.values.get("credentials"), list):
        named = table.optional_file("credentials") or ""
        if named and table.has("urls"):
            table.problem("credentials", 'must be a list with a file for each of urls, or "" for none')
        return (named,) * count
    given = table.take("credentials")
    named_all = [one for one in given if isinstance(one, str)] if isinstance(given, list) else []
    if named_all != given or len(named_all) != count or not "".join(named_all).isprintable():
        table.problem("credentials", f'must have a file for each of the {count} URLs, in their order, or ""')
    return tuple(named_all)


def _solana(name: str, table: Settings) -> SolanaConfig:
    given = table.take("nonce_accounts")  # whoever only watches the cluster needs none
    accounts = given if isinstance(given, list) else []
    found = [one for one in accounts if isinstance(one, str) and is_address(name, one)]
    wrong = found != given and given is not None
    if wrong or len(set(found)) != len(found) or len(found) > ACCOUNTS_MAX:
        table.problem(
            "nonce_accounts",
            f"must be at most {ACCOUNTS_MAX} different addresses of nonce accounts: "
            "copy what quorumkeep solana-nonce prints",
        )
    return SolanaConfig(
        commitment=table.choice("commitment", CONFIRMED, FINALIZED, default=FINALIZED),
        nonce_accounts=tuple(found),
        priority_fee_max=table.integer("priority_fee_max", default=100_000, high=10**9),
    )


def _confirmations(table: Settings, usual: Defaults, solana: SolanaConfig | None) -> int:
    """On Solana no number of blocks, but how sure one is, counted as receipts of that family have it."""
    if solana is None:
        return table.integer("confirmations", default=usual.confirmations, low=1, high=10_000)
    return COMMITMENTS.index(solana.commitment) + 1 if solana.commitment else usual.confirmations


def _agree(table: Settings, count: int) -> int:
    most = count // 2 + 1  # fewer could say one thing, and as many others another
    return table.integer("agree", default=most, low=most, high=max(1, count))


def _endpoint(table: Settings) -> str:
    """The one URL. It is not shown, nor are others: providers put keys into them."""
    url = table.text("url", URL, expected="the URL of its endpoint", shown=False)
    if url and not _is_http(url):
        table.problem("url", "must be an http or https URL, such as http://127.0.0.1:8545")
    return url


def _endpoints(table: Settings) -> tuple[str, ...]:
    if table.has("url"):
        table.take("url")
        table.problem("urls", "and url exclude each other: give one url, or urls = [...] of several")
    urls = table.take("urls")
    found = [one for one in urls if isinstance(one, str) and _is_http(one)] if isinstance(urls, list) else []
    hosts = set(map(_party, found))
    if not found or found != urls or len(hosts) != len(found) or len(found) > ENDPOINTS_MAX:
        table.problem("urls", f"must be 1 to {ENDPOINTS_MAX} http or https URLs of different hosts")
    return tuple(found)


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _party(url: str) -> tuple[str, int]:
    """Whom a URL asks, however it is written: nobody has two voices."""
    parts = urlsplit(url)
    return (parts.hostname or "").rstrip("."), parts.port or _PORTS[parts.scheme]


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return port != 0 and bool(URL.fullmatch(url)) and parts.scheme in _PORTS and bool(parts.hostname)
