"""A forecast and a plan in sentences for the people who are asked to approve a move."""

from custody.rebalancer.forecast import Basis, Flow, Forecast
from custody.rebalancer.plan import Plan


def explain(forecast: Forecast, plan: Plan | None = None) -> tuple[str, ...]:
    """What the forecast rests on, then why the plan moves what it moves."""
    basis = forecast.basis
    low, middle, high = forecast.quantiles(Flow.WITHDRAWN, 0, levels=(0.05, 0.5, 0.95))
    sentences = [
        f"it knows {basis.known_steps} steps and misses {basis.unknown_steps}; "
        f"the prior weighs {basis.prior_share:.0%}",
        f"withdrawals of the next step: {middle:.6g} units, "
        f"between {low:.6g} and {high:.6g} nine times in ten",
        f"demand is {basis.profile}: a usual step asks for {basis.level:.6g} units and "
        f"spreads by a factor of {1 + basis.spread:.2f}",
        *_shape(basis),
        f"of the recent steps {basis.coverage:.0%} fell into their 90 % interval; "
        f"intervals are widened by {basis.widened:.2f}",
    ]
    return (*sentences, *(plan.reasons if plan else ()))


def _shape(basis: Basis) -> list[str]:
    """What the week and the calendar say of the next step."""
    said = [f"this place in the week asks for {basis.shape[0]:.2f} times the usual"] if basis.shape else []
    if basis.calendar and basis.calendar[0]:
        names = ", ".join(basis.calendar[0])
        said.append(f"the calendar says {names}, which acts here at {basis.calendar_strength:.0%}")
    if basis.corrected:
        said.append(f"a model of its past days (LightGBM) corrects the next step by {basis.corrected[0]:.2f}")
    return said
