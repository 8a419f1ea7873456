"""The arguments of ``indicators`` and of what is told to it. Imports nothing of ours, as ``cli.parser``."""

from cli.arguments import CLIENT_HELP, Commands, needs_identity, new_command, new_group, seconds


def add_indicators(commands: Commands) -> None:
    """``indicators``."""
    indicators = new_command(
        commands,
        "indicators",
        function="cli.indicators:indicators",
        what="risk indicators and their one score, as the coordinator reads them",
        example="quorumkeep indicators --as people/anna --html indicators.html",
    )
    indicators.add_argument("--html", default="", metavar="FILE", help="write a page of them, too")
    indicators.add_argument(
        "--language", choices=("en", "zh"), default="en", help="the language of the page (default en)"
    )
    needs_identity(indicators, "a person of the roster")


def add_deposits(commands: Commands) -> None:
    """``deposits``."""
    deposits = new_command(
        commands,
        "deposits",
        function="cli.deposits:deposits",
        what="what was paid to a wallet from outside, on the word of f + 1 observers",
        example="quorumkeep deposits hot --asset usdc --confirmed --limit 500 --as people/alice",
    )
    deposits.add_argument("wallet", help="its name in the policy")
    deposits.add_argument("--asset", default="", help="only those of this asset")
    deposits.add_argument("--address", default="", help="only those at this address")
    deposits.add_argument("--label", default="", help="only those at addresses with this label")
    which = deposits.add_mutually_exclusive_group()
    which.add_argument("--gone", action="store_const", const=True, help="only what a reorganisation took")
    which.add_argument(
        "--confirmed", dest="gone", action="store_const", const=False, help="only what the chain has"
    )
    deposits.add_argument("--after", default="", metavar="ID", help="go on after this deposit")
    deposits.add_argument("--limit", type=int, default=100, help="at most so many (%(default)s)")
    needs_identity(deposits, "anyone in the roster, or an auditor; a backend sees its own")


DRILLS = (
    "lost-node",
    "lost-hsm",
    "lost-coordinator",
    "stolen-backup",
    "bad-policy",
    "chain-halt",
    "rotate-key",
)


def add_drills(commands: Commands) -> None:
    """``drill`` and ``drills``."""
    drill = new_command(
        commands,
        "drill",
        function="cli.drills.run:drill",
        what="play trouble on a deployment of its own on this machine, and hold it against its runbook",
        example="quorumkeep drill lost-node --as backends/operations",
    )
    drill.add_argument("name", choices=DRILLS, help="quorumkeep drills lists them")
    drill.add_argument(
        "--as",
        dest="identity",
        default="",
        metavar="DIR",
        help="a backend by which the real log is told of it",
    )
    drill.add_argument("--client", default="", help=CLIENT_HELP)
    drill.add_argument(
        "--dir",
        default="",
        help="the real deployment's folder: lost-coordinator and bad-policy look at copies",
    )
    drill.add_argument("--backup", nargs="+", default=[], metavar="FILE", help="real ones, for stolen-backup")
    drill.add_argument("--invariants", default="", metavar="FILE", help="of the real policy, for bad-policy")
    new_command(
        commands,
        "drills",
        function="cli.drills.run:listing",
        what="the drills there are, and the page that each is held against",
        example="quorumkeep drills",
    )


def add_quarantine(coordinator: Commands) -> None:
    """``coordinator quarantine`` and ``release``."""
    for name, what, more in (
        ("quarantine", "take a node out of all signing sets; it goes on cosigning", " --reason 'its disk'"),
        ("release", "let a node sign again", ""),
    ):
        command = new_command(
            coordinator,
            name,
            function=f"cli.quarantine:{name}",
            what=what,
            example=f"quorumkeep coordinator {name} node-b --config treasury/coordinator/config.toml{more}",
        )
        command.add_argument("node", help="its name in the roster")
        command.add_argument("--config", required=True, help="the coordinator's, on its machine")
        if more:
            command.add_argument("--reason", required=True, help="why, for whoever reads the status")


def add_upgrade(commands: Commands) -> None:
    """``upgrade check``."""
    check = new_command(
        new_group(commands, "upgrade", what="from one program to the next"),
        "check",
        function="cli.upgrades:check",
        what="who runs which program, and whose turn is next; refused while an absence stops something",
        example="quorumkeep upgrade check --as people/anna",
    )
    needs_identity(check, "an administrator")


def add_backups(coordinator: Commands) -> None:
    """``coordinator backup`` and ``restore``."""
    backup = new_command(
        coordinator,
        "backup",
        function="cli.backups:backup",
        what="back its database up, while it runs",
        example="quorumkeep coordinator backup --config treasury/coordinator/config.toml --to backups/monday",
    )
    backup.add_argument("--to", required=True, metavar="FOLDER", help="a new folder")
    restore = new_command(
        coordinator,
        "restore",
        function="cli.backups:restore_database",
        what="make its database from a backup, where there is none",
        example="quorumkeep coordinator restore backups/monday --config treasury/coordinator/config.toml",
    )
    restore.add_argument("backup", metavar="FOLDER", help="what backup made")
    for command in (backup, restore):
        command.add_argument("--config", required=True, help="the coordinator's, on its machine")


def add_check(coordinator: Commands) -> None:
    """``coordinator check``."""
    check = new_command(
        coordinator,
        "check",
        function="cli.checking:check_coordinator",
        what="whether it can start: its configuration, files, ports and database, without starting",
        example="quorumkeep coordinator check --config treasury/coordinator/config.toml",
    )
    check.add_argument("--config", required=True, help="the coordinator's, on its machine")


def add_sweep(request: Commands) -> None:
    """``request sweep``."""
    sweep = new_command(
        request,
        "sweep",
        function="cli.sweeping:sweep",
        what="ask for all that a wallet has, to another wallet of its tier",
        example="quorumkeep request sweep --wallet hot-main-0 --to-wallet hot --rpc http://127.0.0.1:8545 "
        "--idempotency-key rotate-1 --as backends/operations",
    )
    sweep.add_argument("--wallet", required=True, help="which wallet is emptied")
    sweep.add_argument("--to-wallet", required=True, help="which wallet gets it, at its first path")
    sweep.add_argument(
        "--rpc", default="", metavar="URL", help="on EVM, a chain node of your own, to see what there is"
    )
    sweep.add_argument("--idempotency-key", required=True, help="the same key, the same requests")
    sweep.add_argument("--expires-in", type=int, default=3600, help="seconds (%(default)s)")
    sweep.add_argument("--wait", type=seconds, default=0.0, help="wait so many seconds for each")
    needs_identity(sweep, "a backend")


def add_psbts(request: Commands) -> None:
    """``request psbt`` and ``request consolidate``."""
    psbt = new_command(
        request,
        "psbt",
        function="cli.psbts:export",
        what="the newest Bitcoin transaction of a request as a PSBT, unsigned or finished",
        example="quorumkeep request psbt 4a5b... --out payment.psbt --as people/bob",
    )
    psbt.add_argument("request", help="its id")
    psbt.add_argument("--out", default="", metavar="FILE", help="write it there, in binary")
    psbt.add_argument("--version", type=int, choices=(0, 2), default=0, help="BIP 174 or 370 (default 0)")
    needs_identity(psbt, "anyone in the roster, or an auditor")
    consolidate = new_command(
        request,
        "consolidate",
        function="cli.psbts:consolidate",
        what="ask for a wallet's smallest coins as one, at its first address",
        example="quorumkeep request consolidate --wallet hot --idempotency-key tidy-1 --as backends/desk",
    )
    consolidate.add_argument("--wallet", required=True, help="whose coins")
    consolidate.add_argument(
        "--coins-max", type=int, default=0, help="at most so many (default: as are signed at once)"
    )
    consolidate.add_argument("--fee-ceiling", help="the most the network may take (the policy's ceiling)")
    consolidate.add_argument("--idempotency-key", required=True, help="the same key, the same request")
    consolidate.add_argument("--expires-in", type=int, default=3600, help="seconds (%(default)s)")
    consolidate.add_argument("--wait", type=seconds, default=0.0, help="seconds to wait until it is over")
    needs_identity(consolidate, "a backend")


def add_backed_up(key: Commands) -> None:
    """``key backed-up``."""
    backed_up = new_command(
        key,
        "backed-up",
        function="cli.indicators:backed_up",
        what="have the log say which shares were backed up, so that their age is known",
        example="quorumkeep key backed-up node-a.backup node-c.backup --as backends/operations",
    )
    backed_up.add_argument("backups", nargs="+", metavar="FILE", help="files of key backup")
    needs_identity(backed_up, "a backend")


def add_solana_nonce(commands: Commands) -> None:
    """``solana-nonce``."""
    nonce = new_command(
        commands,
        "solana-nonce",
        function="cli.solana_nonces:make",
        what="make nonce accounts, by which a wallet pays on Solana, at somebody else's cost",
        example="quorumkeep solana-nonce 4Ss5JMkXAD9Z7cktFEdrqeMuT6jGMF1pVozTyPHZ6zT4 --chain solana:mainnet "
        "--rpc https://rpc.example.com --payer payer.json --count 8",
    )
    nonce.add_argument("authority", metavar="ADDRESS", help="the wallet's: quorumkeep address WALLET")
    nonce.add_argument("--chain", required=True, help="the cluster as the policy calls it")
    nonce.add_argument("--rpc", required=True, metavar="URL", help="a node of the cluster")
    nonce.add_argument(
        "--payer", required=True, metavar="FILE", help="who pays the rent: a key file of solana-keygen"
    )
    nonce.add_argument("--count", type=int, default=4, help="how many there are to be (%(default)s)")
