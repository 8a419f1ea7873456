"""The arguments of ``cold``."""

from cli.arguments import Commands, needs_identity, new_command, new_group, passed_on, seconds


def add_cold(commands: Commands) -> None:
    cold = new_group(commands, "cold", what="ceremonies of nodes without a network (docs/spec/cold.md)")
    _add_carrying(cold)
    _add_record(cold)
    _add_codes(cold)
    passed_on(
        *(cold, "sign"),
        what="take part, on a cold machine: letters by path on standard input",
        example="quorumkeep cold sign --config cold-a/config.toml --out /media/stick --pin-fd 3",
        function="cli.cold:sign",
    )


def _add_carrying(cold: Commands) -> None:
    export = new_command(
        cold,
        "export",
        function="cli.cold:export",
        what="begin a ceremony or go on with it: write the letters that are to be carried now",
        example="quorumkeep cold export --request 4a5b... --out /media/stick --as people/bob",
    )
    what = export.add_mutually_exclusive_group()
    what.add_argument(
        "--request", default="", help="the id of a request that waits for one; without it, go on"
    )
    what.add_argument("--key", default="", help="the key of cold nodes that is to be made or changed")
    export.add_argument(
        "--change", default="", choices=("generate", "refresh", "reshare"), help="of the key (generate)"
    )
    export.add_argument("--out", required=True, help="the folder that letters are written to")
    importing = new_command(
        cold,
        "import",
        function="cli.cold:take",
        what="bring what cold machines wrote: hellos first, then the letters of each pass",
        example="quorumkeep cold import /media/stick/cold-a-1.hello --as people/bob",
    )
    importing.add_argument("files", nargs="+", metavar="FILE")
    status = new_command(
        cold,
        "status",
        function="cli.cold:status",
        what="the checklist of the ceremony: how it stands, and what is to be done next",
        example="quorumkeep cold status --as people/bob",
    )
    end = new_command(
        cold,
        "end",
        function="cli.cold:end",
        what="end the ceremony that is under way, for another one; its machines are to be started anew",
        example="quorumkeep cold end --as people/bob",
    )
    for command in (export, importing, status, end):
        needs_identity(command, "an operator or administrator")


def _add_record(cold: Commands) -> None:
    record = new_command(
        cold,
        "record",
        function="cli.cold:record",
        what="draw up and sign the record of the ceremony that is over",
        example="quorumkeep cold record --out record.json --there anna=conductor --there bob=witness "
        "--check 'the seals were whole' --as people/anna",
    )
    record.add_argument("--out", required=True, help="the record's file")
    record.add_argument(
        "--there", action="append", required=True, metavar="NAME=ROLE", help="conductor, custodian or witness"
    )
    record.add_argument("--check", action="append", required=True, help="what was checked, one sentence each")
    witness = new_command(
        cold,
        "witness",
        function="cli.cold:witness",
        what="sign that you were there, after reading the record",
        example="quorumkeep cold witness record.json --as people/bob",
    )
    witness.add_argument("record", help="its file")
    witness.add_argument("--passkey", action="store_true", help="by your passkey, as an approval is")
    for command in (record, witness):
        needs_identity(command, "an operator or administrator")


def _add_codes(cold: Commands) -> None:
    show = new_command(
        cold,
        "show",
        function="cli.codes:show",
        what="show a hello or letter as an animated code (BBQr) until it is interrupted",
        example="quorumkeep cold show /media/out/cold-a-1.hello",
    )
    show.add_argument("file", help="the hello or letter")
    sizes = "11, 23, 27 or 40"
    show.add_argument("--version", type=int, default=27, help=f"size of the codes: {sizes} (%(default)s)")
    show.add_argument("--images", default="", help="write images to this folder instead")
    scan = new_command(
        cold,
        "scan",
        function="cli.codes:scan",
        what="read an animated code from the images that a camera leaves in a folder",
        example="quorumkeep cold scan /run/camera --out cold-a-1.hello",
    )
    scan.add_argument("images", help="the folder; images may still come")
    scan.add_argument("--out", required=True, help="the file that is written")
    scan.add_argument("--timeout", type=seconds, default=60.0, help="seconds (%(default)s)")
