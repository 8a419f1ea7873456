"""The arguments of every command. Imports little of ours: ``--help`` and mistakes answer at once."""

from argparse import ArgumentParser

from cli import operations_arguments as operations
from cli.admin.arguments import add_admin
from cli.arguments import (
    Commands,
    limit,
    needs_card,
    needs_dir,
    needs_identity,
    needs_trust,
    new_command,
    new_group,
    passed_on,
    seconds,
    show_examples,
)
from cli.bench_arguments import add_bench, add_demo
from cli.cold_arguments import add_cold
from cli.doctor.arguments import add_doctor
from cli.evidence.arguments import add_evidence, add_statement
from cli.passkey_arguments import add_approve, add_identity, needs_authenticator
from cli.policies.arguments import add_export, add_policies, add_replay
from cli.rebalance.arguments import add_rebalance
from cli.risk.arguments import add_risk
from cli.sweeps.arguments import add_sweeps
from cli.witness.arguments import add_witness
from signer_nodes.api.arguments import Parser, descriptor

DAY_MS = 24 * 3600 * 1000
PEOPLE = {
    "operator": "who approves",
    "backend": "who asks",
    "administrator": "who signs policies",
    "observer": "who states prices and screenings",
}


def build_parser() -> ArgumentParser:
    """The whole command line; the chosen command's function is in ``function``."""
    parser: ArgumentParser = Parser(
        prog="quorumkeep",
        description="Threshold-signing custody: set a deployment up, ask for payments, approve, audit.",
        epilog="example: quorumkeep demo    (a whole deployment on this machine, in under a minute)",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_setup(commands)
    _add_genesis(commands)
    _add_running(commands)
    _add_keys(commands)
    add_cold(commands)
    _add_looking(commands)
    operations.add_deposits(commands)
    add_doctor(commands)
    operations.add_indicators(commands)
    operations.add_drills(commands)
    operations.add_solana_nonce(commands)
    operations.add_upgrade(commands)
    add_witness(commands)
    add_bench(commands)
    add_admin(commands)
    add_policies(commands)
    add_rebalance(commands)
    add_risk(commands)
    add_sweeps(commands)
    add_evidence(commands)
    _add_payments(commands)
    add_demo(commands)
    _add_completion(commands)
    show_examples(parser)
    return parser


def _add_setup(commands: Commands) -> None:
    init = new_command(
        commands,
        "init",
        function="cli.deployment:init",
        what="start a deployment: the coordinator's keys and an empty draft",
        example="quorumkeep init --dir treasury --origin log.example.com/treasury --chain evm:1=http://127.0.0.1:8545",
    )
    needs_dir(init)
    init.add_argument(
        "--origin", required=True, help="the name of the log, for ever: log.example.com/treasury"
    )
    init.add_argument(
        "--chain",
        default=[],
        action="append",
        help="evm:ID=URL, bitcoin:NETWORK=URL or solana:CLUSTER=URL, many times",
    )
    init.add_argument(
        "--listen", default="127.0.0.1:7600", help="where the coordinator listens (%(default)s)"
    )
    init.add_argument(
        "--http", default="", help="where it answers backends over HTTP, HOST:PORT (not at all)"
    )
    init.add_argument("--address", default="", help="where clients find it, if that is another HOST:PORT")
    init.add_argument(
        "--confirmations", type=int, default=12, help="blocks until a payment is settled (%(default)s)"
    )
    init.add_argument("--log-dir", default="log", help="where the log is published, from --dir (%(default)s)")
    enroll = new_group(commands, "enroll", what="take somebody's card into the draft, by its fingerprint")
    node = new_command(
        enroll,
        "node",
        function="cli.deployment:enroll_node",
        what="a node or witness",
        example=(
            "quorumkeep enroll node node-a/card.json --fingerprint 9f2c... --address 10.0.0.1:7700 --dir D"
        ),
    )
    needs_card(node)
    node.add_argument("--address", default="", help="HOST:PORT where it listens; a cold node has none")
    for kind in PEOPLE:
        _add_person(enroll, kind)
    add_identity(commands, (*PEOPLE, "auditor"))


def _add_person(enroll: Commands, kind: str) -> None:
    more = {"operator": " --groups treasury", "backend": " --people alice"}.get(kind, "")
    command = new_command(
        enroll,
        kind,
        function="cli.deployment:enroll_person",
        what=PEOPLE[kind],
        example=f"quorumkeep enroll {kind} card.json --fingerprint 9f2c...{more} --dir treasury",
    )
    command.set_defaults(kind=kind)
    needs_card(command)
    if kind == "operator":
        command.add_argument("--groups", default="", help="approver groups, separated by commas")
    if kind == "backend":
        command.add_argument("--groups", default="", help="groups of backends, separated by commas")
        command.add_argument(
            "--people", default="", help="operators who can use its key: they cannot approve"
        )


def _add_genesis(commands: Commands) -> None:
    genesis = new_group(
        commands, "genesis", what="the first entry of the log: who exists and what is allowed"
    )
    draft = new_command(
        genesis,
        "draft",
        function="cli.genesis:draft",
        what="draw it up from the draft and a policy",
        example="quorumkeep genesis draft --dir treasury --policy policy.yaml --w 3 --f 1 --quorum 2",
    )
    needs_dir(draft)
    draft.add_argument("--policy", required=True, help="the policy, in YAML or canonical JSON")
    draft.add_argument("--w", required=True, type=int, help="how many cosignatures bind a checkpoint")
    draft.add_argument("--f", required=True, type=int, help="how many cosigners may be corrupt")
    draft.add_argument("--quorum", required=True, type=int, help="how many administrators a change needs")
    draft.add_argument(
        "--policy-delay-ms", type=int, default=DAY_MS, help="how long a change can be vetoed (%(default)s)"
    )
    sign = new_command(
        genesis,
        "sign",
        function="cli.genesis:sign",
        what="sign it as an administrator; the quorum's last signature completes it",
        example="quorumkeep genesis sign --dir treasury --key people/anna/key.pem",
    )
    needs_dir(sign)
    sign.add_argument("--key", required=True, help="an administrator's key.pem")
    fingerprint = new_command(
        genesis,
        "fingerprint",
        function="cli.genesis:fingerprint",
        what="what the people of every node compare before they join",
        example="quorumkeep genesis fingerprint --dir treasury",
    )
    needs_dir(fingerprint)


def _add_running(commands: Commands) -> None:
    coordinator = new_group(commands, "coordinator", what="the coordinator")
    run = new_command(
        coordinator,
        "run",
        function="cli.programs:run_coordinator",
        what="run it until SIGTERM",
        example="quorumkeep coordinator run --config treasury/coordinator/config.toml",
    )
    run.add_argument("--config", required=True, help="the TOML file that genesis sign made")
    operations.add_quarantine(coordinator)
    operations.add_backups(coordinator)
    operations.add_check(coordinator)
    node = new_group(commands, "node", what="a node of this machine, by the program quorumkeep-node")
    for action, what in (
        ("doctor", "attempt what must be impossible, and say what the numbers give"),
        ("provision", "make a node's token and card"),
        ("join", "join a deployment by the genesis fingerprint"),
        ("accept", "sign that it accepts a change of the roster, or new rules"),
        ("run", "run it until SIGTERM"),
        ("check", "whether it can start: its configuration, files and port, without starting"),
    ):
        passed_on(node, action, what=what, example=f"quorumkeep node {action} --help")


def _add_keys(commands: Commands) -> None:
    key = new_group(commands, "key", what="keys that the nodes share")
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
        command = new_command(
            key,
            verb,
            function="cli.keys:change",
            what=what,
            example=f"quorumkeep key {verb} main --as people/anna",
        )
        command.set_defaults(change=change)
        command.add_argument("key", help="its name in the policy")
        command.add_argument("--timeout", type=seconds, default=120.0, help="seconds (%(default)s)")
        needs_identity(command, "an administrator")
    _add_import(key)
    operations.add_backed_up(key)
    for action, what in (
        ("backup", "back a node's share up to recovery officers"),
        ("recover", "rebuild a private key from backups, off line"),
    ):
        passed_on(key, action, what=what, example=f"quorumkeep key {action} --help")


def _add_import(key: Commands) -> None:
    importing = new_command(
        key,
        "import",
        function="cli.keys:import_key",
        what="split an existing private key for the nodes; it is marked as imported for ever",
        example="quorumkeep key import old --as people/anna --trust treasury/trust.json "
        "--committee 2:node-a,node-b,node-c --secret-fd 3 3<secret.hex",
    )
    importing.add_argument("key", help="its name in the policy, which says that it is imported")
    importing.add_argument("--trust", required=True, help="the trust.json of genesis sign: whose nodes")
    importing.add_argument("--committee", required=True, help="who is to hold it: 2:node-a,node-b,node-c")
    importing.add_argument("--secret-fd", required=True, type=descriptor, help="descriptor of 64 hex digits")
    importing.add_argument("--seed", action="store_true", help="they are an Ed25519 seed, not a scalar")
    importing.add_argument("--chain-code", default="", help="the wallet's BIP 32 one, to keep addresses")
    importing.add_argument("--timeout", type=seconds, default=120.0, help="seconds (%(default)s)")
    needs_identity(importing, "an administrator")


def _add_looking(commands: Commands) -> None:
    address = new_command(
        commands,
        "address",
        function="cli.keys:address",
        what="where a wallet is paid to",
        example="quorumkeep address hot --as people/alice",
    )
    address.add_argument("wallet")
    address.add_argument("--path", default="", help="one of the wallet's paths; its first otherwise")
    needs_identity(address, "anyone in the roster, or an auditor")
    status = new_command(
        commands,
        "status",
        function="cli.keys:status",
        what="nodes, heads, presignatures and requests in numbers",
        example="quorumkeep status --as people/alice",
    )
    needs_identity(status, "anyone in the roster, or an auditor")
    audit = new_group(commands, "audit", what="check a log without trusting whoever keeps it")
    verify = new_command(
        audit,
        "verify",
        function="cli.programs:verify_log",
        what="verify a published log and recompute every verdict; refused when anything differs",
        example="quorumkeep audit verify treasury/log --trust treasury/trust.json",
    )
    verify.add_argument("log", help="the folder with checkpoint and tile/, or the https URL of one")
    verify.add_argument(
        "--since",
        action="append",
        default=[],
        metavar="FILE",
        help="a checkpoint you kept from before: the log must go on from it (can be given again)",
    )
    verify.add_argument(
        "--trust", default="", help="whose log it is, as you were told: the trust.json of genesis sign"
    )
    verify.add_argument(
        "--state", default="", metavar="FILE", help="where it is kept how far this came, so that it can go on"
    )
    verify.add_argument(
        "--processes", type=int, metavar="N", help="how many work on a long log (all cores of this machine)"
    )
    add_replay(audit)
    add_export(audit)
    add_statement(audit)


def _add_payments(commands: Commands) -> None:
    request = new_group(commands, "request", what="ask for payments")
    send = new_command(
        request,
        "send",
        function="cli.requests:send",
        what="sign a request as a backend and submit it, once for each idempotency key",
        example="quorumkeep request send --as backends/shop --wallet hot --asset eth --amount '1.5 eth' "
        "--to 0x8ba1f109551bd432803012645ac136ddd64dba72 --idempotency-key order-17 --wait 60",
    )
    send.add_argument("--asset", required=True, help="what is paid, as the policy calls it")
    send.add_argument("--amount", required=True, help="base units, or with the unit: '1.5 eth'")
    send.add_argument("--to", required=True, help="who is paid")
    send.add_argument("--source", metavar="PATH", help="the path of the wallet's account that is to pay")
    send.add_argument("--psbt", default="", metavar="FILE", help="on Bitcoin, pay by its coins and outputs")
    call = new_command(
        request,
        "call",
        function="cli.requests:call",
        what="ask for a call of a contract, by a method that the policy has",
        example="quorumkeep request call --as backends/desk --wallet warm --method vault.deposit "
        "--argument amount=5 --idempotency-key deposit-1 --wait 60",
    )
    call.add_argument("--method", required=True, help="as the policy calls it: CONTRACT.METHOD")
    call.add_argument("--argument", action="append", help="NAME=VALUE; once for each, lists in JSON")
    call.add_argument("--amount", default="0", help="native units that the contract is sent (%(default)s)")
    sign = new_command(
        request,
        "sign-typed-data",
        function="cli.requests:sign_typed_data",
        what="ask for the signature of EIP-712 typed data that the policy declares",
        example="quorumkeep request sign-typed-data permit.json --as backends/desk --wallet warm "
        "--idempotency-key permit-1 --wait 60",
    )
    sign.add_argument("file", help="the JSON of eth_signTypedData_v4")
    for command in (send, call, sign):
        needs_identity(command, "a backend")
        command.add_argument("--wallet", required=True, help="which wallet pays, or signs")
        command.add_argument("--idempotency-key", required=True, help="the same key, the same request")
        if command is not sign:
            command.add_argument("--fee-ceiling", help="the most the network may take (the policy's ceiling)")
        command.add_argument("--expires-in", type=int, default=3600, help="seconds (%(default)s)")
        command.add_argument("--wait", type=seconds, default=0.0, help="seconds to wait until it is over")
    operations.add_sweep(request)
    operations.add_psbts(request)
    _add_looking_at_requests(request)
    _add_statements(commands, request)
    add_approve(commands)


def _add_looking_at_requests(request: Commands) -> None:
    show = new_command(
        request,
        "show",
        function="cli.requests:show",
        what="one request",
        example="quorumkeep request show 4a5b... --as shop",
    )
    show.add_argument("request", help="its id")
    needs_identity(show, "anyone in the roster, or an auditor")
    listing = new_command(
        request,
        "list",
        function="cli.requests:listing",
        what="the newest requests",
        example="quorumkeep request list --state waiting --as people/bob",
    )
    listing.add_argument("--state", default="", help="only those in this state")
    listing.add_argument("--limit", type=limit, default=20, help="at most so many (%(default)s)")
    needs_identity(listing, "anyone in the roster, or an auditor")
    wait = new_command(
        request,
        "wait",
        function="cli.requests:wait",
        what="until it is settled, or typed data is signed; refused when it is denied or expires",
        example="quorumkeep request wait 4a5b... --as shop --timeout 60",
    )
    wait.add_argument("request", help="its id")
    wait.add_argument("--timeout", type=seconds, default=60.0, help="seconds (%(default)s)")
    needs_identity(wait, "anyone in the roster, or an auditor")


def _add_statements(commands: Commands, request: Commands) -> None:
    reject = new_command(
        request,
        "reject",
        function="cli.statements:reject",
        what="stop a request for good, before it is signed: one operator, administrator or its own backend",
        example="quorumkeep request reject 4a5b... --reason 'not confirmed by telephone' --as people/bob",
    )
    reject.add_argument("request", help="its id")
    reject.add_argument("--reason", required=True, help="why, for everybody who reads the log")
    needs_identity(reject, "an operator, an administrator or the backend that asked")
    needs_authenticator(reject, otherwise="without it the folder's key.pem signs")
    observe = new_group(commands, "observe", what="state facts from outside, as an observer of the roster")
    price = new_command(
        observe,
        "price",
        function="cli.statements:price",
        what="what one whole unit of each asset is worth, in the unit of the policy's prices",
        example="quorumkeep observe price eth=2512.40 usdc=0.99 --as feeds/ticker-a --out prices.json",
    )
    price.add_argument(
        "prices", nargs="+", metavar="ASSET=PRICE", help="of an asset of the policy; as many as there are"
    )
    screening = new_command(
        observe,
        "screening",
        function="cli.statements:screening",
        what="what a screening of a request found",
        example="quorumkeep observe screening 4a5b... --result clear --risk 5 --as feeds/a --out s.json",
    )
    screening.add_argument("request", help="its id")
    screening.add_argument("--result", required=True, help="in the provider's words, such as clear")
    screening.add_argument("--risk", required=True, type=int, help="from 0 to 100")
    holdings = _add_holdings(observe)
    for command in (price, holdings, screening):
        command.add_argument(
            "--out", required=True, help="the file of the statements; an existing one is signed as it is"
        )
        needs_identity(command, "an observer")
    submit = new_command(
        observe,
        "submit",
        function="cli.statements:submit",
        what="hand in statements that enough observers have signed; refused when one of them is",
        example="quorumkeep observe submit prices.json --as feeds/ticker-a",
    )
    submit.add_argument("statement", help="their file")
    needs_identity(submit, "anyone in the roster")
    run = new_command(
        observe,
        "run",
        function="cli.observing.running:run_observer",
        what="watch chains: state deposits and what settled, on this observer's own word; until SIGTERM",
        example="quorumkeep observe run --as feeds/a --trust trust.json    (and feeds/a/observe.toml)",
    )
    run.add_argument("--once", action="store_true", help="look once and end: for cron")
    needs_identity(run, "an observer, with its observe.toml")
    needs_trust(run)


def _add_holdings(observe: Commands) -> ArgumentParser:
    holdings = new_command(
        observe,
        "holdings",
        function="cli.holdings:holdings",
        what="what wallets hold, and which requests of the log are still open for that",
        example="quorumkeep observe holdings hot.eth=41.5 --as feeds/a --trust trust.json --out h.json",
    )
    holdings.add_argument(
        "holdings",
        nargs="*",
        metavar="WALLET.ASSET[=AMOUNT]",
        help="without an amount it is read by --rpc; all that there are if none is named",
    )
    holdings.add_argument(
        "--rpc",
        action="append",
        default=[],
        metavar="CHAIN=URL",
        help="a chain node of your own",
    )
    holdings.add_argument(
        "--rpc-credentials",
        action="append",
        default=[],
        metavar="CHAIN=FILE",
        help="a file with user:password of a Bitcoin node, such as its .cookie",
    )
    holdings.add_argument(
        "--block", choices=("finalized", "safe", "latest"), default="finalized", help="as of (%(default)s)"
    )
    holdings.add_argument(
        "--pending", action="append", default=[], metavar="REQUEST", help="not final, whatever the log says"
    )
    holdings.add_argument("--log", default="", help="the folder with checkpoint and tile/; else asked for")
    holdings.add_argument(
        "--whole", action="store_true", help="check all of the log, not what is new since the last look"
    )
    needs_trust(holdings)
    return holdings


def _add_completion(commands: Commands) -> None:
    completion = new_command(
        commands,
        "completion",
        function="cli.completion:completion",
        what="what a shell needs to complete commands and options",
        example="quorumkeep completion bash >~/.local/share/bash-completion/completions/quorumkeep",
    )
    completion.add_argument("shell", choices=("bash", "zsh"))
