"""The arguments of ``quorumkeep sweep``. Imports nothing of ours but the words of arguments."""

from cli.arguments import Commands, limit, needs_identity, new_command, new_group

HERE = "cli.sweeps.service"
WHO = "the sweeper, a backend of the group sweeper, with its sweep.toml"


def add_sweeps(commands: Commands) -> None:
    """``sweep run|list``."""
    sweep = new_group(commands, "sweep", what="empty deposit accounts, keep sending accounts in gas")
    run = new_command(
        sweep,
        "run",
        function=f"{HERE}:sweep",
        what="run the sweeper: look at accounts, ask for sweeps and top-ups of gas; until SIGTERM, or once",
        example="quorumkeep sweep run --as backends/sweeper --once    (it reads sweep.toml there)",
    )
    mode = run.add_mutually_exclusive_group()
    mode.add_argument("--once", action="store_true", help="look once and end: for cron")
    mode.add_argument("--plan", action="store_true", help="show what a look would ask for, and ask nothing")
    listing = new_command(
        sweep,
        "list",
        function=f"{HERE}:listing",
        what="its sweeps and top-ups, newest first, by its own records",
        example="quorumkeep sweep list --as backends/sweeper",
    )
    listing.add_argument("--limit", type=limit, default=20, help="at most so many (%(default)s)")
    for command in (run, listing):
        needs_identity(command, WHO)
