"""The arguments of the running rebalancer's commands. Imports nothing of ours that reads or computes."""

from cli.arguments import Commands, limit, needs_identity, new_command

HERE = "cli.rebalance.service"
WHO = "the rebalancer, a backend, with its rebalance.toml"


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
    needs_identity(run, WHO)
    _add_looking(rebalance)
    _add_saying(rebalance)


def _add_looking(rebalance: Commands) -> None:
    status = new_command(
        rebalance,
        "status",
        function=f"{HERE}:status",
        what="what is held against what is wanted, the days ahead, and whether an alarm stands",
        example="quorumkeep rebalance status --as backends/rebalancer",
    )
    proposals = new_command(
        rebalance,
        "proposals",
        function=f"{HERE}:proposals",
        what="moves that are foreseen, asked for, under way and over, newest first",
        example="quorumkeep rebalance proposals --stage announced --as backends/rebalancer",
    )
    proposals.add_argument("--stage", default="", help="only those in this stage")
    proposals.add_argument("--limit", type=limit, default=20, help="at most so many (%(default)s)")
    show = new_command(
        rebalance,
        "show",
        function=f"{HERE}:show_proposal",
        what="one proposal: what it moves, where it stands and what it rests on",
        example="quorumkeep rebalance show top-up.eth.20261126.1 --as backends/rebalancer",
    )
    show.add_argument("proposal", help="its name, as rebalance proposals lists it")
    history = new_command(
        rebalance,
        "history",
        function=f"{HERE}:history",
        what="what was forecast of each day, what came, and how often the intervals kept their promise",
        example="quorumkeep rebalance history --days 30 --as backends/rebalancer",
    )
    history.add_argument("--days", type=int, default=30, help="the newest so many (%(default)s)")
    report = new_command(
        rebalance,
        "report",
        function="cli.rebalance.report:report",
        what="one page with exposure against target, forecasts against what came, and every proposal",
        example="quorumkeep rebalance report --out report.html --as backends/rebalancer",
    )
    report.add_argument("--out", required=True, help="the HTML file; it asks for nothing from anywhere")
    report.add_argument("--days", type=int, default=30, help="the last so many (%(default)s)")
    notes = new_command(
        rebalance,
        "notes",
        function="cli.rebalance.notes:notes",
        what="what rebalancers said in the log: top-ups to come, held ones, what they plan by and why",
        example="quorumkeep rebalance notes --as people/alice",
    )
    notes.add_argument("--entries", type=int, default=5000, help="among the newest (%(default)s)")
    needs_identity(notes, "an operator or administrator")
    for command in (status, proposals, show, history, report):
        needs_identity(command, WHO)


def _add_saying(rebalance: Commands) -> None:
    release = new_command(
        rebalance,
        "release",
        function=f"{HERE}:release",
        what="let a proposal go that the breaker's quota holds",
        example="quorumkeep rebalance release top-up.eth.20261126.2 --as backends/rebalancer",
    )
    release.add_argument("proposal", help="its name")
    calm = new_command(
        rebalance,
        "calm",
        function=f"{HERE}:calm",
        what="end the alarm of a run, after looking at what it was",
        example="quorumkeep rebalance calm eth --reason 'the airdrop is over' --as backends/rebalancer",
    )
    calm.add_argument("route", help="its name in rebalance.toml")
    calm.add_argument("--reason", required=True, help="what it was, for those who read it later")
    calm.add_argument(
        "--new-normal",
        action="store_true",
        help="it is how it is going to be: forecasts learn from those days, and the like trips no more",
    )
    for command in (release, calm):
        needs_identity(command, WHO)
