"""What a sweeper is to do: ``sweep.toml`` in its folder, read against the policy.

```toml
every_s = 30                    # seconds between two looks
valid_s = 3600                  # what is not signed within it is asked for anew
pause_s = 600                   # after a refusal, twice as long after another, up to a day
settle_s = 30                   # how long an account rests after a move: balances may be shown late
at_once = 20                    # moves of one sweep, or one tank, under way at once
metrics_port = 0                # 0: off

[sweeps.usdc]                   # the name; of the asset, unless "asset" says another
wallet = "deposits"             # whose accounts are emptied
to = "hot"                      # the collecting wallet: its first address is paid
minimum = "20 usdc"             # base units, or with the unit: below it an account is left alone
fee = "0.001 eth"               # the most one transaction may cost; it waits while the chain asks for more
keep = "0 usdc"                 # what stays in each account; of SOL, what the cluster demands
worth = 5                       # where prices are stated: only what is worth so many times the fee
coins_max = 16                  # Bitcoin: how many addresses one request spends

[gas.eth]                       # of the asset that fees are paid in, unless "asset" says another
wallet = "gas"                  # the tank: its first account pays
accounts = ["deposits", "hot"]  # the wallets whose accounts with tokens are topped up
fee = "0.001 eth"               # what one of their transactions may cost
transactions = 2                # who has less than for one is topped up to so many
a_day = 4                       # top-ups of one account in 24 hours
low = "0.1 eth"                 # the tank should be filled below it
```
"""

import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from cli.amounts import parse_amount
from cli.connection import Connection
from cli.files import read_bytes
from cli.results import Misuse
from custody.sweeping.main import Assignment
from custody.sweeping.tasks import Asset, Pace, Sweep, Tank, Tasks
from policy.errors import CallerError, MalformedError, OperationalError
from policy.fields import Fields
from policy.ids import BITCOIN, SOLANA, family

FILE = "sweep.toml"
TEXT_MAX, TABLES_MAX, WALLETS_MAX = 200, 1000, 1000
DAY_S, PORT_MAX = 86_400, 65_535
SOLANA_RENT, SOLANA_FEE = 890_880, 5000
"""Lamports that an account has to keep unless it has none, and what a transaction without priority costs."""
T = TypeVar("T")


def load_assignment(folder: Path, connection: Connection) -> Assignment:
    """The file of a sweeper's folder. Raises ``OperationalError`` naming the field to correct."""
    path = folder / FILE
    try:
        document = tomllib.loads(read_bytes(path, "what the sweeper is to do").decode())
        return _assignment(Fields(document, ""), connection)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, CallerError, MalformedError, Misuse) as error:
        raise OperationalError(f"{path}: {error}; see docs/sweeping.md") from error


def _assignment(fields: Fields, connection: Connection) -> Assignment:
    sweeps = _tables(fields, "sweeps", lambda name, inner: _sweep(name, inner, connection))
    tanks = _tables(fields, "gas", lambda name, inner: _tank(name, inner, connection))
    if not sweeps and not tanks:
        raise Misuse("there is nothing to do: write [sweeps.ASSET] or [gas.ASSET]")
    _check_together(sweeps, tanks)
    pace = Pace(
        valid_ms=1000 * _whole(fields, "valid_s", 3600, low=60, high=7 * DAY_S),
        pause_ms=1000 * _whole(fields, "pause_s", 600, low=1, high=DAY_S),
        settle_ms=1000 * _whole(fields, "settle_s", 30, low=0, high=DAY_S),
        at_once=_whole(fields, "at_once", 20, low=1, high=1000),
    )
    assignment = Assignment(
        tasks=Tasks(tuple(sweeps), tuple(tanks), pace),
        every_s=_whole(fields, "every_s", 30, low=1, high=DAY_S),
        metrics_port=_whole(fields, "metrics_port", 0, low=0, high=PORT_MAX),
        metrics_address=_text(fields, "metrics_address", "127.0.0.1"),
    )
    fields.done()
    return assignment


def _sweep(name: str, fields: Fields, connection: Connection) -> Sweep:
    asset = _asset(name, fields, connection)
    sweep = Sweep(
        asset=asset,
        wallet=_wallet(fields, "wallet", asset, connection),
        to=_wallet(fields, "to", asset, connection),
        minimum_base=_amount(fields, "minimum", asset.name, connection),
        fee_base=_fee(fields, asset, connection),
        keep_base=_amount(fields, "keep", asset.name, connection, default="0"),
        worth=_whole(fields, "worth", 5, low=1, high=1_000_000),
        coins_max=_whole(fields, "coins_max", 16, low=1, high=256),
    )
    if asset.is_native and sweep.fee_base != SOLANA_FEE:  # of exactly that fee nothing is left
        sweep = replace(sweep, keep_base=max(sweep.keep_base, asset.reserve_base))
    if sweep.wallet == sweep.to:
        raise Misuse(f"sweeps.{name}: wallet and to are both {sweep.to}: nothing would be gained")
    return sweep


def _tank(name: str, fields: Fields, connection: Connection) -> Tank:
    asset = _asset(name, fields, connection)
    if not asset.is_native or asset.by_coins:
        raise Misuse(f"gas.{name}: fees of accounts are not paid in {name}: name the chain's native asset")
    accounts = fields.names("accounts", count_max=WALLETS_MAX, count_min=1)
    tank = Tank(
        asset=asset,
        wallet=_wallet(fields, "wallet", asset, connection),
        accounts=tuple(_on_chain(one, "accounts", asset, connection) for one in accounts),
        fee_base=_fee(fields, asset, connection),
        transactions=_whole(fields, "transactions", 2, low=1, high=1000),
        a_day=_whole(fields, "a_day", 4, low=1, high=1000),
        low_base=_amount(fields, "low", asset.name, connection, default="0"),
    )
    if tank.wallet in tank.accounts:
        raise Misuse(f"gas.{name}: {tank.wallet} cannot top itself up: take it out of accounts")
    return tank


def _check_together(sweeps: list[Sweep], tanks: list[Tank]) -> None:
    """What is given as gas must not be swept back, and has to be enough for a sweep."""
    for tank in tanks:
        for sweep in sweeps:
            if sweep.wallet not in tank.accounts or sweep.asset.native != tank.asset.name:
                continue
            where, native = f"sweeps.{sweep.asset.name}", tank.asset.name
            if sweep.fee_base > tank.fee_base:
                raise Misuse(f"{where}: fee is above that of gas.{native}: its top-ups would not do")
            if sweep.asset.is_native and sweep.minimum_base <= tank.full_base:
                raise Misuse(
                    f"{where}: minimum is within {tank.full_base}, what gas.{native} gives an account"
                )
    if len({(sweep.wallet, sweep.asset.name) for sweep in sweeps}) < len(sweeps):
        raise Misuse("two sweeps empty one wallet of one asset: keep one of them")
    filled = [(one.asset.name, wallet) for one in tanks for wallet in one.accounts]
    if len(set(filled)) < len(filled):
        raise Misuse("two gas tanks fill one wallet: take it out of one of them")
    onward = {(sweep.asset.name, sweep.wallet): (sweep.asset.name, sweep.to) for sweep in sweeps}
    for start in onward:
        place = start
        for _ in onward:
            place = onward.get(place, place)
            if place == start:
                raise Misuse(f"{start[1]} is swept into itself by way of others: fees would be all of it")
    if len({sweep.wallet for sweep in sweeps} & {tank.wallet for tank in tanks}):
        raise Misuse("a gas tank is swept: take its wallet out of sweeps")


def _tables(fields: Fields, name: str, read: Callable[[str, Fields], T]) -> list[T]:
    return list(fields.table(name, read, count_max=TABLES_MAX).values()) if fields.has(name) else []


def _asset(name: str, fields: Fields, connection: Connection) -> Asset:
    asset = connection.asset(fields.name("asset") if fields.has("asset") else name)
    native = connection.asset(connection.policy.chains[asset.chain].native)
    kind = family(asset.chain)
    return Asset(
        name=asset.name,
        chain=asset.chain,
        decimals=asset.decimals,
        native=native.name,
        native_decimals=native.decimals,
        by_coins=kind == BITCOIN,
        reserve_base=SOLANA_RENT if kind == SOLANA else 0,
    )


def _wallet(fields: Fields, field: str, asset: Asset, connection: Connection) -> str:
    return _on_chain(fields.name(field), field, asset, connection)


def _on_chain(wallet: str, field: str, asset: Asset, connection: Connection) -> str:
    on_chain = {name for name, one in connection.policy.wallets.items() if one.chain == asset.chain}
    if wallet not in on_chain:
        known = ", ".join(sorted(on_chain))
        raise Misuse(f"{asset.name}: {field} is {wallet}: wallets of {asset.chain} are {known}")
    return wallet


def _fee(fields: Fields, asset: Asset, connection: Connection) -> int:
    ceiling = connection.policy.chains[asset.chain].fee_ceiling
    fee = _amount(fields, "fee", asset.native, connection)
    if not 0 < fee <= ceiling:
        raise Misuse(f"{asset.name}: fee must be from 1 to the policy's ceiling, {ceiling} base units")
    return fee


def _amount(
    fields: Fields, field: str, asset: str, connection: Connection, *, default: str | None = None
) -> int:
    text = _text(fields, field, default)
    return parse_amount(text, asset=asset, decimals=connection.asset(asset).decimals, low=0)


def _text(fields: Fields, field: str, default: str | None) -> str:
    return (
        default if default is not None and not fields.has(field) else fields.text(field, length_max=TEXT_MAX)
    )


def _whole(fields: Fields, name: str, default: int, *, low: int, high: int) -> int:
    return fields.integer(name, low=low, high=high) if fields.has(name) else default
