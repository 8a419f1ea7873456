"""The arguments of ``quorumkeep policy``. Imports nothing of ours but the words of arguments."""

from argparse import ArgumentParser

from cli.arguments import CLIENT_HELP, Commands, limit, needs_identity, needs_trust, new_command, new_group


def add_policies(commands: Commands) -> None:
    """``policy print|check|schema|prove|diff|backtest|explain``."""
    policy = new_group(commands, "policy", what="write, check, prove, compare and explain policies")
    add_authoring(policy)
    add_proving(policy)
    add_retiring(policy)
    explain = new_command(
        policy,
        "explain",
        function="cli.policies.replaying:explain",
        what="why a request was allowed, denied or has to wait, from the log alone",
        example="quorumkeep policy explain 4a5b... --log treasury/log --trust treasury/trust.json",
    )
    explain.add_argument("request", help="its id")
    _has_log(explain)
    backtest = new_command(
        policy,
        "backtest",
        function="cli.policies.backtesting:backtest",
        what="what a new policy would have said of everything in a log; 1 when any verdict would flip",
        example="quorumkeep policy backtest new.json --log treasury/log --trust treasury/trust.json",
    )
    backtest.add_argument("new", help="the new policy document")
    _needs_log(backtest)
    shadow = new_command(
        policy,
        "shadow",
        function="cli.policies.shadowing:shadow",
        what="what the policy beside the real one would have said of the newest requests and reservations",
        example="quorumkeep policy shadow --flips --as people/anna",
    )
    shadow.add_argument("--flips", action="store_true", help="only those with another outcome")
    shadow.add_argument("--limit", type=limit, default=100, help="at most so many, to 200 (%(default)s)")
    needs_identity(shadow, "an operator or administrator")


def add_retiring(policy: Commands) -> None:
    """``policy retire-key``."""
    retire = new_command(
        policy,
        "retire-key",
        function="cli.policies.retiring:retire_key",
        what="write the policy by which a new key takes an old one's place, and the old one can be emptied",
        example="quorumkeep policy retire-key policy.json --key main --to main-2 --approval '2 of treasury' "
        "--out new-policy.json",
    )
    retire.add_argument("file", help="the policy in force, as admin fetch wrote it, or YAML")
    retire.add_argument("--key", required=True, help="the key to retire")
    retire.add_argument("--to", required=True, help="the name of the new one")
    retire.add_argument(
        "--approval",
        action="append",
        default=[],
        metavar="'N of GROUP'",
        help="who approves that it is emptied",
    )
    retire.add_argument("--out", required=True, metavar="FILE", help="the new policy")


def add_replay(audit: Commands) -> None:
    """``audit replay``."""
    replay = new_command(
        audit,
        "replay",
        function="cli.policies.replaying:replay",
        what="make every verdict of a published log again, with its receipt; 1 on the first that differs",
        example="quorumkeep audit replay treasury/log --trust treasury/trust.json --out verdicts.jsonl",
    )
    replay.add_argument("log", help="the folder with checkpoint and tile/")
    replay.add_argument("--out", default="", help="write the receipts here, one JSON object a line")
    needs_trust(replay)


def add_export(audit: Commands) -> None:
    """``audit export``."""
    export = new_command(
        audit,
        "export",
        function="cli.exporting:export",
        what="all that a log has of one request, with proofs, in a file that anybody can check off line",
        example="quorumkeep audit export 5b1f... --log treasury/log --trust trust.json --out withdrawal.json",
    )
    export.add_argument("request", help="a request's id")
    export.add_argument("--out", required=True, help="the file to write")
    _has_log(export)


def _has_log(command: ArgumentParser) -> None:
    command.add_argument("--log", default="", help="the folder with checkpoint and tile/")
    command.add_argument(
        "--as",
        dest="identity",
        default="",
        metavar="DIR",
        help="ask the coordinator for the log instead",
    )
    command.add_argument("--client", default="", help=CLIENT_HELP)
    needs_trust(command)


def _needs_log(command: ArgumentParser) -> None:
    command.add_argument("--log", required=True, help="the folder with checkpoint and tile/")
    needs_trust(command)


def add_authoring(policy: Commands) -> None:
    """``policy print|check|schema``."""
    printing = new_command(
        policy,
        "print",
        function="cli.policies.commands:print_",
        what="a policy in plain sentences",
        example="quorumkeep policy print treasury.yaml",
    )
    printing.add_argument("file", help="a policy, in YAML or canonical JSON")
    printing.add_argument("--language", choices=("en", "zh"), default="en", help="English or Chinese")
    check = new_command(
        policy,
        "check",
        function="cli.policies.commands:check",
        what="every mistake of a policy with its line and column; refused when there is one",
        example="quorumkeep policy check treasury.yaml",
    )
    check.add_argument("file", help="a policy, in YAML or canonical JSON")
    check.add_argument("--roster", default="", help="also compare it with the people of this roster")
    schema = new_command(
        policy,
        "schema",
        function="cli.policies.commands:schema",
        what="the JSON Schema of policies, for editors and other programs",
        example="quorumkeep policy schema > policy.schema.json",
    )
    schema.add_argument("--canonical", action="store_true", help="of the canonical form, not that in YAML")


def add_proving(policy: Commands) -> None:
    """``policy prove|diff``."""
    prove = new_command(
        policy,
        "prove",
        function="cli.policies.proving:prove_",
        what="prove a policy's invariants, or show a transaction that breaks one; refused when one fails",
        example="quorumkeep policy prove treasury.yaml",
    )
    prove.add_argument("file", help="a policy, in YAML or canonical JSON")
    prove.add_argument(
        "--invariants", default="", metavar="FILE", help="where they are (POLICY.invariants.yaml beside it)"
    )
    prove.add_argument(
        "--mutants", action="store_true", help="also count the slips of the pen that they would catch"
    )
    diff = new_command(
        policy,
        "diff",
        function="cli.policies.proving:diff",
        what="what a new policy newly allows, denies, eases and hardens; exit code 1 when there is anything",
        example="quorumkeep policy diff treasury.yaml treasury-new.yaml",
    )
    diff.add_argument("old", help="a policy, in YAML or canonical JSON")
    diff.add_argument("new", help="the policy that would replace it")


def add_policy_bench(bench: Commands) -> None:
    """``bench policy``."""
    command = new_command(
        bench,
        "policy",
        function="cli.policies.bench:run",
        what="what verdicts, an invariant and a comparison of large policies cost, and a long log",
        example="quorumkeep bench policy --json",
    )
    command.add_argument("--quick", action="store_true", help="as few verdicts as can be: shape, not figures")
    command.add_argument(
        "--entries",
        type=int,
        default=20_000,
        metavar="N",
        help="of the log that is folded, and that a node starts on (%(default)s)",
    )


def add_audit_bench(bench: Commands) -> None:
    """``bench audit``."""
    command = new_command(
        bench,
        "audit",
        function="cli.policies.bench_audit:run",
        what="what the whole check of a log costs by its length: time, processor time, memory",
        example="quorumkeep bench audit --entries 100000 --json",
    )
    command.add_argument("--entries", type=int, default=20_000, metavar="N", help="of the log (%(default)s)")
    command.add_argument("--processes", type=int, metavar="N", help="how many work on it (all cores)")
    command.add_argument(
        "--folder", default="", help="where the sample log is kept for the next time (it is thrown away)"
    )
