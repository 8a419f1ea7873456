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

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cli.amounts import parse_amount
from cli.connection import Connection
from cli.files import read_bytes
from cli.results import Misuse
from custody.rebalancer.plan import Bounds
from custody.rebalancing.granting import Settings
from custody.rebalancing.main import Assignment
from custody.rebalancing.records import Corridor, CostSettings, Edge, Route
from policy.errors import CallerError, OperationalError
from policy.model import Asset, Level, Policy, Tier

FILE = "rebalance.toml"
HOUR_S = 3600
ROUTE_FIELDS = frozenset(
    {"asset", "wallet", "source", "minimum", "target", "maximum"}
    | {"price", "topup_cost", "sweep_cost", "exposure_year", "delay", "service", "lead_days"}
)
FIELDS = frozenset(
    {"every_s", "topup_valid_s", "sweep_valid_s", "refused_pause_s", "price_max_age_s"}
    | {"metrics_port", "metrics_address", "routes"}
)


def load_assignment(folder: Path, connection: Connection) -> Assignment:
    """The file of a rebalancer's folder. Raises ``OperationalError`` naming the field to correct."""
    path = folder / FILE
    try:
        document = tomllib.loads(read_bytes(path, "what the rebalancer is to do").decode())
        return _assignment(document, connection)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, CallerError, Misuse, ValueError) as error:
        raise OperationalError(f"{path}: {error}; see docs/rebalancing.md") from error


def _assignment(document: dict[str, Any], connection: Connection) -> Assignment:
    _known(document, FIELDS, "the file")
    prices = connection.policy.prices
    price_age_s = prices.max_age_ms // 1000 if prices else HOUR_S
    given = _table(document.get("routes", {}), "routes")
    routes = (_route(name, _table(one, f"routes.{name}"), connection) for name, one in given.items())
    if not given:
        raise Misuse("there is no route: write [routes.ASSET] with wallet and source")
    return Assignment(
        routes=tuple(routes),
        settings=Settings(
            topup_valid_ms=_seconds(document, "topup_valid_s", 24 * HOUR_S),
            sweep_valid_ms=_seconds(document, "sweep_valid_s", HOUR_S),
            refused_pause_ms=_seconds(document, "refused_pause_s", HOUR_S // 2),
            price_max_age_ms=_seconds(document, "price_max_age_s", price_age_s),
        ),
        every_s=_number(document, "every_s", 60.0),
        metrics_port=_whole(document, "metrics_port", 0),
        metrics_address=str(document.get("metrics_address", "127.0.0.1")),
    )


def _route(name: str, given: dict[str, Any], connection: Connection) -> Route:
    _known(given, ROUTE_FIELDS, f"routes.{name}")
    asset = connection.asset(str(given.get("asset", name)))
    wallet, source = (_wallet(given, end, name, connection) for end in ("wallet", "source"))
    policy = connection.policy
    for end in (wallet, source):
        if policy.wallets[end].chain != asset.chain:
            raise Misuse(
                f"routes.{name}: wallet {end} is on {policy.wallets[end].chain}, not on {asset.chain}"
            )
    if policy.wallets[wallet].tier == policy.wallets[source].tier:
        raise Misuse(f"routes.{name}: {wallet} and {source} are of one tier: nothing is gained by moving")
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
        costs=_costs(name, given),
        corridor=_corridor(name, given, asset=asset, tier=_tier(policy, wallet)),
        tier=policy.wallets[wallet].tier,
        units=tuple((one.name, 10**one.decimals) for one in policy.assets.values()),
    )


def _corridor(name: str, given: dict[str, Any], *, asset: Asset, tier: Tier | None) -> Corridor:
    """The policy's target band within its hard bounds; what the file says can only make it narrower."""
    said = {edge: _said(given, edge, asset) for edge in ("minimum", "target", "maximum")}
    tier = tier or Tier("", "")
    low = _edge(max, asset.name, tier.minimum, tier.target_min, said=said["minimum"])
    high = _edge(min, asset.name, tier.maximum, tier.target_max, said=said["maximum"])
    if high == Edge():
        raise Misuse(
            f"routes.{name} has no maximum, nor has the policy's tier: write it as '10 {asset.name}'"
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


def _said(given: dict[str, Any], edge: str, asset: Asset) -> int | None:
    if edge not in given:
        return None
    return parse_amount(str(given[edge]), asset=asset.name, decimals=asset.decimals, low=0)


def _costs(name: str, given: dict[str, Any]) -> CostSettings:
    default = CostSettings()
    lead_days = _whole(given, "lead_days", default.lead_days)
    if lead_days not in (0, 1):
        raise Misuse(f"routes.{name}: lead_days is {lead_days}, not 0 or 1")
    return CostSettings(
        price=_number(given, "price", 0.0) or None,
        topup=_number(given, "topup_cost", default.topup),
        sweep=_number(given, "sweep_cost", default.sweep),
        exposure_year=_number(given, "exposure_year", default.exposure_year),
        delay=_number(given, "delay", 0.0) or None,
        service=_service(name, given, default.service),
        lead_days=lead_days,
    )


def _service(name: str, given: dict[str, Any], default: float) -> float:
    service = _number(given, "service", default)
    if not 0.5 <= service <= 0.9999:
        raise Misuse(f"routes.{name}: a service of {service} is none: write a share from 0.5 to 0.9999")
    return service


def _wallet(given: dict[str, Any], end: str, route: str, connection: Connection) -> str:
    name = given.get(end)
    if not isinstance(name, str) or name not in connection.policy.wallets:
        known = ", ".join(sorted(connection.policy.wallets))
        raise Misuse(f"routes.{route}.{end} is {name!r}: the policy has the wallets {known}")
    return name


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Misuse(f"{where} is no table: write [{where}]")
    return value


def _known(given: dict[str, Any], fields: frozenset[str], where: str) -> None:
    unknown = sorted(set(given) - fields)
    if unknown:
        raise Misuse(f"{where} has {unknown[0]!r}, which means nothing: it takes {', '.join(sorted(fields))}")


def _seconds(given: dict[str, Any], name: str, default: int) -> int:
    return int(_number(given, name, float(default)) * 1000)


def _whole(given: dict[str, Any], name: str, default: int) -> int:
    value = given.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 65_535:
        raise Misuse(f"{name} is {value!r}: write a whole number from 0 to 65535")
    return value


def _number(given: dict[str, Any], name: str, default: float) -> float:
    value = given.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e15:
        raise Misuse(f"{name} is {value!r}: write a number that is not below zero")
    return float(value)


def _tier(policy: Policy, wallet: str) -> Tier | None:
    """The declared tier of a wallet, if the policy declares tiers."""
    return next((tier for tier in policy.tiers if tier.name == policy.wallets[wallet].tier), None)
