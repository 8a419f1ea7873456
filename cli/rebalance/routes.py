"""What a rebalancer is to do: ``rebalance.toml`` in its folder, read against the policy.

```toml
every_s = 60                    # seconds between two looks
topup_valid_s = 86400           # a top-up that nobody approved within it is asked for anew, if still wanted
sweep_valid_s = 3600
price_max_age_s = 3600          # an older price counts as none; by default the policy's own bound
metrics_port = 0                # 0: off

[routes.eth]                    # the name; of the asset, unless "asset" says another
wallet = "hot"                  # what is watched
source = "cold"                 # where top-ups come from and sweeps go
minimum = "2 eth"               # base units, or with the unit. Where the policy declares tiers, its bounds
target = "5 eth"                # and target band hold, and these can only make them narrower
maximum = "10 eth"
price = 2500.0                  # only where the policy has no prices
topup_cost = 20.0               # money: people's time and fees of a top-up
sweep_cost = 2.0
exposure_year = 0.1             # what a year of exposure costs, as a share of what is exposed
service = 0.999                 # the share of withdrawals to pay at once; rebalance report has others
delay = 0.02                    # or what not paying at once costs, as a share of what is paid late
lead_days = 1                   # 0 or 1: whole days until a top-up can be used
```
"""

import re
from collections.abc import Callable
from pathlib import Path

from cli.amounts import parse_amount
from cli.connection import Connection
from cli.results import Misuse
from custody.rebalancer.plan import Bounds
from custody.rebalancing import granting
from custody.rebalancing.main import Assignment
from custody.rebalancing.records import Corridor, CostSettings, Edge, Route
from policy.model import Asset, Level, Policy, Tier
from policy.settings import PORT_MAX, ConfigError, Settings, parse_settings
from signer_nodes.api.surroundings import read_text

FILE = "rebalance.toml"
HOUR_S = 3600
EDGES = ("minimum", "target", "maximum")
ROUTES_MAX, NUMBER_MAX = 1000, 1e15
_HOST, _AMOUNT = re.compile(r"[!-~]{1,100}"), re.compile(r"[ -~]{1,100}")


def load_assignment(folder: Path, connection: Connection) -> Assignment:
    """The file of a rebalancer's folder. Raises ``ConfigError`` with all its problems."""
    path = folder / FILE
    root = parse_settings(read_text(path), str(path))
    assignment = _assignment(root, connection)
    root.done()
    if root.problems:
        raise ConfigError(f"{path} (see docs/rebalancing.md)", root.problems)
    return assignment


def _assignment(root: Settings, connection: Connection) -> Assignment:
    prices = connection.policy.prices
    price_age_s = prices.max_age_ms // 1000 if prices else HOUR_S
    given = root.section("routes").sections(count_max=ROUTES_MAX)
    if not given:
        root.problem("routes", "is missing, so there is no route: write [routes.ASSET] with its wallets")
    return Assignment(
        routes=tuple(route for name, table in given if (route := _route(name, table, connection))),
        settings=granting.Settings(
            topup_valid_ms=_ms(root, "topup_valid_s", 24 * HOUR_S),
            sweep_valid_ms=_ms(root, "sweep_valid_s", HOUR_S),
            refused_pause_ms=_ms(root, "refused_pause_s", HOUR_S // 2),
            price_max_age_ms=_ms(root, "price_max_age_s", price_age_s),
        ),
        every_s=_number(root, "every_s", 60.0, low=0.1),
        metrics_port=root.integer("metrics_port", default=0, high=PORT_MAX),
        metrics_address=root.text("metrics_address", _HOST, expected="an address", default="127.0.0.1"),
    )


def _route(name: str, table: Settings, connection: Connection) -> Route | None:
    policy, said = connection.policy, table.name("asset", default=name)
    asset = policy.assets.get(said)
    if asset is None:
        known = ", ".join(sorted(policy.assets))
        table.problem("asset", f"is {said[:64]!r}: the policy has no such asset, but {known}")
        table.read.update(table.values)  # of another asset all of it means something else
        return None
    wallet, source = (_wallet(table, end, asset, policy) for end in ("wallet", "source"))
    costs = _costs(table)
    if not wallet or not source:
        for edge in EDGES:
            _said(table, edge, asset)  # what is wrong with them is told all the same
        return None
    corridor = _corridor(table, asset=asset, tier=_tier(policy, wallet))
    if policy.wallets[wallet].tier == policy.wallets[source].tier:
        table.problem("source", f"is {source}, of one tier with {wallet}, so nothing is gained: correct one")
    return Route(
        name=name,
        asset=asset.name,
        chain=asset.chain,
        wallet=wallet,
        source=source,
        decimals=asset.decimals,
        native=asset.native,
        fee_ceiling=policy.chains[asset.chain].fee_ceiling,
        bounds=Bounds(0, 0, 0),
        costs=costs,
        corridor=corridor,
        tier=policy.wallets[wallet].tier,
        units=tuple((one.name, 10**one.decimals) for one in policy.assets.values()),
    )


def _corridor(table: Settings, *, asset: Asset, tier: Tier | None) -> Corridor:
    """The policy's target band within its hard bounds; what the file says can only make it narrower."""
    said = {edge: _said(table, edge, asset) for edge in EDGES}
    tier = tier or Tier("", "")
    low = _edge(max, asset.name, tier.minimum, tier.target_min, said=said["minimum"])
    high = _edge(min, asset.name, tier.maximum, tier.target_max, said=said["maximum"])
    if high == Edge() and not table.has("maximum"):
        table.problem(
            "maximum", f"is missing, and the policy's tier has no maximum: write it as '10 {asset.name}'"
        )
    middle = Edge(said["target"]) if said["target"] is not None else _middle(low, high)
    return Corridor(low if low != Edge() else Edge(0), middle, high)


def _edge(stricter: Callable[[list[int]], int], asset: str, *levels: Level, said: int | None) -> Edge:
    amounts = [level.amounts[asset] for level in levels if asset in level.amounts]
    amounts += [] if said is None else [said]
    values = [level.value for level in levels if level.value is not None]
    return Edge(stricter(amounts) if amounts else None, stricter(values) if values else None)


def _middle(low: Edge, high: Edge) -> Edge:
    """Half way between two edges, by whatever measures the upper one has."""
    amount = None if high.amount_base is None else ((low.amount_base or 0) + high.amount_base) // 2
    return Edge(amount, None if high.value is None else ((low.value or 0) + high.value) // 2)


def _said(table: Settings, edge: str, asset: Asset) -> int | None:
    value = table.take(edge)
    if value is None:
        return None
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str):
        return table.wrong(edge, expected=f"base units, or an amount such as '1 {asset.name}'", stand_in=None)
    try:
        return parse_amount(text, asset=asset.name, decimals=asset.decimals, low=0)
    except Misuse as error:
        table.problem(edge, f"cannot be meant: {error}")
        return None


def _costs(table: Settings) -> CostSettings:
    default = CostSettings()
    return CostSettings(
        price=_number(table, "price", 0.0) or None,
        topup=_number(table, "topup_cost", default.topup),
        sweep=_number(table, "sweep_cost", default.sweep),
        exposure_year=_number(table, "exposure_year", default.exposure_year),
        delay=_number(table, "delay", 0.0) or None,
        service=_number(table, "service", default.service, low=0.5, high=0.9999),
        lead_days=table.integer("lead_days", default=default.lead_days, high=1),
    )


def _wallet(table: Settings, end: str, asset: Asset, policy: Policy) -> str:
    name = table.name(end)
    known = sorted(wallet for wallet, one in policy.wallets.items() if one.chain == asset.chain)
    if not name or name in known:
        return name
    table.problem(end, f"is {name!r}: wallets of {asset.chain} are {', '.join(known)}; name one of them")
    return ""


def _ms(table: Settings, key: str, default: int) -> int:
    return int(_number(table, key, float(default)) * 1000)


def _number(
    table: Settings, key: str, default: float, *, low: float = 0.0, high: float = NUMBER_MAX
) -> float:
    value = table.take(key)
    if value is None:
        return default
    if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
        return float(value)
    return table.wrong(key, expected=f"a number from {low:g} to {high:g}", stand_in=default)


def _tier(policy: Policy, wallet: str) -> Tier | None:
    """The declared tier of a wallet, if the policy declares tiers."""
    return next((tier for tier in policy.tiers if tier.name == policy.wallets[wallet].tier), None)
