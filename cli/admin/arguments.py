"""The arguments of ``quorumkeep admin``. Imports nothing of ours but what arguments have in common."""

from argparse import ArgumentParser

from cli.arguments import CLIENT_HELP, Commands, needs_identity, needs_trust, new_command, new_group

ADMINISTRATOR = "an administrator"


def add_admin(commands: Commands) -> None:
    """The group ``admin``."""
    admin = new_group(
        commands,
        "admin",
        what="what administrators sign: policies, rosters, vetoes, freezes, versions, forks",
    )
    _add_drafts(new_group(admin, "draft", what="draw a change up, in a file that administrators sign"))
    _add_signing(admin)
    _add_submitting(admin)


def _add_drafts(drafts: Commands) -> None:
    policy = _draft(drafts, "policy", "a new policy in place of the one in force", "--document policy.json")
    policy.add_argument(
        "--document", required=True, help="the new policy, YAML or JSON; admin fetch policy gives the old one"
    )
    policy.add_argument(
        "--invariants", default="", metavar="FILE", help="they must hold (POLICY.invariants.yaml beside it)"
    )
    policy.add_argument(
        "--log", default="", help="backtest it on this published log; the coordinator's otherwise"
    )
    needs_trust(policy)
    policy.add_argument(
        "--no-backtest", action="store_true", help="attach none, as when the log takes too long to fold"
    )
    roster = _draft(
        drafts,
        "roster",
        "a new roster in place of the one in force",
        "--replace witness=witness-2/card.json --fingerprint 9f2c...",
    )
    roster.add_argument("--document", default="", help="the new roster; admin fetch roster gives the old one")
    roster.add_argument(
        "--replace", default="", metavar="NAME=CARD", help="a new cosigner for one that is lost"
    )
    roster.add_argument("--fingerprint", default="", help="of the new cosigner's card, as its owner said it")
    roster.add_argument(
        "--remove", action="append", default=[], metavar="NAME", help="anybody; more than once"
    )
    _add_people(drafts)
    _add_address(drafts)
    veto = _draft(drafts, "veto", "stop a pending change", "4a5b6c7d --reason 'not agreed'")
    _hash(veto)
    _reason(veto)
    _reason(_draft(drafts, "freeze", "stop all signing", "--reason 'a stolen laptop'"))
    _reason(_draft(drafts, "unfreeze", "end the freeze that is in force", "--reason 'the laptop was found'"))
    version = _draft(drafts, "version", "the next version of the rules", "--rules 2")
    version.add_argument("--rules", type=int, default=0, help="its number (the one after that in force)")
    fork = _draft(drafts, "fork", "let a cosigner leave a branch that no count resolves", "--cosigner node-a")
    fork.add_argument("--cosigner", required=True, help="who is stuck, as quorumkeep status says")


def _add_people(drafts: Commands) -> None:
    leaves = _draft(
        drafts,
        "remove-operator",
        "a roster without an operator, whose approvals become void",
        "bob",
        module="people",
    )
    leaves.add_argument("name", help="the operator's name")
    for name, what, who in (
        ("replace-passkey", "a roster with another passkey for an operator who lost one", "operator"),
        ("rotate-backend", "a roster with another key for a backend", "backend"),
    ):
        example = f"{'bob' if who == 'operator' else 'shop'} --card new/card.json --fingerprint 9f2c..."
        command = _draft(drafts, name, what, example, module="people")
        command.add_argument("name", help=f"the {who}'s name, which stays")
        command.add_argument("--card", required=True, help=f"the {who}'s new card.json")
        command.add_argument("--fingerprint", required=True, help="of the card, as its owner said it to you")


def _add_address(drafts: Commands) -> None:
    command = _draft(
        drafts,
        "address",
        "one address onto a list that has a quorum of its own, or off it",
        "--list customers --add 0x8ba1... --label 'Acme'",
        module="lists",
    )
    command.add_argument("--list", required=True, help="the list's name in the policy")
    command.add_argument("--add", default="", metavar="ADDRESS", help="what is put on it")
    command.add_argument("--label", default="", help="whose address that is")
    command.add_argument("--remove", default="", metavar="ADDRESS", help="what is taken off it")


def _draft(drafts: Commands, name: str, what: str, example: str, *, module: str = "drafts") -> ArgumentParser:
    command = new_command(
        drafts,
        name,
        function=f"cli.admin.{module}:{name.replace('-', '_')}",
        what=what,
        example=f"quorumkeep admin draft {name} {example} --as people/anna --out change.json",
    )
    needs_identity(command, ADMINISTRATOR)
    command.add_argument("--out", required=True, metavar="FILE", help="the change's new file")
    return command


def _add_signing(admin: Commands) -> None:
    show = new_command(
        admin,
        "show",
        function="cli.admin.signing:show",
        what="what signing a change would do, in plain sentences, and its fingerprint",
        example="quorumkeep admin show change.json",
    )
    show.add_argument("change", help="the change's file")
    _makes_again(show)
    sign = new_command(
        admin,
        "sign",
        function="cli.admin.signing:sign",
        what="sign a change, after reading what it would do; asks, unless the fingerprint is given",
        example="quorumkeep admin sign change.json --as people/anna",
    )
    sign.add_argument("change", help="the change's file; the signature is added to it")
    sign.add_argument("--fingerprint", default="", help="as the others said it to you; for scripts")
    sign.add_argument(
        "--as", dest="identity", required=True, metavar="DIR", help=f"the folder of {ADMINISTRATOR}"
    )
    _makes_again(sign)
    sign.add_argument("--ask", action="store_true", help="the same on the log that the coordinator has")
    sign.add_argument("--client", default="", help=CLIENT_HELP)
    merge = new_command(
        admin,
        "merge",
        function="cli.admin.signing:merge",
        what="bring others' signatures into one file: signed copies, and what quorumkeep-node accept printed",
        example="quorumkeep admin merge change.json berta.json node-a.accepted.json",
    )
    merge.add_argument("change", help="the change's file; the signatures are added to it")
    merge.add_argument("files", nargs="+", help="signed copies, acceptances")


def _makes_again(command: ArgumentParser) -> None:
    """A policy's backtest can be made again."""
    command.add_argument("--log", default="", help="make a policy's backtest again on this published log")
    needs_trust(command)


def _add_submitting(admin: Commands) -> None:
    submit = _asking(
        admin,
        "submit",
        "have a signed change logged; refused when the log would not take it in",
        "quorumkeep admin submit change.json --as people/anna",
    )
    submit.add_argument("change", help="the change's file")
    _reason(
        _asking(
            admin,
            "freeze",
            "stop all signing now: one administrator is enough",
            "quorumkeep admin freeze --as people/anna --reason 'a stolen laptop'",
        )
    )
    veto = _asking(
        admin,
        "veto",
        "stop a pending change now: one administrator is enough",
        "quorumkeep admin veto 4a5b6c7d --as people/anna --reason 'not agreed'",
    )
    _hash(veto)
    _reason(veto)
    fetch = _asking(
        admin,
        "fetch",
        "the policy or roster in force, or a pending one, to be read or edited",
        "quorumkeep admin fetch policy --as people/anna --out policy.json",
    )
    fetch.add_argument("what", help="policy, roster, or the hash of a pending change (its first digits do)")
    fetch.add_argument("--out", required=True, metavar="FILE", help="where it is written")
    out = _asking(
        admin,
        "hand-out",
        "once a change is in effect: write what clients, nodes and auditors are given anew",
        "quorumkeep admin hand-out change.json --as people/anna --dir treasury",
    )
    out.add_argument("change", help="the change's file")
    out.add_argument("--dir", required=True, help="the folder with client.json and trust.json")


def _asking(admin: Commands, name: str, what: str, example: str) -> ArgumentParser:
    function = f"cli.admin.submitting:{name.replace('-', '_')}"
    command = new_command(admin, name, function=function, what=what, example=example)
    needs_identity(command, ADMINISTRATOR)
    return command


def _hash(command: ArgumentParser) -> None:
    command.add_argument(
        "hash", help="of the pending change, as quorumkeep status shows it; its first digits do"
    )


def _reason(command: ArgumentParser) -> None:
    command.add_argument("--reason", required=True, help="why; it stands in the log")
