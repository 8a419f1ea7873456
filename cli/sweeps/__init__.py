"""``quorumkeep sweep``: the program that empties deposit accounts and fills gas, and what it keeps."""
