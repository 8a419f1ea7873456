"""The command ``quorumkeep observe run``."""
