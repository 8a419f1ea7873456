"""The arguments of ``doctor``. Imports nothing of ours but these, as ``cli.parser``."""

from cli.arguments import CLIENT_HELP, Commands, new_command


def add_doctor(commands: Commands) -> None:
    """``doctor``."""
    doctor = new_command(
        commands,
        "doctor",
        function="cli.doctor.run:doctor",
        what="what would break this deployment, in plain words; refused when something is broken",
        example="quorumkeep doctor --dir treasury --as people/anna --backup backups/*.backup",
    )
    doctor.add_argument(
        "--dir", default="", help="the deployment's folder, to look at files and certificates"
    )
    doctor.add_argument(
        "--as", dest="identity", default="", metavar="DIR", help="the folder of an administrator, to ask too"
    )
    doctor.add_argument("--client", default="", help=CLIENT_HELP)
    doctor.add_argument("--backup", nargs="+", default=[], metavar="FILE", help="backups of shares")
    doctor.add_argument("--people", default="", metavar="FILE", help="which names are one person's, in TOML")
    doctor.add_argument("--invariants", default="", metavar="FILE", help="the policy's invariants, to prove")
    doctor.add_argument("--strict", action="store_true", help="refused for risks, too")
