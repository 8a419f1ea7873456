"""The arguments of ``witness``."""

from cli.arguments import Commands, new_command, new_group

ADDRESS = "127.0.0.1:7690"


def add_witness(commands: Commands) -> None:
    """``witness init`` and ``witness run``."""
    group = new_group(commands, "witness", what="a witness of an auditor's own, for logs of others")
    init = new_command(
        group,
        "init",
        function="cli.witness.commands:init",
        what="make the witness's key and say what others must know of it",
        example="quorumkeep witness init watch --name auditor.example.com/watch",
    )
    init.add_argument("folder", help="where its key and what it cosigned last are kept")
    init.add_argument("--name", required=True, help="what logs call it: a host and a path that are yours")
    run = new_command(
        group,
        "run",
        function="cli.witness.commands:run",
        what="cosign checkpoints that extend all that was cosigned before (c2sp.org/tlog-witness)",
        example="quorumkeep witness run watch --trust treasury/trust.json",
    )
    run.add_argument("folder", help="the folder that witness init made")
    run.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="FILE",
        help="the trust.json of a log (again for more)",
    )
    run.add_argument(
        "--log",
        action="append",
        default=[],
        metavar="VKEY",
        help="a log by its verifier key (again for more)",
    )
    run.add_argument(
        "--listen", default=ADDRESS, help="host:port; TLS is up to what stands in front (%(default)s)"
    )
