"""The commands of ``quorumkeep risk``."""
