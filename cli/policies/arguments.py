"""The arguments of ``quorumkeep policy``. Imports nothing of ours but the words of arguments."""

from cli.arguments import Commands, new_command, new_group


def add_policies(commands: Commands) -> None:
    """``policy print|check|schema|prove|diff|backtest|explain``."""
    policy = new_group(commands, "policy", what="write, check, prove, compare and explain policies")
    add_authoring(policy)


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
