"""``rebalance backtest`` and ``rebalance what-if``."""

from argparse import Namespace
from dataclasses import asdict
from functools import partial

from cli.rebalance.reading import for_backtest, read_flows
from cli.results import REFUSED, Misuse, Result, Table, progress
from custody.rebalancer.backtest import Report, Series
from custody.rebalancer.backtest import backtest as run_backtest
from custody.rebalancer.boosting import library
from custody.rebalancer.forecast import Mean
from policy.errors import CallerError


def backtest(arguments: Namespace) -> Result:
    """One line of figures: the achieved service and the costs against perfect foresight."""
    asked = checked_service(arguments.service)
    mean = checked_mean(arguments.mean)
    found = run_backtest(
        _series(arguments),
        asked,
        match=arguments.match,
        overnight=arguments.overnight,
        mean=mean,
        progress=progress,
    )
    if found is None:
        return Result(
            {"asked": asked, "error": "target not reached"},
            (f"no setting serves {asked:.3%} at once on these data",),
            REFUSED,
        )
    return Result({**asdict(found), "interval90": list(found.interval90)}, (_table([found]),))


def what_if(arguments: Namespace) -> Result:
    """The same for several services: what each costs in exposure and moves."""
    series = _series(arguments)
    if arguments.series:
        series = tuple(one for one in series if one.name == arguments.series)
        if not series:
            raise Misuse(f"{arguments.file} has no series {arguments.series!r}")
    services = sorted({checked_service(service) for service in arguments.services})
    ask = partial(run_backtest, series, progress=progress)
    found = [report for report in (ask(service) for service in services) if report]
    return Result(
        {"curve": [{**asdict(one), "interval90": list(one.interval90)} for one in found]}, (_table(found),)
    )


def checked_service(service: float) -> float:
    """A service that can be asked for; below 0.95 the steering is not calibrated and would serve less."""
    if not 0.95 <= service <= 0.9999:
        raise Misuse(f"a service of {service}: ask for a share between 0.95 and 0.9999, such as 0.999")
    return service


def checked_mean(name: str) -> Mean:
    """How the mean is learnt. Raises ``Misuse`` where LightGBM is not installed."""
    mean = Mean(name)
    if mean is Mean.LIGHTGBM:
        try:
            library()
        except CallerError as error:
            raise Misuse(str(error)) from error
    return mean


def _series(arguments: Namespace) -> tuple[Series, ...]:
    found = read_flows(arguments.file)
    return tuple(for_backtest(name, rows, file=arguments.file) for name, rows in found.items())


def _table(reports: list[Report]) -> Table:
    return Table(
        (
            "asked",
            "served at once",
            "worst series",
            "cost / perfect",
            "exposure / perfect",
            "top-ups a week",
            "sweeps a week",
        ),
        tuple(
            (
                f"{one.asked:.2%}",
                f"{one.service:.3%}",
                f"{one.worst:.3%}",
                f"{one.cost_ratio:.3f} ({one.interval90[0]:.2f}-{one.interval90[1]:.2f})",
                f"{one.exposure_ratio:.3f}",
                f"{one.topups_per_week:.2f}",
                f"{one.sweeps_per_week:.2f}",
            )
            for one in reports
        ),
    )
