"""Arguments of ``bench`` and ``demo``, which run what there is on this machine."""

from cli.arguments import Commands, new_command, new_group
from cli.policies.arguments import add_audit_bench, add_policy_bench


def add_bench(commands: Commands) -> None:
    """``bench``."""
    bench = new_group(commands, "bench", what="what things cost on this machine")
    engine = new_command(
        bench,
        "engine",
        function="cli.programs:run_bench",
        what="the threshold protocols: medians in processor time, and in units of one base-point product",
        example="quorumkeep bench engine --json",
    )
    engine.add_argument("--batch", type=int, default=32, help="presignatures a batch (%(default)s)")
    engine.add_argument("--repeat", type=int, default=7, help="runs that a median is of (%(default)s)")
    engine.add_argument(
        "--quick", action="store_true", help="one run of the smallest batch: shape, not figures"
    )
    add_policy_bench(bench)
    service = new_command(
        bench,
        "service",
        function="cli.demo.bench:run",
        what="withdrawals through a whole deployment on this machine: how many a second, and how long each",
        example="quorumkeep bench service --seconds 20 --json",
    )
    service.add_argument(
        "--seconds", type=int, default=20, help="of each part: one at a time, and many (%(default)s)"
    )
    service.add_argument(
        "--entries",
        type=int,
        nargs="+",
        default=[],
        help="measure again with the log lengthened to so many entries, by requests that expired",
    )
    service.add_argument(
        "--keep",
        default="",
        metavar="FOLDER",
        help="keep the deployment there, and go on with it if one is: a long log takes its time to fill",
    )
    add_audit_bench(bench)


def add_demo(commands: Commands) -> None:
    """``demo``."""
    demo = new_command(
        commands,
        "demo",
        function="cli.demo.run:demo",
        what="a whole deployment on this machine: real nodes, tokens and chains, and scenes on them",
        example="quorumkeep demo --chains evm,bitcoin,solana --dir /tmp/demo --serve",
    )
    demo.add_argument(
        "--chains",
        default="evm",
        help="the families of chains, with commas, such as evm,bitcoin,solana (%(default)s)",
    )
    demo.add_argument("--dir", default="", help="keep all files here (a temporary folder otherwise)")
    demo.add_argument("--serve", action="store_true", help="keep it running and say how to try a request")
