"""The arguments of ``quorumkeep rebalance``. Imports nothing of ours but the words of arguments."""

from argparse import ArgumentParser

from cli.arguments import Commands, new_command, new_group
from cli.rebalance.service_arguments import add_service


def add_rebalance(commands: Commands) -> None:
    """``rebalance backtest|forecast|plan|explain|what-if`` on flows in a CSV file."""
    rebalance = new_group(commands, "rebalance", what="forecast flows, plan moves between tiers, test both")
    _add_backtest(rebalance)
    for verb, what, example in (
        ("forecast", "quantiles of withdrawals, deposits and net outflow of the days ahead", ""),
        ("plan", "the bands, and the move they say for a balance", " --hot 12.5 --maximum 80"),
        ("explain", "the same plan in sentences: what it rests on and why", " --hot 12.5"),
    ):
        command = new_command(
            rebalance,
            verb,
            function=f"cli.rebalance.showing:{verb}",
            what=what,
            example=f"quorumkeep rebalance {verb} flows.csv --series eth{example}",
        )
        _needs_series(command)
        if verb == "forecast":
            _takes_mean(command)
        else:
            _takes_position(command)
    _add_what_if(rebalance)
    add_service(rebalance)


def _add_backtest(rebalance: Commands) -> None:
    backtest = new_command(
        rebalance,
        "backtest",
        function="cli.rebalance.backtesting:backtest",
        what="the rebalancer on daily flows, against the cheapest plan that knew the future",
        example="quorumkeep rebalance backtest flows.csv.gz --service 0.999 --json",
    )
    _needs_file(backtest)
    _needs_service(backtest)
    backtest.add_argument(
        "--match",
        action="store_true",
        help="set it to just reach the service on these data, to compare designs",
    )
    backtest.add_argument(
        "--overnight", action="store_true", help="a top-up is there the next morning, not the one after it"
    )
    _takes_mean(backtest)


def _takes_mean(command: ArgumentParser) -> None:
    command.add_argument(
        "--mean",
        choices=("smoothing", "lightgbm"),
        default="smoothing",
        help="of withdrawals: smoothing, or corrected by LightGBM, an extra (%(default)s)",
    )


def _add_what_if(rebalance: Commands) -> None:
    what_if = new_command(
        rebalance,
        "what-if",
        function="cli.rebalance.backtesting:what_if",
        what="exposure and moves for several services, to choose from",
        example="quorumkeep rebalance what-if flows.csv --services 0.98 0.99 0.999",
    )
    _needs_file(what_if)
    what_if.add_argument("--series", default="", help="only this one")
    what_if.add_argument(
        "--services",
        type=float,
        nargs="+",
        default=[0.95, 0.98, 0.99, 0.995, 0.999],
        help="shares of withdrawals to pay at once (0.95 0.98 0.99 0.995 0.999)",
    )


def _needs_file(command: ArgumentParser) -> None:
    command.add_argument(
        "file",
        help="CSV or .csv.gz with series, date, withdraw, deposit and, if you like, instant, part",
    )


def _needs_service(command: ArgumentParser) -> None:
    command.add_argument(
        "--service", type=float, default=0.999, help="share of withdrawals to pay at once (%(default)s)"
    )


def _needs_series(command: ArgumentParser) -> None:
    _needs_file(command)
    command.add_argument("--series", required=True, help="which one")
    command.add_argument("--days", type=int, default=7, help="how many days ahead (%(default)s)")
    command.add_argument("--decimals", type=int, default=18, help="of the asset's base unit (%(default)s)")


def _takes_position(command: ArgumentParser) -> None:
    command.add_argument("--hot", default="0", help="what is hot now (%(default)s)")
    command.add_argument("--owed", default="0", help="what waits to be paid (%(default)s)")
    command.add_argument("--incoming", default="0", help="top-ups on their way (%(default)s)")
    command.add_argument("--minimum", default="0", help="the policy's minimum (%(default)s)")
    command.add_argument("--target", default="", help="its target; the minimum if not given")
    command.add_argument("--maximum", default="", help="its hard maximum; none if not given")
    _needs_service(command)
