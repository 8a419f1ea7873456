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

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cli.amounts import parse_amount
from cli.connection import Connection
from cli.results import Misuse
from custody.sweeping.main import Assignment
from custody.sweeping.tasks import Asset, Pace, Sweep, Tank, Tasks
from policy.ids import BITCOIN, SOLANA, family
from policy.settings import PORT_MAX, ConfigError, Settings, parse_settings
from signer_nodes.api.surroundings import read_text

FILE = "sweep.toml"
TABLES_MAX = 1000
DAY_S = 86_400
SOLANA_RENT, SOLANA_FEE = 890_880, 5000
"""Lamports that an account has to keep unless it has none, and what a transaction without priority costs."""
_HOST, _AMOUNT = re.compile(r"[!-~]{1,100}"), re.compile(r"[ -~]{1,100}")


def load_assignment(folder: Path, connection: Connection) -> Assignment:
    """The file of a sweeper's folder. Raises ``ConfigError`` with all its problems."""
    path = folder / FILE
    root = parse_settings(read_text(path), str(path))
    assignment = _assignment(root, connection)
    root.done()
    if root.problems:
        raise ConfigError(f"{path} (see docs/sweeping.md)", root.problems)
    return assignment


def _assignment(root: Settings, connection: Connection) -> Assignment:
    sweeps, tanks = _tables(root, "sweeps"), _tables(root, "gas")
    if not sweeps and not tanks:
        root.problem("sweeps", "is missing, so there is nothing to do: write [sweeps.ASSET] or [gas.ASSET]")
    tasks = Tasks(
        tuple(sweep for name, table in sweeps if (sweep := _sweep(name, table, connection))),
        tuple(tank for name, table in tanks if (tank := _tank(name, table, connection))),
        Pace(
            valid_ms=1000 * root.integer("valid_s", default=3600, low=60, high=7 * DAY_S),
            pause_ms=1000 * root.integer("pause_s", default=600, low=1, high=DAY_S),
            settle_ms=1000 * root.integer("settle_s", default=30, high=DAY_S),
            at_once=root.integer("at_once", default=20, low=1, high=1000),
        ),
    )
    if not root.problems:  # what was read by a stand-in says nothing of the others
        _check_together(tasks.sweeps, tasks.tanks, places=(sweeps, tanks))
    return Assignment(
        tasks=tasks,
        every_s=root.integer("every_s", default=30, low=1, high=DAY_S),
        metrics_port=root.integer("metrics_port", default=0, high=PORT_MAX),
        metrics_address=root.text("metrics_address", _HOST, expected="an address", default="127.0.0.1"),
    )


def _sweep(name: str, table: Settings, connection: Connection) -> Sweep | None:
    asset = _asset(name, table, connection)
    if asset is None:
        return None
    sweep = Sweep(
        asset=asset,
        wallet=_wallet(table, "wallet", asset, connection),
        to=_wallet(table, "to", asset, connection),
        minimum_base=_amount(table, "minimum", asset.name, decimals=asset.decimals),
        fee_base=_fee(table, asset, connection),
        keep_base=_amount(table, "keep", asset.name, decimals=asset.decimals, default="0"),
        worth=table.integer("worth", default=5, low=1, high=1_000_000),
        coins_max=table.integer("coins_max", default=16, low=1, high=256),
    )
    if asset.is_native and sweep.fee_base != SOLANA_FEE:  # of exactly that fee nothing is left
        sweep = replace(sweep, keep_base=max(sweep.keep_base, asset.reserve_base))
    if sweep.wallet and sweep.wallet == sweep.to:
        table.problem("to", f"and wallet are both {sweep.to}, so nothing would be gained: correct one")
    return sweep


def _tank(name: str, table: Settings, connection: Connection) -> Tank | None:
    asset = _asset(name, table, connection)
    if asset is None:
        return None
    if not asset.is_native or asset.by_coins:
        table.problem(
            "asset",
            f"is {asset.name}, but fees of accounts are not paid in {asset.name}: name the native asset",
        )
        table.read.update(table.values)  # of another asset all of it means something else
        return None
    tank = Tank(
        asset=asset,
        wallet=_wallet(table, "wallet", asset, connection),
        accounts=_accounts(table, asset, connection),
        fee_base=_fee(table, asset, connection),
        transactions=table.integer("transactions", default=2, low=1, high=1000),
        a_day=table.integer("a_day", default=4, low=1, high=1000),
        low_base=_amount(table, "low", asset.name, decimals=asset.decimals, default="0"),
    )
    if tank.wallet in tank.accounts:
        table.problem("accounts", f"has {tank.wallet}, which cannot top itself up: take it out")
    return tank


def _check_together(
    sweeps: Sequence[Sweep], tanks: Sequence[Tank], *, places: "tuple[_Tables, _Tables]"
) -> None:
    """What is given as gas must not be swept back, and has to be enough for a sweep."""
    swept, filled = ([table for _, table in one] for one in places)
    for tank in tanks:
        for sweep, table in zip(sweeps, swept, strict=True):
            if sweep.wallet in tank.accounts and sweep.asset.native == tank.asset.name:
                _check_gas(sweep, tank, table)
            if sweep.wallet == tank.wallet:
                table.problem("wallet", f"is {sweep.wallet}, a gas tank, which is not swept: remove one")
    seen: set[tuple[str, str]] = set()
    for sweep, table in zip(sweeps, swept, strict=True):
        if (sweep.wallet, sweep.asset.name) in seen:
            table.problem("wallet", "makes two sweeps empty one wallet of one asset: keep one of them")
        seen.add((sweep.wallet, sweep.asset.name))
    known: set[tuple[str, str]] = set()
    for tank, table in zip(tanks, filled, strict=True):
        if known & {(tank.asset.name, wallet) for wallet in tank.accounts}:
            table.problem("accounts", "makes two gas tanks fill one wallet: take it out of one of them")
        known |= {(tank.asset.name, wallet) for wallet in tank.accounts}
    onward = {(sweep.asset.name, sweep.wallet): (sweep.asset.name, sweep.to) for sweep in sweeps}
    for sweep, table in zip(sweeps, swept, strict=True):
        place = start = (sweep.asset.name, sweep.wallet)
        for _ in onward:
            place = onward.get(place, place)
            if place == start:
                table.problem(
                    "to", f"has {start[1]} swept into itself by way of others, for fees alone: correct it"
                )


def _check_gas(sweep: Sweep, tank: Tank, table: Settings) -> None:
    native = tank.asset.name
    if sweep.fee_base > tank.fee_base:
        table.problem("fee", f"is above that of gas.{native}, so its top-ups would not do: correct one")
    if sweep.asset.is_native and sweep.minimum_base <= tank.full_base:
        table.problem(
            "minimum", f"is within {tank.full_base}, what gas.{native} gives an account: write a larger one"
        )


_Tables = Sequence[tuple[str, Settings]]


def _tables(root: Settings, name: str) -> _Tables:
    return sorted(root.section(name).sections(count_max=TABLES_MAX), key=lambda one: one[0])


def _asset(name: str, table: Settings, connection: Connection) -> Asset | None:
    said = table.name("asset", default=name)
    known = connection.policy.assets
    if said not in known:
        table.problem(
            "asset", f"is {said[:64]!r}: the policy has no such asset, but {', '.join(sorted(known))}"
        )
        table.read.update(table.values)
        return None
    asset = connection.asset(said)
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


def _wallet(table: Settings, key: str, asset: Asset, connection: Connection) -> str:
    wallet = table.name(key)
    known = _on_chain(asset, connection)
    if wallet and wallet not in known:
        table.problem(key, f"is {wallet}: wallets of {asset.chain} are {', '.join(known)}; name one of them")
    return wallet


def _accounts(table: Settings, asset: Asset, connection: Connection) -> tuple[str, ...]:
    value, known = table.take("accounts"), _on_chain(asset, connection)
    found = tuple(one for one in value if one in known) if isinstance(value, list) else ()
    if not found or list(found) != value or len(set(found)) < len(found):
        table.problem("accounts", f"must be a list of different wallets of {asset.chain}: {', '.join(known)}")
    return found


def _on_chain(asset: Asset, connection: Connection) -> list[str]:
    return sorted(name for name, one in connection.policy.wallets.items() if one.chain == asset.chain)


def _fee(table: Settings, asset: Asset, connection: Connection) -> int:
    ceiling = connection.policy.chains[asset.chain].fee_ceiling
    before = len(table.problems)
    fee = _amount(table, "fee", asset.native, decimals=asset.native_decimals)
    if len(table.problems) == before and not 0 < fee <= ceiling:
        table.problem("fee", f"is {fee} base units: write 1 to the policy's ceiling, {ceiling} base units")
    return fee


def _amount(table: Settings, key: str, asset: str, *, decimals: int, default: str | None = None) -> int:
    text = table.text(key, _AMOUNT, expected=f"base units, or an amount such as '1 {asset}'", default=default)
    if not text:
        return 0
    try:
        return parse_amount(text, asset=asset, decimals=decimals, low=0)
    except Misuse as error:
        table.problem(key, f"cannot be meant: {error}")
        return 0
