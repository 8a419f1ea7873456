"""``quorumkeep drill``: trouble played on a deployment of its own, and held against what the runbooks say."""
