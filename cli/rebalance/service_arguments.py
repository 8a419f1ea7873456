"""The arguments of the running rebalancer's commands. Imports nothing of ours that reads or computes."""

from cli.arguments import Commands, needs_identity, new_command

HERE = "cli.rebalance.service"


def add_service(rebalance: Commands) -> None:
    """The commands that need a rebalancer's folder."""
    run = new_command(
        rebalance,
        "run",
        function=f"{HERE}:rebalance",
        what="run the rebalancer: look, forecast, ask for moves as a backend; until SIGTERM, or once",
        example="quorumkeep rebalance run --as backends/rebalancer --once    (it reads rebalance.toml there)",
    )
    run.add_argument("--once", action="store_true", help="look once and end: for cron")
    needs_identity(run, "the rebalancer, a backend, with its rebalance.toml")
