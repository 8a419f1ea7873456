"""The arguments of ``quorumkeep policy``. Imports nothing of ours but the words of arguments."""

from cli.arguments import Commands, new_group


def add_policies(commands: Commands) -> None:
    """``policy print|check|prove|diff|backtest|explain``."""
    new_group(commands, "policy", what="write, check, prove, compare and explain policies")
