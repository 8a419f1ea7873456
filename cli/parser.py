"""The arguments of every command. Imports nothing of ours: ``--help`` and mistakes answer at once."""

import argparse
from argparse import ArgumentParser
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[ArgumentParser]"
DAY_MS = 24 * 3600 * 1000


def build_parser() -> ArgumentParser:
    """The whole command line; the chosen command's function is in ``function``."""
    parser = ArgumentParser(
        prog="quorumkeep",
        description="Threshold-signing custody: set a deployment up, ask for payments, approve, audit.",
        epilog="example: quorumkeep demo    (a whole deployment on this machine, in under a minute)",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_setup(commands)
    _add_genesis(commands)
    _add_running(commands)
    _add_looking(commands)
    _add_bench(commands)
    _add_payments(commands)
    _add_demo(commands)
    return parser


def _add_setup(commands: Commands) -> None:
    init = _command(
        commands,
        "init",
        "cli.deployment:init",
        "start a deployment: the coordinator's keys and an empty draft",
        "quorumkeep init --dir treasury --origin log.example.com/treasury --chain evm:1=http://127.0.0.1:8545",
    )
    _dir(init)
    init.add_argument(
        "--origin", required=True, help="the name of the log, for ever: log.example.com/treasury"
    )
    init.add_argument("--chain", required=True, action="append", help="evm:ID=URL of a chain; more than once")
    init.add_argument(
        "--listen", default="127.0.0.1:7600", help="where the coordinator listens (%(default)s)"
    )
    init.add_argument("--address", default="", help="where clients find it, if that is another HOST:PORT")
    init.add_argument(
        "--confirmations", type=int, default=12, help="blocks until a payment is settled (%(default)s)"
    )
    init.add_argument("--log-dir", default="log", help="where the log is published, from --dir (%(default)s)")
    enroll = _group(commands, "enroll", "take somebody's card into the draft, by its fingerprint")
    node = _command(
        enroll,
        "node",
        "cli.deployment:enroll_node",
        "a node or witness",
        "quorumkeep enroll node node-a/card.json --fingerprint 9f2c... --address 10.0.0.1:7700 --dir D",
    )
    _card(node)
    node.add_argument("--address", required=True, help="HOST:PORT where it listens")
    for kind in ("operator", "backend", "administrator"):
        _add_person(enroll, kind)
    identity = _group(commands, "identity", "keys and cards of people and backends")
    create = _command(
        identity,
        "create",
        "cli.identities:create",
        "make a key, and for an operator a software authenticator",
        "quorumkeep identity create operator alice --dir people/alice",
    )
    create.add_argument("kind", choices=("operator", "backend", "administrator"))
    create.add_argument("name", help="the name in the roster")
    _dir(create)
    create.add_argument(
        "--rp-id", default="localhost", help="an operator's WebAuthn relying party (%(default)s)"
    )
    fingerprint = _command(
        identity,
        "fingerprint",
        "cli.identities:fingerprint",
        "what the owner of a card reads to whoever enrols it",
        "quorumkeep identity fingerprint people/alice/card.json",
    )
    fingerprint.add_argument("card", help="a card: a person's, a backend's or a node's")


def _add_person(enroll: Commands, kind: str) -> None:
    more = {"operator": " --groups treasury", "backend": " --people alice", "administrator": ""}[kind]
    command = _command(
        enroll,
        kind,
        "cli.deployment:enroll_person",
        {"operator": "who approves", "backend": "who asks", "administrator": "who signs policies"}[kind],
        f"quorumkeep enroll {kind} card.json --fingerprint 9f2c...{more} --dir treasury",
    )
    command.set_defaults(kind=kind)
    _card(command)
    if kind == "operator":
        command.add_argument("--groups", default="", help="approver groups, separated by commas")
    if kind == "backend":
        command.add_argument(
            "--people", default="", help="operators who can use its key: they cannot approve"
        )


def _add_genesis(commands: Commands) -> None:
    genesis = _group(commands, "genesis", "the first entry of the log: who exists and what is allowed")
    draft = _command(
        genesis,
        "draft",
        "cli.genesis:draft",
        "draw it up from the draft and a policy",
        "quorumkeep genesis draft --dir treasury --policy policy.json --w 3 --f 1 --quorum 2",
    )
    _dir(draft)
    draft.add_argument("--policy", required=True, help="the policy document")
    draft.add_argument("--w", required=True, type=int, help="how many cosignatures bind a checkpoint")
    draft.add_argument("--f", required=True, type=int, help="how many cosigners may be corrupt")
    draft.add_argument("--quorum", required=True, type=int, help="how many administrators a change needs")
    draft.add_argument(
        "--policy-delay-ms", type=int, default=DAY_MS, help="how long a change can be vetoed (%(default)s)"
    )
    sign = _command(
        genesis,
        "sign",
        "cli.genesis:sign",
        "sign it as an administrator; the quorum's last signature completes it",
        "quorumkeep genesis sign --dir treasury --key people/anna/key.pem",
    )
    _dir(sign)
    sign.add_argument("--key", required=True, help="an administrator's key.pem")
    fingerprint = _command(
        genesis,
        "fingerprint",
        "cli.genesis:fingerprint",
        "what the people of every node compare before they join",
        "quorumkeep genesis fingerprint --dir treasury",
    )
    _dir(fingerprint)


def _add_running(commands: Commands) -> None:
    coordinator = _group(commands, "coordinator", "the coordinator")
    run = _command(
        coordinator,
        "run",
        "cli.programs:run_coordinator",
        "run it until SIGTERM",
        "quorumkeep coordinator run --config treasury/coordinator/config.toml",
    )
    run.add_argument("--config", required=True, help="the TOML file that genesis sign made")
    node = _group(commands, "node", "a node of this machine, by the program quorumkeep-node")
    for action, what in (
        ("doctor", "attempt what must be impossible, and say what the numbers give"),
        ("provision", "make a node's token and card"),
        ("join", "join a deployment by the genesis fingerprint"),
        ("run", "run it until SIGTERM"),
    ):
        command = _command(
            node,
            action,
            "cli.programs:run_node",
            what,
            f"quorumkeep node {action} --help    (all arguments go to quorumkeep-node {action})",
            add_help=False,
        )
        command.set_defaults(action=action, rest=[])
        command.prefix_chars = "\0"  # whatever is given, also --json and --help, is the node program's
        command.add_argument("rest", nargs=argparse.REMAINDER)


def _add_looking(commands: Commands) -> None:
    key = _group(commands, "key", "keys that the nodes share")
    for verb, change, what in (
        ("create", "generate", "have the nodes make a key of the policy"),
        (
            "refresh",
            "refresh",
            "new shares for the same nodes; fewer than min_signers old ones are worthless then",
        ),
        (
            "reshare",
            "reshare",
            "new shares for the nodes that the policy names now; replaces a lost one",
        ),
    ):
        command = _command(key, verb, "cli.keys:change", what, f"quorumkeep key {verb} main --as people/anna")
        command.set_defaults(change=change)
        command.add_argument("key", help="its name in the policy")
        command.add_argument("--timeout", type=float, default=120.0, help="seconds (%(default)s)")
        _as(command, "an administrator")
    address = _command(
        commands,
        "address",
        "cli.keys:address",
        "where a wallet is paid to",
        "quorumkeep address hot --as people/alice",
    )
    address.add_argument("wallet")
    address.add_argument("--path", default="", help="one of the wallet's paths; its first otherwise")
    _as(address, "anyone in the roster")
    status = _command(
        commands,
        "status",
        "cli.keys:status",
        "nodes, heads, presignatures and requests in numbers",
        "quorumkeep status --as people/alice",
    )
    _as(status, "anyone in the roster")
    audit = _group(commands, "audit", "check a log without trusting whoever keeps it")
    verify = _command(
        audit,
        "verify",
        "cli.programs:verify_log",
        "verify a published log and recompute every verdict; refused when anything differs",
        "quorumkeep audit verify treasury/log --trust treasury/trust.json",
    )
    verify.add_argument("log", help="the folder with checkpoint and tile/")
    verify.add_argument(
        "--trust", default="", help="whose log it is, as you were told: the trust.json of genesis sign"
    )


def _add_bench(commands: Commands) -> None:
    bench = _group(commands, "bench", "what things cost on this machine")
    engine = _command(
        bench,
        "engine",
        "cli.programs:run_bench",
        "the threshold protocols: medians in processor time, and in units of one base-point product",
        "quorumkeep bench engine --json",
    )
    engine.add_argument("--batch", type=int, default=32, help="presignatures a batch (%(default)s)")
    engine.add_argument("--repeat", type=int, default=7, help="runs that a median is of (%(default)s)")
    engine.add_argument(
        "--quick", action="store_true", help="one run of the smallest batch: shape, not figures"
    )


def _add_payments(commands: Commands) -> None:
    request = _group(commands, "request", "ask for payments")
    send = _command(
        request,
        "send",
        "cli.requests:send",
        "sign a request as a backend and submit it, once for each idempotency key",
        "quorumkeep request send --as backends/shop --wallet hot --asset eth --amount '1.5 eth' "
        "--to 0x8ba1f109551bd432803012645ac136ddd64dba72 --idempotency-key order-17 --wait 60",
    )
    _as(send, "a backend")
    send.add_argument("--wallet", required=True, help="which wallet pays")
    send.add_argument("--asset", required=True, help="what is paid, as the policy calls it")
    send.add_argument("--amount", required=True, help="base units, or with the unit: '1.5 eth'")
    send.add_argument("--to", required=True, help="who is paid")
    send.add_argument("--idempotency-key", required=True, help="the same key again is the same payment")
    send.add_argument("--fee-ceiling", help="the most the network may take (the policy's ceiling)")
    send.add_argument("--expires-in", type=int, default=3600, help="seconds (%(default)s)")
    send.add_argument("--wait", type=float, default=0.0, help="wait so many seconds until it is over")
    show = _command(
        request, "show", "cli.requests:show", "one request", "quorumkeep request show 4a5b... --as shop"
    )
    show.add_argument("request", help="its id")
    _as(show, "anyone in the roster")
    listing = _command(
        request,
        "list",
        "cli.requests:listing",
        "the newest requests",
        "quorumkeep request list --state waiting --as people/bob",
    )
    listing.add_argument("--state", default="", help="only those in this state")
    listing.add_argument("--limit", type=int, default=20, help="at most so many (%(default)s)")
    _as(listing, "anyone in the roster")
    wait = _command(
        request,
        "wait",
        "cli.requests:wait",
        "until it is settled; refused when it is denied or expires",
        "quorumkeep request wait 4a5b... --as shop --timeout 60",
    )
    wait.add_argument("request", help="its id")
    wait.add_argument("--timeout", type=float, default=60.0, help="seconds (%(default)s)")
    _as(wait, "anyone in the roster")
    approve = _command(
        commands,
        "approve",
        "cli.approvals:approve",
        "approve a request as an operator, after reading what will happen",
        "quorumkeep approve 4a5b... --as people/bob",
    )
    approve.add_argument("request", help="its id")
    approve.add_argument(
        "--yes", action="store_true", help="do not ask; for scripts that have shown it already"
    )
    _as(approve, "an operator")


def _add_demo(commands: Commands) -> None:
    demo = _command(
        commands,
        "demo",
        "cli.demo.run:demo",
        "a whole deployment on this machine: real nodes, tokens and chain, and ten scenes",
        "quorumkeep demo --dir /tmp/demo --serve",
    )
    demo.add_argument("--dir", default="", help="keep all files here (a temporary folder otherwise)")
    demo.add_argument("--serve", action="store_true", help="keep it running and say how to try a request")


def _command(
    commands: Commands, name: str, function: str, what: str, example: str, *, add_help: bool = True
) -> ArgumentParser:
    command = commands.add_parser(
        name, help=what, description=f"{what}.", epilog=f"example: {example}", add_help=add_help
    )
    command.set_defaults(function=function, json=False)
    if add_help:
        command.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    return command


def _group(commands: Commands, name: str, what: str) -> Commands:
    group = commands.add_parser(name, help=what, description=f"{what}.")
    return group.add_subparsers(title="commands", metavar="COMMAND", required=True)


def _dir(command: ArgumentParser) -> None:
    command.add_argument("--dir", required=True, help="the folder")


def _card(command: ArgumentParser) -> None:
    command.add_argument("card", help="the card's file")
    command.add_argument("--fingerprint", required=True, help="as its owner said it to you")
    _dir(command)


def _as(command: ArgumentParser, who: str) -> None:
    command.add_argument("--as", dest="identity", required=True, metavar="DIR", help=f"the folder of {who}")
    command.add_argument("--client", default="", help="the deployment's client.json ($QUORUMKEEP_CLIENT)")
