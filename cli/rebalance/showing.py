"""``rebalance forecast``, ``plan`` and ``explain`` on one series of a file."""

from argparse import Namespace
from datetime import timedelta
from decimal import Decimal, InvalidOperation

from cli.rebalance.backtesting import checked_mean, checked_service
from cli.rebalance.reading import Rows, read_flows
from cli.results import Document, Misuse, Result, Table
from custody.rebalancer.backtest import SWEEP_DAYS, TOPUP_DAYS
from custody.rebalancer.explain import explain as in_words
from custody.rebalancer.flows import DAY_MS, Flows, History
from custody.rebalancer.forecast import (
    EPOCH,
    QUANTILES,
    Flow,
    Forecast,
    Mean,
    Settings,
    profile_of,
)
from custody.rebalancer.forecast import (
    forecast as make_forecast,
)
from custody.rebalancer.plan import Bounds, Costs, Plan, Position
from custody.rebalancer.plan import plan as make_plan
from custody.rebalancer.steering import Steering

HORIZON_MAX = 60
PLAN_DAYS = 10
NO_MAXIMUM = 10**60


def forecast(arguments: Namespace) -> Result:
    """Quantiles by day, and what they rest on."""
    rows = _rows(arguments)
    ahead = _forecast(rows, arguments, arguments.days, mean=checked_mean(arguments.mean))
    days = [str(rows.days[-1] + timedelta(days=step + 1)) for step in range(arguments.days)]
    flows = {
        day: {flow.value: list(ahead.quantiles(flow, step)) for flow in Flow} for step, day in enumerate(days)
    }
    table = Table(
        ("day", "flow", *(f"{level:.0%}" for level in QUANTILES)),
        tuple(
            (day, flow, *(f"{value:.6g}" for value in values))
            for day, found in flows.items()
            for flow, values in found.items()
        ),
    )
    document = {"series": arguments.series, "quantiles": list(QUANTILES), "days": flows}
    return Result({**document, "rests_on": list(in_words(ahead))}, (table, *in_words(ahead)))


def plan(arguments: Namespace) -> Result:
    """The band and the move."""
    _, made, document = _planned(arguments)
    unit = 10**arguments.decimals
    table = Table(
        ("s", "S", "U", "T", "move", "amount"),
        (
            (
                *(_amount_text(level, unit) for level in _levels(made)),
                document["action"],
                _amount_text(made.amount_base, unit),
            ),
        ),
    )
    return Result(document, (table, *made.reasons))


def explain(arguments: Namespace) -> Result:
    """What the plan rests on, in sentences."""
    ahead, made, document = _planned(arguments)
    sentences = in_words(ahead, made)
    return Result({**document, "explanation": list(sentences)}, sentences)


def _planned(arguments: Namespace) -> tuple[Forecast, Plan, Document]:
    rows = _rows(arguments)
    ahead = _forecast(rows, arguments, max(PLAN_DAYS, arguments.days))
    mean = max(ahead.basis.level, 1e-12)
    steering = Steering(checked_service(arguments.service), mean)
    costs = Costs(
        1.0,
        TOPUP_DAYS * mean,
        SWEEP_DAYS * mean,
        exposure_year=365.0,
        delay=steering.delay(profile_of(ahead)),
    )
    amount = {name: _base(arguments, name) for name in ("hot", "owed", "incoming", "minimum")}
    target = _base(arguments, "target") if arguments.target else amount["minimum"]
    maximum = _base(arguments, "maximum") if arguments.maximum else NO_MAXIMUM
    position = Position(amount["hot"], amount["owed"], amount["incoming"])
    made = make_plan(ahead, position, costs=costs, bounds=Bounds(amount["minimum"], target, maximum))
    names = ("s_base", "S_base", "U_base", "T_base")
    document: Document = {
        "series": arguments.series,
        "action": type(made.action).__name__.lower(),
        "amount_base": str(made.amount_base),
        "band": {name: str(level) for name, level in zip(names, _levels(made), strict=True)},
        "reasons": list(made.reasons),
        "fallback": made.fallback,
    }
    return ahead, made, document


def _levels(made: Plan) -> tuple[int, int, int, int]:
    return made.band.s_base, made.band.S_base, made.band.U_base, made.band.T_base


def _rows(arguments: Namespace) -> Rows:
    found = read_flows(arguments.file)
    if arguments.series not in found:
        raise Misuse(f"no series {arguments.series!r} in the file; it has {', '.join(list(found)[:20])}")
    if not 1 <= arguments.days <= HORIZON_MAX or not 0 <= arguments.decimals <= 36:
        raise Misuse(f"--days is between 1 and {HORIZON_MAX}, --decimals between 0 and 36")
    return found[arguments.series]


def _forecast(rows: Rows, arguments: Namespace, horizon: int, *, mean: Mean = Mean.SMOOTHING) -> Forecast:
    unit = 10**arguments.decimals
    wanted = tuple(None if amount is None else int(amount * unit) for amount in rows.wanted)
    deposited = tuple(None if amount is None else int(amount * unit) for amount in rows.deposited)
    known = [amount for amount in wanted[:14] if amount is not None]
    prior = max(1, sum(known) // max(1, len(known)))
    first_ms = (rows.days[0].toordinal() - EPOCH) * DAY_MS
    history = History(unit, prior, Flows(DAY_MS, first_ms, wanted, deposited))
    return make_forecast(history, history.days.end_ms, horizon=horizon, settings=Settings(mean=mean))


def _base(arguments: Namespace, name: str) -> int:
    text = getattr(arguments, name)
    try:
        amount = Decimal(text) * 10**arguments.decimals
    except InvalidOperation as error:
        raise Misuse(f"--{name} {text!r} is no number") from error
    if not amount.is_finite() or amount < 0 or amount >= NO_MAXIMUM:
        raise Misuse(f"--{name} {text}: an amount is not below zero, and finite")
    return int(amount)


def _amount_text(amount_base: int, unit: int) -> str:
    return "none" if amount_base >= NO_MAXIMUM else f"{amount_base / unit:.6g}"
