"""``quorumkeep rebalance``: how much to keep hot."""
