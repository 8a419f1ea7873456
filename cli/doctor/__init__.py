"""``quorumkeep doctor``: what would break a deployment, in plain words, and what to do about it."""
