"""The arguments of ``quorumkeep risk``. Imports nothing of ours but the words of arguments."""

from argparse import ArgumentParser

from cli.arguments import CLIENT_HELP, Commands, needs_identity, needs_trust, new_command, new_group

HERE = "cli.risk.commands"


def add_risk(commands: Commands) -> None:
    """``risk run|score|explain|verify``."""
    risk = new_group(commands, "risk", what="score requests in the open, and check what was stated of them")
    run = new_command(
        risk,
        "run",
        function="cli.risk.running:run_observer",
        what="run a scoring observer: follow the log, score and screen what waits, state it; until SIGTERM",
        example="quorumkeep risk run --as feeds/a --trust trust.json    (it reads risk.toml in feeds/a)",
    )
    run.add_argument("--once", action="store_true", help="look once and end: for cron")
    needs_identity(run, "an observer, with its risk.toml")
    needs_trust(run)
    score = new_command(
        risk,
        "score",
        function=f"{HERE}:score",
        what="the score of a request of the log, or of one in a file as if it came next, with its shares",
        example="quorumkeep risk score 4a5b... --log published --trust trust.json",
    )
    score.add_argument("request", help="its id, or the file of its document")
    explain = new_command(
        risk,
        "explain",
        function=f"{HERE}:explain",
        what="why a request has its score, in sentences, and what observers stated of it",
        example="quorumkeep risk explain 4a5b... --log published --trust trust.json",
    )
    explain.add_argument("request", help="its id")
    verify = new_command(
        risk,
        "verify",
        function=f"{HERE}:verify",
        what="make every stated score again from the log alone; refused at a difference",
        example="quorumkeep risk verify --log published --trust trust.json",
    )
    verify.add_argument(
        "--list",
        action="append",
        default=[],
        dest="lists",
        metavar="FILE",
        help="a sanctions list that was in use: what was stated by it is screened again",
    )
    verify.add_argument(
        "--clear", default="clear", help="the word of risk.toml for those not on it (%(default)s)"
    )
    for command in (score, explain, verify):
        _needs_log(command)


def _needs_log(command: ArgumentParser) -> None:
    command.add_argument("--log", default="", help="the folder with checkpoint and tile/; else asked for")
    command.add_argument(
        "--as", dest="identity", default="", metavar="DIR", help="who asks the coordinator, without --log"
    )
    command.add_argument("--client", default="", help=CLIENT_HELP)
    needs_trust(command)
