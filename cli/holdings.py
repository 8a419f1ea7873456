"""``observe holdings``: what wallets hold, and what of the log that has seen.

A statement vouches that every request of the log so far has come to what it comes to, but for those it names
as pending. So the log is checked first, under pinned keys: up to a head that w cosigned there is no other one
with the same size. It is folded here, from where the last look left it (``cli.kept_fold``), and only then is
the chain looked at: what becomes final in between is in the amount and pending too, which is the stricter
mistake.
"""

import asyncio
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from cli.amounts import parse_amount
from cli.audit import as_text, read_trust
from cli.connection import Connection, caller, load_connection
from cli.identities import Identity
from cli.kept_fold import KeptFold
from cli.policies.replaying import checked, log_files, told_from
from cli.requests import read_request_id
from cli.results import Misuse, Result
from cli.statements import observer, signed_file
from policy.audit import CHECKPOINT_PATH, NOTE_BYTES_MAX, Trust
from policy.encoding import Json
from policy.errors import MalformedError, OperationalError, ProtocolError
from policy.extension import Folded, extended
from policy.holdings import unseen
from policy.ids import BITCOIN, EVM, family
from policy.log.checkpoint import parse_checkpoint, parse_note
from policy.log.merkle import Frontier, leaf_hash
from policy.log.tiles import read_entries
from policy.model import Policy
from policy.replay import Step
from policy.state import State

Pair = tuple[str, str]
NOT_STATED = "the log does not hold, so nothing is stated about it"


@dataclass(frozen=True, slots=True)
class Look:
    """What an observer found: amounts, and the requests that are final by the observer's own look."""

    amounts: Mapping[Pair, int]
    final: frozenset[bytes]


def holdings(arguments: Namespace) -> Result:
    """``observe holdings``: write statements of what wallets hold, or sign those that say the same."""
    connection, identity = load_connection(arguments), observer(arguments)
    if not arguments.trust:
        raise Misuse("--trust is missing: who vouches for what a log has must know whose log it is")
    try:
        trust = read_trust(Path(arguments.trust))
    except (MalformedError, OSError) as error:
        raise Misuse(f"--trust {arguments.trust}: {error}") from error
    with KeptFold(identity.folder, identity.key, genesis=trust.genesis) as kept:
        state = _folded(arguments, kept, trust=trust)
        return _stated(arguments, connection, identity, state=state)


def _stated(arguments: Namespace, connection: Connection, identity: Identity, *, state: State) -> Result:
    if not state.policy.tiers:
        raise Misuse("the policy declares no tiers: nothing is held against what wallets hold")
    given = _given(arguments.holdings, connection.policy)
    wanted = given or dict.fromkeys(_pairs(state.policy))
    look = _look(arguments, state, wanted)
    named = {read_request_id(text) for text in arguments.pending}
    bodies = [_body(state, pair, look=look, named=named) for pair in sorted(wanted)]

    def agrees(said: Mapping[str, Json], found: Mapping[str, Json]) -> bool:
        return covers(said, found, state=state)

    return signed_file("holdings", bodies, path=Path(arguments.out), identity=identity, agrees=agrees)


def covers(said: Mapping[str, Json], found: Mapping[str, Json], *, state: State) -> bool:
    """Whether a statement that somebody else wrote is true by what is ``found`` now.

    It may have seen less of the log than ``state`` has, and have more pending.
    """
    size = said["size"]
    if not isinstance(size, int) or size > state.size:
        return False
    plain = ("origin", "wallet", "asset", "amount")
    missing = set(_texts(found["pending"])) - set(_texts(said["pending"]))
    jobs = (state.jobs[job] for one in missing for job in state.requests[bytes.fromhex(one)].jobs)
    return all(said[name] == found[name] for name in plain) and all(job.index >= size for job in jobs)


def _texts(value: Json) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []


def _folded(arguments: Namespace, kept: KeptFold, *, trust: Trust) -> State:
    """The state of the log as it is now, checked: of what was checked before only what is new."""
    before = None if arguments.whole else kept.load()
    if before is None:
        return kept.save(_folded_whole(arguments)).state
    try:
        note, entries = _log_from(arguments, before.state.size)
        folded = extended(before, note, entries=entries, trust=trust)
    except ProtocolError as error:
        raise OperationalError(
            f"{NOT_STATED}: {error}; --whole folds all of it anew and says more"
        ) from error
    return kept.save(folded).state


def _folded_whole(arguments: Namespace) -> Folded:
    last: list[Step] = []
    frontier = Frontier()

    def hear(step: Step) -> None:
        last[:] = [step]

    read = log_files(arguments)
    report = checked(read, arguments, watch=hear)
    if not report.ok or not last:
        raise OperationalError(f"{NOT_STATED}: {as_text(report)}")
    for entry in read_entries(read, report.size):
        frontier = frontier.append(leaf_hash(entry))
    return Folded(last[0].after, frontier)


def _log_from(arguments: Namespace, start: int) -> tuple[bytes, Iterable[bytes]]:
    """The newest checkpoint's note, and the entries from ``start`` on, from ``--log`` or the coordinator."""
    if not arguments.log:
        with load_connection(arguments).open(caller(arguments)) as client:
            return told_from(client, start)
    read = log_files(arguments)
    note = read(CHECKPOINT_PATH) or b""
    size = parse_checkpoint(parse_note(note, NOTE_BYTES_MAX).body).size
    return note, islice(read_entries(read, size), start, None)


def _pairs(policy: Policy) -> Iterator[Pair]:
    """Every wallet with every asset that it can hold."""
    for wallet in policy.wallets.values():
        for asset in policy.assets.values():
            if wallet.chain == asset.chain:
                yield wallet.name, asset.name


def _given(texts: list[str], policy: Policy) -> dict[Pair, int | None]:
    """Wallets and assets, from WALLET.ASSET=AMOUNT or, to be read from a chain, WALLET.ASSET each."""
    known = {f"{wallet}.{asset}": (wallet, asset) for wallet, asset in _pairs(policy)}
    if len(known) != len(list(_pairs(policy))):
        raise Misuse(
            "two wallets and assets read the same, joined by a dot: state them from a chain, by --rpc"
        )
    found: dict[Pair, int | None] = {}
    for text in texts:
        name, equals, amount = text.partition("=")
        if name not in known or known[name] in found:
            raise Misuse(f"{text[:80]!r}: write each wallet and asset of a chain once, as hot.eth=41.5")
        asset = policy.assets[known[name][1]]
        found[known[name]] = (
            parse_amount(f"{amount} {asset.name}", asset=asset.name, decimals=asset.decimals, low=0)
            if equals
            else None
        )
    return found


def _look(arguments: Namespace, state: State, wanted: Mapping[Pair, int | None]) -> Look:
    """What is given, and the rest by the observer's own chain nodes."""
    urls = dict(text.partition("=")[::2] for text in arguments.rpc)
    files = _credentials(arguments, urls)
    open_pairs = [pair for pair, amount in wanted.items() if amount is None]
    for wallet, asset in open_pairs:
        chain = state.policy.wallets[wallet].chain
        if chain not in urls or family(chain) not in _READINGS:
            raise Misuse(f"{wallet}.{asset}: say how much, as {wallet}.{asset}=41.5, or --rpc {chain}=URL")
    amounts = {pair: amount for pair, amount in wanted.items() if amount is not None}
    closed = {one for one in _unseen(state, wanted) if state.requests[one].closed}
    for chain, url in urls.items():
        if family(chain) not in _READINGS:
            raise Misuse(f"--rpc {chain}: nothing is read from such a chain, say what its wallets hold")
        reading = _READINGS[family(chain)](state, chain, block=arguments.block)
        mine = [pair for pair in wanted if state.policy.wallets[pair[0]].chain == chain]
        found = asyncio.run(reading.read(url, mine, credentials=files.get(chain)))
        amounts |= {pair: found.amounts[pair] for pair in mine if pair in open_pairs}
        closed = {one for one in closed if state.requests[one].request.intent.chain != chain} | found.final
    return Look(amounts, frozenset(closed))


def _credentials(arguments: Namespace, urls: Mapping[str, str]) -> dict[str, Path]:
    """The file of each Bitcoin node; a password in a command line would be seen by others."""
    files = dict(text.partition("=")[::2] for text in arguments.rpc_credentials)
    for chain in files:
        if chain not in urls or family(chain) != BITCOIN:
            raise Misuse(f"--rpc-credentials {chain[:64]}: there is no --rpc of such a Bitcoin chain")
    for chain, url in urls.items():
        if family(chain) == BITCOIN and "@" in url:
            raise Misuse(f"--rpc {chain}: others see a command line: --rpc-credentials {chain}=FILE instead")
    return {chain: Path(file) for chain, file in files.items()}


def _unseen(state: State, pairs: Iterable[Pair]) -> list[bytes]:
    """What counts on top of what is stated of any of these."""
    return sorted({one for wallet, asset in pairs for one in unseen(state, wallet, asset=asset)})


class _Reading:
    """One chain, as an observer's own node has it at a block that stays."""

    def __init__(self, state: State, chain: str, *, block: str) -> None:
        self._state, self._chain, self._block = state, chain, block

    async def read(self, url: str, pairs: list[Pair], *, credentials: Path | None = None) -> Look:
        """First what is final, then the amounts."""
        from custody.chains.evm.rpc import EvmRpc

        chain = EvmRpc(self._chain, url, block=self._block)
        try:
            used: dict[str, int] = {}
            final = set()
            for request in _unseen(self._state, pairs):
                anchor = self._state.requests[request].anchor
                if anchor is None or anchor.chain != self._chain:
                    continue
                if anchor.account not in used:
                    used[anchor.account] = await chain.account_nonce(anchor.account)
                if used[anchor.account] > anchor.nonce:
                    final.add(request)
            amounts = {pair: await self._held(chain, *pair) for pair in pairs}
        finally:
            await chain.close()
        return Look(amounts, frozenset(final))

    async def _held(self, chain: Any, wallet: str, asset: str) -> int:
        """What all accounts of a wallet have together."""
        contract = self._state.policy.assets[asset].contract
        accounts = (address for (_, address), owner in self._state.owned.items() if owner == wallet)
        return sum([int(await chain.balance(account, contract)) for account in accounts])


class _Coins:
    """A chain of coins, as an observer's own node has it some blocks deep."""

    def __init__(self, state: State, chain: str, *, block: str) -> None:
        self._state, self._chain, self._block = state, chain, block

    async def read(self, url: str, pairs: list[Pair], *, credentials: Path | None = None) -> Look:
        """What is final and the amounts, as of one block."""
        from custody.chains.bitcoin.deep import DEPTHS, coins_at, is_spent
        from custody.chains.bitcoin.rpc import BitcoinRpc
        from custody.chains.bitcoin.transaction import read, script_of

        rpc = BitcoinRpc(self._chain, url, credentials=credentials)
        owned = {
            script_of(chain, address): owner
            for (chain, address), owner in self._state.owned.items()
            if chain == self._chain
        }
        deep = await coins_at(rpc, frozenset(owned), depth=DEPTHS[self._block])
        final = set()
        for identifier in _unseen(self._state, pairs):
            request = self._state.requests[identifier]
            anchor = request.anchor
            if anchor is None or anchor.chain != self._chain:
                continue
            spent = read(self._state.jobs[request.jobs[-1]].tx).inputs[0].spent
            if spent.script in owned and await is_spent(rpc, anchor.account, at=deep):
                final.add(identifier)
        held = Counter[str]()
        for coin in deep.coins.values():
            held[owned[coin.output.script]] += coin.amount
        amounts = {pair: held[pair[0]] for pair in pairs}
        return Look(amounts, frozenset(final))


_READINGS: Mapping[str, type[_Reading] | type[_Coins]] = {EVM: _Reading, BITCOIN: _Coins}


def _body(state: State, pair: Pair, *, look: Look, named: set[bytes]) -> dict[str, Json]:
    wallet, asset = pair
    pending = [one for one in unseen(state, wallet, asset=asset) if one in named or one not in look.final]
    listed: list[Json] = [one.hex() for one in sorted(pending)]
    return {
        "origin": state.origin,
        "wallet": wallet,
        "asset": asset,
        "amount": str(look.amounts[pair]),
        "size": state.size,
        "pending": listed,
    }
