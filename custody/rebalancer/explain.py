"""A forecast and a plan in sentences for the people who are asked to approve a move."""

from custody.rebalancer.forecast import Flow, Forecast
from custody.rebalancer.plan import Plan


def explain(forecast: Forecast, plan: Plan | None = None) -> tuple[str, ...]:
    """What the forecast rests on, then why the plan moves what it moves."""
    basis = forecast.basis
    low, _, middle, _, high, _ = forecast.quantiles(Flow.WITHDRAWN, 0)
    sentences = [
        f"it knows {basis.known_steps} steps and misses {basis.unknown_steps}; "
        f"the prior weighs {basis.prior_share:.0%}",
        f"withdrawals of the next step: {middle:.6g} units, "
        f"between {low:.6g} and {high:.6g} nine times in ten",
    ]
    return (*sentences, *(plan.reasons if plan else ()))
